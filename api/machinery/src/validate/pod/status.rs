//! What a kubelet or a scheduler may write into the status of a pod.

use std::collections::{HashMap, HashSet};

use std::net::IpAddr;

use serde_json::{Value, json};

use super::update::annotation_changes;
use super::{container_resources, given, invalid_each, items, names, number, text};
use crate::Object;
use crate::field::{Error, Path};
use crate::validate::core::unchanged;

const STATUS_LISTS: [&str; 3] =
    ["containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses"];

pub(in crate::validate) fn status_update(new: &Object, old: &Object, errors: &mut Vec<Error>) {
    annotation_changes(new, old, errors);
    let [now, before] = [new, old].map(|pod| pod.at(&["status"]).unwrap_or(&Value::Null));
    let [spec, old_spec] = [new, old].map(|pod| pod.at(&["spec"]).unwrap_or(&Value::Null));
    let path = Path::new("status");
    conditions(now, &path.child("conditions"), errors);
    if text(spec, "nodeName") != text(old_spec, "nodeName") {
        errors.push(Error::forbidden(&path.child("nodeName"), "may not be changed directly"));
    }
    nomination(now, before, old_spec, errors);
    observed_generation(now, &path, errors);
    if text(now, "qosClass") != text(before, "qosClass") {
        unchanged(new, old, &["status", "qosClass"], errors);
    }
    for (list, of_spec) in STATUS_LISTS.iter().zip(["containers", "initContainers", ""]) {
        let lists = (items(now, list), items(before, list));
        transitions(lists, old_spec, of_spec, &path.child(list), errors);
    }
    claim_statuses(now, spec, &path.child("resourceClaimStatuses"), errors);
    extended_claim(now, spec, &path.child("extendedResourceClaimStatus"), errors);
    addresses(now, before, "podIPs", errors);
    if let Some(first) = items(now, "hostIPs").first() {
        if text(first, "ip") != text(now, "hostIP") {
            let path = path.child("hostIPs").index(0).child("ip");
            errors.push(Error::invalid(&path, text(first, "ip"), "must be equal to `hostIP`"));
        }
        addresses(now, before, "hostIPs", errors);
    }
    for list in STATUS_LISTS {
        users(items(now, list), spec, &path.child(list), errors);
    }
    for (list, of_spec) in STATUS_LISTS.iter().zip(["containers", "initContainers"]) {
        allocated(items(now, list), items(spec, of_spec), &path.child(list), errors);
    }
    for (index, one) in items(now, STATUS_LISTS[2]).iter().enumerate() {
        if !items(one, "allocatedResourcesStatus").is_empty() {
            let path = path.child(STATUS_LISTS[2]).index(index).child("allocatedResourcesStatus");
            errors.push(Error::forbidden(&path, "must not be specified in container status"));
        }
    }
}

fn observed_generation(value: &Value, path: &Path, errors: &mut Vec<Error>) {
    let seen = number(value, "observedGeneration");
    if seen < 0 {
        let why = "must be a non-negative integer";
        errors.push(Error::invalid(&path.child("observedGeneration"), seen, why));
    }
}

fn conditions(status: &Value, path: &Path, errors: &mut Vec<Error>) {
    for (index, one) in items(status, "conditions").iter().enumerate() {
        let path = path.index(index);
        observed_generation(one, &path, errors);
        let kind = text(one, "type");
        invalid_each(&path.child("Type"), kind, names::qualified_name(kind), errors);
    }
}

fn nomination(now: &Value, before: &Value, old_spec: &Value, errors: &mut Vec<Error>) {
    let field = "nominatedNodeName";
    let node = text(now, field);
    if node.is_empty() || node == text(before, field) {
        return;
    }
    let path = Path::new("status").child(field);
    invalid_each(&path, node, names::subdomain_1123(node), errors);
    if !text(old_spec, "nodeName").is_empty() {
        let why = "may not be set on pods that are already bound to a node";
        errors.push(Error::forbidden(&path, why));
    }
}

