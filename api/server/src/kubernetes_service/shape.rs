//! What the Endpoints and the EndpointSlice of Service `kubernetes` should be: values in, values out.

use api_machinery::Object;
use serde_json::{Value, json};

/// Name of the Service and of all that belongs to it.
pub(super) const NAME: &str = "kubernetes";
const SKIP_MIRROR: &str = "endpointslice.kubernetes.io/skip-mirror";
const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// The one port of the Service, which leads to `target`.
pub(super) fn service_ports(target: u16) -> Value {
    json!([{"name": "https", "protocol": "TCP", "port": 443, "targetPort": target}])
}

fn endpoint_ports(port: u16) -> Value {
    json!([{"name": "https", "port": port, "protocol": "TCP"}])
}

/// The Endpoints that name exactly `addresses`; `None` when `current` does already. Only
/// `with_ports` are ports corrected: servers with different ports must not quarrel for ever.
pub(super) fn endpoints(
    current: Option<&Object>,
    addresses: &[String],
    port: u16,
    with_ports: bool,
) -> Option<Object> {
    let mut next = current.cloned().unwrap_or_else(|| named("v1", "Endpoints"));
    // Nobody else makes slices of it: ours is the one slice.
    next.set(&["metadata", "labels", SKIP_MIRROR], "true".into());
    let held = match next.at(&["subsets"]).and_then(Value::as_array).map(Vec::as_slice) {
        Some([one]) => one["ports"].clone(),
        _ => Value::Null,
    };
    let ports = if with_ports || held.is_null() { endpoint_ports(port) } else { held };
    if addresses.is_empty() {
        next.remove(&["subsets"]);
    } else {
        let listed: Vec<Value> = addresses.iter().map(|address| json!({"ip": address})).collect();
        next.set(&["subsets"], json!([{"addresses": listed, "ports": ports}]));
    }
    (current != Some(&next)).then_some(next)
}

/// The EndpointSlice of those Endpoints; `None` when `current` is it already.
pub(super) fn slice(current: Option<&Object>, endpoints: &Object) -> Option<Object> {
    let subset = endpoints.at(&["subsets"]).and_then(|subsets| subsets.get(0));
    let subset = subset.cloned().unwrap_or_default();
    let addresses = subset["addresses"].as_array().map_or(&[][..], Vec::as_slice);
    let texts = addresses.iter().filter_map(|address| address["ip"].as_str());
    let is_v6 = texts.clone().count() > 0 && texts.clone().all(|text| text.contains(':'));
    let kind = if is_v6 { "IPv6" } else { "IPv4" };
    let listed: Vec<Value> = texts
        .filter(|text| text.contains(':') == is_v6)
        .map(|text| json!({"addresses": [text], "conditions": {"ready": true}}))
        .collect();
    // The address type of a slice never changes: another one is another object.
    let kept = current.filter(|current| current.text(&["addressType"]) == kind);
    let mut next = kept.cloned().unwrap_or_else(|| named("discovery.k8s.io/v1", "EndpointSlice"));
    next.set(&["metadata", "labels"], json!({SERVICE_NAME: NAME}));
    next.set(&["addressType"], kind.into());
    next.set(&["endpoints"], listed.into());
    next.set(&["ports"], subset["ports"].clone());
    (current != Some(&next)).then_some(next)
}

fn named(api_version: &str, kind: &str) -> Object {
    let mut object = Object::default();
    object.set_api_version_and_kind(api_version, kind);
    object.set_name(NAME);
    object.set_namespace("default");
    object
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(list: &[&str]) -> Vec<String> {
        list.iter().map(|one| (*one).to_owned()).collect()
    }

    #[test]
    fn endpoints_follow_the_servers_and_keep_ports_that_others_set() {
        let both = addresses(&["10.0.0.1", "10.0.0.2"]);
        let made = endpoints(None, &both, 6443, false).unwrap();
        assert_eq!(made.at(&["subsets"]).unwrap()[0]["ports"][0]["port"], 6443);
        assert_eq!(made.labels()[SKIP_MIRROR], "true");
        assert_eq!(endpoints(Some(&made), &both, 7443, false), None, "nothing to do");

        let one = endpoints(Some(&made), &both[..1], 7443, false).unwrap();
        let subset = &one.at(&["subsets"]).unwrap()[0];
        assert_eq!(subset["addresses"], json!([{"ip": "10.0.0.1"}]));
        assert_eq!(subset["ports"][0]["port"], 6443);
        let moved = endpoints(Some(&one), &both[..1], 7443, true).unwrap();
        assert_eq!(moved.at(&["subsets"]).unwrap()[0]["ports"][0]["port"], 7443);
        let none = endpoints(Some(&moved), &[], 7443, true).unwrap();
        assert_eq!(none.at(&["subsets"]), None);

        let mut broken = made.clone();
        broken.set(&["subsets"], json!([{}, {}]));
        assert_eq!(endpoints(Some(&broken), &both, 6443, false), Some(made));
    }

    #[test]
    fn the_slice_shows_what_the_endpoints_show() {
        let both = addresses(&["10.0.0.1", "10.0.0.2"]);
        let endpoints = endpoints(None, &both, 6443, true).unwrap();
        let made = slice(None, &endpoints).unwrap();
        assert_eq!(made.text(&["addressType"]), "IPv4");
        assert_eq!(made.labels()[SERVICE_NAME], NAME);
        assert_eq!(made.at(&["endpoints"]).unwrap()[1]["addresses"], json!(["10.0.0.2"]));
        assert_eq!(made.at(&["ports"]).unwrap()[0]["port"], 6443);
        assert_eq!(slice(Some(&made), &endpoints), None);
    }
}
