//! Clients that take a lock of etcd's lock service and change what it guards: a list, whose new state is
//! written only if the key that holds the lock is still there (fencing), and nothing else is asked.

use rand::Rng as _;

use super::caller::Caller;
use crate::history::{Action, Guard, LeaseCall, LockCall, Outcome, Step, StepReply};
use crate::limits;
use crate::model::list;

/// What all keys of locks start with.
pub const LOCKS: &str = "lock/";

/// What the keys that locks guard start with.
pub const GUARDED: &str = "guarded/";

/// Works until it is stopped; `None` when the history is full.
pub(super) async fn run(mut caller: Caller) -> Option<()> {
    let mut lease = None;
    while caller.turn().await {
        let session = match lease.take() {
            Some(session) => session,
            None => {
                let session = caller.lease();
                let ttl_s = *limits::LEASE_TTL_S.start();
                let grant = Action::Lease(LeaseCall::Grant { lease: session, ttl_s });
                if !matches!(caller.call(&grant).await?, Outcome::Ok(_)) {
                    continue;
                }
                session
            }
        };
        let name = caller.rng.random_range(0..limits::LOCKS_COUNT);
        if hold(&mut caller, session, name).await? && caller.rng.random_bool(0.8) {
            lease = Some(session);
        } else {
            // Who does not know whether he waits, or holds it, gives all of it back.
            let revoke = Action::Lease(LeaseCall::Revoke { lease: session });
            caller.call(&revoke).await?;
        }
    }
    Some(())
}

/// Takes the lock, works, and gives it back; whether all of that was answered.
async fn hold(caller: &mut Caller, lease: i64, name: usize) -> Option<bool> {
    let renew = Action::Lease(LeaseCall::KeepAlive { lease });
    let renewed = caller.call(&renew).await?;
    if !matches!(&renewed, Outcome::Ok(reply) if alive(reply.steps.first())) {
        return Some(false);
    }
    let lock = LockCall::Lock { name: format!("{LOCKS}{name}"), lease };
    let Outcome::Ok(reply) = caller.call(&Action::Lock(lock)).await? else {
        return Some(false);
    };
    let Some(StepReply::Locked { key }) = reply.steps.into_iter().next() else {
        return Some(false);
    };
    let worked = work(caller, &key, name).await?;
    // Now and then somebody dies with the lock in his hand.
    if caller.rng.random_bool(0.1) {
        return Some(false);
    }
    let unlock = Action::Lock(LockCall::Unlock { key });
    let unlocked = caller.call(&unlock).await?;
    Some(worked && matches!(unlocked, Outcome::Ok(_)))
}

fn alive(answer: Option<&StepReply>) -> bool {
    matches!(answer, Some(StepReply::Lease { ttl_s: 1.., .. }))
}

/// Reads the lock's key and what it guards, and adds to that once or twice.
async fn work(caller: &mut Caller, key: &str, name: usize) -> Option<bool> {
    let get = |key: &str| Step::Get { key: key.to_owned() };
    for _ in 0..caller.rng.random_range(1..=2) {
        if !caller.turn().await {
            break;
        }
        let guarded = format!("{GUARDED}{name}");
        let then = vec![get(key), get(&guarded)];
        let read = Action::Txn { guards: Vec::new(), then, otherwise: Vec::new() };
        let Outcome::Ok(reply) = caller.call(&read).await? else { return Some(false) };
        let held = reply.first_found().map(|kv| kv.mod_revision);
        let found = reply.steps.get(1).and_then(|answer| answer.found().first());
        let elements = found.map(|kv| list::elements(&kv.value)).unwrap_or_default();
        let keep = elements.len().saturating_sub(limits::SET_ELEMENTS_MAX);
        let elements: Vec<String> = elements[keep..].iter().map(|e| (*e).to_owned()).collect();
        // The key is gone: so is the lock.
        let Some(mod_revision) = held else { return Some(false) };
        let value = list::encode(&elements, &[caller.value()]);
        let fenced = Action::Txn {
            guards: vec![Guard { key: key.to_owned(), mod_revision }],
            then: vec![Step::Put { key: guarded, value }],
            otherwise: vec![get(key)],
        };
        match caller.call(&fenced).await? {
            Outcome::Ok(reply) if reply.succeeded => {}
            Outcome::Ok(_) | Outcome::Refused(_) | Outcome::Unknown(_) => return Some(false),
        }
    }
    Some(true)
}
