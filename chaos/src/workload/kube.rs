//! Clients that do what a Kubernetes API server does to its store: objects are created if they are not
//! there, updated and deleted if they are as they were last seen, listed page by page at one revision and
//! watched from there on; events end with a lease; and one forgets the past, as all servers agreed to.

use std::collections::BTreeMap;

use rand::Rng as _;
use rand::seq::IteratorRandom as _;

use super::caller::Caller;
use super::observers::Told;
use super::watch::Watching;
use super::watcher::{Watch, Watcher};
use crate::history::{
    Action, Asked, Guard, Keys, LeaseCall, Outcome, Page, Reply, Step, StepReply, WatchLog,
};
use crate::limits;

/// What all objects' keys start with.
pub const OBJECTS: &str = "registry/";

const PODS: &str = "registry/pods/";
const EVENTS: &str = "registry/events/";
const COMPACTION: &str = "compact_rev_key";

/// A client's mind: what it last saw of each object.
struct Server {
    caller: Caller,
    objects: usize,
    seen: BTreeMap<String, i64>,
    lease: Option<(i64, u32)>,
    events: u64,
}

/// Works until it is stopped; `None` when the history is full.
pub(super) async fn run(caller: Caller, objects: usize) -> Option<()> {
    let seen = BTreeMap::new();
    let mut server = Server { caller, objects, seen, lease: None, events: 0 };
    while server.caller.turn().await {
        match server.caller.rng.random_range(0..100) {
            0..60 => server.update().await?,
            60..72 => server.create().await?,
            72..80 => server.delete().await?,
            80..88 => server.get().await?,
            88..94 => {
                list(&mut server.caller, &mut server.seen).await?;
            }
            _ => server.event().await?,
        }
    }
    Some(())
}

impl Server {
    fn any_key(&mut self) -> String {
        let number = self.caller.rng.random_range(0..self.objects);
        format!("{PODS}ns-{}/pod-{number:04}", number % 3)
    }

    fn known_key(&mut self) -> Option<String> {
        let known = self.seen.iter().filter(|(_, revision)| **revision > 0);
        known.map(|(key, _)| key.clone()).choose(&mut self.caller.rng)
    }

    fn guard(&self, key: &str) -> Guard {
        Guard { key: key.to_owned(), mod_revision: self.seen.get(key).copied().unwrap_or(0) }
    }

    async fn update(&mut self) -> Option<()> {
        let Some(key) = self.known_key() else { return self.get().await };
        let guards = vec![self.guard(&key)];
        let then = vec![Step::Put { key: key.clone(), value: self.caller.value() }];
        self.change(key.clone(), Action::Txn { guards, then, otherwise: vec![Step::Get { key }] })
            .await
    }

    async fn create(&mut self) -> Option<()> {
        let key = self.any_key();
        let guards = vec![Guard { key: key.clone(), mod_revision: 0 }];
        let then = vec![Step::Put { key: key.clone(), value: self.caller.value() }];
        self.change(key, Action::Txn { guards, then, otherwise: Vec::new() }).await
    }

    async fn delete(&mut self) -> Option<()> {
        let Some(key) = self.known_key() else { return self.create().await };
        let guards = vec![self.guard(&key)];
        let then = vec![Step::Delete { key: key.clone() }];
        self.change(key.clone(), Action::Txn { guards, then, otherwise: vec![Step::Get { key }] })
            .await
    }

    async fn get(&mut self) -> Option<()> {
        let key = self.any_key();
        let step = Step::Get { key: key.clone() };
        self.change(key, Action::Single { step, serializable: false }).await
    }

    /// Calls, and remembers how the key was left.
    async fn change(&mut self, key: String, action: Action) -> Option<()> {
        let Outcome::Ok(reply) = self.caller.call(&action).await? else { return Some(()) };
        let revision = match reply.steps.first() {
            Some(StepReply::Put { .. }) => reply.revision,
            Some(StepReply::Delete { .. }) => 0,
            Some(answer) => answer.found().first().map_or(0, |kv| kv.mod_revision),
            None => return Some(()),
        };
        self.seen.insert(key, revision);
        Some(())
    }

