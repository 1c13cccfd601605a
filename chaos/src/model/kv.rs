//! The key-value store as a sequential machine: the oracle that every answer is compared with.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use crate::history::{Action, Event, EventKind, Guard, KeyValue, Step, StepReply};

/// All live keys at one revision.
#[derive(Clone, Debug, Default)]
pub struct Store {
    /// The revision of this state.
    pub revision: i64,
    live: BTreeMap<String, KeyValue>,
    leased: BTreeMap<i64, BTreeSet<String>>,
}

/// What an action answers and does on a given state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prediction {
    /// Whether the guards hold.
    pub succeeded: bool,
    /// One answer a step.
    pub steps: Vec<StepReply>,
    /// What it changes, all at the next revision; empty when it changes nothing.
    pub events: Vec<Event>,
}

impl Store {
    /// An empty store at the given revision.
    pub fn at(revision: i64) -> Self {
        Self { revision, ..Self::default() }
    }

    /// The live keys in order.
    pub fn live(&self) -> impl Iterator<Item = &KeyValue> {
        self.live.values()
    }

    /// A live key.
    pub fn get(&self, key: &str) -> Option<&KeyValue> {
        self.live.get(key)
    }

    /// The live keys with a prefix, in order, behind one of them ("" for all).
    pub fn under<'a>(
        &'a self,
        prefix: &'a str,
        after: &'a str,
    ) -> impl Iterator<Item = &'a KeyValue> {
        let from = self.live.range::<str, _>((Bound::Included(prefix), Bound::Unbounded));
        let with_prefix = from.take_while(move |(key, _)| key.starts_with(prefix));
        with_prefix.map(|(_, kv)| kv).filter(move |kv| after.is_empty() || kv.key.as_str() > after)
    }

    /// The keys that end with a lease, in order.
    pub fn leased(&self, lease: i64) -> impl Iterator<Item = &str> {
        self.leased.get(&lease).into_iter().flatten().map(String::as_str)
    }

    /// What `action` would answer and change if it came next. Changes nothing.
    pub fn predict(&self, action: &Action) -> Prediction {
        let succeeded = action.guards().iter().all(|guard| self.holds(guard));
        let mut overlay = Overlay { store: self, changed: BTreeMap::new() };
        let mut steps = Vec::new();
        let mut events = Vec::new();
        for step in action.steps(succeeded) {
            steps.push(overlay.run(step, self.revision + 1, &mut events));
        }
        Prediction { succeeded, steps, events }
    }

    /// Takes over what one revision of the log says, whatever the model thinks of it.
    pub fn apply(&mut self, revision: i64, events: &[Event]) {
        for event in events {
            self.detach(&event.kv.key);
            match event.kind {
                EventKind::Put => {
                    if event.kv.lease != 0 {
                        let keys = self.leased.entry(event.kv.lease).or_default();
                        keys.insert(event.kv.key.clone());
                    }
                    self.live.insert(event.kv.key.clone(), event.kv.clone());
                }
                EventKind::Delete => {
                    self.live.remove(&event.kv.key);
                }
            }
        }
        self.revision = revision;
    }

    fn detach(&mut self, key: &str) {
        let Some(lease) = self.live.get(key).map(|kv| kv.lease) else { return };
        if let Some(keys) = self.leased.get_mut(&lease) {
            keys.remove(key);
            if keys.is_empty() {
                self.leased.remove(&lease);
            }
        }
    }

    /// What the log should say about a key, given only what was done to it: versions, creation
    /// and previous value follow from the state before.
    pub fn expect_event(&self, revision: i64, event: &Event) -> Event {
        let previous = self.live.get(&event.kv.key).cloned();
        match event.kind {
            EventKind::Put => {
                let put = (event.kv.key.as_str(), event.kv.value.as_str(), event.kv.lease);
                put_event(revision, put, previous)
            }
            EventKind::Delete => delete_event(revision, &event.kv.key, previous),
        }
    }

    fn holds(&self, guard: &Guard) -> bool {
        self.live.get(&guard.key).map_or(0, |kv| kv.mod_revision) == guard.mod_revision
    }
}

/// The state inside a running transaction: later steps see what earlier ones did.
struct Overlay<'a> {
    store: &'a Store,
    changed: BTreeMap<String, Option<KeyValue>>,
}

impl Overlay<'_> {
    fn get(&self, key: &str) -> Option<KeyValue> {
        match self.changed.get(key) {
            Some(changed) => changed.clone(),
            None => self.store.live.get(key).cloned(),
        }
    }

    fn put(&mut self, revision: i64, put: (&str, &str, i64), events: &mut Vec<Event>) -> StepReply {
        let previous = self.get(put.0);
        let event = put_event(revision, put, previous.clone());
        self.changed.insert(put.0.to_owned(), Some(event.kv.clone()));
        events.push(event);
        StepReply::Put { previous }
    }

    fn run(&mut self, step: &Step, revision: i64, events: &mut Vec<Event>) -> StepReply {
        match step {
            Step::Put { key, value } => self.put(revision, (key, value, 0), events),
            Step::PutLeased { key, value, lease } => {
                self.put(revision, (key, value, *lease), events)
            }
            Step::Delete { key } => {
                let previous = self.get(key);
                if previous.is_some() {
                    events.push(delete_event(revision, key, previous.clone()));
                    self.changed.insert(key.clone(), None);
                }
                StepReply::Delete { previous: previous.into_iter().collect() }
            }
            Step::Get { key } => StepReply::Read { found: self.get(key).into_iter().collect() },
            Step::List { prefix } => {
                let live = self.store.under(prefix, "").map(|kv| &kv.key);
                let changed = self.changed.keys().filter(|key| key.starts_with(prefix.as_str()));
                let keys: BTreeSet<&String> = live.chain(changed).collect();
                StepReply::Read { found: keys.into_iter().filter_map(|k| self.get(k)).collect() }
            }
        }
    }
}

fn put_event(
    revision: i64,
    (key, value, lease): (&str, &str, i64),
    previous: Option<KeyValue>,
) -> Event {
    let (create_revision, version) =
        previous.as_ref().map_or((revision, 1), |kv| (kv.create_revision, kv.version + 1));
    let kv = KeyValue {
        key: key.to_owned(),
        value: value.to_owned(),
        create_revision,
        mod_revision: revision,
        version,
        lease,
    };
    Event { kind: EventKind::Put, kv, previous }
}

fn delete_event(revision: i64, key: &str, previous: Option<KeyValue>) -> Event {
    let kv = KeyValue { key: key.to_owned(), mod_revision: revision, ..KeyValue::default() };
    Event { kind: EventKind::Delete, kv, previous }
}
