//! Patches: JSON Patch, merge patch and strategic merge patch, as pure functions of trees.

mod strategic;

use serde_json::Value;

use crate::Status;
use crate::limits::{JSON_PATCH_COPY_BYTES_MAX, JSON_PATCH_OPERATIONS_MAX};

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
    let operations: Vec<Value> = serde_json::from_slice(patch)
        .map_err(|error| Status::bad_request(format!("error decoding patch: {error}")))?;
    if operations.len() > JSON_PATCH_OPERATIONS_MAX {
        let count = operations.len();
        let mut status = Status::too_large(JSON_PATCH_OPERATIONS_MAX);
        status.message = format!(
            "The allowed maximum operations in a JSON patch is {JSON_PATCH_OPERATIONS_MAX}, got {count}"
        );
        return Err(status);
    }
    let copies: usize = operations
        .iter()
        .filter(|one| one["op"] == "copy")
        .filter_map(|one| target.pointer(one["from"].as_str()?))
        .map(|value| value.to_string().len())
        .sum();
    if copies > JSON_PATCH_COPY_BYTES_MAX {
        return Err(Status::unprocessable("the copy operations of the patch add too many bytes"));
    }
    let operations: json_patch::Patch = serde_json::from_value(Value::Array(operations))
        .map_err(|error| Status::bad_request(format!("error decoding patch: {error}")))?;
    let mut out = target.clone();
    // Upstream does not say which operation failed either.
    json_patch::patch(&mut out, &operations).map_err(|_| {
        Status::unprocessable("the server rejected our request due to an error in our request")
    })?;
    Ok(out)
}

/// RFC 7396.
///
/// # Errors
/// 400 when the patch is not a JSON object.
pub fn merge_patch(target: &Value, patch: &[u8]) -> Result<Value, Status> {
    let patch = object_patch(patch)?;
    let mut out = target.clone();
    json_patch::merge(&mut out, &patch);
    Ok(out)
}

/// Reads a patch that must be an object.
fn object_patch(patch: &[u8]) -> Result<Value, Status> {
    let patch: Value = serde_json::from_slice(patch)
        .map_err(|error| Status::bad_request(format!("error decoding patch: {error}")))?;
    if patch.is_object() {
        return Ok(patch);
    }
    Err(Status::bad_request("error decoding patch: json: cannot unmarshal into a map"))
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
        assert_eq!(run(json!({"op": "remove"})).unwrap_err().code, 400);
        assert_eq!(run(json!([{"op": "nope", "path": "/b"}])).unwrap_err().code, 400);
        let many = vec![json!({"op": "test", "path": "/b", "value": "x"}); 10_001];
        assert_eq!(run(Value::Array(many)).unwrap_err().code, 413);
    }

    #[test]
    fn merge_patches_remove_with_null() {
        let target = json!({"a": {"b": 1, "c": 2}});
        assert_eq!(
            merge_patch(&target, br#"{"a":{"b":null,"d":3}}"#).unwrap(),
            json!({"a": {"c": 2, "d": 3}})
        );
        assert_eq!(merge_patch(&target, b"[]").unwrap_err().code, 400);
    }
}
