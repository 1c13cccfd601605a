//! `ResourceQuota`: what a write costs is charged before it is made.
//!
//! | Rule | What always holds |
//! |------|-------------------|
//! | Q1 | A charge is a compare-and-swap on the quota's status: two never count on the same rest. |
//! | Q2 | This server charges the quotas of a namespace in one batch after the other. |
//! | Q3 | A dry run is checked and charged nothing. |
//! | Q4 | A write that fails after its charge stays charged until the controller counts again. |

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use api_machinery::apply::{self, Target, Writer};
use api_machinery::quota::{Charge, set_used};
use api_machinery::{Object, ResourceInfo, Status, kinds, time};
use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::{Attributes, Operation, in_namespace};
use crate::limits::{CHARGED_QUOTAS_MAX, QUOTA_TIMEOUT, QUOTA_WAITERS_MAX, UPDATE_TRIES_MAX};
use crate::storage::{self, Outcome, Storage};
use crate::watch_cache::Caches;

/// Who upstream says changed the status.
const MANAGER: &str = "kube-apiserver";

/// Those who wait for their charge, and the quotas as this server charged them last.
#[derive(Debug)]
pub(crate) struct Ledger {
    storage: Arc<Storage>,
    caches: Arc<Caches>,
    /// By namespace; an entry is there while somebody works on it (Q2).
    waiting: Mutex<HashMap<String, Vec<Waiter>>>,
    /// By namespace and name, until the cache has them too.
    charged: Mutex<HashMap<(String, String), (u64, Object)>>,
}

/// One write that waits.
#[derive(Debug)]
struct Waiter {
    group: String,
    resource: String,
    subresource: String,
    new: Object,
    old: Option<Object>,
    dry_run: bool,
    verdict: oneshot::Sender<Verdict>,
}

#[derive(Debug)]
enum Verdict {
    Charged,
    /// Why not.
    Forbidden(String),
    /// Nobody knows.
    Failed(Status),
}

impl Waiter {
    fn charge(&self) -> Charge<'_> {
        Charge {
            group: &self.group,
            resource: &self.resource,
            subresource: &self.subresource,
            new: &self.new,
            old: self.old.as_ref(),
        }
    }

    /// A request that ended meanwhile does not hear it.
    fn tell(self, verdict: Verdict) {
        let _ = self.verdict.send(verdict);
    }
}

fn tell_all(waiters: Vec<Waiter>, verdict: impl Fn() -> Verdict) {
    for waiter in waiters {
        waiter.tell(verdict());
    }
}

/// Checks what a write costs, and charges it.
pub(super) async fn validate(asked: &Attributes<'_>, object: &Object) -> Result<(), Status> {
    let charge = Charge {
        group: asked.kind.group,
        resource: asked.kind.plural,
        subresource: asked.subresource,
        new: object,
        old: asked.old.filter(|_| asked.operation == Operation::Update),
    };
    if asked.namespace.is_empty() || !charge.counts() {
        return Ok(());
    }
    let ledger = &asked.server.quotas;
    if ledger.has_none(asked.namespace)? {
        return Ok(());
    }
    let (verdict, heard) = oneshot::channel();
    let waiter = Waiter {
        group: charge.group.to_owned(),
        resource: charge.resource.to_owned(),
        subresource: charge.subresource.to_owned(),
        new: object.clone(),
        old: charge.old.cloned(),
        dry_run: asked.dry_run,
        verdict,
    };
    ledger.add(asked.namespace, waiter)?;
    match tokio::time::timeout(QUOTA_TIMEOUT, heard).await {
        Ok(Ok(Verdict::Charged)) => Ok(()),
        Ok(Ok(Verdict::Forbidden(why))) => {
            Err(Status::forbidden(&asked.kind.group_resource(), object.name(), &why))
        }
        Ok(Ok(Verdict::Failed(status))) => Err(status),
        Ok(Err(_)) | Err(_) => Err(Status::internal("resource quota evaluation timed out")),
    }
}

fn quota_kind() -> Result<&'static ResourceInfo, Status> {
    kinds::find("", "v1", "resourcequotas").ok_or_else(Status::no_such_path)
}

/// Takes a namespace from those that are worked on, also when the work panics.
struct Work {
    ledger: Arc<Ledger>,
    namespace: String,
}

impl Work {
    /// The next batch; the end when nobody waits any more.
    fn next(&self) -> Option<Vec<Waiter>> {
        let mut waiting = self.ledger.waiting.lock();
        let batch = std::mem::take(waiting.get_mut(&self.namespace)?);
        if batch.is_empty() {
            // Under the same lock, so that nobody is added in between and forgotten.
            waiting.remove(&self.namespace);
            return None;
        }
        Some(batch)
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.ledger.waiting.lock().remove(&self.namespace);
        }
    }
}

impl Ledger {
    pub(crate) fn new(storage: Arc<Storage>, caches: Arc<Caches>) -> Arc<Self> {
        let (waiting, charged) = (Mutex::default(), Mutex::default());
        Arc::new(Self { storage, caches, waiting, charged })
    }

    /// Whether there are no quotas here, as far as the cache knows.
    fn has_none(&self, namespace: &str) -> Result<bool, Status> {
        if !self.caches.is_synced() {
            return Ok(false);
        }
        let stores = (&*self.storage, &*self.caches);
        Ok(in_namespace::cached(stores, quota_kind()?, namespace)?.is_empty())
    }

