//! Policies and bindings as they are asked: with their expressions compiled.

use std::sync::Arc;

use api_machinery::admission::{Compiler, Expression, Purpose};
use serde_json::Value;

use super::matching::Constraints;
use super::params::ParamKind;

/// A policy.
#[derive(Debug)]
pub(super) struct Policy {
    pub(super) name: String,
    /// Its resourceVersion.
    pub(super) version: String,
    pub(super) constraints: Constraints,
    pub(super) params: Option<ParamKind>,
    /// What goes wrong does not count.
    pub(super) ignores_failures: bool,
    pub(super) compiler: Compiler,
    pub(super) conditions: Vec<Expression>,
    pub(super) validations: Vec<Validation>,
    /// By key.
    pub(super) annotations: Vec<(String, Expression)>,
    pub(super) mutations: Vec<Mutation>,
    pub(super) reinvoked: bool,
}

#[derive(Debug)]
pub(super) struct Validation {
    pub(super) expression: Expression,
    pub(super) message: String,
    pub(super) message_expression: Option<Expression>,
    pub(super) reason: &'static str,
}

#[derive(Debug)]
pub(super) struct Mutation {
    pub(super) purpose: Purpose,
    pub(super) expression: Expression,
}

/// A binding of a policy.
#[derive(Debug)]
pub(super) struct Binding {
    pub(super) name: String,
    pub(super) policy: String,
    pub(super) param_ref: Value,
    pub(super) resources: Option<Constraints>,
    /// `Deny`, `Warn`, `Audit`.
    pub(super) actions: Vec<String>,
}

/// A policy with its bindings.
#[derive(Debug)]
pub(super) struct Hook {
    pub(super) policy: Arc<Policy>,
    pub(super) bindings: Vec<Binding>,
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

fn items<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    value[key].as_array().into_iter().flatten()
}

impl Policy {
    pub(super) fn compile(name: &str, version: &str, policy: &Value) -> Self {
        let spec = &policy["spec"];
        let mut compiler = Compiler::new(!spec["paramKind"].is_null(), true);
        for variable in items(spec, "variables") {
            let (name, expression) = (text(variable, "name"), text(variable, "expression"));
            // The error is told by what uses the variable.
            let _ = compiler.variable(name, expression, Purpose::Variable);
        }
        let condition =
            |one: &Value| compiler.expression(text(one, "expression"), Purpose::Condition);
        let annotation = |one: &Value| {
            let expression =
                compiler.expression(text(one, "valueExpression"), Purpose::AuditAnnotation);
            (text(one, "key").to_owned(), expression)
        };
        Self {
            name: name.to_owned(),
            version: version.to_owned(),
            constraints: Constraints::of(&spec["matchConstraints"]),
            params: ParamKind::of(spec),
            ignores_failures: spec["failurePolicy"] == "Ignore",
            conditions: items(spec, "matchConditions").map(condition).collect(),
            validations: items(spec, "validations").map(|one| validation(&compiler, one)).collect(),
            annotations: items(spec, "auditAnnotations").map(annotation).collect(),
            mutations: items(spec, "mutations")
                .filter_map(|one| mutation(&compiler, one))
                .collect(),
            reinvoked: spec["reinvocationPolicy"] == "IfNeeded",
            compiler,
        }
    }
}

fn validation(compiler: &Compiler, one: &Value) -> Validation {
    let message = text(one, "messageExpression");
    Validation {
        expression: compiler.expression(text(one, "expression"), Purpose::Condition),
        message: text(one, "message").to_owned(),
        message_expression: (!message.is_empty())
            .then(|| compiler.expression(message, Purpose::Message)),
        reason: match text(one, "reason") {
            "Forbidden" => "Forbidden",
            "Unauthorized" => "Unauthorized",
            "RequestEntityTooLarge" => "RequestEntityTooLarge",
            _ => "Invalid",
        },
    }
}

fn mutation(compiler: &Compiler, one: &Value) -> Option<Mutation> {
    let (key, purpose) = match text(one, "patchType") {
        "JSONPatch" => ("jsonPatch", Purpose::JsonPatch),
        "ApplyConfiguration" => ("applyConfiguration", Purpose::ApplyConfiguration),
        _ => return None,
    };
    let expression = compiler.expression(text(&one[key], "expression"), purpose);
    Some(Mutation { purpose, expression })
}

impl Binding {
    pub(super) fn of(name: &str, binding: &Value) -> Self {
        let spec = &binding["spec"];
        let resources = &spec["matchResources"];
        let actions = items(spec, "validationActions").filter_map(Value::as_str);
        Self {
            name: name.to_owned(),
            policy: text(spec, "policyName").to_owned(),
            param_ref: spec["paramRef"].clone(),
            resources: (!resources.is_null()).then(|| Constraints::of(resources)),
            actions: actions.map(str::to_owned).collect(),
        }
    }
}
