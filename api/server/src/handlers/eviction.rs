//! `POST pods/NAME/eviction`: a deletion that the pod's disruption budget must allow.
//!
//! | Rule | What always holds |
//! |------|-------------------|
//! | E1 | A pod that serves goes only when its budget allows one more, which is counted first. |
//! | E2 | A pod that never ran, has ended or is going needs no budget. |
//! | E3 | A pod that is let go because it is unhealthy goes only as it was when that was decided. |

use api_machinery::decode::Expected;
use api_machinery::selector::Labels;
use api_machinery::status::Grouped;
use api_machinery::{Object, ResourceInfo, Status, kinds, time};
use http::Response;
use serde_json::{Value, json};

use super::delete::from_body;
use super::pods::attributes;
use super::{Context, Subresource};
use crate::admission::{self, lookup};
use crate::body::Body;
use crate::encoding;
use crate::limits::{DISRUPTED_PODS_MAX, EVICTION_TRIES_MAX};
use crate::registry::{self, DeleteOptions, Fields, Retry};

const REFUSED: &str = "Cannot evict pod as it would violate the pod's disruption budget.";
const CAUSE: &str = "DisruptionBudget";

pub(crate) async fn eviction(context: &Context, body: &[u8]) -> Result<Response<Body>, Status> {
    let mut eviction =
        context.decode(body, Expected { api_version: "policy/v1", kind: "Eviction" })?;
    if eviction.name() != context.info.name {
        let why = "name in URL does not match name in Eviction object";
        return Err(Status::bad_request(why));
    }
    context.fit_to_url(&mut eviction)?;
    let given = eviction.at(&["deleteOptions"]).cloned().and_then(Object::from_value);
    let mut options = given.map(|given| from_body(&given).check()).transpose()?.unwrap_or_default();
    options.dry_run |= context.dry_run()?;
    let asked = attributes(context, "eviction", &context.info.name, options.dry_run);
    admission::mutate(&asked, &mut eviction).await?;
    admission::validate(&asked, Some(&eviction)).await?;
    let Some(pod) = unless_free(context, &options).await? else { return success(context) };
    let budgets = budgets(context, &pod).await?;
    let Some((budget, others)) = budgets.split_first() else {
        delete(context, &options).await?;
        return success(context);
    };
    if !others.is_empty() {
        let why = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.";
        return Err(Status::unexplained(why));
    }
    if is_ready(&pod) || !lets_unhealthy_go(budget) {
        count(context, budget, options.dry_run).await?;
        delete(context, &options).await?;
        return success(context);
    }
    let names_version = options.resource_version.is_some();
    let exact =
        DeleteOptions { resource_version: Some(pod.resource_version().to_owned()), ..options };
    match delete(context, &exact).await {
        // It may be healthy by now: the client is to ask again.
        Err(status) if status.reason == "Conflict" && !names_version => {
            Err(still_processed(budget.name()))
        }
        outcome => outcome.and_then(|()| success(context)),
    }
}

fn success(context: &Context) -> Result<Response<Body>, Status> {
    let success = json!({"kind": "Status", "apiVersion": "v1", "metadata": {},
        "status": "Success", "code": 201});
    encoding::value(201, &success, &context.accepted)
}

/// E2: evicts a pod that no budget is about; the pod when there may be one.
async fn unless_free(context: &Context, options: &DeleteOptions) -> Result<Option<Object>, Status> {
    let (namespace, name) = (context.namespace(), &context.info.name);
    let mut last = None;
    for _ in 0..EVICTION_TRIES_MAX {
        let found = context.server.storage.get(context.kind, namespace, name).await?;
        let pod = found.ok_or_else(|| context.not_found())?.object;
        let phase = pod.text(&["status", "phase"]);
        let is_over = matches!(phase, "Succeeded" | "Failed") || pod.deletion_timestamp().is_some();
        if !is_over && phase != "Pending" {
            return Ok(Some(pod));
        }
        // One that is about to start must not have done so meanwhile.
        let version = (!is_over).then(|| pod.resource_version().to_owned());
        let resource_version = options.resource_version.clone().or(version);
        let exact = DeleteOptions { resource_version, ..options.clone() };
        match delete(context, &exact).await {
            Err(status) if status.reason == "Conflict" && options.resource_version.is_none() => {
                last = Some(status);
            }
            outcome => return outcome.map(|()| None),
        }
    }
    Err(last.unwrap_or_else(|| context.not_found()))
}

fn budget_kind() -> Result<&'static ResourceInfo, Status> {
    kinds::find("policy", "v1", "poddisruptionbudgets").ok_or_else(Status::no_such_path)
}

/// The budgets that select a pod.
async fn budgets(context: &Context, pod: &Object) -> Result<Vec<Object>, Status> {
    let server = &context.server;
    server.caches.wait_until_fresh(&server.storage).await?;
    let all = lookup::list(server, ("policy", "poddisruptionbudgets"), context.namespace())?;
    let labels = pod.labels();
    let mut found = Vec::new();
    for version in all {
        let budget = version.object()?;
        // Without a selector it is about no pod, with an empty one about all.
        let selector = budget.at(&["spec", "selector"]).filter(|selector| selector.is_object());
        if selector.is_some_and(|one| Labels::from_object(one).matches_map(&labels)) {
            found.push(budget);
        }
    }
    Ok(found)
}

