//! Locks. Nobody can promise that two clients never believe at the same time that they hold one: a
//! lease ends without its holder's knowledge. That is counted in the notes, not failed. What must hold
//! is what the store decides.
//!
//! | Rule | What always holds |
//! |------|-------------------|
//! | K1 | What a lock guards, written under its key (fenced), is never lost: every state goes on from the |
//! |    | one before it. |
//! | K2 | At the revision of a fenced write the key is the oldest of all that wait for the lock. |
//! | K3 | A lock is given to somebody only when all who waited longer are gone, |
//! | K4 | and while his own key is there. |

use std::collections::BTreeMap;

use super::{Verdict, by_revision};
use crate::history::{Action, Event, EventKind, History, LockCall, Op, StepReply};
use crate::limits;
use crate::model::kv::Store;
use crate::model::list;
use crate::workload::{GUARDED, LOCKS};

/// Checks K1 to K4.
pub fn check(history: &History) -> Verdict {
    let mut verdict = Verdict::new("lock");
    let writes = fenced_writes(history);
    let mut queues = Queues::default();
    let mut store = Store::at(history.base_revision);
    for (revision, events) in by_revision(history.log()) {
        if let Some((op, key)) = writes.get(&revision) {
            verdict.checked += 1;
            let name = name_of(key);
            let oldest = store.under(name, "").min_by_key(|kv| kv.create_revision);
            if oldest.is_none_or(|kv| kv.key != **key) {
                let text =
                    format!("wrote under {key} at revision {revision}, but {oldest:?} holds");
                verdict.fail("K2", vec![*op], text);
            }
        }
        for event in events.iter().filter(|event| event.kv.key.starts_with(GUARDED)) {
            judge_state(&store, event, writes.get(&revision).map(|(op, _)| *op), &mut verdict);
        }
        queues.take(revision, events);
        store.apply(revision, events);
    }
    judge_given(history, &queues, &mut verdict);
    note_doubles(history, &mut verdict);
    verdict
}

/// "lock/3/" of "lock/3/7f".
fn name_of(key: &str) -> &str {
    key.rfind('/').map_or(key, |end| &key[..=end])
}

/// Acknowledged fenced writes by revision: the operation, and the lock's key.
fn fenced_writes(history: &History) -> BTreeMap<i64, (usize, &str)> {
    let mut writes = BTreeMap::new();
    for op in &history.ops {
        let guard = op.action.guards().first().filter(|guard| guard.key.starts_with(LOCKS));
        if let (Some(guard), Some(reply)) = (guard, op.write()) {
            writes.insert(reply.revision, (op.index, guard.key.as_str()));
        }
    }
    writes
}

/// K1: nothing of a state is missing in the next one but what its writer let go from its beginning.
fn judge_state(store: &Store, event: &Event, op: Option<usize>, verdict: &mut Verdict) {
    verdict.checked += 1;
    let before = store.get(&event.kv.key).map(|kv| list::elements(&kv.value)).unwrap_or_default();
    let (found, _) = list::decode(&event.kv.value);
    let kept = &before[before.len().saturating_sub(limits::SET_ELEMENTS_MAX)..];
    if event.kind == EventKind::Delete || found != kept {
        let text = format!("{} was {before:?}, and became {:?}", event.kv.key, event.kv.value);
        verdict.fail("K1", op.into_iter().collect(), text);
    }
}

/// For each key of a lock that ever was: when it came, when it was the oldest, and when it went.
#[derive(Default)]
struct Queues {
    places: BTreeMap<String, Vec<Place>>,
}

#[derive(Clone, Copy)]
struct Place {
    created: i64,
    oldest: Option<i64>,
    gone: Option<i64>,
}

