//! Lists, written from the bytes of their items, a chunk at a time.

use std::sync::Arc;

use api_machinery::{ResourceInfo, Status, View, protobuf, table};
use bytes::Bytes;
use http::Response;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::expiring::Expiring;
use super::negotiate::{Accepted, Media, Transform};
use super::reply;
use crate::body::{Body, Pull};
use crate::custom::Shape;
use crate::limits::LIST_CHUNK_BYTES;
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

/// Writes a list of objects, transformed as asked. A long one is written while it is sent.
pub(crate) fn list(
    shape: &Shape,
    meta: &ListMeta,
    items: Vec<Arc<Version>>,
    accepted: &Accepted,
) -> Result<Response<Body>, Status> {
    accepted.check_partial(shape.info, true)?;
    let mut meta = meta.to_json();
    if shape.info.is_custom() && accepted.transform == Transform::None && meta["continue"].is_null()
    {
        // Lists of custom kinds have it always.
        meta["continue"] = "".into();
    }
    let size = items.iter().map(|item| item.size()).sum::<usize>();
    let is_bare = accepted.is_written_as_sent();
    let content_type = accepted.media.content_type();
    match (accepted.transform, accepted.media) {
        (Transform::None, Media::Protobuf) => {
            let writer = ProtobufList::new(shape.info, &meta, &items)?;
            Ok(respond(Box::new(writer), size, content_type))
        }
        (Transform::Partial, Media::Protobuf) => {
            let tree: Value = whole(JsonList::new(shape, &meta, items, accepted.transform))?;
            reply::value(200, &tree, accepted)
        }
        (transform, Media::Json) if is_bare => {
            let writer = JsonList::new(shape, &meta, items, transform);
            Ok(respond(Box::new(writer), size, content_type))
        }
        (transform, Media::Json | Media::Yaml | Media::Protobuf) => {
            let tree: Value = whole(JsonList::new(shape, &meta, items, transform))?;
            reply::value(200, &tree, accepted)
        }
    }
}

/// A short list at once, with its length; a long one in chunks.
fn respond(mut writer: Box<dyn Pull>, size: usize, content_type: &'static str) -> Response<Body> {
    if size > LIST_CHUNK_BYTES {
        return reply::body(200, content_type, Body::Pulled(Box::new(Expiring::new(writer))));
    }
    let mut all = Vec::with_capacity(size + 1024);
    while let Some(chunk) = writer.pull() {
        all.extend_from_slice(&chunk);
    }
    reply::plain(200, content_type, all)
}

fn whole(mut writer: JsonList) -> Result<Value, Status> {
    let mut all = Vec::new();
    while let Some(chunk) = writer.pull() {
        all.extend_from_slice(&chunk);
    }
    serde_json::from_slice(&all).map_err(|error| Status::internal(&error.to_string()))
}

/// A list as JSON: objects, rows of a table, or metadata only.
struct JsonList {
    shape: Shape,
    transform: Transform,
    /// What all items of this kind start with and items of a list do not have; custom objects keep
    /// theirs.
    type_meta: Option<String>,
    now: Timestamp,
    items: std::vec::IntoIter<Arc<Version>>,
    /// What was written and not yet pulled: at first, what stands before the items.
    written: Vec<u8>,
    is_first: bool,
    is_done: bool,
}

