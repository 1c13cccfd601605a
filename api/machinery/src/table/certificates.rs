//! `certificates.k8s.io`.

use super::Printer;
use super::column::{AGE, NAME, text};
use super::row::{self, Row};
use crate::time;

pub(super) fn printer(kind: &str) -> Option<&'static Printer> {
    (kind == "CertificateSigningRequest").then_some(&SIGNING_REQUEST)
}

static SIGNING_REQUEST: Printer = Printer {
    columns: &[
        NAME,
        AGE,
        text("SignerName"),
        text("Requestor"),
        text("RequestedDuration"),
        text("Condition"),
    ],
    cells: |row| {
        let duration = row.spec.get("expirationSeconds").number();
        vec![
            row.name(),
            row.age(),
            row::or(&row.spec.get("signerName").text(), "<none>").into(),
            row::text(row.spec, "username"),
            duration.map_or("<none>".to_owned(), time::human_duration).into(),
            state(row).into(),
        ]
    },
};

fn state(row: &Row<'_>) -> String {
    // A condition counts whatever its status is.
    let has = |kind: &str| !row.condition(kind).is_null();
    let mut state = match (has("Denied"), has("Approved")) {
        (true, _) => "Denied",
        (false, true) => "Approved",
        (false, false) => "Pending",
    }
    .to_owned();
    if has("Failed") {
        state.push_str(",Failed");
    }
    if !row.status.get("certificate").text().is_empty() {
        state.push_str(",Issued");
    }
    state
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::table::cells_at_one;

    #[test]
    fn a_condition_of_a_request_counts_whatever_its_status_is() {
        for (conditions, certificate, shown) in [
            (vec![], "", "Pending"),
            (vec!["Approved"], "eA==", "Approved,Issued"),
            (vec!["Approved", "Denied"], "", "Denied"),
            (vec!["Approved", "Failed"], "", "Approved,Failed"),
        ] {
            let conditions: Vec<_> =
                conditions.iter().map(|kind| json!({"type": kind, "status": "False"})).collect();
            let request = json!({"apiVersion": "certificates.k8s.io/v1",
                "kind": "CertificateSigningRequest", "spec": {"expirationSeconds": 3600},
                "status": {"conditions": conditions, "certificate": certificate}});
            assert_eq!(json!(cells_at_one(&request)[4..]), json!(["60m", shown]));
        }
    }
}