    /// An event ends with a lease that several share, and that nobody renews or revokes.
    async fn event(&mut self) -> Option<()> {
        let lease = match self.lease.take() {
            Some((lease, uses)) if uses < limits::KUBE_LEASE_USES => (lease, uses + 1),
            Some(_) | None => {
                let lease = self.caller.lease();
                let ttl_s = *limits::LEASE_TTL_S.end();
                let grant = Action::Lease(LeaseCall::Grant { lease, ttl_s });
                let Outcome::Ok(_) = self.caller.call(&grant).await? else { return Some(()) };
                (lease, 0)
            }
        };
        self.events += 1;
        let key = format!("{EVENTS}{}-{}", self.caller.number, self.events);
        let guards = vec![Guard { key: key.clone(), mod_revision: 0 }];
        let then = vec![Step::PutLeased { key, value: self.caller.value(), lease: lease.0 }];
        let create = Action::Txn { guards, then, otherwise: Vec::new() };
        // A lease that is gone is left; so is one of which nobody knows whether it is.
        if let Outcome::Ok(_) = self.caller.call(&create).await? {
            self.lease = Some(lease);
        }
        Some(())
    }
}

/// Lists all pods, a page after the other at the revision of the first; that revision, if all of it was
/// answered.
async fn list(caller: &mut Caller, seen: &mut BTreeMap<String, i64>) -> Option<Option<i64>> {
    let limit = caller.rng.random_range(limits::KUBE_PAGE_KEYS);
    let mut page = Page { prefix: PODS.to_owned(), after: String::new(), limit, revision: 0 };
    loop {
        let Outcome::Ok(reply) = caller.call(&Action::Page(page.clone())).await? else {
            return Some(None);
        };
        let Reply { revision, steps, .. } = reply;
        if page.revision == 0 {
            page.revision = revision;
        }
        let Some(StepReply::Page { found, more, .. }) = steps.first() else { return Some(None) };
        seen.extend(found.iter().map(|kv| (kv.key.clone(), kv.mod_revision)));
        match found.last() {
            Some(last) if *more => page.after.clone_from(&last.key),
            Some(_) | None => return Some(Some(page.revision)),
        }
    }
}

/// Lists, watches from there on, and lists anew when the watch is lost, until it is stopped; then on
/// until everything was told.
pub(super) async fn reflect(mut caller: Caller, watching: Watching) -> Vec<WatchLog> {
    let mut logs = Vec::new();
    while caller.turn().await {
        let listed = match list(&mut caller, &mut BTreeMap::new()).await {
            Some(Some(revision)) => revision,
            Some(None) => continue,
            None => return logs,
        };
        let asked = Asked {
            keys: Keys::Under(PODS.to_owned()),
            progress_notify: true,
            ..Asked::everything(listed + 1)
        };
        let member = caller.member();
        let mut route: Vec<_> = caller.members().iter().cloned().enumerate().collect();
        route.rotate_left(member);
        let watcher = Watcher {
            watches: vec![Watch::new(watching.number(), "a reflector".to_owned(), asked)],
            route,
            ask_progress: watching.progress,
            renew_after: None,
            recorder: watching.recorder.clone(),
        };
        let lives_ms = caller.rng.random_range(limits::WATCH_LIFE_MS);
        logs.extend(watching.live(&caller, watcher, lives_ms).await);
    }
    logs
}

/// Forgets the past as API servers do: whoever finds the key as he left it may, and says up to where.
pub(super) async fn compact(mut caller: Caller, told: Told) -> Option<()> {
    let mut mod_revision = 0;
    let mut agreed = 0;
    while caller.turn().await {
        let key = COMPACTION.to_owned();
        let guards = vec![Guard { key: key.clone(), mod_revision }];
        let then = vec![Step::Put { key: key.clone(), value: caller.value() }];
        let action = Action::Txn { guards, then, otherwise: vec![Step::Get { key }] };
        let next = told.highest();
        let Outcome::Ok(reply) = caller.call(&action).await? else { continue };
        if reply.succeeded {
            mod_revision = reply.revision;
            if agreed > 1 {
                caller.call(&Action::Compact { revision: agreed }).await?;
            }
            agreed = next;
        } else {
            mod_revision = reply.first_found().map_or(0, |kv| kv.mod_revision);
        }
    }
    Some(())
}
