//! Network policies.

use serde_json::Value;

use crate::Object;
use crate::field::{Error, Path};
use crate::validate::core::address::{self, Range};
use crate::validate::{invalid_each, items, names, selectors, text};

const DIRECTIONS: [(&str, &str); 2] = [("ingress", "from"), ("egress", "to")];

/// Checks a policy; the ranges of an old one may stay as they are.
pub(super) fn policy(object: &Object, old: Option<&Object>, errors: &mut Vec<Error>) {
    let null = Value::Null;
    let spec = object.at(&["spec"]).unwrap_or(&null);
    let kept = ranges(old.and_then(|old| old.at(&["spec"])).unwrap_or(&null));
    let path = Path::new("spec");
    selectors::label_selector(&spec["podSelector"], &path.child("podSelector"), errors);
    for (direction, peers) in DIRECTIONS {
        for (index, rule) in items(spec, direction).iter().enumerate() {
            let path = path.child(direction).index(index);
            for (index, one) in items(rule, "ports").iter().enumerate() {
                port(one, &path.child("ports").index(index), errors);
            }
            for (index, one) in items(rule, peers).iter().enumerate() {
                peer(one, &kept, &path.child(peers).index(index), errors);
            }
        }
    }
    let types = items(spec, "policyTypes");
    let path = path.child("policyTypes");
    if types.len() > 2 {
        let why = "may not specify more than two policyTypes";
        errors.push(Error::invalid(&path, spec["policyTypes"].clone(), why));
        return;
    }
    for (index, one) in types.iter().enumerate() {
        let one = one.as_str().unwrap_or("");
        if !["Ingress", "Egress"].contains(&one) {
            errors.push(Error::not_supported(&path.index(index), one, &["Ingress", "Egress"]));
        }
    }
}

fn ranges(spec: &Value) -> Vec<&str> {
    let rules = DIRECTIONS.iter().flat_map(|(direction, peers)| {
        items(spec, direction).iter().flat_map(|rule| items(rule, peers))
    });
    let blocks = rules.map(|peer| &peer["ipBlock"]).filter(|block| !block.is_null());
    blocks
        .flat_map(|block| {
            let except = items(block, "except").iter().filter_map(Value::as_str);
            except.chain([text(block, "cidr")])
        })
        .collect()
}

fn port(one: &Value, path: &Path, errors: &mut Vec<Error>) {
    let protocols = ["TCP", "UDP", "SCTP"];
    if let Some(protocol) = one["protocol"].as_str()
        && !protocols.contains(&protocol)
    {
        errors.push(Error::not_supported(&path.child("protocol"), protocol, &protocols));
    }
    let (end, end_path) = (one["endPort"].as_i64(), path.child("endPort"));
    let port_path = path.child("port");
    match &one["port"] {
        Value::Null => {
            if let Some(end) = end {
                let why = "may not be specified when `port` is not specified";
                errors.push(Error::invalid(&end_path, end, why));
            }
        }
        Value::String(name) => {
            if let Some(end) = end {
                let why = "may not be specified when `port` is non-numeric";
                errors.push(Error::invalid(&end_path, end, why));
            }
            invalid_each(&port_path, name, names::port_name(name), errors);
        }
        number => {
            let number = number.as_i64().unwrap_or(0);
            if !names::is_port(number) {
                errors.push(Error::invalid(&port_path, number, names::PORT));
            }
            let Some(end) = end else { return };
            if end < number {
                let why = "must be greater than or equal to `port`";
                errors.push(Error::invalid(&end_path, number, why));
            }
            if !names::is_port(end) {
                errors.push(Error::invalid(&end_path, end, names::PORT));
            }
        }
    }
}

fn peer(peer: &Value, kept: &[&str], path: &Path, errors: &mut Vec<Error>) {
    let mut count = 0;
    for field in ["podSelector", "namespaceSelector"] {
        if !peer[field].is_null() {
            count += 1;
            selectors::label_selector(&peer[field], &path.child(field), errors);
        }
    }
    let block = &peer["ipBlock"];
    if !block.is_null() {
        ip_block(block, kept, &path.child("ipBlock"), errors);
        if count > 0 {
            let why = "may not specify both ipBlock and another peer";
            errors.push(Error::forbidden(path, why));
        }
    } else if count == 0 {
        errors.push(Error::required(path, "must specify a peer"));
    }
}

fn ip_block(block: &Value, kept: &[&str], path: &Path, errors: &mut Vec<Error>) {
    let range = text(block, "cidr");
    if range.is_empty() {
        errors.push(Error::required(&path.child("cidr"), ""));
        return;
    }
    errors.extend(address::legacy_range(&path.child("cidr"), range, kept));
    let Some(range) = Range::parse(range) else { return };
    for (index, except) in items(block, "except").iter().enumerate() {
        let except = except.as_str().unwrap_or("");
        let path = path.child("except").index(index);
        errors.extend(address::legacy_range(&path, except, kept));
        if Range::parse(except).is_some_and(|except| !range.strictly_contains(except)) {
            errors.push(Error::invalid(&path, except, "must be a strict subset of `cidr`"));
        }
    }
}
