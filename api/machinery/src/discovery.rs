//! Discovery documents, built from the kinds table.

use serde_json::{Value, json};

use crate::kinds::{self, ResourceInfo};

/// Group-versions besides the core one, in the order that clients should prefer them.
#[must_use]
pub fn groups() -> Vec<(&'static str, &'static str)> {
    let mut out = Vec::new();
    for info in kinds::all() {
        if !info.group.is_empty() && !out.contains(&(info.group, info.version)) {
            out.push((info.group, info.version));
        }
    }
    out
}

fn of<'a>(
    group: &'a str,
    version: &'a str,
) -> impl Iterator<Item = &'static ResourceInfo> + use<'a> {
    kinds::all().iter().filter(move |info| info.group == group && info.version == version)
}

fn group_version(group: &str, version: &str) -> String {
    if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") }
}

/// `GET /api`. `address` is the server's own `host:port`.
#[must_use]
pub fn api_versions(address: &str) -> Value {
    json!({
        "kind": "APIVersions",
        "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}],
    })
}

/// The groups besides the core one, each with its versions, the preferred one first.
fn groups_with_versions() -> Vec<(&'static str, Vec<&'static str>)> {
    let mut out: Vec<(&str, Vec<&str>)> = Vec::new();
    for (group, version) in groups() {
        match out.iter_mut().find(|(known, _)| *known == group) {
            Some((_, versions)) => versions.push(version),
            None => out.push((group, vec![version])),
        }
    }
    out
}

fn api_group_body(group: &str, versions: &[&str]) -> Value {
    let entries: Vec<Value> = versions
        .iter()
        .map(|version| json!({"groupVersion": group_version(group, version), "version": version}))
        .collect();
    json!({"name": group, "preferredVersion": entries[0], "versions": entries})
}

/// `GET /apis`.
#[must_use]
pub fn api_group_list() -> Value {
    let bodies: Vec<Value> = groups_with_versions()
        .into_iter()
        .map(|(group, versions)| api_group_body(group, &versions))
        .collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": bodies})
}

/// Whether something of a group is served.
#[must_use]
pub fn has_group(group: &str) -> bool {
    kinds::all().iter().any(|info| info.group == group)
}

/// `GET /apis/GROUP`; `None` when nothing of the group is served.
#[must_use]
pub fn api_group(group: &str) -> Option<Value> {
    let (group, versions) = groups_with_versions().into_iter().find(|(name, _)| *name == group)?;
    let mut body = api_group_body(group, &versions);
    body["kind"] = "APIGroup".into();
    body["apiVersion"] = "v1".into();
    Some(body)
}

/// `GET /api/v1`, `GET /apis/GROUP/VERSION`; `None` when it is not served.
#[must_use]
pub fn api_resource_list(group: &str, version: &str) -> Option<Value> {
    let mut resources: Vec<Value> = Vec::new();
    for info in of(group, version) {
        resources.push(resource(info));
        resources.extend(info.subresources.iter().map(|sub| {
            let mut entry = json!({
                "name": format!("{}/{}", info.plural, sub.name),
                "singularName": "",
                "namespaced": info.namespaced,
                "kind": sub.kind,
                "verbs": sub.verbs,
            });
            if (sub.group, sub.version) != (group, version) {
                entry["group"] = sub.group.into();
                entry["version"] = sub.version.into();
            }
            entry
        }));
    }
    if resources.is_empty() {
        return None;
    }
    resources.sort_by(|a, b| a["name"].as_str().cmp(&b["name"].as_str()));
    let mut list = json!({
        "kind": "APIResourceList",
        "groupVersion": group_version(group, version),
        "resources": resources,
    });
    // Upstream's oldest list does not say it.
    if !group.is_empty() {
        list["apiVersion"] = "v1".into();
    }
    Some(list)
}

fn resource(info: &ResourceInfo) -> Value {
    let mut entry = json!({
        "name": info.plural,
        "singularName": info.singular,
        "namespaced": info.namespaced,
        "kind": info.kind,
        "verbs": info.verbs,
    });
    if !info.short_names.is_empty() {
        entry["shortNames"] = json!(info.short_names);
    }
    if !info.categories.is_empty() {
        entry["categories"] = json!(info.categories);
    }
    entry
}

/// The kind of a body; upstream names its group and version only where they are not the resource's.
fn kind_of(body: [&str; 3], own: [&str; 2]) -> Value {
    let [group, version, kind] = body;
    let [group, version] = if [group, version] == own { ["", ""] } else { [group, version] };
    json!({"group": group, "version": version, "kind": kind})
}

fn aggregated_version(group: &str, version: &str) -> Value {
    let mut resources: Vec<Value> = of(group, version)
        .map(|info| {
            let mut entry = json!({
                "resource": info.plural,
                "responseKind": {"group": "", "version": "", "kind": info.kind},
                "scope": if info.namespaced { "Namespaced" } else { "Cluster" },
                "singularResource": info.singular,
                "verbs": info.verbs,
            });
            if !info.short_names.is_empty() {
                entry["shortNames"] = json!(info.short_names);
            }
            if !info.categories.is_empty() {
                entry["categories"] = json!(info.categories);
            }
            let subresources: Vec<Value> = info
                .subresources
                .iter()
                .map(|sub| {
                    json!({
                        "subresource": sub.name,
                        "responseKind":
                            kind_of([sub.group, sub.version, sub.kind], [group, version]),
                        "verbs": sub.verbs,
                    })
                })
                .collect();
            if !subresources.is_empty() {
                entry["subresources"] = subresources.into();
            }
            entry
        })
        .collect();
    resources.sort_by(|a, b| a["resource"].as_str().cmp(&b["resource"].as_str()));
    json!({"version": version, "freshness": "Current", "resources": resources})
}

fn group_discovery(items: Vec<Value>) -> Value {
    json!({
        "kind": "APIGroupDiscoveryList",
        "apiVersion": "apidiscovery.k8s.io/v2",
        "metadata": {},
        "items": items,
    })
}

/// `GET /api` in aggregated form (v2).
#[must_use]
pub fn aggregated_core() -> Value {
    group_discovery(vec![json!({"metadata": {}, "versions": [aggregated_version("", "v1")]})])
}

/// `GET /apis` in aggregated form (v2).
#[must_use]
pub fn aggregated_groups() -> Value {
    let items = groups_with_versions()
        .into_iter()
        .map(|(group, versions)| {
            let versions: Vec<Value> =
                versions.iter().map(|version| aggregated_version(group, version)).collect();
            json!({"metadata": {"name": group}, "versions": versions})
        })
        .collect();
    group_discovery(items)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn discovery_documents_have_the_wire_shape() {
        insta::assert_json_snapshot!("apis", api_group_list());
        insta::assert_json_snapshot!("apps_v1", api_resource_list("apps", "v1").unwrap());
        insta::assert_json_snapshot!("aggregated", aggregated_groups());
        assert!(api_resource_list("apps", "v9").is_none());
        assert!(api_group("nope").is_none());
    }
}
