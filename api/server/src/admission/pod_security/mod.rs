//! PodSecurity: what the labels of a namespace let its pods do.
//!
//! | Rule | What always holds |
//! |------|-------------------|
//! | PS1 | A pod that does what its namespace does not let it is not created. |
//! | PS2 | A workload is only warned about: its pods are what is refused. |
//! | PS3 | Pods that are there stay; who makes a namespace stricter is told about them. |
//!
//! Nobody and nothing is exempt, as without a configuration file upstream. What is to be noted in
//! an audit log is not: there is no place for it yet.

mod checks;
#[cfg(test)]
mod checks_test;
mod policy;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use api_machinery::{Object, Status, View};
use serde_json::Value;
use tokio::time::Instant;

use super::{Attributes, Operation, lookup};
use crate::limits::{NAMESPACE_PODS_CHECK_TIME, NAMESPACE_PODS_CHECKED_MAX};
use crate::watch_cache::Version;
use checks::Pod;
use policy::{Level, Policy, Standard};

/// Where workloads have the template of their pods.
const TEMPLATES: [(&str, &str, &[&str]); 8] = [
    ("", "ReplicationController", &["spec", "template"]),
    ("", "PodTemplate", &["template"]),
    ("apps", "ReplicaSet", &["spec", "template"]),
    ("apps", "Deployment", &["spec", "template"]),
    ("apps", "StatefulSet", &["spec", "template"]),
    ("apps", "DaemonSet", &["spec", "template"]),
    ("batch", "Job", &["spec", "template"]),
    ("batch", "CronJob", &["spec", "jobTemplate", "spec", "template"]),
];
/// What changes nothing of what a pod may do.
const HARMLESS: [&str; 8] =
    ["exec", "attach", "binding", "eviction", "log", "portforward", "proxy", "status"];

pub(super) async fn validate(asked: &Attributes<'_>, object: &Object) -> Result<(), Status> {
    if asked.operation == Operation::Delete {
        return Ok(());
    }
    let (group, kind) = (asked.kind.group, asked.kind.kind);
    match (group, kind) {
        ("", "Namespace") if asked.subresource.is_empty() => namespace(asked, object).await,
        ("", "Pod") if !HARMLESS.contains(&asked.subresource) => pod(asked, object).await,
        _ if asked.subresource.is_empty() => {
            let of_kind = TEMPLATES.iter().find(|one| (one.0, one.1) == (group, kind));
            let template = of_kind.and_then(|(_, _, path)| object.at(path));
            match template.filter(|template| template.is_object()) {
                Some(template) => workload(asked, template).await,
                None => Ok(()),
            }
        }
        _ => Ok(()),
    }
}

async fn policy_of(asked: &Attributes<'_>) -> Result<Option<(Policy, bool)>, Status> {
    let found = lookup::find(asked.server, ("", "namespaces"), ("", asked.namespace)).await?;
    Ok(found.map(|namespace| {
        let (policy, errors) = Policy::of(&namespace);
        (policy, errors.is_empty())
    }))
}

async fn pod(asked: &Attributes<'_>, pod: &Object) -> Result<(), Status> {
    let Some((policy, is_sound)) = policy_of(asked).await? else {
        let why = format!("failed to lookup namespace {:?}", asked.namespace);
        return Err(Status::internal(&why));
    };
    if is_sound && policy.is_free() || asked.old.is_some_and(|old| !is_significant(pod, old)) {
        return Ok(());
    }
    let pod = Pod::of(pod);
    let violations = checks::check(policy.enforce, &pod);
    if violations.is_empty() {
        warn(asked, policy.warn, &pod);
        return Ok(());
    }
    let standard = policy.enforce.to_string();
    let why = format!("violates PodSecurity {standard:?}: {}", checks::details(&violations));
    Err(Status::forbidden(&asked.kind.group_resource(), asked.name, &why))
}

async fn workload(asked: &Attributes<'_>, template: &Value) -> Result<(), Status> {
    if let Some((policy, _)) = policy_of(asked).await? {
        warn(asked, policy.warn, &Pod::new(&template["metadata"], &template["spec"]));
    }
    Ok(())
}

fn warn(asked: &Attributes<'_>, standard: Standard, pod: &Pod<'_>) {
    let violations = checks::check(standard, pod);
    if !violations.is_empty() {
        let (standard, details) = (standard.to_string(), checks::details(&violations));
        asked.warn(&format!("would violate PodSecurity {standard:?}: {details}"));
    }
}