fn is_ready(pod: &Object) -> bool {
    let conditions = pod.at(&["status", "conditions"]).and_then(Value::as_array);
    conditions
        .into_iter()
        .flatten()
        .any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
}

fn number(budget: &Object, field: &str) -> i64 {
    budget.at(&["status", field]).and_then(Value::as_i64).unwrap_or(0)
}

/// Whether a pod that is not ready is nothing that the budget protects.
fn lets_unhealthy_go(budget: &Object) -> bool {
    let (healthy, wanted) = (number(budget, "currentHealthy"), number(budget, "desiredHealthy"));
    budget.text(&["spec", "unhealthyPodEvictionPolicy"]) == "AlwaysAllow"
        || healthy >= wanted && wanted > 0
}

fn still_processed(name: &str) -> Status {
    let why = format!("The disruption budget {name} is still being processed by the server.");
    Status::too_many_requests(REFUSED, 10).with_cause(CAUSE, &why, "")
}

/// E1: takes one from what the budget allows.
async fn count(context: &Context, budget: &Object, dry_run: bool) -> Result<(), Status> {
    let name = budget.name();
    let request = registry::Update {
        kind: budget_kind()?,
        namespace: context.namespace(),
        name,
        subresource: Subresource::Status,
        by: context.by(Fields::OWN, dry_run),
        retry: Retry::Always,
    };
    let now = time::seconds(clock::now());
    let change = |budget: &Object| counted(budget, &context.info.name, &now);
    match registry::update(&context.server, &request, change).await {
        Ok(Some(_)) => Ok(()),
        Ok(None) => Err(Status::not_found(&request.kind.group_resource(), name)),
        Err(status) if status.reason == "Conflict" => {
            let why = format!("couldn't update PodDisruptionBudget {name:?} due to conflicts");
            Err(Status::timeout(&why, 10))
        }
        Err(status) => Err(status),
    }
}

/// The budget after one more pod; its controller learns which.
fn counted(budget: &Object, pod: &str, now: &str) -> Result<Object, Status> {
    let name = budget.name();
    if number(budget, "observedGeneration") < budget.generation() {
        return Err(still_processed(name));
    }
    let forbidden =
        |why: &str| Status::forbidden(&Grouped::new("policy", "poddisruptionbudget"), name, why);
    let allowed = number(budget, "disruptionsAllowed");
    if allowed < 0 {
        return Err(forbidden("pdb disruptions allowed is negative"));
    }
    let disrupted = budget.at(&["status", "disruptedPods"]).and_then(Value::as_object);
    if disrupted.is_some_and(|pods| pods.len() > DISRUPTED_PODS_MAX) {
        return Err(forbidden(
            "DisruptedPods map too big - too many evictions not confirmed by PDB controller",
        ));
    }
    if allowed == 0 {
        let why = why_not(budget);
        return Err(Status::too_many_requests(REFUSED, 0).with_cause(CAUSE, &why, ""));
    }
    let mut next = budget.clone();
    next.set(&["status", "disruptionsAllowed"], (allowed - 1).into());
    if allowed == 1 {
        let conditions = budget.at(&["status", "conditions"]).and_then(Value::as_array);
        let mut conditions = conditions.cloned().unwrap_or_default();
        let wanted = json!({"type": "DisruptionAllowed", "status": "False",
            "reason": "InsufficientPods", "message": "", "lastTransitionTime": now,
            "observedGeneration": number(budget, "observedGeneration")});
        set_condition(&mut conditions, wanted);
        next.set(&["status", "conditions"], conditions.into());
    }
    next.set(&["status", "disruptedPods", pod], now.into());
    Ok(next)
}

/// Puts a condition in the place of the one of its type; the time stays while its status does.
fn set_condition(conditions: &mut Vec<Value>, mut wanted: Value) {
    match conditions.iter_mut().find(|one| one["type"] == wanted["type"]) {
        Some(held) => {
            if held["status"] == wanted["status"] {
                wanted["lastTransitionTime"] = held["lastTransitionTime"].take();
            }
            *held = wanted;
        }
        None => conditions.push(wanted),
    }
}

