//! Strategic merge patch: a merge that knows which lists are keyed, and obeys directives.
//!
//! | Directive | Meaning |
//! |-----------|---------|
//! | `$patch: replace` | the map or list becomes what the patch says |
//! | `$patch: delete` | the map, or the keyed list item, goes |
//! | `$patch: merge` | the default, said aloud |
//! | `$deleteFromPrimitiveList/F` | these values leave the list `F` |
//! | `$setElementOrder/F` | the list `F` is put in this order |
//! | `$retainKeys` | keys not named here leave the map |

use std::collections::HashSet;

use serde_json::{Map, Value};

use super::{Unfit, go_text, object_patch, order};
use crate::Status;
use crate::schema::{Field, Kind, Schema, Shape, TypeId};

type Tree = Map<String, Value>;

const DIRECTIVE: &str = "$patch";
const DELETE_FROM: &str = "$deleteFromPrimitiveList/";
const ORDER: &str = "$setElementOrder/";
const RETAIN: &str = "$retainKeys";

/// Merges the patch into the target, an object of the given type.
///
/// # Errors
/// 400 when the patch is not an object; 500, as upstream, when a directive or a list item makes no
/// sense.
pub fn strategic_merge(target: Value, patch: &[u8], type_id: TypeId) -> Result<Value, Status> {
    let patch = match object_patch(patch) {
        Ok(Value::Object(patch)) => patch,
        // Nothing is changed by nothing.
        Ok(_) | Err(Unfit::Null) => Tree::new(),
        Err(Unfit::Other(why)) => return Err(Status::bad_request(why)),
    };
    let target = if let Value::Object(target) = target { target } else { Tree::new() };
    let merged = merge_map(target, patch, Some(type_id))?;
    Ok(Value::Object(merged))
}

fn refuse(why: impl AsRef<str>) -> Status {
    Status::unexplained(why.as_ref())
}

fn merge_map(mut target: Tree, mut patch: Tree, ty: Option<TypeId>) -> Result<Tree, Status> {
    let directive = patch.remove(DIRECTIVE);
    match directive.as_ref().map(|value| value.as_str().unwrap_or("")) {
        None | Some("merge") => {}
        Some("replace") => return Ok(without_directives(patch)),
        Some("delete") => return Ok(Tree::new()),
        Some(other) => {
            let mut whole = patch.clone();
            whole.insert(DIRECTIVE.to_owned(), other.into());
            let shown = go_text::shown(&Value::Object(whole));
            return Err(refuse(format!("unknown patch type: {other} in map: {shown}")));
        }
    }
    if let Some(Value::Array(keep)) = patch.remove(RETAIN) {
        target.retain(|key, _| keep.iter().any(|one| one == key));
    }
    let schema = Schema::get();
    let mut orders = Vec::new();
    for (key, value) in patch {
        if let Some(list) = key.strip_prefix(ORDER) {
            let held = target.get(list).and_then(Value::as_array).cloned();
            orders.push((list.to_owned(), value, held.unwrap_or_default()));
            continue;
        }
        if let Some(list) = key.strip_prefix(DELETE_FROM) {
            let gone = value.as_array().cloned().unwrap_or_default();
            if let Some(Value::Array(items)) = target.get_mut(list) {
                items.retain(|item| !gone.contains(item));
            }
            continue;
        }
        if value.is_null() {
            target.remove(&key);
            continue;
        }
        let field = ty.and_then(|ty| schema.field(ty, &key));
        let current = target.remove(&key);
        if let Some(merged) = merge_value(current, value, field)? {
            target.insert(key, merged);
        }
    }
    for (list, wanted, held) in orders {
        let field = ty.and_then(|ty| schema.field(ty, &list));
        let key = field.and_then(|field| field.patch_merge_key.as_deref());
        if let Some(Value::Array(items)) = target.get_mut(&list) {
            let wanted = wanted.as_array().map_or(&[][..], Vec::as_slice);
            let orders = (&order::positions(wanted, key), &order::positions(&held, key));
            *items = order::merged(std::mem::take(items), key, orders);
        }
    }
    Ok(target)
}

fn inner_type(field: Option<&Field>) -> Option<TypeId> {
    match field?.kind {
        Kind::Message(id) => Some(id),
        _ => None,
    }
}

