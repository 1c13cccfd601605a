//! Server-side apply and field management: who owns which fields, and what happens when two
//! managers want the same one.
//!
//! A write goes through [`update`], an apply patch through [`apply()`]; both give the object with
//! its `metadata.managedFields`. [`keep_times`] comes last, right before the object is stored.
//! Trees come from requests and are as deep as [`crate::limits::NESTING_DEPTH_MAX`] lets them be,
//! so that the walks over them need no limit of their own.
//!
//! Rules A1 and A2 are in `set.rs`, A3 to A5 in `updater.rs`.

mod check;
mod compare;
mod configure;
mod custom;
mod fields;
mod last_applied;
mod managed;
mod merge;
mod path;
mod remove;
pub mod scale;
mod set;
mod target;
mod types;
mod updater;

#[cfg(test)]
mod apply_test;

use serde_json::{Value, json};

pub use self::compare::{Comparison, compare};
pub use self::configure::configure;
pub use self::fields::field_set;
pub use self::managed::{Identity, Managers, Operation, Owned};
pub use self::managed::{manager_name, validate, validate_manager};
pub use self::merge::merge;
pub use self::path::{Path, PathElement, text as path_text};
pub use self::remove::{extract, remove};
pub use self::set::Set;
pub use self::target::{Reset, Target};
pub use self::types::{NodeType, Scalar};

use self::check::{Duplicates, check};
use self::updater::Refusal;
use crate::{Object, Status};

/// Who writes, and when.
#[derive(Clone, Copy, Debug)]
pub struct Writer<'a> {
    /// From [`manager_name`]; for an apply what the request says.
    pub manager: &'a str,
    /// RFC 3339 with seconds.
    pub now: &'a str,
    /// Takes fields that others own instead of being refused; appliers only.
    pub force: bool,
}

/// The object after a write that is no apply, with its managed fields. `live` is `None` on create.
/// `new` is decoded and has its defaults; its own managed fields count when they are readable.
#[must_use]
pub fn update(target: &Target, live: Option<&Object>, new: Object, writer: Writer<'_>) -> Object {
    let managers = known_managers(target, live, &new);
    let mut object = new;
    object.remove(&["metadata", "managedFields"]);
    let is_new = live.is_none_or(|live| live.uid().is_empty());
    // Objects that were never managed stay so until somebody applies.
    if managers.is_empty() && !is_new {
        return object;
    }
    let live = live.map_or_else(|| target.empty(), without_managed_fields);
    let mut managers = update_managers(target, &live, &object, (managers, writer));
    managers.cap_updaters();
    managers.write(&mut object);
    object
}

/// The managers that an update starts from: those that the client sent, or the live ones.
fn known_managers(target: &Target, live: Option<&Object>, new: &Object) -> Managers {
    let of = |object: &Object| Managers::read(object.at(&["metadata", "managedFields"]));
    let live_managers = || live.and_then(|live| of(live).ok()).unwrap_or_default();
    if !target.subresource.is_empty() {
        return live_managers();
    }
    if managed::is_reset(new.at(&["metadata", "managedFields"])) {
        return Managers::default();
    }
    match of(new) {
        Ok(managers) if !managers.is_empty() => managers,
        _ => live_managers(),
    }
}

fn without_managed_fields(object: &Object) -> Object {
    let mut object = object.clone();
    object.remove(&["metadata", "managedFields"]);
    object
}

fn identity(target: &Target, manager: &str, operation: Operation) -> Identity {
    let manager = if manager.is_empty() { "unknown" } else { manager };
    Identity {
        manager: manager.to_owned(),
        operation,
        api_version: match operation {
            Operation::Apply => String::new(),
            Operation::Update => target.api_version.clone(),
        },
        subresource: target.subresource.clone(),
    }
}

