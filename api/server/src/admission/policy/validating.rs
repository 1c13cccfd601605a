//! Policies that check: what they say about a request, and what becomes of that.

use api_machinery::admission::{Cel, Evaluated, Expression, Inputs, OutOfBudget, Scene};
use api_machinery::status::Cause;
use api_machinery::{Object, Status};
use serde_json::{Value, json};

use super::compiled::{Binding, Policy, Validation};
use super::inputs::{Surroundings, check_version};
use super::params;
use super::snapshot::Snapshot;
use crate::limits::{
    AUDIT_ANNOTATION_BYTES_MAX, MATCH_CONDITIONS_COST_MAX, POLICY_COST_MAX,
    POLICY_MESSAGE_BYTES_MAX,
};

/// The key of the audit log for what a binding only wants to be noted.
const FAILURE_ANNOTATION: &str = "validation.policy.admission.k8s.io/validation_failure";

/// Why a request is not let through.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Denial {
    message: String,
    /// Empty for errors.
    reason: &'static str,
}

/// What a policy says with one parameter of one binding.
#[derive(Debug, Default)]
struct Said {
    /// One for each validation; none where it holds.
    decisions: Vec<Option<Denial>>,
    annotations: Vec<(String, String)>,
    /// What went wrong with annotations.
    failures: Vec<String>,
}