fn why_not(budget: &Object) -> String {
    let name = budget.name();
    let conditions = budget.at(&["status", "conditions"]).and_then(Value::as_array);
    let mut conditions = conditions.into_iter().flatten();
    let told = conditions.find(|condition| condition["type"] == "DisruptionAllowed");
    let text = |field: &str| told.and_then(|told| told[field].as_str()).unwrap_or_default();
    let (reason, message) = (text("reason"), text("message"));
    let is_told = text("status") == "False" && !message.is_empty();
    let (healthy, wanted) = (number(budget, "currentHealthy"), number(budget, "desiredHealthy"));
    if is_told && reason == "SyncFailed" {
        format!(
            "The disruption budget {name} does not allow evicting pods currently because it failed sync: {message}"
        )
    } else if healthy <= wanted {
        format!(
            "The disruption budget {name} needs {wanted} healthy pods and has {healthy} currently"
        )
    } else if is_told {
        format!(
            "The disruption budget {name} does not allow evicting pods currently ({reason}): {message}"
        )
    } else {
        format!("The disruption budget {name} does not allow evicting pods currently")
    }
}

/// Deletes the pod, which says before why.
async fn delete(context: &Context, options: &DeleteOptions) -> Result<(), Status> {
    let at = (context.namespace(), context.info.name.as_str());
    let by = context.by(Fields::OWN, options.dry_run);
    let mut options = options.clone();
    if !options.dry_run {
        let request = registry::Update {
            kind: context.kind,
            namespace: at.0,
            name: at.1,
            subresource: Subresource::Status,
            by,
            retry: Retry::Always,
        };
        let now = time::seconds(clock::now());
        let change = |pod: &Object| marked(pod, &options, &now);
        let pod = registry::write_as_is(&context.server, &request, change).await?;
        let pod = pod.ok_or_else(|| context.not_found())?;
        if options.resource_version.is_some() {
            options.resource_version = Some(pod.resource_version().to_owned());
        }
    }
    registry::delete(&context.server, context.kind, at, &options, by).await.map(|_| ())
}

/// The pod with the reason of its end.
fn marked(pod: &Object, options: &DeleteOptions, now: &str) -> Result<Object, Status> {
    let conflict = |why: &str| Status::conflict(&Grouped::new("", "Pod"), pod.name(), why);
    if let Some(uid) = options.uid.as_deref().filter(|uid| *uid != pod.uid()) {
        let why = format!(
            "the UID in the precondition ({uid}) does not match the UID in record ({}). The object might have been deleted and then recreated",
            pod.uid()
        );
        return Err(conflict(&why));
    }
    let version = options.resource_version.as_deref();
    if let Some(version) = version.filter(|version| *version != pod.resource_version()) {
        let why = format!(
            "the ResourceVersion in the precondition ({version}) does not match the ResourceVersion in record ({}). The object might have been modified",
            pod.resource_version()
        );
        return Err(conflict(&why));
    }
    let mut next = pod.clone();
    let conditions = pod.at(&["status", "conditions"]).and_then(Value::as_array);
    let mut conditions = conditions.cloned().unwrap_or_default();
    let wanted = json!({"type": "DisruptionTarget", "status": "True", "lastProbeTime": null,
        "lastTransitionTime": now, "reason": "EvictionByEvictionAPI",
        "message": "Eviction API: evicting"});
    set_condition(&mut conditions, wanted);
    next.set(&["status", "conditions"], conditions.into());
    Ok(next)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(status: Value) -> Object {
        let tree = json!({"metadata": {"name": "b", "generation": 1}, "status": status});
        Object::from_value(tree).unwrap()
    }

    #[test]
    fn one_that_allows_none_says_why() {
        let failed = json!([{"type": "DisruptionAllowed", "status": "False",
            "reason": "SyncFailed", "message": "m"}]);
        for (status, code, why) in [
            (json!({}), 429, "The disruption budget b is still being processed by the server."),
            (
                json!({"observedGeneration": 1, "desiredHealthy": 3, "currentHealthy": 2}),
                429,
                "The disruption budget b needs 3 healthy pods and has 2 currently",
            ),
            (
                json!({"observedGeneration": 1, "conditions": failed}),
                429,
                "The disruption budget b does not allow evicting pods currently because it failed sync: m",
            ),
            (
                json!({"observedGeneration": 1, "currentHealthy": 2}),
                429,
                "The disruption budget b does not allow evicting pods currently",
            ),
        ] {
            let told = counted(&budget(status), "p", "now").unwrap_err();
            let cause = &told.details.as_ref().unwrap().causes[0];
            assert_eq!(
                (told.code, cause.reason.as_str(), cause.message.as_str()),
                (code, CAUSE, why)
            );
        }
        let negative = budget(json!({"observedGeneration": 1, "disruptionsAllowed": -1}));
        assert_eq!(counted(&negative, "p", "now").unwrap_err().code, 403);
    }

    #[test]
    fn the_last_one_is_counted_and_named() {
        let held = budget(json!({"observedGeneration": 1, "disruptionsAllowed": 1}));
        let next = counted(&held, "p", "now").unwrap();
        assert_eq!(next.at(&["status", "disruptionsAllowed"]), Some(&json!(0)));
        assert_eq!(next.at(&["status", "disruptedPods"]), Some(&json!({"p": "now"})));
        let condition = &next.at(&["status", "conditions"]).unwrap()[0];
        assert_eq!(
            (&condition["status"], &condition["reason"]),
            (&json!("False"), &json!("InsufficientPods"))
        );
    }
}