fn merge_value(
    current: Option<Value>,
    patch: Value,
    field: Option<&Field>,
) -> Result<Option<Value>, Status> {
    match patch {
        Value::Object(patch) => {
            // The members of a map field have no fixed names, but their values have a type.
            let is_map = field.is_some_and(|field| field.shape == Shape::Map);
            let ty = if is_map { None } else { inner_type(field) };
            let deletes = patch.get(DIRECTIVE).and_then(Value::as_str) == Some("delete");
            if deletes {
                return Ok(None);
            }
            let target = match current {
                Some(Value::Object(map)) => map,
                _ => Tree::new(),
            };
            Ok(Some(Value::Object(merge_map(target, patch, ty)?)))
        }
        Value::Array(patch) => {
            let items = match current {
                Some(Value::Array(items)) => items,
                _ => Vec::new(),
            };
            Ok(Some(Value::Array(merge_list(items, patch, field)?)))
        }
        scalar => Ok(Some(scalar)),
    }
}

fn merge_list(
    target: Vec<Value>,
    patch: Vec<Value>,
    field: Option<&Field>,
) -> Result<Vec<Value>, Status> {
    let Some(field) = field.filter(|field| field.patch_merges()) else {
        return Ok(patch.into_iter().map(clean).collect());
    };
    if patch.iter().any(|item| item[DIRECTIVE] == "replace") {
        let kept = patch.into_iter().filter(|item| item[DIRECTIVE] != "replace");
        return Ok(kept.map(clean).collect());
    }
    let Some(key) = field.patch_merge_key.as_deref() else {
        let (patched, held) = (order::positions(&patch, None), order::positions(&target, None));
        let mut met = HashSet::new();
        let both = target.into_iter().chain(patch);
        let merged = both.filter(|item| met.insert(order::identity(item, None))).collect();
        return Ok(order::merged(merged, None, (&patched, &held)));
    };
    merge_keyed(target, patch, (field, key))
}

/// Merges items into those with the same key; they come in the order of the patch (`order.rs`).
fn merge_keyed(
    mut target: Vec<Value>,
    patch: Vec<Value>,
    (field, key): (&Field, &str),
) -> Result<Vec<Value>, Status> {
    let mut gone = HashSet::new();
    let mut items = Vec::new();
    for item in patch {
        let Value::Object(item) = item else {
            return Err(refuse(format!("{}: an item of the list is not a map", field.json)));
        };
        if !item.contains_key(key) {
            return Err(refuse(format!(
                "map: {} does not contain declared merge key: {key}",
                go_text::shown(&Value::Object(item))
            )));
        }
        if item.get(DIRECTIVE).and_then(Value::as_str) == Some("delete") {
            gone.insert(order::identity(&Value::Object(item), Some(key)));
        } else {
            items.push(Value::Object(item));
        }
    }
    target.retain(|item| !gone.contains(&order::identity(item, Some(key))));
    let held = order::positions(&target, Some(key));
    let patched = order::positions(&items, Some(key));
    let mut at = held.clone();
    for item in items {
        let identity = order::identity(&item, Some(key));
        let Value::Object(mut item) = item else { continue };
        if let Some(slot) = at.get(&identity).and_then(|at| target.get_mut(*at)) {
            let current = slot.as_object().cloned().unwrap_or_default();
            *slot = Value::Object(merge_map(current, item, inner_type(Some(field)))?);
        } else {
            item.remove(DIRECTIVE);
            at.insert(identity, target.len());
            let fresh = merge_map(Tree::new(), item, inner_type(Some(field)))?;
            target.push(Value::Object(fresh));
        }
    }
    Ok(order::merged(target, Some(key), (&patched, &held)))
}

/// Directives have no place in what is stored.
fn without_directives(map: Tree) -> Tree {
    map.into_iter()
        .filter(|(key, value)| {
            key != DIRECTIVE
                && key != RETAIN
                && !key.starts_with(ORDER)
                && !key.starts_with(DELETE_FROM)
                && !value.is_null()
        })
        .map(|(key, value)| (key, clean(value)))
        .collect()
}

