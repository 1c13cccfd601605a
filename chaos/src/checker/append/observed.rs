//! Transactions on lists, read off the operations of a history.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::checker::Verdict;
use crate::history::{History, KeyValue, Op, Outcome, Reply, Step, StepReply};
use crate::model::list;
use crate::workload::LISTS;

/// Elements of one key's list.
pub(super) type List<'a> = Vec<&'a str>;

/// One transaction that happened, or may have.
#[derive(Debug)]
pub(super) struct Txn<'a> {
    /// Index in the history.
    pub(super) op: usize,
    pub(super) invoked_ns: u64,
    /// When it was answered; `u64::MAX` when it was not.
    pub(super) completed_ns: u64,
    /// Lists that it found, before its own appends.
    pub(super) reads: Vec<(&'a str, List<'a>)>,
    /// What it appended.
    pub(super) appends: Vec<(&'a str, List<'a>)>,
}

impl<'a> Txn<'a> {
    pub(super) fn is_answered(&self) -> bool {
        self.completed_ns != u64::MAX
    }

    /// Every list that this transaction shows: what it found, and what it left.
    pub(super) fn shown(&self) -> impl Iterator<Item = (&'a str, List<'a>)> {
        let left = self.appends.iter().map(|(key, added)| {
            let found = self.reads.iter().find(|(other, _)| other == key);
            let mut list = found.map(|(_, list)| list.clone()).unwrap_or_default();
            list.extend(added);
            (*key, list)
        });
        self.reads.iter().cloned().chain(left)
    }
}

/// Who appended an element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// A transaction, by its place in [`Observed::txns`].
    Txn(usize),
    /// An operation that certainly did not happen, by its index.
    Aborted(usize),
}

/// Everything that a history says about lists.
#[derive(Debug, Default)]
pub(super) struct Observed<'a> {
    /// Those that happened. An unanswered one did if an element of it was read.
    pub(super) txns: Vec<Txn<'a>>,
    /// By key and element.
    pub(super) owners: HashMap<(&'a str, &'a str), Owner>,
    /// The longest list of each key, and the operation that showed it.
    pub(super) longest: BTreeMap<&'a str, (List<'a>, usize)>,
}

impl<'a> Observed<'a> {
    /// Reads a history; what a transaction says about itself is judged at once.
    pub(super) fn of(history: &'a History, verdict: &mut Verdict) -> Self {
        let keys = keys(history);
        let mut observed = Self::default();
        let mut unanswered = Vec::new();
        for op in &history.ops {
            if op.action.is_serializable() {
                continue;
            }
            match &op.outcome {
                Outcome::Ok(reply) => {
                    let txn = answered(op, reply, &keys, verdict);
                    if !reply.succeeded {
                        observed.abort(op);
                    }
                    if !txn.reads.is_empty() {
                        observed.take(txn);
                    }
                }
                Outcome::Refused(_) => observed.abort(op),
                Outcome::Unknown(_) => unanswered.push(attempted(op)),
            }
        }
        let read: BTreeSet<(&str, &str)> = observed
            .txns
            .iter()
            .flat_map(Txn::shown)
            .flat_map(|(key, list)| list.into_iter().map(move |element| (key, element)))
            .collect();
        for txn in unanswered {
            let seen = |(key, list): &(&'a str, List<'a>)| {
                list.iter().any(|element| read.contains(&(*key, *element)))
            };
            if txn.appends.iter().any(seen) {
                observed.take(txn);
            }
        }
        observed
    }

    fn take(&mut self, txn: Txn<'a>) {
        let place = self.txns.len();
        for (key, added) in &txn.appends {
            for element in added {
                self.owners.insert((key, element), Owner::Txn(place));
            }
        }
        if txn.is_answered() {
            for (key, list) in txn.shown() {
                let longest = self.longest.entry(key).or_insert_with(|| (Vec::new(), txn.op));
                if list.len() > longest.0.len() {
                    *longest = (list, txn.op);
                }
            }
        }
        self.txns.push(txn);
    }