/// The first denial, and what of the others goes into the audit log.
#[derive(Default)]
struct Verdict(Option<(String, &'static str)>);

impl Verdict {
    fn deny(&mut self, policy: &Policy, binding: Option<&Binding>, denial: Denial) {
        if self.0.is_some() {
            return;
        }
        let (name, why) = (&policy.name, denial.message);
        let message = match binding {
            Some(binding) => format!(
                "ValidatingAdmissionPolicy '{name}' with binding '{}' denied request: {why}",
                binding.name
            ),
            None => format!("ValidatingAdmissionPolicy '{name}' denied request: {why}"),
        };
        self.0 = Some((message, denial.reason));
    }

    /// A policy or binding that cannot be asked.
    fn misconfigured(&mut self, policy: &Policy, binding: Option<&Binding>, why: &str) {
        if policy.ignores_failures {
            return;
        }
        let what = if binding.is_some() { "binding" } else { "policy" };
        let message = format!("failed to configure {what}: {why}");
        self.deny(policy, binding, Denial { message, reason: "" });
    }

    fn finish(self, asked: &Surroundings<'_>) -> Result<(), Status> {
        let Some((message, reason)) = self.0 else { return Ok(()) };
        let name = match asked.attributes.name {
            "" => "Unknown",
            name => name,
        };
        let resource = asked.attributes.kind.group_resource();
        let mut status = Status::forbidden(&resource, name, &message);
        status.reason = if reason.is_empty() { "Invalid" } else { reason };
        status.code = match reason {
            "Forbidden" => 403,
            "Unauthorized" => 401,
            "RequestEntityTooLarge" => 413,
            _ => 422,
        };
        let cause = Cause { message, ..Cause::default() };
        status.details.get_or_insert_default().causes.push(cause);
        Err(status)
    }
}

/// Asks all policies.
pub(super) fn run(
    asked: &Surroundings<'_>,
    snapshot: &Snapshot,
    object: Option<&Object>,
) -> Result<(), Status> {
    let mut verdict = Verdict::default();
    let mut trees = None;
    for hook in &snapshot.validating {
        let policy = &*hook.policy;
        let kind = match policy.constraints.matches(asked, object) {
            Ok(Some(matched)) => check_version(asked.attributes.kind, matched)
                .and_then(|()| policy.params.as_ref().map(params::ParamKind::find).transpose()),
            Ok(None) => continue,
            Err(why) => Err(why),
        };
        let kind = match kind {
            Ok(kind) => kind,
            Err(why) => {
                verdict.misconfigured(policy, None, &why);
                continue;
            }
        };
        let mut annotations: Vec<(String, Vec<String>)> = Vec::new();
        for binding in &hook.bindings {
            match binding.resources.as_ref().map(|resources| resources.matches(asked, object)) {
                None | Some(Ok(Some(_))) => {}
                Some(Ok(None)) => continue,
                Some(Err(why)) => {
                    verdict.misconfigured(policy, Some(binding), &why);
                    continue;
                }
            }
            let params = match params::collect(asked, kind, &binding.param_ref) {
                Ok(params) => params,
                Err(why) => {
                    verdict.misconfigured(policy, Some(binding), &why);
                    continue;
                }
            };
            asked.check_namespace()?;
            let trees = trees.get_or_insert_with(|| Trees::of(asked, object));
            for params in &params {
                let said = trees.ask(asked, policy, params.as_ref());
                carry_out(asked, (policy, binding), said, (&mut verdict, &mut annotations));
            }
        }
        publish(asked, policy, annotations);
    }
    verdict.finish(asked)
}

/// What a policy said becomes denials, warnings and annotations.
fn carry_out(
    asked: &Surroundings<'_>,
    (policy, binding): (&Policy, &Binding),
    said: Said,
    (verdict, annotations): (&mut Verdict, &mut Vec<(String, Vec<String>)>),
) {
    for (index, denial) in said.decisions.into_iter().enumerate() {
        let Some(denial) = denial else { continue };
        for action in &binding.actions {
            match action.as_str() {
                "Deny" => verdict.deny(policy, Some(binding), denial.clone()),
                "Warn" => asked.attributes.warn(&format!(
                    "Validation failed for ValidatingAdmissionPolicy '{}' with binding '{}': {}",
                    policy.name, binding.name, denial.message
                )),
                _ => note_failure(asked, binding, index, &denial),
            }
        }
    }
    for (key, value) in said.annotations {
        match annotations.iter_mut().find(|(known, _)| *known == key) {
            Some((_, values)) if values.contains(&value) => {}
            Some((_, values)) => values.push(value),
            None => annotations.push((key, vec![value])),
        }
    }
    for message in said.failures {
        verdict.deny(policy, Some(binding), Denial { message, reason: "" });
    }
}

fn note_failure(asked: &Surroundings<'_>, binding: &Binding, index: usize, denial: &Denial) {
    let Some(notes) = asked.attributes.notes else { return };
    let value = json!([{
        "message": denial.message,
        "policy": binding.policy,
        "binding": binding.name,
        "expressionIndex": index,
        "validationActions": binding.actions,
    }]);
    notes.annotate(FAILURE_ANNOTATION, &value.to_string());
}

fn publish(asked: &Surroundings<'_>, policy: &Policy, annotations: Vec<(String, Vec<String>)>) {
    let Some(notes) = asked.attributes.notes else { return };
    for (key, values) in annotations {
        notes.annotate(&format!("{}/{key}", policy.name), &values.join(", "));
    }
}

/// The request as trees, made for the first policy that is asked.
struct Trees {
    object: Option<Value>,
    old: Option<Value>,
    request: Value,
}

impl Trees {
    fn of(asked: &Surroundings<'_>, object: Option<&Object>) -> Self {
        Self {
            object: object.map(|object| asked.shown(object)),
            old: asked.attributes.old.map(|old| asked.shown(old)),
            request: asked.request(),
        }
    }

    fn ask(&self, asked: &Surroundings<'_>, policy: &Policy, params: Option<&Value>) -> Said {
        let inputs = asked.inputs(self.object.as_ref(), self.old.as_ref(), (params, &self.request));
        let failed =
            |message: String| Said { decisions: vec![failure(policy, message)], ..Said::default() };
        match conditions(policy, &inputs) {
            Ok(true) => {}
            Ok(false) => return Said::default(),
            Err(why) => return failed(why),
        }
        let Ok(decisions) = decisions(policy, &inputs) else {
            return failed(OutOfBudget::MESSAGE.to_owned());
        };
        let mut said = Said { decisions, ..Said::default() };
        match annotate(policy, &inputs, &mut said) {
            Ok(()) => said,
            Err(OutOfBudget) => failed(OutOfBudget::MESSAGE.to_owned()),
        }
    }
}

/// An error, when errors count.
fn failure(policy: &Policy, message: String) -> Option<Denial> {
    (!policy.ignores_failures).then_some(Denial { message, reason: "" })
}

/// Whether the policy's match conditions hold; errors only where they count.
pub(super) fn conditions(policy: &Policy, inputs: &Inputs<'_>) -> Result<bool, String> {
    if policy.conditions.is_empty() {
        return Ok(true);
    }
    // Upstream does not show them the namespace.
    let inputs = Inputs { namespace: None, ..*inputs };
    let mut scene = Scene::new(inputs, &policy.compiler, MATCH_CONDITIONS_COST_MAX);
    let mut evaluated = Vec::with_capacity(policy.conditions.len());
    for condition in &policy.conditions {
        match scene.evaluate(condition) {
            Ok(out) => evaluated.push(out),
            Err(OutOfBudget) if policy.ignores_failures => return Ok(false),
            Err(OutOfBudget) => return Err(OutOfBudget::MESSAGE.to_owned()),
        }
    }
    let mut errors: Vec<String> = Vec::new();
    for out in evaluated {
        match out {
            Ok(Cel::Bool(false)) => return Ok(false),
            Ok(_) => {}
            Err(why) if errors.contains(&why) => {}
            Err(why) => errors.push(why),
        }
    }
    match errors.as_slice() {
        [] => Ok(true),
        _ if policy.ignores_failures => Ok(false),
        [one] => Err(one.clone()),
        many => Err(format!("[{}]", many.join(", "))),
    }
}

fn decisions(policy: &Policy, inputs: &Inputs<'_>) -> Result<Vec<Option<Denial>>, OutOfBudget> {
    let mut scene = Scene::new(*inputs, &policy.compiler, POLICY_COST_MAX);
    let mut results: Vec<Evaluated<'_>> = Vec::with_capacity(policy.validations.len());
    for validation in &policy.validations {
        results.push(scene.evaluate(&validation.expression)?);
    }
    let unauthorized = Inputs { authority: None, ..*inputs };
    let mut scene = Scene::new(unauthorized, &policy.compiler, scene.budget());
    let messages: Result<Vec<Option<String>>, OutOfBudget> = policy
        .validations
        .iter()
        .map(|validation| match &validation.message_expression {
            Some(expression) => message(&mut scene, expression),
            None => Ok(None),
        })
        .collect();
    let decide = |(index, result): (usize, Evaluated<'_>)| match (result, &messages) {
        (Err(why), _) => failure(policy, why),
        (Ok(_), Err(OutOfBudget)) => {
            failure(policy, format!("failed messageExpression: {}", OutOfBudget::MESSAGE))
        }
        (Ok(Cel::Bool(true)), _) => None,
        (Ok(_), Ok(messages)) => {
            let validation = &policy.validations[index];
            let message = messages[index].clone().unwrap_or_else(|| spare_message(validation));
            Some(Denial { message, reason: validation.reason })
        }
    };
    Ok(results.into_iter().enumerate().map(decide).collect())
}

/// A message that was made for the request, when it is fit to be one.
fn message(
    scene: &mut Scene<'_, '_>,
    expression: &Expression,
) -> Result<Option<String>, OutOfBudget> {
    let Ok(Cel::String(text)) = scene.evaluate(expression)? else {
        return Ok(None);
    };
    let text = text.trim();
    let is_fit = !text.is_empty() && text.len() <= POLICY_MESSAGE_BYTES_MAX && !text.contains('\n');
    Ok(is_fit.then(|| text.to_owned()))
}

fn spare_message(validation: &Validation) -> String {
    match validation.message.trim() {
        "" => format!("failed expression: {}", validation.expression.text.trim()),
        message => message.to_owned(),
    }
}

fn annotate(policy: &Policy, inputs: &Inputs<'_>, said: &mut Said) -> Result<(), OutOfBudget> {
    let inputs = Inputs { authority: None, ..*inputs };
    let mut scene = Scene::new(inputs, &policy.compiler, POLICY_COST_MAX);
    for (key, expression) in &policy.annotations {
        match scene.evaluate(expression)? {
            Ok(Cel::String(text)) => {
                let mut value = text.trim();
                if value.len() > AUDIT_ANNOTATION_BYTES_MAX {
                    let end = value.floor_char_boundary(AUDIT_ANNOTATION_BYTES_MAX);
                    value = &value[..end];
                }
                if !value.is_empty() {
                    said.annotations.push((key.clone(), value.to_owned()));
                }
            }
            Ok(_) => {}
            Err(_) if policy.ignores_failures => {}
            Err(why) => said.failures.push(why),
        }
    }
    Ok(())
}
