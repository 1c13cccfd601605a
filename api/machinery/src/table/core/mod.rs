//! The core group.

mod event;
mod node;
mod pod;
#[cfg(test)]
mod pod_test;
mod service;
mod volume;

use serde_json::Value;

use super::Printer;
use super::column::{AGE, CONTAINERS, IMAGES, NAME, SELECTOR, number, text};
use super::row::{self, Row};

pub(super) use pod::cells_and_conditions as cells_and_conditions_of_pod;

pub(super) fn printer(kind: &str) -> Option<&'static Printer> {
    Some(match kind {
        "ComponentStatus" => &COMPONENT_STATUS,
        "ConfigMap" => &CONFIG_MAP,
        "Endpoints" => &service::ENDPOINTS,
        "Event" => &event::EVENT,
        "Namespace" => &NAMESPACE,
        "Node" => &node::NODE,
        "PersistentVolume" => &volume::VOLUME,
        "PersistentVolumeClaim" => &volume::CLAIM,
        "Pod" => &pod::POD,
        "PodTemplate" => &POD_TEMPLATE,
        "ReplicationController" => &REPLICATION_CONTROLLER,
        "ResourceQuota" => &RESOURCE_QUOTA,
        "Secret" => &SECRET,
        "Service" => &service::SERVICE,
        "ServiceAccount" => &SERVICE_ACCOUNT,
        _ => return None,
    })
}

static COMPONENT_STATUS: Printer = Printer {
    columns: &[NAME, text("Status"), text("Message"), text("Error")],
    cells: |row| {
        let mut conditions = row.object.get("conditions").items();
        let healthy = conditions.find(|condition| condition.get("type").is("Healthy"));
        let status = match healthy.map(|condition| condition.get("status").is("True")) {
            Some(true) => "Healthy",
            Some(false) => "Unhealthy",
            None => "Unknown",
        };
        let part = |key| healthy.map_or_else(|| "".into(), |condition| row::text(condition, key));
        vec![row.name(), status.into(), part("message"), part("error")]
    },
};

static CONFIG_MAP: Printer = Printer {
    columns: &[NAME, text("Data"), AGE],
    cells: |row| {
        let count = row.object.get("data").count() + row.object.get("binaryData").count();
        vec![row.name(), count.into(), row.age()]
    },
};

static NAMESPACE: Printer = Printer {
    columns: &[NAME, text("Status"), AGE],
    cells: |row| vec![row.name(), row::text(row.status, "phase"), row.age()],
};

static POD_TEMPLATE: Printer = Printer {
    columns: &[NAME, text("Containers"), text("Images"), text("Pod Labels")],
    cells: |row| {
        let template = row.object.get("template");
        let [names, images] = row::containers(template);
        let labels = row::labels_text(template.at(&["metadata", "labels"]));
        vec![row.name(), names, images, labels.into()]
    },
};

static REPLICATION_CONTROLLER: Printer = Printer {
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
            row::labels_text(row.spec.get("selector")).into(),
        ]
    },
};

static RESOURCE_QUOTA: Printer = Printer {
    columns: &[NAME, text("Request"), text("Limit"), AGE],
    cells: |row| {
        let [requests, limits] = quota(row);
        vec![row.name(), requests, limits, row.age()]
    },
};

/// What is used of what is allowed: requests, and limits.
fn quota(row: &Row<'_>) -> [Value; 2] {
    let mut hard: Vec<_> = row.status.get("hard").members().collect();
    hard.sort_by(|(one, _), (other, _)| one.cmp(other));
    let used = row.status.get("used");
    let [mut requests, mut limits] = [Vec::new(), Vec::new()];
    for (name, most) in hard {
        let column = if name.starts_with("limits.") { &mut limits } else { &mut requests };
        let used = row::or(&used.get(&name).text(), "0");
        column.push(format!("{name}: {used}/{}", most.text()));
    }
    [requests.join(", ").into(), limits.join(", ").into()]
}

static SECRET: Printer = Printer {
    columns: &[NAME, text("Type"), text("Data"), AGE],
    cells: |row| {
        let count = row.object.get("data").count();
        vec![row.name(), row::text(row.object, "type"), count.into(), row.age()]
    },
};

static SERVICE_ACCOUNT: Printer =
    Printer { columns: &[NAME, AGE], cells: |row| vec![row.name(), row.age()] };

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::table::cells_at_one;

    #[test]
    fn a_quota_shows_limits_apart() {
        let quota = json!({"apiVersion": "v1", "kind": "ResourceQuota", "status": {
            "hard": {"pods": "10", "limits.cpu": "2", "cpu": "1", "limits": "3"},
            "used": {"cpu": "500m"}}});
        let shown = json!(["cpu: 500m/1, limits: 0/3, pods: 0/10", "limits.cpu: 0/2"]);
        assert_eq!(json!(cells_at_one(&quota)[1..3]), shown);
    }
}
