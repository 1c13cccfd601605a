//! Nothing is created in a namespace that is not there or is going; some namespaces stay.

use api_machinery::{Object, ResourceInfo, Status, kinds};

use crate::state::Server;

const IMMORTAL: [&str; 3] = ["default", "kube-system", "kube-public"];

pub(super) async fn create(
    server: &Server,
    info: &'static ResourceInfo,
    object: &Object,
) -> Result<(), Status> {
    if !info.namespaced {
        return Ok(());
    }
    let namespaces = kinds::find("", "v1", "namespaces").ok_or_else(Status::no_such_path)?;
    let name = object.namespace();
    let key = server.storage.key(namespaces, "", name);
    // The cache first; what it does not know may be new.
    let namespace = match server.caches.of(namespaces).get(&key) {
        Some(version) => Some(version.object()?),
        None => server.storage.get(namespaces, "", name).await?.map(|found| found.object),
    };
    let Some(namespace) = namespace else {
        return Err(Status::not_found(&namespaces.group_resource(), name));
    };
    let is_going = namespace.deletion_timestamp().is_some()
        || namespace.text(&["status", "phase"]) == "Terminating";
    if !is_going {
        return Ok(());
    }
    let why =
        format!("unable to create new content in namespace {name} because it is being terminated");
    let status = Status::forbidden(&info.group_resource(), object.name(), &why);
    let cause = format!("namespace {name} is being terminated");
    Err(status.with_cause("NamespaceTerminating", &cause, "metadata.namespace"))
}

/// Checks a deletion.
pub(super) fn delete(info: &ResourceInfo, name: &str) -> Result<(), Status> {
    if info.kind == "Namespace" && IMMORTAL.contains(&name) {
        let why = "this namespace may not be deleted";
        return Err(Status::forbidden(&info.group_resource(), name, why));
    }
    Ok(())
}
