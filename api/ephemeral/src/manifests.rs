//! Objects that are there from the start: read from files, and applied before the server is ready.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams};
use kube::discovery::{self, Scope};
use kube::{Client, ResourceExt as _};
use serde_json::Value;
use tokio::time::Instant;

use crate::limits::{ESTABLISHED_MAX, LOOK, MANIFEST_BYTES_MAX, MANIFEST_FILES_MAX};

const MANAGER: &str = "orlop-ephemeral";

/// Reads every document of the files, those of folders in the order of their names.
pub(crate) fn read(paths: &[PathBuf]) -> anyhow::Result<Vec<DynamicObject>> {
    let mut objects = Vec::new();
    for path in files(paths)? {
        let say = || format!("cannot read {}", path.display());
        let length = fs::metadata(&path).with_context(say)?.len();
        ensure!(length <= MANIFEST_BYTES_MAX, "{} is too long", path.display());
        let text = fs::read_to_string(&path).with_context(say)?;
        objects.extend(parse(&text).with_context(|| path.display().to_string())?);
    }
    Ok(objects)
}

fn files(paths: &[PathBuf]) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for path in paths {
        if !path.is_dir() {
            found.push(path.clone());
            continue;
        }
        let say = || format!("cannot list {}", path.display());
        let mut inside = Vec::new();
        for entry in fs::read_dir(path).with_context(say)? {
            let path = entry.with_context(say)?.path();
            if is_manifest(&path) {
                inside.push(path);
            }
        }
        inside.sort();
        found.extend(inside);
        ensure!(found.len() <= MANIFEST_FILES_MAX, "{} has too many files", path.display());
    }
    Ok(found)
}

fn is_manifest(path: &Path) -> bool {
    let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
    path.is_file() && matches!(ending, "yaml" | "yml" | "json")
}

/// Every document of a text; the items of a List one by one.
fn parse(text: &str) -> anyhow::Result<Vec<DynamicObject>> {
    let mut objects = Vec::new();
    let documents: Vec<Value> = serde_saphyr::from_multiple(text).context("this is not YAML")?;
    for document in documents {
        if document.is_null() {
            continue;
        }
        let is_list = document["kind"].as_str().is_some_and(|kind| kind.ends_with("List"));
        let items = match (&document["items"], is_list) {
            (Value::Array(items), true) => items.clone(),
            _ => vec![document],
        };
        for item in items {
            objects.push(serde_json::from_value(item).context("this is not an object")?);
        }
    }
    Ok(objects)
}

/// Definitions first and namespaces next: what follows may need both.
fn rank(object: &DynamicObject) -> u8 {
    match object.types.as_ref().map(|types| types.kind.as_str()) {
        Some("CustomResourceDefinition") => 0,
        Some("Namespace") => 1,
        _ => 2,
    }
}

/// Applies them, and waits until the kinds that they define are served. H3
pub(crate) async fn install(
    client: &Client,
    mut objects: Vec<DynamicObject>,
) -> anyhow::Result<()> {
    objects.sort_by_key(rank);
    let mut kinds = HashMap::new();
    for object in objects {
        let kind = kind_of(client, &mut kinds, &object).await?;
        let name = object.name_any();
        ensure!(!name.is_empty(), "an object of kind {} has no name", kind.0.kind);
        let api: Api<DynamicObject> = match (&kind.1, object.namespace()) {
            (Scope::Cluster, _) => Api::all_with(client.clone(), &kind.0),
            (Scope::Namespaced, Some(namespace)) => {
                Api::namespaced_with(client.clone(), &namespace, &kind.0)
            }
            (Scope::Namespaced, None) => Api::default_namespaced_with(client.clone(), &kind.0),
        };
        let how = PatchParams::apply(MANAGER).force();
        let applied = api.patch(&name, &how, &Patch::Apply(&object)).await;
        applied.with_context(|| format!("{} {name}", kind.0.kind))?;
        if rank(&object) == 0 {
            established(&api, &name).await?;
        }
    }
    Ok(())
}

async fn kind_of(
    client: &Client,
    known: &mut HashMap<GroupVersionKind, (ApiResource, Scope)>,
    object: &DynamicObject,
) -> anyhow::Result<(ApiResource, Scope)> {
    let Some(types) = &object.types else { bail!("an object has no apiVersion and kind") };
    let wanted = GroupVersionKind::try_from(types).context("an apiVersion cannot be read")?;
    if let Some(kind) = known.get(&wanted) {
        return Ok(kind.clone());
    }
    let end = Instant::now() + ESTABLISHED_MAX;
    loop {
        match discovery::pinned_kind(client, &wanted).await {
            Ok((resource, capabilities)) => {
                let kind = (resource, capabilities.scope);
                known.insert(wanted, kind.clone());
                return Ok(kind);
            }
            // A kind that was defined just now may be served a moment later.
            Err(_) if is_custom(&wanted) && Instant::now() < end => tokio::time::sleep(LOOK).await,
            Err(error) => {
                let GroupVersionKind { group, version, kind } = &wanted;
                bail!("kind {kind} of {group}/{version} is not served: {error}");
            }
        }
    }
}

/// Kinds of domains of their own; those of Kubernetes are there from the start.
fn is_custom(kind: &GroupVersionKind) -> bool {
    kind.group.contains('.') && !kind.group.ends_with(".k8s.io")
}

async fn established(api: &Api<DynamicObject>, name: &str) -> anyhow::Result<()> {
    let end = Instant::now() + ESTABLISHED_MAX;
    loop {
        let definition = api.get(name).await?;
        let conditions = definition.data["status"]["conditions"].as_array();
        let holds = |kind: &str, status: &str| {
            let same = |one: &Value| one["type"] == kind && one["status"] == status;
            conditions.into_iter().flatten().find(|one| same(one)).cloned()
        };
        if holds("Established", "True").is_some() {
            return Ok(());
        }
        if let Some(refused) = holds("NamesAccepted", "False") {
            bail!("definition {name} is not accepted: {}", refused["message"]);
        }
        ensure!(Instant::now() < end, "definition {name} is not served in time");
        tokio::time::sleep(LOOK).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_read_one_by_one_and_lists_taken_apart() {
        let text = "apiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n---\n---\n\
                    apiVersion: v1\nkind: List\nitems:\n\
                    - {apiVersion: v1, kind: ConfigMap, metadata: {name: b}}\n\
                    - {apiVersion: v1, kind: ConfigMap, metadata: {name: c}}\n";
        let names: Vec<String> = parse(text).unwrap().iter().map(|one| one.name_any()).collect();
        assert_eq!(names, ["a", "b", "c"]);
        assert!(parse("just text").is_err());
    }
}
