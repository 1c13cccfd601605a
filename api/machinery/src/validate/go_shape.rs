//! Values whose fields upstream shows by the names and in the order of its Go structures.

use serde_json::Value;

use crate::field::{Error, Path};

/// How upstream's Go writes a type.
pub(super) enum Shape {
    Plain,
    /// What is shown when there is nothing: `""`, `0`, `false`.
    Default(&'static str),
    Struct(&'static [Field]),
    /// A structure that is always there.
    Inline(&'static [Field]),
    List(&'static Shape),
}

/// A field's name on the wire, its name in Go, and how its value is written.
pub(super) type Field = (&'static str, &'static str, Shape);

pub(super) const TEXT: Shape = Shape::Default("\"\"");
pub(super) const NUMBER: Shape = Shape::Default("0");

/// An "Invalid value" that keeps the order of Go's fields, which a `Value` would not.
pub(super) fn invalid(path: &Path, value: &Value, shape: &Shape, why: &str) -> Error {
    invalid_as(path, &shown(value, shape), why)
}

/// An "Invalid value" whose value is already written.
pub(super) fn invalid_as(path: &Path, value: &str, why: &str) -> Error {
    let mut error = Error::invalid(path, Value::Null, "");
    error.value = None;
    error.detail = format!("{value}: {why}");
    error
}

pub(super) fn shown(value: &Value, shape: &Shape) -> String {
    match shape {
        Shape::Plain => value.to_string(),
        Shape::Default(text) if value.is_null() => (*text).to_owned(),
        Shape::Default(_) => value.to_string(),
        Shape::Struct(_) if value.is_null() => "null".to_owned(),
        Shape::Struct(fields) | Shape::Inline(fields) => {
            let one =
                |(key, name, shape): &Field| format!("\"{name}\":{}", shown(&value[*key], shape));
            format!("{{{}}}", fields.iter().map(one).collect::<Vec<_>>().join(","))
        }
        Shape::List(shape) => value.as_array().map_or("null".to_owned(), |list| {
            let all: Vec<_> = list.iter().map(|one| shown(one, shape)).collect();
            format!("[{}]", all.join(","))
        }),
    }
}
