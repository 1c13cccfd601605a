//! Good histories, made by the model, for tests to break.

use super::{Verdict, by_revision};
use crate::history::{
    Action, Asked, Event, FinalState, History, Kind, Op, Outcome, Page, Reply, Step, StepReply,
    WatchLog, WatchSeen,
};
use crate::model::kv::Store;

/// Builds a history by running actions one after the other on the model, which is by definition
/// a good store; the tests then break one thing.
pub(super) struct Story {
    pub(super) history: History,
    pub(super) store: Store,
    pub(super) log: Vec<Event>,
    pub(super) clock: u64,
}

pub(super) fn put(key: &str, value: &str) -> Action {
    let step = Step::Put { key: key.to_owned(), value: value.to_owned() };
    Action::Single { step, serializable: false }
}

pub(super) fn delete(key: &str) -> Action {
    Action::Single { step: Step::Delete { key: key.to_owned() }, serializable: false }
}

pub(super) fn get(key: &str) -> Action {
    Action::Single { step: Step::Get { key: key.to_owned() }, serializable: false }
}

pub(super) fn list() -> Action {
    Action::Single { step: Step::List { prefix: String::new() }, serializable: false }
}

pub(super) fn both(first: &str, second: &str, value: &str) -> Action {
    let then = [first, second]
        .iter()
        .enumerate()
        .map(|(n, key)| Step::Put { key: (*key).to_owned(), value: format!("{value}{n}") })
        .collect();
    Action::Txn { guards: Vec::new(), then, otherwise: Vec::new() }
}

impl Story {
    pub(super) fn new() -> Self {
        Self {
            history: History { kinds: vec![Kind::RwTxn], base_revision: 1, ..History::default() },
            store: Store::at(1),
            log: Vec::new(),
            clock: 0,
        }
    }

    /// The action happens; with an answer, or without (`answered` false).
    pub(super) fn happens(&mut self, action: Action, answered: bool) -> &mut Self {
        let expected = self.store.predict(&action);
        if !expected.events.is_empty() {
            let revision = self.store.revision + 1;
            self.store.apply(revision, &expected.events);
            self.log.extend(expected.events);
        }
        let reply = Reply {
            revision: self.store.revision,
            succeeded: expected.succeeded,
            steps: expected.steps,
        };
        let outcome = if answered {
            Outcome::Ok(reply)
        } else {
            Outcome::Unknown("the connection was lost".to_owned())
        };
        self.record(action, outcome)
    }

    pub(super) fn ok(&mut self, action: Action) -> &mut Self {
        self.happens(action, true)
    }

    pub(super) fn record(&mut self, action: Action, outcome: Outcome) -> &mut Self {
        let index = self.history.ops.len();
        let member = index % 3;
        let (invoked_ns, completed_ns) = (self.clock + 1, self.clock + 5);
        self.clock += 10;
        let op = Op { index, process: 0, member, invoked_ns, completed_ns, action, outcome };
        self.history.ops.push(op);
        self
    }

    /// All members end with the log, and one watcher was told it, a revision a response.
    pub(super) fn finish(&mut self) -> History {
        let mut history = self.history.clone();
        for member in 0..3 {
            history.finals.push(FinalState {
                member,
                revision: self.store.revision,
                live: self.store.live().cloned().collect(),
                log: self.log.clone(),
                hash: Some(7),
            });
        }
        let seen = by_revision(&self.log)
            .map(|(revision, events)| WatchSeen {
                time_ns: self.clock,
                stream: 0,
                member: 0,
                start_revision: 2,
                revision,
                events: events.to_vec(),
                ..WatchSeen::default()
            })
            .collect();
        history.watches.push(WatchLog {
            name: "on member 0".to_owned(),
            asked: Asked::everything(2),
            seen,
            ..WatchLog::default()
        });
        history
    }
}

/// Revisions 2 to 6: put a, put b, both, delete a, put a; reads between.
pub(super) fn good() -> History {
    let mut story = Story::new();
    story.ok(put("a", "1")).ok(get("a")).ok(put("b", "2")).ok(both("a", "b", "3-"));
    story.ok(list()).ok(delete("a")).ok(delete("a")).ok(put("a", "4")).ok(list());
    story.finish()
}

pub(super) fn assert_rejects(verdict: &Verdict, rule: &str) {
    assert!(
        verdict.violations.iter().any(|violation| violation.rule == rule),
        "{rule} was expected from {verdict:#?}"
    );
}

pub(super) fn reply_mut(history: &mut History, index: usize) -> &mut Reply {
    match &mut history.ops[index].outcome {
        Outcome::Ok(reply) => reply,
        Outcome::Refused(_) | Outcome::Unknown(_) => panic!("operation {index} has no answer"),
    }
}

/// What a good store tells who asks for this, a revision a response, from a revision on.
pub(super) fn told(log: &[Event], asked: &Asked, start_revision: i64) -> Vec<WatchSeen> {
    let mut seen = Vec::new();
    for (revision, events) in by_revision(log).filter(|(at, _)| *at >= start_revision) {
        let mut events: Vec<Event> = events.iter().filter(|e| asked.wants(e)).cloned().collect();
        for event in &mut events {
            event.previous = event.previous.take().filter(|_| asked.prev_kv);
        }
        if !events.is_empty() {
            seen.push(WatchSeen { start_revision, revision, events, ..WatchSeen::default() });
        }
    }
    seen
}

/// A page as a good store answers it.
pub(super) fn page(story: &mut Story, after: &str, limit: i64, revision: i64) {
    let prefix = "p/".to_owned();
    let all = story.store.under(&prefix, after);
    let all: Vec<_> =
        all.filter(|kv| revision == 0 || kv.mod_revision <= revision).cloned().collect();
    let found: Vec<_> = all.iter().take(limit.unsigned_abs() as usize).cloned().collect();
    let (more, count) = (found.len() < all.len(), all.len() as i64);
    let steps = vec![StepReply::Page { found, more, count }];
    let reply = Reply { revision: story.store.revision, succeeded: true, steps };
    let after = after.to_owned();
    story.record(Action::Page(Page { prefix, after, limit, revision }), Outcome::Ok(reply));
}
