//! Deleting an object: at once, after a grace period, or when its finalizers are done.

use std::sync::Arc;

use api_machinery::custom::definition::conditions;
use api_machinery::header;
use api_machinery::kinds::Propagation;
use api_machinery::status::Grouped;
use api_machinery::strategy::{Deletion, graceful_deletion};
use api_machinery::{Object, ResourceInfo, Status, View, time};
use serde_json::Value;

use super::By;
use crate::admission::{self, Attributes, Operation};
use crate::cluster_ip;
use crate::custom::Shape;
use crate::limits::UPDATE_TRIES_MAX;
use crate::state::Server;
use crate::storage::{Outcome, Stored, Write};
use crate::watch_cache::Version;

const ORPHAN: &str = "orphan";
const FOREGROUND: &str = "foregroundDeletion";

/// What happens to dependents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PropagationPolicy {
    Foreground,
    Background,
    Orphan,
}

/// What a client asks of a deletion.
#[derive(Clone, Debug, Default)]
pub(crate) struct DeleteOptions {
    pub(crate) grace_seconds: Option<i64>,
    pub(crate) propagation: Option<PropagationPolicy>,
    pub(crate) uid: Option<String>,
    pub(crate) resource_version: Option<String>,
    pub(crate) dry_run: bool,
    /// One of a collection: admission is not told its name, as upstream does not tell it.
    pub(crate) of_collection: bool,
}

/// What a deletion came to.
#[derive(Clone, Debug)]
pub(crate) enum Deleted {
    /// The object is there and going.
    Marked(Object),
    /// The object is gone; this is how it was.
    Gone(Object),
    /// The same, as a cache has it.
    GoneFromCache(Arc<Version>),
}

/// Deletes an object, or marks it. Whether for good is said by the options.
pub(crate) async fn delete(
    server: &Server,
    info: &'static ResourceInfo,
    (namespace, name): (&str, &str),
    options: &DeleteOptions,
    by: By<'_>,
) -> Result<Deleted, Status> {
    let shape = Shape::of(server, info)?;
    let key = server.storage.key(info, namespace, name);
    let gone = gone_at_once(server, (&shape, &key), (namespace, name), options, by).await?;
    if let Some(gone) = gone {
        return Ok(Deleted::GoneFromCache(gone));
    }
    // What is sealed and cannot be opened any more is not deleted either.
    let is_readable = !server.storage.seals();
    let mut found = is_readable.then(|| super::cached(server, &shape, &key)).flatten();
    let mut is_guess = found.is_some();
    if !is_guess {
        found = shape.get(&server.storage, namespace, name).await?;
    }
    for _ in 0..UPDATE_TRIES_MAX {
        let Some(Stored { object: current, revision, .. }) = found else {
            return Err(Status::not_found(&info.group_resource(), name));
        };
        let asked = asked(server, info, (namespace, name), (options, by), &current);
        let step = next_step(&asked, info, &current, options).await;
        if is_guess && !step.as_ref().is_ok_and(Step::is_write) {
            found = shape.get(&server.storage, namespace, name).await?;
            is_guess = false;
            continue;
        }
        is_guess = false;
        let newer = match step? {
            Step::Answer(answer) => return Ok(answer),
            Step::Delete => match server.storage.commit(&key, revision, Write::Delete).await? {
                Outcome::Done(_) => {
                    if info.kind == "Service" {
                        let ports = server.config.node_ports;
                        cluster_ip::release_all(&server.storage, &current, ports).await;
                    }
                    return Ok(Deleted::Gone(current));
                }
                Outcome::Conflict(newer) => newer,
            },
            Step::Mark(mut next) => {
                match shape.put(&server.storage, &mut next, revision, by.notes).await? {
                    Outcome::Done(_) => return Ok(Deleted::Marked(next)),
                    Outcome::Conflict(newer) => newer,
                }
            }
        };
        found = newer.as_ref().map(|raw| shape.stored(raw)).transpose()?;
    }
    Err(Status::conflict(&info.group_resource(), name, Status::MODIFIED))
}

/// What admission is told.
fn asked<'a>(
    server: &'a Server,
    info: &'static ResourceInfo,
    (namespace, name): (&'a str, &'a str),
    (options, by): (&DeleteOptions, By<'a>),
    old: &'a Object,
) -> Attributes<'a> {
    Attributes {
        server,
        user: by.user,
        kind: info.kept(),
        operation: Operation::Delete,
        subresource: "",
        namespace,
        name: if options.of_collection { "" } else { name },
        old: Some(old),
        warnings: by.warnings,
        dry_run: options.dry_run,
        notes: by.notes,
    }
}

