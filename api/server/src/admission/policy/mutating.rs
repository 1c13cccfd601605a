//! Policies that change objects before they are checked.

use std::collections::BTreeSet;

use api_machinery::admission::{OutOfBudget, Patched, Purpose, Scene};
use api_machinery::admission::{apply_configuration, json_patch};
use api_machinery::decode::{self, Expected, FieldValidation};
use api_machinery::status::Cause;
use api_machinery::{Object, Status, apply, defaults, kinds};
use serde_json::Value;

use super::compiled::{Binding, Hook, Mutation, Policy};
use super::inputs::{Surroundings, check_version};
use super::params;
use super::snapshot::Snapshot;
use super::validating::conditions;
use crate::limits::POLICY_COST_MAX;

/// A policy with a binding and the namespace and name of a parameter.
type Key = (String, String, String, String);

/// What the first round of mutations leaves for the second.
#[derive(Debug, Default)]
pub(crate) struct Round {
    is_second: bool,
    /// Policies that want to be asked again and that no change came after yet.
    asked: BTreeSet<Key>,
    /// Those that are asked again.
    again: BTreeSet<Key>,
    /// The object after the last policy.
    output: Option<Object>,
}

impl Round {
    /// The second round.
    pub(crate) fn second(&mut self) -> &mut Self {
        self.is_second = true;
        self
    }

    /// Something changed: whoever came before it is asked again.
    fn changed(&mut self) {
        self.again.append(&mut self.asked);
    }
}

/// A policy that is to change the request's object.
struct Invocation<'s> {
    policy: &'s Policy,
    binding: &'s Binding,
    params: Option<Value>,
}

impl Invocation<'_> {
    fn key(&self) -> Key {
        let of = |field: &str| {
            let metadata = self.params.as_ref().map(|params| &params["metadata"][field]);
            metadata.and_then(Value::as_str).unwrap_or_default().to_owned()
        };
        (self.policy.name.clone(), self.binding.name.clone(), of("namespace"), of("name"))
    }
}

/// The policies that did not let the request through.
#[derive(Default)]
struct Refusals(Vec<(String, bool)>);

impl Refusals {
    fn add(&mut self, policy: &Policy, binding: Option<&Binding>, why: &str, is_invalid: bool) {
        if policy.ignores_failures {
            return;
        }
        let name = &policy.name;
        let message = match binding {
            Some(binding) => {
                format!("policy '{name}' with binding '{}' denied request: {why}", binding.name)
            }
            None => format!("policy {name:?} denied request: {why}"),
        };
        self.0.push((message, is_invalid));
    }

    fn misconfigured(&mut self, policy: &Policy, binding: Option<&Binding>, why: &str) {
        let what = if binding.is_some() { "binding" } else { "policy" };
        self.add(policy, binding, &format!("failed to configure {what}: {why}"), false);
    }

    fn finish(self, asked: &Surroundings<'_>, object: &Object) -> Result<(), Status> {
        let Some((first, is_invalid)) = self.0.first() else { return Ok(()) };
        let name = match (asked.attributes.name, object.generate_name()) {
            ("", "") => "Unknown",
            ("", base) => base,
            (name, _) => name,
        };
        let resource = asked.attributes.kind.group_resource();
        let mut status = Status::forbidden(&resource, name, "");
        status.message.clone_from(first);
        if *is_invalid {
            // Upstream changes the reason and keeps the code.
            status.reason = "Invalid";
        }
        let causes = self.0.into_iter().map(|(message, _)| Cause { message, ..Cause::default() });
        status.details.get_or_insert_default().causes.extend(causes);
        Err(status)
    }
}

/// One round; says whether the object changed.
pub(super) fn run(
    asked: &Surroundings<'_>,
    snapshot: &Snapshot,
    object: &mut Object,
    round: &mut Round,
) -> Result<bool, Status> {
    let mut refusals = Refusals::default();
    let mut invocations = Vec::new();
    for hook in &snapshot.mutating {
        gather(asked, hook, object, (&mut refusals, &mut invocations));
    }
    if !invocations.is_empty() {
        asked.check_namespace()?;
    }
    if round.is_second && round.output.as_ref().is_some_and(|output| output != object) {
        round.changed();
    }
    let before = object.clone();
    let request = asked.request();
    let old = asked.attributes.old.map(|old| asked.shown(old));
    for invocation in invocations {
        let Invocation { policy, binding, params } = &invocation;
        let tree = asked.shown(object);
        let inputs = asked.inputs(Some(&tree), old.as_ref(), (params.as_ref(), &request));
        match conditions(policy, &inputs) {
            Ok(true) => {}
            Ok(false) => continue,
            Err(why) => {
                refusals.add(policy, Some(binding), &why, true);
                continue;
            }
        }
        let key = invocation.key();
        if round.is_second && !round.again.contains(&key) {
            continue;
        }
        let mut is_changed = false;
        for mutation in &policy.mutations {
            let tree = asked.shown(object);
            let inputs = asked.inputs(Some(&tree), old.as_ref(), (params.as_ref(), &request));
            let scene = Scene::new(inputs, &policy.compiler, POLICY_COST_MAX);
            match mutated(asked, mutation, &tree, scene) {
                Ok(Some(next)) => is_changed |= take(asked, object, next)?,
                Ok(None) => {}
                Err(Failure::Policy(why)) => refusals.add(policy, Some(binding), &why, true),
                Err(Failure::Request(status)) => return Err(*status),
            }
        }
        if is_changed {
            round.changed();
        }
        if policy.reinvoked {
            round.asked.insert(key);
        }
    }
    let is_changed = before != *object;
    if is_changed {
        round.changed();
        keep_managed(asked, object, &before);
    }
    round.output = Some(object.clone());
    refusals.finish(asked, object)?;
    Ok(is_changed)
}

