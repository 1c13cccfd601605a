//! Keeps the default schemas and levels there, and says of every schema whether its level exists.

use std::time::Instant;

use api_machinery::{Object, ResourceInfo, Status, defaults, kinds, time};
use serde_json::{Value, json};

use super::defaults::{AUTO_UPDATE, CATCH_ALL, EXEMPT, levels, schemas};
use super::{LEVELS, SCHEMAS, kind, versions};
use crate::bootstrap;
use crate::handlers::Subresource;
use crate::limits::{FLOW_DEFAULTS_INTERVAL, FLOW_STATUS_INTERVAL};
use crate::registry::{self, By, Fields, Retry};
use crate::state::Server;
use crate::watch_cache::Filter;

/// Who upstream says made the defaults.
const PRODUCER: &str = "api-priority-and-fairness-config-producer-v1";
/// Who upstream says wrote the status.
const CONSUMER: &str = "api-priority-and-fairness-config-consumer-v1";
const DANGLING: &str = "Dangling";

fn by(manager: &'static str) -> By<'static> {
    By { fields: Fields::Of(manager), ..By::the_server() }
}

/// Works until the server stops.
pub(crate) async fn run(server: &Server) {
    let (mut judged, mut ensured) = (None, Instant::now());
    loop {
        let now = versions(&server.caches);
        if ensured.elapsed() >= FLOW_DEFAULTS_INTERVAL {
            ensured = Instant::now();
            if let Err(error) = ensure(server).await {
                tracing::warn!(%error, "the default flow schemas and levels are not kept");
            }
        }
        if judged != Some(now) {
            match judge_all(server).await {
                Ok(()) => judged = Some(now),
                Err(error) => tracing::debug!(%error, "the status of flow schemas is not kept"),
            }
        }
        let is_judged = judged == Some(now);
        let defaults = FLOW_DEFAULTS_INTERVAL.saturating_sub(ensured.elapsed());
        let wait = if is_judged { defaults } else { FLOW_STATUS_INTERVAL };
        tokio::select! {
            () = server.shutdown.cancelled() => return,
            () = changed(server, now), if is_judged => {}
            () = tokio::time::sleep(wait) => {}
        }
    }
}

/// Returns a moment after a schema or a level became another than it was: what comes together is judged
/// together.
async fn changed(server: &Server, (schemas, levels): (u64, u64)) {
    if let (Ok(of_schemas), Ok(of_levels)) = (kind(SCHEMAS), kind(LEVELS)) {
        tokio::select! {
            () = server.caches.of(of_schemas).changed(schemas) => {}
            () = server.caches.of(of_levels).changed(levels) => {}
        }
    }
    tokio::time::sleep(FLOW_STATUS_INTERVAL).await;
}

/// Makes what is missing, and puts right what a server may put right.
pub(crate) async fn ensure(server: &Server) -> Result<(), Status> {
    let all = levels().into_iter().chain(schemas()).filter_map(Object::from_value);
    bootstrap::together(all.map(|wanted| ensure_one(server, wanted)).collect()).await
}

async fn ensure_one(server: &Server, mut wanted: Object) -> Result<(), Status> {
    let kind = kinds::find_kind(wanted.api_version(), wanted.kind());
    let kind = kind.ok_or_else(Status::no_such_path)?;
    let key = server.storage.key(kind, "", wanted.name());
    if let Some(held) = server.caches.of(kind).get(&key) {
        defaults::apply(kind, &mut wanted);
        return mend(server, kind, &held.object()?, &wanted).await;
    }
    let request = registry::Create { kind, by: by(PRODUCER) };
    match registry::create(server, &request, wanted).await {
        Err(status) if status.reason != "AlreadyExists" => Err(status),
        // Another server was faster.
        Ok(_) | Err(_) => Ok(()),
    }
}

/// The mandatory ones are nobody's to change, so there is nothing to mend.
async fn mend(
    server: &Server,
    kind: &'static ResourceInfo,
    held: &Object,
    wanted: &Object,
) -> Result<(), Status> {
    let is_ours = |object: &Object| {
        object.text(&["metadata", "annotations", AUTO_UPDATE]) == "true"
            && ![EXEMPT, CATCH_ALL].contains(&object.name())
    };
    let Some(spec) = wanted.at(&["spec"]) else { return Ok(()) };
    if !is_ours(held) || held.at(&["spec"]) == Some(spec) {
        return Ok(());
    }
    let change = |current: &Object| {
        let mut next = current.clone();
        if is_ours(current) {
            next.set(&["spec"], spec.clone());
        }
        Ok(next)
    };
    let request = update(kind, held.name(), Subresource::None, PRODUCER);
    registry::update(server, &request, change).await.map(drop)
}

fn update<'a>(
    kind: &'static ResourceInfo,
    name: &'a str,
    subresource: Subresource,
    manager: &'static str,
) -> registry::Update<'a> {
    let (by, retry) = (by(manager), Retry::Always);
    registry::Update { kind, namespace: "", name, subresource, by, retry }
}

async fn judge_all(server: &Server) -> Result<(), Status> {
    let all = |plural: &str| -> Result<Vec<Object>, Status> {
        let cache = server.caches.of(kind(plural)?);
        let (versions, _) = cache.list("", &Filter::default(), 0);
        versions.iter().map(|version| version.object()).collect()
    };
    let names: std::collections::BTreeSet<String> =
        all(LEVELS)?.iter().map(|level| level.name().to_owned()).collect();
    let kind = kind(SCHEMAS)?;
    for schema in all(SCHEMAS)? {
        let level = schema.text(&["spec", "priorityLevelConfiguration", "name"]).to_owned();
        let exists = names.contains(&level);
        if judged(&schema, &level, exists, "").is_none() {
            continue;
        }
        let now = time::seconds(clock::now());
        let change = |current: &Object| {
            Ok(judged(current, &level, exists, &now).unwrap_or_else(|| current.clone()))
        };
        let request = update(kind, schema.name(), Subresource::Status, CONSUMER);
        registry::update(server, &request, change).await?;
    }
    Ok(())
}

/// The schema with the condition that it should have; none when it has it.
fn judged(schema: &Object, level: &str, exists: bool, now: &str) -> Option<Object> {
    let (status, reason, rest) = if exists {
        ("False", "Found", "and it exists")
    } else {
        ("True", "NotFound", "but there is no such object")
    };
    let message = format!(
        "This FlowSchema references the PriorityLevelConfiguration object named {level:?} {rest}"
    );
    let held = schema.at(&["status", "conditions"]).and_then(Value::as_array);
    let mut conditions = held.cloned().unwrap_or_default();
    let before = conditions.iter().position(|one| one["type"] == DANGLING);
    let mut since = json!(now);
    if let Some(place) = before {
        let before = conditions.remove(place);
        if before["status"] == status {
            if before["reason"] == reason && before["message"] == message {
                return None;
            }
            since = before["lastTransitionTime"].clone();
        }
    }
    conditions.push(json!({"type": DANGLING, "status": status, "reason": reason,
        "message": message, "lastTransitionTime": since}));
    let mut next = schema.clone();
    next.set(&["status", "conditions"], conditions.into());
    Some(next)
}
