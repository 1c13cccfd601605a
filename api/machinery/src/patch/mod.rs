//! Patches: JSON Patch, merge patch and strategic merge patch, as pure functions of trees.

pub(crate) mod go_text;
mod operations;
mod order;
mod strategic;

use serde_json::Value;

use crate::Status;
use crate::decode::depth;
use crate::limits::JSON_PATCH_OPERATIONS_MAX;

pub use go_text::{check_kind, misfit};
pub use operations::{Failed, operations};
pub use strategic::strategic_merge;

/// The kinds of patch, by media type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatchType {
    Json,
    Merge,
    StrategicMerge,
    /// Server-side apply; not carried out by this module.
    Apply,
}

impl PatchType {
    /// From a `Content-Type`, parameters ignored.
    #[must_use]
    pub fn of_content_type(content_type: &str) -> Option<Self> {
        match content_type.split(';').next().unwrap_or("").trim() {
            "application/json-patch+json" => Some(Self::Json),
            "application/merge-patch+json" => Some(Self::Merge),
            "application/strategic-merge-patch+json" => Some(Self::StrategicMerge),
            "application/apply-patch+yaml" => Some(Self::Apply),
            _ => None,
        }
    }
}

/// RFC 6902.
///
/// # Errors
/// 400 when the patch does not parse, 413 when it has too many operations, 422 when one cannot be
/// carried out (a failed `test` too).
pub fn json_patch(target: &Value, patch: &[u8]) -> Result<Value, Status> {
    let all = json_operations(patch)?;
    if all.len() > JSON_PATCH_OPERATIONS_MAX {
        let count = all.len();
        let mut status = Status::too_large(JSON_PATCH_OPERATIONS_MAX);
        status.message = format!(
            "Request entity too large: The allowed maximum operations in a JSON patch is {JSON_PATCH_OPERATIONS_MAX}, got {count}"
        );
        return Err(status);
    }
    // Upstream does not say which operation makes no sense or failed either.
    operations(target, &all).map_err(|_| {
        Status::unprocessable("the server rejected our request due to an error in our request")
    })
}

/// The operations of a JSON patch, each a map; what they say is not looked at.
fn json_operations(patch: &[u8]) -> Result<Vec<Value>, Status> {
    let refuse = |why: String| Status::bad_request(format!("error decoding patch: {why}"));
    let unfit = |value: &Value, into: &str| {
        let kind = go_text::json_kind(value);
        Err(refuse(format!("json: cannot unmarshal {kind} into Go {into}")))
    };
    if let Some(why) = depth::refused_json(patch) {
        return Err(refuse(why));
    }
    let parsed: Value =
        serde_json::from_slice(patch).map_err(|error| refuse(go_text::not_json(patch, &error)))?;
    let operations = match parsed {
        // No operations, to Go.
        Value::Null => return Ok(Vec::new()),
        Value::Array(operations) => operations,
        other => return unfit(&other, "value of type []handlers.jsonPatchOp"),
    };
    for one in &operations {
        if !one.is_object() {
            return unfit(one, "value of type handlers.jsonPatchOp");
        }
        for field in ["op", "path", "from"] {
            if let Some(value) =
                one.get(field).filter(|value| !value.is_string() && !value.is_null())
            {
                return unfit(value, &format!("struct field jsonPatchOp.{field} of type string"));
            }
        }
    }
    Ok(operations)
}

/// RFC 7396.
///
/// # Errors
/// 400 when the patch is not a JSON object.
pub fn merge_patch(mut target: Value, patch: &[u8]) -> Result<Value, Status> {
    let patch = object_patch(patch).map_err(|why| match why {
        Unfit::Null => Status::bad_request("Invalid JSON Patch"),
        Unfit::Other(why) => Status::bad_request(format!("error decoding patch: {why}")),
    })?;
    json_patch::merge(&mut target, &patch);
    Ok(target)
}

/// Why a patch is not an object.
enum Unfit {
    Null,
    Other(String),
}

