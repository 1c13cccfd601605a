//! Types of all nodes, and what each name and call refers to.

mod literals;
mod unify;

use std::collections::HashMap;
use std::sync::Arc;

use crate::ast::{Comprehension, Element, Entry, Expr, Field, Id, Kind, Literal};
use crate::declare::{Declarations, Overload};
use crate::parse::Parsed;
use crate::source::{Issue, Issues, Source};
use crate::types::Type;
use unify::{Bindings, less_specific};

/// What a node refers to.
#[derive(Clone, Debug)]
pub enum Reference {
    Variable(Arc<str>),
    /// A type's name, which is a value.
    Type(Type),
    Functions(Vec<Arc<Overload>>),
}

/// A tree whose types hold.
#[derive(Clone, Debug)]
pub struct Checked {
    pub expr: Expr,
    pub places: Vec<usize>,
    /// By node.
    pub types: Vec<Option<Type>>,
    /// By node.
    pub references: Vec<Option<Reference>>,
}

impl Checked {
    /// The type of the whole expression.
    #[must_use]
    pub fn result_type(&self) -> Type {
        self.types[self.expr.id].clone().unwrap_or(Type::Dyn)
    }
}

struct Checker<'d> {
    declarations: &'d Declarations,
    places: &'d [usize],
    bindings: Bindings,
    scopes: Vec<(Arc<str>, Type)>,
    types: Vec<Option<Type>>,
    references: Vec<Option<Reference>>,
    issues: Vec<Issue>,
    /// Calls of functions whose names have dots: what looks like their target is none.
    qualified: HashMap<Id, Arc<str>>,
}

/// Checks a parsed expression against what is declared.
///
/// # Errors
/// Every reference and every type that does not hold.
pub fn check(
    source: &Source,
    mut parsed: Parsed,
    declarations: &Declarations,
) -> Result<Checked, Issues> {
    let count = parsed.places.len();
    let mut checker = Checker {
        declarations,
        places: &parsed.places,
        bindings: Bindings::default(),
        scopes: Vec::new(),
        types: vec![None; count],
        references: vec![None; count],
        issues: Vec::new(),
        qualified: HashMap::new(),
    };
    checker.check(&parsed.expr);
    let Checker { bindings, mut types, references, mut issues, qualified, .. } = checker;
    rename(&mut parsed.expr, &qualified);
    for one in types.iter_mut().flatten() {
        *one = bindings.substitute(one, true);
    }
    if issues.is_empty() {
        literals::validate(&parsed.expr, &parsed.places, &types, &mut issues);
    }
    if !issues.is_empty() {
        return Err(source.report(issues));
    }
    Ok(Checked { expr: parsed.expr, places: parsed.places, types, references })
}

/// Makes calls of functions with dots in their names what they are.
fn rename(expr: &mut Expr, qualified: &HashMap<Id, Arc<str>>) {
    if let Kind::Call { target, function, .. } = &mut expr.kind
        && let Some(name) = qualified.get(&expr.id)
    {
        *target = None;
        *function = Arc::clone(name);
    }
    for child in expr.children_mut() {
        rename(child, qualified);
    }
}

/// How a call's types are written in a message.
fn signature(args: &[Type], member: bool) -> String {
    let (target, args) = match args.split_first() {
        Some((target, rest)) if member => (format!("{target}."), rest),
        _ => (String::new(), args),
    };
    let args: Vec<String> = args.iter().map(ToString::to_string).collect();
    format!("{target}({})", args.join(", "))
}

