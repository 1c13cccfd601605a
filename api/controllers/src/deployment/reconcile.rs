//! The decision of the Deployment controller: which ReplicaSets to make, scale and delete, and what to say.
//!
//! Effects are played out on copies as they are decided, so that one pass decides as much as upstream's does.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use k8s_openapi::api::{
    apps::v1::{Deployment, DeploymentStatus, ReplicaSet, ReplicaSetSpec},
    core::v1::Pod,
};
use kube::api::ObjectMeta;

use super::{
    replica_sets as sets,
    status::{self, PROGRESSING, TIMED_OUT},
};
use crate::object::controller_reference;

/// One thing to do. They are done in order; the first failure ends the pass.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Make the set for the newest template.
    Create(Box<ReplicaSet>),
    /// Write a set; with `scaled_from` its size changed, which deserves an event.
    Update {
        /// The set as it should be, with the resourceVersion that was seen.
        set: Box<ReplicaSet>,
        /// The size before.
        scaled_from: Option<i32>,
    },
    /// Delete a set of history that nobody needs.
    Delete(Arc<ReplicaSet>),
    /// Write the status (and the revision annotation).
    WriteStatus(Box<Deployment>),
    /// Look again after this time.
    Again(Duration),
}

struct Pass {
    deployment: Deployment,
    server_status: DeploymentStatus,
    server_revision: Option<String>,
    new: Option<ReplicaSet>,
    old: Vec<ReplicaSet>,
    now: Timestamp,
    actions: Vec<Action>,
}

/// Decides for one Deployment. `owned` are its ReplicaSets, `pods` their pods (only Recreate looks at them).
#[must_use]
pub fn reconcile(
    deployment: &Deployment,
    owned: &[Arc<ReplicaSet>],
    pods: &[Arc<Pod>],
    now: Timestamp,
) -> Vec<Action> {
    let Some(spec) = &deployment.spec else { return Vec::new() };
    let mut matching: Vec<&Arc<ReplicaSet>> = owned
        .iter()
        .filter(|set| {
            let template = set.spec.as_ref().and_then(|spec| spec.template.as_ref());
            template.is_some_and(|template| sets::same_template(template, &spec.template))
        })
        .collect();
    // Of several equal ones the oldest is the newest template's set; so everyone picks the same.
    matching.sort_by_key(|set| age_key(set));
    let new = matching.first().map(|set| ReplicaSet::clone(set));
    let is_new =
        |set: &ReplicaSet| new.as_ref().is_some_and(|new| new.metadata.uid == set.metadata.uid);
    let mut old: Vec<ReplicaSet> =
        owned.iter().filter(|set| !is_new(set)).map(|set| ReplicaSet::clone(set)).collect();
    old.sort_by_key(age_key);

    let mut pass = Pass {
        server_status: deployment.status.clone().unwrap_or_default(),
        server_revision: revision_annotation(deployment),
        deployment: deployment.clone(),
        new,
        old,
        now,
        actions: Vec::new(),
    };
    pass.run(pods);
    pass.actions
}

fn age_key(set: &ReplicaSet) -> (Option<Timestamp>, Option<String>) {
    (set.metadata.creation_timestamp.as_ref().map(|time| time.0), set.metadata.name.clone())
}

fn revision_annotation(deployment: &Deployment) -> Option<String> {
    deployment.metadata.annotations.as_ref()?.get(sets::REVISION).cloned()
}

impl Pass {
    fn run(&mut self, pods: &[Arc<Pod>]) {
        if self.deployment.metadata.deletion_timestamp.is_some() {
            self.sync_new_set(false);
            return self.finish(false);
        }
        self.note_pause();
        let paused = self.deployment.spec.as_ref().and_then(|spec| spec.paused) == Some(true);
        if paused || self.was_scaled() {
            self.sync_new_set(false);
            self.scale();
            if paused {
                self.clean_up();
            }
            return self.finish(false);
        }
        if sets::is_rolling_update(&self.deployment) {
            self.sync_new_set(true);
            if !self.grow_new_set() && !self.shrink_old_sets() {
                self.clean_up_when_complete();
            }
        } else {
            self.recreate(pods);
        }
        self.finish(true);
    }

    fn status(&mut self) -> &mut DeploymentStatus {
        self.deployment.status.get_or_insert_default()
    }

