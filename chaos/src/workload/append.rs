//! Clients that append to shared lists and read them in transactions: 1 to 4 steps over a few keys.
//!
//! An append takes two calls. The first reads all lists that are to grow; the second, guarded on
//! their revisions, writes them whole and carries out the reads of the transaction. Full lists are
//! left behind, and new keys take their place.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use super::caller::Caller;
use crate::history::{Action, Guard, KeyValue, Outcome, Reply, Step, StepReply};
use crate::limits;
use crate::model::list;

/// What all keys with lists start with.
pub const LISTS: &str = "append/";

/// The keys in use, shared by all clients.
#[derive(Clone, Debug)]
pub(super) struct Lists {
    keys: usize,
    first_key: Arc<AtomicUsize>,
}

impl Lists {
    pub(super) fn new(keys: usize) -> Self {
        Self { keys, first_key: Arc::new(AtomicUsize::new(0)) }
    }

    fn leave_full_ones(&self, first_key: usize, reply: &Reply) {
        let is_full = |answer: &StepReply| {
            first_found(answer)
                .is_some_and(|kv| list::elements(&kv.value).len() >= limits::APPEND_LIST_MAX)
        };
        if reply.steps.iter().any(is_full) {
            self.first_key.fetch_max(first_key + 1, Ordering::Relaxed);
        }
    }
}

/// Works until it is stopped; `None` when the history is full.
pub(super) async fn run(mut caller: Caller, seed: u64, lists: Lists) -> Option<()> {
    let mut planner = Planner::new(seed, caller.number, lists.keys);
    while caller.turn().await {
        let first_key = lists.first_key.load(Ordering::Relaxed);
        let plan = planner.plan(first_key);
        let member = caller.member();
        let mut looked = None;
        if let Some(look) = plan.look() {
            let Outcome::Ok(reply) = caller.call_on(member, &look).await? else { continue };
            lists.leave_full_ones(first_key, &reply);
            looked = Some(reply);
        }
        caller.call_on(member, &plan.act(looked.as_ref())).await?;
    }
    Some(())
}

/// One transaction: what is read, and what is appended where.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    reads: BTreeSet<String>,
    appends: BTreeMap<String, Vec<String>>,
}

impl Plan {
    /// The call that reads the lists that are to grow; `None` when none is.
    pub fn look(&self) -> Option<Action> {
        let then: Vec<Step> =
            self.appends.keys().map(|key| Step::Get { key: key.clone() }).collect();
        let txn = Action::Txn { guards: Vec::new(), then, otherwise: Vec::new() };
        (!self.appends.is_empty()).then_some(txn)
    }

    /// The call that does it all if the lists are still as the first call found them.
    pub fn act(&self, looked: Option<&Reply>) -> Action {
        let mut guards = Vec::new();
        let mut then = Vec::new();
        let answers = looked.map_or(&[][..], |reply| reply.steps.as_slice());
        for ((key, added), answer) in self.appends.iter().zip(answers) {
            let found = first_found(answer);
            let mod_revision = found.map_or(0, |kv| kv.mod_revision);
            let elements = found.map(|kv| list::elements(&kv.value)).unwrap_or_default();
            let elements: Vec<String> = elements.into_iter().map(str::to_owned).collect();
            guards.push(Guard { key: key.clone(), mod_revision });
            then.push(Step::Put { key: key.clone(), value: list::encode(&elements, added) });
        }
        let gets = self.reads.iter().map(|key| Step::Get { key: key.clone() });
        then.extend(gets.clone());
        match then.as_slice() {
            [step @ Step::Get { .. }] => Action::Single { step: step.clone(), serializable: false },
            _ => Action::Txn { guards, then, otherwise: gets.collect() },
        }
    }
}

fn first_found(answer: &StepReply) -> Option<&KeyValue> {
    answer.found().first()
}

/// A client's random numbers and its counter of elements.
#[derive(Debug)]
pub struct Planner {
    rng: StdRng,
    client: usize,
    appended: u64,
    keys: usize,
}

impl Planner {
    /// The planner of one client of a run, with so many keys in use at a time.
    pub fn new(seed: u64, client: usize, keys: usize) -> Self {
        let stream = (client as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        Self { rng: StdRng::seed_from_u64(seed ^ stream), client, appended: 0, keys }
    }

    /// The next transaction, on keys from this number on.
    pub fn plan(&mut self, first_key: usize) -> Plan {
        let mut plan = Plan::default();
        for _ in 0..self.rng.random_range(1..=4) {
            let key = key(first_key + self.rng.random_range(0..self.keys));
            if self.rng.random_bool(0.5) {
                plan.reads.insert(key);
            } else {
                self.appended += 1;
                let element = format!("{}.{}", self.client, self.appended);
                plan.appends.entry(key).or_default().push(element);
            }
        }
        plan
    }
}

fn key(number: usize) -> String {
    format!("{LISTS}{number:05}")
}
