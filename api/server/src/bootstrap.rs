//! What must be there from the start: the system namespaces and Service `kubernetes`.
//!
//! Every server of a cluster does this; what another one has made already is fine.

use std::sync::Arc;
use std::time::Duration;

use api_machinery::{Object, Status, kinds};
use serde_json::{Value, json};

use crate::registry;
use crate::state::Server;

const NAMESPACES: [&str; 4] = ["default", "kube-system", "kube-public", "kube-node-lease"];
const BACKOFF_MIN: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(10);

/// Tries until it is done or the server stops.
pub(crate) async fn run(server: Arc<Server>) {
    let mut backoff = BACKOFF_MIN;
    loop {
        match all(&server).await {
            Ok(()) => return,
            // A store that starts along with us has no leader yet, most often.
            Err(error) if backoff == BACKOFF_MIN => {
                tracing::debug!(%error, "bootstrap is not done yet, will try again");
            }
            Err(error) => tracing::warn!(%error, "bootstrap is not done yet, will try again"),
        }
        tokio::select! {
            () = server.shutdown.cancelled() => return,
            () = tokio::time::sleep(backoff) => backoff = (backoff * 2).min(BACKOFF_MAX),
        }
    }
}

async fn all(server: &Server) -> Result<(), Status> {
    for name in NAMESPACES {
        let tree = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        ensure(server, "namespaces", ("", name), tree).await?;
    }
    let port = server.address.rsplit(':').next().and_then(|port| port.parse::<u16>().ok());
    let service = json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": "kubernetes",
            "namespace": "default",
            "labels": {"component": "apiserver", "provider": "kubernetes"},
        },
        "spec": {
            "type": "ClusterIP",
            "clusterIP": server.config.service_range.first().to_string(),
            "sessionAffinity": "None",
            "ports": [{
                "name": "https", "protocol": "TCP", "port": 443,
                "targetPort": port.unwrap_or(6443),
            }],
        },
    });
    ensure(server, "services", ("default", "kubernetes"), service).await
}

async fn ensure(
    server: &Server,
    plural: &str,
    (namespace, name): (&str, &str),
    tree: Value,
) -> Result<(), Status> {
    let info = kinds::find("", "v1", plural).ok_or_else(Status::no_such_path)?;
    if server.storage.get(info, namespace, name).await?.is_some() {
        return Ok(());
    }
    let object = Object::from_value(tree).ok_or_else(|| Status::internal("not an object"))?;
    match registry::create(server, info, object, false).await {
        Ok(_) => {
            tracing::info!(resource = plural, ns = namespace, name, "created");
            Ok(())
        }
        Err(status) if status.reason == "AlreadyExists" => {
            tracing::debug!(resource = plural, ns = namespace, name, "another server made it");
            Ok(())
        }
        Err(status) => Err(status),
    }
}