/// Deletes an object that goes at once by what the cache has of it, without a look at all that is in
/// it. `None` when it is not that simple: then nothing has happened.
async fn gone_at_once(
    server: &Server,
    (shape, key): (&Shape, &str),
    (namespace, name): (&str, &str),
    options: &DeleteOptions,
    by: By<'_>,
) -> Result<Option<Arc<Version>>, Status> {
    let info = shape.info;
    // They leave something behind, or stay for a while.
    let is_simple = !matches!(info.kind, "Service" | "Namespace" | "CustomResourceDefinition");
    if !is_simple || shape.custom.is_some() || options.dry_run || server.storage.seals() {
        return Ok(None);
    }
    let Some(version) = shape.cache(server).get(key) else { return Ok(None) };
    let outline = header::outline(View::new(&version.json()));
    let Ok(revision) = outline.resource_version().parse() else { return Ok(None) };
    let asked = asked(server, info, (namespace, name), (options, by), &outline);
    // Policies may look at anything.
    if !admission::policy::are_silent(&asked).await {
        return Ok(None);
    }
    // Nothing but a deletion is decided by what may be old, and by a part of it.
    if !matches!(next_step(&asked, info, &outline, options).await, Ok(Step::Delete)) {
        return Ok(None);
    }
    Ok(match server.storage.commit(key, revision, Write::Delete).await? {
        Outcome::Done(_) => Some(version),
        Outcome::Conflict(_) => None,
    })
}

/// What is to be done about an object as it is.
#[derive(Debug)]
enum Step {
    /// Nothing is written.
    Answer(Deleted),
    Delete,
    Mark(Object),
}

impl Step {
    fn is_write(&self) -> bool {
        matches!(self, Self::Delete | Self::Mark(_))
    }
}

async fn next_step(
    asked: &Attributes<'_>,
    info: &ResourceInfo,
    current: &Object,
    options: &DeleteOptions,
) -> Result<Step, Status> {
    check_preconditions(info, current, options)?;
    admission::validate(asked, None).await?;
    Ok(match marked(info, current, options) {
        None if options.dry_run => Step::Answer(Deleted::Gone(current.clone())),
        None => Step::Delete,
        Some(next) if options.dry_run || next == *current => Step::Answer(Deleted::Marked(next)),
        Some(next) => Step::Mark(next),
    })
}

fn check_preconditions(
    info: &ResourceInfo,
    current: &Object,
    options: &DeleteOptions,
) -> Result<(), Status> {
    // Upstream names the kind here, not the resource.
    let kind = Grouped::new(info.group, info.kind);
    let refuse = |what: &str, wanted: &str, found: &str, then: &str| {
        let why = format!(
            "the {what} in the precondition ({wanted}) does not match the {what} in record ({found}). The object might have been {then}"
        );
        Err(Status::conflict(&kind, current.name(), &why))
    };
    match &options.uid {
        Some(uid) if uid != current.uid() => {
            return refuse("UID", uid, current.uid(), "deleted and then recreated");
        }
        Some(_) | None => {}
    }
    match &options.resource_version {
        Some(version) if version != current.resource_version() => {
            refuse("ResourceVersion", version, current.resource_version(), "modified")
        }
        Some(_) | None => Ok(()),
    }
}

/// The object as it stays for now, or `None` when it can go at once.
fn marked(info: &ResourceInfo, current: &Object, options: &DeleteOptions) -> Option<Object> {
    let now = clock::now();
    let finalizers = finalizers(info, current, options.propagation);
    let next = || {
        let mut next = current.clone();
        next.set_finalizers(&finalizers);
        next
    };
    if info.kind == "Namespace" {
        let has_content_finalizer = current
            .at(&["spec", "finalizers"])
            .and_then(Value::as_array)
            .is_some_and(|list| !list.is_empty());
        if !has_content_finalizer && finalizers.is_empty() {
            return None;
        }
        let mut next = next();
        if current.deletion_timestamp().is_none() {
            next.set(&["metadata", "deletionTimestamp"], time::seconds(now).into());
            next.set(&["status", "phase"], "Terminating".into());
        }
        return Some(next);
    }
    if info.kind == "CustomResourceDefinition" && current.deletion_timestamp().is_none() {
        let mut next = next();
        conditions::mark_deleted(&mut next, &time::seconds(now));
        return Some(next);
    }
    match graceful_deletion(info, current, options.grace_seconds) {
        Deletion::AlreadyGoing => Some(next()),
        Deletion::Graceful { grace_seconds } => {
            let mut next = next();
            let at = due(current, now, grace_seconds);
            next.set_deletion(Some((&at, grace_seconds)));
            count_generation(&mut next, current);
            Some(next)
        }
        Deletion::Now if finalizers.is_empty() => None,
        Deletion::Now => {
            let mut next = next();
            if current.deletion_timestamp().is_none() {
                next.set_deletion(Some((&time::seconds(now), 0)));
                count_generation(&mut next, current);
            } else if current.deletion_grace_period_seconds().unwrap_or(0) != 0 {
                next.set(&["metadata", "deletionGracePeriodSeconds"], 0.into());
            }
            Some(next)
        }
    }
}

