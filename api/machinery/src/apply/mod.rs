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

use std::sync::LazyLock;

use serde_json::{Map, Value};

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
    let live = live.map_or_else(|| target.empty(), without_managed_fields).into_value();
    let tree = object.into_value();
    let mut managers = update_managers(target, &live, &tree, (managers, writer));
    managers.cap_updaters();
    let mut object = Object::from_value(tree).expect("it was made of an object");
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
    // They are about half of an object, and need not be copied to be left out.
    let kept = object.0.iter().map(|(key, value)| {
        let metadata = value.as_object().filter(|_| key == "metadata");
        let value = match metadata {
            Some(metadata) => {
                let kept = metadata.iter().filter(|(name, _)| *name != "managedFields");
                Value::Object(kept.map(|(name, value)| (name.clone(), value.clone())).collect())
            }
            None => value.clone(),
        };
        (key.clone(), value)
    });
    Object(kept.collect())
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
    live: &Value,
    new: &Value,
    (managers, writer): (Managers, Writer<'_>),
) -> Managers {
    let (mut managers, mut own) = updater::update(target, live, new, managers);
    own.subtract(&STRIPPED, false);
    if own.is_empty() {
        return managers;
    }
    let identity = identity(target, writer.manager, Operation::Update);
    if let Some(before) = managers.0.remove(&identity) {
        own.absorb(before.set);
    }
    let owned =
        Owned { set: own, api_version: target.api_version.clone(), time: writer.now.to_owned() };
    managers.0.insert(identity, owned);
    managers
}

/// Fields that nobody owns.
static STRIPPED: LazyLock<Set> = LazyLock::new(|| {
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
});

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
        let (empty, tree) = (target.empty().into_value(), live.clone().into_value());
        managers = update_managers(target, &empty, &tree, (managers, first));
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
        owned.set.subtract(&STRIPPED, false);
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
    let has_entries = |object: &Object| object.at(&path).is_some_and(Value::is_array);
    if !has_entries(new) || !has_entries(live) {
        return;
    }
    let is_same_metadata = |new: &Value, live: &Value| match (new.as_object(), live.as_object()) {
        (Some(new), Some(live)) => same_but(new, live, "managedFields", same_entries),
        _ => false,
    };
    if same_but(&new.0, &live.0, "metadata", is_same_metadata)
        && let Some(entries) = live.at(&path)
    {
        new.set(&path, entries.clone());
    }
}

/// Whether two maps are the same, where the values of one key are looked at in another way.
fn same_but(
    left: &Map<String, Value>,
    right: &Map<String, Value>,
    but: &str,
    same: impl Fn(&Value, &Value) -> bool,
) -> bool {
    let mut pairs = left.iter().zip(right);
    left.len() == right.len()
        && pairs.all(|((left_key, left), (right_key, right))| {
            left_key == right_key && if left_key == but { same(left, right) } else { left == right }
        })
}

/// Whether managers are the same, whenever they wrote.
fn same_entries(left: &Value, right: &Value) -> bool {
    let (Some(left), Some(right)) = (left.as_array(), right.as_array()) else { return false };
    let is_same = |left: &Value, right: &Value| match (left.as_object(), right.as_object()) {
        (Some(left), Some(right)) => {
            let other = |entry: &(&String, &Value)| entry.0 != "time";
            left.iter().filter(other).eq(right.iter().filter(other))
        }
        _ => left == right,
    };
    left.len() == right.len() && left.iter().zip(right).all(|(left, right)| is_same(left, right))
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
