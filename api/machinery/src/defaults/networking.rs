//! Defaults of `networking.k8s.io` and `discovery.k8s.io`.

use serde_json::json;

use super::Scalar::Text;
use super::{Table, Tree};
use super::{descend, ensure, fill, is_empty, items, set};

pub(super) fn apply(kind: &str, map: &mut Tree) {
    match kind {
        "NetworkPolicy" => network_policy(map),
        "IngressClass" => {
            if let Some(parameters) = descend(map, &["spec", "parameters"]) {
                set(parameters, "scope", "Cluster");
            }
        }
        "EndpointSlice" => {
            for port in items(map, "ports") {
                fill(port, SLICE_PORT);
            }
        }
        _ => {}
    }
}

const SLICE_PORT: &Table = &[("name", Text("")), ("protocol", Text("TCP"))];

fn network_policy(map: &mut Tree) {
    let Some(spec) = ensure(map, "spec") else { return };
    if is_empty(spec, "policyTypes") {
        let types = if is_empty(spec, "egress") {
            json!(["Ingress"])
        } else {
            json!(["Ingress", "Egress"])
        };
        spec.insert("policyTypes".to_owned(), types);
    }
    for direction in ["ingress", "egress"] {
        for port in items(spec, direction).flat_map(|rule| items(rule, "ports")) {
            set(port, "protocol", "TCP");
        }
    }
}
