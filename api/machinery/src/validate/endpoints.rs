//! Endpoints and EndpointSlices.

use std::collections::HashSet;

use serde_json::Value;

use super::core::address;
use super::{invalid_each, items, meta, names, one_of, text};
use crate::field::{Error, Path};
use crate::{Object, ResourceInfo};

const PROTOCOLS: [&str; 3] = ["SCTP", "TCP", "UDP"];
const ADDRESSES_MAX: usize = 100;
const PORTS_MAX: usize = 20_000;
const ENDPOINTS_MAX: usize = 1000;
const TOPOLOGY_LABELS_MAX: usize = 16;
const HINTS_MAX: usize = 8;

pub(super) fn create_slice(_info: &ResourceInfo, object: &Object, errors: &mut Vec<Error>) {
    slice(object, errors);
}

pub(super) fn update_slice(
    _info: &ResourceInfo,
    new: &Object,
    old: &Object,
    errors: &mut Vec<Error>,
) {
    slice_update(new, old, errors);
}

pub(super) fn endpoints(object: &Object, errors: &mut Vec<Error>) {
    let subsets = object.at(&["subsets"]).and_then(Value::as_array);
    for (index, subset) in subsets.into_iter().flatten().enumerate() {
        let path = Path::new("subsets").index(index);
        let (ready, not_ready) = (items(subset, "addresses"), items(subset, "notReadyAddresses"));
        if ready.is_empty() && not_ready.is_empty() {
            let why = "must specify `addresses` or `notReadyAddresses`";
            errors.push(Error::required(&path, why));
        }
        for (list, name) in [(ready, "addresses"), (not_ready, "notReadyAddresses")] {
            for (index, one) in list.iter().enumerate() {
                endpoint_address(one, &path.child(name).index(index), errors);
            }
        }
        let ports = items(subset, "ports");
        for (index, one) in ports.iter().enumerate() {
            port(one, ports.len() > 1, &path.child("ports").index(index), errors);
        }
    }
}

pub(super) fn endpoints_update(new: &Object, old: &Object, errors: &mut Vec<Error>) {
    // What was stored under older rules may stay as it is.
    if new.at(&["subsets"]) != old.at(&["subsets"]) {
        endpoints(new, errors);
    }
}

fn endpoint_address(one: &Value, path: &Path, errors: &mut Vec<Error>) {
    let ip_path = path.child("ip");
    errors.extend(address::legacy(&ip_path, text(one, "ip"), &[]));
    let hostname = text(one, "hostname");
    if !hostname.is_empty() {
        let problems = names::label_1123(hostname);
        invalid_each(&path.child("hostname"), hostname, problems, errors);
    }
    if let Some(node) = one["nodeName"].as_str() {
        invalid_each(&path.child("nodeName"), node, names::subdomain_1123(node), errors);
    }
    address::reachable(text(one, "ip"), &ip_path, errors);
}

fn port(one: &Value, needs_name: bool, path: &Path, errors: &mut Vec<Error>) {
    let name = text(one, "name");
    if name.is_empty() && needs_name {
        errors.push(Error::required(&path.child("name"), ""));
    } else if !name.is_empty() {
        invalid_each(&path.child("name"), name, names::label_1123(name), errors);
    }
    let number = one["port"].as_i64().unwrap_or(0);
    if !names::is_port(number) {
        errors.push(Error::invalid(&path.child("port"), number, names::PORT));
    }
    one_of(&path.child("protocol"), text(one, "protocol"), &PROTOCOLS, true, errors);
    app_protocol(one, path, errors);
}

fn app_protocol(port: &Value, path: &Path, errors: &mut Vec<Error>) {
    if let Some(protocol) = port["appProtocol"].as_str() {
        let problems = names::qualified_name(protocol);
        invalid_each(&path.child("appProtocol"), protocol, problems, errors);
    }
}

fn slice(object: &Object, errors: &mut Vec<Error>) {
    let kinds = ["FQDN", "IPv4", "IPv6"];
    let kind = object.text(&["addressType"]);
    one_of(&Path::new("addressType"), kind, &kinds, true, errors);
    slice_ports(object, errors);
    slice_endpoints(object, kind, errors);
}

fn slice_update(new: &Object, old: &Object, errors: &mut Vec<Error>) {
    let kind = new.text(&["addressType"]);
    one_of(&Path::new("addressType"), kind, &["FQDN", "IPv4", "IPv6"], true, errors);
    slice_ports(new, errors);
    if new.at(&["endpoints"]) != old.at(&["endpoints"]) {
        slice_endpoints(new, kind, errors);
    }
    super::core::unchanged(new, old, &["addressType"], errors);
}