/// Being marked is a change of what is wanted.
fn count_generation(next: &mut Object, current: &Object) {
    if current.deletion_timestamp().is_none() && current.generation() > 0 {
        next.set_generation(current.generation() + 1);
    }
}

/// When a graceful deletion ends; a shorter one counts from the first request.
fn due(current: &Object, now: jiff::Timestamp, grace_seconds: i64) -> String {
    let begun = current
        .deletion_timestamp()
        .and_then(time::parse)
        .and_then(|end| {
            let old = current.deletion_grace_period_seconds().unwrap_or(0);
            end.checked_sub(jiff::SignedDuration::from_secs(old)).ok()
        })
        .unwrap_or(now);
    let end = begun.checked_add(jiff::SignedDuration::from_secs(grace_seconds)).unwrap_or(begun);
    time::seconds(end)
}

/// The finalizers that the policy leads to.
fn finalizers(
    info: &ResourceInfo,
    current: &Object,
    policy: Option<PropagationPolicy>,
) -> Vec<String> {
    let held = current.finalizers();
    let has = |name: &str| held.iter().any(|one| one == name);
    let (orphans, foreground) = match policy {
        Some(policy) => {
            (policy == PropagationPolicy::Orphan, policy == PropagationPolicy::Foreground)
        }
        None if has(ORPHAN) => (true, false),
        None if has(FOREGROUND) => (false, true),
        None => (info.default_propagation == Propagation::Orphan, false),
    };
    let mut kept: Vec<String> =
        held.iter().filter(|one| *one != ORPHAN && *one != FOREGROUND).cloned().collect();
    if orphans {
        kept.push(ORPHAN.to_owned());
    }
    if foreground {
        kept.push(FOREGROUND.to_owned());
    }
    kept
}

#[cfg(test)]
mod tests {
    use api_machinery::kinds;
    use serde_json::json;

    use super::*;

    fn info(plural: &str) -> &'static ResourceInfo {
        kinds::find("", "v1", plural).or_else(|| kinds::find("apps", "v1", plural)).unwrap()
    }

    fn object(tree: Value) -> Object {
        Object::from_value(tree).unwrap()
    }

    #[test]
    fn foreground_deletion_waits_for_its_finalizer() {
        let deployment = object(json!({"metadata": {"name": "d", "generation": 1}}));
        let options = DeleteOptions {
            propagation: Some(PropagationPolicy::Foreground),
            ..DeleteOptions::default()
        };
        let going = marked(info("deployments"), &deployment, &options).unwrap();
        assert_eq!(going.finalizers(), [FOREGROUND]);
        assert_eq!(going.deletion_grace_period_seconds(), Some(0));
        assert_eq!(going.generation(), 2);
        let background = DeleteOptions::default();
        assert!(marked(info("deployments"), &deployment, &background).is_none());
    }

    #[test]
    fn a_bound_pod_gets_its_grace_period_and_a_namespace_its_phase() {
        let pod = object(json!({
            "metadata": {"name": "p"},
            "spec": {"nodeName": "n", "terminationGracePeriodSeconds": 30},
        }));
        let going = marked(info("pods"), &pod, &DeleteOptions::default()).unwrap();
        assert_eq!(going.deletion_grace_period_seconds(), Some(30));
        let now = DeleteOptions { grace_seconds: Some(0), ..DeleteOptions::default() };
        assert!(marked(info("pods"), &going, &now).is_none());

        let namespace = object(json!({
            "metadata": {"name": "n"}, "spec": {"finalizers": ["kubernetes"]},
        }));
        let going = marked(info("namespaces"), &namespace, &DeleteOptions::default()).unwrap();
        assert_eq!(going.text(&["status", "phase"]), "Terminating");
        assert!(going.deletion_timestamp().is_some());
    }
}
