//! Chooses the next operation of a client: seeded, over few keys so that clients collide, with
//! values that are never used twice.

use std::collections::BTreeMap;

use rand::Rng as _;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;

use crate::history::{Action, Guard, KeyValue, Outcome, Step, StepReply};

/// A client's mind: its random numbers, its counter, and what it last saw of each key.
#[derive(Debug)]
pub struct Generator {
    rng: StdRng,
    client: usize,
    written: u64,
    keys: Vec<String>,
    seen: BTreeMap<String, i64>,
}

impl Generator {
    /// The generator of one client of a run.
    pub fn new(seed: u64, client: usize, keys: usize) -> Self {
        let stream = (client as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        Self {
            rng: StdRng::seed_from_u64(seed ^ stream),
            client,
            written: 0,
            keys: (0..keys).map(|key| format!("r/{key:03}")).collect(),
            seen: BTreeMap::new(),
        }
    }

    /// The next operation.
    pub fn action(&mut self) -> Action {
        match self.rng.random_range(0..100) {
            0..28 => {
                let key = self.key();
                let step = self.put(key);
                Action::Single { step, serializable: false }
            }
            28..38 => {
                let key = self.key();
                Action::Single { step: Step::Delete { key }, serializable: false }
            }
            38..56 => self.compare_and_swap(),
            56..68 => self.multi_key(),
            68..88 => self.single_read(false),
            88..92 => self.single_read(true),
            92..97 => self.list(false),
            _ => self.list(true),
        }
    }

    /// Remembers what an answer says about keys, so that guards can hold.
    pub fn learn(&mut self, action: &Action, outcome: &Outcome) {
        let Outcome::Ok(reply) = outcome else { return };
        for (step, answer) in action.steps(reply.succeeded).iter().zip(&reply.steps) {
            match (step, answer) {
                (Step::Put { key, .. } | Step::PutLeased { key, .. }, _) => {
                    self.seen.insert(key.clone(), reply.revision);
                }
                (Step::Delete { key }, _) => {
                    self.seen.insert(key.clone(), 0);
                }
                (Step::Get { key }, StepReply::Read { found }) => {
                    let revision = found.first().map_or(0, |kv: &KeyValue| kv.mod_revision);
                    self.seen.insert(key.clone(), revision);
                }
                (Step::List { .. }, StepReply::Read { found }) => {
                    self.seen.extend(found.iter().map(|kv| (kv.key.clone(), kv.mod_revision)));
                }
                (Step::Get { .. } | Step::List { .. }, _) => {}
            }
        }
    }

    fn key(&mut self) -> String {
        self.keys.choose(&mut self.rng).expect("a workload has keys").clone()
    }

    fn put(&mut self, key: String) -> Step {
        self.written += 1;
        Step::Put { key, value: format!("c{}-{}", self.client, self.written) }
    }

    fn guard(&self, key: &str) -> Guard {
        Guard { key: key.to_owned(), mod_revision: self.seen.get(key).copied().unwrap_or(0) }
    }

    /// Writes a key if it is as this client last saw it, else reads it.
    fn compare_and_swap(&mut self) -> Action {
        let key = self.key();
        let guards = vec![self.guard(&key)];
        let then = vec![self.put(key.clone())];
        Action::Txn { guards, then, otherwise: vec![Step::Get { key }] }
    }

    /// Two to four keys changed and read in one revision; half of the time guarded. It always has a
    /// put, so that its value names it in the log.
    fn multi_key(&mut self) -> Action {
        let count = self.rng.random_range(2..=4).min(self.keys.len());
        let keys: Vec<String> = self.keys.choose_multiple(&mut self.rng, count).cloned().collect();
        let mut guards = Vec::new();
        if self.rng.random_bool(0.5) {
            guards.push(self.guard(&keys[0]));
        }
        let mut then = Vec::new();
        for (place, key) in keys.iter().enumerate() {
            let step = match (place, self.rng.random_range(0..10)) {
                (0, _) | (_, 0..5) => self.put(key.clone()),
                (_, 5..7) => Step::Delete { key: key.clone() },
                _ => Step::Get { key: key.clone() },
            };
            then.push(step);
        }
        let otherwise = keys.into_iter().map(|key| Step::Get { key }).collect();
        Action::Txn { guards, then, otherwise }
    }

    fn single_read(&mut self, serializable: bool) -> Action {
        Action::Single { step: Step::Get { key: self.key() }, serializable }
    }

    fn list(&mut self, serializable: bool) -> Action {
        let prefix = if self.rng.random_bool(0.5) { "r/" } else { "r/00" };
        Action::Single { step: Step::List { prefix: prefix.to_owned() }, serializable }
    }
}
