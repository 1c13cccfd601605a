//! Keeps `status.used` of every `ResourceQuota` at what its namespace holds, and `status.hard` at
//! the specification.
//!
//! What costs more than its number (pods, services, claims) is measured from the caches, the rest
//! is counted by the server. Pods, services and claims that went or cost less are heard of at once;
//! those of other kinds from the garbage collector's watches, when it runs beside this; everything
//! is measured again every sync period.
//!
//! | Rule | What always holds |
//! |------|-------------------|
//! | N1 | The status is written on the version that was measured for, or not at all. |
//! | N2 | A quota that was charged a moment ago is measured later: what it was charged for may not be there yet, and would be given away. |
//! | N3 | A kind that cannot be measured keeps its numbers. |

mod decide;

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use api_client::{Outcome, WorkQueue, is_conflict, is_not_found, key_of, split_key};
use api_machinery::{
    Object,
    quota::{self, Amounts},
};
use k8s_openapi::{api::core::v1::ResourceQuota, apimachinery::pkg::api::resource::Quantity};
use kube::{
    Api,
    api::{DynamicObject, ListParams, PostParams},
};
use parking_lot::Mutex;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::time::Instant;
use tracing::warn;

use crate::{
    context::Context,
    discovery::{self, Kind},
    limits,
    world::World,
};
use decide::{has_scopes, tally};

pub use decide::{ClaimPrice, differs, of_claim, of_pod, of_service};

/// The queue, and the kinds that the server had a moment ago.
pub struct Controller {
    /// Keys of quotas.
    pub queue: Arc<WorkQueue<String>>,
    kinds: Mutex<Option<(Instant, Arc<Vec<Kind>>)>>,
    /// Quotas that were charged a moment ago, by key.
    charged: Mutex<HashMap<String, Charged>>,
}

/// When somebody charged a quota.
#[derive(Clone, Copy, Debug)]
struct Charged {
    first: Instant,
    last: Instant,
}

impl Charged {
    /// N2: how long its measurement waits yet. Charges without end do not put it off for ever.
    fn wait(&self, now: Instant) -> Option<Duration> {
        let quiet = self.last + limits::QUOTA_QUIET;
        let until = quiet.min(self.first + limits::QUOTA_QUIET_MAX);
        (until > now).then(|| until - now)
    }
}

fn hard(quota: &ResourceQuota) -> Option<&BTreeMap<String, Quantity>> {
    quota.spec.as_ref().and_then(|spec| spec.hard.as_ref())
}

impl Controller {
    /// A controller that knows nothing yet.
    #[must_use]
    pub fn new() -> Arc<Self> {
        let queue = WorkQueue::new("resourcequota_primary");
        Arc::new(Self { queue, kinds: Mutex::default(), charged: Mutex::default() })
    }

    /// Hears of a quota. Its status is this controller's own work, and no news.
    pub fn quota_changed(
        &self,
        before: Option<&Arc<ResourceQuota>>,
        after: Option<&Arc<ResourceQuota>>,
    ) {
        let Some(quota) = after else {
            if let Some(gone) = before {
                self.charged.lock().remove(&key_of(gone.as_ref()));
            }
            return;
        };
        if before.is_some_and(|before| before.status != quota.status) {
            let now = Instant::now();
            let mut charged = self.charged.lock();
            let key = key_of(quota.as_ref());
            charged.entry(key).or_insert(Charged { first: now, last: now }).last = now;
        }
        if before.map(|before| hard(before)) != Some(hard(quota)) {
            self.queue.add(key_of(quota.as_ref()));
        }
    }

    /// Hears of objects that came, went or changed their price. A burst of them is one measurement.
    pub fn heard(&self, world: &World, group: &str, resource: &str, namespace: &str) {
        for quota in world.quotas.in_namespace(namespace) {
            let mut names = hard(&quota).into_iter().flat_map(BTreeMap::keys);
            if names.any(|name| quota::is_measured_by(group, resource, name)) {
                self.queue.add_after(key_of(quota.as_ref()), limits::QUOTA_DELAY);
            }
        }
    }

