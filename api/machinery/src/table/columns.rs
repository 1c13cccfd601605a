//! The columns of every kind: upstream's, in upstream's order.

use serde_json::{Value, json};

use crate::ResourceInfo;

/// One column: name, type, whether `-o wide` is needed to see it.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    pub name: &'static str,
    /// `string`, `integer` or `date`.
    pub kind: &'static str,
    pub wide: bool,
}

impl Column {
    /// The column as a table defines it.
    #[must_use]
    pub fn definition(&self) -> Value {
        json!({
            "name": self.name,
            "type": self.kind,
            "format": if self.name == "Name" { "name" } else { "" },
            "description": "",
            "priority": i32::from(self.wide),
        })
    }
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
    const ENDPOINT_SLICE: &[Column] =
        &[NAME, text("AddressType"), text("Ports"), text("Endpoints"), AGE];
    const BINDING: &[Column] =
        &[NAME, text("Role"), AGE, wide("Users"), wide("Groups"), wide("ServiceAccounts")];
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
        ("", "Endpoints") => const { &[NAME, text("Endpoints"), AGE] },
        ("discovery.k8s.io", "EndpointSlice") => ENDPOINT_SLICE,
        ("rbac.authorization.k8s.io", "RoleBinding" | "ClusterRoleBinding") => BINDING,
        ("coordination.k8s.io", "Lease") => const { &[NAME, text("Holder"), AGE] },
        _ => const { &[NAME, Column { name: "Created At", kind: "date", wide: false }] },
    }
}