    fn abort(&mut self, op: &'a Op) {
        for (key, added) in attempted(op).appends {
            for element in added {
                self.owners.insert((key, element), Owner::Aborted(op.index));
            }
        }
    }
}

fn keys(history: &History) -> BTreeSet<&str> {
    let steps = history.ops.iter().flat_map(|op| op.action.steps(true));
    steps.filter_map(Step::key).filter(|key| key.starts_with(LISTS)).collect()
}

/// What an operation without an answer does if it happens: its guards say what it then found.
fn attempted(op: &Op) -> Txn<'_> {
    let (invoked_ns, completed_ns) = (op.invoked_ns, u64::MAX);
    let (reads, appends) = (Vec::new(), Vec::new());
    let mut txn = Txn { op: op.index, invoked_ns, completed_ns, reads, appends };
    for step in op.action.steps(true) {
        if let Step::Put { key, value } = step
            && key.starts_with(LISTS)
        {
            let (found, added) = list::decode(value);
            txn.reads.push((key, found));
            txn.appends.push((key, added));
        }
    }
    txn
}

fn shown(found: Option<&KeyValue>) -> List<'_> {
    found.map(|kv| list::elements(&kv.value)).unwrap_or_default()
}

fn answered<'a>(
    op: &'a Op,
    reply: &'a Reply,
    keys: &BTreeSet<&'a str>,
    verdict: &mut Verdict,
) -> Txn<'a> {
    let (invoked_ns, completed_ns) = (op.invoked_ns, op.completed_ns);
    let (reads, appends) = (Vec::new(), Vec::new());
    let txn = Txn { op: op.index, invoked_ns, completed_ns, reads, appends };
    let mut running = Running { txn, now: BTreeMap::new() };
    for (step, answer) in op.action.steps(reply.succeeded).iter().zip(&reply.steps) {
        match (step, answer) {
            (Step::Get { key }, StepReply::Read { found }) if key.starts_with(LISTS) => {
                running.find(key, shown(found.first()), verdict);
            }
            (Step::List { prefix }, StepReply::Read { found }) => {
                let found: HashMap<&str, &KeyValue> =
                    found.iter().map(|kv| (kv.key.as_str(), kv)).collect();
                for key in keys.iter().filter(|key| key.starts_with(prefix.as_str())) {
                    running.find(key, shown(found.get(key).copied()), verdict);
                }
            }
            (Step::Put { key, value }, StepReply::Put { previous }) if key.starts_with(LISTS) => {
                running.append(key, value, shown(previous.as_ref()), verdict);
            }
            (
                Step::Get { .. }
                | Step::List { .. }
                | Step::Put { .. }
                | Step::PutLeased { .. }
                | Step::Delete { .. },
                _,
            ) => {}
        }
    }
    running.txn
}

/// A transaction while its steps are followed.
struct Running<'a> {
    txn: Txn<'a>,
    /// Each list as this transaction must see it now.
    now: BTreeMap<&'a str, List<'a>>,
}

impl<'a> Running<'a> {
    fn find(&mut self, key: &'a str, found: List<'a>, verdict: &mut Verdict) {
        match self.now.get(key) {
            Some(expected) if *expected != found => verdict.fail(
                "internal",
                vec![self.txn.op],
                format!("{key} is {found:?} inside a transaction that made it {expected:?}"),
            ),
            Some(_) => {}
            None => {
                self.txn.reads.push((key, found.clone()));
                self.now.insert(key, found);
            }
        }
    }

    fn append(&mut self, key: &'a str, value: &'a str, replaced: List<'a>, verdict: &mut Verdict) {
        let (guarded, added) = list::decode(value);
        if replaced != guarded {
            verdict.fail(
                "lost-update",
                vec![self.txn.op],
                format!("{key} was to be changed from {guarded:?}, but {replaced:?} was replaced"),
            );
        }
        self.find(key, guarded.clone(), verdict);
        let left = guarded.into_iter().chain(added.iter().copied()).collect();
        self.now.insert(key, left);
        self.txn.appends.push((key, added));
    }
}
