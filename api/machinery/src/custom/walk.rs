//! Every level of a schema as a CRD has it, also where it is no structural one.

use serde_json::Value;

use crate::limits::CUSTOM_SCHEMA_DEPTH_MAX;

/// Visits each level, the outer ones first.
pub(super) fn each(schema: &Value, visit: &mut dyn FnMut(&Value)) {
    level(schema, visit, 0);
}

fn level(schema: &Value, visit: &mut dyn FnMut(&Value), depth: usize) {
    if depth > CUSTOM_SCHEMA_DEPTH_MAX || !schema.is_object() {
        return;
    }
    visit(schema);
    let mut below = |value: &Value| level(value, visit, depth + 1);
    match &schema["items"] {
        Value::Array(items) => items.iter().for_each(&mut below),
        items => below(items),
    }
    for name in ["allOf", "anyOf", "oneOf"] {
        schema[name].as_array().into_iter().flatten().for_each(&mut below);
    }
    below(&schema["not"]);
    for name in ["properties", "patternProperties", "definitions", "dependencies"] {
        let members = schema[name].as_object().into_iter().flatten();
        members.map(|(_, value)| value).for_each(&mut below);
    }
    below(&schema["additionalProperties"]);
    below(&schema["additionalItems"]);
}

/// Whether some level is as asked.
pub(super) fn any(schema: &Value, is: impl Fn(&Value) -> bool) -> bool {
    let mut found = false;
    each(schema, &mut |level| found |= is(level));
    found
}
