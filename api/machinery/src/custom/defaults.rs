//! Defaults of a schema: set where a member is missing, or is null and may not be.

use std::sync::Arc;

use serde_json::Value;

use super::schema::Schema;

fn is_wrong_null(value: &Value, schema: &Schema) -> bool {
    value.is_null() && !schema.nullable
}

fn default_of(schema: &Schema) -> Value {
    schema.default.as_ref().map_or(Value::Null, |value| Value::clone(value))
}

/// Sets the defaults. The recursion ends with the value and the schema, both of limited depth.
pub fn apply(value: &mut Value, schema: &Schema) {
    match value {
        Value::Object(map) => {
            for (name, property) in schema.properties() {
                let Some(default) = &property.default else { continue };
                if map.get(name).is_none_or(|value| is_wrong_null(value, property)) {
                    map.insert(name.to_owned(), Value::clone(default));
                }
            }
            for (name, member) in map.iter_mut() {
                if let Some(property) = schema.property(name) {
                    apply(member, property);
                } else if let Some(additional) = schema.additional_schema() {
                    if is_wrong_null(member, additional) {
                        *member = default_of(additional);
                    }
                    apply(member, additional);
                }
            }
        }
        Value::Array(list) => {
            let Some(items) = &schema.items else { return };
            for item in list {
                if is_wrong_null(item, items) {
                    *item = default_of(items);
                }
                apply(item, items);
            }
        }
        _ => {}
    }
}

/// Takes out nulls that may not be and have no default: they count as missing.
pub fn drop_nulls(value: &mut Value, schema: &Schema) {
    match value {
        Value::Object(map) => {
            map.retain(|name, member| {
                let Some(known) = schema.member(name) else { return true };
                !is_wrong_null(member, known) || known.default.is_some()
            });
            for (name, member) in map.iter_mut() {
                if let Some(known) = schema.member(name) {
                    drop_nulls(member, known);
                }
            }
        }
        Value::Array(list) => {
            let Some(items) = &schema.items else { return };
            let items = Arc::clone(items);
            for item in list {
                drop_nulls(item, &items);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn missing_and_null_members_get_their_default() {
        let schema = json!({"properties": {
            "a": {"default": 1}, "n": {"default": 2, "nullable": true}, "x": {},
            "o": {"default": {}, "properties": {"p": {"default": "q"}}},
            "l": {"items": {"default": 3}}, "m": {"additionalProperties": {"default": "d"}}}});
        let schema = Schema::parse(&schema).unwrap();
        for (given, want) in [
            (json!({}), json!({"a": 1, "n": 2, "o": {"p": "q"}})),
            (
                json!({"a": null, "n": null, "o": {"p": null}, "x": null}),
                json!({"a": 1, "n": null, "o": {"p": "q"}}),
            ),
            (
                json!({"a": 0, "n": 0, "o": {"p": ""}, "l": [null, 4], "m": {"k": null}}),
                json!({"a": 0, "n": 0, "o": {"p": ""}, "l": [3, 4], "m": {"k": "d"}}),
            ),
        ] {
            let mut value = given;
            drop_nulls(&mut value, &schema);
            apply(&mut value, &schema);
            assert_eq!(value, want);
        }
    }
}
