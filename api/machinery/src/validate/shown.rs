//! Objects inside error texts, as upstream shows its internal types: Go's names in Go's order.

use serde_json::Value;

use crate::field::{Error, ErrorKind, Path};

/// How one field of a Go struct is shown.
pub(super) enum Shape {
    /// As the JSON that it is; `null` when missing.
    Json,
    /// A text that is `""` when missing.
    Text,
    /// A number that is 0 when missing.
    Number,
    /// A label selector: an API type, with its own field order.
    Selector,
    /// A struct below a pointer.
    Struct(&'static [Field]),
    /// A list of structs.
    List(&'static [Field]),
}

/// Its JSON name, its Go name, its shape.
pub(super) type Field = (&'static str, &'static str, Shape);

/// A struct, as Go writes it as JSON when no field has a JSON name.
pub(super) fn structure(value: &Value, fields: &[Field]) -> String {
    let shown: Vec<_> = fields
        .iter()
        .map(|(key, name, shape)| format!("{name:?}:{}", field(&value[key], shape)))
        .collect();
    format!("{{{}}}", shown.join(","))
}

fn field(value: &Value, shape: &Shape) -> String {
    match (shape, value) {
        (Shape::Text, Value::Null) => "\"\"".to_owned(),
        (Shape::Number, Value::Null) => "0".to_owned(),
        (_, Value::Null) | (Shape::Json | Shape::Text | Shape::Number, _) => value.to_string(),
        (Shape::Selector, _) => selector(value),
        (Shape::Struct(fields), _) => structure(value, fields),
        (Shape::List(fields), _) => {
            let items = value.as_array().into_iter().flatten();
            let shown: Vec<_> = items.map(|item| structure(item, fields)).collect();
            format!("[{}]", shown.join(","))
        }
    }
}

/// A label selector: `matchLabels` comes first, and what is empty is left out.
pub(super) fn selector(selector: &Value) -> String {
    if selector.is_null() {
        return "null".to_owned();
    }
    let is_empty = |value: &Value| match value {
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => value.is_null(),
    };
    let shown: Vec<_> = ["matchLabels", "matchExpressions"]
        .iter()
        .filter(|key| !is_empty(&selector[**key]))
        .map(|key| format!("{key:?}:{}", selector[*key]))
        .collect();
    format!("{{{}}}", shown.join(","))
}

/// "Invalid value" with a value that is shown as given; without any if `shown` is empty.
pub(super) fn invalid(path: &Path, shown: &str, why: &str) -> Error {
    let separator = if shown.is_empty() { "" } else { ": " };
    Error {
        kind: ErrorKind::Invalid,
        field: path.to_string(),
        value: None,
        detail: format!("{shown}{}{why}", if why.is_empty() { "" } else { separator }),
    }
}

/// "Unsupported value" with a value that is shown as given.
pub(super) fn not_supported(path: &Path, shown: &str, supported: &[&str]) -> Error {
    let mut error = Error::not_supported(path, Value::Null, supported);
    error.detail = format!("{shown}: {}", error.detail);
    error.value = None;
    error
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn structs_are_shown_in_gos_names_and_order() {
        const STRATEGY: &[Field] = &[
            ("type", "Type", Shape::Text),
            ("rollingUpdate", "RollingUpdate", Shape::Struct(&[("n", "N", Shape::Number)])),
        ];
        let shown = |value: Value| structure(&value, STRATEGY);
        assert_eq!(shown(json!({})), r#"{"Type":"","RollingUpdate":null}"#);
        assert_eq!(shown(json!({"rollingUpdate": {}})), r#"{"Type":"","RollingUpdate":{"N":0}}"#);
        let selector = json!({"matchExpressions": [], "matchLabels": {"a": "b"}});
        assert_eq!(super::selector(&selector), r#"{"matchLabels":{"a":"b"}}"#);
    }

    #[test]
    fn a_value_that_is_left_out_leaves_no_gap() {
        let path = Path::new("spec");
        assert_eq!(invalid(&path, "", "why").to_string(), "spec: Invalid value: why");
        assert_eq!(invalid(&path, "{}", "").to_string(), "spec: Invalid value: {}");
        assert_eq!(
            not_supported(&path, "{}", &["A"]).to_string(),
            "spec: Unsupported value: {}: supported values: \"A\""
        );
    }
}
