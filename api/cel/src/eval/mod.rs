//! Evaluation of a checked tree, with every step counted.
//!
//! | Rule | What always holds |
//! |------|-------------------|
//! | C1 | Nothing runs on once the cost is above the limit, and no operator absorbs that error. |
//! | C2 | What is constant is evaluated once, before, and costs nothing. |

mod attribute;
mod cost;
mod fold;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use crate::ast::{Comprehension, Element, Entry, Expr, Field, Id, Kind};
use crate::check::{Checked, Reference};
use crate::declare::{Overload, Run};
use crate::value::{EvalError, Key, List, Map, Object, Outcome, Value, fail, no_such_overload};

/// What variables stand for.
pub trait Activation<'a> {
    /// The value of a declared variable.
    fn variable(&self, name: &str) -> Option<Outcome<'a>>;
    /// A field of a variable that is [`Map::Asked`].
    fn field(&self, _variable: &str, _field: &str) -> Option<Outcome<'a>> {
        None
    }
}

impl<'a> Activation<'a> for HashMap<&str, Value<'a>> {
    fn variable(&self, name: &str) -> Option<Outcome<'a>> {
        self.get(name).cloned().map(Ok)
    }
}

/// An expression that is ready to be evaluated any number of times.
#[derive(Debug)]
pub struct Program {
    pub checked: Checked,
    /// What is constant, by node.
    constants: HashMap<Id, Value<'static>>,
    /// Nodes that look for something in a constant list, with what is in it.
    members: HashMap<Id, HashSet<Key>>,
    /// Calls with a constant pattern, compiled.
    patterns: HashMap<Id, regex::Regex>,
}

impl Program {
    /// Whether constants are evaluated beforehand, as Kubernetes has it, is upstream's option.
    ///
    /// # Errors
    /// A constant conversion that cannot succeed.
    pub fn new(checked: Checked, optimize: bool) -> Result<Self, EvalError> {
        let mut program = Self {
            checked,
            constants: HashMap::new(),
            members: HashMap::new(),
            patterns: HashMap::new(),
        };
        fold::fold(&mut program, optimize)?;
        Ok(program)
    }

    /// Evaluates; gives the cost in any case.
    pub fn evaluate<'a>(
        &self,
        activation: &dyn Activation<'a>,
        cost_limit: u64,
    ) -> (Outcome<'a>, u64) {
        let mut machine =
            Machine { program: self, activation, scopes: Vec::new(), cost: 0, cost_limit };
        let out = machine.eval(&self.checked.expr);
        (out, machine.cost)
    }
}

struct Machine<'p, 'a> {
    program: &'p Program,
    activation: &'p dyn Activation<'a>,
    scopes: Vec<(Arc<str>, Outcome<'a>)>,
    cost: u64,
    cost_limit: u64,
}

impl<'a> Machine<'_, 'a> {
    fn charge(&mut self, cost: u64) -> Result<(), EvalError> {
        self.cost = self.cost.saturating_add(cost);
        if self.cost > self.cost_limit { Err(EvalError::CostExceeded) } else { Ok(()) }
    }

