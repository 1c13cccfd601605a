//! JSON objects to and from Kubernetes protobuf, driven by the schema table.
//!
//! On the wire an object is the four bytes `k8s\0` and an envelope (`runtime.Unknown`) with
//! `apiVersion` and `kind` beside the message.

mod either;
mod read;
pub(crate) mod wire;
mod write;

use serde_json::Value;

use crate::schema::TypeId;
use crate::{Object, Status, kinds};

/// What every protobuf body starts with.
pub const MAGIC: [u8; 4] = *b"k8s\0";
/// The media type of one object.
pub const MEDIA_TYPE: &str = "application/vnd.kubernetes.protobuf";
/// The media type of a watch: frames of a 4-byte big-endian length and a `WatchEvent`.
pub const WATCH_MEDIA_TYPE: &str = "application/vnd.kubernetes.protobuf;stream=watch";

/// Why bytes are not the protobuf of a known type.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("provided data does not appear to be a protobuf message, expected prefix {MAGIC:?}")]
    NoMagic,
    #[error("unexpected EOF")]
    Truncated,
    #[error("field {field} has wire type {wire_type}, which its type does not have")]
    WireType { field: u32, wire_type: u8 },
    #[error("messages are nested deeper than {}", crate::limits::NESTING_DEPTH_MAX)]
    TooDeep,
    #[error("no kind {kind:?} is registered for version {api_version:?}")]
    UnknownKind { api_version: String, kind: String },
    #[error("a value is not what its type wants: {0}")]
    Value(String),
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        Self::bad_request(error.to_string())
    }
}

/// Decodes an envelope to the object's JSON tree, `apiVersion` and `kind` included.
///
/// # Errors
/// See [`Error`].
pub fn decode(bytes: &[u8]) -> Result<Object, Error> {
    decode_with(bytes, kinds::type_of)
}

/// The `apiVersion` and `kind` of an envelope.
pub(crate) fn kind_of(bytes: &[u8]) -> Result<(String, String), Error> {
    let envelope = read::envelope(bytes.strip_prefix(&MAGIC).ok_or(Error::NoMagic)?)?;
    Ok((envelope.api_version, envelope.kind))
}

/// [`decode`] with a say in which type the message of an `apiVersion` and `kind` has.
pub(crate) fn decode_with(
    bytes: &[u8],
    type_of: impl Fn(&str, &str) -> Option<TypeId>,
) -> Result<Object, Error> {
    let body = bytes.strip_prefix(&MAGIC).ok_or(Error::NoMagic)?;
    let envelope = read::envelope(body)?;
    let type_id =
        type_of(&envelope.api_version, &envelope.kind).ok_or_else(|| Error::UnknownKind {
            api_version: envelope.api_version.clone(),
            kind: envelope.kind.clone(),
        })?;
    let mut object = Object(read::message(type_id, envelope.raw, 0)?);
    object.set_api_version_and_kind(&envelope.api_version, &envelope.kind);
    Ok(object)
}

/// Encodes an object, a list or a `Status` with its envelope. The type is found by the tree's
/// `apiVersion` and `kind`.
///
/// # Errors
/// The kind has no schema, or a value is not what the schema says.
pub fn encode(value: &Value) -> Result<Vec<u8>, Error> {
    let text = |key: &str| value.get(key).and_then(Value::as_str).unwrap_or("");
    let (api_version, kind) = (text("apiVersion"), text("kind"));
    let type_id = kinds::type_of(api_version, kind).ok_or_else(|| Error::UnknownKind {
        api_version: api_version.to_owned(),
        kind: kind.to_owned(),
    })?;
    let raw = encode_message(type_id, value)?;
    Ok(envelope(api_version, kind, &raw))
}

/// Encodes a tree as the bare message of a type, without envelope.
///
/// # Errors
/// A value is not what the schema says.
pub fn encode_message(type_id: TypeId, value: &Value) -> Result<Vec<u8>, Error> {
    let map = value.as_object().ok_or_else(|| Error::Value("not an object".to_owned()))?;
    let mut out = Vec::new();
    write::message(type_id, map, &mut out)?;
    Ok(out)
}

/// Puts a bare message into its envelope.
#[must_use]
pub fn envelope(api_version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
    let mut out = envelope_start(api_version, kind);
    wire::put_bytes(2, raw, &mut out);
    out.extend_from_slice(LIST_END);
    out
}

