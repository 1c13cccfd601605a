//! Follows the policies that validate and tells in their status what does not fit their types.
//!
//! Every server does it: what one has told the others find told.

use std::sync::Arc;

use api_machinery::apply::{self, Target, Writer};
use api_machinery::{Object, Status, admission, time};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::snapshot::info;
use crate::handlers::Subresource;
use crate::limits::POLICY_STATUS_INTERVAL;
use crate::registry::{self, By, Fields, Retry, Update};
use crate::state::Server;
use crate::watch_cache::Filter;

/// Who owns the status, as upstream's controller is called.
const MANAGER: &str = "validatingadmissionpolicy-status";

/// Makes the server known to its policies, and runs until the shutdown.
pub(crate) fn run(server: Arc<Server>, shutdown: CancellationToken) -> impl Future<Output = ()> {
    // Before the first request: expressions ask the server what a user may do.
    let _ = server.policies.server.set(Arc::downgrade(&server));
    follow(server, shutdown)
}

async fn follow(server: Arc<Server>, shutdown: CancellationToken) {
    let cache = server.caches.of(info("validatingadmissionpolicies"));
    let mut seen = 0;
    loop {
        // What comes together is told together, and what could not be told is tried again.
        let next = async {
            cache.changed(seen).await;
            tokio::time::sleep(POLICY_STATUS_INTERVAL).await;
        };
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = next => {}
        }
        let now = cache.last_event();
        if now == seen {
            continue;
        }
        let mut is_done = true;
        for version in cache.list("", &Filter::default(), 0).0 {
            let Ok(policy) = version.object() else { continue };
            if is_observed(&policy) {
                continue;
            }
            if let Err(status) = tell(&server, policy).await {
                tracing::debug!(why = status.message, "a policy's status was not written");
                is_done = false;
            }
        }
        if is_done {
            seen = now;
        }
    }
}

fn is_observed(policy: &Object) -> bool {
    let observed = policy.at(&["status", "observedGeneration"]).and_then(Value::as_i64);
    policy.generation() <= observed.unwrap_or(0)
}

async fn tell(server: &Server, policy: Object) -> Result<(), Status> {
    let (name, generation) = (policy.name().to_owned(), policy.generation());
    let checked = tokio::task::spawn_blocking(move || {
        admission::expression_warnings(&Value::Object(policy.0))
    });
    let warnings = checked.await.map_err(|error| Status::internal(&error.to_string()))?;
    let kind = info("validatingadmissionpolicies");
    let mut checking = json!({});
    if !warnings.is_empty() {
        checking["expressionWarnings"] = warnings.into();
    }
    let config = json!({
        "apiVersion": kind.api_version(),
        "kind": kind.kind,
        "metadata": {"name": name},
        "status": {"observedGeneration": generation, "typeChecking": checking},
    });
    let config = Object::from_value(config).unwrap_or_default();
    let now = time::seconds(clock::now());
    let writer = Writer { manager: MANAGER, now: &now, force: true };
    let target = Target::of(kind, Subresource::Status.name());
    let request = Update {
        kind,
        namespace: "",
        name: &name,
        subresource: Subresource::Status,
        by: By { fields: Fields::Applied, ..By::the_server() },
        retry: Retry::Always,
    };
    let change = |live: &Object| apply::apply(&target, Some(live), &config, writer);
    registry::update(server, &request, change).await.map(|_| ())
}
