//! Names, selections and indices: a chain of them is one attribute, which costs as upstream counts.
//!
//! A chain costs one for its root and one for each qualifier; a conditional at its root, and an
//! attribute that is an index or a branch of a conditional, cost nothing themselves.

use crate::ast::{Expr, Kind, Literal};
use crate::check::Reference;
use crate::value::{EvalError, Map, Outcome, Text, Value, fail, no_such_overload};

use super::Machine;

impl<'a> Machine<'_, 'a> {
    pub(super) fn is_attribute(&self, expr: &Expr) -> bool {
        if self.program.constants.contains_key(&expr.id) {
            return false;
        }
        match &expr.kind {
            Kind::Ident(_) | Kind::Select { .. } => true,
            Kind::Call { target: None, function, .. } => {
                matches!(&**function, "_[_]" | "_[?_]" | "_?._" | "_?_:_")
            }
            _ => false,
        }
    }

    pub(super) fn attribute(&mut self, expr: &Expr) -> Outcome<'a> {
        let out = self.resolve(expr);
        if out == Err(EvalError::CostExceeded) {
            return out;
        }
        self.charge(self.root_cost(expr))?;
        out
    }

    fn root_cost(&self, expr: &Expr) -> u64 {
        let mut here = expr;
        loop {
            here = match &here.kind {
                // A presence test has no cost of its own.
                Kind::Select { test: true, .. } => return 0,
                Kind::Select { operand, .. } => {
                    if self.program.checked.references[here.id].is_some() {
                        return 1;
                    }
                    operand
                }
                Kind::Call { function, .. } if &**function == "_?_:_" => return 0,
                Kind::Call { args, .. } if self.is_attribute(here) => &args[0],
                _ => return 1,
            };
        }
    }

    /// The value of an attribute without the cost of its root, or of any other node with it.
    fn operand(&mut self, expr: &Expr) -> Outcome<'a> {
        if self.is_attribute(expr) { self.resolve(expr) } else { self.eval(expr) }
    }

    fn resolve(&mut self, expr: &Expr) -> Outcome<'a> {
        if let Some(Reference::Variable(name)) = &self.program.checked.references[expr.id] {
            return self.variable(name);
        }
        match &expr.kind {
            Kind::Select { operand, field, test } => {
                let operand = self.operand(operand)?;
                let key = Value::String(Text::Shared(field.clone()));
                if *test {
                    self.charge(1)?;
                    return self.present(&operand, &key);
                }
                self.qualify(operand, &key, false)
            }
            Kind::Call { function, args, .. } => match (&**function, args.as_slice()) {
                ("_?_:_", [condition, yes, no]) => match self.eval(condition)? {
                    Value::Bool(true) => self.operand(yes),
                    Value::Bool(false) => self.operand(no),
                    _ => no_such_overload(),
                },
                ("_[_]", [operand, index]) => {
                    let operand = self.operand(operand)?;
                    let index = self.operand(index)?;
                    self.qualify(operand, &index, false)
                }
                ("_[?_]", [operand, index]) => {
                    let operand = self.operand(operand)?;
                    let index = self.operand(index)?;
                    self.qualify(operand, &index, true)
                }
                ("_?._", [operand, Expr { kind: Kind::Literal(Literal::String(field)), .. }]) => {
                    let operand = self.operand(operand)?;
                    let key = Value::String(Text::Shared(field.clone()));
                    self.qualify(operand, &key, true)
                }
                _ => no_such_overload(),
            },
            _ => no_such_overload(),
        }
    }

    fn variable(&self, name: &str) -> Outcome<'a> {
        if let Some(at) = self.scope(name) {
            return self.scopes[at].1.clone();
        }
        self.activation
            .variable(name)
            .unwrap_or_else(|| fail(format!("no such attribute(s): {name}")))
    }

    fn qualify(&mut self, operand: Value<'a>, key: &Value<'a>, optional: bool) -> Outcome<'a> {
        match operand {
            Value::Optional(None) => Ok(Value::Optional(None)),
            Value::Optional(Some(inner)) => {
                self.charge(1)?;
                Ok(Value::Optional(self.find(&inner, key)?.map(Box::new)))
            }
            operand if optional => {
                self.charge(1)?;
                Ok(Value::Optional(self.find(&operand, key)?.map(Box::new)))
            }
            operand => {
                self.charge(1)?;
                if let Some(found) = self.find(&operand, key)? {
                    return Ok(found);
                }
                match operand {
                    Value::List(_) => fail(format!("index out of bounds: {key}")),
                    _ => fail(format!("no such key: {key}")),
                }
            }
        }
    }

    fn find(&self, operand: &Value<'a>, key: &Value<'a>) -> Result<Option<Value<'a>>, EvalError> {
        match (operand, key) {
            (Value::Map(Map::Asked(variable)), Value::String(field)) => {
                self.activation.field(variable, field).transpose()
            }
            (Value::Map(map), _) => Ok(map.get(key)),
            (Value::Object(made), Value::String(field)) => Ok(made.fields.get(&**field).cloned()),
            (Value::List(list), _) => {
                let index = match key {
                    Value::Int(index) => usize::try_from(*index).ok(),
                    Value::Uint(index) => usize::try_from(*index).ok(),
                    Value::Double(index) => {
                        crate::value::exact_int(*index).and_then(|one| usize::try_from(one).ok())
                    }
                    _ => {
                        let of = key.type_of();
                        let message = format!("unsupported index type '{}' in list", of.name());
                        return Err(EvalError::Failed(message));
                    }
                };
                Ok(index.and_then(|index| list.get(index)))
            }
            _ => Ok(None),
        }
    }

    fn present(&self, operand: &Value<'a>, key: &Value<'a>) -> Outcome<'a> {
        match operand {
            Value::Optional(None) => Ok(Value::Bool(false)),
            Value::Optional(Some(inner)) => self.present(inner, key),
            operand => Ok(Value::Bool(self.find(operand, key)?.is_some())),
        }
    }
}
