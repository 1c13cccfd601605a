//! Clients that add elements to a set that one key holds, and read it. A full set is left behind for a
//! new one.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rand::Rng as _;

use super::caller::Caller;
use crate::history::{Action, Guard, Outcome, Step};
use crate::limits;
use crate::model::list;

/// What all keys with sets start with.
pub const SETS: &str = "set/";

/// The set in use, shared by all clients.
#[derive(Clone, Debug, Default)]
pub(super) struct Sets {
    number: Arc<AtomicUsize>,
}

/// Works until it is stopped; `None` when the history is full.
pub(super) async fn run(mut caller: Caller, sets: Sets) -> Option<()> {
    while caller.turn().await {
        let number = sets.number.load(Ordering::Relaxed);
        let key = format!("{SETS}{number:05}");
        let size = if caller.rng.random_bool(0.4) {
            add(&mut caller, &key).await?
        } else {
            let read = Action::Single { step: Step::Get { key }, serializable: false };
            size(&caller.call(&read).await?)
        };
        if size >= limits::SET_ELEMENTS_MAX {
            sets.number.fetch_max(number + 1, Ordering::Relaxed);
        }
    }
    Some(())
}

fn size(outcome: &Outcome) -> usize {
    let Outcome::Ok(reply) = outcome else { return 0 };
    reply.first_found().map_or(0, |kv| list::elements(&kv.value).len())
}

/// Reads the set and writes it with one element more if it is still as it was, again and again; how
/// large it is.
async fn add(caller: &mut Caller, key: &str) -> Option<usize> {
    let get = || Step::Get { key: key.to_owned() };
    let added = vec![caller.value()];
    let mut read = Action::Single { step: get(), serializable: false };
    for _ in 0..limits::SET_ATTEMPTS_MAX {
        let outcome = caller.call(&read).await?;
        let Outcome::Ok(reply) = &outcome else { return Some(0) };
        if matches!(read, Action::Txn { .. }) && reply.succeeded {
            return Some(0);
        }
        let found = reply.first_found();
        let elements = found.map(|kv| list::elements(&kv.value)).unwrap_or_default();
        let elements: Vec<String> = elements.into_iter().map(str::to_owned).collect();
        if elements.len() >= limits::SET_ELEMENTS_MAX {
            return Some(elements.len());
        }
        let mod_revision = found.map_or(0, |kv| kv.mod_revision);
        let value = list::encode(&elements, &added);
        read = Action::Txn {
            guards: vec![Guard { key: key.to_owned(), mod_revision }],
            then: vec![Step::Put { key: key.to_owned(), value }],
            otherwise: vec![get()],
        };
    }
    Some(0)
}