/// A container that ended stays so, unless it is one that is started again.
fn transitions(
    (new, old): (&[Value], &[Value]),
    spec: &Value,
    list: &str,
    path: &Path,
    errors: &mut Vec<Error>,
) {
    let restarts_all = ["initContainers", "containers"]
        .iter()
        .flat_map(|list| items(spec, list))
        .flat_map(|one| items(one, "restartPolicyRules"))
        .any(|rule| rule["action"] == "RestartAllContainers");
    if restarts_all && !list.is_empty() {
        return;
    }
    let containers = by_name(items(spec, list));
    let again: HashSet<&str> = new
        .iter()
        .filter(|is| given(&is["state"], "terminated").is_none())
        .map(|is| text(is, "name"))
        .collect();
    for (index, was) in old.iter().enumerate() {
        let Some(ended) = given(&was["state"], "terminated") else { continue };
        let name = text(was, "name");
        if !again.contains(name) {
            continue;
        }
        let exit_code = number(ended, "exitCode");
        let container = containers.get(name);
        if !container.is_some_and(|one| is_restarted(one, spec, exit_code)) {
            let why = "may not be transitioned to non-terminated state";
            errors.push(Error::forbidden(&path.index(index).child("state"), why));
        }
    }
}

fn is_restarted(container: &Value, spec: &Value, exit_code: i64) -> bool {
    let by_policy = |policy: &str| match policy {
        "OnFailure" => exit_code != 0,
        "Never" => false,
        _ => true,
    };
    let Some(policy) = container["restartPolicy"].as_str() else {
        return by_policy(text(spec, "restartPolicy"));
    };
    let matching = items(container, "restartPolicyRules").iter().find(|rule| {
        let codes = &rule["exitCodes"];
        let is_listed = items(codes, "values").iter().any(|code| code.as_i64() == Some(exit_code));
        match text(codes, "operator") {
            "In" => is_listed,
            "NotIn" => !is_listed,
            _ => false,
        }
    });
    if matching.is_some_and(|rule| rule["action"] == "Restart") {
        return true;
    }
    by_policy(policy)
}

fn claim_statuses(status: &Value, spec: &Value, path: &Path, errors: &mut Vec<Error>) {
    let known: HashSet<_> = container_resources::claim_names(spec).into_iter().collect();
    let mut seen = HashSet::new();
    for (index, one) in items(status, "resourceClaimStatuses").iter().enumerate() {
        let path = path.index(index);
        let name = text(one, "name");
        if !known.contains(&name) {
            let why = "must match the name of an entry in `spec.resourceClaims`";
            errors.push(Error::invalid(&path.child("name"), name, why));
        }
        if seen.contains(&name) {
            errors.push(Error::duplicate(&path.child("name"), name));
        }
        seen.insert(name);
        if let Some(claim) = one["resourceClaimName"].as_str() {
            let path = path.child("resourceClaimName");
            invalid_each(&path, claim, names::subdomain_1123(claim), errors);
        }
    }
}

fn extended_claim(status: &Value, spec: &Value, path: &Path, errors: &mut Vec<Error>) {
    let Some(claim) = given(status, "extendedResourceClaimStatus") else { return };
    let mappings = items(claim, "requestMappings");
    let list_path = path.child("requestMappings");
    if mappings.is_empty() {
        errors.push(Error::required(&list_path, "at least one request mapping is required"));
    }
    let mut seen = HashSet::new();
    for (index, mapping) in mappings.iter().enumerate() {
        let own_path = list_path.index(index);
        let key = ["containerName", "resourceName", "requestName"].map(|key| text(mapping, key));
        let [container, resource, request] = key;
        let mut all = ["containers", "initContainers"].into_iter().flat_map(|l| items(spec, l));
        match all.find(|one| text(one, "name") == container) {
            Some(one) if given(&one["resources"]["requests"], resource).is_none() => {
                let why = "must match the extended resource name of an entry in spec.initContainers.resources.requests or spec.containers.resources.requests";
                errors.push(Error::invalid(&own_path.child("resourceName"), resource, why));
            }
            Some(_) => {}
            None => {
                let why = "must match the name of an entry in spec.initContainers.name or spec.containers.name";
                errors.push(Error::invalid(&own_path.child("containerName"), container, why));
            }
        }
        invalid_each(&path.child("requestName"), request, names::label_1123(request), errors);
        if seen.contains(&key) {
            for (field, value) in
                ["containerName", "resourceName", "requestName"].into_iter().zip(key)
            {
                errors.push(Error::duplicate(&own_path.child(field), value));
            }
        }
        seen.insert(key);
    }
    let name = text(claim, "resourceClaimName");
    let name_path = path.child("resourceClaimName");
    if name.is_empty() {
        errors.push(Error::required(&name_path, ""));
    } else {
        invalid_each(&name_path, name, names::subdomain_1123(name), errors);
    }
}

