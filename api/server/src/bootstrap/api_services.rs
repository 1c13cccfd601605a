//! APIServices: who serves which version of which group.
//!
//! This server's own are made at every start, and are always available. Those of other servers are
//! kept and marked as unavailable: nothing here sends requests on to them yet.

use std::sync::atomic::Ordering;

use api_machinery::{Object, ResourceInfo, Status, discovery, kinds, time};
use serde_json::{Value, json};

use super::looks::Looks;
use super::together;
use crate::handlers::Subresource;
use crate::registry::{self, By, Retry};
use crate::state::Server;
use crate::watch_cache::Filter;

const GROUP: &str = "apiregistration.k8s.io";
const AUTOMANAGED: &str = "kube-aggregator.kubernetes.io/automanaged";
/// Upstream's ranks of its groups: clients show them in this order.
const GROUP_PRIORITIES: [(&str, i64); 21] = [
    ("", 18_000),
    ("apps", 17_800),
    ("events.k8s.io", 17_750),
    ("authentication.k8s.io", 17_700),
    ("authorization.k8s.io", 17_600),
    ("autoscaling", 17_500),
    ("batch", 17_400),
    ("certificates.k8s.io", 17_300),
    ("networking.k8s.io", 17_200),
    ("policy", 17_100),
    ("rbac.authorization.k8s.io", 17_000),
    ("storage.k8s.io", 16_800),
    ("admissionregistration.k8s.io", 16_700),
    ("apiextensions.k8s.io", 16_700),
    ("scheduling.k8s.io", 16_600),
    ("coordination.k8s.io", 16_500),
    ("node.k8s.io", 16_300),
    ("discovery.k8s.io", 16_200),
    ("resource.k8s.io", 16_200),
    ("flowcontrol.apiserver.k8s.io", 16_100),
    ("internal.apiserver.k8s.io", 16_000),
];

/// Runs until the server stops.
pub(super) async fn run(server: &Server) {
    let Some(kind) = kinds::find(GROUP, "v1", "apiservices") else { return };
    let mut looks = Looks::at(server, kind);
    while looks.wait().await {
        match judge(server, kind).await {
            Ok(()) => server.first_rounds.availability.store(true, Ordering::Relaxed),
            Err(error) => {
                tracing::warn!(%error, "APIServices are not up to date, will try again");
                looks.failed();
            }
        }
    }
}

/// Makes those of this server that the caches do not have.
pub(super) async fn ensure(server: &Server) -> Result<(), Status> {
    let kind = kinds::find(GROUP, "v1", "apiservices").ok_or_else(Status::no_such_path)?;
    let own = std::iter::once(("", "v1")).chain(discovery::groups());
    // Upstream has none for this group, which a server of its own serves.
    let own = own.filter(|(group, _)| *group != GROUP);
    let work: Vec<_> = own.map(|(group, version)| make(server, kind, group, version)).collect();
    together(work).await?;
    server.has_api_services.store(true, Ordering::Relaxed);
    Ok(())
}

async fn make(
    server: &Server,
    kind: &'static ResourceInfo,
    group: &str,
    version: &str,
) -> Result<(), Status> {
    let name = format!("{version}.{group}");
    if server.caches.of(kind).get(&server.storage.key(kind, "", &name)).is_some() {
        return Ok(());
    }
    let tree = wanted(&name, group, version);
    let object = Object::from_value(tree).ok_or_else(|| Status::internal("not an object"))?;
    let request = registry::Create { kind, by: By::the_server() };
    match registry::create(server, &request, object).await {
        Err(status) if status.reason != "AlreadyExists" => Err(status),
        // Made now, or by another server just before.
        Ok(_) | Err(_) => Ok(()),
    }
}

fn wanted(name: &str, group: &str, version: &str) -> Value {
    let known = GROUP_PRIORITIES.iter().find(|(known, _)| *known == group);
    let version_priority = match (group, version) {
        ("", _) => 1,
        ("autoscaling", "v2") => 30,
        ("flowcontrol.apiserver.k8s.io" | "resource.k8s.io", _) => 21,
        _ => 15,
    };
    let mut spec = json!({
        "version": version,
        "groupPriorityMinimum": known.map_or(1_000, |(_, priority)| *priority),
        "versionPriority": version_priority,
    });
    if !group.is_empty() {
        spec["group"] = group.into();
    }
    json!({
        "apiVersion": "apiregistration.k8s.io/v1",
        "kind": "APIService",
        "metadata": {"name": name, "labels": {AUTOMANAGED: "onstart"}},
        "spec": spec,
    })
}

/// Says of each whether it is available.
async fn judge(server: &Server, kind: &'static ResourceInfo) -> Result<(), Status> {
    let (versions, _) = server.caches.of(kind).list("", &Filter::default(), 0);
    for version in versions {
        let service = version.object()?;
        let Some(conditions) = conditions(&service, &time::seconds(clock::now())) else {
            continue;
        };
        let request = registry::Update {
            kind,
            namespace: "",
            name: service.name(),
            subresource: Subresource::Status,
            by: By::the_server(),
            retry: Retry::Never,
        };
        let change = |current: &Object| {
            let mut next = current.clone();
            next.set_resource_version(0);
            if let Some(revision) = service.at(&["metadata", "resourceVersion"]) {
                next.set(&["metadata", "resourceVersion"], revision.clone());
            }
            next.set(&["status", "conditions"], conditions.clone());
            Ok(next)
        };
        match registry::update(server, &request, change).await {
            // Somebody changed it meanwhile: that change wakes us again.
            Err(status) if status.reason == "Conflict" => {}
            done => {
                done?;
            }
        }
    }
    Ok(())
}

/// The conditions that a service should have; `None` when it has them.
fn conditions(service: &Object, now: &str) -> Option<Value> {
    let is_local = service.at(&["spec", "service"]).is_none_or(Value::is_null);
    let (status, reason, message) = if is_local {
        ("True", "Local", "Local APIServices are always available")
    } else {
        (
            "False",
            "AggregationNotImplemented",
            "this server does not send requests on to other API servers yet",
        )
    };
    let held = service.at(&["status", "conditions"]).and_then(Value::as_array);
    let mut held = held.cloned().unwrap_or_default();
    let known = held.iter().position(|condition| condition["type"] == "Available");
    let mut since = now.to_owned();
    if let Some(at) = known {
        let condition = held.remove(at);
        if condition["status"] == status && condition["reason"] == reason {
            return None;
        }
        if let (true, Some(time)) =
            (condition["status"] == status, condition["lastTransitionTime"].as_str())
        {
            time.clone_into(&mut since);
        }
    }
    held.push(json!({"type": "Available", "status": status, "lastTransitionTime": since,
        "reason": reason, "message": message}));
    Some(held.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_serve_is_not_available() {
        let service = |spec: Value, conditions: Value| {
            let tree = json!({"metadata": {"name": "s"}, "spec": spec,
                "status": {"conditions": conditions}});
            Object::from_value(tree).unwrap()
        };
        let remote = json!({"service": {"name": "x", "namespace": "y"}});
        let judged = conditions(&service(remote.clone(), Value::Null), "now").unwrap();
        assert_eq!(judged[0]["status"], "False");
        assert_eq!(judged[0]["lastTransitionTime"], "now");
        assert_eq!(conditions(&service(remote, judged.clone()), "later"), None);
        let judged = conditions(&service(json!({}), judged), "later").unwrap();
        assert_eq!((&judged[0]["status"], &judged[0]["reason"]), (&"True".into(), &"Local".into()));
        assert_eq!(judged[0]["lastTransitionTime"], "later");
    }
}
