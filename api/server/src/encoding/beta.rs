//! The forms of objects as `meta.k8s.io/v1beta1` has them, for clients of long ago: those of v1 with
//! another version. They are made of the whole document, since hardly anybody asks.

use api_machinery::Status;
use bytes::Bytes;
use serde_json::Value;

const VERSION: &str = "meta.k8s.io/v1beta1";

/// Tells a document, its items and its rows in the old version.
pub(super) fn retell(tree: &mut Value) {
    if !is_form(tree) {
        return;
    }
    tree["apiVersion"] = VERSION.into();
    for rows in ["rows", "items"] {
        let members = tree.get_mut(rows).and_then(Value::as_array_mut);
        for member in members.into_iter().flatten() {
            if is_form(member) {
                member["apiVersion"] = VERSION.into();
            } else if let Some(object) = member.get_mut("object").filter(|object| is_form(object)) {
                object["apiVersion"] = VERSION.into();
            }
        }
    }
}

/// Tells the object of a frame in the old version.
pub(super) fn retell_frame(frame: &Bytes) -> Result<Bytes, Status> {
    let failed = |error: serde_json::Error| Status::internal(&error.to_string());
    let mut tree: Value = serde_json::from_slice(frame).map_err(failed)?;
    if let Some(object) = tree.get_mut("object") {
        retell(object);
    }
    let mut line = serde_json::to_vec(&tree).map_err(failed)?;
    line.push(b'\n');
    Ok(line.into())
}

fn is_form(tree: &Value) -> bool {
    tree["apiVersion"] == "meta.k8s.io/v1"
        && ["Table", "PartialObjectMetadata", "PartialObjectMetadataList"]
            .iter()
            .any(|kind| tree["kind"] == *kind)
}