    fn note_pause(&mut self) {
        if status::progress_deadline(&self.deployment).is_none() {
            return;
        }
        let current = status::condition(&self.server_status, PROGRESSING);
        let reason = current.and_then(|condition| condition.reason.as_deref());
        if reason == Some(TIMED_OUT) {
            return;
        }
        let was_paused = reason == Some("DeploymentPaused");
        let paused = self.deployment.spec.as_ref().and_then(|spec| spec.paused) == Some(true);
        let (reason, message) = match (paused, was_paused) {
            (true, false) => ("DeploymentPaused", "Deployment is paused"),
            (false, true) => ("DeploymentResumed", "Deployment is resumed"),
            (true, true) | (false, false) => return,
        };
        let condition =
            status::new_condition(PROGRESSING, "Unknown", reason, message.to_owned(), self.now);
        status::set_condition(self.status(), condition);
    }

    fn was_scaled(&self) -> bool {
        let wanted = sets::desired(&self.deployment);
        self.old.iter().chain(&self.new).filter(|set| sets::replicas(set) > 0).any(|set| {
            sets::annotation_number(set, sets::DESIRED_REPLICAS)
                .is_some_and(|desired| desired != wanted)
        })
    }

    /// Brings the newest set's annotations up to date, or makes the set.
    fn sync_new_set(&mut self, create: bool) {
        let newest = self.old.iter().map(sets::revision).max().unwrap_or(0) + 1;
        let min_ready = self.deployment.spec.as_ref().and_then(|spec| spec.min_ready_seconds);
        if let Some(mut set) = self.new.take() {
            let mut changed = sets::set_annotations(&self.deployment, &mut set, newest);
            if let Some(spec) = &mut set.spec
                && spec.min_ready_seconds.unwrap_or(0) != min_ready.unwrap_or(0)
            {
                spec.min_ready_seconds = min_ready;
                changed = true;
            }
            if changed {
                self.actions.push(Action::Update { set: Box::new(set.clone()), scaled_from: None });
            }
            self.set_revision(sets::revision(&set));
            if status::condition(self.status(), PROGRESSING).is_none() {
                self.progress("FoundNewReplicaSet", "Found new replica set", &set);
            }
            self.new = Some(set);
        } else if create {
            let mut set = self.make_set(min_ready);
            let all = sets::total(&self.old);
            let size = sets::new_set_size(&self.deployment, all, 0);
            set.spec.get_or_insert_default().replicas = Some(size);
            sets::set_annotations(&self.deployment, &mut set, newest);
            sets::set_sizes(&self.deployment, &mut set);
            self.actions.push(Action::Create(Box::new(set.clone())));
            self.set_revision(newest);
            self.progress("NewReplicaSetCreated", "Created new replica set", &set);
            self.new = Some(set);
        }
    }

    fn set_revision(&mut self, revision: i64) {
        let annotations = self.deployment.metadata.annotations.get_or_insert_default();
        annotations.insert(sets::REVISION.to_owned(), revision.to_string());
    }

    fn progress(&mut self, reason: &str, what: &str, set: &ReplicaSet) {
        if status::progress_deadline(&self.deployment).is_some() {
            let message =
                format!("{what} \"{}\"", set.metadata.name.as_deref().unwrap_or_default());
            let condition = status::new_condition(PROGRESSING, "True", reason, message, self.now);
            status::set_condition(self.status(), condition);
        }
    }

    fn make_set(&self, min_ready_seconds: Option<i32>) -> ReplicaSet {
        let spec = self.deployment.spec.clone().unwrap_or_default();
        let collisions = self.server_status.collision_count;
        let hash = sets::template_hash(&spec.template, collisions);
        let mut template = spec.template;
        let labels = template.metadata.get_or_insert_default().labels.get_or_insert_default();
        labels.insert(sets::POD_TEMPLATE_HASH.to_owned(), hash.clone());
        let labels = labels.clone();
        let mut selector = spec.selector;
        let pairs = selector.match_labels.get_or_insert_default();
        pairs.insert(sets::POD_TEMPLATE_HASH.to_owned(), hash.clone());
        let name = self.deployment.metadata.name.as_deref().unwrap_or_default();
        ReplicaSet {
            metadata: ObjectMeta {
                name: Some(sets::set_name(name, &hash)),
                namespace: self.deployment.metadata.namespace.clone(),
                labels: Some(labels),
                owner_references: Some(vec![controller_reference(&self.deployment)]),
                ..ObjectMeta::default()
            },
            spec: Some(ReplicaSetSpec {
                replicas: Some(0),
                min_ready_seconds,
                selector,
                template: Some(template),
            }),
            status: None,
        }
    }

