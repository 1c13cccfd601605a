//! A history seen from each of its keys: what an operation must have found there, and what it left.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::history::{Action, History, KeyValue, Op, Outcome, Reply, Step, StepReply};
use crate::limits;
use crate::workload::LOCKS;

/// A value by its number; [`ABSENT`] is no value.
pub(super) type Value = u32;

/// The state of a key that does not exist.
pub(super) const ABSENT: Value = 0;

/// What an operation must find.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Need {
    /// Its answer says nothing about it.
    Anything,
    /// This state.
    Is(Value),
    /// Any state but this one.
    Not(Value),
    /// What no state is: the answer contradicts itself.
    Impossible,
}

impl Need {
    pub(super) fn allows(self, state: Value) -> bool {
        match self {
            Self::Anything => true,
            Self::Is(value) => value == state,
            Self::Not(value) => value != state,
            Self::Impossible => false,
        }
    }

    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Anything, need) | (need, Self::Anything) => need,
            (Self::Is(value), need) | (need, Self::Is(value)) => {
                if need.allows(value) {
                    Self::Is(value)
                } else {
                    Self::Impossible
                }
            }
            // Two values that it is not: one of them is forgotten, which accepts more.
            (Self::Not(value), Self::Not(_)) => Self::Not(value),
            (Self::Impossible, _) | (_, Self::Impossible) => Self::Impossible,
        }
    }
}

/// One operation's part on one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct KeyOp {
    /// Index in the history.
    pub(super) op: usize,
    pub(super) invoked_ns: u64,
    pub(super) completed_ns: u64,
    pub(super) need: Need,
    /// The state that it leaves; `None` when it leaves what it finds.
    pub(super) effect: Option<Value>,
}

/// All that was done to one key.
#[derive(Debug, Default)]
pub(super) struct KeyHistory {
    /// Acknowledged operations, in the order in which they were sent.
    pub(super) answered: Vec<KeyOp>,
    /// Writes that may have happened, in the order in which they were sent. One that can happen in
    /// two ways is here twice.
    pub(super) unanswered: Vec<KeyOp>,
    values: Vec<String>,
}

impl KeyHistory {
    pub(super) fn value(&self, value: Value) -> String {
        match value.checked_sub(1).and_then(|place| self.values.get(place as usize)) {
            Some(text) => format!("{text:?}"),
            None => "no value".to_owned(),
        }
    }

    pub(super) fn describe(&self, need: Need) -> String {
        match need {
            Need::Anything => "nothing in particular".to_owned(),
            Need::Is(value) => self.value(value),
            Need::Not(value) => format!("anything but {}", self.value(value)),
            Need::Impossible => "two values at once".to_owned(),
        }
    }
}

/// Splits a history by key; `None` when that is more than the limit.
pub(super) fn by_key(history: &History) -> Option<BTreeMap<&str, KeyHistory>> {
    let mut keys = Keys::of(history);
    let mut projected = 0;
    for op in &history.ops {
        if op.action.is_serializable() {
            continue;
        }
        match &op.outcome {
            Outcome::Refused(_) => {}
            Outcome::Unknown(_) => keys.project_unanswered(op),
            Outcome::Ok(reply) => projected += keys.project_answered(op, reply),
        }
        if projected > limits::LINEAR_OPERATIONS_MAX {
            return None;
        }
    }
    for key in keys.histories.values_mut() {
        key.answered.sort_by_key(|op| op.invoked_ns);
        key.unanswered.sort_by_key(|op| op.invoked_ns);
    }
    // The lock service's own keys end with leases, too.
    let lasts = |key: &str| !keys.leased.contains(key) && !key.starts_with(LOCKS);
    keys.histories.retain(|key, _| lasts(key));
    Some(keys.histories)
}

#[derive(Default)]
struct Keys<'a> {
    histories: BTreeMap<&'a str, KeyHistory>,
    numbers: HashMap<(&'a str, &'a str), Value>,
    /// The value that was shown with a key's mod_revision.
    named: HashMap<(&'a str, i64), Value>,
    /// Keys that may vanish by themselves.
    leased: BTreeSet<&'a str>,
}

impl<'a> Keys<'a> {
    /// All keys, and the names that answers give to their values.
    fn of(history: &'a History) -> Self {
        let mut keys = Self::default();
        for op in &history.ops {
            for step in op.action.steps(true).iter().chain(op.action.steps(false)) {
                if let Some(key) = step.key() {
                    keys.histories.entry(key).or_default();
                }
                if let Step::PutLeased { key, .. } = step {
                    keys.leased.insert(key);
                }
            }
            let Some(reply) = op.reply() else { continue };
            for (step, answer) in op.action.steps(reply.succeeded).iter().zip(&reply.steps) {
                match answer {
                    StepReply::Put { previous } => {
                        if let Some((key, value, _)) = step.put() {
                            let number = keys.number(key, value);
                            keys.named.insert((key, reply.revision), number);
                        }
                        previous.iter().for_each(|kv| keys.name(kv));
                    }
                    StepReply::Delete { previous: found } | StepReply::Read { found } => {
                        found.iter().for_each(|kv| keys.name(kv));
                    }
                    StepReply::Page { .. }
                    | StepReply::Lease { .. }
                    | StepReply::Locked { .. }
                    | StepReply::Users { .. } => {}
                }
            }
        }
        keys
    }

    fn number(&mut self, key: &'a str, value: &'a str) -> Value {
        if let Some(number) = self.numbers.get(&(key, value)) {
            return *number;
        }
        let values = &mut self.histories.entry(key).or_default().values;
        values.push(value.to_owned());
        let number = Value::try_from(values.len()).expect("a history has fewer values");
        self.numbers.insert((key, value), number);
        number
    }

