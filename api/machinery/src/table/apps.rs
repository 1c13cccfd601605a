//! `apps`.

use serde_json::Value;

use super::Printer;
use super::column::{AGE, CONTAINERS, IMAGES, NAME, SELECTOR, number, text};
use super::row::{self, Row};
use crate::kinds::split_api_version;

pub(super) fn printer(kind: &str) -> Option<&'static Printer> {
    Some(match kind {
        "ControllerRevision" => &CONTROLLER_REVISION,
        "DaemonSet" => &DAEMON_SET,
        "Deployment" => &DEPLOYMENT,
        "ReplicaSet" => &REPLICA_SET,
        "StatefulSet" => &STATEFUL_SET,
        _ => return None,
    })
}

static CONTROLLER_REVISION: Printer = Printer {
    columns: &[NAME, text("Controller"), text("Revision"), AGE],
    cells: |row| {
        let revision = row::number(row.object, "revision");
        vec![row.name(), controller(row).into(), revision.into(), row.age()]
    },
};

/// `kind.group/name` of the owner that controls the object.
fn controller(row: &Row<'_>) -> String {
    let mut owners = row.metadata.get("ownerReferences").items();
    let Some(owner) = owners.find(|owner| owner.get("controller").is_true()) else {
        return "<none>".to_owned();
    };
    let api_version = owner.get("apiVersion").text();
    let kind = owner.get("kind").text().to_lowercase();
    let name = owner.get("name").text();
    match split_api_version(&api_version).0 {
        "" if kind.is_empty() => name.into_owned(),
        "" => format!("{kind}/{name}"),
        group => format!("{kind}.{}/{name}", group.to_lowercase()),
    }
}

static DAEMON_SET: Printer = Printer {
    columns: &[
        NAME,
        number("Desired"),
        number("Current"),
        number("Ready"),
        number("Up-to-date"),
        number("Available"),
        text("Node Selector"),
        AGE,
        CONTAINERS,
        IMAGES,
        SELECTOR,
    ],
    cells: |row| {
        let status = |key: &str| Value::from(row::number(row.status, key));
        let template = row.spec.get("template");
        let [names, images] = row::containers(template);
        vec![
            row.name(),
            status("desiredNumberScheduled"),
            status("currentNumberScheduled"),
            status("numberReady"),
            status("updatedNumberScheduled"),
            status("numberAvailable"),
            row::labels_text(template.at(&["spec", "nodeSelector"])).into(),
            row.age(),
            names,
            images,
            row::selector(row.spec.get("selector")),
        ]
    },
};

static DEPLOYMENT: Printer = Printer {
    columns: &[
        NAME,
        text("Ready"),
        text("Up-to-date"),
        text("Available"),
        AGE,
        CONTAINERS,
        IMAGES,
        SELECTOR,
    ],
    cells: |row| {
        let [names, images] = row::containers(row.spec.get("template"));
        vec![
            row.name(),
            ready(row),
            row::number(row.status, "updatedReplicas").into(),
            row::number(row.status, "availableReplicas").into(),
            row.age(),
            names,
            images,
            // Of all kinds, only this one shows an empty selector as nothing.
            row::selector_text(row.spec.get("selector")).into(),
        ]
    },
};

static REPLICA_SET: Printer = Printer {
    columns: &[
        NAME,
        number("Desired"),
        number("Current"),
        number("Ready"),
        AGE,
        CONTAINERS,
        IMAGES,
        SELECTOR,
    ],
    cells: |row| {
        let [names, images] = row::containers(row.spec.get("template"));
        vec![
            row.name(),
            row::number(row.spec, "replicas").into(),
            row::number(row.status, "replicas").into(),
            row::number(row.status, "readyReplicas").into(),
            row.age(),
            names,
            images,
            row::selector(row.spec.get("selector")),
        ]
    },
};

static STATEFUL_SET: Printer = Printer {
    columns: &[NAME, text("Ready"), AGE, CONTAINERS, IMAGES],
    cells: |row| {
        let [names, images] = row::containers(row.spec.get("template"));
        vec![row.name(), ready(row), row.age(), names, images]
    },
};

fn ready(row: &Row<'_>) -> Value {
    row::ratio(row::number(row.status, "readyReplicas"), row::number(row.spec, "replicas"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::table::cells_at_one;

    #[test]
    fn only_the_owner_that_controls_a_revision_is_shown() {
        let owner = |api_version: &str, controls: bool| {
            json!({"apiVersion": api_version, "kind": "DaemonSet", "name": "D",
                "controller": controls})
        };
        for (owners, shown) in [
            (json!([]), "<none>"),
            (json!([owner("apps/v1", false)]), "<none>"),
            (json!([owner("v1", false), owner("apps/v1", true)]), "daemonset.apps/D"),
            (json!([owner("v1", true)]), "daemonset/D"),
        ] {
            let revision = json!({"apiVersion": "apps/v1", "kind": "ControllerRevision",
                "metadata": {"ownerReferences": owners}, "revision": 2});
            assert_eq!(json!(cells_at_one(&revision)[1..3]), json!([shown, 2]));
        }
    }

    #[test]
    fn an_empty_selector_is_nothing_for_deployments_only() {
        for (kind, cells) in [("Deployment", ""), ("ReplicaSet", "<none>"), ("DaemonSet", "<none>")]
        {
            let object = json!({"apiVersion": "apps/v1", "kind": kind});
            assert_eq!(cells_at_one(&object).last(), Some(&json!(cells)), "{kind}");
        }
    }
}
