//! Objects of a kind that nobody can ask for any more: none of its versions is served, or it cannot be
//! made out. They go with their definition, as they would through the API.
//!
//! | Rule | What always holds |
//! |------|-------------------|
//! | V1 | An object that has finalizers is marked, and stays until somebody took them away. |
//! | V2 | Nothing of a built-in kind is touched, whatever a definition is called. |

use api_machinery::{Object, Status, kinds, time};
use bytes::Bytes;

use crate::limits::STORE_PAGE_KEYS;
use crate::state::Server;
use crate::storage::{self, Outcome, RawValue, Write};

/// Deletes what can go and marks the others; gives how many are left.
pub(super) async fn clear(server: &Server, definition: &Object) -> Result<usize, Status> {
    let (group, plural) =
        (definition.text(&["spec", "group"]), definition.text(&["spec", "names", "plural"]));
    let below = format!("{group}/{plural}");
    let is_built_in = kinds::all().iter().any(|info| info.storage_prefix == below);
    if group.is_empty() || plural.is_empty() || is_built_in {
        return Ok(0);
    }
    let prefix = server.storage.raw_key(&format!("{below}/"));
    let (mut start, mut left) = (String::new(), 0);
    loop {
        let page = server.storage.page(&prefix, &start, STORE_PAGE_KEYS, 0).await;
        let page = page.map_err(|error| storage::status(&error))?;
        let Some(last) = page.values.last() else { return Ok(left) };
        start = format!("{}\u{0}", String::from_utf8_lossy(&last.key));
        for raw in &page.values {
            left += usize::from(!remove(server, raw).await?);
        }
    }
}

/// Whether the object is gone.
async fn remove(server: &Server, raw: &RawValue) -> Result<bool, Status> {
    let key = std::str::from_utf8(&raw.key).map_err(|_| Status::internal("a key is not UTF-8"))?;
    let write = match marked(&storage::parse(raw.value()?)?) {
        Next::Goes => Write::Delete,
        Next::Waits => return Ok(false),
        Next::Marked(object) => Write::Put { value: Bytes::from(object.to_json()), lease: 0 },
    };
    let goes = matches!(write, Write::Delete);
    match server.storage.commit(key, raw.revision, write).await? {
        Outcome::Done(_) => Ok(goes),
        // One that was written meanwhile is looked at again.
        Outcome::Conflict(now) => Ok(now.is_none()),
    }
}

#[derive(Debug, PartialEq)]
enum Next {
    Goes,
    Waits,
    Marked(Box<Object>),
}

/// V1.
fn marked(object: &Object) -> Next {
    if object.finalizers().is_empty() {
        return Next::Goes;
    }
    if object.deletion_timestamp().is_some() {
        return Next::Waits;
    }
    let mut next = object.clone();
    next.set_deletion(Some((&time::seconds(clock::now()), 0)));
    if object.generation() > 0 {
        next.set_generation(object.generation() + 1);
    }
    Next::Marked(Box::new(next))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn who_is_held_is_marked_once() {
        let object = |meta| Object::from_value(json!({ "metadata": meta })).unwrap();
        assert_eq!(marked(&object(json!({"name": "a", "finalizers": []}))), Next::Goes);
        let held = object(json!({"name": "a", "generation": 1, "finalizers": ["x/y"]}));
        let Next::Marked(next) = marked(&held) else { panic!("it is held") };
        assert_eq!((next.generation(), next.deletion_grace_period_seconds()), (2, Some(0)));
        assert!(next.deletion_timestamp().is_some());
        assert_eq!(marked(&next), Next::Waits);
    }
}
