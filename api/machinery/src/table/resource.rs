//! `resource.k8s.io`.

use super::Printer;
use super::column::{AGE, NAME, text};
use super::row::{self, Row};

pub(super) fn printer(kind: &str) -> Option<&'static Printer> {
    Some(match kind {
        "DeviceClass" | "ResourceClaimTemplate" => &NAME_AND_AGE,
        "ResourceClaim" => &RESOURCE_CLAIM,
        "ResourceSlice" => &RESOURCE_SLICE,
        _ => return None,
    })
}

static NAME_AND_AGE: Printer =
    Printer { columns: &[NAME, AGE], cells: |row| vec![row.name(), row.age()] };

static RESOURCE_CLAIM: Printer = Printer {
    columns: &[NAME, text("State"), AGE],
    cells: |row| vec![row.name(), state(row).into(), row.age()],
};

fn state(row: &Row<'_>) -> &'static str {
    let is_allocated = !row.status.get("allocation").is_null();
    let is_reserved = is_allocated && row.status.get("reservedFor").count() > 0;
    match (row.is_going(), is_allocated, is_reserved) {
        (false, false, _) => "pending",
        (false, true, false) => "allocated",
        (false, true, true) => "allocated,reserved",
        (true, false, _) => "deleted",
        (true, true, false) => "deleted,allocated",
        (true, true, true) => "deleted,allocated,reserved",
    }
}

static RESOURCE_SLICE: Printer = Printer {
    columns: &[NAME, text("Node"), text("Driver"), text("Pool"), AGE],
    cells: |row| {
        vec![
            row.name(),
            row::text(row.spec, "nodeName"),
            row::text(row.spec, "driver"),
            row::text(row.spec.get("pool"), "name"),
            row.age(),
        ]
    },
};

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::table::cells_at_one;

    #[test]
    fn a_claim_says_all_that_is_true_of_it() {
        let reserved = json!([{"name": "p"}]);
        for (going, status, shown) in [
            (json!(null), json!({}), "pending"),
            (json!(null), json!({"reservedFor": reserved}), "pending"),
            (json!(null), json!({"allocation": {}, "reservedFor": reserved}), "allocated,reserved"),
            (json!("2026-01-01T00:00:00Z"), json!({}), "deleted"),
            (json!("2026-01-01T00:00:00Z"), json!({"allocation": {}}), "deleted,allocated"),
        ] {
            let claim = json!({"apiVersion": "resource.k8s.io/v1", "kind": "ResourceClaim",
                "metadata": {"deletionTimestamp": going}, "status": status});
            assert_eq!(cells_at_one(&claim)[1], shown);
        }
    }
}