    fn eval(&mut self, expr: &Expr) -> Outcome<'a> {
        if let Some(constant) = self.program.constants.get(&expr.id) {
            return Ok(constant.clone());
        }
        if self.is_attribute(expr) {
            return self.attribute(expr);
        }
        match &expr.kind {
            Kind::Literal(literal) => Ok(Value::of_literal(literal)),
            Kind::Call { target, function, args } => {
                self.call(expr, target.as_deref(), function, args)
            }
            Kind::List(elements) => self.list(elements),
            Kind::Map(entries) => self.map(entries),
            Kind::Object { name, fields } => self.object(name, fields),
            Kind::Comprehension(parts) => self.comprehension(parts),
            // Attributes, which were dealt with.
            Kind::Ident(_) | Kind::Select { .. } => no_such_overload(),
        }
    }

    fn call(
        &mut self,
        expr: &Expr,
        target: Option<&Expr>,
        function: &str,
        args: &[Expr],
    ) -> Outcome<'a> {
        match (function, args) {
            ("_&&_", _) => return self.logic(expr, false),
            ("_||_", _) => return self.logic(expr, true),
            ("@not_strictly_false", [one]) => {
                let out = match self.eval(one) {
                    Err(EvalError::CostExceeded) => return Err(EvalError::CostExceeded),
                    Ok(Value::Bool(false)) => false,
                    _ => true,
                };
                self.charge(1)?;
                return Ok(Value::Bool(out));
            }
            ("_+_", [Expr { kind: Kind::Ident(name), .. }, right]) if self.gathers(name) => {
                return self.gather(right);
            }
            ("@in", [one, _]) if self.program.members.contains_key(&expr.id) => {
                let value = self.eval(one)?;
                let set = &self.program.members[&expr.id];
                return Ok(Value::Bool(Key::of(&value).is_some_and(|key| set.contains(&key))));
            }
            ("or" | "orValue", [other]) if target.is_some() => {
                return self.or_else(function, target, other);
            }
            _ => {}
        }
        let mut values = Vec::with_capacity(args.len() + 1);
        let mut failed = None;
        for one in target.into_iter().chain(args) {
            match self.eval(one) {
                Ok(value) => values.push(value),
                Err(EvalError::CostExceeded) => return Err(EvalError::CostExceeded),
                Err(error) => {
                    failed.get_or_insert(error);
                }
            }
        }
        if let Some(error) = failed {
            self.charge(1)?;
            return Err(error);
        }
        let Some(Reference::Functions(overloads)) = &self.program.checked.references[expr.id]
        else {
            return no_such_overload();
        };
        let out = match self.program.patterns.get(&expr.id) {
            Some(pattern) => crate::library::regex::call_with(function, pattern, &values),
            None => dispatch(function, overloads, &values),
        };
        let name = match overloads.as_slice() {
            [one] => &*one.id,
            _ if function == "_==_" => "equals",
            _ if function == "_!=_" => "not_equals",
            _ => "",
        };
        self.charge(cost::of_call(function, name, &values, out.as_ref().ok()))?;
        out
    }

    /// `&&` and `||`: the first term that decides does so, whatever failed before.
    fn logic(&mut self, expr: &Expr, decides: bool) -> Outcome<'a> {
        let Kind::Call { args, .. } = &expr.kind else { return no_such_overload() };
        let mut failed = None;
        for one in args {
            match self.eval(one) {
                Ok(Value::Bool(value)) if value == decides => return Ok(Value::Bool(decides)),
                Ok(Value::Bool(_)) => {}
                Err(EvalError::CostExceeded) => return Err(EvalError::CostExceeded),
                Ok(_) => {
                    failed.get_or_insert(EvalError::Failed("no such overload".to_owned()));
                }
                Err(error) => {
                    failed.get_or_insert(error);
                }
            }
        }
        failed.map_or(Ok(Value::Bool(!decides)), Err)
    }

    fn or_else(&mut self, function: &str, target: Option<&Expr>, other: &Expr) -> Outcome<'a> {
        let Some(target) = target else { return no_such_overload() };
        match (self.eval(target)?, function) {
            (Value::Optional(Some(inner)), "orValue") => Ok(*inner),
            (some @ Value::Optional(Some(_)), _) => Ok(some),
            (Value::Optional(None), _) => self.eval(other),
            _ => no_such_overload(),
        }
    }

    /// Whether this is the list that the innermost loop gathers: then nobody else has it.
    fn gathers(&self, name: &str) -> bool {
        name == crate::ast::ACCUMULATOR
            && self
                .scope(name)
                .is_some_and(|at| matches!(self.scopes[at].1, Ok(Value::List(List::Own(_)))))
    }

    fn scope(&self, name: &str) -> Option<usize> {
        self.scopes.iter().rposition(|(one, _)| **one == *name)
    }

    /// Appends to the list that a loop gathers, in its place.
    fn gather(&mut self, right: &Expr) -> Outcome<'a> {
        self.charge(1)?;
        let more = self.eval(right)?;
        let at = self.scope(crate::ast::ACCUMULATOR);
        let list = at.map(|at| std::mem::replace(&mut self.scopes[at].1, Ok(Value::Null)));
        let (Some(Ok(Value::List(List::Own(mut list)))), Value::List(more)) = (list, more) else {
            return no_such_overload();
        };
        Arc::make_mut(&mut list).extend(more.iter());
        self.charge(1)?;
        Ok(Value::List(List::Own(list)))
    }

    /// A value that is given, or none where an optional one is left out.
    fn given(
        &mut self,
        value: &Expr,
        optional: bool,
        what: impl Fn(&Value<'a>) -> String,
    ) -> Result<Option<Value<'a>>, EvalError> {
        let value = self.eval(value)?;
        match value {
            _ if !optional => Ok(Some(value)),
            Value::Optional(inner) => Ok(inner.map(|one| *one)),
            _ => Err(EvalError::Failed(what(&value))),
        }
    }

    fn list(&mut self, elements: &[Element]) -> Outcome<'a> {
        let mut out = Vec::with_capacity(elements.len());
        for one in elements {
            out.extend(self.given(&one.value, one.optional, |value| {
                format!("cannot initialize optional list element from non-optional value {value}")
            })?);
        }
        self.charge(cost::LIST)?;
        Ok(Value::list(out))
    }

    fn map(&mut self, entries: &[Entry]) -> Outcome<'a> {
        let mut out = BTreeMap::new();
        for one in entries {
            let key = self.eval(&one.key)?;
            let value = self.given(&one.value, one.optional, |value| {
                format!("cannot initialize optional entry '{key}' from non-optional value {value}")
            })?;
            let Some(index) = Key::of(&key) else { return fail("unsupported key type") };
            if let Some(value) = value {
                out.insert(index, (key, value));
            }
        }
        self.charge(cost::MAP)?;
        Ok(Value::Map(Map::Own(Arc::new(out))))
    }

    /// An object that the expression makes by a type's name.
    fn object(&mut self, name: &Arc<str>, fields: &[Field]) -> Outcome<'a> {
        let mut out = BTreeMap::new();
        for one in fields {
            let value = self.given(&one.value, one.optional, |value| {
                format!(
                    "cannot initialize optional entry '{}' from non-optional value {value}",
                    one.name
                )
            })?;
            if let Some(value) = value {
                out.insert(Arc::clone(&one.name), value);
            }
        }
        self.charge(cost::OBJECT)?;
        Ok(Value::Object(Arc::new(Object { name: Arc::clone(name), fields: out })))
    }

    fn comprehension(&mut self, parts: &Comprehension) -> Outcome<'a> {
        let range = self.eval(&parts.range)?;
        let start = self.eval(&parts.start);
        if start == Err(EvalError::CostExceeded) {
            return start;
        }
        let depth = self.scopes.len();
        self.scopes.push((Arc::clone(&parts.accumulator), start));
        let ran = self.iterate(parts, &range, depth);
        self.scopes.truncate(depth + 1);
        let out = ran.and_then(|()| self.eval(&parts.result));
        self.scopes.truncate(depth);
        out
    }

    fn iterate(
        &mut self,
        parts: &Comprehension,
        range: &Value<'a>,
        depth: usize,
    ) -> Result<(), EvalError> {
        let (keys, length) = match range {
            Value::List(list) => (Vec::new(), list.len()),
            Value::Map(map) => {
                let keys = map.keys();
                let length = keys.len();
                (keys, length)
            }
            _ => return Err(EvalError::Failed("no such overload".to_owned())),
        };
        for index in 0..length {
            let (first, second) = match range {
                Value::List(list) => {
                    let value = list.get(index).unwrap_or(Value::Null);
                    match &parts.second {
                        Some(_) => (Value::Int(i64::try_from(index).unwrap_or(i64::MAX)), value),
                        None => (value, Value::Null),
                    }
                }
                Value::Map(map) => {
                    let key = keys.get(index).cloned().unwrap_or(Value::Null);
                    let value = parts.second.as_ref().and_then(|_| map.get(&key));
                    (key, value.unwrap_or(Value::Null))
                }
                _ => return Ok(()),
            };
            self.scopes.push((Arc::clone(&parts.variable), Ok(first)));
            if let Some(name) = &parts.second {
                self.scopes.push((Arc::clone(name), Ok(second)));
            }
            let goes_on = self.eval(&parts.condition);
            if goes_on == Ok(Value::Bool(false)) {
                self.scopes.truncate(depth + 1);
                return Ok(());
            }
            if let Err(EvalError::CostExceeded) = goes_on {
                return Err(EvalError::CostExceeded);
            }
            let step = self.eval(&parts.step);
            self.scopes.truncate(depth + 1);
            match step {
                Err(EvalError::CostExceeded) => return Err(EvalError::CostExceeded),
                // What fails may still be absorbed by a later element.
                step => self.scopes[depth].1 = step,
            }
        }
        Ok(())
    }
}

/// The first overload that takes these arguments carries the call out.
fn dispatch<'a>(function: &str, overloads: &[Arc<Overload>], args: &[Value<'a>]) -> Outcome<'a> {
    let mut tried = None;
    for one in overloads {
        let out = match &one.run {
            Run::Library(run) => run(function, args),
            Run::Own(run) => run(args),
        };
        match out {
            Err(EvalError::Failed(message)) if message == crate::value::NO_SUCH_OVERLOAD => {
                tried = Some(message);
            }
            out => return out,
        }
    }
    fail(tried.unwrap_or_else(|| crate::value::NO_SUCH_OVERLOAD.to_owned()))
}
