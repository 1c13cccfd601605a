//! Discovery documents with the groups of custom kinds behind the built-in ones.

use api_machinery::custom::discovery as of_custom;
use api_machinery::{ResourceInfo, discovery, kinds};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

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
    let built_in = discovery::api_resource_list(group, version).map(|mut document| {
        for entry in document["resources"].as_array_mut().into_iter().flatten() {
            let plural = entry["name"].as_str().unwrap_or_default();
            let info = kinds::find(group, version, plural).filter(|info| info.is_stored());
            if let Some(kept) = info.map(ResourceInfo::kept) {
                let stored_as = format!("{}/{}", kept.group, kept.version);
                entry["storageVersionHash"] = hash(&stored_as, kept.kind).into();
            }
        }
        document
    });
    built_in.or_else(|| {
        let listed = server.custom.listed();
        let mut document = of_custom::resources(&listed, group, version)?;
        for entry in document["resources"].as_array_mut().into_iter().flatten() {
            let of_entry = |info: &&ResourceInfo| {
                (info.group, info.version) == (group, version) && entry["name"] == info.plural
            };
            if let Some(info) = listed.iter().map(|one| one.info).find(of_entry) {
                entry["storageVersionHash"] = storage_hash(info).into();
            }
        }
        Some(document)
    })
}

/// What tells clients that objects are stored in another version now.
fn storage_hash(info: &ResourceInfo) -> String {
    hash(info.stored_as, info.kind)
}

fn hash(stored_as: &str, kind: &str) -> String {
    let digest = Sha256::digest(format!("{stored_as}/{kind}"));
    STANDARD.encode(&digest[..8])
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

#[cfg(test)]
mod tests {
    use api_machinery::kinds::interned::{CustomRow, intern};

    use super::*;

    #[test]
    fn the_hash_of_the_storage_version_is_upstreams() {
        let row = CustomRow {
            group: "crdtest.example.com".to_owned(),
            version: "v1beta1".to_owned(),
            storage_version: "v1".to_owned(),
            kind: "Widget".to_owned(),
            plural: "widgets".to_owned(),
            ..CustomRow::default()
        };
        assert_eq!(storage_hash(intern(&row).unwrap()), "+BqCEKPEaFA=");
    }

    #[test]
    fn hashes_of_what_is_stored_are_upstreams() {
        for (stored_as, kind, wanted) in [
            ("/v1", "Pod", "xPOwRZ+Yhw8="),
            ("/v1", "ConfigMap", "qFsyl6wFWjQ="),
            ("/v1", "Event", "r2yiGXH7wu8="),
        ] {
            assert_eq!(hash(stored_as, kind), wanted);
        }
    }
}
