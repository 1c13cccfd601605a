//! ServiceCIDR objects: the default one, and the ranges that addresses of Services come from.
//!
//! | Rule | What always holds |
//! |------|-------------------|
//! | C1 | ServiceCIDR `kubernetes` says what the flag says when it is missing; one that is there stays as it is. |
//! | C2 | It is marked as ready once, when it says what the flag says; a controller may say otherwise. |
//! | C3 | Addresses come from ranges of objects that are not going and of which nobody says that they are not ready. |

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

use api_machinery::apply::{self, Target, Writer};
use api_machinery::{Object, ResourceInfo, Status, View, kinds, time};
use serde_json::{Value, json};

use crate::admission::lookup;
use crate::cluster_ip::ServiceRange;
use crate::handlers::Subresource;
use crate::registry::{self, By, Fields, Retry};
use crate::state::Server;

const OF: (&str, &str) = ("networking.k8s.io", "servicecidrs");
const NAME: &str = "kubernetes";
const MANAGER: &str = "kubernetes-service-cidr-controller";
/// Upstream's.
const INTERVAL: Duration = Duration::from_secs(10);
const RETRY: Duration = Duration::from_millis(100);

/// Runs until the server stops.
pub(crate) async fn run(server: &Server) {
    let mut wait = RETRY;
    loop {
        match reconcile(server).await {
            Ok(()) => {
                server.first_rounds.service_cidr.store(true, Ordering::Relaxed);
                wait = INTERVAL;
            }
            Err(error) => {
                tracing::warn!(%error, "the default ServiceCIDR is not there, will try again");
                wait = (wait * 2).min(INTERVAL);
            }
        }
        tokio::select! {
            () = server.shutdown.cancelled() => return,
            () = tokio::time::sleep(wait) => {}
        }
    }
}

fn kind() -> Result<&'static ResourceInfo, Status> {
    kinds::find(OF.0, "v1", OF.1).ok_or_else(Status::no_such_path)
}

async fn reconcile(server: &Server) -> Result<(), Status> {
    let kind = kind()?;
    let range = server.config.service_range.to_string();
    let found = match server.storage.get(kind, "", NAME).await? {
        Some(found) => found.object,
        None => {
            let tree = json!({
                "apiVersion": kind.api_version(),
                "kind": kind.kind,
                "metadata": {"name": NAME},
                "spec": {"cidrs": [range]},
            });
            let object = Object::from_value(tree).unwrap_or_default();
            let request = registry::Create { kind, by: By::the_server() };
            match registry::create(server, &request, object).await {
                // Another server made it, and marks it.
                Err(status) if status.reason == "AlreadyExists" => return Ok(()),
                made => made?,
            }
        }
    };
    let is_ours = found.at(&["spec", "cidrs"]) == Some(&json!([range]));
    let is_marked = readiness(View::new(&found.to_json())).is_some_and(|it| it != "Unknown");
    if !is_ours || is_marked || found.deletion_timestamp().is_some() {
        return Ok(());
    }
    mark(server, kind).await
}

/// C2.
async fn mark(server: &Server, kind: &'static ResourceInfo) -> Result<(), Status> {
    let now = time::seconds(clock::now());
    let config = json!({
        "apiVersion": kind.api_version(),
        "kind": kind.kind,
        "metadata": {"name": NAME},
        "status": {"conditions": [{
            "type": "Ready",
            "status": "True",
            "message": "Kubernetes default Service CIDR is ready",
            "lastTransitionTime": now,
        }]},
    });
    let config = Object::from_value(config).unwrap_or_default();
    let target = Target::of(kind, Subresource::Status.name());
    let request = registry::Update {
        kind,
        namespace: "",
        name: NAME,
        subresource: Subresource::Status,
        by: By { fields: Fields::Applied, ..By::the_server() },
        retry: Retry::Always,
    };
    let change = |live: &Object| {
        let writer = Writer { manager: MANAGER, now: &now, force: true };
        let mut next = apply::apply(&target, Some(live), &config, writer)?;
        // Upstream's type has the reason always.
        let conditions = next.0.get_mut("status").and_then(|status| status.get_mut("conditions"));
        for condition in conditions.and_then(Value::as_array_mut).into_iter().flatten() {
            if let Some(members) = condition.as_object_mut() {
                members.entry("reason").or_insert_with(|| "".into());
            }
        }
        Ok(next)
    };
    registry::update(server, &request, change).await.map(|_| ())
}

/// What is said about a ServiceCIDR being ready, if anything.
fn readiness(object: View<'_>) -> Option<String> {
    let conditions = object.get("status").get("conditions");
    let ready = conditions.items().find(|condition| condition.get("type").is("Ready"))?;
    Some(ready.get("status").text().into_owned())
}

/// C3: where addresses may be taken from, by the objects that the caches know, the range of the flag
/// first. It is one of them while no object is about it: Service `kubernetes` is not kept waiting.
pub(crate) fn ranges(server: &Server) -> Result<Vec<ServiceRange>, Status> {
    let default = server.config.service_range;
    let (mut usable, mut is_default_known) = (BTreeSet::new(), false);
    for version in lookup::list(server, OF, "")? {
        let json = version.json();
        let object = View::new(&json);
        let is_going = !object.get("metadata").get("deletionTimestamp").text().is_empty();
        let is_usable = !is_going && readiness(object).is_none_or(|status| status == "True");
        for range in object.get("spec").get("cidrs").items() {
            // The other family is not served here.
            let Some(range) = ServiceRange::of_object(&range.text()) else { continue };
            is_default_known |= range == default;
            if is_usable {
                usable.insert(range);
            }
        }
    }
    let is_default_usable = usable.remove(&default) || !is_default_known;
    Ok(is_default_usable.then_some(default).into_iter().chain(usable).collect())
}
