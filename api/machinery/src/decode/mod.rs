//! Request bodies to objects: JSON, YAML and protobuf, strict about unknown and duplicate fields.

mod alike;
pub(crate) mod depth;
mod fit;
pub(crate) mod go_json;
pub(crate) mod kind;
pub(crate) mod raw;
pub(crate) mod repeats;
pub(crate) mod walk;

use serde_json::{Map, Value};

use self::raw::Raw;
use self::walk::Walk;
use crate::kinds;
use crate::limits::{YAML_DEPTH_MAX, YAML_EVENTS_MAX, YAML_NODES_MAX, YAML_SCALAR_BYTES_MAX};
use crate::schema::TypeId;
use crate::{Object, Status, protobuf};

/// Bytes of a body that an error shows.
const SHOWN_BYTES: usize = 30;

/// How a body is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    Json,
    Yaml,
    Protobuf,
}

impl Encoding {
    /// From a `Content-Type`, parameters ignored; an absent one is JSON.
    #[must_use]
    pub fn of_content_type(content_type: &str) -> Option<Self> {
        match content_type.split(';').next().unwrap_or("").trim() {
            "" | "application/json" => Some(Self::Json),
            "application/yaml" => Some(Self::Yaml),
            "application/vnd.kubernetes.protobuf" => Some(Self::Protobuf),
            _ => None,
        }
    }
}

/// What is done about unknown and duplicate fields.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FieldValidation {
    Ignore,
    #[default]
    Warn,
    Strict,
}

impl FieldValidation {
    /// Reads the query parameter `fieldValidation`; an empty one is the default.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "" | "Warn" => Some(Self::Warn),
            "Ignore" => Some(Self::Ignore),
            "Strict" => Some(Self::Strict),
            _ => None,
        }
    }
}

/// A decoded body.
#[derive(Clone, Debug, PartialEq)]
pub struct Decoded {
    pub object: Object,
    /// One `Warning: 299 - "…"` header each.
    pub warnings: Vec<String>,
}

/// What upstream reads of a document first.
const VERSION_AND_KIND: &str = r#"struct { APIVersion string "json:\"apiVersion,omitempty\""; Kind string "json:\"kind,omitempty\"" }"#;

/// Options are no objects: what is wrong with them is said without their kind.
fn is_options(expected: Expected<'_>) -> bool {
    expected.kind.ends_with("Options")
}

/// The kind that a body should have.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    pub api_version: &'a str,
    pub kind: &'a str,
}

/// Decodes a body that should be of a kind: an object of a resource, `DeleteOptions`, `Scale`,
/// `Binding` … The result always has `apiVersion` and `kind`.
///
/// # Errors
/// 400 when the body does not parse, is of another kind, has a field of a wrong type, or (with
/// `Strict`) unknown or duplicate fields.
pub fn body(
    bytes: &[u8],
    encoding: Encoding,
    expected: Expected<'_>,
    validation: FieldValidation,
) -> Result<Decoded, Status> {
    let unread = |status: Status| match is_options(expected) {
        true => status,
        false => unrecognized(expected.kind, &status.message, bytes),
    };
    if encoding == Encoding::Json
        && let Ok(tree) = fit::read(bytes)
    {
        let text = |name: &str| tree.get(name).and_then(Value::as_str).unwrap_or_default();
        check_kind(text("apiVersion"), text("kind"), expected)?;
        if let Ok(object) = fitted(tree, expected) {
            return Ok(Decoded { object, warnings: Vec::new() });
        }
    }
    let (raw, repeats) = match encoding {
        Encoding::Json => (parse_json(bytes).map_err(unread)?, Vec::new()),
        Encoding::Yaml => {
            let raw = parse_yaml(bytes).map_err(unread)?;
            let repeats = repeats::strict_errors(bytes, &raw, validation);
            // Upstream goes on with JSON that it made of the YAML, with the keys in order.
            (Raw::from(raw.into_value()), repeats)
        }
        Encoding::Protobuf => {
            let tree = protobuf::decode(bytes)?.into_value();
            if depth::is_too_deep(&tree) {
                return Err(Status::bad_request(depth::TOO_DEEP));
            }
            let object = Object::from_value(tree).unwrap_or_default();
            check_kind(object.api_version(), object.kind(), expected)?;
            return Ok(Decoded { object, warnings: Vec::new() });
        }
    };
    let go_kind = raw.go_kind();
    if !matches!(go_kind, "object" | "null") {
        return Err(unread(Status::bad_request(format!(
            "couldn't get version/kind; json parse error: json: cannot unmarshal {go_kind} into Go value of type {VERSION_AND_KIND}"
        ))));
    }
    let api_version = raw.text_of("apiVersion").unwrap_or("").to_owned();
    let kind = raw.text_of("kind").unwrap_or("").to_owned();
    check_kind(&api_version, &kind, expected)?;
    fit(raw, type_of(expected)?, expected, (validation, repeats))
}