/// Reads a patch that must be an object.
fn object_patch(patch: &[u8]) -> Result<Value, Unfit> {
    if let Some(why) = depth::refused_json(patch) {
        return Err(Unfit::Other(why));
    }
    let parsed: Value = serde_json::from_slice(patch)
        .map_err(|error| Unfit::Other(go_text::not_json(patch, &error)))?;
    match parsed {
        Value::Object(_) => Ok(parsed),
        Value::Null => Err(Unfit::Null),
        other => {
            let kind = go_text::json_kind(&other);
            Err(Unfit::Other(format!(
                "json: cannot unmarshal {kind} into Go value of type map[string]interface {{}}"
            )))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn json_patches_answer_400_and_422_as_upstream() {
        let target = json!({"a": [1, 2], "b": "x"});
        let run = |patch: Value| json_patch(&target, patch.to_string().as_bytes());
        assert_eq!(
            run(json!([{"op": "test", "path": "/b", "value": "x"}, {"op": "remove", "path": "/a/0"}]))
                .unwrap(),
            json!({"a": [2], "b": "x"})
        );
        assert_eq!(run(json!([{"op": "test", "path": "/b", "value": "y"}])).unwrap_err().code, 422);
        assert_eq!(run(json!([{"op": "remove", "path": "/zz"}])).unwrap_err().code, 422);
        // As kube-apiserver 1.36 answered these.
        let with = |key: &str, value: Value| {
            let mut out = target.clone();
            out[key] = value;
            out
        };
        for (one, out) in [
            (json!({"op": "replace", "path": "/x", "value": 1}), with("x", json!(1))),
            (json!({"op": "test", "path": "/x"}), target.clone()),
            (json!({"op": "copy", "from": "/x", "path": "/y"}), with("y", Value::Null)),
            (json!({"op": "add", "path": "/x"}), with("x", Value::Null)),
            (json!({"op": "add", "path": "a/x", "value": 1}), with("x", json!(1))),
            (json!({"op": "add", "path": "/a/-1", "value": 3}), with("a", json!([1, 2, 3]))),
        ] {
            assert_eq!(run(json!([one])).unwrap(), out, "{one}");
        }
        let whole = json!({"op": "add", "path": "", "value": {}});
        let unknown = json!({"op": "nope", "path": "/b"});
        for unknown in [whole, unknown, json!({"op": "add"}), json!({})] {
            assert_eq!(run(json!([unknown])).unwrap_err().code, 422);
        }
        assert_eq!(run(Value::Null).unwrap(), target);
        let why = |patch: Value| run(patch).unwrap_err().message;
        let go = "error decoding patch: json: cannot unmarshal";
        assert_eq!(
            why(json!({"op": "remove"})),
            format!("{go} object into Go value of type []handlers.jsonPatchOp")
        );
        assert_eq!(
            why(json!([1])),
            format!("{go} number into Go value of type handlers.jsonPatchOp")
        );
        assert_eq!(
            why(json!([{"op": 1}])),
            format!("{go} number into Go struct field jsonPatchOp.op of type string")
        );
        assert_eq!(
            json_patch(&target, b"[").unwrap_err().message,
            "error decoding patch: unexpected end of JSON input"
        );
        // A copy of what was copied into itself doubles it; the limit is for what that adds up to.
        let doubled = vec![json!({"op": "copy", "from": "/a", "path": "/a/-"}); 40];
        assert_eq!(run(Value::Array(doubled)).unwrap_err().code, 422);
        let deeper = |n: usize| {
            let path = format!("/a/0{}", "/x".repeat(n));
            json!({"op": "add", "path": path, "value": {"x": {}}})
        };
        let deep: Vec<_> = (0..200).map(|n| deeper(n * 2)).collect();
        let first = json!({"op": "replace", "path": "/a/0", "value": {}});
        let deep = |count: usize| [std::slice::from_ref(&first), &deep[..count]].concat();
        assert!(run(Value::Array(deep(40))).is_ok());
        assert_eq!(run(Value::Array(deep(80))).unwrap_err().code, 422);
        let many = vec![json!({"op": "test", "path": "/b", "value": "x"}); 10_001];
        assert_eq!(run(Value::Array(many)).unwrap_err().code, 413);
    }

    #[test]
    fn merge_patches_remove_with_null() {
        let target = json!({"a": {"b": 1, "c": 2}});
        assert_eq!(
            merge_patch(target.clone(), br#"{"a":{"b":null,"d":3}}"#).unwrap(),
            json!({"a": {"c": 2, "d": 3}})
        );
        let why = |patch| merge_patch(target.clone(), patch).unwrap_err().message;
        assert_eq!(
            why(b"[]"),
            "error decoding patch: json: cannot unmarshal array into Go value of type map[string]interface {}"
        );
        assert_eq!(why(b"null"), "Invalid JSON Patch");
    }
}