    /// Scales one set in `set`'s copy and notes the action; `force` also when only the annotations are old.
    fn scale_one(&mut self, mut set: ReplicaSet, size: i32, force: bool) -> ReplicaSet {
        let before = sets::replicas(&set);
        if before == size && !force {
            return set;
        }
        let renoted = sets::set_sizes(&self.deployment, &mut set);
        if before == size && !renoted {
            return set;
        }
        set.spec.get_or_insert_default().replicas = Some(size);
        // A set that is made in this same pass is made with its size; it has no resourceVersion yet.
        let scaled_from = (before != size).then_some(before);
        self.actions.push(Action::Update { set: Box::new(set.clone()), scaled_from });
        set
    }

    fn scale_new(&mut self, size: i32, force: bool) -> bool {
        let Some(set) = self.new.take() else { return false };
        let before = sets::replicas(&set);
        self.new = Some(self.scale_one(set, size, force));
        before != size
    }

    fn scale_old(&mut self, index: usize, size: i32, force: bool) {
        let set = self.old[index].clone();
        self.old[index] = self.scale_one(set, size, force);
    }

    /// Spreads a new size over the sets, so that a rollout under way is neither hastened nor undone.
    fn scale(&mut self) {
        let wanted = sets::desired(&self.deployment);
        let active: Vec<usize> =
            (0..self.old.len()).filter(|index| sets::replicas(&self.old[*index]) > 0).collect();
        let new_active = self.new.as_ref().is_some_and(|set| sets::replicas(set) > 0);
        match (active.as_slice(), new_active) {
            ([], true) => {
                self.scale_new(wanted, false);
                return;
            }
            ([], false) => {
                if self.new.is_some() {
                    self.scale_new(wanted, false);
                } else if !self.old.is_empty() {
                    self.scale_old(self.old.len() - 1, wanted, false);
                }
                return;
            }
            ([only], false) => return self.scale_old(*only, wanted, false),
            _ => {}
        }
        if self.new_is_saturated() {
            for index in active {
                self.scale_old(index, 0, false);
            }
        } else if sets::is_rolling_update(&self.deployment) {
            self.scale_proportionally(&active, new_active);
        }
    }

    fn new_is_saturated(&self) -> bool {
        let wanted = sets::desired(&self.deployment);
        self.new.as_ref().is_some_and(|set| {
            sets::replicas(set) == wanted
                && sets::annotation_number(set, sets::DESIRED_REPLICAS) == Some(wanted)
                && sets::available(set) == wanted
        })
    }

    fn scale_proportionally(&mut self, active: &[usize], new_active: bool) {
        let wanted = sets::desired(&self.deployment);
        let allowed = if wanted > 0 { wanted + sets::max_surge(&self.deployment) } else { 0 };
        // The newest set has index None.
        let mut order: Vec<Option<usize>> = active.iter().map(|index| Some(*index)).collect();
        if new_active {
            order.push(None);
        }
        let to_add =
            allowed - order.iter().map(|index| sets::replicas(self.at(*index))).sum::<i32>();
        // Largest first; of equals the newer first when growing, the older first when shrinking.
        if to_add > 0 {
            order.reverse();
        }
        order.sort_by_key(|index| -sets::replicas(self.at(*index)));
        let (mut added, mut sizes) = (0, Vec::new());
        for index in &order {
            let set = self.at(*index);
            let share = sets::proportion(&self.deployment, set, to_add, added);
            sizes.push(sets::replicas(set) + share);
            added += share;
        }
        if let Some(first) = sizes.first_mut().filter(|_| to_add != 0) {
            *first = (*first + to_add - added).max(0);
        }
        for (index, size) in order.into_iter().zip(sizes) {
            match index {
                Some(index) => self.scale_old(index, size, true),
                None => {
                    self.scale_new(size, true);
                }
            }
        }
    }

    fn at(&self, index: Option<usize>) -> &ReplicaSet {
        match index {
            Some(index) => &self.old[index],
            None => self.new.as_ref().expect("only asked for when there is a newest set"),
        }
    }

    fn all_replicas(&self) -> i32 {
        sets::total(self.old.iter().chain(&self.new))
    }

