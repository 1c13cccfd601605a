//! Endpoints and EndpointSlices.

use std::net::IpAddr;

use serde_json::Value;

use super::{invalid_each, items, names, one_of, text};
use crate::field::{Error, Path};
use crate::{Object, ResourceInfo};

const PROTOCOLS: [&str; 3] = ["SCTP", "TCP", "UDP"];
const ADDRESSES_MAX: usize = 100;
const PORTS_MAX: usize = 20_000;
const ENDPOINTS_MAX: usize = 1000;

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
                address(one, &path.child(name).index(index), errors);
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

fn address(one: &Value, path: &Path, errors: &mut Vec<Error>) {
    let ip_path = path.child("ip");
    if text(one, "ip").parse::<IpAddr>().is_err() {
        let why = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
        errors.push(Error::invalid(&ip_path, text(one, "ip"), why));
    }
    let hostname = text(one, "hostname");
    if !hostname.is_empty() {
        let problems = names::label_1123(hostname);
        invalid_each(&path.child("hostname"), hostname, problems, errors);
    }
    if let Some(node) = one["nodeName"].as_str() {
        invalid_each(&path.child("nodeName"), node, names::subdomain_1123(node), errors);
    }
    reachable(text(one, "ip"), &ip_path, errors);
}

/// An address that others can reach.
fn reachable(ip: &str, path: &Path, errors: &mut Vec<Error>) {
    let Ok(address) = ip.parse::<IpAddr>() else {
        errors.push(Error::invalid(path, ip, "must be a valid IP address"));
        return;
    };
    let (is_link_local, is_link_multicast) = match address {
        IpAddr::V4(v4) => (v4.is_link_local(), v4.octets()[..3] == [224, 0, 0]),
        IpAddr::V6(v6) => (v6.is_unicast_link_local(), v6.segments()[0] & 0xff0f == 0xff02),
    };
    if address.is_unspecified() {
        errors.push(Error::invalid(path, ip, format!("may not be unspecified ({ip})")));
    }
    if address.is_loopback() {
        let why = "may not be in the loopback range (127.0.0.0/8, ::1/128)";
        errors.push(Error::invalid(path, ip, why));
    }
    if is_link_local {
        let why = "may not be in the link-local range (169.254.0.0/16, fe80::/10)";
        errors.push(Error::invalid(path, ip, why));
    }
    if is_link_multicast {
        let why = "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)";
        errors.push(Error::invalid(path, ip, why));
    }
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
    slice_ports(new, errors);
    let kind = new.text(&["addressType"]);
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
    let mut seen = Vec::new();
    for (index, port) in ports.iter().enumerate() {
        let path = path.index(index);
        let name = text(port, "name");
        if !name.is_empty() {
            invalid_each(&path.child("name"), name, names::label_1123(name), errors);
        }
        if seen.contains(&name) {
            errors.push(Error::duplicate(&path.child("name"), name));
        }
        seen.push(name);
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
        let hostname = text(endpoint, "hostname");
        if !hostname.is_empty() {
            let problems = names::label_1123(hostname);
            invalid_each(&path.child("hostname"), hostname, problems, errors);
        }
    }
}

fn slice_address(one: &str, kind: &str, (list, index): (&Path, usize), errors: &mut Vec<Error>) {
    let path = list.index(index);
    let parsed = one.parse::<IpAddr>();
    match (kind, parsed) {
        ("IPv4" | "IPv6", Err(_)) => {
            let why = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
            errors.push(Error::invalid(&path, one, why));
        }
        ("IPv4" | "IPv6", Ok(address)) => {
            if address.is_ipv4() != (kind == "IPv4") {
                let article = format!("must be an {kind} address");
                errors.push(Error::invalid(list, one, article));
            }
            reachable(one, &path, errors);
        }
        ("FQDN", _) => {
            let name = one.strip_suffix('.').unwrap_or(one);
            invalid_each(&path, one, names::subdomain_1123(name), errors);
        }
        _ => {}
    }
}
