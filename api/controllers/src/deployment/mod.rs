//! Deployments: rolls templates out through ReplicaSets.

mod reconcile;
#[cfg(test)]
mod reconcile_test;
mod replica_sets;
mod status;

use std::sync::Arc;

use api_client::{Outcome, events::Severity, is_conflict, is_not_found};
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use kube::{
    Api,
    api::{Patch, PatchParams, PostParams},
};

pub use reconcile::{Action, reconcile};

use crate::{context::Context, object};

/// Brings one Deployment forward.
///
/// # Errors
/// The first request that failed; the key is tried again.
pub async fn sync(context: Arc<Context>, key: String) -> Result<Outcome, kube::Error> {
    let Some(deployment) = context.world.deployments.get(&key) else { return Ok(Outcome::Done) };
    let Some(spec) = &deployment.spec else { return Ok(Outcome::Done) };
    let (namespace, _) = api_client::split_key(&key);
    let uid = deployment.metadata.uid.clone().unwrap_or_default();
    let sets_api: Api<ReplicaSet> = Api::namespaced(context.client.clone(), namespace);

    let mut children = context.world.replica_sets.by_index(&format!("uid:{uid}"));
    children.extend(context.world.replica_sets.by_index(&format!("orphans:{namespace}")));
    let claims = object::claim(&deployment.metadata, &spec.selector, children);
    if !claims.adopt.is_empty() || !claims.release.is_empty() {
        return claim_sets(&context, &deployment, claims, &sets_api).await;
    }

    let pods: Vec<_> = claims
        .owned
        .iter()
        .filter_map(|set| set.metadata.uid.as_ref())
        .flat_map(|uid| context.world.pods.by_index(&format!("uid:{uid}")))
        .collect();
    let mut outcome = Outcome::Done;
    for action in reconcile(&deployment, &claims.owned, &pods, clock::now()) {
        if let Some(next) = carry_out(&context, &deployment, action, &sets_api).await? {
            outcome = next;
        }
    }
    Ok(outcome)
}

/// Adopts and releases; the decision waits until the caches show it.
async fn claim_sets(
    context: &Context,
    deployment: &Deployment,
    claims: object::Claims<ReplicaSet>,
    api: &Api<ReplicaSet>,
) -> Result<Outcome, kube::Error> {
    if !claims.adopt.is_empty() && !context.still_alive(deployment).await? {
        return Ok(Outcome::Retry);
    }
    let uid = deployment.metadata.uid.as_deref().unwrap_or_default();
    for set in claims.adopt {
        let name = set.metadata.name.as_deref().unwrap_or_default();
        let owners = set.metadata.owner_references.as_ref();
        let owner = object::controller_reference(deployment);
        let patch = object::adoption_patch(owners, owner, set.metadata.uid.as_ref());
        api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await?;
    }
    for set in claims.release {
        let name = set.metadata.name.as_deref().unwrap_or_default();
        let patch = object::release_patch(&set.metadata, uid);
        match api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await {
            Err(error) if !is_not_found(&error) => return Err(error),
            Ok(_) | Err(_) => {}
        }
    }
    Ok(Outcome::Done)
}

async fn carry_out(
    context: &Context,
    deployment: &Deployment,
    action: Action,
    sets: &Api<ReplicaSet>,
) -> Result<Option<Outcome>, kube::Error> {
    match action {
        Action::Create(set) => {
            let name = set.metadata.name.clone().unwrap_or_default();
            match sets.create(&PostParams::default(), &set).await {
                Ok(_) => {
                    let size = replica_sets::replicas(&set);
                    if size > 0 {
                        let message = format!("Scaled up replica set {name} from 0 to {size}");
                        note(context, deployment, Severity::Normal, "ScalingReplicaSet", message);
                    }
                }
                Err(error) if is_conflict(&error) => {
                    return exists_already(context, deployment, &name, sets, error).await;
                }
                Err(error) => {
                    let message = format!("Failed to create new replica set \"{name}\": {error}");
                    note(context, deployment, Severity::Warning, "ReplicaSetCreateError", message);
                    return Err(error);
                }
            }
        }
        Action::Update { set, scaled_from } => {
            let name = set.metadata.name.clone().unwrap_or_default();
            // The copy may follow an earlier write of this pass: then the resourceVersion is behind, the
            // server says conflict, and the next pass does the rest.
            sets.replace(&name, &PostParams::default(), &set).await?;
            if let Some(before) = scaled_from {
                let size = replica_sets::replicas(&set);
                let way = if before < size { "up" } else { "down" };
                let message = format!("Scaled {way} replica set {name} from {before} to {size}");
                note(context, deployment, Severity::Normal, "ScalingReplicaSet", message);
            }
        }
        Action::Delete(set) => context.delete(set.as_ref()).await?,
        Action::WriteStatus(next) => write_status(context, &next).await?,
        Action::Again(delay) => return Ok(Some(Outcome::After(delay))),
    }
    Ok(None)
}

fn note(context: &Context, about: &Deployment, how: Severity, why: &'static str, what: String) {
    context.recorder.note(about, how, why, what);
}

async fn write_status(context: &Context, next: &Deployment) -> Result<(), kube::Error> {
    let namespace = next.metadata.namespace.as_deref().unwrap_or_default();
    let name = next.metadata.name.as_deref().unwrap_or_default();
    let api: Api<Deployment> = Api::namespaced(context.client.clone(), namespace);
    match api.replace_status(name, &PostParams::default(), next).await {
        // It was deleted meanwhile: nothing to say.
        Err(error) if is_not_found(&error) => Ok(()),
        other => other.map(drop),
    }
}

/// A set of this name exists: ours that the cache has not shown yet, or a collision of two templates' hashes.
async fn exists_already(
    context: &Context,
    deployment: &Deployment,
    name: &str,
    sets: &Api<ReplicaSet>,
    error: kube::Error,
) -> Result<Option<Outcome>, kube::Error> {
    let Some(existing) = sets.get_opt(name).await? else { return Err(error) };
    let owner = object::controller_of(&existing.metadata).map(|owner| &owner.uid);
    let ours = owner.is_some() && owner == deployment.metadata.uid.as_ref();
    let template = existing.spec.as_ref().and_then(|spec| spec.template.as_ref());
    let wanted = deployment.spec.as_ref().map(|spec| &spec.template);
    let same = template.zip(wanted).is_some_and(|(a, b)| replica_sets::same_template(a, b));
    if !(ours && same) {
        let mut next = deployment.clone();
        let count = next.status.get_or_insert_default().collision_count.get_or_insert(0);
        *count += 1;
        write_status(context, &next).await?;
    }
    Err(error)
}