fn type_of(expected: Expected<'_>) -> Result<TypeId, Status> {
    kinds::type_of(expected.api_version, expected.kind).ok_or_else(|| {
        Status::internal(&format!("no schema for {} {}", expected.api_version, expected.kind))
    })
}

/// A tree of which nothing is to be said, fitted to its type; else the tree.
fn fitted(
    mut tree: Map<String, Value>,
    expected: Expected<'_>,
) -> Result<Object, Map<String, Value>> {
    let type_id = kinds::type_of(expected.api_version, expected.kind);
    if type_id.is_none_or(|type_id| fit::object(type_id, &mut tree).is_err()) {
        return Err(tree);
    }
    let mut object = Object(tree);
    if (object.api_version(), object.kind()) != (expected.api_version, expected.kind) {
        object.set_api_version_and_kind(expected.api_version, expected.kind);
    }
    Ok(object)
}

/// Fits a tree (a patched object, say) to its type, as [`body`] does with a body.
///
/// # Errors
/// 400 as for [`body`].
pub fn value(
    value: Value,
    expected: Expected<'_>,
    validation: FieldValidation,
) -> Result<Decoded, Status> {
    let value = match value {
        Value::Object(tree) => match fitted(tree, expected) {
            Ok(object) => return Ok(Decoded { object, warnings: Vec::new() }),
            Err(tree) => Value::Object(tree),
        },
        other => other,
    };
    fit(value.into(), type_of(expected)?, expected, (validation, Vec::new()))
}

fn fit(
    raw: Raw,
    type_id: TypeId,
    expected: Expected<'_>,
    (validation, repeats): (FieldValidation, Vec<String>),
) -> Result<Decoded, Status> {
    let (_, version) = kinds::split_api_version(expected.api_version);
    let refuse = |why: &str| {
        let kind = expected.kind;
        if is_options(expected) {
            return Status::bad_request(why);
        }
        Status::bad_request(format!(
            "{kind} in version {version:?} cannot be handled as a {kind}: {why}"
        ))
    };
    let mut walk = Walk::new();
    let map = walk.message(type_id, raw).map_err(|why| refuse(&why))?;
    let mut object = Object(map);
    object.set_api_version_and_kind(expected.api_version, expected.kind);
    let mut errors = repeats;
    errors.extend(walk.strict_errors);
    match validation {
        FieldValidation::Strict if !errors.is_empty() => {
            Err(refuse(&format!("strict decoding error: {}", errors.join(", "))))
        }
        FieldValidation::Warn => Ok(Decoded { object, warnings: errors }),
        FieldValidation::Strict | FieldValidation::Ignore => {
            Ok(Decoded { object, warnings: Vec::new() })
        }
    }
}

fn check_kind(api_version: &str, kind: &str, expected: Expected<'_>) -> Result<(), Status> {
    // DeleteOptions travel under the group of the object, or under meta.k8s.io, or under v1.
    let is_options = is_options(expected);
    let own = if is_options { "" } else { api_version };
    if let Some(why) = kind::mismatch(own, kind, expected) {
        if is_options {
            let of = if api_version.is_empty() { "meta.k8s.io/v1" } else { api_version };
            let scheme = "k8s.io/apimachinery/pkg/apis/meta/internalversion/scheme/register.go:27";
            return Err(Status::bad_request(format!(
                "no kind {kind:?} is registered for version {of:?} in scheme {scheme:?}"
            )));
        }
        let of = if own.is_empty() { expected.api_version } else { own };
        let named = if kind.is_empty() { expected.kind } else { kind };
        let (_, version) = kinds::split_api_version(of);
        return Err(Status::bad_request(format!(
            "{named} in version {version:?} cannot be handled as a {}: {why}",
            expected.kind
        )));
    }
    Ok(())
}

