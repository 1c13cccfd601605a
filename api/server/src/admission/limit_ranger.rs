//! `LimitRanger`: pods get what they do not say, and too much or too little is refused.

use std::collections::HashMap;
use std::time::Instant;

use api_machinery::quota::limit_range;
use api_machinery::{Object, Status, kinds};
use parking_lot::Mutex;

use super::{Attributes, Operation, in_namespace};
use crate::limits::{LOOKED_UP_NAMESPACES_MAX, LOOKED_UP_TTL};

/// What the store had in namespaces of which the cache knows nothing.
#[derive(Debug, Default)]
pub(crate) struct LookedUp(Mutex<HashMap<String, Known>>);

#[derive(Clone, Debug)]
struct Known {
    at: Instant,
    revision: u64,
    ranges: Vec<Object>,
}

impl LookedUp {
    fn get(&self, namespace: &str) -> Option<Known> {
        let known = self.0.lock().get(namespace).cloned();
        known.filter(|known| known.at.elapsed() < LOOKED_UP_TTL)
    }

    fn put(&self, namespace: &str, known: Known) {
        let mut all = self.0.lock();
        if all.len() >= LOOKED_UP_NAMESPACES_MAX {
            all.retain(|_, known| known.at.elapsed() < LOOKED_UP_TTL);
        }
        if all.len() >= LOOKED_UP_NAMESPACES_MAX {
            all.clear();
        }
        all.insert(namespace.to_owned(), known);
    }
}

/// What limits a pod is created or resized with, and a claim is created or changed with.
fn is_limited(asked: &Attributes<'_>) -> bool {
    let is_of = |kind: &str| asked.kind.group.is_empty() && asked.kind.kind == kind;
    let is_going = asked.old.is_some_and(|old| old.deletion_timestamp().is_some());
    let (subresource, is_update) = (asked.subresource, asked.operation == Operation::Update);
    let is_limited = match asked.operation {
        Operation::Delete => false,
        Operation::Create | Operation::Update if is_of("Pod") => {
            subresource == if is_update { "resize" } else { "" }
        }
        Operation::Create | Operation::Update => {
            is_of("PersistentVolumeClaim") && subresource.is_empty()
        }
    };
    is_limited && !is_going
}

/// The ranges of a namespace. Of an empty namespace the store is asked too, since a range may be so
/// new that the cache has not seen it.
async fn ranges(asked: &Attributes<'_>) -> Result<Vec<Object>, Status> {
    let (server, namespace) = (asked.server, asked.namespace);
    let kind = kinds::find("", "v1", "limitranges").ok_or_else(Status::no_such_path)?;
    // Before the list: the list is not older than this.
    let seen = server.caches.revision();
    let cached = in_namespace::cached((&server.storage, &server.caches), kind, namespace)?;
    if !cached.is_empty() {
        return Ok(cached);
    }
    let known = match server.limit_ranges.get(namespace) {
        Some(known) => known,
        None => {
            let (ranges, revision) = in_namespace::stored(&server.storage, kind, namespace).await?;
            let known = Known { at: Instant::now(), revision, ranges };
            server.limit_ranges.put(namespace, known.clone());
            known
        }
    };
    // What the cache has seen counts: they are gone again.
    Ok(if seen >= known.revision { Vec::new() } else { known.ranges })
}

pub(super) async fn mutate(asked: &Attributes<'_>, object: &mut Object) -> Result<(), Status> {
    if asked.kind.kind == "Pod" && is_limited(asked) {
        for range in ranges(asked).await? {
            limit_range::give_defaults(&range, object);
        }
    }
    Ok(())
}

pub(super) async fn validate(asked: &Attributes<'_>, object: &Object) -> Result<(), Status> {
    if !is_limited(asked) {
        return Ok(());
    }
    for range in ranges(asked).await? {
        let (group, resource) = (asked.kind.group, asked.kind.plural);
        if let Some(why) = limit_range::refusal(&range, group, resource, object) {
            return Err(Status::forbidden(&asked.kind.group_resource(), object.name(), &why));
        }
    }
    Ok(())
}
