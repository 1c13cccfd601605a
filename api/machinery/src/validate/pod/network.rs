//! Names and addresses of a pod, and how it finds others.

use serde_json::Value;

use super::{Whole, given, invalid_each, items, names, number, text};
use crate::field::{Error, Path};

const NAMESERVERS_MAX: usize = 3;
const SEARCHES_MAX: usize = 32;
const SEARCH_BYTES_MAX: usize = 2048;

pub(super) fn dns_config(spec: &Value, path: &Path, errors: &mut Vec<Error>) {
    let config = given(spec, "dnsConfig");
    let servers_path = path.child("nameservers");
    if spec["dnsPolicy"] == "None" {
        let Some(config) = config else {
            let why = "must provide `dnsConfig` when `dnsPolicy` is None";
            errors.push(Error::required(path, why));
            return;
        };
        if items(config, "nameservers").is_empty() {
            let why = "must provide at least one DNS nameserver when `dnsPolicy` is None";
            errors.push(Error::required(&servers_path, why));
            return;
        }
    }
    let Some(config) = config else { return };
    let servers = items(config, "nameservers");
    if servers.len() > NAMESERVERS_MAX {
        let why = format!("must not have more than {NAMESERVERS_MAX} nameservers");
        errors.push(Error::invalid(&servers_path, servers.to_vec(), why));
    }
    for (index, server) in servers.iter().enumerate() {
        let server = server.as_str().unwrap_or("");
        invalid_each(&servers_path.index(index), server, names::legacy_address(server), errors);
    }
    searches(config, &path.child("searches"), errors);
    for (index, option) in items(config, "options").iter().enumerate() {
        if text(option, "name").is_empty() {
            errors.push(Error::required(&path.child("options").index(index), "must not be empty"));
        }
    }
}

fn searches(config: &Value, path: &Path, errors: &mut Vec<Error>) {
    let list = items(config, "searches");
    if list.len() > SEARCHES_MAX {
        let why = format!("must not have more than {SEARCHES_MAX} search paths");
        errors.push(Error::invalid(path, list.to_vec(), why));
    }
    let bytes: usize = list.iter().map(|search| search.as_str().unwrap_or("").len() + 1).sum();
    if bytes > SEARCH_BYTES_MAX + 1 {
        let why = format!(
            "must not have more than {SEARCH_BYTES_MAX} characters (including spaces) in the search list"
        );
        errors.push(Error::invalid(path, list.to_vec(), why));
    }
    for (index, search) in list.iter().enumerate() {
        let search = search.as_str().unwrap_or("");
        if search != "." {
            let search = search.strip_suffix('.').unwrap_or(search);
            let problems = names::subdomain_1123_underscore(search);
            invalid_each(&path.index(index), search, problems, errors);
        }
    }
}

pub(super) fn host_aliases(spec: &Value, path: &Path, errors: &mut Vec<Error>) {
    for (index, alias) in items(spec, "hostAliases").iter().enumerate() {
        let path = path.index(index);
        let address = text(alias, "ip");
        invalid_each(&path.child("ip"), address, names::legacy_address(address), errors);
        for (index, name) in items(alias, "hostnames").iter().enumerate() {
            let name = name.as_str().unwrap_or("");
            let path = path.child("hostnames").index(index);
            invalid_each(&path, name, names::subdomain_1123(name), errors);
        }
    }
}

/// Who uses the network of the host has its ports where they are on the host.
pub(super) fn host_network_ports(whole: &Whole<'_>, path: &Path, errors: &mut Vec<Error>) {
    if whole.spec["hostNetwork"] != true {
        return;
    }
    for (at, one) in items(whole.spec, "containers").iter().enumerate() {
        for (index, port) in items(one, "ports").iter().enumerate() {
            let (host, container) = (number(port, "hostPort"), number(port, "containerPort"));
            if (whole.is_pod() || host != 0) && host != container {
                let path = path.index(at).child("ports").index(index).child("hostPort");
                let why = "must match `containerPort` when `hostNetwork` is true";
                errors.push(Error::invalid(&path, host, why));
            }
        }
    }
}

const HOST_NAME_BYTES_MAX: usize = 64;

pub(super) fn host_name_override(spec: &Value, path: &Path, errors: &mut Vec<Error>) {
    let Some(name) = spec["hostnameOverride"].as_str() else { return };
    let path = path.child("hostnameOverride");
    for field in ["setHostnameAsFQDN", "hostNetwork"] {
        if spec[field] == true {
            let why = format!("may not be specified when {field} is true");
            errors.push(Error::forbidden(&path, why));
        }
    }
    if name.len() > HOST_NAME_BYTES_MAX {
        errors.push(Error::too_long(&path, HOST_NAME_BYTES_MAX));
    }
    invalid_each(&path, name, names::subdomain_1123(name), errors);
}