/// 400 about bytes that are no document, with how they start: text when they start as JSON does.
pub(crate) fn unrecognized(kind: &str, why: &str, bytes: &[u8]) -> Status {
    let start = &bytes[..bytes.len().min(SHOWN_BYTES)];
    let mut shown = match bytes.first() {
        None => "<empty>".to_owned(),
        Some(b'{') => String::from_utf8_lossy(start).into_owned(),
        Some(_) => start.iter().map(|byte| format!("{byte:02x}")).collect(),
    };
    if bytes.len() > SHOWN_BYTES {
        shown.push_str(" ...");
    }
    Status::bad_request(format!(
        "the object provided is unrecognized (must be of type {kind}): {why} ({shown})"
    ))
}

/// The body of a server-side apply.
#[derive(Clone, Debug)]
pub struct ApplyPatch {
    /// Only the fields that it is about.
    pub object: Object,
    /// What is wrong with it although it can be applied.
    pub warnings: Vec<String>,
    /// The same as the refusal that has to follow when nothing else is wrong.
    pub refusal: Option<Status>,
}

/// Reads the body of a server-side apply: YAML or JSON.
///
/// # Errors
/// 400 when it does not parse, or is no object.
pub fn apply_patch(bytes: &[u8], validation: FieldValidation) -> Result<ApplyPatch, Status> {
    let refuse = |why: &str| Status::bad_request(format!("error decoding YAML: {why}"));
    let raw = parse_yaml(bytes).map_err(|status| refuse(&status.message))?;
    let kind = raw.go_kind();
    let mut warnings = repeats::strict_errors(bytes, &raw, validation);
    let refusal = (validation == FieldValidation::Strict).then(|| warnings.pop()).flatten();
    let refusal = refusal.map(|why| {
        let what = "error strict decoding YAML: error converting YAML to JSON";
        Status::bad_request(format!("{what}: {why}"))
    });
    let object = Object::from_value(raw.into_value()).ok_or_else(|| {
        refuse(&format!(
            "json: cannot unmarshal {kind} into Go value of type map[string]interface {{}}"
        ))
    })?;
    Ok(ApplyPatch { object, warnings, refusal })
}

pub(crate) fn parse_json(bytes: &[u8]) -> Result<Raw, Status> {
    let refuse = |why: &str| {
        Status::bad_request(format!("couldn't get version/kind; json parse error: {why}"))
    };
    if depth::too_deep_in_json(bytes).is_some() {
        return Err(refuse(depth::TOO_DEEP));
    }
    serde_json::from_slice(bytes).map_err(|error| {
        let why = go_json::why_not_json(bytes);
        refuse(&why.unwrap_or_else(|| error.to_string()))
    })
}

pub(crate) fn parse_yaml(bytes: &[u8]) -> Result<Raw, Status> {
    if let Some(raw) = alike::read(bytes) {
        return Ok(raw);
    }
    read_yaml(bytes)
}

fn read_yaml(bytes: &[u8]) -> Result<Raw, Status> {
    let refuse = |why: &str| Status::bad_request(format!("error converting YAML to JSON: {why}"));
    let text = std::str::from_utf8(bytes).map_err(|error| refuse(&error.to_string()))?;
    let options = serde_saphyr::options! {
        duplicate_keys: serde_saphyr::DuplicateKeyPolicy::LastWins,
        budget: serde_saphyr::budget! {
            max_depth: YAML_DEPTH_MAX,
            max_nodes: YAML_NODES_MAX,
            max_events: YAML_EVENTS_MAX,
            max_total_scalar_bytes: YAML_SCALAR_BYTES_MAX,
            flow_nesting_limit: YAML_DEPTH_MAX,
            // One anchor may be used often: what that adds up to is bounded by the others.
            enforce_alias_anchor_ratio: false,
        },
    };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| refuse(&error.to_string()))
}
