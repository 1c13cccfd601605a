//! ReplicaSets: keep the wanted number of pods.

mod expectations;
mod reconcile;
#[cfg(test)]
mod reconcile_test;

use std::sync::Arc;

use api_client::{
    Outcome, WorkQueue, events::Severity, is_conflict, is_not_found, key_of, status_code,
};
use futures::future::join_all;
use k8s_openapi::api::{apps::v1::ReplicaSet, core::v1::Pod};
use kube::{
    Api,
    api::{DeleteParams, ObjectMeta, Patch, PatchParams, PostParams, Preconditions},
};

pub use reconcile::{Failure, Plan, reconcile, status};

use crate::{
    context::Context,
    limits,
    object::{self, controller_of, is_active, is_terminal},
};
use expectations::Expectations;

/// The controller's memory: its queue and what it expects to see.
pub struct Controller {
    context: Arc<Context>,
    expectations: Expectations,
    /// Keys of ReplicaSets to look at.
    pub queue: Arc<WorkQueue<String>>,
}

impl Controller {
    /// A controller that has seen nothing yet.
    #[must_use]
    pub fn new(context: Arc<Context>) -> Arc<Self> {
        let queue = WorkQueue::new("replicaset");
        Arc::new(Self { context, expectations: Expectations::default(), queue })
    }

    /// Hears of every change of a pod.
    pub fn pod_changed(&self, before: Option<&Arc<Pod>>, after: Option<&Arc<Pod>>) {
        let old = before.and_then(|pod| self.owner_key(pod));
        let new = after.and_then(|pod| self.owner_key(pod));
        if let (None, Some(key)) = (before, &new) {
            self.expectations.created(key);
        }
        // A pod on its way out counts as deleted, also when we see it for the first time like that.
        let going = after.is_none_or(|pod| pod.metadata.deletion_timestamp.is_some());
        if let (true, Some(key), Some(pod)) =
            (going, old.as_ref().or(new.as_ref()), before.or(after))
        {
            self.expectations.deleted(key, pod.metadata.uid.as_deref().unwrap_or_default());
        }
        if new.is_none() && after.is_some_and(|pod| controller_of(&pod.metadata).is_none()) {
            self.enqueue_adopters(after.expect("checked just above"));
        }
        for key in [old, new].into_iter().flatten() {
            self.queue.add(key);
        }
    }

    fn owner_key(&self, pod: &Pod) -> Option<String> {
        let owner = controller_of(&pod.metadata).filter(|owner| owner.kind == "ReplicaSet")?;
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        Some(format!("{namespace}/{}", owner.name))
    }

    fn enqueue_adopters(&self, pod: &Pod) {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        for set in self.context.world.replica_sets.in_namespace(namespace) {
            let selector = set.spec.as_ref().map(|spec| &spec.selector);
            if selector.is_some_and(|s| object::selects(s, pod.metadata.labels.as_ref())) {
                self.queue.add(key_of(set.as_ref()));
            }
        }
    }

