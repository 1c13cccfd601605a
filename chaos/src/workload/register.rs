//! Clients that get, put and compare-and-swap single keys. A key is left behind for a new one after a
//! while, so that the search for an order of each stays short.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rand::Rng as _;

use super::caller::Caller;
use crate::history::{Action, Guard, Outcome, Step};
use crate::limits;

/// What all these keys start with.
pub const REGISTERS: &str = "reg/";

/// The keys in use, shared by all clients: how often each place was used says which key is there.
#[derive(Clone, Debug)]
pub(super) struct Registers {
    used: Arc<[AtomicU64]>,
}

impl Registers {
    pub(super) fn new(keys: usize) -> Self {
        Self { used: (0..keys).map(|_| AtomicU64::new(0)).collect() }
    }

    fn key(&self, place: usize) -> String {
        let used = self.used[place].fetch_add(1, Ordering::Relaxed);
        let generation = used / limits::REGISTER_OPERATIONS_MAX;
        format!("{REGISTERS}{place:03}/{generation:05}")
    }
}

/// Works until it is stopped; `None` when the history is full.
pub(super) async fn run(mut caller: Caller, registers: Registers) -> Option<()> {
    while caller.turn().await {
        let place = caller.rng.random_range(0..registers.used.len());
        let key = registers.key(place);
        let single = |step| Action::Single { step, serializable: false };
        match caller.rng.random_range(0..4) {
            0 | 1 => {
                caller.call(&single(Step::Get { key })).await?;
            }
            2 => {
                let value = caller.value();
                caller.call(&single(Step::Put { key, value })).await?;
            }
            _ => {
                let outcome = caller.call(&single(Step::Get { key: key.clone() })).await?;
                let Outcome::Ok(reply) = outcome else { continue };
                let mod_revision = reply.first_found().map_or(0, |kv| kv.mod_revision);
                let guards = vec![Guard { key: key.clone(), mod_revision }];
                let then = vec![Step::Put { key: key.clone(), value: caller.value() }];
                let otherwise = vec![Step::Get { key }];
                caller.call(&Action::Txn { guards, then, otherwise }).await?;
            }
        }
    }
    Some(())
}
