//! One who changes what users may do, and users who read and write meanwhile. As long as it runs the
//! store knows everybody: all other clients are root.

use anyhow::{bail, ensure};
use rand::Rng as _;
use tokio::time::Instant;

use super::caller::Caller;
use crate::client::ROOT;
use crate::history::{Action, AdminCall, Outcome, Step};
use crate::limits;

/// What the keys start with that users are let to and forbidden.
pub const SECRETS: &str = "auth/";

fn user(number: usize) -> String {
    format!("user-{number}")
}

fn role(number: usize) -> String {
    format!("role-{number}")
}

fn prefix(number: usize) -> String {
    format!("{SECRETS}{number}/")
}

/// Makes root, users and roles, and enables them. There must be no faults yet, but a new cluster may
/// still change its leader: each call is tried again, for changing nothing is acknowledged, too.
pub(super) async fn enable(caller: &mut Caller) -> anyhow::Result<()> {
    let root = || ROOT.to_owned();
    let mut calls = vec![
        AdminCall::AddUser { user: root() },
        AdminCall::AddRole { role: root() },
        AdminCall::GrantRole { user: root(), role: root() },
    ];
    for number in 0..limits::AUTH_USERS {
        calls.push(AdminCall::AddUser { user: user(number) });
        calls.push(AdminCall::AddRole { role: role(number) });
        let (user, role) = (user(number), role(number));
        calls.push(AdminCall::GrantRole { user, role: role.clone() });
        calls.push(AdminCall::Permit { role, prefix: prefix(number), write: true });
    }
    calls.push(AdminCall::Enable);
    let start = Instant::now();
    for call in calls {
        until_done(caller, &Action::Admin(call), start).await?;
    }
    Ok(())
}

async fn until_done(caller: &mut Caller, action: &Action, start: Instant) -> anyhow::Result<()> {
    let mut is_open = false;
    loop {
        let outcome = caller.call(action).await;
        match &outcome {
            Some(Outcome::Ok(_)) => return Ok(()),
            // By an attempt that had no answer: nobody else makes users.
            Some(Outcome::Refused(why)) if is_open && why.contains("already exists") => {
                return Ok(());
            }
            Some(Outcome::Refused(_)) => {}
            Some(Outcome::Unknown(_)) => is_open = true,
            None => bail!("users cannot be enabled: the history is full"),
        }
        let is_late = start.elapsed() >= limits::BRING_UP_DEADLINE;
        ensure!(!is_late, "users cannot be enabled: {action:?}: {outcome:?}");
        tokio::time::sleep(limits::WATCH_RETRY_INTERVAL).await;
    }
}

/// Lets everybody do everything again, and asks every member how often users were changed. The members
/// must be healed.
pub(super) async fn disable(caller: &mut Caller) -> anyhow::Result<()> {
    let mut last = None;
    for _ in 0..limits::AUTH_ATTEMPTS_MAX {
        last = caller.call(&Action::Admin(AdminCall::Disable)).await;
        let done = match &last {
            Some(Outcome::Ok(_)) => true,
            Some(Outcome::Refused(why)) => why.contains("authentication is not enabled"),
            Some(Outcome::Unknown(_)) | None => false,
        };
        if done {
            return Ok(());
        }
        tokio::time::sleep(limits::WATCH_RETRY_INTERVAL).await;
    }
    bail!("users cannot be disabled: {last:?}")
}

/// Changes what users may do until it is stopped; `None` when the history is full.
pub(super) async fn administer(mut caller: Caller) -> Option<()> {
    while caller.turn().await {
        let (any, other) = (0..limits::AUTH_USERS, 0..limits::AUTH_USERS);
        let (one, two) = (caller.rng.random_range(any), caller.rng.random_range(other));
        let call = match caller.rng.random_range(0..12) {
            0 => AdminCall::Status,
            1..4 => AdminCall::GrantRole { user: user(one), role: role(two) },
            4..6 => AdminCall::RevokeRole { user: user(one), role: role(two) },
            6..9 => {
                let write = caller.rng.random_bool(0.6);
                AdminCall::Permit { role: role(one), prefix: prefix(two), write }
            }
            _ => AdminCall::Forbid { role: role(one), prefix: prefix(two) },
        };
        caller.call(&Action::Admin(call)).await?;
    }
    Some(())
}

/// Reads and writes as one of the users until it is stopped; `None` when the history is full.
pub(super) async fn run(mut caller: Caller) -> Option<()> {
    while caller.turn().await {
        let user = user(caller.number % limits::AUTH_USERS);
        let number = caller.rng.random_range(0..limits::AUTH_USERS);
        let key = format!("{}{}", prefix(number), caller.rng.random_range(0..3));
        let step = match caller.rng.random_range(0..10) {
            0..4 => Step::Put { key, value: caller.value() },
            4..5 => Step::Delete { key },
            _ => Step::Get { key },
        };
        caller.call(&Action::As { user, step }).await?;
    }
    Some(())
}