    /// Brings one ReplicaSet forward.
    ///
    /// # Errors
    /// The first request that failed; the key is tried again.
    pub async fn sync(self: Arc<Self>, key: String) -> Result<Outcome, kube::Error> {
        let world = &self.context.world;
        let Some(set) = world.replica_sets.get(&key) else {
            self.expectations.forget(&key);
            return Ok(Outcome::Done);
        };
        let Some(spec) = &set.spec else { return Ok(Outcome::Done) };
        let ready_to_act = self.expectations.satisfied(&key);
        let (namespace, _) = api_client::split_key(&key);
        let uid = set.metadata.uid.clone().unwrap_or_default();
        let mut pods = world.pods.by_index(&format!("uid:{uid}"));
        pods.extend(world.pods.by_index(&format!("orphans:{namespace}")));
        pods.retain(|pod| !is_terminal(pod));
        let claims = object::claim(&set.metadata, &spec.selector, pods);
        let api: Api<Pod> = Api::namespaced(self.context.client.clone(), namespace);
        let (terminating, mut active): (Vec<_>, Vec<_>) =
            claims.owned.into_iter().partition(|pod| !is_active(pod));
        let adopted = self.adopt_and_release(&set, claims.adopt, &claims.release, &api).await?;
        active.extend(adopted);

        let now = clock::now();
        let mut result = Ok(());
        if ready_to_act && set.metadata.deletion_timestamp.is_none() {
            let plan = reconcile(&set, &active, &self.related(&set, &active), now);
            result = self.carry_out(&key, &set, plan, &api).await;
        }
        let failure = result.as_ref().err().map(|(failure, _)| failure);
        let next = status(&set, &active, terminating.len(), failure, now);
        if set.status.as_ref() != Some(&next) {
            let mut changed = ReplicaSet::clone(&set);
            changed.status = Some(next);
            let sets: Api<ReplicaSet> = Api::namespaced(self.context.client.clone(), namespace);
            let name = set.metadata.name.as_deref().unwrap_or_default();
            match sets.replace_status(name, &PostParams::default(), &changed).await {
                // It was deleted meanwhile: nothing to say.
                Err(error) if is_not_found(&error) => return Ok(Outcome::Done),
                other => drop(other?),
            }
        }
        result.map_err(|(_, error)| error)?;
        let min_ready = spec.min_ready_seconds.unwrap_or(0);
        let waits = active.iter().filter_map(|pod| object::available_in(pod, min_ready, now));
        let next = waits.filter(|wait| !wait.is_zero()).min();
        Ok(next.map_or(Outcome::Done, Outcome::After))
    }

