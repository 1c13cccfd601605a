//! An apply configuration of a policy: merged, and owned by nobody.

use serde_json::Value;

use super::check::{Duplicates, check};
use super::merge::merge;
use super::path::PathElement;
use super::types::{Form, Items, NodeType};
use crate::schema::TypeId;

/// The live object with what the configuration says.
///
/// # Errors
/// Upstream's messages: the configuration does not fit its type, or replaces something as a whole.
pub fn configure(type_id: TypeId, live: &Value, config: &Value) -> Result<Value, String> {
    let node = NodeType::Message(type_id);
    check(config, &node, Duplicates::Refused)
        .map_err(|why| format!("failed to convert patch object to typed object: {why}"))?;
    let mut atomics = Vec::new();
    find_atomics("", config, &node, &mut atomics);
    if !atomics.is_empty() {
        return Err(format!(
            "invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: {}",
            atomics.join(", ")
        ));
    }
    check(live, &node, Duplicates::Allowed)
        .map_err(|why| format!("failed to convert original object to typed object: {why}"))?;
    let merged =
        merge(live, config, &node).map_err(|why| format!("failed to merge patch: {why}"))?;
    Ok(merged.unwrap_or_default())
}

/// Finds what a configuration would replace as a whole.
fn find_atomics(path: &str, value: &Value, node: &NodeType, found: &mut Vec<String>) {
    match (node.form(Some(value)), value) {
        (Form::Map(map), Value::Object(fields)) => {
            if map.is_atomic {
                found.push(path.to_owned());
            }
            for (key, value) in fields {
                if let Some(child) = node.child(key).filter(|child| child.is_named) {
                    let path = format!("{path}{}", PathElement::field(key));
                    find_atomics(&path, value, &child.node, found);
                }
            }
        }
        (Form::List(list), Value::Array(items)) => {
            if list.items == Items::Atomic {
                found.push(path.to_owned());
            }
            for (index, item) in items.iter().enumerate() {
                find_atomics(&format!("{path}[{index}]"), item, &list.element, found);
            }
        }
        _ => {}
    }
}