fn update_managers(
    target: &Target,
    live: &Object,
    new: &Object,
    (managers, writer): (Managers, Writer<'_>),
) -> Managers {
    let tree = |object: &Object| Value::Object(object.0.clone());
    let (mut managers, own) = updater::update(target, &tree(live), &tree(new), managers);
    let own = own.difference(&stripped());
    if own.is_empty() {
        return managers;
    }
    let identity = identity(target, writer.manager, Operation::Update);
    let before = managers.0.get(&identity).map(|owned| owned.set.clone()).unwrap_or_default();
    let owned = Owned {
        set: own.union(&before),
        api_version: target.api_version.clone(),
        time: writer.now.to_owned(),
    };
    managers.0.insert(identity, owned);
    managers
}

/// Fields that nobody owns.
fn stripped() -> Set {
    Set::of_fields(&[
        &["apiVersion"],
        &["kind"],
        &["metadata"],
        &["metadata", "name"],
        &["metadata", "namespace"],
        &["metadata", "creationTimestamp"],
        &["metadata", "selfLink"],
        &["metadata", "uid"],
        &["metadata", "clusterName"],
        &["metadata", "generation"],
        &["metadata", "managedFields"],
        &["metadata", "resourceVersion"],
    ])
}

/// The object after an apply patch, with its managed fields. `live` is `None` when the patch is
/// to create the object; `config` is the patch as it was sent.
///
/// # Errors
/// 409 when others own what the patch sets differently, 400 when the patch is of another kind,
/// 500 when it does not fit its type: as upstream.
pub fn apply(
    target: &Target,
    live: Option<&Object>,
    config: &Object,
    writer: Writer<'_>,
) -> Result<Object, Status> {
    let (api_version, kind) = (config.api_version(), config.kind());
    if api_version != target.api_version || kind != target.kind {
        let shown = Target::shown_kind(api_version, kind);
        return Err(Status::bad_request(format!("invalid object type: {shown}")));
    }
    let empty;
    let live = match live {
        Some(live) => live,
        None => {
            empty = target.empty();
            &empty
        }
    };
    let entries = live.at(&["metadata", "managedFields"]);
    let mut managers = Managers::read(entries)
        .map_err(|why| Status::unexplained(&format!("failed to decode managed fields: {why}")))?;
    let live = without_managed_fields(live);
    if managers.is_empty() {
        let first = Writer { manager: "before-first-apply", ..writer };
        managers = update_managers(target, &target.empty(), &live, (managers, first));
        managers.cap_updaters();
    }
    let (mut object, managers) = apply_as(target, &live, config, (managers, writer))?;
    if writer.manager == last_applied::KUBECTL {
        last_applied::refresh(&mut object, config);
    }
    managers.write(&mut object);
    Ok(object)
}

/// Applies, and for kubectl once more by force when the last client-side apply settles all
/// conflicts.
fn apply_as(
    target: &Target,
    live: &Object,
    config: &Object,
    (managers, writer): (Managers, Writer<'_>),
) -> Result<(Object, Managers), Status> {
    let attempt =
        |force| apply_once(target, live, config, (managers.clone(), Writer { force, ..writer }));
    let mut conflicts = match attempt(writer.force) {
        Ok(done) => return Ok(done),
        Err(Refusal::Status(status)) => return Err(status),
        Err(Refusal::Conflicts(conflicts)) => conflicts,
    };
    let settled = match writer.manager {
        last_applied::KUBECTL => last_applied::settled(target, live),
        _ => None,
    };
    if let Some(settled) = settled {
        conflicts.retain(|conflict| !settled.has(&conflict.path));
        if conflicts.is_empty() {
            return attempt(true).map_err(|refusal| match refusal {
                Refusal::Status(status) => status,
                Refusal::Conflicts(conflicts) => updater::conflict_status(&conflicts),
            });
        }
    }
    Err(updater::conflict_status(&conflicts))
}

fn apply_once(
    target: &Target,
    live: &Object,
    config: &Object,
    (managers, writer): (Managers, Writer<'_>),
) -> Result<(Object, Managers), Refusal> {
    let shown = |object: &Object| {
        format!(
            "{}/{}; {}",
            object.namespace(),
            object.name(),
            Target::shown_kind(object.api_version(), object.kind())
        )
    };
    if config.at(&["metadata", "managedFields"]).is_some_and(Value::is_array) {
        let status = Status::bad_request("metadata.managedFields must be nil");
        return Err(Refusal::Status(status));
    }
    let live_tree = Value::Object(live.0.clone());
    let config_tree = Value::Object(config.0.clone());
    let fits = |tree: &Value, duplicates, what: &str, object: &Object| {
        check(tree, &target.node, duplicates).map_err(|why| {
            let message =
                format!("failed to create typed {what} object ({}): {why}", shown(object));
            Refusal::Status(Status::unexplained(&message))
        })
    };
    fits(&config_tree, Duplicates::Refused, "patch", config)?;
    fits(&live_tree, Duplicates::Allowed, "live", live)?;
    let identity = identity(target, writer.manager, Operation::Apply);
    let who = (managers, &identity);
    let (new, mut managers) = updater::apply(target, &live_tree, &config_tree, who, writer.force)?;
    if let Some(owned) = managers.0.get_mut(&identity) {
        owned.set = owned.set.difference(&stripped());
        if owned.set.is_empty() {
            managers.0.remove(&identity);
        }
    }
    let Some(new) = new else { return Ok((live.clone(), managers)) };
    if let Some(owned) = managers.0.get_mut(&identity) {
        writer.now.clone_into(&mut owned.time);
    }
    let object = target.finish(new).map_err(|status| {
        let why = status.message;
        Refusal::Status(Status::unexplained(&format!(
            "failed to convert new typed object ({}) to object: {why}",
            shown(config)
        )))
    })?;
    Ok((object, managers))
}

/// A write that changes nothing but times in the managed fields keeps the old times, so that it
/// changes nothing at all.
pub fn keep_times(new: &mut Object, live: &Object) {
    let path = ["metadata", "managedFields"];
    let timeless = |object: &Object| {
        let mut object = object.clone();
        let entries = object.remove(&path);
        let mut entries = entries.and_then(|entries| entries.as_array().cloned())?;
        for entry in entries.iter_mut().filter_map(Value::as_object_mut) {
            entry.remove("time");
        }
        object.set(&path, json!(entries));
        Some(object)
    };
    let (Some(new_timeless), Some(live_timeless)) = (timeless(new), timeless(live)) else {
        return;
    };
    if new_timeless == live_timeless
        && let Some(entries) = live.at(&path)
    {
        new.set(&path, entries.clone());
    }
}

/// After admission: managed fields that a plug-in broke are put back. Gives the warning for the
/// client.
pub fn after_admission(object: &mut Object, before: Option<&Value>) -> Option<String> {
    let path = ["metadata", "managedFields"];
    let why = Managers::read(object.at(&path)).err()?;
    match before {
        Some(before) => object.set(&path, before.clone()),
        None => {
            object.remove(&path);
        }
    }
    Some(format!(
        ".metadata.managedFields was in an invalid state after admission; this could be caused by an outdated mutating admission controller; please fix your requests: {why}"
    ))
}
