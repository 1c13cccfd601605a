//! Lists, written from the bytes of their items.

use std::sync::Arc;

use api_machinery::{Object, ResourceInfo, Status, protobuf, table};
use http::Response;
use serde_json::{Value, json};

use super::negotiate::{Accepted, Media, Transform};
use super::reply;
use crate::body::Body;
use crate::watch_cache::Version;

/// Metadata of a list.
#[derive(Clone, Debug, Default)]
pub(crate) struct ListMeta {
    pub(crate) revision: u64,
    pub(crate) continue_token: String,
    /// Items after this page, when that can be told.
    pub(crate) remaining: Option<u64>,
}

impl ListMeta {
    fn to_json(&self) -> Value {
        let mut meta = json!({"resourceVersion": self.revision.to_string()});
        if !self.continue_token.is_empty() {
            meta["continue"] = self.continue_token.clone().into();
            if let Some(remaining) = self.remaining {
                meta["remainingItemCount"] = remaining.into();
            }
        }
        meta
    }
}

/// Writes a list of objects, transformed as asked.
pub(crate) fn list(
    info: &ResourceInfo,
    meta: &ListMeta,
    items: &[Arc<Version>],
    accepted: &Accepted,
) -> Result<Response<Body>, Status> {
    let content_type = accepted.media.content_type();
    let meta = meta.to_json();
    match (accepted.transform, accepted.media) {
        (Transform::None, Media::Json) if !accepted.pretty => {
            Ok(reply::plain(200, content_type, json_list(info, &meta, items)))
        }
        (Transform::None, Media::Protobuf) => {
            let mut messages = Vec::with_capacity(items.len());
            for item in items {
                messages.push(item.message(info)?.to_vec());
            }
            let bytes =
                protobuf::encode_list(&info.api_version(), &info.list_kind(), &meta, &messages)
                    .map_err(|error| Status::internal(&error.to_string()))?;
            Ok(reply::plain(200, content_type, bytes))
        }
        (Transform::None, Media::Json | Media::Yaml) => {
            let tree: Value = serde_json::from_slice(&json_list(info, &meta, items))
                .map_err(|error| Status::internal(&error.to_string()))?;
            reply::value(200, &tree, accepted)
        }
        (Transform::Table(include), _) => {
            let now = jiff::Timestamp::now();
            let rows = objects(items)?
                .iter()
                .map(|object| table::row(info, object, include, now))
                .collect();
            reply::value(200, &table::table(info, meta, rows, true), accepted)
        }
        (Transform::Partial, _) => {
            let tree = table::partial_metadata_list(meta, &objects(items)?);
            reply::value(200, &tree, accepted)
        }
    }
}

fn objects(items: &[Arc<Version>]) -> Result<Vec<Object>, Status> {
    items.iter().map(|item| item.object()).collect()
}

/// Items of a typed list have no `apiVersion` and `kind`, as upstream's have none.
fn json_list(info: &ResourceInfo, meta: &Value, items: &[Arc<Version>]) -> Vec<u8> {
    let (api_version, kind) = (info.api_version(), info.kind);
    let type_meta = format!(r#"{{"apiVersion":"{api_version}","kind":"{kind}","#);
    let size = items.iter().map(|item| item.json.len() + 1).sum::<usize>();
    let mut out = Vec::with_capacity(size + 256);
    let head = format!(
        r#"{{"kind":"{}","apiVersion":"{api_version}","metadata":{meta},"items":["#,
        info.list_kind()
    );
    out.extend_from_slice(head.as_bytes());
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        match item.json.strip_prefix(type_meta.as_bytes()) {
            Some(rest) => {
                out.push(b'{');
                out.extend_from_slice(rest);
            }
            None => out.extend_from_slice(&item.json),
        }
    }
    out.extend_from_slice(b"]}\n");
    out
}