impl JsonList {
    fn new(shape: &Shape, meta: &Value, items: Vec<Arc<Version>>, transform: Transform) -> Self {
        let info = shape.info;
        let api_version = info.api_version();
        let mut written = Vec::new();
        match transform {
            Transform::None => written.extend_from_slice(
                format!(
                    r#"{{"kind":"{}","apiVersion":"{api_version}","metadata":{meta},"items":["#,
                    shape.list_kind()
                )
                .as_bytes(),
            ),
            Transform::Partial => written.extend_from_slice(
                format!(
                    r#"{{"kind":"PartialObjectMetadataList","apiVersion":"meta.k8s.io/v1","metadata":{meta},"items":["#
                )
                .as_bytes(),
            ),
            Transform::Table(_) => shape.write_table_start(meta, true, &mut written),
        }
        Self {
            shape: shape.clone(),
            transform,
            type_meta: (!info.is_custom())
                .then(|| format!(r#"{{"apiVersion":"{api_version}","kind":"{}","#, info.kind)),
            now: clock::now(),
            items: items.into_iter(),
            written,
            is_first: true,
            is_done: false,
        }
    }

    fn write(&mut self, item: &Version) {
        let out = &mut self.written;
        if !std::mem::take(&mut self.is_first) {
            out.push(b',');
        }
        match self.transform {
            // Items of a typed list have no `apiVersion` and `kind`, as upstream's have none.
            Transform::None if self.shape.info.kept_as.is_some() => {
                let json = item.in_version(self.shape.info).json();
                write_without_type(View::new(&json), out);
            }
            Transform::None => match &self.type_meta {
                Some(meta) => {
                    let json = item.json();
                    match json.strip_prefix(meta.as_bytes()) {
                        Some(rest) => {
                            out.push(b'{');
                            out.extend_from_slice(rest);
                        }
                        None => write_without_type(View::new(&json), out),
                    }
                }
                None => out.extend_from_slice(&self.shape.json_of(item)),
            },
            Transform::Partial => {
                let json = item.json();
                table::write_partial(item.header.parts.metadata(View::new(&json)), out);
            }
            Transform::Table(include) => {
                self.shape.write_table_row_of(item, include, self.now, out);
            }
        }
    }
}

/// What of the type stands behind other fields goes too.
fn write_without_type(item: View<'_>, out: &mut Vec<u8>) {
    out.push(b'{');
    let mut is_first = true;
    for (key, value) in item.entries().filter(|(key, _)| !matches!(*key, b"apiVersion" | b"kind")) {
        if !std::mem::take(&mut is_first) {
            out.push(b',');
        }
        out.push(b'"');
        out.extend_from_slice(key);
        out.extend_from_slice(b"\":");
        out.extend_from_slice(value.bytes());
    }
    out.push(b'}');
}

impl Pull for JsonList {
    fn pull(&mut self) -> Option<Bytes> {
        if self.is_done {
            return None;
        }
        while self.written.len() < LIST_CHUNK_BYTES {
            let Some(item) = self.items.next() else {
                // A table ends as a list does.
                self.written.extend_from_slice(table::TABLE_END);
                self.written.push(b'\n');
                self.is_done = true;
                break;
            };
            self.write(&item);
        }
        Some(next_chunk(&mut self.written, self.is_done))
    }
}

/// A list of messages: the length in front is known once all messages are.
struct ProtobufList {
    /// What was written and not yet pulled.
    written: Vec<u8>,
    messages: std::vec::IntoIter<Bytes>,
    is_done: bool,
}

impl ProtobufList {
    fn new(
        info: &'static ResourceInfo,
        meta: &Value,
        items: &[Arc<Version>],
    ) -> Result<Self, Status> {
        let message = |item: &Arc<Version>| match info.kept_as {
            Some(_) => item.in_version(info).message(info),
            None => item.message(info),
        };
        let messages: Result<Vec<Bytes>, Status> = items.iter().map(message).collect();
        let messages = messages?;
        let lengths = messages.iter().map(Bytes::len);
        let written = protobuf::list_start(&info.api_version(), &info.list_kind(), meta, lengths)
            .map_err(|error| Status::internal(&error.to_string()))?;
        Ok(Self { written, messages: messages.into_iter(), is_done: false })
    }
}

impl Pull for ProtobufList {
    fn pull(&mut self) -> Option<Bytes> {
        if self.is_done {
            return None;
        }
        while self.written.len() < LIST_CHUNK_BYTES {
            let Some(message) = self.messages.next() else {
                self.written.extend_from_slice(protobuf::LIST_END);
                self.is_done = true;
                break;
            };
            self.written.extend_from_slice(&protobuf::item_start(message.len()));
            self.written.extend_from_slice(&message);
        }
        Some(next_chunk(&mut self.written, self.is_done))
    }
}

/// What was written, leaving room for as much.
fn next_chunk(written: &mut Vec<u8>, is_last: bool) -> Bytes {
    let room = if is_last { 0 } else { LIST_CHUNK_BYTES + LIST_CHUNK_BYTES / 8 };
    std::mem::replace(written, Vec::with_capacity(room)).into()
}
