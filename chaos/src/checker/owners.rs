//! Operations that may have made a revision though nobody was told that they did: those without an
//! answer that say what they delete, the lock service's keys, and leases that took their keys along.

use std::collections::{BTreeMap, BTreeSet};

use super::floor::Floor;
use crate::history::{Action, Event, EventKind, History, LeaseCall, LockCall, Op, Outcome, Step};
use crate::model::kv::Store;
use crate::workload::LOCKS;

/// The key that the lock service holds a lock with.
pub(super) fn lock_key(name: &str, lease: i64) -> String {
    format!("{name}/{lease:x}")
}

/// Who is left to own revisions.
pub(super) struct Owners<'a> {
    history: &'a History,
    floor: &'a Floor,
    /// Deletes without an answer, by index.
    deletes: BTreeSet<usize>,
    /// Calls that may have put a lock's key, and that may have deleted it, by key.
    lockers: BTreeMap<String, BTreeSet<usize>>,
    unlockers: BTreeMap<String, BTreeSet<usize>>,
    granted: BTreeSet<i64>,
}

impl<'a> Owners<'a> {
    pub(super) fn of(history: &'a History, floor: &'a Floor) -> Self {
        let mut owners = Self {
            history,
            floor,
            deletes: BTreeSet::new(),
            lockers: BTreeMap::new(),
            unlockers: BTreeMap::new(),
            granted: BTreeSet::new(),
        };
        for op in &history.ops {
            owners.take(op);
        }
        owners
    }

    fn take(&mut self, op: &Op) {
        let unknown = matches!(op.outcome, Outcome::Unknown(_));
        if matches!(op.outcome, Outcome::Refused(_)) {
            return;
        }
        match &op.action {
            Action::Single { .. } | Action::As { .. } | Action::Txn { .. } => {
                let steps = op.action.steps(true);
                let only_deletes = steps.iter().all(|step| matches!(step, Step::Delete { .. }));
                if unknown && only_deletes && !steps.is_empty() {
                    self.deletes.insert(op.index);
                }
            }
            Action::Lease(LeaseCall::Grant { lease, .. }) => {
                self.granted.insert(*lease);
            }
            Action::Lock(LockCall::Lock { name, lease }) => {
                let key = lock_key(name, *lease);
                // Who gives up waiting takes his key out of the queue again.
                if unknown {
                    self.unlockers.entry(key.clone()).or_default().insert(op.index);
                }
                self.lockers.entry(key).or_default().insert(op.index);
            }
            Action::Lock(LockCall::Unlock { key }) => {
                self.unlockers.entry(key.clone()).or_default().insert(op.index);
            }
            Action::Page(_) | Action::Compact { .. } | Action::Lease(_) | Action::Admin(_) => {}
        }
    }

    /// Whether it is the lock service that puts such a key.
    pub(super) fn puts_lock(event: &Event) -> bool {
        event.kind == EventKind::Put && event.kv.key.starts_with(LOCKS)
    }

    /// Whether somebody may have put the key of a lock; each may have once.
    pub(super) fn claim_lock(&mut self, revision: i64, events: &[Event]) -> bool {
        let [event] = events else { return false };
        let mut lockers = std::mem::take(&mut self.lockers);
        let locked = claim(&mut lockers, &event.kv.key, |op| self.sent_before(op, revision));
        self.lockers = lockers;
        locked && event.kv.value.is_empty()
    }

    fn sent_before(&self, op: usize, revision: i64) -> bool {
        self.floor.before(self.history.ops[op].invoked_ns).0 < revision
    }

    /// Whether somebody may have deleted all this; each may have once. Any delete without an answer
    /// that was sent early enough can be the one; which of several does not matter, because being
    /// early enough for one revision means being early enough for every later one.
    pub(super) fn claim_deletes(
        &mut self,
        store: &Store,
        revision: i64,
        events: &[Event],
    ) -> Result<(), &'static str> {
        let lease =
            events.first().and_then(|event| store.get(&event.kv.key)).map_or(0, |k| k.lease);
        if lease != 0
            && self.granted.contains(&lease)
            && store.leased(lease).eq(events.iter().map(|event| event.kv.key.as_str()))
        {
            return Ok(());
        }
        if let [event] = events {
            let key = &event.kv.key;
            let mut unlockers = std::mem::take(&mut self.unlockers);
            let unlocked = claim(&mut unlockers, key, |op| self.sent_before(op, revision));
            self.unlockers = unlockers;
            // One whose guards hold only now comes first: it can have been at no other time.
            let guarded = |op: &usize| !self.history.ops[*op].action.guards().is_empty();
            let (first, then): (Vec<usize>, Vec<usize>) =
                self.deletes.iter().partition(|op| guarded(op));
            let deleted = first.into_iter().chain(then).find(|op| {
                let expected = store.predict(&self.history.ops[*op].action).events;
                self.sent_before(*op, revision)
                    && matches!(&expected[..], [only] if only.kv.key == *key)
                    && expected[0].kind == EventKind::Delete
            });
            if unlocked || deleted.is_some_and(|op| self.deletes.remove(&op)) {
                return Ok(());
            }
        }
        Err(if lease == 0 { "D4" } else { "D6" })
    }
}

fn claim(
    calls: &mut BTreeMap<String, BTreeSet<usize>>,
    key: &str,
    fits: impl Fn(usize) -> bool,
) -> bool {
    let Some(calls) = calls.get_mut(key) else { return false };
    let found = calls.iter().copied().find(|op| fits(*op));
    found.is_some_and(|op| calls.remove(&op))
}
