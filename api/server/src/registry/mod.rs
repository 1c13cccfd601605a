//! What a write makes of an object: the one door between handlers and storage.
//!
//! | Rule | What always holds |
//! |------|-------------------|
//! | R1 | An object in the store has passed defaults, admission and validation. |
//! | R2 | uid, creationTimestamp and namespace never change; the generation counts spec changes. |
//! | R3 | A write is based on the version it names, or on the newest one, never on one in between. |
//! | R4 | An update that changes nothing writes nothing. |
//! | R5 | Who changed a field last owns it: `metadata.managedFields` is the server's to write. |

mod create;
mod delete;
mod update;

use api_machinery::apply::{self, Target, Writer};
use api_machinery::{Object, convert};
use parking_lot::Mutex;

use crate::admission::Notes;
use crate::authn::User;
use crate::custom::Shape;
use crate::state::Server;
use crate::storage::Stored;

pub(crate) use create::{Create, create, generated_name};
pub(crate) use delete::{DeleteOptions, Deleted, PropagationPolicy, delete};
pub(crate) use update::{Retry, Update, update, write_as_is};

/// Who writes, and how.
#[derive(Clone, Copy, Debug)]
pub(crate) struct By<'a> {
    /// Whom admission asks about.
    pub(crate) user: &'a User,
    pub(crate) fields: Fields<'a>,
    /// What admission has to tell who asks, if anybody hears it.
    pub(crate) warnings: Option<&'a Mutex<Vec<String>>>,
    /// All but the last step.
    pub(crate) dry_run: bool,
    /// Options and what the audit log is to say, if somebody asks.
    pub(crate) notes: Option<&'a Notes>,
}

impl By<'static> {
    /// The server by itself.
    pub(crate) fn the_server() -> Self {
        let (user, fields) = (User::the_server(), Fields::OWN);
        Self { user, fields, warnings: None, dry_run: false, notes: None }
    }
}

/// Whose the fields are that a write sets (R5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fields<'a> {
    /// Of this manager, as far as the write changes them.
    Of(&'a str),
    /// The write was an apply, which says so itself.
    Applied,
}

impl Fields<'static> {
    /// What the server writes by itself.
    pub(crate) const OWN: Self = Self::Of("kube-apiserver");
}

/// What the cache has of an object, which most often is what the store has: it saves a read.
/// Nothing but a write may be decided by it, as the store compares the revision of that one.
fn cached(server: &Server, shape: &Shape, key: &str) -> Option<Stored> {
    if shape.custom.is_some() {
        return None;
    }
    let object = shape.cache(server).get(key)?.object().ok()?;
    let revision = object.resource_version().parse().ok()?;
    Some(Stored { object, revision, is_stale: false })
}

/// R5 for an object in the version that is kept, in the words of the version that was asked for.
fn owned(target: &Target, live: Option<&Object>, next: Object, writer: Writer<'_>) -> Object {
    let Some(info) = target.info.filter(|info| info.kept_as.is_some()) else {
        return apply::update(target, live, next, writer);
    };
    let live = live.map(|live| convert::to(info, live.clone()));
    let shown = convert::to(info, next.clone());
    let mut shown = apply::update(target, live.as_ref(), shown, writer);
    let mut next = next;
    let path = ["metadata", "managedFields"];
    match shown.remove(&path) {
        Some(entries) => next.set(&path, entries),
        None => {
            next.remove(&path);
        }
    }
    next
}
