//! Tables as `kubectl get` shows them: columns and cells per kind.
//!
//! Rows are written from the bytes of the object, because a table looks at a small part of it.

mod admissionregistration;
mod apiregistration;
mod apps;
mod autoscaling;
mod batch;
mod certificates;
mod column;
mod coordination;
mod core;
mod described;
mod discovery;
mod flowcontrol;
mod networking;
mod node;
mod policy;
mod rbac;
mod resource;
mod row;
mod scheduling;
mod storage;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::{Object, Parts, ResourceInfo, View};
use row::Row;

pub use column::Column;

/// What a row carries besides its cells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IncludeObject {
    None,
    #[default]
    Metadata,
    Object,
}

impl IncludeObject {
    /// Reads the query parameter `includeObject`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "" | "Metadata" => Some(Self::Metadata),
            "None" => Some(Self::None),
            "Object" => Some(Self::Object),
            _ => None,
        }
    }
}

/// How objects of one kind are shown.
struct Printer {
    columns: &'static [Column],
    /// One cell for each column.
    cells: fn(&Row<'_>) -> Vec<Value>,
}

/// For kinds that upstream has no printer for, or does not use the one it has.
static DEFAULT: Printer = Printer {
    columns: &[column::NAME, column::date("Created At")],
    cells: |row| vec![row.name(), row::text(row.metadata, "creationTimestamp")],
};

fn printer(info: &ResourceInfo) -> &'static Printer {
    let found = match info.group {
        "" | "events.k8s.io" => core::printer(info.kind),
        "apiregistration.k8s.io" => Some(&apiregistration::API_SERVICE),
        "admissionregistration.k8s.io" => admissionregistration::printer(info.kind),
        "apps" => apps::printer(info.kind),
        "autoscaling" => autoscaling::printer(info.kind),
        "batch" => batch::printer(info.kind),
        "certificates.k8s.io" => certificates::printer(info.kind),
        "coordination.k8s.io" => coordination::printer(info.kind),
        "discovery.k8s.io" => discovery::printer(info.kind),
        "flowcontrol.apiserver.k8s.io" => flowcontrol::printer(info.kind),
        "networking.k8s.io" => networking::printer(info.kind),
        "node.k8s.io" => node::printer(info.kind),
        "policy" => policy::printer(info.kind),
        "rbac.authorization.k8s.io" => rbac::printer(info.kind),
        "resource.k8s.io" => resource::printer(info.kind),
        "scheduling.k8s.io" => scheduling::printer(info.kind),
        "storage.k8s.io" => storage::printer(info.kind),
        _ => None,
    };
    found.unwrap_or(&DEFAULT)
}

/// The columns of a kind: upstream's, in upstream's order.
#[must_use]
pub fn columns(info: &ResourceInfo) -> &'static [Column] {
    printer(info).columns
}

/// The cells of one object, one per column.
#[must_use]
pub fn cells(info: &ResourceInfo, object: View<'_>, now: Timestamp) -> Vec<Value> {
    (printer(info).cells)(&Row::of(object, now))
}

/// Writes one row. The object is taken as it would be served (with `resourceVersion`), in the
/// version that is kept, of which a kind with another version is a part of the row.
pub fn write_row(
    info: &ResourceInfo,
    object: View<'_>,
    include: IncludeObject,
    now: Timestamp,
    out: &mut Vec<u8>,
) {
    write_row_of((info, object, Parts::of(object)), include, now, out);
}

