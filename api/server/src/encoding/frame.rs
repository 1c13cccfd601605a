//! Frames of a watch: a line of JSON, or a length and a protobuf message.

use api_machinery::table::{self, IncludeObject};
use api_machinery::{Object, Status, View, protobuf};
use bytes::Bytes;
use serde_json::{Value, json};

use super::beta;
use super::negotiate::{Accepted, Media, Transform};
use crate::custom::Shape;
use crate::watch_cache::{Change, Event, Version};

/// Forms from here on are those of a version that is not the kept one.
const OTHER_VERSION: u8 = 4;

/// Writes the frames of one watch.
#[derive(Debug)]
pub(crate) struct Framer {
    shape: Shape,
    accepted: Accepted,
    /// Column definitions come with the first event of a Table watch only.
    with_columns: bool,
}

impl Framer {
    pub(crate) fn new(shape: Shape, accepted: Accepted) -> Self {
        Self { shape, accepted, with_columns: true }
    }

    /// The Content-Type of the stream.
    pub(crate) fn content_type(&self) -> &'static str {
        match self.accepted.media {
            Media::Protobuf => protobuf::WATCH_MEDIA_TYPE,
            Media::Json | Media::Yaml => "application/json",
        }
    }

    /// A frame of an event, shared among all watchers of the same encoding.
    pub(crate) fn event(&mut self, change: Change, event: &Event) -> Result<Bytes, Status> {
        let version = event
            .version(change)
            .ok_or_else(|| Status::internal("an event without its object"))?
            .clone();
        // The kept version and one other: no built-in kind has more.
        let other = if self.shape.info.kept_as.is_some() { OTHER_VERSION } else { 0 };
        let form = other
            + match (self.accepted.transform, self.accepted.media) {
                (Transform::Table(_), _) => return self.version(change, &version),
                (Transform::None, Media::Json | Media::Yaml) => 0,
                (Transform::None, Media::Protobuf) => 1,
                (Transform::Partial, Media::Json | Media::Yaml) => 2,
                (Transform::Partial, Media::Protobuf) => 3,
            };
        if !self.shape.is_shown_as_stored() || self.accepted.is_beta {
            return self.version(change, &version);
        }
        event.encoded(form, change, || self.version(change, &version))
    }

    /// A frame of an object.
    pub(crate) fn version(&mut self, change: Change, version: &Version) -> Result<Bytes, Status> {
        let frame = self.current(change, version)?;
        if self.accepted.is_beta { beta::retell_frame(&frame) } else { Ok(frame) }
    }

    fn current(&mut self, change: Change, version: &Version) -> Result<Bytes, Status> {
        let converted;
        let version = match (self.shape.info.kept_as, self.accepted.transform) {
            (Some(_), Transform::None) => {
                converted = version.in_version(self.shape.info);
                &converted
            }
            _ => version,
        };
        match (self.accepted.transform, self.accepted.media) {
            (Transform::None, Media::Json | Media::Yaml) => {
                Ok(json_line(change.word(), &self.shape.json_of(version)))
            }
            (Transform::None, Media::Protobuf) => {
                let info = self.shape.info;
                let message = version.message(info)?;
                let object = protobuf::envelope(&info.api_version(), info.kind, &message);
                Ok(protobuf::watch_frame(change.word(), &object).into())
            }
            (Transform::Partial, Media::Json | Media::Yaml) => {
                let mut partial = Vec::new();
                let json = version.json();
                let metadata = version.header.parts.metadata(View::new(&json));
                table::write_partial(metadata, &mut partial);
                Ok(json_line(change.word(), &partial))
            }
            (Transform::Partial, Media::Protobuf) => {
                let tree = table::partial_metadata(&version.object()?).into_value();
                self.tree(change.word(), &tree)
            }
            (Transform::Table(include), _) => {
                let stored = version.json();
                let revision = View::new(&stored).at(&["metadata", "resourceVersion"]).text();
                let json = self.shape.json_of(version);
                Ok(self.table(change.word(), View::new(&json), &revision, include))
            }
        }
    }

    /// A bookmark: nothing but a resourceVersion, and a mark when it ends the initial events.
    pub(crate) fn bookmark(&mut self, revision: u64, ends_initial: bool) -> Result<Bytes, Status> {
        let mut object = Object::default();
        match self.accepted.transform {
            Transform::Partial => {
                object.set_api_version_and_kind("meta.k8s.io/v1", "PartialObjectMetadata");
            }
            Transform::None | Transform::Table(_) => {
                let info = self.shape.info;
                object.set_api_version_and_kind(&info.api_version(), info.kind);
            }
        }
        object.set_resource_version(revision);
        // Upstream's typed metadata always writes it.
        if !self.shape.info.is_custom() {
            object.set(&["metadata", "creationTimestamp"], Value::Null);
        }
        if ends_initial {
            object.set(&["metadata", "annotations"], json!({"k8s.io/initial-events-end": "true"}));
        }
        match self.accepted.transform {
            Transform::Table(include) => {
                let json = object.to_json();
                let revision = object.resource_version();
                let frame = self.table("BOOKMARK", View::new(&json), revision, include);
                if self.accepted.is_beta { beta::retell_frame(&frame) } else { Ok(frame) }
            }
            Transform::None => self.tree("BOOKMARK", &object.into_value()),
            Transform::Partial => {
                let mut tree = object.into_value();
                if self.accepted.is_beta {
                    beta::retell(&mut tree);
                }
                self.tree("BOOKMARK", &tree)
            }
        }
    }

    /// The frame that ends a watch with an error.
    pub(crate) fn error(&mut self, status: &Status) -> Result<Bytes, Status> {
        self.tree("ERROR", &status.to_json())
    }

    /// Tables have no protobuf form, so a frame of one is a line of JSON.
    fn table(
        &mut self,
        word: &str,
        object: View<'_>,
        revision: &str,
        include: IncludeObject,
    ) -> Bytes {
        let mut table = Vec::new();
        let meta = json!({"resourceVersion": revision});
        let with_columns = std::mem::take(&mut self.with_columns);
        self.shape.write_table_start(&meta, with_columns, &mut table);
        self.shape.write_table_row(object, include, clock::now(), &mut table);
        table.extend_from_slice(table::TABLE_END);
        json_line(word, &table)
    }

    fn tree(&self, word: &str, tree: &Value) -> Result<Bytes, Status> {
        match self.accepted.media {
            Media::Protobuf => {
                let object =
                    protobuf::encode(tree).map_err(|error| Status::internal(&error.to_string()))?;
                Ok(protobuf::watch_frame(word, &object).into())
            }
            Media::Json | Media::Yaml => Ok(json_line(word, tree.to_string().as_bytes())),
        }
    }
}

fn json_line(word: &str, object: &[u8]) -> Bytes {
    let mut line = Vec::with_capacity(object.len() + 40);
    line.extend_from_slice(b"{\"type\":\"");
    line.extend_from_slice(word.as_bytes());
    line.extend_from_slice(b"\",\"object\":");
    line.extend_from_slice(object);
    line.extend_from_slice(b"}\n");
    line.into()
}