impl Checker<'_> {
    fn issue(&mut self, id: Id, message: String) {
        self.issues.push(Issue { place: Some(self.places[id]), message });
    }

    fn undeclared(&mut self, id: Id, name: &str) -> Type {
        self.issue(id, format!("undeclared reference to '{name}' (in container '')"));
        Type::Error
    }

    fn mismatch(&mut self, id: Id, wanted: &Type, found: &Type) {
        self.issue(id, format!("expected type '{wanted}' but found '{found}'"));
    }

    /// The type of a node, its children first.
    fn check(&mut self, expr: &Expr) -> Type {
        let of = match &expr.kind {
            Kind::Literal(literal) => literal_type(literal),
            Kind::Ident(name) => match self.lookup(name) {
                Some((of, reference)) => {
                    self.references[expr.id] = Some(reference);
                    of
                }
                None => self.undeclared(expr.id, name),
            },
            Kind::Select { operand, field, test } => self.select(expr, operand, field, *test),
            Kind::Call { target, function, args } => {
                self.call(expr, target.as_deref(), function, args)
            }
            Kind::List(elements) => self.list(elements),
            Kind::Map(entries) => self.map(entries),
            Kind::Object { name, fields } => self.object(expr.id, name, fields),
            Kind::Comprehension(parts) => self.comprehension(parts),
        };
        self.types[expr.id] = Some(of.clone());
        of
    }

    fn lookup(&self, name: &str) -> Option<(Type, Reference)> {
        let bare = name.strip_prefix('.');
        let scoped = self.scopes.iter().rev().find(|(one, _)| bare.is_none() && **one == *name);
        let name = bare.unwrap_or(name);
        // A name with a leading dot is not that of a loop's variable.
        if let Some((name, of)) = scoped {
            return Some((of.clone(), Reference::Variable(Arc::clone(name))));
        }
        if let Some((name, of)) = self.declarations.variables.get_key_value(name) {
            return Some((of.clone(), Reference::Variable(Arc::clone(name))));
        }
        let of = match name {
            "list" => Type::list(Type::Dyn),
            "map" => Type::map(Type::Dyn, Type::Dyn),
            "duration" | "timestamp" | "dyn" => return None,
            _ if self.declarations.provider.has_type(name) || is_library_type(name) => {
                Type::object(name)
            }
            "optional_type" => Type::optional(Type::Dyn),
            _ => Type::of_name(name)?,
        };
        Some((Type::Type(Some(Arc::new(of.clone()))), Reference::Type(of)))
    }

    fn select(&mut self, expr: &Expr, operand: &Expr, field: &str, test: bool) -> Type {
        if !test
            && let Some(name) = expr.qualified_name()
            && let Some((of, reference)) = self.lookup(&name)
        {
            self.references[expr.id] = Some(reference);
            return of;
        }
        let of = self.field(expr.id, operand, field, false);
        if test { Type::Bool } else { self.bindings.substitute(&of, false) }
    }

    fn field(&mut self, id: Id, operand: &Expr, field: &str, optional: bool) -> Type {
        let of = self.check(operand);
        let of = self.bindings.substitute(&of, false);
        let (target, wrapped) = match of.unwrap_optional() {
            Some(inner) => (inner.clone(), true),
            None => (of, false),
        };
        let found = match &target {
            Type::Map(_, value) => (**value).clone(),
            Type::Object(name) => self.field_of(id, name, field),
            Type::Variable(_) => {
                self.bindings.assignable(&Type::Dyn, &target);
                Type::Dyn
            }
            _ => {
                if !target.is_dyn() && target != Type::Error {
                    self.issue(id, format!("type '{target}' does not support field selection"));
                }
                Type::Dyn
            }
        };
        if wrapped || optional { Type::optional(found) } else { found }
    }

    fn field_of(&mut self, id: Id, object: &str, field: &str) -> Type {
        let provider = &self.declarations.provider;
        if !provider.has_type(object) && !is_library_type(object) {
            self.issue(id, format!("unexpected failed resolution of '{object}'"));
            return Type::Error;
        }
        match provider.field(object, field) {
            Some(of) => of,
            None => {
                self.issue(id, format!("undefined field '{field}'"));
                Type::Error
            }
        }
    }

    fn call(&mut self, expr: &Expr, target: Option<&Expr>, function: &str, args: &[Expr]) -> Type {
        if function == "_?._"
            && let [operand, Expr { kind: Kind::Literal(Literal::String(field)), .. }] = args
        {
            let of = self.field(expr.id, operand, field, true);
            return self.bindings.substitute(&of, false);
        }
        for arg in args {
            self.check(arg);
        }
        let declarations = self.declarations;
        if let Some(target) = target {
            if let Some(name) = target.qualified_name()
                && let Some(found) = declarations.functions.get(&*format!("{name}.{function}"))
            {
                let name = format!("{name}.{function}");
                self.qualified.insert(expr.id, name.as_str().into());
                return self.resolve(expr.id, &name, found, (None, args));
            }
            self.check(target);
        }
        let name = function.strip_prefix('.').unwrap_or(function);
        match declarations.functions.get(name) {
            Some(found) => self.resolve(expr.id, name, found, (target, args)),
            None => self.undeclared(expr.id, function),
        }
    }

    fn resolve(
        &mut self,
        id: Id,
        function: &str,
        overloads: &[Arc<Overload>],
        (target, args): (Option<&Expr>, &[Expr]),
    ) -> Type {
        let operands: Vec<&Expr> = target.into_iter().chain(args).collect();
        let of = |checker: &Self, one: &Expr| checker.types[one.id].clone().unwrap_or(Type::Error);
        let actual: Vec<Type> = operands.iter().map(|one| of(self, one)).collect();
        let (mut found, mut result): (Vec<Arc<Overload>>, Option<Type>) = (Vec::new(), None);
        if matches!(function, "_&&_" | "_||_") {
            let before = self.issues.len();
            for (one, of) in operands.iter().zip(&actual) {
                if !self.bindings.assignable(of, &Type::Bool) {
                    self.mismatch(one.id, &Type::Bool, of);
                }
            }
            self.references[id] = Some(Reference::Functions(overloads.to_vec()));
            return if self.issues.len() == before { Type::Bool } else { Type::Error };
        }
        for overload in overloads.iter().filter(|one| one.member == target.is_some()) {
            if overload.params.len() != actual.len() {
                continue;
            }
            let mut fresh = HashMap::new();
            let params: Vec<Type> =
                overload.params.iter().map(|one| self.instance(one, &mut fresh)).collect();
            let returned = self.instance(&overload.result, &mut fresh);
            if self.bindings.assignable_all(actual.iter().zip(&params)) {
                found.push(Arc::clone(overload));
                let returned = self.bindings.substitute(&returned, false);
                result = Some(match result {
                    Some(before) if !before.is_dyn() && before != returned => Type::Dyn,
                    Some(before) => before,
                    None => returned,
                });
            }
        }
        let Some(result) = result else {
            let shown: Vec<Type> =
                actual.iter().map(|one| self.bindings.substitute(one, true)).collect();
            let signature = signature(&shown, target.is_some());
            let message =
                format!("found no matching overload for '{function}' applied to '{signature}'");
            self.issue(id, message);
            return Type::Error;
        };
        self.references[id] = Some(Reference::Functions(found));
        result
    }

    /// A declared type with a variable of its own for each parameter.
    fn instance(&mut self, of: &Type, fresh: &mut HashMap<Arc<str>, Type>) -> Type {
        match of {
            Type::Param(name) => {
                fresh.entry(Arc::clone(name)).or_insert_with(|| self.bindings.fresh()).clone()
            }
            Type::List(one) => Type::list(self.instance(one, fresh)),
            Type::Map(key, value) => {
                Type::map(self.instance(key, fresh), self.instance(value, fresh))
            }
            Type::Opaque(name, params) => {
                let params: Vec<Type> =
                    params.iter().map(|one| self.instance(one, fresh)).collect();
                Type::Opaque(Arc::clone(name), params.into())
            }
            Type::Type(Some(one)) => Type::Type(Some(Arc::new(self.instance(one, fresh)))),
            _ => of.clone(),
        }
    }

    /// The type of a value that may be given as an optional one.
    fn given(&mut self, value: &Expr, optional: bool) -> Type {
        let of = self.check(value);
        if !optional {
            return of;
        }
        let of = self.bindings.substitute(&of, false);
        if let Some(inner) = of.unwrap_optional() {
            return inner.clone();
        }
        if !of.is_dyn() {
            self.mismatch(value.id, &Type::optional(of.clone()), &of);
        }
        of
    }

    /// The type of elements of two types. Where these differ it is any; whether they may differ
    /// is looked at when all types are known, since what is formatted may.
    fn join(&mut self, before: Option<Type>, now: Type) -> Type {
        let Some(before) = before else { return now };
        if self.bindings.assignable(&before, &now) {
            return if less_specific(&before, &now) { before } else { now };
        }
        Type::Dyn
    }

    fn list(&mut self, elements: &[Element]) -> Type {
        let mut joined = None;
        for one in elements {
            let of = self.given(&one.value, one.optional);
            joined = Some(self.join(joined, of));
        }
        Type::list(joined.unwrap_or_else(|| self.bindings.fresh()))
    }

    fn map(&mut self, entries: &[Entry]) -> Type {
        let (mut key, mut value) = (None, None);
        for one in entries {
            let of = self.check(&one.key);
            key = Some(self.join(key, of));
            let of = self.given(&one.value, one.optional);
            value = Some(self.join(value, of));
        }
        let mut or_fresh = |one: Option<Type>| one.unwrap_or_else(|| self.bindings.fresh());
        let key = or_fresh(key);
        Type::map(key, or_fresh(value))
    }

    fn object(&mut self, id: Id, name: &Arc<str>, fields: &[Field]) -> Type {
        let Some((_, reference)) = self.lookup(name) else {
            return self.undeclared(id, name);
        };
        let of = match &reference {
            Reference::Type(of @ Type::Object(_)) => of.clone(),
            Reference::Type(of) => {
                let message = format!("'{}' is not a message type", of.name());
                self.issue(id, message);
                Type::Error
            }
            _ => {
                self.issue(id, format!("'{name}' is not a type"));
                Type::Error
            }
        };
        self.references[id] = Some(reference);
        for one in fields {
            let actual = self.given(&one.value, one.optional);
            let wanted = match &of {
                Type::Object(object) => self.field_of(one.id, object, &one.name),
                _ => Type::Error,
            };
            if !self.bindings.assignable(&wanted, &actual) {
                let message = format!(
                    "expected type of field '{}' is '{wanted}' but provided type is '{actual}'",
                    one.name
                );
                self.issue(one.id, message);
            }
        }
        of
    }

    fn comprehension(&mut self, parts: &Comprehension) -> Type {
        let range = self.check(&parts.range);
        let start = self.check(&parts.start);
        let range = self.bindings.substitute(&range, false);
        let depth = self.scopes.len();
        self.scopes.push((Arc::clone(&parts.accumulator), start.clone()));
        let (first, second) = match &range {
            Type::List(of) if parts.second.is_some() => (Type::Int, (**of).clone()),
            Type::List(of) => ((**of).clone(), Type::Dyn),
            Type::Map(key, value) => ((**key).clone(), (**value).clone()),
            Type::Dyn | Type::Any | Type::Error | Type::Variable(_) => {
                self.bindings.assignable(&Type::Dyn, &range);
                (Type::Dyn, Type::Dyn)
            }
            _ => {
                let message = format!(
                    "expression of type '{range}' cannot be range of a comprehension \
                     (must be list, map, or dynamic)"
                );
                self.issue(parts.range.id, message);
                (Type::Error, Type::Error)
            }
        };
        self.scopes.push((Arc::clone(&parts.variable), first));
        if let Some(name) = &parts.second {
            self.scopes.push((Arc::clone(name), second));
        }
        let condition = self.check(&parts.condition);
        self.assert(parts.condition.id, &Type::Bool, &condition);
        let step = self.check(&parts.step);
        self.assert(parts.step.id, &start, &step);
        self.scopes.truncate(depth + 1);
        let result = self.check(&parts.result);
        self.scopes.truncate(depth);
        self.bindings.substitute(&result, false)
    }

    fn assert(&mut self, id: Id, wanted: &Type, found: &Type) {
        if !self.bindings.assignable(wanted, found) {
            self.mismatch(id, wanted, found);
        }
    }
}

fn literal_type(literal: &Literal) -> Type {
    match literal {
        Literal::Null => Type::Null,
        Literal::Bool(_) => Type::Bool,
        Literal::Int(_) => Type::Int,
        Literal::Uint(_) => Type::Uint,
        Literal::Double(_) => Type::Double,
        Literal::String(_) => Type::String,
        Literal::Bytes(_) => Type::Bytes,
    }
}

/// Object types without fields that libraries declare.
fn is_library_type(name: &str) -> bool {
    matches!(
        name,
        "kubernetes.Quantity" | "kubernetes.URL" | "kubernetes.Semver" | "kubernetes.NamedFormat"
    )
}