    /// Measures one quota, and writes its status when that changed.
    ///
    /// # Errors
    /// The first request that failed; what could be measured is written all the same.
    pub async fn sync(
        self: Arc<Self>,
        context: Arc<Context>,
        key: String,
    ) -> Result<Outcome, kube::Error> {
        let Some(quota) = context.world.quotas.get(&key) else { return Ok(Outcome::Done) };
        let Some(tree) = object(quota.as_ref()) else { return Ok(Outcome::Done) };
        let wait = self.charged.lock().get(&key).and_then(|charged| charged.wait(Instant::now()));
        if let Some(wait) = wait {
            return Ok(Outcome::After(wait));
        }
        self.charged.lock().remove(&key);
        let kinds = self.kinds(&context).await?;
        let (measured, failed) = measure(&context, &kinds, &tree).await;
        if let Some(status) = quota::status(&tree, &measured) {
            let mut next = ResourceQuota::clone(&quota);
            next.status = serde_json::from_value(status).ok();
            let (namespace, name) = split_key(&key);
            let api: Api<ResourceQuota> = Api::namespaced(context.client.clone(), namespace);
            match api.replace_status(name, &PostParams::default(), &next).await {
                // N1
                Err(error) if is_conflict(&error) => return Ok(Outcome::Retry),
                Err(error) if !is_not_found(&error) => return Err(error),
                Ok(_) | Err(_) => {}
            }
        }
        failed.map_or(Ok(Outcome::Done), Err)
    }

    async fn kinds(&self, context: &Context) -> Result<Arc<Vec<Kind>>, kube::Error> {
        let known = self.kinds.lock().clone();
        if let Some((asked, kinds)) = known
            && asked.elapsed() < limits::DISCOVERY_PERIOD
        {
            return Ok(kinds);
        }
        let found = discovery::discover(&context.client).await?;
        for failure in &found.failures {
            warn!(failure, "discovery failed for a group, its objects are not counted now");
        }
        let verbs = ["create", "list", "watch", "delete"];
        let kinds = found.kinds.into_iter().filter(|kind| kind.namespaced && kind.can(&verbs));
        let kinds = Arc::new(kinds.collect::<Vec<_>>());
        *self.kinds.lock() = Some((Instant::now(), Arc::clone(&kinds)));
        Ok(kinds)
    }
}

fn object<K: Serialize>(object: &K) -> Option<Object> {
    serde_json::to_value(object).ok().and_then(Object::from_value)
}

fn objects<K: Serialize>(list: &[Arc<K>]) -> Vec<Object> {
    list.iter().filter_map(|one| object(one.as_ref())).collect()
}

/// Measures kind by kind (N3).
async fn measure(
    context: &Context,
    kinds: &[Kind],
    quota: &Object,
) -> (Amounts, Option<kube::Error>) {
    let spec = quota.at(&["spec"]).cloned().unwrap_or(json!({}));
    let (mut total, mut failed) = (Amounts::new(), None);
    for kind in kinds {
        let (group, resource) = (kind.resource.group.as_str(), kind.resource.plural.as_str());
        if tally(&spec, (group, resource), &[], clock::now()).is_empty() {
            continue;
        }
        match cost(context, kind, &spec, quota.namespace()).await {
            Ok(amounts) => quota::add(&mut total, &amounts),
            // The kind went away.
            Err(error) if is_not_found(&error) => {}
            Err(error) => failed = failed.or(Some(error)),
        }
    }
    (total, failed)
}