fn envelope_start(api_version: &str, kind: &str) -> Vec<u8> {
    let mut type_meta = Vec::new();
    wire::put_bytes(1, api_version.as_bytes(), &mut type_meta);
    wire::put_bytes(2, kind.as_bytes(), &mut type_meta);
    let mut out = MAGIC.to_vec();
    wire::put_bytes(1, &type_meta, &mut out);
    out
}

/// What stands before the items of a list, whose items are already bare messages of these lengths.
/// [`item_start`] stands before each of them, and [`LIST_END`] behind the last. `metadata` is the
/// list's `metadata` as a tree.
///
/// # Errors
/// The list metadata is not what the schema says.
pub fn list_start(
    api_version: &str,
    list_kind: &str,
    metadata: &Value,
    lengths: impl Iterator<Item = usize>,
) -> Result<Vec<u8>, Error> {
    let meta_type =
        crate::Schema::get().find(crate::schema::LIST_META).expect("the table has ListMeta");
    let mut start = Vec::new();
    wire::put_bytes(1, &encode_message(meta_type, metadata)?, &mut start);
    let items: usize = lengths.map(|length| item_start(length).len() + length).sum();
    let mut out = envelope_start(api_version, list_kind);
    wire::put_length(2, start.len() + items, &mut out);
    out.extend_from_slice(&start);
    Ok(out)
}

/// What stands before an item of a list.
#[must_use]
pub fn item_start(length: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(6);
    wire::put_length(2, length, &mut out);
    out
}

/// The rest of the envelope: no content encoding, no content type.
pub const LIST_END: &[u8] = b"\x1a\x00\x22\x00";

