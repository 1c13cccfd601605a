//! Lists of the types set and map have every item once.

use std::collections::HashMap;

use serde_json::{Map, Value};

use super::schema::{List, ListType, Schema};
use crate::field::{Error, Path};

/// Names items that a list has more than once.
pub fn check(value: &Value, schema: &Schema, path: &Path, errors: &mut Vec<Error>) {
    match value {
        Value::Array(items) => {
            if let Some(list) = &schema.list {
                match list.kind {
                    ListType::Set => set(items, path, errors),
                    ListType::Map => map(items, list, path, errors),
                    ListType::Atomic => {}
                }
            }
            let Some(below) = &schema.items else { return };
            for (index, item) in items.iter().enumerate() {
                if item.is_object() || item.is_array() {
                    check(item, below, &path.index(index), errors);
                }
            }
        }
        Value::Object(members) => object(members, schema, path, errors),
        _ => {}
    }
}

fn object(members: &Map<String, Value>, schema: &Schema, path: &Path, errors: &mut Vec<Error>) {
    for (name, member) in members {
        if !member.is_object() && !member.is_array() {
            continue;
        }
        if let Some(additional) = schema.additional_schema() {
            check(member, additional, &path.key(name), errors);
        }
        if let Some(property) = schema.property(name) {
            check(member, property, &path.child(name), errors);
        }
    }
}

fn set(items: &[Value], path: &Path, errors: &mut Vec<Error>) {
    for index in repeated(items) {
        errors.push(Error::duplicate(&path.index(index), items[index].clone()));
    }
}

fn map(items: &[Value], list: &List, path: &Path, errors: &mut Vec<Error>) {
    if let Some(index) = items.iter().position(|item| !item.is_object() && !item.is_null()) {
        let why = "must be an object for an array of list-type map";
        errors.push(Error::invalid(&path.index(index), items[index].clone(), why));
        return;
    }
    let keys: Vec<Value> = items.iter().map(|item| key_of(item, list)).collect();
    for index in repeated(&keys) {
        errors.push(Error::duplicate(&path.index(index), keys[index].clone()));
    }
}

/// The part of an item that names it.
pub(super) fn key_of(item: &Value, list: &List) -> Value {
    let mut key = Map::new();
    for name in &list.keys {
        if let Some(value) = item.get(name) {
            key.insert(name.clone(), value.clone());
        }
    }
    Value::Object(key)
}

/// The second appearance of each value that is there more than once.
fn repeated(values: &[Value]) -> Vec<usize> {
    let mut seen: HashMap<String, usize> = HashMap::new();
    let mut found = Vec::new();
    for (index, value) in values.iter().enumerate() {
        let times = seen.entry(value.to_string()).or_default();
        *times += 1;
        if *times == 2 {
            found.push(index);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_second_of_equal_items_is_named_once() {
        let schema = json!({"properties": {
            "s": {"x-kubernetes-list-type": "set", "items": {}},
            "m": {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["a", "b"],
                "items": {"properties": {"s": {"x-kubernetes-list-type": "set"}}}}}});
        let schema = Schema::parse(&schema).unwrap();
        let value = json!({"s": [1, "1", 1, 1, {"x": 1}, {"x": 1}],
            "m": [{"a": 1}, {"a": 1, "b": 2}, {"a": 1, "c": 3, "s": [1, 1]}, {}]});
        let mut errors = Vec::new();
        check(&value, &schema, &Path::default(), &mut errors);
        let texts: Vec<_> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(
            texts,
            [
                "m[2]: Duplicate value: {\"a\":1}",
                "m[2].s[1]: Duplicate value: 1",
                "s[2]: Duplicate value: 1",
                "s[5]: Duplicate value: {\"x\":1}",
            ]
        );
        let mut errors = Vec::new();
        check(&json!({"m": [{}, 1]}), &schema, &Path::default(), &mut errors);
        let want = "m[1]: Invalid value: 1: must be an object for an array of list-type map";
        assert_eq!(errors[0].to_string(), want);
    }
}
