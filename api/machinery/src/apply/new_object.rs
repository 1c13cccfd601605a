//! What whoever makes an object owns of it, written as it is stored: no set is made on the way.

use serde_json::{Map, Value};

use super::owned::{Fields, MEMBER, is_plain};
use super::types::{Form, Items, ListForm, NodeType};

/// What the walk here cannot tell; [`super::compare()`] can.
#[derive(Debug)]
struct Unclear;

/// What an object adds to and changes of another one, which nobody has set anything in: of what a
/// comparison of the two calls added or modified. `None` where that is to be asked.
pub(super) fn fields(
    empty: &Map<String, Value>,
    new: &Map<String, Value>,
    node: &NodeType,
) -> Option<Fields> {
    match node.form(None) {
        Form::Map(map) if !map.is_atomic => changed_map(empty, new, node).ok().map(Fields::made),
        Form::Map(_) | Form::List(_) | Form::Scalar(_) => None,
    }
}

fn changed_map(
    old: &Map<String, Value>,
    new: &Map<String, Value>,
    node: &NodeType,
) -> Result<Map<String, Value>, Unclear> {
    let mut out = Map::new();
    for (key, value) in new {
        let old = old.get(key);
        if old == Some(value) {
            continue;
        }
        let Some(child) = node.child(key) else { continue };
        let fields = match old {
            None => Some(added(value, &child.node)),
            Some(old) => changed(old, value, &child.node)?,
        };
        if let Some(fields) = fields {
            out.insert(field_key(key), fields);
        }
    }
    Ok(out)
}

fn changed(old: &Value, new: &Value, node: &NodeType) -> Result<Option<Value>, Unclear> {
    if matches!(node, NodeType::Deduced | NodeType::Opaque) {
        return Err(Unclear);
    }
    let tree = match node.form(Some(new)) {
        Form::List(list) if list.items != Items::Atomic => {
            let items = |value: &Value| value.as_array().map_or(0, Vec::len);
            match (items(old), items(new)) {
                (0, 0) => None,
                (0, _) => Some(added_items(new, &list)),
                _ => return Err(Unclear),
            }
        }
        Form::Map(map) if !map.is_atomic => {
            let none = Map::new();
            let [old, new] = [old, new].map(|value| value.as_object().unwrap_or(&none));
            match (old.len(), new.len()) {
                (0, 0) => None,
                _ => Some(changed_map(old, new, node)?),
            }
        }
        Form::Scalar(_) | Form::List(_) | Form::Map(_) => None,
    };
    Ok(match tree {
        Some(tree) => (!tree.is_empty()).then_some(Value::Object(tree)),
        None => (!super::path::same(old, new)).then(|| Value::Object(Map::new())),
    })
}

/// A value that was not there is owned with all that is in it.
fn added(value: &Value, node: &NodeType) -> Value {
    let mut out = match node.form(Some(value)) {
        Form::List(list) if list.items != Items::Atomic => added_items(value, &list),
        Form::Map(map) if !map.is_atomic => {
            let mut out = Map::new();
            for (key, value) in value.as_object().into_iter().flatten() {
                if let Some(child) = node.child(key) {
                    out.insert(field_key(key), added(value, &child.node));
                }
            }
            out
        }
        Form::Scalar(_) | Form::List(_) | Form::Map(_) => Map::new(),
    };
    if !out.is_empty() {
        out.insert(MEMBER.to_owned(), Value::Object(Map::new()));
    }
    Value::Object(out)
}

fn added_items(value: &Value, list: &ListForm<'_>) -> Map<String, Value> {
    let mut out = Map::new();
    for item in value.as_array().into_iter().flatten() {
        let Some(key) = item_key(item, list) else { continue };
        if let Some(same) = out.get_mut(&key) {
            // Of items that cannot be told apart nothing more is known than that they are there.
            *same = Value::Object(Map::new());
            continue;
        }
        out.insert(key, added(item, &list.element));
    }
    out
}

fn field_key(name: &str) -> String {
    let mut key = String::with_capacity(2 + name.len());
    key.push_str("f:");
    key.push_str(name);
    key
}

/// The key of an item; `None` when the item has none.
fn item_key(item: &Value, list: &ListForm<'_>) -> Option<String> {
    if let (Items::ByKeys([name]), Value::Object(map)) = (list.items, item)
        && let Some(Value::String(text)) = map.get(name)
        && text.bytes().chain(name.bytes()).all(is_plain)
    {
        let mut key = String::with_capacity(name.len() + text.len() + 9);
        for part in ["k:{\"", name, "\":\"", text, "\"}"] {
            key.push_str(part);
        }
        return Some(key);
    }
    Some(list.element_of(item).ok()?.to_key())
}
