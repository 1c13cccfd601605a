//! Nodes.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::table::Printer;
use crate::table::column::{AGE, NAME, text, wide};
use crate::table::row::{self, Row};

pub(super) static NODE: Printer = Printer {
    columns: &[
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
    ],
    cells,
};

fn cells(row: &Row<'_>) -> Vec<Value> {
    let address = |kind: &str| {
        let mut addresses = row.status.get("addresses").items();
        let found = addresses.find(|one| one.get("type").is(kind));
        found.map_or("<none>".into(), |one| row::text(one, "address"))
    };
    let system = row.status.get("nodeInfo");
    let known = |key: &str| row::or(&system.get(key).text(), "<unknown>");
    let mut kernel = known("kernelVersion");
    let architecture = system.get("architecture").text();
    if !architecture.is_empty() {
        kernel = format!("{kernel} ({architecture})");
    }
    vec![
        row.name(),
        state(row).into(),
        roles(row).into(),
        row.age(),
        row::text(system, "kubeletVersion"),
        address("InternalIP"),
        address("ExternalIP"),
        known("osImage").into(),
        kernel.into(),
        known("containerRuntimeVersion").into(),
    ]
}

fn state(row: &Row<'_>) -> String {
    let conditions = row.status.get("conditions").items();
    // The last one counts when there are more.
    let ready = match conditions.filter(|one| one.get("type").is("Ready")).last() {
        Some(ready) if ready.get("status").is("True") => "Ready",
        Some(_) => "NotReady",
        None => "Unknown",
    };
    match row.spec.get("unschedulable").is_true() {
        true => format!("{ready},SchedulingDisabled"),
        false => ready.to_owned(),
    }
}

fn roles(row: &Row<'_>) -> String {
    let mut roles = BTreeSet::new();
    for (key, value) in row.metadata.get("labels").members() {
        let role = match key.strip_prefix("node-role.kubernetes.io/") {
            Some(role) => role.to_owned(),
            None if key == "kubernetes.io/role" => value.text().into_owned(),
            None => continue,
        };
        if !role.is_empty() {
            roles.insert(role);
        }
    }
    row::or(&Vec::from_iter(roles).join(","), "<none>")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::table::cells_at_one;

    #[test]
    fn a_node_shows_its_state_roles_and_system() {
        let node = json!({"apiVersion": "v1", "kind": "Node",
        "metadata": {"labels": {"node-role.kubernetes.io/worker": "",
            "kubernetes.io/role": "boss", "node-role.kubernetes.io/": "x"}},
        "spec": {"unschedulable": true},
        "status": {
            "conditions": [{"type": "Ready", "status": "True"},
                {"type": "Ready", "status": "Unknown"}],
            "addresses": [{"type": "InternalIP", "address": "10.0.0.1"},
                {"type": "InternalIP", "address": "fd00::1"},
                {"type": "ExternalIP", "address": ""}],
            "nodeInfo": {"kernelVersion": "6.1", "architecture": "arm64"},
        }});
        let shown = json!([
            "NotReady,SchedulingDisabled",
            "boss,worker",
            "<unknown>",
            "",
            "10.0.0.1",
            "",
            "<unknown>",
            "6.1 (arm64)",
            "<unknown>"
        ]);
        assert_eq!(json!(cells_at_one(&node)[1..]), shown);
        let bare = cells_at_one(&json!({"apiVersion": "v1", "kind": "Node"}));
        assert_eq!(json!(bare[1..3]), json!(["Unknown", "<none>"]));
    }
}
