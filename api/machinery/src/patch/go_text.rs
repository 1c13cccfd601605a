//! The words in which upstream refuses a patch: those of Go's JSON reader and of Go's values.
//!
//! | Rule | What always holds |
//! |------|-------------------|
//! | G1 | A value is shown as Go's `%v` shows it: maps sorted by key, no quotes. |
//! | G2 | A strategic merge patch that does not fit the type is refused with the patch as text. |

use serde_json::Value;

use crate::Status;
use crate::decode::{Expected, go_json, kind};
use crate::field::{Error, Path};
use crate::status::Grouped;

/// Why bytes are not JSON.
pub(crate) fn not_json(bytes: &[u8], error: &serde_json::Error) -> String {
    go_json::why_not_json(bytes).unwrap_or_else(|| error.to_string())
}

/// What Go's JSON reader calls a value.
pub(crate) fn json_kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// A value as Go's `%v` shows it (G1). The depth is that of parsed JSON, which has a limit.
pub(super) fn shown(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::String(text) => text.clone(),
        Value::Array(list) => {
            format!("[{}]", list.iter().map(shown).collect::<Vec<_>>().join(" "))
        }
        Value::Object(map) => {
            let mut pairs: Vec<_> = map.iter().collect();
            pairs.sort_by_key(|(key, _)| *key);
            let pairs: Vec<_> =
                pairs.iter().map(|(key, value)| format!("{key}:{}", shown(value))).collect();
            format!("map[{}]", pairs.join(" "))
        }
    }
}

/// Why a value does not fit a Go type, said by the converter of trees where the JSON reader says
/// `json: cannot unmarshal KIND into Go ... of type TYPE`.
fn converted(why: &str) -> Option<String> {
    let (found, rest) = why.strip_prefix("json: cannot unmarshal ")?.split_once(" into Go ")?;
    let go_type = rest.rsplit_once(" of type ").map_or("", |(_, go_type)| go_type);
    let (kind, written) = found.split_once(' ').unwrap_or((found, ""));
    let held = match kind {
        "array" => "slice",
        "object" => "map",
        "number" if written.is_empty() => "int64",
        "number" => "float64",
        other => other,
    };
    Some(match go_type {
        // Its own reader is asked.
        "intstr.IntOrString" => {
            format!("json: cannot unmarshal {kind} into Go value of type int32")
        }
        "string" | "bool" | "int32" | "int64" if held.ends_with("64") && go_type != "bool" => {
            format!("cannot convert {held} to {go_type}")
        }
        "string" | "bool" | "int32" | "int64" => format!("unrecognized type: {go_type}"),
        _ if go_type.starts_with("[]") => format!("cannot restore slice from {held}"),
        _ if go_type.starts_with("map[") => format!("cannot restore map from {held}"),
        _ => format!("cannot restore struct from: {held}"),
    })
}

/// 422: what a strategic merge patch makes does not fit the type (G2). `why` is the JSON reader's.
#[must_use]
pub fn misfit(patch: &[u8], why: &str) -> Status {
    let patch: Value = serde_json::from_slice(patch).unwrap_or_default();
    let why = converted(why).unwrap_or_else(|| why.to_owned());
    invalid(shown(&patch), &why)
}

/// 422: a patched tree is of another kind than it was. A strategic merge patch cannot do that.
///
/// # Errors
/// The kind or its version is another one.
pub fn check_kind(patched: &Value, expected: Expected<'_>) -> Result<(), Status> {
    let text = |key: &str| patched.get(key).and_then(Value::as_str).unwrap_or_default();
    match kind::mismatch(text("apiVersion"), text("kind"), expected) {
        None => Ok(()),
        Some(why) => Err(invalid(patched.to_string(), &why)),
    }
}

fn invalid(shown: String, why: &str) -> Status {
    let error = Error::invalid(&Path::new("patch"), shown, why);
    Status::invalid(&Grouped::default(), "", &[error])
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_are_shown_as_go_shows_them() {
        let value = json!({"b": ["a", true, null, 1.5], "a": {"c": 5}});
        assert_eq!(shown(&value), "map[a:map[c:5] b:[a true <nil> 1.5]]");
    }

    /// As a kube-apiserver 1.36 said it.
    #[test]
    fn misfits_are_told_as_upstreams_converter_does() {
        let field = "Go struct field DeploymentSpec.spec.x of type";
        for (why, told) in [
            (
                format!("json: cannot unmarshal string into {field} int32"),
                "unrecognized type: int32",
            ),
            (format!("json: cannot unmarshal bool into {field} int32"), "unrecognized type: int32"),
            (
                format!("json: cannot unmarshal object into {field} int32"),
                "unrecognized type: int32",
            ),
            (format!("json: cannot unmarshal string into {field} bool"), "unrecognized type: bool"),
            (
                format!("json: cannot unmarshal number 1.5 into {field} int32"),
                "cannot convert float64 to int32",
            ),
            (
                format!("json: cannot unmarshal number into {field} string"),
                "cannot convert int64 to string",
            ),
            (
                format!("json: cannot unmarshal number into {field} v1.PodTemplateSpec"),
                "cannot restore struct from: int64",
            ),
            (
                format!("json: cannot unmarshal number into {field} []v1.Container"),
                "cannot restore slice from int64",
            ),
            (
                format!("json: cannot unmarshal array into {field} map[string]string"),
                "cannot restore map from slice",
            ),
            (
                format!("json: cannot unmarshal bool into {field} intstr.IntOrString"),
                "json: cannot unmarshal bool into Go value of type int32",
            ),
            ("quantities must match".to_owned(), "quantities must match"),
        ] {
            let status = misfit(br#"{"spec":{"x":"y"}}"#, &why);
            let want =
                format!(" \"\" is invalid: patch: Invalid value: \"map[spec:map[x:y]]\": {told}");
            assert_eq!(status.message, want);
        }
    }

    #[test]
    fn a_patch_does_not_change_the_kind() {
        const EXPECTED: Expected<'_> = Expected { api_version: "apps/v1", kind: "Deployment" };
        let check = |tree: Value| check_kind(&tree, EXPECTED);
        assert!(check(json!({"kind": "Deployment", "apiVersion": "apps/v1"})).is_ok());
        assert!(check(json!({"kind": ""})).is_ok());
        let refused = check(json!({"kind": "Pod", "apiVersion": "apps/v1"})).unwrap_err();
        assert_eq!(refused.code, 422);
        assert!(refused.message.ends_with(
            r#"no kind "Pod" is registered for version "apps/v1" in scheme "pkg/api/legacyscheme/scheme.go:30""#
        ));
        let refused = check(json!({"kind": "Pod", "apiVersion": "v1"})).unwrap_err();
        assert!(
            refused
                .message
                .ends_with("converting (v1.Pod) to (apps.Deployment): unknown conversion")
        );
    }
}
