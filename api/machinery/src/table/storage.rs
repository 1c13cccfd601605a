//! `storage.k8s.io`.

use serde_json::Value;

use super::Printer;
use super::column::{AGE, Column, NAME, boolean, number, text};
use super::row::{self, Row};

const DEFAULT_CLASS: [&str; 2] = [
    "storageclass.kubernetes.io/is-default-class",
    "storageclass.beta.kubernetes.io/is-default-class",
];

pub(super) fn printer(kind: &str) -> Option<&'static Printer> {
    Some(match kind {
        "CSIDriver" => &DRIVER,
        "CSINode" => &NODE,
        "StorageClass" => &STORAGE_CLASS,
        "VolumeAttachment" => &ATTACHMENT,
        "VolumeAttributesClass" => &ATTRIBUTES_CLASS,
        _ => return None,
    })
}

static DRIVER: Printer = Printer {
    columns: &[
        NAME,
        boolean("AttachRequired"),
        boolean("PodInfoOnMount"),
        boolean("StorageCapacity"),
        text("TokenRequests"),
        boolean("RequiresRepublish"),
        text("Modes"),
        AGE,
    ],
    cells: |row| {
        let is = |key: &str| Value::from(row.spec.get(key).is_true());
        let needs_attach = row.spec.get("attachRequired");
        let requests = match row.spec.get("tokenRequests") {
            missing if missing.is_null() => "<unset>".to_owned(),
            requests => row::join(requests, "audience"),
        };
        let modes = row::join_texts(row.spec.get("volumeLifecycleModes"));
        vec![
            row.name(),
            (needs_attach.is_null() || needs_attach.is_true()).into(),
            is("podInfoOnMount"),
            is("storageCapacity"),
            requests.into(),
            is("requiresRepublish"),
            row::or(&modes, "<none>").into(),
            row.age(),
        ]
    },
};

static NODE: Printer = Printer {
    columns: &[NAME, number("Drivers"), AGE],
    cells: |row| vec![row.name(), row.spec.get("drivers").count().into(), row.age()],
};

static STORAGE_CLASS: Printer = Printer {
    columns: &[
        NAME,
        text("Provisioner"),
        text("ReclaimPolicy"),
        text("VolumeBindingMode"),
        text("AllowVolumeExpansion"),
        AGE,
    ],
    cells: |row| {
        vec![
            class_name(row),
            row::text(row.object, "provisioner"),
            row::given(row.object, "reclaimPolicy", "Delete"),
            row::given(row.object, "volumeBindingMode", "Immediate"),
            row.object.get("allowVolumeExpansion").is_true().into(),
            row.age(),
        ]
    },
};

fn class_name(row: &Row<'_>) -> Value {
    let name = row.metadata.get("name").text();
    match DEFAULT_CLASS.iter().any(|key| row.annotation(key).is("true")) {
        true => format!("{name} (default)").into(),
        false => name.into(),
    }
}

static ATTACHMENT: Printer = Printer {
    columns: &[
        NAME,
        Column { format: "name", ..text("Attacher") },
        text("PV"),
        text("Node"),
        boolean("Attached"),
        AGE,
    ],
    cells: |row| {
        vec![
            row.name(),
            row::text(row.spec, "attacher"),
            row::text(row.spec.get("source"), "persistentVolumeName"),
            row::text(row.spec, "nodeName"),
            row.status.get("attached").is_true().into(),
            row.age(),
        ]
    },
};

static ATTRIBUTES_CLASS: Printer = Printer {
    columns: &[NAME, text("DriverName"), AGE],
    cells: |row| vec![row.name(), row::text(row.object, "driverName"), row.age()],
};

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::table::cells_at_one;

    #[test]
    fn drivers_and_classes_show_what_holds_when_nothing_is_said() {
        let driver = cells_at_one(&json!({"apiVersion": "storage.k8s.io/v1", "kind": "CSIDriver"}));
        let shown = json!([true, false, false, "<unset>", false, "<none>"]);
        assert_eq!(json!(driver[1..7]), shown);
        for (value, name) in [("true", "s (default)"), ("True", "s")] {
            let class = json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass",
                "metadata": {"name": "s", "annotations": {super::DEFAULT_CLASS[1]: value}}});
            let shown = json!([name, "", "Delete", "Immediate", false]);
            assert_eq!(json!(cells_at_one(&class)[..5]), shown);
        }
    }
}