impl Queues {
    fn take(&mut self, revision: i64, events: &[Event]) {
        let mut names = Vec::new();
        for event in events.iter().filter(|event| event.kv.key.starts_with(LOCKS)) {
            let places = self.places.entry(event.kv.key.clone()).or_default();
            match event.kind {
                EventKind::Put if event.kv.version == 1 => {
                    places.push(Place { created: revision, oldest: None, gone: None });
                }
                EventKind::Put => {}
                EventKind::Delete => {
                    places.iter_mut().rev().take(1).for_each(|place| place.gone = Some(revision));
                }
            }
            names.push(name_of(&event.kv.key).to_owned());
        }
        for name in names {
            let queue = self.places.range_mut(name.clone()..);
            let queue = queue.take_while(|(key, _)| key.starts_with(&name));
            let waiting = queue.filter_map(|(_, places)| places.last_mut());
            let waiting = waiting.filter(|place| place.gone.is_none());
            if let Some(first) = waiting.min_by_key(|place| place.created) {
                first.oldest = first.oldest.or(Some(revision));
            }
        }
    }
}

/// K3 and K4. A write that was sent after the lock was given has a later revision than any that the
/// store had when it gave it.
fn judge_given(history: &History, queues: &Queues, verdict: &mut Verdict) {
    let mut later: Vec<(u64, i64)> = Vec::new();
    for op in &history.ops {
        if let Some(reply) = op.write() {
            later.push((op.invoked_ns, reply.revision));
        }
    }
    later.sort_unstable();
    let mut least = i64::MAX;
    for (_, revision) in later.iter_mut().rev() {
        least = least.min(*revision);
        *revision = least;
    }
    for (op, key) in given(history) {
        verdict.checked += 1;
        let place = later.partition_point(|(sent_ns, _)| *sent_ns <= op.completed_ns);
        let end = later.get(place).map_or(i64::MAX, |(_, revision)| *revision);
        // Of several with this key the last one that can have been there.
        let places = queues.places.get(key).map(Vec::as_slice).unwrap_or_default();
        let Some(own) = places.iter().rev().find(|place| place.created < end) else {
            let text = format!("{key} was given, but it never was there");
            verdict.fail("K4", vec![op.index], text);
            continue;
        };
        match own.oldest {
            Some(oldest) if oldest < end => {}
            Some(_) | None if own.gone.is_some_and(|gone| gone < end) => {
                let text = format!("{key} was given, but it was gone before its turn came");
                verdict.fail("K4", vec![op.index], text);
            }
            Some(_) | None => {
                let text = format!("{key} was given while others waited for longer");
                verdict.fail("K3", vec![op.index], text);
            }
        }
    }
}

fn given(history: &History) -> impl Iterator<Item = (&Op, &str)> {
    history.ops.iter().filter_map(|op| match (&op.action, op.reply()?.steps.first()?) {
        (Action::Lock(LockCall::Lock { .. }), StepReply::Locked { key }) => {
            Some((op, key.as_str()))
        }
        _ => None,
    })
}

/// How often somebody was given a lock while another one had not given it back.
fn note_doubles(history: &History, verdict: &mut Verdict) {
    let mut returned: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    for op in &history.ops {
        if let Action::Lock(LockCall::Unlock { key }) = &op.action {
            returned.entry(key).or_default().push(op.invoked_ns);
        }
    }
    let mut holders: BTreeMap<&str, Vec<(u64, u64)>> = BTreeMap::new();
    let mut count = 0_u64;
    for (op, key) in given(history) {
        let given_ns = op.completed_ns;
        let unlocks = returned.get(key).map(Vec::as_slice).unwrap_or_default();
        // Who did not give it back let it go with his lease, nobody knows when.
        let end_ns = unlocks.iter().copied().filter(|at| *at > given_ns).min().unwrap_or(given_ns);
        holders.entry(name_of(key)).or_default().push((given_ns, end_ns));
        count += 1;
    }
    let mut doubles = 0_u64;
    for held in holders.values_mut() {
        held.sort_unstable();
        let mut until_ns = 0;
        for (given_ns, end_ns) in held {
            doubles += u64::from(*given_ns < until_ns);
            until_ns = until_ns.max(*end_ns);
        }
    }
    verdict.notes.push(format!(
        "{count} times a lock was given, {doubles} times while somebody else believed to hold it"
    ));
}