    fn name(&mut self, shown: &'a KeyValue) {
        let number = self.number(&shown.key, &shown.value);
        self.named.insert((&shown.key, shown.mod_revision), number);
    }

    fn state(&mut self, shown: Option<&'a KeyValue>) -> Value {
        shown.map_or(ABSENT, |kv| self.number(&kv.key, &kv.value))
    }

    /// What the guards on a key say about it; `None` when that is unknown.
    fn guarded(&self, op: &Op, key: &str) -> Need {
        let mut need = Need::Anything;
        for guard in op.action.guards().iter().filter(|guard| guard.key == key) {
            need = need.and(self.demanded(key, guard.mod_revision));
        }
        need
    }

    fn demanded(&self, key: &str, mod_revision: i64) -> Need {
        if mod_revision == 0 {
            return Need::Is(ABSENT);
        }
        self.named.get(&(key, mod_revision)).map_or(Need::Anything, |value| Need::Is(*value))
    }

    /// What it takes on this key for the guards not to hold, as far as this key alone can say.
    fn unguarded(&self, op: &Op, key: &str) -> Need {
        match op.action.guards() {
            [guard] if guard.key == key => match self.demanded(key, guard.mod_revision) {
                Need::Is(value) => Need::Not(value),
                Need::Anything | Need::Not(_) | Need::Impossible => Need::Anything,
            },
            _ => Need::Anything,
        }
    }

    fn project_answered(&mut self, op: &'a Op, reply: &'a Reply) -> usize {
        let mut parts: BTreeMap<&'a str, (Need, Option<Value>)> = BTreeMap::new();
        for guard in op.action.guards() {
            let key = guard.key.as_str();
            let need =
                if reply.succeeded { self.guarded(op, key) } else { self.unguarded(op, key) };
            parts.insert(key, (need, None));
        }
        for (step, answer) in op.action.steps(reply.succeeded).iter().zip(&reply.steps) {
            match (step, answer) {
                (
                    Step::Put { key, value } | Step::PutLeased { key, value, .. },
                    StepReply::Put { previous },
                ) => {
                    let found = self.state(previous.as_ref());
                    find(&mut parts, key, found);
                    let left = self.number(key, value);
                    parts.entry(key).or_insert((Need::Anything, None)).1 = Some(left);
                }
                (Step::Delete { key }, StepReply::Delete { previous }) => {
                    let found = self.state(previous.first());
                    find(&mut parts, key, found);
                    if found != ABSENT {
                        parts.entry(key).or_insert((Need::Anything, None)).1 = Some(ABSENT);
                    }
                }
                (Step::Get { key }, StepReply::Read { found }) => {
                    let found = self.state(found.first());
                    find(&mut parts, key, found);
                }
                (Step::List { prefix }, StepReply::Read { found }) => {
                    let shown: HashMap<&str, &KeyValue> =
                        found.iter().map(|kv| (kv.key.as_str(), kv)).collect();
                    for key in self.covered(prefix) {
                        let state = self.state(shown.get(key).copied());
                        find(&mut parts, key, state);
                    }
                }
                // An answer of another kind than its step is the client's mistake, not the store's.
                (
                    Step::Put { .. }
                    | Step::PutLeased { .. }
                    | Step::Delete { .. }
                    | Step::Get { .. }
                    | Step::List { .. },
                    _,
                ) => {}
            }
        }
        let count = parts.len();
        for (key, (need, effect)) in parts {
            if need == Need::Anything && effect.is_none() {
                continue;
            }
            let (invoked_ns, completed_ns) = (op.invoked_ns, op.completed_ns);
            let part = KeyOp { op: op.index, invoked_ns, completed_ns, need, effect };
            self.histories.entry(key).or_default().answered.push(part);
        }
        count
    }

    fn covered(&self, prefix: &'a str) -> Vec<&'a str> {
        let from = self.histories.range(prefix..).map(|(key, _)| *key);
        from.take_while(|key| key.starts_with(prefix)).collect()
    }

    /// Every write that an unanswered operation may have done: in either branch, on each key.
    fn project_unanswered(&mut self, op: &'a Op) {
        for succeeded in [true, false] {
            if !succeeded && !matches!(op.action, Action::Txn { .. }) {
                continue;
            }
            let mut effects: BTreeMap<&'a str, Value> = BTreeMap::new();
            for step in op.action.steps(succeeded) {
                match step {
                    Step::Put { key, value } | Step::PutLeased { key, value, .. } => {
                        let left = self.number(key, value);
                        effects.insert(key, left);
                    }
                    Step::Delete { key } => {
                        effects.insert(key, ABSENT);
                    }
                    Step::Get { .. } | Step::List { .. } => {}
                }
            }
            for (key, effect) in effects {
                let need = if succeeded { self.guarded(op, key) } else { self.unguarded(op, key) };
                let (invoked_ns, completed_ns) = (op.invoked_ns, u64::MAX);
                let effect = Some(effect);
                let part = KeyOp { op: op.index, invoked_ns, completed_ns, need, effect };
                self.histories.entry(key).or_default().unanswered.push(part);
            }
        }
    }
}

/// Takes in that an operation found this state, at a moment when it may itself have changed it.
fn find<'a>(parts: &mut BTreeMap<&'a str, (Need, Option<Value>)>, key: &'a str, found: Value) {
    let (need, effect) = parts.entry(key).or_insert((Need::Anything, None));
    match effect {
        Some(own) if *own == found => {}
        Some(_) => *need = Need::Impossible,
        None => *need = need.and(Need::Is(found)),
    }
}