    fn grow_new_set(&mut self) -> bool {
        let Some(new) = &self.new else { return false };
        let (size, wanted) = (sets::replicas(new), sets::desired(&self.deployment));
        if size == wanted {
            return false;
        }
        let target = if size > wanted {
            wanted
        } else {
            sets::new_set_size(&self.deployment, self.all_replicas(), size)
        };
        self.scale_new(target, false)
    }

    fn shrink_old_sets(&mut self) -> bool {
        let Some(new) = &self.new else { return false };
        let min_available =
            sets::desired(&self.deployment) - sets::max_unavailable(&self.deployment);
        let new_unavailable = sets::replicas(new) - sets::available(new);
        let most = self.all_replicas() - min_available - new_unavailable;
        if sets::total(&self.old) == 0 || most <= 0 {
            return false;
        }
        // Pods that are not available cost nothing: they go first.
        let mut cleaned = 0;
        for index in 0..self.old.len() {
            let set = &self.old[index];
            let unhealthy = sets::replicas(set) - sets::available(set);
            let count = unhealthy.min(most - cleaned);
            if count > 0 {
                let size = sets::replicas(set) - count;
                self.scale_old(index, size, false);
                cleaned += count;
            }
        }
        let available: i32 = self.old.iter().chain(&self.new).map(sets::available).sum();
        let (spare, mut removed) = (available - min_available, 0);
        for index in 0..self.old.len() {
            let size = sets::replicas(&self.old[index]);
            let count = size.min(spare - removed);
            if count > 0 {
                self.scale_old(index, size - count, false);
                removed += count;
            }
        }
        cleaned + removed > 0
    }

    /// All old pods end before the first new one starts.
    fn recreate(&mut self, pods: &[Arc<Pod>]) {
        self.sync_new_set(false);
        let mut scaled = false;
        for index in 0..self.old.len() {
            if sets::replicas(&self.old[index]) > 0 {
                self.scale_old(index, 0, false);
                scaled = true;
            }
        }
        let new_uid = self.new.as_ref().and_then(|set| set.metadata.uid.as_ref());
        let old_runs = pods.iter().any(|pod| {
            let owner = crate::object::controller_of(&pod.metadata).map(|owner| &owner.uid);
            owner.is_some() && owner != new_uid && !crate::object::is_terminal(pod)
        });
        if scaled || old_runs {
            return;
        }
        self.sync_new_set(true);
        self.scale_new(sets::desired(&self.deployment), false);
        self.clean_up_when_complete();
    }

    fn clean_up_when_complete(&mut self) {
        if status::is_complete(&self.deployment, &self.server_status) {
            self.clean_up();
        }
    }

    fn clean_up(&mut self) {
        let limit = self.deployment.spec.as_ref().and_then(|spec| spec.revision_history_limit);
        let Some(limit) = limit.filter(|limit| *limit != i32::MAX) else { return };
        let mut sets: Vec<&ReplicaSet> =
            self.old.iter().filter(|set| set.metadata.deletion_timestamp.is_none()).collect();
        sets.sort_by_key(|set| sets::revision(set));
        let excess = sets.len().saturating_sub(usize::try_from(limit).unwrap_or(0));
        for set in sets.into_iter().take(excess) {
            let status = set.status.clone().unwrap_or_default();
            let settled = set.metadata.generation <= status.observed_generation;
            if status.replicas == 0 && sets::replicas(set) == 0 && settled {
                self.actions.push(Action::Delete(Arc::new(set.clone())));
            }
        }
    }

    fn finish(&mut self, rollout: bool) {
        let all: Vec<&ReplicaSet> = self.old.iter().chain(&self.new).collect();
        let (deployment, new) = (&self.deployment, self.new.as_ref());
        let next = if rollout {
            status::rollout(deployment, &self.server_status, &all, new, self.now)
        } else {
            status::counts(deployment, &all, new, self.now)
        };
        let again = status::next_check(deployment, &next, self.now);
        let changed = next != self.server_status
            || revision_annotation(&self.deployment) != self.server_revision;
        if changed {
            self.deployment.status = Some(next);
            self.actions.push(Action::WriteStatus(Box::new(self.deployment.clone())));
        }
        if let Some(again) = again.filter(|_| rollout) {
            self.actions.push(Action::Again(again));
        }
    }
}
