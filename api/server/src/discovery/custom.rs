//! Discovery documents with the groups of custom kinds behind the built-in ones.

use api_machinery::custom::discovery as of_custom;
use api_machinery::discovery;
use serde_json::Value;

use crate::state::Server;

fn extend(document: &mut Value, list: &str, more: Vec<Value>) {
    if let Some(entries) = document[list].as_array_mut() {
        entries.extend(more);
    }
}

/// `GET /apis` in aggregated form.
pub(super) fn aggregated(server: &Server) -> Value {
    let mut document = discovery::aggregated_groups();
    extend(&mut document, "items", of_custom::aggregated(&server.custom.listed()));
    document
}

/// `GET /apis`.
pub(super) fn groups(server: &Server) -> Value {
    let mut document = discovery::api_group_list();
    let groups = of_custom::groups(&server.custom.listed());
    let entries = groups.iter().map(|(group, versions)| of_custom::group_entry(group, versions));
    extend(&mut document, "groups", entries.collect());
    document
}

/// `GET /apis/GROUP`.
pub(super) fn group(server: &Server, group: &str) -> Option<Value> {
    discovery::api_group(group).or_else(|| of_custom::group(&server.custom.listed(), group))
}

/// `GET /apis/GROUP/VERSION`.
pub(super) fn resources(server: &Server, group: &str, version: &str) -> Option<Value> {
    let built_in = discovery::api_resource_list(group, version);
    built_in.or_else(|| of_custom::resources(&server.custom.listed(), group, version))
}

/// What the list of paths says of custom groups.
pub(super) fn paths(server: &Server) -> Vec<String> {
    let mut paths = Vec::new();
    for (group, versions) in of_custom::groups(&server.custom.listed()) {
        paths.push(format!("/apis/{group}"));
        paths.extend(versions.iter().map(|version| format!("/apis/{group}/{version}")));
    }
    paths
}
