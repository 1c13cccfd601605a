//! Which type may stand where another is wanted, and what that says of types not yet known.

use std::sync::Arc;

use crate::types::Type;

/// What is known of type variables. A failed attempt leaves no trace.
#[derive(Debug, Default)]
pub(super) struct Bindings {
    bound: Vec<Option<Type>>,
    /// What changed, newest last: the variable and what it was before.
    trail: Vec<(usize, Option<Type>)>,
}

impl Bindings {
    pub(super) fn fresh(&mut self) -> Type {
        self.bound.push(None);
        Type::Variable(self.bound.len() - 1)
    }

    /// Whether `actual` may stand where `wanted` is; binds variables when it may.
    pub(super) fn assignable(&mut self, one: &Type, other: &Type) -> bool {
        self.assignable_all(std::iter::once((one, other)))
    }

    /// Whether all of these pairs may; binds nothing when one may not.
    pub(super) fn assignable_all<'t>(
        &mut self,
        mut pairs: impl Iterator<Item = (&'t Type, &'t Type)>,
    ) -> bool {
        let all = pairs.all(|(one, other)| self.unify(one, other));
        if !all {
            while let Some((variable, before)) = self.trail.pop() {
                self.bound[variable] = before;
            }
        }
        self.trail.clear();
        all
    }

    fn bind(&mut self, variable: usize, to: Type) {
        self.trail.push((variable, self.bound[variable].replace(to)));
    }

    fn unify(&mut self, one: &Type, other: &Type) -> bool {
        if let Type::Variable(variable) = other {
            let (valid, bound) = self.substitutable(one, *variable, other);
            if valid || bound {
                return valid;
            }
        }
        if let Type::Variable(variable) = one {
            return self.substitutable(other, *variable, one).0;
        }
        let loose = |one: &Type| one.is_dyn() || *one == Type::Error;
        if loose(one) || loose(other) {
            return true;
        }
        match (one, other) {
            (Type::Null, nullable) | (nullable, Type::Null) => matches!(
                nullable,
                Type::Null
                    | Type::Opaque(..)
                    | Type::Object(_)
                    | Type::Any
                    | Type::Duration
                    | Type::Timestamp
            ),
            (Type::Type(_), Type::Type(_)) => true,
            (Type::List(one), Type::List(other)) => self.unify(one, other),
            (Type::Map(key, value), Type::Map(other_key, other_value)) => {
                self.unify(key, other_key) && self.unify(value, other_value)
            }
            (Type::Opaque(name, params), Type::Opaque(other, other_params)) => {
                name == other
                    && params.len() == other_params.len()
                    && params.iter().zip(other_params.iter()).all(|(a, b)| self.unify(a, b))
            }
            _ => one == other,
        }
    }

    /// Whether a variable can be this type, and whether it already was one.
    fn substitutable(&mut self, to: &Type, variable: usize, itself: &Type) -> (bool, bool) {
        if to == itself {
            return (true, true);
        }
        if let Some(before) = self.bound[variable].clone() {
            if *to == before {
                return (true, true);
            }
            if !self.unify(to, &before) {
                return (false, true);
            }
            let general = if less_specific(to, &before) { to.clone() } else { before };
            if self.free_of(variable, &general) {
                self.bind(variable, general);
            }
            return (true, true);
        }
        if self.free_of(variable, to) {
            self.bind(variable, to.clone());
            return (true, false);
        }
        (false, false)
    }

    /// Whether a type does not contain the variable.
    fn free_of(&self, variable: usize, within: &Type) -> bool {
        match within {
            Type::Variable(other) if *other == variable => false,
            Type::Variable(other) => {
                self.bound[*other].as_ref().is_none_or(|to| self.free_of(variable, to))
            }
            _ => within.params().into_iter().all(|one| self.free_of(variable, one)),
        }
    }

    /// A type with what is known of its variables; those still unknown are dyn if `settle`.
    pub(super) fn substitute(&self, of: &Type, settle: bool) -> Type {
        match of {
            Type::Variable(variable) => match &self.bound[*variable] {
                Some(to) => self.substitute(to, settle),
                None if settle => Type::Dyn,
                None => of.clone(),
            },
            Type::List(one) => Type::list(self.substitute(one, settle)),
            Type::Map(key, value) => {
                Type::map(self.substitute(key, settle), self.substitute(value, settle))
            }
            Type::Opaque(name, params) if !params.is_empty() => {
                let params: Vec<Type> =
                    params.iter().map(|one| self.substitute(one, settle)).collect();
                Type::Opaque(Arc::clone(name), params.into())
            }
            Type::Type(Some(one)) => Type::Type(Some(Arc::new(self.substitute(one, settle)))),
            _ => of.clone(),
        }
    }
}

/// Whether the first type says as much as the second, or less.
pub(super) fn less_specific(one: &Type, other: &Type) -> bool {
    if one.is_dyn() || matches!(one, Type::Variable(_) | Type::Param(_)) {
        return true;
    }
    if other.is_dyn() || matches!(other, Type::Variable(_) | Type::Param(_)) {
        return false;
    }
    match (one, other) {
        (Type::List(one), Type::List(other)) => less_specific(one, other),
        (Type::Map(key, value), Type::Map(other_key, other_value)) => {
            less_specific(key, other_key) && less_specific(value, other_value)
        }
        (Type::Opaque(name, params), Type::Opaque(other, other_params)) => {
            name == other
                && params.len() == other_params.len()
                && params.iter().zip(other_params.iter()).all(|(a, b)| less_specific(a, b))
        }
        (Type::Type(_), Type::Type(_)) => true,
        _ => one == other,
    }
}