fn clean(value: Value) -> Value {
    match value {
        Value::Object(map) => Value::Object(without_directives(map)),
        Value::Array(items) => items.into_iter().map(clean).collect(),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(target: Value, patch: &Value) -> Value {
        let ty = Schema::get().find("api.core.v1.Pod").unwrap();
        strategic_merge(target, patch.to_string().as_bytes(), ty).unwrap()
    }

    #[test]
    fn patches_merge_as_upstream() {
        let containers =
            || json!({"spec": {"containers": [{"name": "a", "image": "1"}, {"name": "b"}]}});
        for (target, patch, want) in [
            (
                containers(),
                json!({"spec": {"containers": [{"name": "a", "image": "2"}, {"name": "c"}]}}),
                json!({"spec": {"containers": [{"name": "a", "image": "2"}, {"name": "c"}, {"name": "b"}]}}),
            ),
            (
                containers(),
                json!({"spec": {"containers": [{"name": "a", "$patch": "delete"}]}}),
                json!({"spec": {"containers": [{"name": "b"}]}}),
            ),
            (
                containers(),
                json!({"spec": {"containers": [{"name": "z"}, {"$patch": "replace"}]}}),
                json!({"spec": {"containers": [{"name": "z"}]}}),
            ),
            (
                containers(),
                json!({"spec": {"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}]}}),
                json!({"spec": {"containers": [{"name": "b"}, {"name": "a", "image": "1"}]}}),
            ),
            (
                json!({"metadata": {"finalizers": ["a", "b"], "labels": {"x": "1", "y": "2"}}}),
                json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["a"],
                    "finalizers": ["c"], "labels": {"x": null}}}),
                json!({"metadata": {"finalizers": ["c", "b"], "labels": {"y": "2"}}}),
            ),
            (
                json!({"spec": {"volumes": [{"name": "v", "emptyDir": {}}]}}),
                json!({"spec": {"volumes": [{"name": "v", "hostPath": {"path": "/x"},
                    "$retainKeys": ["name", "hostPath"]}]}}),
                json!({"spec": {"volumes": [{"name": "v", "hostPath": {"path": "/x"}}]}}),
            ),
            (
                json!({"spec": {"tolerations": [{"key": "a"}], "nodeSelector": {"a": "b"}}}),
                json!({"spec": {"tolerations": [{"key": "b"}],
                    "nodeSelector": {"$patch": "replace", "c": "d"}}}),
                json!({"spec": {"tolerations": [{"key": "b"}], "nodeSelector": {"c": "d"}}}),
            ),
        ] {
            assert_eq!(pod(target, &patch), want, "{patch}");
        }
    }

    /// As a kube-apiserver 1.36 answered them: containers by name, `-` deletes, then an order.
    #[test]
    fn what_a_patch_adds_comes_before_what_was_there() {
        for (target, patch, order, want) in [
            ("ab", "ac", "", "acb"),
            ("abc", "zb", "", "zabc"),
            ("abc", "cxa", "", "bcxa"),
            ("abc", "", "cb", "acb"),
            ("abc", "x", "xcb", "xacb"),
            ("abcd", "x", "bxd", "abxcd"),
            ("ab", "cd", "acdb", "acdb"),
            ("abc", "-bx", "", "xac"),
        ] {
            let named = |name: char| json!({"name": name.to_string()});
            let mut items: Vec<Value> = Vec::new();
            for (at, name) in patch.char_indices().filter(|(_, name)| *name != '-') {
                let mut item = named(name);
                if at > 0 && patch.as_bytes()[at - 1] == b'-' {
                    item[DIRECTIVE] = "delete".into();
                }
                items.push(item);
            }
            let mut spec = json!({"containers": items});
            if !order.is_empty() {
                spec["$setElementOrder/containers"] = order.chars().map(named).collect();
            }
            let held =
                json!({"spec": {"containers": target.chars().map(named).collect::<Value>()}});
            let got = pod(held, &json!({"spec": spec}));
            let names = got["spec"]["containers"].as_array().unwrap().iter();
            let names: String = names.map(|one| one["name"].as_str().unwrap()).collect();
            assert_eq!(names, want, "{target} {patch} {order}");
        }
    }

    #[test]
    fn values_that_a_patch_adds_come_first() {
        for (held, patch, want) in [
            (["a", "b"].as_slice(), ["c"].as_slice(), ["c", "a", "b"].as_slice()),
            (&["a", "b"], &["b", "c"], &["a", "b", "c"]),
            (&["a", "b", "c"], &["c", "a"], &["b", "c", "a"]),
        ] {
            let tree = |list: &[&str]| json!({"metadata": {"finalizers": list}});
            assert_eq!(pod(tree(held), &tree(patch)), tree(want));
        }
    }

    #[test]
    fn an_item_without_its_key_is_refused() {
        let ty = Schema::get().find("api.core.v1.Pod").unwrap();
        let patch = br#"{"spec":{"containers":[{"image":"x"}]}}"#;
        let refused = |patch| strategic_merge(json!({}), patch, ty).unwrap_err();
        let status = refused(patch);
        assert_eq!(
            (status.code, status.message.as_str()),
            (500, "map: map[image:x] does not contain declared merge key: name")
        );
        let status = refused(br#"{"$patch":"fly"}"#);
        assert_eq!(status.message, "unknown patch type: fly in map: map[$patch:fly]");
        let status = refused(b"5");
        assert_eq!(
            (status.code, status.message.as_str()),
            (400, "json: cannot unmarshal number into Go value of type map[string]interface {}")
        );
    }
}