fn slice_ports(object: &Object, errors: &mut Vec<Error>) {
    let ports = object.at(&["ports"]).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let path = Path::new("ports");
    if ports.len() > PORTS_MAX {
        errors.push(Error::too_many(&path, ports.len(), PORTS_MAX));
        return;
    }
    let mut seen = HashSet::new();
    for (index, port) in ports.iter().enumerate() {
        let path = path.index(index);
        let name = text(port, "name");
        if !name.is_empty() {
            invalid_each(&path.child("name"), name, names::label_1123(name), errors);
        }
        if seen.contains(&name) {
            errors.push(Error::duplicate(&path.child("name"), name));
        }
        seen.insert(name);
        one_of(&path.child("protocol"), text(port, "protocol"), &PROTOCOLS, true, errors);
        app_protocol(port, &path, errors);
    }
}

fn slice_endpoints(object: &Object, kind: &str, errors: &mut Vec<Error>) {
    let list = object.at(&["endpoints"]).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let path = Path::new("endpoints");
    if list.len() > ENDPOINTS_MAX {
        errors.push(Error::too_many(&path, list.len(), ENDPOINTS_MAX));
        return;
    }
    for (index, endpoint) in list.iter().enumerate() {
        let path = path.index(index);
        let addresses = items(endpoint, "addresses");
        let addresses_path = path.child("addresses");
        if addresses.is_empty() {
            errors.push(Error::required(&addresses_path, "must contain at least 1 address"));
        } else if addresses.len() > ADDRESSES_MAX {
            errors.push(Error::too_many(&addresses_path, addresses.len(), ADDRESSES_MAX));
        }
        for (index, one) in addresses.iter().enumerate() {
            let one = one.as_str().unwrap_or("");
            slice_address(one, kind, (&addresses_path, index), errors);
        }
        if let Some(node) = endpoint["nodeName"].as_str() {
            invalid_each(&path.child("nodeName"), node, names::subdomain_1123(node), errors);
        }
        topology(&endpoint["deprecatedTopology"], &path.child("deprecatedTopology"), errors);
        if let Some(hostname) = endpoint["hostname"].as_str() {
            let problems = names::label_1123(hostname);
            invalid_each(&path.child("hostname"), hostname, problems, errors);
        }
        hints(&endpoint["hints"], &path.child("hints"), errors);
    }
}

fn topology(topology: &Value, path: &Path, errors: &mut Vec<Error>) {
    let count = topology.as_object().map_or(0, serde_json::Map::len);
    if count > TOPOLOGY_LABELS_MAX {
        errors.push(Error::too_many(path, count, TOPOLOGY_LABELS_MAX));
    }
    meta::labels(topology, path, errors);
}

fn hints(hints: &Value, path: &Path, errors: &mut Vec<Error>) {
    for (field, rule) in [
        ("forZones", names::label_value as fn(&str) -> Vec<String>),
        ("forNodes", names::subdomain_1123),
    ] {
        let path = path.child(field);
        let list = items(hints, field);
        if list.len() > HINTS_MAX {
            errors.push(Error::too_many(&path, list.len(), HINTS_MAX));
            return;
        }
        let mut seen = HashSet::new();
        for (index, one) in list.iter().enumerate() {
            let path = path.index(index).child("name");
            let name = text(one, "name");
            if seen.contains(&name) {
                errors.push(Error::duplicate(&path, name));
            }
            seen.insert(name);
            invalid_each(&path, name, rule(name), errors);
        }
    }
}

fn slice_address(one: &str, kind: &str, (list, index): (&Path, usize), errors: &mut Vec<Error>) {
    let path = list.index(index);
    let refused = match kind {
        "IPv4" => address::legacy(&path, one, &[]),
        "IPv6" => address::canonical(&path, one),
        "FQDN" => domain_name(&path, one),
        _ => return,
    };
    if let Some(error) = refused {
        errors.push(error);
    } else if kind != "FQDN" {
        if address::is_ipv6(one) != (kind == "IPv6") {
            errors.push(Error::invalid(list, one, format!("must be an {kind} address")));
        }
        address::reachable(one, &path, errors);
    }
}

/// A domain name of at least two parts.
fn domain_name(path: &Path, name: &str) -> Option<Error> {
    if name.is_empty() {
        return Some(Error::required(path, ""));
    }
    let name = name.strip_suffix('.').unwrap_or(name);
    let problems = names::subdomain_1123(name);
    if !problems.is_empty() {
        return Some(Error::invalid(path, name, problems.join(",")));
    }
    if !name.contains('.') {
        let why = "should be a domain with at least two segments separated by dots";
        return Some(Error::invalid(path, name, why));
    }
    let wrong = name.split('.').find(|label| !names::label_1123(label).is_empty())?;
    Some(Error::invalid(path, wrong, names::label_1123(wrong).join(",")))
}