/// The same of an object of which it is known where its parts are.
pub fn write_row_of(
    (info, object, parts): (&ResourceInfo, View<'_>, Parts),
    include: IncludeObject,
    now: Timestamp,
    out: &mut Vec<u8>,
) {
    let row = Row::of_parts(object, parts, now);
    let (cells, conditions) = match (info.group, info.kind) {
        ("", "Pod") => core::cells_and_conditions_of_pod(&row),
        _ => ((printer(info).cells)(&row), None),
    };
    out.extend_from_slice(b"{\"cells\":");
    append(&Value::Array(cells), out);
    if let Some(conditions) = conditions {
        out.extend_from_slice(b",\"conditions\":");
        append(&conditions, out);
    }
    out.extend_from_slice(b",\"object\":");
    match include {
        IncludeObject::None => out.extend_from_slice(b"null"),
        IncludeObject::Metadata => write_partial(row.metadata, out),
        IncludeObject::Object if info.kept_as.is_some() => {
            let tree = serde_json::from_slice(object.bytes()).unwrap_or_default();
            append(&crate::convert::to(info, tree).into_value(), out);
        }
        IncludeObject::Object => out.extend_from_slice(object.bytes()),
    }
    out.push(b'}');
}

/// Writes what stands before the rows of a table. `list_metadata` is the list's `metadata`;
/// `with_columns` is false for the events of a watch after the first. [`TABLE_END`] follows the
/// rows.
pub fn write_start(
    info: &ResourceInfo,
    list_metadata: &Value,
    with_columns: bool,
    out: &mut Vec<u8>,
) {
    out.extend_from_slice(br#"{"kind":"Table","apiVersion":"meta.k8s.io/v1","metadata":"#);
    append(list_metadata, out);
    out.extend_from_slice(b",\"columnDefinitions\":");
    if with_columns {
        let definitions = columns(info)
            .iter()
            .map(|one| one.definition(described::description(info, one.name)))
            .collect();
        append(&Value::Array(definitions), out);
    } else {
        out.extend_from_slice(b"null");
    }
    out.extend_from_slice(b",\"rows\":[");
}

/// What stands behind the rows of a table.
pub const TABLE_END: &[u8] = b"]}";

/// Writes an object cut down to this metadata, as `as=PartialObjectMetadata` and table rows want it.
pub fn write_partial(metadata: View<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(
        br#"{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":"#,
    );
    let metadata = if metadata.is_object() { metadata.bytes() } else { b"{}" };
    out.extend_from_slice(metadata);
    out.push(b'}');
}

fn append(tree: &Value, out: &mut Vec<u8>) {
    serde_json::to_writer(out, tree).expect("a JSON tree can always be written to memory");
}

/// An object cut down to its metadata, as a tree.
#[must_use]
pub fn partial_metadata(object: &Object) -> Object {
    let mut out = Object::default();
    out.set_api_version_and_kind("meta.k8s.io/v1", "PartialObjectMetadata");
    out.set(&["metadata"], object.0.get("metadata").cloned().unwrap_or_else(|| json!({})));
    out
}

/// The cells of an object, at one in the morning of 2026-01-01.
#[cfg(test)]
fn cells_at_one(tree: &Value) -> Vec<Value> {
    let text = |key: &str| tree[key].as_str().expect("tests name the kind");
    let info = crate::kinds::find_kind(text("apiVersion"), text("kind")).expect("a kind");
    let now = "2026-01-01T01:00:00Z".parse().expect("a time");
    cells(info, View::new(tree.to_string().as_bytes()), now)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds;

    #[test]
    fn every_kind_prints_a_cell_for_every_column() {
        let now = "2026-01-02T00:00:00Z".parse().unwrap();
        for info in kinds::all() {
            let cells = cells(info, View::new(b"{}"), now);
            let without_column = usize::from(info.kind == "IPAddress");
            assert_eq!(cells.len(), columns(info).len() + without_column, "{}", info.kind);
        }
    }

    #[test]
    fn a_table_is_written_from_bytes() {
        let info = kinds::find("", "v1", "configmaps").unwrap();
        let stored = br#"{"apiVersion":"v1","data":{"a":"1","b":"2"},"kind":"ConfigMap",
            "metadata":{"resourceVersion":"7","name":"x\"y",
                "creationTimestamp":"2026-01-01T00:00:00Z"}}"#;
        let now = "2026-01-01T00:05:00Z".parse().unwrap();
        let mut out = Vec::new();
        write_start(info, &json!({"resourceVersion": "9"}), true, &mut out);
        write_row(info, View::new(stored), IncludeObject::Metadata, now, &mut out);
        out.extend_from_slice(TABLE_END);
        let table: Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(table["metadata"]["resourceVersion"], "9");
        assert_eq!(table["columnDefinitions"][0]["format"], "name");
        assert_eq!(table["rows"][0]["cells"], json!(["x\"y", 2, "5m"]));
        let object = &table["rows"][0]["object"];
        assert_eq!(
            (&object["kind"], &object["metadata"]["resourceVersion"]),
            (&json!("PartialObjectMetadata"), &json!("7"))
        );
        assert_eq!(object.get("data"), None);
    }
}