/// Adds what a policy is to be asked with.
fn gather<'s>(
    asked: &Surroundings<'_>,
    hook: &'s Hook,
    object: &Object,
    (refusals, invocations): (&mut Refusals, &mut Vec<Invocation<'s>>),
) {
    let policy = &*hook.policy;
    let kind = match policy.constraints.matches(asked, Some(object)) {
        Ok(Some(matched)) => check_version(asked.attributes.kind, matched)
            .and_then(|()| policy.params.as_ref().map(params::ParamKind::find).transpose()),
        Ok(None) => return,
        Err(why) => Err(why),
    };
    let kind = match kind {
        Ok(kind) => kind,
        Err(why) => return refusals.misconfigured(policy, None, &why),
    };
    for binding in &hook.bindings {
        let resources = binding.resources.as_ref();
        match resources.map(|resources| resources.matches(asked, Some(object))) {
            None | Some(Ok(Some(_))) => {}
            Some(Ok(None)) => continue,
            Some(Err(why)) => {
                refusals.misconfigured(policy, Some(binding), &why);
                continue;
            }
        }
        match params::collect(asked, kind, &binding.param_ref) {
            Ok(found) => invocations.extend(found.into_iter().map(|params| Invocation {
                policy,
                binding,
                params,
            })),
            Err(why) => refusals.misconfigured(policy, Some(binding), &why),
        }
    }
}

/// Why there is no mutated object.
enum Failure {
    /// The policy's `failurePolicy` says what that means.
    Policy(String),
    /// Whatever the policy says.
    Request(Box<Status>),
}

/// The object after one mutation; nothing when it does not apply.
fn mutated(
    asked: &Surroundings<'_>,
    mutation: &Mutation,
    tree: &Value,
    mut scene: Scene<'_, '_>,
) -> Result<Option<Object>, Failure> {
    if let Some(why) = mutation.expression.error() {
        return Err(Failure::Policy(why.to_owned()));
    }
    let made = scene
        .evaluate(&mutation.expression)
        .map_err(|OutOfBudget| Failure::Policy(OutOfBudget::MESSAGE.to_owned()))?
        .map_err(Failure::Policy)?;
    let own = asked.attributes.kind.api_version();
    let expected = if asked.is_scale() {
        Expected { api_version: "autoscaling/v1", kind: "Scale" }
    } else {
        Expected { api_version: &own, kind: asked.attributes.kind.kind }
    };
    let is_apply = mutation.purpose == Purpose::ApplyConfiguration;
    let (patched, validation) = if is_apply {
        let type_id = kinds::type_of(expected.api_version, expected.kind).ok_or_else(|| {
            Failure::Request(Box::new(Status::internal("no schema for the object")))
        })?;
        let merged = apply_configuration(&made, (type_id, tree)).map_err(Failure::Policy)?;
        (merged, FieldValidation::Ignore)
    } else {
        match json_patch(&made, tree).map_err(Failure::Policy)? {
            Patched::Changed(patched) => (patched, FieldValidation::Strict),
            Patched::Unchanged => return Ok(None),
        }
    };
    match decode::value(patched, expected, validation) {
        Ok(decoded) => Ok(Some(decoded.object)),
        Err(status) if is_apply => Err(Failure::Policy(status.message)),
        Err(status) => {
            let marker = format!("cannot be handled as a {}: ", expected.kind);
            let why = status.message.split_once(&marker).map_or(&*status.message, |(_, why)| why);
            Err(Failure::Request(Box::new(Status::internal(why))))
        }
    }
}

/// Takes a mutated object over with its defaults; says whether that is a change.
fn take(asked: &Surroundings<'_>, object: &mut Object, mut next: Object) -> Result<bool, Status> {
    if asked.is_scale() {
        let replicas = next.at(&["spec", "replicas"]).cloned().unwrap_or_else(|| 0.into());
        let is_changed = object.at(&["spec", "replicas"]) != Some(&replicas);
        object.set(&["spec", "replicas"], replicas);
        return Ok(is_changed);
    }
    if next.namespace() != object.namespace() {
        return Err(Status::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    defaults::apply(asked.attributes.kind, &mut next);
    let is_changed = *object != next;
    *object = next;
    Ok(is_changed)
}

/// Managed fields that a policy broke are put back.
fn keep_managed(asked: &Surroundings<'_>, object: &mut Object, before: &Object) {
    let managed = before.at(&["metadata", "managedFields"]);
    if let Some(warning) = apply::after_admission(object, managed) {
        asked.attributes.warn(&warning);
    }
}
