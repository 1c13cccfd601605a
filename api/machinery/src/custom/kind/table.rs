//! Tables of custom objects: the columns that the definition names.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::CustomVersion;
use crate::custom::json_path::JsonPath;
use crate::table::{IncludeObject, TABLE_END};
use crate::{View, time};

/// Upstream's words about the name of an object.
pub(crate) const NAME_TEXT: &str = "Name must be unique within a namespace. Is required when creating resources, although some resources may allow a client to request the generation of an appropriate name automatically. Name is primarily intended for creation idempotence and configuration definition. Cannot be updated. More info: https://kubernetes.io/docs/concepts/overview/working-with-objects/names#names";
/// And about the time that it was made.
pub(crate) const CREATED_TEXT: &str = "CreationTimestamp is a timestamp representing the server time when this object was created. It is not guaranteed to be set in happens-before order across separate operations. Clients may not set this value. It is represented in RFC3339 form and is in UTC.\n\nPopulated by the system. Read-only. Null for lists. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata";

/// One column besides the name.
#[derive(Clone, Debug)]
pub(super) struct Column {
    definition: Arc<Value>,
    kind: Box<str>,
    path: JsonPath,
}

fn column(name: &str, kind: &str, path: &str, rest: (&str, &str, i64)) -> Option<Column> {
    let (format, description, priority) = rest;
    let described = format!("Custom resource definition column (in JSONPath format): {path}");
    let description = if description.is_empty() { &described } else { description };
    Some(Column {
        definition: Arc::new(json!({
            "name": name,
            "type": kind,
            "format": format,
            "description": description,
            "priority": priority,
        })),
        kind: kind.into(),
        path: JsonPath::parse(path).ok()?,
    })
}

/// The columns of a version; its age when it names none.
pub(super) fn columns(columns: &Value) -> Vec<Column> {
    let given = columns.as_array().map_or(&[][..], Vec::as_slice);
    if given.is_empty() {
        let age = ("", CREATED_TEXT, 0);
        return column("Age", "date", ".metadata.creationTimestamp", age).into_iter().collect();
    }
    let text = |value: &Value, name: &str| value[name].as_str().unwrap_or("").to_owned();
    // Upstream gives up all columns behind one that it cannot read.
    given
        .iter()
        .map_while(|one| {
            let rest = (&*text(one, "format"), &*text(one, "description"));
            let priority = one["priority"].as_i64().unwrap_or(0);
            let [name, kind, path] = ["name", "type", "jsonPath"].map(|field| text(one, field));
            column(&name, &kind, &path, (rest.0, rest.1, priority))
        })
        .collect()
}

impl CustomVersion {
    /// Writes what stands before the rows, as [`crate::table::write_start`] does.
    pub fn write_table_start(&self, list_metadata: &Value, with_columns: bool, out: &mut Vec<u8>) {
        let name = json!({"name": "Name", "type": "string", "format": "name",
            "description": NAME_TEXT, "priority": 0});
        let mut definitions = vec![name];
        definitions.extend(self.columns.iter().map(|column| Value::clone(&column.definition)));
        let definitions = if with_columns { Value::Array(definitions) } else { Value::Null };
        out.extend_from_slice(br#"{"kind":"Table","apiVersion":"meta.k8s.io/v1","metadata":"#);
        out.extend_from_slice(list_metadata.to_string().as_bytes());
        out.extend_from_slice(b",\"columnDefinitions\":");
        out.extend_from_slice(definitions.to_string().as_bytes());
        out.extend_from_slice(b",\"rows\":[");
    }

    /// Writes one row, as [`crate::table::write_row`] does.
    pub fn write_table_row(
        &self,
        object: View<'_>,
        include: IncludeObject,
        now: Timestamp,
        out: &mut Vec<u8>,
    ) {
        // The bytes come from the store, and have been read as JSON before.
        let tree: Value = serde_json::from_slice(object.bytes()).unwrap_or_default();
        let mut cells = vec![tree["metadata"]["name"].clone()];
        for column in &self.columns {
            let found = column.path.find(&tree);
            cells.push(found.first().map_or(Value::Null, |found| cell(&column.kind, found, now)));
        }
        out.extend_from_slice(b"{\"cells\":");
        out.extend_from_slice(Value::Array(cells).to_string().as_bytes());
        out.extend_from_slice(b",\"object\":");
        match include {
            IncludeObject::None => out.extend_from_slice(b"null"),
            IncludeObject::Metadata => crate::table::write_partial(object.get("metadata"), out),
            IncludeObject::Object => out.extend_from_slice(object.bytes()),
        }
        out.push(b'}');
    }

    /// What stands behind the rows.
    #[must_use]
    pub fn table_end(&self) -> &'static [u8] {
        TABLE_END
    }
}

fn cell(kind: &str, value: &Value, now: Timestamp) -> Value {
    match (kind, value) {
        (_, Value::Null) => Value::Null,
        ("string", Value::String(text)) => text.as_str().into(),
        ("string", other) => other.to_string().into(),
        ("integer", Value::Number(number)) => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => whole.into(),
            #[expect(clippy::cast_possible_truncation, reason = "upstream cuts it off too")]
            (None, Some(float)) => (float as i64).into(),
            (None, None) => Value::Null,
        },
        ("number", Value::Number(_)) | ("boolean", Value::Bool(_)) => value.clone(),
        ("date", Value::String(text)) => date(text, now).into(),
        _ => Value::Null,
    }
}

fn date(text: &str, now: Timestamp) -> String {
    if matches!(text, "" | "null") {
        return "<unknown>".to_owned();
    }
    match time::parse(text) {
        Some(_) => time::age(text, now),
        None => "<invalid>".to_owned(),
    }
}