    async fn adopt_and_release(
        &self,
        set: &ReplicaSet,
        adopt: Vec<Arc<Pod>>,
        release: &[Arc<Pod>],
        api: &Api<Pod>,
    ) -> Result<Vec<Arc<Pod>>, kube::Error> {
        let mut adopted = Vec::new();
        let adopt: Vec<_> = adopt.into_iter().filter(|pod| is_active(pod)).collect();
        if !adopt.is_empty() && self.context.still_alive(set).await? {
            for pod in adopt {
                let owners = pod.metadata.owner_references.as_ref();
                let owner = object::controller_reference(set);
                let patch = object::adoption_patch(owners, owner, pod.metadata.uid.as_ref());
                let name = pod.metadata.name.as_deref().unwrap_or_default();
                match api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await {
                    Ok(pod) => adopted.push(Arc::new(pod)),
                    Err(error) if is_not_found(&error) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        for pod in release {
            let uid = set.metadata.uid.as_deref().unwrap_or_default();
            let patch = object::release_patch(&pod.metadata, uid);
            let name = pod.metadata.name.as_deref().unwrap_or_default();
            match api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await {
                Err(error) if !is_not_found(&error) => return Err(error),
                Ok(_) | Err(_) => {}
            }
        }
        Ok(adopted)
    }

    /// The pods of all sets that the same owner controls.
    fn related(&self, set: &ReplicaSet, active: &[Arc<Pod>]) -> Vec<Arc<Pod>> {
        let world = &self.context.world;
        let Some(owner) = controller_of(&set.metadata) else { return active.to_vec() };
        let siblings = world.replica_sets.by_index(&format!("uid:{}", owner.uid));
        let uids = siblings.iter().filter_map(|sibling| sibling.metadata.uid.as_ref());
        uids.flat_map(|uid| world.pods.by_index(&format!("uid:{uid}"))).collect()
    }

    async fn carry_out(
        &self,
        key: &str,
        set: &ReplicaSet,
        plan: Plan,
        api: &Api<Pod>,
    ) -> Result<(), (Failure, kube::Error)> {
        match plan {
            Plan::Keep => Ok(()),
            Plan::Create(count) => {
                self.expectations.expect(key, count, []);
                let result = self.create_slowly(key, set, count, api).await;
                result.map_err(|error| (failure("FailedCreate", &error), error))
            }
            Plan::Delete(pods) => {
                let uids = pods.iter().filter_map(|pod| pod.metadata.uid.clone());
                self.expectations.expect(key, 0, uids);
                let deletions = pods.iter().map(|pod| self.delete_one(key, set, pod, api));
                let failed = join_all(deletions).await.into_iter().find_map(Result::err);
                failed.map_or(Ok(()), |error| Err((failure("FailedDelete", &error), error)))
            }
        }
    }

    /// Batches of 1, 2, 4, …: a quota that is used up costs one refusal, not five hundred.
    async fn create_slowly(
        &self,
        key: &str,
        set: &ReplicaSet,
        count: usize,
        api: &Api<Pod>,
    ) -> Result<(), kube::Error> {
        let pod = pod_from_template(set);
        let (mut left, mut batch) = (count, limits::SLOW_START_FIRST);
        while left > 0 {
            let size = batch.min(left);
            let post = PostParams::default();
            let results = join_all((0..size).map(|_| api.create(&post, &pod))).await;
            left -= size;
            let mut failed = None;
            for result in results {
                match result {
                    Ok(made) => {
                        let name = made.metadata.name.as_deref().unwrap_or_default();
                        let message = format!("Created pod: {name}");
                        self.note(set, Severity::Normal, "SuccessfulCreate", message);
                    }
                    Err(error) => {
                        self.expectations.created(key);
                        if !namespace_is_going(&error) {
                            let message = format!("Error creating: {}", reason(&error));
                            self.note(set, Severity::Warning, "FailedCreate", message);
                        }
                        failed = Some(error);
                    }
                }
            }
            if let Some(error) = failed {
                for _ in 0..left {
                    self.expectations.created(key);
                }
                // A namespace on its way out ends this set soon: not a failure of ours.
                return if namespace_is_going(&error) { Ok(()) } else { Err(error) };
            }
            batch *= 2;
        }
        Ok(())
    }

    async fn delete_one(
        &self,
        key: &str,
        set: &ReplicaSet,
        pod: &Pod,
        api: &Api<Pod>,
    ) -> Result<(), kube::Error> {
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        let uid = pod.metadata.uid.clone();
        let how = DeleteParams {
            preconditions: Some(Preconditions { uid: uid.clone(), resource_version: None }),
            ..DeleteParams::default()
        };
        match api.delete(name, &how).await {
            Ok(_) => {
                self.note(
                    set,
                    Severity::Normal,
                    "SuccessfulDelete",
                    format!("Deleted pod: {name}"),
                );
                Ok(())
            }
            Err(error) => {
                self.expectations.deleted(key, uid.as_deref().unwrap_or_default());
                if is_not_found(&error) || is_conflict(&error) {
                    return Ok(());
                }
                self.note(
                    set,
                    Severity::Warning,
                    "FailedDelete",
                    format!("Error deleting: {}", reason(&error)),
                );
                Err(error)
            }
        }
    }

    fn note(&self, set: &ReplicaSet, how: Severity, why: &'static str, what: String) {
        self.context.recorder.note(set, how, why, what);
    }
}

fn failure(reason_code: &'static str, error: &kube::Error) -> Failure {
    Failure { reason: reason_code, message: reason(error) }
}

fn reason(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        other => other.to_string(),
    }
}

fn namespace_is_going(error: &kube::Error) -> bool {
    status_code(error) == Some(403) && reason(error).contains("because it is being terminated")
}

fn pod_from_template(set: &ReplicaSet) -> Pod {
    let template = set.spec.as_ref().and_then(|spec| spec.template.clone()).unwrap_or_default();
    let from = template.metadata.unwrap_or_default();
    Pod {
        metadata: ObjectMeta {
            generate_name: Some(format!("{}-", set.metadata.name.as_deref().unwrap_or_default())),
            namespace: set.metadata.namespace.clone(),
            labels: from.labels,
            annotations: from.annotations,
            finalizers: from.finalizers,
            owner_references: Some(vec![object::controller_reference(set)]),
            ..ObjectMeta::default()
        },
        spec: template.spec,
        status: None,
    }
}
