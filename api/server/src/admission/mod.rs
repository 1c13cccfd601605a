//! What the cluster has to say about a write: change first, then check, in this order.
//!
//! So far: NamespaceLifecycle, ServiceAccount (the name; no token volume yet), Priority,
//! DefaultTolerationSeconds, StorageObjectInUseProtection.

mod namespace_lifecycle;
mod pods;
mod storage_protection;

use api_machinery::{Object, ResourceInfo, Status};

use crate::state::Server;

pub(crate) use namespace_lifecycle::delete;

/// Changes and checks a new object.
pub(crate) async fn create(
    server: &Server,
    info: &'static ResourceInfo,
    object: &mut Object,
) -> Result<(), Status> {
    namespace_lifecycle::create(server, info, object).await?;
    if info.kind == "Pod" {
        pods::service_account(server, info, object).await?;
        pods::priority(info, object)?;
        pods::tolerations(object);
    }
    storage_protection::create(info, object);
    Ok(())
}