    fn add(self: &Arc<Self>, namespace: &str, waiter: Waiter) -> Result<(), Status> {
        match self.waiting.lock().entry(namespace.to_owned()) {
            Entry::Occupied(held) if held.get().len() >= QUOTA_WAITERS_MAX => {
                return Err(Status::too_many_requests("too many requests wait for a quota", 1));
            }
            Entry::Occupied(mut held) => {
                held.get_mut().push(waiter);
                return Ok(());
            }
            Entry::Vacant(place) => {
                place.insert(vec![waiter]);
            }
        }
        let work = Work { ledger: Arc::clone(self), namespace: namespace.to_owned() };
        tokio::spawn(async move {
            while let Some(batch) = work.next() {
                work.ledger.settle(&work.namespace, batch).await;
            }
        });
        Ok(())
    }

    async fn settle(&self, namespace: &str, mut batch: Vec<Waiter>) {
        let mut quotas = match self.quotas(namespace).await {
            Ok(quotas) => quotas,
            Err(status) => return tell_all(batch, || Verdict::Failed(status.clone())),
        };
        let mut last = None;
        for _ in 0..UPDATE_TRIES_MAX {
            let (next, charged) = decide(&quotas, batch, clock::now());
            batch = charged;
            if batch.is_empty() {
                return;
            }
            match self.write(&quotas, next).await {
                Ok(left) if left.is_empty() => return tell_all(batch, || Verdict::Charged),
                Ok(left) => {
                    last = left.first().map(|quota| quota.name().to_owned());
                    quotas = left;
                }
                Err(status) => return tell_all(batch, || Verdict::Failed(status.clone())),
            }
        }
        let resource = api_machinery::status::Grouped::new("", "resourcequotas");
        let name = last.unwrap_or_default();
        let conflict = || Status::conflict(&resource, &name, Status::MODIFIED);
        tell_all(batch, || Verdict::Failed(conflict()));
    }

    /// The quotas of a namespace: what this server wrote last, where the cache is behind.
    async fn quotas(&self, namespace: &str) -> Result<Vec<Object>, Status> {
        let kind = quota_kind()?;
        if !self.caches.is_synced() {
            return Ok(in_namespace::stored(&self.storage, kind, namespace).await?.0);
        }
        let quotas = in_namespace::cached((&self.storage, &self.caches), kind, namespace)?;
        let mut charged = self.charged.lock();
        let newest = |quota: Object| {
            let key = (namespace.to_owned(), quota.name().to_owned());
            match charged.get(&key) {
                Some((revision, written)) if *revision > revision_of(&quota) => written.clone(),
                Some(_) => {
                    charged.remove(&key);
                    quota
                }
                None => quota,
            }
        };
        Ok(quotas.into_iter().map(newest).collect())
    }

    /// Q1. Returns what is still to be charged when somebody else changed a quota meanwhile: its newer
    /// version, and those behind it. They wait for it: two servers that each had charged one of two
    /// quotas to its limit would refuse everything at the other one.
    async fn write(&self, before: &[Object], after: Vec<Object>) -> Result<Vec<Object>, Status> {
        let kind = quota_kind()?;
        let now = time::seconds(clock::now());
        for (index, (old, after)) in before.iter().zip(after).enumerate() {
            if old == &after {
                continue;
            }
            let writer = Writer { manager: MANAGER, now: &now, force: false };
            let target = Target::of(kind, "status");
            let mut after = apply::update(&target, Some(old), after, writer);
            match self.storage.put(kind, &mut after, revision_of(old)).await? {
                Outcome::Done(revision) => self.remember(revision, after),
                Outcome::Conflict(Some(raw)) => {
                    let mut left = vec![storage::stored(&raw)?.object];
                    left.extend_from_slice(&before[index + 1..]);
                    return Ok(left);
                }
                // It is gone, and limits nothing any more.
                Outcome::Conflict(None) => {}
            }
        }
        Ok(Vec::new())
    }

    fn remember(&self, revision: u64, quota: Object) {
        let mut charged = self.charged.lock();
        // Without one of them the next charge meets a conflict, and is made again.
        if charged.len() >= CHARGED_QUOTAS_MAX {
            charged.clear();
        }
        let key = (quota.namespace().to_owned(), quota.name().to_owned());
        charged.insert(key, (revision, quota));
    }
}

fn revision_of(quota: &Object) -> u64 {
    quota.resource_version().parse().unwrap_or(0)
}

/// Tells those for whom nothing is to be charged, and returns the quotas as they are after the
/// charges of the others, who are returned too.
fn decide(quotas: &[Object], batch: Vec<Waiter>, now: Timestamp) -> (Vec<Object>, Vec<Waiter>) {
    let (mut next, mut charged) = (quotas.to_vec(), Vec::new());
    for waiter in batch {
        match waiter.charge().under(&next, now) {
            Err(why) => waiter.tell(Verdict::Forbidden(why)),
            // Q3.
            Ok(costs) if costs.is_empty() || waiter.dry_run => waiter.tell(Verdict::Charged),
            Ok(costs) => {
                for (index, used) in &costs {
                    set_used(&mut next[*index], used);
                }
                charged.push(waiter);
            }
        }
    }
    (next, charged)
}
