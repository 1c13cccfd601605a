//! JSON patches that mutations make, one operation after the other, with upstream's messages.

use serde_json::{Map, Value};

use crate::limits::{JSON_PATCH_COPY_BYTES_MAX, JSON_PATCH_OPERATIONS_MAX};

/// Why a patch was not carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failed {
    /// A test found something else.
    Test,
    Other(String),
}

/// Carries out all operations, or none.
///
/// # Errors
/// The first operation that cannot be carried out.
pub fn operations(target: &Value, patch: &[Value]) -> Result<Value, Failed> {
    if patch.len() > JSON_PATCH_OPERATIONS_MAX {
        let why = format!(
            "The allowed maximum operations in a JSON patch is {JSON_PATCH_OPERATIONS_MAX}, got {}",
            patch.len()
        );
        return Err(Failed::Other(why));
    }
    let mut out = target.clone();
    let mut copied = 0;
    for one in patch {
        if one["op"] == "copy"
            && let Some(source) = one["from"].as_str().and_then(|from| out.pointer(from))
        {
            copied += source.to_string().len();
            if copied > JSON_PATCH_COPY_BYTES_MAX {
                let why = "the copy operations of the patch add too many bytes";
                return Err(Failed::Other(why.to_owned()));
            }
        }
        operation(&mut out, one)?;
    }
    Ok(out)
}

fn operation(target: &mut Value, one: &Value) -> Result<(), Failed> {
    let text = |key: &str| one[key].as_str().unwrap_or_default();
    let (op, path) = (text("op"), text("path"));
    if !matches!(op, "add" | "remove" | "replace" | "move" | "copy" | "test") {
        return Err(Failed::Other(format!("Unexpected kind: {op}")));
    }
    let (parent, key) = path.rsplit_once('/').unwrap_or(("", ""));
    let from = text("from").to_owned();
    let mut one: Map<String, Value> = one.as_object().cloned().unwrap_or_default();
    if matches!(op, "add" | "replace" | "test") {
        one.entry("value").or_insert(Value::Null);
    }
    // Upstream replaces a field that is not there, and tests one for null.
    let parent_node = target.pointer(parent);
    if op == "replace" && !path.is_empty() && parent_node.is_some_and(Value::is_object) {
        one.insert("op".to_owned(), "add".into());
    }
    // A field that is not there is copied as null.
    let from_parent = from.rsplit_once('/').and_then(|(parent, _)| target.pointer(parent));
    if op == "copy" && target.pointer(&from).is_none() && from_parent.is_some_and(Value::is_object)
    {
        one.insert("op".to_owned(), "add".into());
        one.insert("value".to_owned(), Value::Null);
        one.remove("from");
    }
    let is_nothing = target.pointer(path).is_none() && parent_node.is_some_and(Value::is_object);
    if op == "test" && is_nothing {
        return if one["value"].is_null() { Ok(()) } else { Err(Failed::Test) };
    }
    let why = |target: &Value| why(target, (op, path), (parent, key), &from);
    let parsed: Result<json_patch::Patch, _> =
        serde_json::from_value(Value::Array(vec![Value::Object(one)]));
    let Ok(parsed) = parsed else { return Err(Failed::Other(why(target))) };
    match json_patch::patch(target, &parsed) {
        Ok(()) => Ok(()),
        Err(error) => match error.kind {
            json_patch::PatchErrorKind::TestFailed => Err(Failed::Test),
            _ => Err(Failed::Other(why(target))),
        },
    }
}

fn why(
    target: &Value,
    (op, path): (&str, &str),
    (parent, key): (&str, &str),
    from: &str,
) -> String {
    let shown = |path: &str| match op {
        "add" | "remove" => format!("{path:?}"),
        _ => path.to_owned(),
    };
    let from_is_missing = matches!(op, "move" | "copy") && target.pointer(from).is_none();
    if let Some((above, key)) = from.rsplit_once('/')
        && from_is_missing
        && target.pointer(above).is_some_and(Value::is_object)
    {
        return format!(
            "error in {op} for path: '{key}': Unable to remove nonexistent key: {key}: missing value"
        );
    }
    if from_is_missing {
        return format!(
            "{op} operation does not apply: doc is missing from path: {from}: missing value"
        );
    }
    match target.pointer(parent) {
        Some(Value::Object(_)) if op == "remove" => {
            let key = key.replace("~1", "/").replace("~0", "~");
            format!(
                "error in remove for path: '{path}': Unable to remove nonexistent key: {key}: missing value"
            )
        }
        Some(Value::Array(_)) if op == "replace" => {
            format!("replace operation does not apply: doc is missing key: {path}: missing value")
        }
        Some(Value::Array(_)) if key.parse::<i64>().is_ok() => format!(
            "error in {op} for path: '{path}': Unable to access invalid index: {key}: invalid index referenced"
        ),
        Some(Value::Array(_)) => format!(
            "error in {op} for path: '{path}': value was not a proper array index: '{key}': strconv.Atoi: parsing {key:?}: invalid syntax"
        ),
        _ => format!(
            "{op} operation does not apply: doc is missing path: {}: missing value",
            shown(path)
        ),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// From the upstream library's code.
    #[test]
    fn operations_are_upstreams() {
        let target = json!({"a": {"b": 1}, "l": [1, 2]});
        let run = |patch: Value| operations(&target, patch.as_array().unwrap());
        let replaced = run(json!([{"op": "replace", "path": "/a/c", "value": 2}])).unwrap();
        assert_eq!(replaced["a"]["c"], 2);
        let failed = run(json!([{"op": "test", "path": "/a/b", "value": 2}]));
        assert_eq!(failed, Err(Failed::Test));
        for (patch, why) in [
            (
                json!({"op": "add", "path": "/x/y", "value": 1}),
                "add operation does not apply: doc is missing path: \"/x/y\": missing value",
            ),
            (
                json!({"op": "remove", "path": "/a/x"}),
                "error in remove for path: '/a/x': Unable to remove nonexistent key: x: missing value",
            ),
            (
                json!({"op": "add", "path": "/l/7", "value": 1}),
                "error in add for path: '/l/7': Unable to access invalid index: 7: invalid index referenced",
            ),
            (
                json!({"op": "replace", "path": "/x/y", "value": 1}),
                "replace operation does not apply: doc is missing path: /x/y: missing value",
            ),
        ] {
            assert_eq!(run(json!([patch])), Err(Failed::Other(why.to_owned())));
        }
    }
}
