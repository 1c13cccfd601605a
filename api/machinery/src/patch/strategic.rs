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

use serde_json::{Map, Value};

use super::{Unfit, go_text, object_patch};
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
pub fn strategic_merge(target: &Value, patch: &[u8], type_id: TypeId) -> Result<Value, Status> {
    let patch = match object_patch(patch) {
        Ok(Value::Object(patch)) => patch,
        // Nothing is changed by nothing.
        Ok(_) | Err(Unfit::Null) => Tree::new(),
        Err(Unfit::Other(why)) => return Err(Status::bad_request(why)),
    };
    let target = target.as_object().cloned().unwrap_or_default();
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
            orders.push((list.to_owned(), value));
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
    for (list, order) in orders {
        let field = ty.and_then(|ty| schema.field(ty, &list));
        if let Some(Value::Array(items)) = target.get_mut(&list) {
            sort_by_order(items, order.as_array().map_or(&[], Vec::as_slice), field);
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
    mut target: Vec<Value>,
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
        for item in patch {
            if !target.contains(&item) {
                target.push(item);
            }
        }
        return Ok(target);
    };
    for item in patch {
        let Value::Object(mut item) = item else {
            return Err(refuse(format!("{}: an item of the list is not a map", field.json)));
        };
        let Some(value) = item.get(key).cloned() else {
            return Err(refuse(format!(
                "map: {} does not contain declared merge key: {key}",
                go_text::shown(&Value::Object(item))
            )));
        };
        let same = |one: &Value| one.get(key) == Some(&value);
        if item.get(DIRECTIVE).and_then(Value::as_str) == Some("delete") {
            target.retain(|one| !same(one));
            continue;
        }
        match target.iter_mut().find(|one| same(one)) {
            Some(slot) => {
                let current = slot.as_object().cloned().unwrap_or_default();
                *slot = Value::Object(merge_map(current, item, inner_type(Some(field)))?);
            }
            None => {
                item.remove(DIRECTIVE);
                let fresh = merge_map(Tree::new(), item, inner_type(Some(field)))?;
                target.push(Value::Object(fresh));
            }
        }
    }
    Ok(target)
}

/// Items named by the order stand in that order; others keep their place after the item they
/// followed.
fn sort_by_order(items: &mut Vec<Value>, order: &[Value], field: Option<&Field>) {
    let key = field.and_then(|field| field.patch_merge_key.as_deref());
    let identity = |item: &Value| match key {
        Some(key) => item.get(key).cloned().unwrap_or(Value::Null),
        None => item.clone(),
    };
    let wanted: Vec<Value> = order.iter().map(identity).collect();
    let rank = |item: &Value| wanted.iter().position(|one| *one == identity(item));
    let (mut named, others): (Vec<_>, Vec<_>) =
        items.drain(..).enumerate().partition(|(_, item)| rank(item).is_some());
    named.sort_by_key(|(_, item)| rank(item));
    // Server-only items are put back before the first named item that came after them.
    let mut out: Vec<(usize, Value)> = named;
    for (at, item) in others {
        let place = out.iter().position(|(other, _)| *other > at).unwrap_or(out.len());
        out.insert(place, (at, item));
    }
    items.extend(out.into_iter().map(|(_, item)| item));
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
        strategic_merge(&target, patch.to_string().as_bytes(), ty).unwrap()
    }

    #[test]
    fn patches_merge_as_upstream() {
        let containers =
            || json!({"spec": {"containers": [{"name": "a", "image": "1"}, {"name": "b"}]}});
        for (target, patch, want) in [
            (
                containers(),
                json!({"spec": {"containers": [{"name": "a", "image": "2"}, {"name": "c"}]}}),
                json!({"spec": {"containers": [{"name": "a", "image": "2"}, {"name": "b"}, {"name": "c"}]}}),
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
                json!({"metadata": {"finalizers": ["b", "c"], "labels": {"y": "2"}}}),
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

    #[test]
    fn an_item_without_its_key_is_refused() {
        let ty = Schema::get().find("api.core.v1.Pod").unwrap();
        let patch = br#"{"spec":{"containers":[{"image":"x"}]}}"#;
        let refused = |patch| strategic_merge(&json!({}), patch, ty).unwrap_err();
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
