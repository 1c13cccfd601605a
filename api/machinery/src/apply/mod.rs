//! Server-side apply and field management: who owns which fields, and what happens when two
//! managers want the same one.
//!
//! A write goes through [`update`], an apply patch through [`apply()`]; both give the object with
//! its `metadata.managedFields`. [`keep_times`] comes last, right before the object is stored.
//! Trees come from requests and are as deep as [`crate::limits::NESTING_DEPTH_MAX`] lets them be,
//! so that the walks over them need no limit of their own.
//!
//! Rules A1 and A2 are in `set.rs`, A3 to A5 in `updater.rs`, A6 in `owned.rs`.

mod check;
mod compare;
mod configure;
mod custom;
mod fields;
mod last_applied;
mod managed;
mod merge;
mod new_object;
mod owned;
mod path;
mod remove;
pub mod scale;
mod set;
mod target;
mod types;
mod updater;

#[cfg(test)]
mod apply_test;
#[cfg(test)]
mod owned_test;

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
pub use self::target::Target;
pub use self::types::{NodeType, Scalar};

use self::check::{Duplicates, check};
use self::owned::Fields;
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
    let mut object = new;
    let sent = object.remove(&MANAGED_FIELDS);
    let managers = known_managers(target, live, sent);
    let is_new = live.is_none_or(|live| live.uid().is_empty());
    // Objects that were never managed stay so until somebody applies.
    if managers.is_empty() && !is_new {
        return object;
    }
    let mut managers = match live {
        Some(live) => update_managers(target, &live.0, &object.0, (managers, writer)),
        None => first_managers(target, &object.0, (managers, writer)),
    };
    managers.cap_updaters();
    managers.write(&mut object);
    object
}