async fn cost(
    context: &Context,
    kind: &Kind,
    spec: &Value,
    namespace: &str,
) -> Result<Amounts, kube::Error> {
    let world = &context.world;
    let name = (kind.resource.group.as_str(), kind.resource.plural.as_str());
    let objects = match name {
        ("", "pods") => objects(&world.pods.in_namespace(namespace)),
        ("", "services") => objects(&world.services.in_namespace(namespace)),
        ("", "persistentvolumeclaims") => objects(&world.claims.in_namespace(namespace)),
        (group, resource) if quota::needs_objects(group, resource) => {
            live(context, kind, namespace).await?
        }
        (group, resource) => {
            let mut amounts = tally(spec, name, &[], clock::now());
            // No scope is about what is only counted.
            if !has_scopes(spec) {
                let number = count(context, kind, namespace).await?;
                let number = quota::usage_by_number(group, resource, number);
                quota::add(&mut amounts, &number);
            }
            amounts.retain(|name, _| !spec["hard"][name].is_null());
            return Ok(amounts);
        }
    };
    Ok(tally(spec, name, &objects, clock::now()))
}

async fn live(context: &Context, kind: &Kind, namespace: &str) -> Result<Vec<Object>, kube::Error> {
    let api: Api<DynamicObject> =
        Api::namespaced_with(context.client.clone(), namespace, &kind.resource);
    let mut found = Vec::new();
    let mut page = ListParams::default().limit(limits::PAGE);
    loop {
        let list = api.list(&page).await?;
        found.extend(list.items.iter().filter_map(object));
        match list.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => page = page.continue_token(&token),
            None => return Ok(found),
        }
    }
}

/// How many objects there are: one of them, and the number of the others, when the server says it.
async fn count(context: &Context, kind: &Kind, namespace: &str) -> Result<i64, kube::Error> {
    let api: Api<DynamicObject> =
        Api::namespaced_with(context.client.clone(), namespace, &kind.resource);
    let mut number = 0;
    let mut page = ListParams::default().limit(1);
    loop {
        let list = api.list_metadata(&page).await?;
        number += i64::try_from(list.items.len()).unwrap_or(i64::MAX);
        if let Some(others) = list.metadata.remaining_item_count {
            return Ok(number + others);
        }
        match list.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => page = page.limit(limits::PAGE).continue_token(&token),
            None => return Ok(number),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quota_is_left_alone_while_it_is_charged_but_not_for_ever() {
        let start = Instant::now();
        let charged = |last: Duration| Charged { first: start, last: start + last };
        let quiet = limits::QUOTA_QUIET;
        assert_eq!(charged(Duration::ZERO).wait(start), Some(quiet));
        assert_eq!(charged(Duration::ZERO).wait(start + quiet), None);
        let late = limits::QUOTA_QUIET_MAX;
        assert_eq!(charged(late).wait(start + late), None);
    }

    fn quota(hard: &Value) -> Arc<ResourceQuota> {
        let quota = json!({"metadata": {"name": "q", "namespace": "n"}, "spec": {"hard": hard}});
        Arc::new(serde_json::from_value(quota).unwrap())
    }

    #[test]
    fn only_quotas_that_a_change_concerns_are_measured_again() {
        let world = World::new();
        world.quotas.put(quota(&json!({"services": "1", "count/deployments.apps": "1"})));
        for (group, resource, namespace, expected) in [
            ("", "services", "n", true),
            ("apps", "deployments", "n", true),
            ("", "services", "other", false),
            ("", "pods", "n", false),
            ("extensions", "deployments", "n", false),
        ] {
            let controller = Controller::new();
            let before = format!("{:?}", controller.queue);
            controller.heard(&world, group, resource, namespace);
            let waits = format!("{:?}", controller.queue) != before;
            assert_eq!(waits, expected, "{group} {resource} {namespace}");
        }
    }

    #[test]
    fn a_status_of_its_own_is_no_news() {
        let controller = Controller::new();
        let (one, two) = (quota(&json!({"pods": "1"})), quota(&json!({"pods": "2"})));
        let mut written = ResourceQuota::clone(&one);
        written.status = serde_json::from_value(json!({"used": {"pods": "0"}})).ok();
        controller.quota_changed(Some(&one), Some(&Arc::new(written)));
        assert_eq!(controller.queue.len(), 0);
        controller.quota_changed(Some(&one), Some(&two));
        assert_eq!(controller.queue.len(), 1);
    }
}