/// One watch frame: length, then a `WatchEvent` around an object that is already encoded with its
/// envelope (see [`encode`]).
#[must_use]
pub fn watch_frame(event_type: &str, object: &[u8]) -> Vec<u8> {
    let mut raw_extension = Vec::new();
    wire::put_bytes(1, object, &mut raw_extension);
    let mut event = Vec::new();
    wire::put_bytes(1, event_type.as_bytes(), &mut event);
    wire::put_bytes(2, &raw_extension, &mut event);
    let length = u32::try_from(event.len()).unwrap_or(u32::MAX);
    let mut out = length.to_be_bytes().to_vec();
    out.extend_from_slice(&event);
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::decode::{Encoding, Expected, FieldValidation, body};

    fn round_trip(value: &Value) {
        let (api_version, kind) =
            (value["apiVersion"].as_str().unwrap(), value["kind"].as_str().unwrap());
        let decoded = body(
            &serde_json::to_vec(value).unwrap(),
            Encoding::Json,
            Expected { api_version, kind },
            FieldValidation::Strict,
        )
        .unwrap();
        let tree = decoded.object.into_value();
        let again = decode(&encode(&tree).unwrap()).unwrap().into_value();
        assert_eq!(again, tree);
    }

    #[test]
    fn objects_come_back_from_protobuf_as_they_went() {
        round_trip(&json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "a", "creationTimestamp": "2026-01-02T03:04:05Z", "labels": {"x": ""},
                "managedFields": [{"manager": "m", "operation": "Update", "fieldsType": "FieldsV1",
                    "fieldsV1": {"f:spec": {}}}]},
            "spec": {
                "terminationGracePeriodSeconds": 0, "hostNetwork": true,
                "volumes": [{"name": "v", "configMap": {"name": "c", "defaultMode": 420}},
                    {"name": "e", "emptyDir": {"sizeLimit": "1Gi"}}],
                "containers": [{"name": "c", "image": "i", "ports": [{"containerPort": 80}],
                    "resources": {"requests": {"cpu": "100m"}, "limits": {"memory": "1Gi"}},
                    "env": [{"name": "E", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}],
                    "livenessProbe": {"httpGet": {"port": "http", "path": "/"}, "periodSeconds": 5},
                    "readinessProbe": {"tcpSocket": {"port": 80}},
                    "securityContext": {"runAsUser": 0, "privileged": false}}],
            },
            "status": {"phase": "Running", "containerStatuses": [{"name": "c", "ready": true,
                "restartCount": 0, "image": "i", "imageID": "", "state": {"running":
                    {"startedAt": "2026-01-02T03:04:05Z"}}}]},
        }));
        round_trip(&json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"},
            "data": {"k": "AAECAw=="}, "type": "Opaque",
        }));
        round_trip(&json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "l"},
            "spec": {"holderIdentity": "h", "renewTime": "2026-01-02T03:04:05.000001Z"},
        }));
        round_trip(&json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"},
            "spec": {"replicas": 0, "selector": {"matchLabels": {"a": "b"}},
                "strategy": {"rollingUpdate": {"maxSurge": "25%", "maxUnavailable": 1}},
                "template": {"spec": {"containers": [{"name": "c"}]}}},
        }));
    }

    #[test]
    fn a_schema_or_something_else_comes_back_from_protobuf() {
        let schema = json!({
            "type": "object",
            "properties": {
                "one": {"type": "array", "items": {"type": "string"}},
                "many": {"items": [{"type": "string"}, {"type": "integer"}]},
                "open": {"type": "object", "additionalProperties": true},
                "closed": {"type": "object", "additionalProperties": false},
                "map": {"type": "object", "additionalProperties": {"type": "array",
                    "items": {"type": "object", "default": {"a": [1, null]}}}},
            },
            "dependencies": {"a": ["b", "c"], "d": {"type": "object"}},
            "enum": [1, "a", {"b": true}],
        });
        round_trip(&json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": "as.x.y", "creationTimestamp": "2026-01-02T03:04:05Z"},
            "spec": {"group": "x.y", "scope": "Namespaced",
                "names": {"plural": "as", "kind": "A"},
                "versions": [{"name": "v1", "served": true, "storage": true,
                    "schema": {"openAPIV3Schema": schema}}]},
            "status": {"conditions": [], "acceptedNames": {"plural": "as", "kind": "A"},
                "storedVersions": ["v1"]},
        }));
    }

    #[test]
    fn a_schema_beside_a_boolean_is_upstreams_bytes() {
        let schema = json!({"additionalProperties": {"type": "a"}, "items": {"type": "b"}});
        let id = crate::Schema::get()
            .find("apiextensions_apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps")
            .unwrap();
        let bytes = encode_message(id, &schema).unwrap();
        let expected: &[u8] = b"\xc2\x01\x05\x0a\x03\x2a\x01b\xf2\x01\x07\x08\x01\x12\x03\x2a\x01a";
        assert_eq!(bytes, expected);
        assert_eq!(Value::Object(read::message(id, &bytes, 0).unwrap()), schema);
    }

    #[test]
    fn the_envelope_is_upstreams() {
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}});
        let bytes = encode(&pod).unwrap();
        assert_eq!(
            bytes,
            b"k8s\0\x0a\x09\x0a\x02v1\x12\x03Pod\x12\x05\x0a\x03\x0a\x01a\x1a\x00\x22\x00"
        );
        assert_eq!(decode(b"nope"), Err(Error::NoMagic));
        for end in 4..bytes.len() - 4 {
            // Cut anywhere, the decoder must answer instead of panicking.
            let _answer = decode(&bytes[..end]);
        }
    }

    #[test]
    fn a_list_is_put_together_from_messages() {
        let pods: Vec<Value> = (0..3)
            .map(|n| json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x".repeat(n * 100)}}))
            .collect();
        let pod = kinds::type_of("v1", "Pod").unwrap();
        let messages: Vec<_> =
            pods.iter().map(|pod_tree| encode_message(pod, pod_tree).unwrap()).collect();
        let meta = json!({"resourceVersion": "7"});
        let mut out = list_start("v1", "PodList", &meta, messages.iter().map(Vec::len)).unwrap();
        for message in &messages {
            out.extend(item_start(message.len()));
            out.extend(message);
        }
        out.extend(LIST_END);
        let list = decode(&out).unwrap();
        assert_eq!(list.resource_version(), "7");
        let items = list.at(&["items"]).and_then(Value::as_array).unwrap();
        assert_eq!(items.len(), 3);
        assert_eq!(items[2]["metadata"]["name"], "x".repeat(200));
    }

    #[test]
    fn a_status_can_be_sent() {
        let status = Status::not_found(&crate::status::Grouped::new("", "pods"), "x");
        let again = decode(&encode(&status.to_json()).unwrap()).unwrap();
        assert_eq!(again.into_value(), status.to_json());
    }

    proptest! {
        #[test]
        fn any_bytes_are_answered(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let framed = envelope("v1", "Pod", &bytes);
            let _answer = decode(&framed);
        }

        #[test]
        fn config_maps_of_any_text_come_back(
            data in prop::collection::btree_map("[a-z.]{1,8}", "\\PC{0,20}", 1..5),
        ) {
            let tree = json!({"apiVersion": "v1", "kind": "ConfigMap",
                "metadata": {"name": "c"}, "data": data});
            let again = decode(&encode(&tree).unwrap()).unwrap().into_value();
            prop_assert_eq!(again, tree);
        }
    }
}
