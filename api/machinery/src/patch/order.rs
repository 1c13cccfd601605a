//! In which order the items of a list stand after a strategic merge patch.
//!
//! | Rule | What always holds |
//! |------|-------------------|
//! | O1 | Items of the patch stand in the patch's order, all others in the order that they had. |
//! | O2 | An item of the object stands before one of the patch only if it stood before it already: |
//! |    | what a patch adds comes first. |

use std::collections::HashMap;

use serde_json::Value;

/// Where an item stands first in a list.
pub(super) type Positions = HashMap<String, usize>;

/// What tells items apart: the value of the merge key, or the whole item.
pub(super) fn identity(item: &Value, key: Option<&str>) -> String {
    match key {
        Some(key) => item.get(key).map(Value::to_string).unwrap_or_default(),
        None => item.to_string(),
    }
}

pub(super) fn positions(items: &[Value], key: Option<&str>) -> Positions {
    let mut positions = Positions::with_capacity(items.len());
    for (at, item) in items.iter().enumerate() {
        positions.entry(identity(item, key)).or_insert(at);
    }
    positions
}

/// Orders what a merge came to. `patched` is where items stand in the patch, `held` where they stood
/// in the object.
pub(super) fn merged(
    items: Vec<Value>,
    key: Option<&str>,
    (patched, held): (&Positions, &Positions),
) -> Vec<Value> {
    let (mut new, mut old) = (Vec::new(), Vec::new());
    for item in items {
        let identity = identity(&item, key);
        let stood = held.get(&identity).copied();
        match patched.get(&identity) {
            Some(at) => new.push((*at, stood, item)),
            None => old.push((stood, item)),
        }
    }
    new.sort_by_key(|(at, ..)| *at);
    old.sort_by_key(|(stood, _)| *stood);
    let mut ordered = Vec::with_capacity(new.len() + old.len());
    let mut old = old.into_iter().peekable();
    for (_, stood, item) in new {
        // O2.
        while let Some((_, kept)) = old.next_if(|(at, _)| at.is_some() && *at < stood) {
            ordered.push(kept);
        }
        ordered.push(item);
    }
    ordered.extend(old.map(|(_, item)| item));
    ordered
}
