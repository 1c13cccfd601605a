//! Tables as `kubectl get` shows them: columns and cells per kind.

mod cells;
mod pod;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::{Object, ResourceInfo};

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

/// One column: name, type, whether `-o wide` is needed to see it.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    pub name: &'static str,
    /// `string` or `integer`.
    pub kind: &'static str,
    pub wide: bool,
}

const fn text(name: &'static str) -> Column {
    Column { name, kind: "string", wide: false }
}

const fn number(name: &'static str) -> Column {
    Column { name, kind: "integer", wide: false }
}

const fn wide(name: &'static str) -> Column {
    Column { name, kind: "string", wide: true }
}

const NAME: Column = text("Name");
const AGE: Column = text("Age");

/// The columns of a kind.
#[must_use]
pub fn columns(info: &ResourceInfo) -> &'static [Column] {
    const POD: &[Column] = &[
        NAME,
        text("Ready"),
        text("Status"),
        text("Restarts"),
        AGE,
        wide("IP"),
        wide("Node"),
        wide("Nominated Node"),
        wide("Readiness Gates"),
    ];
    const NODE: &[Column] = &[
        NAME,
        text("Status"),
        text("Roles"),
        AGE,
        text("Version"),
        wide("Internal-IP"),
        wide("External-IP"),
        wide("OS-Image"),
        wide("Kernel-Version"),
        wide("Container-Runtime"),
    ];
    const SERVICE: &[Column] = &[
        NAME,
        text("Type"),
        text("Cluster-IP"),
        text("External-IP"),
        text("Port(s)"),
        AGE,
        wide("Selector"),
    ];
    const EVENT: &[Column] = &[
        text("Last Seen"),
        text("Type"),
        text("Reason"),
        text("Object"),
        wide("Subobject"),
        wide("Source"),
        text("Message"),
        wide("First Seen"),
        wide("Count"),
        wide("Name"),
    ];
    const DEPLOYMENT: &[Column] = &[
        NAME,
        text("Ready"),
        number("Up-to-date"),
        number("Available"),
        AGE,
        wide("Containers"),
        wide("Images"),
        wide("Selector"),
    ];
    const REPLICA_SET: &[Column] = &[
        NAME,
        number("Desired"),
        number("Current"),
        number("Ready"),
        AGE,
        wide("Containers"),
        wide("Images"),
        wide("Selector"),
    ];
    match (info.group, info.kind) {
        ("", "Pod") => POD,
        ("", "Node") => NODE,
        ("", "Namespace") => const { &[NAME, text("Status"), AGE] },
        ("", "Service") => SERVICE,
        ("", "Secret") => const { &[NAME, text("Type"), text("Data"), AGE] },
        ("", "ConfigMap") => const { &[NAME, text("Data"), AGE] },
        ("", "ServiceAccount") => &[NAME, AGE],
        ("", "Event") => EVENT,
        ("apps", "Deployment") => DEPLOYMENT,
        ("apps", "ReplicaSet") => REPLICA_SET,
        ("coordination.k8s.io", "Lease") => const { &[NAME, text("Holder"), AGE] },
        _ => const { &[NAME, text("Created At")] },
    }
}

/// The cells of one object, one per column.
#[must_use]
pub fn cells(info: &ResourceInfo, object: &Object, now: Timestamp) -> Vec<Value> {
    match (info.group, info.kind) {
        ("", "Pod") => pod::cells(object, now),
        _ => cells::of(info, object, now),
    }
}

/// One row. The object is taken as it would be served (with `resourceVersion`).
#[must_use]
pub fn row(info: &ResourceInfo, object: &Object, include: IncludeObject, now: Timestamp) -> Value {
    let mut row = json!({"cells": cells(info, object, now)});
    match include {
        IncludeObject::None => row["object"] = Value::Null,
        IncludeObject::Metadata => row["object"] = partial_metadata(object).into_value(),
        IncludeObject::Object => row["object"] = object.clone().into_value(),
    }
    row
}

/// A whole table. `list_metadata` is the list's `metadata`; `with_columns` is false for the
/// events of a watch after the first.
#[must_use]
pub fn table(
    info: &ResourceInfo,
    list_metadata: Value,
    rows: Vec<Value>,
    with_columns: bool,
) -> Value {
    let definitions: Vec<Value> = if with_columns {
        columns(info).iter().map(column_definition).collect()
    } else {
        Vec::new()
    };
    json!({
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": list_metadata,
        "columnDefinitions": if with_columns { definitions.into() } else { Value::Null },
        "rows": rows,
    })
}

fn column_definition(column: &Column) -> Value {
    json!({
        "name": column.name,
        "type": column.kind,
        "format": if column.name == "Name" { "name" } else { "" },
        "description": "",
        "priority": i32::from(column.wide),
    })
}

/// An object cut down to its metadata, as `as=PartialObjectMetadata` and table rows want it.
#[must_use]
pub fn partial_metadata(object: &Object) -> Object {
    let mut out = Object::default();
    out.set_api_version_and_kind("meta.k8s.io/v1", "PartialObjectMetadata");
    out.set(&["metadata"], object.0.get("metadata").cloned().unwrap_or_else(|| json!({})));
    out
}

/// A list cut down to its items' metadata.
#[must_use]
pub fn partial_metadata_list(list_metadata: Value, objects: &[Object]) -> Value {
    let items: Vec<Value> =
        objects.iter().map(|object| partial_metadata(object).into_value()).collect();
    json!({
        "kind": "PartialObjectMetadataList",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": list_metadata,
        "items": items,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds;

    #[test]
    fn every_kind_prints_a_cell_for_every_column() {
        let now = "2026-01-02T00:00:00Z".parse().unwrap();
        for info in kinds::all() {
            let cells = cells(info, &Object::default(), now);
            assert_eq!(cells.len(), columns(info).len(), "{}", info.kind);
        }
    }
}
