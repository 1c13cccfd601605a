//! Evaluates compiled expressions within a budget.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::sync::Arc;

use api_cel::limits::COST_PER_CALL_MAX;
use api_cel::{Activation, Map, Outcome, Value, fail};
use serde_json::Value as Json;

use super::authorizer::{self, Authority, Requested};
use super::compile::{Compiler, Expression};

/// What expressions are asked about.
#[derive(Clone, Copy)]
pub struct Inputs<'a> {
    pub object: Option<&'a Json>,
    pub old: Option<&'a Json>,
    pub params: Option<&'a Json>,
    pub request: &'a Json,
    pub namespace: Option<&'a Json>,
    pub authority: Option<&'a Arc<dyn Authority>>,
    /// What `authorizer.requestResource` is about.
    pub requested: Requested<'a>,
}

/// The budget is spent: nothing more is evaluated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfBudget;

impl OutOfBudget {
    pub const MESSAGE: &str = "validation failed due to running out of cost budget, no further validation rules will be run";
}

/// What one expression came to, or its error in upstream's words.
pub type Evaluated<'a> = Result<Value<'a>, String>;

/// One evaluation of a list of expressions: variables are evaluated once in it.
pub struct Scene<'a, 'p> {
    inputs: Inputs<'a>,
    policy: &'p Compiler,
    known: RefCell<HashMap<&'p str, Outcome<'a>>>,
    /// What variables cost that no expression has paid yet.
    owed: Cell<u64>,
    budget: u64,
}

impl<'a, 'p> Scene<'a, 'p> {
    /// Before anything is evaluated.
    #[must_use]
    pub fn new(inputs: Inputs<'a>, policy: &'p Compiler, budget: u64) -> Self {
        Self { inputs, policy, known: RefCell::default(), owed: Cell::new(0), budget }
    }

    /// What is left to spend.
    #[must_use]
    pub fn budget(&self) -> u64 {
        self.budget
    }

    /// Evaluates one expression.
    ///
    /// # Errors
    /// The budget does not cover it.
    pub fn evaluate(&mut self, expression: &Expression) -> Result<Evaluated<'a>, OutOfBudget> {
        let program = match &expression.program {
            Ok(program) => program,
            Err(error) => return Ok(Err(format!("compilation error: {error}"))),
        };
        let (out, cost) = program.evaluate(&*self, COST_PER_CALL_MAX);
        // X3.
        let cost = cost.saturating_add(self.owed.take());
        self.budget = self.budget.checked_sub(cost).ok_or(OutOfBudget)?;
        Ok(out.map_err(|error| {
            format!("expression '{}' resulted in error: {error}", expression.text)
        }))
    }

    fn compute(&self, name: &str, expression: &Expression) -> Outcome<'a> {
        let program = match &expression.program {
            Ok(program) => program,
            Err(error) => {
                return fail(format!("composited variable {name:?} fails to compile: {error}"));
            }
        };
        let (out, cost) = program.evaluate(self, COST_PER_CALL_MAX);
        self.owed.set(self.owed.get().saturating_add(cost));
        out.or_else(|error| {
            fail(format!("composited variable {name:?} fails to evaluate: {error}"))
        })
    }
}

fn given<'a>(json: Option<&'a Json>) -> Value<'a> {
    json.map_or(Value::Null, |json| Value::of_json(json, None))
}

impl<'a> Activation<'a> for Scene<'a, '_> {
    fn variable(&self, name: &str) -> Option<Outcome<'a>> {
        let inputs = &self.inputs;
        Some(Ok(match name {
            "object" => given(inputs.object),
            "oldObject" => given(inputs.old),
            "params" => given(inputs.params),
            "request" => given(Some(inputs.request)),
            "namespaceObject" => given(inputs.namespace),
            "variables" => Value::Map(Map::Asked("variables".into())),
            "authorizer" => authorizer::value(inputs.authority?),
            "authorizer.requestResource" => {
                authorizer::request_resource(inputs.authority?, inputs.requested)
            }
            _ => return None,
        }))
    }

    fn field(&self, _variable: &str, field: &str) -> Option<Outcome<'a>> {
        let (name, expression) = self.policy.variables.get_key_value(field)?;
        if let Some(known) = self.known.borrow().get(name.as_str()) {
            return Some(known.clone());
        }
        // X2; what it asks for itself was compiled before it, so that this ends.
        let out = self.compute(name, expression);
        self.known.borrow_mut().insert(name, out.clone());
        Some(out)
    }
}
