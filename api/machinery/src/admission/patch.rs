//! What the expressions of mutations come to, as a change of an object.

use std::fmt::Write as _;

use api_cel::{Object as Made, Value};
use base64::Engine;
use serde_json::{Map, Value as Json, json};

use crate::apply;
use crate::patch;
use crate::schema::TypeId;

/// The largest integer that JSON readers take for what it is.
const SAFE_INTEGER_MAX: u64 = (1 << 53) - 1;

/// What a mutation made of an object.
#[derive(Clone, Debug, PartialEq)]
pub enum Patched {
    Changed(Json),
    /// A test of the patch failed.
    Unchanged,
}

/// Merges an apply configuration into an object.
///
/// # Errors
/// Why it cannot be, in upstream's words.
pub fn apply_configuration(
    made: &Value<'_>,
    (type_id, live): (TypeId, &Json),
) -> Result<Json, String> {
    let Value::Object(made) = made else {
        return Err("unsupported return type from ApplyConfiguration expression".to_owned());
    };
    check_names(made)?;
    let mut config = native_object(made)?;
    for key in ["apiVersion", "kind"] {
        config.insert(key.to_owned(), live[key].clone());
    }
    apply::configure(type_id, live, &Json::Object(config))
        .map_err(|why| format!("error applying patch: {why}"))
}

/// Applies a list of JSON patch operations to an object.
///
/// # Errors
/// Why it cannot be, in upstream's words.
pub fn json_patch(operations: &Value<'_>, live: &Json) -> Result<Patched, String> {
    let Value::List(list) = operations else {
        return Err("type mismatch: JSONPatchType.expression should evaluate to array".to_owned());
    };
    let mut patch: Vec<Json> = Vec::with_capacity(list.len());
    for one in list.iter() {
        let Value::Object(made) = &one else {
            return Err(
                "type mismatch: JSONPatchType.expression should evaluate to array of JSONPatch"
                    .to_owned(),
            );
        };
        patch.push(operation(made)?);
    }
    match patch::operations(live, &patch) {
        Ok(patched) => Ok(Patched::Changed(patched)),
        Err(patch::Failed::Test) => Ok(Patched::Unchanged),
        Err(patch::Failed::Other(why)) => Err(format!("JSON Patch: {why}")),
    }
}

fn operation(made: &Made<'_>) -> Result<Json, String> {
    let mut out = json!({"op": "", "path": ""});
    for (name, value) in &made.fields {
        match (&**name, value) {
            ("from", Value::String(text)) if text.is_empty() => {}
            ("op" | "path" | "from", Value::String(text)) => out[&**name] = (**text).into(),
            ("value", value) => {
                if let Value::Object(made) = value {
                    check_names(made)?;
                }
                out["value"] = plain(value).map_err(|why| {
                    format!(
                        "JSONPath valueExpression evaluated to a type that could not marshal to JSON: {why}"
                    )
                })?;
            }
            (name, _) => return Err(format!("unexpected type for JSONPatchType '{name}' field")),
        }
    }
    Ok(out)
}

/// Types of objects are named after the path to them.
fn check_names(made: &Made<'_>) -> Result<(), String> {
    let mut found = String::new();
    check_made(made, &made.name, &mut found);
    match found.as_str() {
        "" => Ok(()),
        found => Err(format!("type mismatch: {found}")),
    }
}

fn check_made(made: &Made<'_>, path: &str, found: &mut String) {
    if &*made.name != path {
        if !found.is_empty() {
            found.push('\n');
        }
        let name = &made.name;
        write!(
            found,
            "unexpected type name {name:?}, expected {path:?}, which matches field name path from root Object type"
        )
        .expect("writing to a String cannot fail");
    }
    for (name, value) in &made.fields {
        check_value(value, &format!("{path}.{name}"), found);
    }
}

fn check_value(value: &Value<'_>, path: &str, found: &mut String) {
    match value {
        Value::Object(made) => check_made(made, path, found),
        Value::List(list) => list.iter().for_each(|one| check_value(&one, path, found)),
        Value::Map(map) => {
            let values = map.keys().into_iter().filter_map(|key| map.get(&key));
            values.for_each(|one| check_value(&one, path, found));
        }
        _ => {}
    }
}

fn native_object(made: &Made<'_>) -> Result<Map<String, Json>, String> {
    let field = |(name, value): (&std::sync::Arc<str>, &Value<'_>)| {
        let value =
            native(value).map_err(|why| format!("fail to convert field {:?}: {why}", &**name))?;
        Ok((name.to_string(), value))
    };
    made.fields.iter().map(field).collect()
}

/// A value as the tree of an object has it.
fn native(value: &Value<'_>) -> Result<Json, String> {
    convert(value, false)
}

/// A value as JSON: integers that are too large for its readers are strings.
fn plain(value: &Value<'_>) -> Result<Json, String> {
    convert(value, true)
}

fn convert(value: &Value<'_>, is_plain: bool) -> Result<Json, String> {
    let is_safe = |one: u64| !is_plain || one <= SAFE_INTEGER_MAX;
    Ok(match value {
        Value::Null => Json::Null,
        Value::Bool(one) => (*one).into(),
        Value::Int(one) if is_safe(one.unsigned_abs()) => (*one).into(),
        Value::Int(one) => one.to_string().into(),
        Value::Uint(one) if is_safe(*one) => (*one).into(),
        Value::Uint(one) => one.to_string().into(),
        Value::Double(one) => double(*one),
        Value::String(text) => (**text).into(),
        Value::Bytes(bytes) => base64::engine::general_purpose::STANDARD.encode(bytes).into(),
        Value::Timestamp(_) | Value::Duration(_) => value.to_string().into(),
        Value::List(list) => {
            list.iter().map(|one| convert(&one, is_plain)).collect::<Result<Vec<_>, _>>()?.into()
        }
        Value::Map(map) => {
            let mut out = Map::new();
            for key in map.keys() {
                let Value::String(name) = &key else {
                    let of = key.type_of();
                    return Err(format!("map key {:?} is of type {}, not string", key, of.name()));
                };
                let one = map.get(&key).unwrap_or(Value::Null);
                out.insert(name.to_string(), convert(&one, is_plain)?);
            }
            Json::Object(out)
        }
        Value::Object(made) => Json::Object(native_object(made)?),
        Value::Optional(Some(inner)) => convert(inner, is_plain)?,
        other => return Err(format!("unsupported type {}", other.type_of().name())),
    })
}

/// Whole numbers are written without a fraction, as Go writes them.
fn double(one: f64) -> Json {
    let text = one.to_string();
    text.parse::<i64>().map_or_else(|_| one.into(), Into::into)
}