/// Who owns what of an object that is made, or that nobody has managed until now.
fn first_managers(
    target: &Target,
    new: &Map<String, Value>,
    (mut managers, writer): (Managers, Writer<'_>),
) -> Managers {
    let empty = target.empty();
    let is_first = managers.is_empty();
    let known = is_first.then(|| new_object::fields(&empty.0, new, &target.node)).flatten();
    let Some(mut own) = known else {
        return update_managers(target, &empty.0, new, (managers, writer));
    };
    own.subtract(&target.reset, true);
    own.subtract(&STRIPPED, false);
    if !own.is_empty() {
        let identity = identity(target, writer.manager, Operation::Update);
        managers.0.insert(identity, owned(target, own, writer));
    }
    managers
}

fn owned(target: &Target, fields: Fields, writer: Writer<'_>) -> Owned {
    Owned { fields, api_version: target.api_version.clone(), time: writer.now.to_owned() }
}

/// The managers that an update starts from: those that the client sent, or the live ones.
fn known_managers(target: &Target, live: Option<&Object>, sent: Option<Value>) -> Managers {
    let of_live = |sent: Option<Value>| {
        let entries = live.and_then(|live| live.at(&MANAGED_FIELDS));
        // Most often they came back as they were, and need not be copied.
        let managers =
            if sent.as_ref() == entries { Managers::take(sent) } else { Managers::read(entries) };
        managers.unwrap_or_default()
    };
    if !target.subresource.is_empty() {
        return of_live(sent);
    }
    if managed::is_reset(sent.as_ref()) {
        return Managers::default();
    }
    match Managers::take(sent) {
        Ok(managers) if !managers.is_empty() => managers,
        _ => of_live(None),
    }
}

fn identity(target: &Target, manager: &str, operation: Operation) -> Identity {
    let manager = if manager.is_empty() { "unknown" } else { manager };
    let api_version = match operation {
        Operation::Apply => "",
        Operation::Update => &target.api_version,
    };
    Identity::new(manager, operation, api_version, &target.subresource)
}

fn update_managers(
    target: &Target,
    live: &Map<String, Value>,
    new: &Map<String, Value>,
    (managers, writer): (Managers, Writer<'_>),
) -> Managers {
    let (mut managers, mut own) = updater::update(target, live, new, managers);
    own.subtract(&STRIPPED, false);
    if own.is_empty() {
        return managers;
    }
    let identity = identity(target, writer.manager, Operation::Update);
    let fields = match managers.0.remove(&identity) {
        Some(mut before) => {
            before.fields.absorb(&own);
            before.fields
        }
        None => Fields::of(&own),
    };
    managers.0.insert(identity, owned(target, fields, writer));
    managers
}

const MANAGED_FIELDS: [&str; 2] = ["metadata", "managedFields"];

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
    let entries = live.at(&MANAGED_FIELDS);
    let mut managers = Managers::read(entries)
        .map_err(|why| Status::unexplained(&format!("failed to decode managed fields: {why}")))?;
    let live = Value::Object(updater::without_managed_fields(&live.0));
    if managers.is_empty() {
        let first = Writer { manager: "before-first-apply", ..writer };
        managers = first_managers(target, fields_of(&live), (managers, first));
        managers.cap_updaters();
    }
    let (mut object, managers) = apply_as(target, live, config, (managers, writer))?;
    if writer.manager == last_applied::KUBECTL {
        last_applied::refresh(&mut object, config);
    }
    managers.write(&mut object);
    Ok(object)
}

/// The fields of an object's tree.
fn fields_of(tree: &Value) -> &Map<String, Value> {
    tree.as_object().expect("an object is a map")
}

/// Applies, and for kubectl once more by force when the last client-side apply settles all
/// conflicts.
fn apply_as(
    target: &Target,
    live: Value,
    config: &Object,
    (managers, writer): (Managers, Writer<'_>),
) -> Result<(Object, Managers), Status> {
    let config_tree = Value::Object(config.0.clone());
    let attempt = |managers: Managers, force| {
        apply_once(target, &live, &config_tree, (managers, Writer { force, ..writer }))
    };
    // Conflicts that kubectl may settle need the managers as they were.
    let again = (writer.manager == last_applied::KUBECTL).then(|| managers.clone());
    let refusal = match attempt(managers, writer.force) {
        Ok((Some(object), managers)) => return Ok((object, managers)),
        Ok((None, managers)) => {
            let same = Object::from_value(live).expect("an object is a map");
            return Ok((same, managers));
        }
        Err(refusal) => refusal,
    };
    let mut conflicts = match refusal {
        Refusal::Status(status) => return Err(status),
        Refusal::Conflicts(conflicts) => conflicts,
    };
    let settled = again.and_then(|managers| {
        let live = Object(fields_of(&live).clone());
        last_applied::settled(target, &live).map(|settled| (settled, live, managers))
    });
    if let Some((settled, live, managers)) = settled {
        conflicts.retain(|conflict| !settled.has(&conflict.path));
        if conflicts.is_empty() {
            return match attempt(managers, true) {
                Ok((object, managers)) => Ok((object.unwrap_or(live), managers)),
                Err(Refusal::Status(status)) => Err(status),
                Err(Refusal::Conflicts(conflicts)) => Err(updater::conflict_status(&conflicts)),
            };
        }
    }
    Err(updater::conflict_status(&conflicts))
}

/// The object that comes of it; `None` when it stays as it is.
fn apply_once(
    target: &Target,
    live: &Value,
    config: &Value,
    (managers, writer): (Managers, Writer<'_>),
) -> Result<(Option<Object>, Managers), Refusal> {
    let shown = |tree: &Value| {
        let text = |tree: &Value, name: &str| {
            tree.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
        };
        let metadata = tree.get("metadata").unwrap_or(&Value::Null);
        format!(
            "{}/{}; {}",
            text(metadata, "namespace"),
            text(metadata, "name"),
            Target::shown_kind(&text(tree, "apiVersion"), &text(tree, "kind"))
        )
    };
    let sent = config.get("metadata").and_then(|metadata| metadata.get("managedFields"));
    if sent.is_some_and(Value::is_array) {
        let status = Status::bad_request("metadata.managedFields must be nil");
        return Err(Refusal::Status(status));
    }
    let fits = |tree: &Value, duplicates, what: &str| {
        check(tree, &target.node, duplicates).map_err(|why| {
            let message = format!("failed to create typed {what} object ({}): {why}", shown(tree));
            Refusal::Status(Status::unexplained(&message))
        })
    };
    fits(config, Duplicates::Refused, "patch")?;
    fits(live, Duplicates::Allowed, "live")?;
    let identity = identity(target, writer.manager, Operation::Apply);
    let who = (managers, &identity);
    let (new, mut managers) = updater::apply(target, live, config, who, writer.force)?;
    if let Some(owned) = managers.0.get_mut(&identity) {
        owned.fields.subtract(&STRIPPED, false);
        if owned.fields.is_empty() {
            managers.0.remove(&identity);
        }
    }
    let Some(new) = new else { return Ok((None, managers)) };
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
    Ok((Some(object), managers))
}

/// A write that changes nothing but times in the managed fields keeps the old times, so that it
/// changes nothing at all.
pub fn keep_times(new: &mut Object, live: &Object) {
    let has_entries = |object: &Object| object.at(&MANAGED_FIELDS).is_some_and(Value::is_array);
    if !has_entries(new) || !has_entries(live) {
        return;
    }
    let is_same_metadata = |new: &Value, live: &Value| match (new.as_object(), live.as_object()) {
        (Some(new), Some(live)) => same_but(new, live, "managedFields", same_entries),
        _ => false,
    };
    if same_but(&new.0, &live.0, "metadata", is_same_metadata)
        && let Some(entries) = live.at(&MANAGED_FIELDS)
    {
        new.set(&MANAGED_FIELDS, entries.clone());
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
    let why = Managers::read(object.at(&MANAGED_FIELDS)).err()?;
    match before {
        Some(before) => object.set(&MANAGED_FIELDS, before.clone()),
        None => {
            object.remove(&MANAGED_FIELDS);
        }
    }
    Some(format!(
        ".metadata.managedFields was in an invalid state after admission; this could be caused by an outdated mutating admission controller; please fix your requests: {why}"
    ))
}