/// At most one address of each family.
fn addresses(now: &Value, before: &Value, list: &str, errors: &mut Vec<Error>) {
    let path = Path::new("status").child(list);
    let texts = |status: &Value| -> Vec<String> {
        items(status, list).iter().map(|one| text(one, "ip").to_owned()).collect()
    };
    let (all, known) = (texts(now), texts(before).into_iter().collect::<HashSet<_>>());
    for (index, address) in all.iter().enumerate().filter(|(_, one)| !known.contains(*one)) {
        let problems = names::legacy_address(address);
        invalid_each(&path.index(index), address, problems, errors);
    }
    if all.len() < 2 {
        return;
    }
    let parsed: Vec<IpAddr> = all.iter().filter_map(|one| one.parse().ok()).collect();
    let has_both = parsed.iter().any(IpAddr::is_ipv4) && parsed.iter().any(IpAddr::is_ipv6);
    if !has_both || all.len() > 2 || parsed.len() < all.len() {
        let why = "may specify no more than one IP for each IP family";
        let shown: Vec<_> = all.iter().map(|one| json!({"IP": one})).collect();
        errors.push(Error::invalid(&path, shown, why));
    }
}

fn users(list: &[Value], spec: &Value, path: &Path, errors: &mut Vec<Error>) {
    let os = given(spec, "os").map_or("linux", |os| text(os, "name"));
    for (index, one) in list.iter().enumerate() {
        let Some(user) = given(&one["user"], "linux") else { continue };
        let path = path.index(index).child("user").child("linux");
        if os == "windows" {
            errors.push(Error::forbidden(&path, "cannot be set for a windows pod"));
            continue;
        }
        for field in ["uid", "gid"] {
            let id = number(user, field);
            if !names::is_identity(id) {
                errors.push(Error::invalid(&path.child(field), id, names::IDENTITY));
            }
        }
        for (index, group) in items(user, "supplementalGroups").iter().enumerate() {
            if let Some(group) = group.as_i64().filter(|group| !names::is_identity(*group)) {
                let path = path.child("supplementalGroups").index(index);
                errors.push(Error::invalid(&path, group, names::IDENTITY));
            }
        }
    }
}

/// The first container of each name.
fn by_name(containers: &[Value]) -> HashMap<&str, &Value> {
    containers.iter().rev().map(|one| (text(one, "name"), one)).collect()
}

/// The health of what a container was given, which is of what it asked for.
fn allocated(list: &[Value], containers: &[Value], path: &Path, errors: &mut Vec<Error>) {
    let by_name = by_name(containers);
    for (index, one) in list.iter().enumerate() {
        let path = path.index(index).child("allocatedResourcesStatus");
        let container = by_name.get(text(one, "name")).copied();
        for (index, status) in items(one, "allocatedResourcesStatus").iter().enumerate() {
            let path = path.index(index);
            let name = text(status, "name");
            if let Some(why) = container.and_then(|one| unknown_resource(one, name)) {
                errors.push(Error::invalid(&path.child("name"), name, why));
            }
            health(items(status, "resources"), &path.child("resources"), errors);
        }
    }
}

/// Why a container cannot have been given a resource of this name.
fn unknown_resource(container: &Value, name: &str) -> Option<&'static str> {
    if let Some(wanted) = name.strip_prefix("claim:") {
        let is_known = items(&container["resources"], "claims").iter().any(|claim| {
            match text(claim, "request") {
                "" => text(claim, "name") == wanted,
                request => format!("{}/{request}", text(claim, "name")) == wanted,
            }
        });
        return (!is_known).then_some("must match one of the container's resource claims in a format 'claim:<claimName>/<request>' or 'claim:<claimName>' if request is empty");
    }
    let is_known = given(&container["resources"]["requests"], name).is_some();
    (!is_known).then_some("must match one of the container's resource requests")
}

const HEALTH_MESSAGE_BYTES_MAX: usize = 1024;

fn health(list: &[Value], path: &Path, errors: &mut Vec<Error>) {
    let mut seen = HashSet::new();
    for (index, one) in list.iter().enumerate() {
        let path = path.index(index);
        let states = ["Healthy", "Unhealthy", "Unknown"];
        super::restart::supported(&path.child("health"), text(one, "health"), &states, errors);
        if let Some(message) = one["message"].as_str() {
            let path = path.child("message");
            if message.is_empty() {
                errors.push(Error::required(&path, "must be non-empty if specified"));
            } else if message.len() > HEALTH_MESSAGE_BYTES_MAX {
                errors.push(Error::too_long(&path, HEALTH_MESSAGE_BYTES_MAX));
            }
        }
        let id = text(one, "resourceID");
        if seen.contains(&id) {
            errors.push(Error::duplicate(&path.child("resourceID"), id));
        }
        seen.insert(id);
    }
}
