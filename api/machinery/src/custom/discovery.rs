//! Discovery documents of the groups of custom kinds.

use std::collections::{BTreeMap, HashMap};

use serde_json::{Value, json};

use super::kind::compare;
use crate::ResourceInfo;

/// A version of a custom kind that is established.
#[derive(Clone, Copy, Debug)]
pub struct Listed {
    pub info: &'static ResourceInfo,
    /// The definition is being deleted: nothing new is made.
    pub is_terminating: bool,
}

/// What can still be done with a kind that is going.
const LAST_VERBS: [&str; 5] = ["delete", "deletecollection", "get", "list", "watch"];

impl Listed {
    fn verbs(self) -> &'static [&'static str] {
        if self.is_terminating { &LAST_VERBS } else { self.info.verbs }
    }
}

/// The versions of each group, the preferred one first; groups by name.
#[must_use]
pub fn groups(listed: &[Listed]) -> BTreeMap<&'static str, Vec<&'static str>> {
    let mut groups: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for one in listed {
        let versions = groups.entry(one.info.group).or_default();
        if !versions.contains(&one.info.version) {
            versions.push(one.info.version);
        }
    }
    for versions in groups.values_mut() {
        versions.sort_by(|left, right| compare(right, left));
    }
    groups
}

/// The entry of a group in `GET /apis`.
#[must_use]
pub fn group_entry(group: &str, versions: &[&str]) -> Value {
    let entries: Vec<Value> = versions
        .iter()
        .map(|version| json!({"groupVersion": format!("{group}/{version}"), "version": version}))
        .collect();
    json!({"name": group, "versions": entries, "preferredVersion": entries.first()})
}

/// `GET /apis/GROUP`.
#[must_use]
pub fn group(listed: &[Listed], group: &str) -> Option<Value> {
    let groups = groups(listed);
    let mut entry = group_entry(group, groups.get(group)?);
    entry["kind"] = "APIGroup".into();
    entry["apiVersion"] = "v1".into();
    Some(entry)
}

fn of<'a>(listed: &'a [Listed], group: &str, version: &str) -> Vec<&'a Listed> {
    let matching = |one: &&Listed| (one.info.group, one.info.version) == (group, version);
    let mut found: Vec<&Listed> = listed.iter().filter(matching).collect();
    found.sort_by_key(|one| one.info.plural);
    found
}

/// `GET /apis/GROUP/VERSION`.
#[must_use]
pub fn resources(listed: &[Listed], group: &str, version: &str) -> Option<Value> {
    let mut resources = Vec::new();
    for one in of(listed, group, version) {
        let info = one.info;
        let mut entry = json!({
            "name": info.plural,
            "singularName": info.singular,
            "namespaced": info.namespaced,
            "kind": info.kind,
            "verbs": one.verbs(),
        });
        add_names(&mut entry, info);
        resources.push(entry);
        for sub in info.subresources {
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
            resources.push(entry);
        }
    }
    if resources.is_empty() {
        return None;
    }
    Some(json!({
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": format!("{group}/{version}"),
        "resources": resources,
    }))
}

fn add_names(entry: &mut Value, info: &ResourceInfo) {
    if !info.short_names.is_empty() {
        entry["shortNames"] = json!(info.short_names);
    }
    if !info.categories.is_empty() {
        entry["categories"] = json!(info.categories);
    }
}

/// The entries of the groups in aggregated discovery.
#[must_use]
pub fn aggregated(listed: &[Listed]) -> Vec<Value> {
    let mut of_version: HashMap<(&str, &str), Vec<&Listed>> = HashMap::new();
    for one in listed {
        of_version.entry((one.info.group, one.info.version)).or_default().push(one);
    }
    of_version.values_mut().for_each(|found| found.sort_by_key(|one| one.info.plural));
    let entry = |(group, versions): (&str, Vec<&str>)| {
        let versions: Vec<Value> = versions
            .into_iter()
            .map(|version| {
                let found = of_version.get(&(group, version)).into_iter().flatten();
                let resources: Vec<Value> = found.map(|one| aggregated_resource(one)).collect();
                json!({"version": version, "freshness": "Current", "resources": resources})
            })
            .collect();
        json!({"metadata": {"name": group}, "versions": versions})
    };
    groups(listed).into_iter().map(entry).collect()
}

fn aggregated_resource(one: &Listed) -> Value {
    let info = one.info;
    let kind = |group: &str, version: &str, kind: &str| json!({"group": group, "version": version, "kind": kind});
    let mut entry = json!({
        "resource": info.plural,
        "responseKind": kind(info.group, info.version, info.kind),
        "scope": if info.namespaced { "Namespaced" } else { "Cluster" },
        "singularResource": info.singular,
        "verbs": one.verbs(),
    });
    add_names(&mut entry, info);
    let subresources: Vec<Value> = info
        .subresources
        .iter()
        .map(|sub| {
            json!({
                "subresource": sub.name,
                "responseKind": kind(sub.group, sub.version, sub.kind),
                "verbs": sub.verbs,
            })
        })
        .collect();
    if !subresources.is_empty() {
        entry["subresources"] = subresources.into();
    }
    entry
}
