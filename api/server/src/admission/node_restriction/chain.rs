//! The plugin in the chain: what it has to know it reads from the caches.

use api_machinery::rbac::Action;
use api_machinery::{Object, Status};

use super::{Knowledge, Write, check};
use crate::admission::{Attributes, lookup};
use crate::authz;

/// Checks a write; there is no object when it is a deletion.
pub(crate) async fn admit(asked: &Attributes<'_>, object: Option<&Object>) -> Result<(), Status> {
    let server = asked.server;
    let is_on = server.config.admission.node_restriction;
    if !is_on || authz::node_identity(asked.user).is_none() {
        return Ok(());
    }
    let Err(refused) = checked(asked, object) else { return Ok(()) };
    // Another server may have told the node what these caches do not know yet.
    match server.caches.wait_until_fresh(&server.storage).await {
        Ok(()) => checked(asked, object),
        Err(_) => Err(refused),
    }
}

fn checked(asked: &Attributes<'_>, object: Option<&Object>) -> Result<(), Status> {
    let write = Write {
        user: asked.user,
        operation: asked.operation,
        kind: asked.kind,
        subresource: asked.subresource,
        namespace: asked.namespace,
        name: asked.name,
        new: object,
        old: asked.old,
    };
    let find = |plural: &str, namespace: &str, name: &str| {
        let group = if plural == "csidrivers" { "storage.k8s.io" } else { "" };
        lookup::cached(asked.server, (group, plural), (namespace, name)).ok().flatten()
    };
    let may = |action: &Action<'_>| authz::authorize(asked.server, asked.user, action).allowed;
    check(&write, &Knowledge { find: &find, may: &may })
}
