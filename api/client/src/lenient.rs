//! Reading objects that the API lets through and their types do not.
//!
//! A condition of `meta.k8s.io/v1` must have a time, and a client may write `null` there: upstream
//! keeps that. One such object must not keep a whole watch from being read.
//!
//! | Rule | What always holds |
//! |------|-------------------|
//! | L1 | An object that cannot be read is left out and told; the others are read. |

use futures::{Stream, StreamExt, future};
use kube::{
    Api, Client, Resource,
    api::{ApiResource, DynamicObject},
    runtime::watcher::{Event, Result},
};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tracing::warn;

/// What a time is that nobody set.
const NO_TIME: &str = "1970-01-01T00:00:00Z";

/// All objects of a kind, as trees.
pub fn api<K: Resource<DynamicType = ()>>(client: Client) -> Api<DynamicObject> {
    Api::all_with(client, &ApiResource::erase::<K>(&()))
}

/// The object of a tree; times that conditions lack are filled in.
///
/// # Errors
/// It does not fit its type.
pub fn read<K: DeserializeOwned>(object: DynamicObject) -> serde_json::Result<K> {
    let mut tree = serde_json::to_value(object)?;
    let conditions = tree.pointer_mut("/status/conditions").and_then(Value::as_array_mut);
    for condition in conditions.into_iter().flatten().filter_map(Value::as_object_mut) {
        let time = condition.entry("lastTransitionTime").or_insert(Value::Null);
        if time.is_null() {
            *time = NO_TIME.into();
        }
    }
    serde_json::from_value(tree)
}

/// L1, for what a watch tells.
pub fn events<K: DeserializeOwned>(
    events: impl Stream<Item = Result<Event<DynamicObject>>>,
) -> impl Stream<Item = Result<Event<K>>> {
    events.filter_map(|event| {
        future::ready(match event {
            Ok(Event::Init) => Some(Ok(Event::Init)),
            Ok(Event::InitDone) => Some(Ok(Event::InitDone)),
            Ok(Event::InitApply(object)) => told(object).map(|read| Ok(Event::InitApply(read))),
            Ok(Event::Apply(object)) => told(object).map(|read| Ok(Event::Apply(read))),
            Ok(Event::Delete(object)) => told(object).map(|read| Ok(Event::Delete(read))),
            Err(error) => Some(Err(error)),
        })
    })
}

fn told<K: DeserializeOwned>(object: DynamicObject) -> Option<K> {
    let key = crate::key_of_meta(&object.metadata);
    let kind = std::any::type_name::<K>();
    let read = read(object);
    read.inspect_err(|error| warn!(kind, key, %error, "an object cannot be read")).ok()
}