/// Of what can change in a pod, only containers and their images matter.
fn is_significant(pod: &Object, old: &Object) -> bool {
    fn list<'a>(pod: &'a Object, field: &str) -> &'a [Value] {
        pod.at(&["spec", field]).and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }
    let is_changed = ["containers", "initContainers"].iter().any(|field| {
        let (now, before) = (list(pod, field), list(old, field));
        let differs = |(a, b): (&Value, &Value)| a["image"] != b["image"];
        now.len() != before.len() || now.iter().zip(before).any(differs)
    });
    let part = |one| -> (&str, &Value) { name_and_image(one) };
    let before: HashMap<&str, &Value> =
        list(old, "ephemeralContainers").iter().rev().map(part).collect();
    is_changed
        || list(pod, "ephemeralContainers")
            .iter()
            .map(part)
            .any(|(name, image)| before.get(name).is_none_or(|before| *before != image))
}

fn name_and_image(container: &Value) -> (&str, &Value) {
    (container["name"].as_str().unwrap_or_default(), &container["image"])
}

/// The labels must be sound when they are new.
async fn namespace(asked: &Attributes<'_>, namespace: &Object) -> Result<(), Status> {
    let (policy, errors) = Policy::of(namespace);
    let before = asked.old.map(Policy::of);
    let is_told = before.as_ref().is_some_and(|(_, before)| *before == errors);
    if !errors.is_empty() && !is_told {
        return Err(Status::invalid(&asked.kind.group_kind(), asked.name, &errors));
    }
    let (Some((before, _)), now) = (before, policy.enforce) else { return Ok(()) };
    let is_no_stricter = now.version == before.enforce.version && now.level <= before.enforce.level;
    if now == before.enforce || now.level == Level::Privileged || is_no_stricter {
        return Ok(());
    }
    for warning in pods_against(asked, namespace.name(), now).await? {
        asked.warn(&warning);
    }
    Ok(())
}

/// PS3: which pods of a namespace a new standard would refuse.
async fn pods_against(
    asked: &Attributes<'_>,
    namespace: &str,
    standard: Standard,
) -> Result<Vec<String>, Status> {
    let end = Instant::now() + NAMESPACE_PODS_CHECK_TIME;
    let pods = in_turn(lookup::list(asked.server, ("", "pods"), namespace)?);
    let (total, mut checked) = (pods.len(), 0);
    // The first name and the number of the pods that are refused for the same reasons.
    let mut refused: HashMap<String, (String, usize)> = HashMap::new();
    for version in pods.iter().take(NAMESPACE_PODS_CHECKED_MAX) {
        let pod = version.object()?;
        let violations = checks::check(standard, &Pod::of(&pod));
        if !violations.is_empty() {
            let name = pod.name();
            let (first, count) =
                refused.entry(checks::reasons(&violations)).or_insert((name.to_owned(), 0));
            *count += 1;
            if name < first.as_str() {
                name.clone_into(first);
            }
        }
        checked += 1;
        if Instant::now() >= end {
            break;
        }
        // Others are served in between.
        tokio::task::yield_now().await;
    }
    let mut warnings = Vec::new();
    if checked < total {
        warnings.push(format!("new PodSecurity enforce level only checked against the first {checked} of {total} existing pods"));
    }
    if !refused.is_empty() {
        let standard = standard.to_string();
        warnings.push(format!("existing pods in namespace {namespace:?} violate the new PodSecurity enforce level {standard:?}"));
    }
    let mut each: Vec<String> = refused.into_iter().map(told).collect();
    each.sort();
    warnings.extend(each);
    Ok(warnings)
}

fn told((reasons, (name, count)): (String, (String, usize))) -> String {
    match count {
        1 => format!("{name}: {reasons}"),
        2 => format!("{name} (and 1 other pod): {reasons}"),
        count => format!("{name} (and {} other pods): {reasons}", count - 1),
    }
}

/// The first pod of every owner, then the others: they are most often alike.
fn in_turn(pods: Vec<Arc<Version>>) -> Vec<Arc<Version>> {
    let mut owners = HashSet::new();
    let (mut first, others): (Vec<_>, Vec<_>) = pods.into_iter().partition(|pod| {
        let json = pod.json();
        let references = View::new(&json).at(&["metadata", "ownerReferences"]);
        let owner = references.items().find(|one: &View<'_>| one.get("controller").is_true());
        owner.is_none_or(|owner| owners.insert(owner.get("uid").text().into_owned()))
    });
    first.extend(others);
    first
}
