//! Persistent volumes and claims on them.

use serde_json::Value;

use crate::View;
use crate::table::Printer;
use crate::table::column::{AGE, NAME, text, wide};
use crate::table::row::{self, Row};

/// Where the class stood before it was a field; still wins over the field.
const CLASS_ANNOTATION: &str = "volume.beta.kubernetes.io/storage-class";

/// Modes as tables write them, in their order there.
const MODES: [(&str, &str); 4] = [
    ("ReadWriteOnce", "RWO"),
    ("ReadOnlyMany", "ROX"),
    ("ReadWriteMany", "RWX"),
    ("ReadWriteOncePod", "RWOP"),
];

pub(super) static VOLUME: Printer = Printer {
    columns: &[
        NAME,
        text("Capacity"),
        text("Access Modes"),
        text("Reclaim Policy"),
        text("Status"),
        text("Claim"),
        text("StorageClass"),
        text("VolumeAttributesClass"),
        text("Reason"),
        AGE,
        wide("VolumeMode"),
    ],
    cells: volume,
};

pub(super) static CLAIM: Printer = Printer {
    columns: &[
        NAME,
        text("Status"),
        text("Volume"),
        text("Capacity"),
        text("Access Modes"),
        text("StorageClass"),
        text("VolumeAttributesClass"),
        AGE,
        wide("VolumeMode"),
    ],
    cells: claim,
};

fn volume(row: &Row<'_>) -> Vec<Value> {
    let claim = match row.spec.get("claimRef") {
        missing if missing.is_null() => String::new(),
        claim => format!("{}/{}", claim.get("namespace").text(), claim.get("name").text()),
    };
    vec![
        row.name(),
        size(row.spec.get("capacity")),
        modes(row.spec.get("accessModes")),
        row::text(row.spec, "persistentVolumeReclaimPolicy"),
        phase(row),
        claim.into(),
        class(row),
        row::given(row.spec, "volumeAttributesClassName", "<unset>"),
        row::text(row.status, "reason"),
        row.age(),
        row::given(row.spec, "volumeMode", "<unset>"),
    ]
}

fn claim(row: &Row<'_>) -> Vec<Value> {
    // Until it is bound, a claim has what it asks for from nobody.
    let (size, modes) = match row.spec.get("volumeName").text().is_empty() {
        true => ("".into(), "".into()),
        false => (size(row.status.get("capacity")), modes(row.status.get("accessModes"))),
    };
    vec![
        row.name(),
        phase(row),
        row::text(row.spec, "volumeName"),
        size,
        modes,
        class(row),
        row::given(row.spec, "volumeAttributesClassName", "<unset>"),
        row.age(),
        row::given(row.spec, "volumeMode", "<unset>"),
    ]
}

fn phase(row: &Row<'_>) -> Value {
    if row.is_going() { "Terminating".into() } else { row::text(row.status, "phase") }
}

fn size(capacity: View<'_>) -> Value {
    row::or(&capacity.get("storage").text(), "0").into()
}

fn class(row: &Row<'_>) -> Value {
    let annotation = row.annotation(CLASS_ANNOTATION);
    if annotation.is_null() {
        row::text(row.spec, "storageClassName")
    } else {
        annotation.text().into()
    }
}

fn modes(modes: View<'_>) -> Value {
    let has = |mode: &str| modes.items().any(|one| one.is(mode));
    let shown: Vec<&str> =
        MODES.iter().filter(|(mode, _)| has(mode)).map(|(_, short)| *short).collect();
    shown.join(",").into()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::table::cells_at_one;

    #[test]
    fn the_annotation_of_old_wins_over_the_class() {
        let spec = json!({"storageClassName": "new", "accessModes":
            ["ReadWriteMany", "ReadWriteOnce", "ReadWriteOnce"], "claimRef": {"name": "c"}});
        for (metadata, phase, class) in [
            (json!({}), "Bound", "new"),
            (json!({"annotations": {super::CLASS_ANNOTATION: "old"}}), "Bound", "old"),
            (json!({"deletionTimestamp": "2026-01-01T00:00:00Z"}), "Terminating", "new"),
        ] {
            let volume = json!({"apiVersion": "v1", "kind": "PersistentVolume",
                "metadata": metadata, "spec": spec, "status": {"phase": "Bound"}});
            let shown = json!(["0", "RWO,RWX", "", phase, "/c", class, "<unset>", ""]);
            assert_eq!(json!(cells_at_one(&volume)[1..9]), shown);
        }
    }

    #[test]
    fn a_claim_has_a_size_once_it_has_a_volume() {
        let status = json!({"phase": "Bound", "accessModes": ["ReadWriteOncePod"],
            "capacity": {"storage": "1Gi"}});
        for (volume, size, modes) in [("", "", ""), ("v", "1Gi", "RWOP")] {
            let claim = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim",
                "spec": {"volumeName": volume}, "status": status});
            assert_eq!(json!(cells_at_one(&claim)[1..5]), json!(["Bound", volume, size, modes]));
        }
    }
}
