//! Clients with leases: granted for a short time with keys attached, renewed for a while, then left to
//! expire or revoked.

use rand::Rng as _;
use tokio::time::{Duration, Instant};

use super::caller::Caller;
use crate::history::{Action, LeaseCall, Outcome, Step, StepReply};
use crate::limits;

/// What all keys with leases start with.
pub const LEASED: &str = "lease/";

/// One lease at a time, until it is stopped; `None` when the history is full.
pub(super) async fn run(mut caller: Caller) -> Option<()> {
    while caller.turn().await {
        let lease = caller.lease();
        let ttl_s = caller.rng.random_range(limits::LEASE_TTL_S);
        let grant = Action::Lease(LeaseCall::Grant { lease, ttl_s });
        let Outcome::Ok(reply) = caller.call(&grant).await? else { continue };
        let Some(StepReply::Lease { ttl_s, .. }) = reply.steps.first() else { continue };
        live(&mut caller, lease, *ttl_s).await?;
    }
    Some(())
}

/// The life of a lease: keys, renewals and questions, and one of two ends.
async fn live(caller: &mut Caller, lease: i64, ttl_s: i64) -> Option<()> {
    let prefix = format!("{LEASED}{lease}");
    for place in 0..caller.rng.random_range(1..=3) {
        attach(caller, lease, format!("{prefix}/{place}")).await?;
    }
    for _ in 0..caller.rng.random_range(0..8) {
        if !caller.turn().await {
            break;
        }
        match caller.rng.random_range(0..6) {
            0 | 1 => {
                let renew = Action::Lease(LeaseCall::KeepAlive { lease });
                caller.call(&renew).await?;
            }
            2 => {
                let ask = Action::Lease(LeaseCall::TimeToLive { lease });
                caller.call(&ask).await?;
            }
            3 => {
                let step = Step::List { prefix: format!("{prefix}/") };
                caller.call(&Action::Single { step, serializable: false }).await?;
            }
            4 => attach(caller, lease, format!("{prefix}/0")).await?,
            _ => {
                // A transaction takes a key from the lease, and gives the lease another one.
                let then = vec![
                    Step::Put { key: format!("{prefix}/1"), value: caller.value() },
                    leased(caller, lease, format!("{prefix}/2")),
                ];
                caller
                    .call(&Action::Txn { guards: Vec::new(), then, otherwise: Vec::new() })
                    .await?;
            }
        }
    }
    if caller.rng.random_bool(0.3) {
        let revoke = Action::Lease(LeaseCall::Revoke { lease });
        caller.call(&revoke).await?;
    } else {
        // Whoever waits for its end asks again and again; when it should have come he goes on.
        let end = Instant::now() + Duration::from_secs(ttl_s.unsigned_abs() + 2);
        while Instant::now() < end && caller.turn().await {
            if caller.rng.random_bool(0.2) {
                let ask = Action::Lease(LeaseCall::TimeToLive { lease });
                caller.call(&ask).await?;
            } else {
                let step = Step::Get { key: format!("{prefix}/0") };
                let outcome = caller.call(&Action::Single { step, serializable: false }).await?;
                if matches!(outcome, Outcome::Ok(reply) if reply.first_found().is_none()) {
                    break;
                }
            }
        }
    }
    // What is gone stays gone.
    if caller.rng.random_bool(0.5) {
        let renew = Action::Lease(LeaseCall::KeepAlive { lease });
        caller.call(&renew).await?;
    }
    if caller.rng.random_bool(0.2) {
        attach(caller, lease, format!("{prefix}/0")).await?;
    }
    Some(())
}

fn leased(caller: &mut Caller, lease: i64, key: String) -> Step {
    Step::PutLeased { key, value: caller.value(), lease }
}

async fn attach(caller: &mut Caller, lease: i64, key: String) -> Option<()> {
    let step = leased(caller, lease, key);
    caller.call(&Action::Single { step, serializable: false }).await?;
    Some(())
}
