//! One sequential client: it takes its turns, calls, and writes everything down.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::time::{Interval, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::Connect;
use super::fleet::Mix;
use crate::client::MemberClient;
use crate::history::{Action, Outcome, Recorder, Step};
use crate::limits;

/// A client of all members, with random numbers of its own.
#[derive(Debug)]
pub(super) struct Caller {
    /// Where all its choices come from.
    pub(super) rng: StdRng,
    /// Its number: no other client of the fleet has it.
    pub(super) number: usize,
    members: Vec<MemberClient>,
    recorder: Recorder,
    process: usize,
    /// Every second client stays with one member: a member that hangs then cannot catch all
    /// clients, and the others go on.
    home: Option<usize>,
    pace: Interval,
    stop: CancellationToken,
    written: u64,
    leases: i64,
    plant_stale_reads: bool,
}

impl Caller {
    /// The `number`th client of a fleet, with so many operations a second at most.
    pub(super) fn new(
        number: usize,
        rate: u32,
        mix: &Mix,
        connect: &Connect,
        recorder: &Recorder,
        stop: &CancellationToken,
    ) -> anyhow::Result<Self> {
        let stream = (number as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let mut pace = tokio::time::interval(Duration::from_secs(1) / rate.max(1));
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Ok(Self {
            rng: StdRng::seed_from_u64(mix.seed ^ stream),
            number,
            members: connect.clients()?,
            recorder: recorder.clone(),
            process: recorder.new_process(),
            home: (number % 2 == 1).then_some((number / 2) % connect.members()),
            pace,
            stop: stop.clone(),
            written: 0,
            leases: 0,
            plant_stale_reads: mix.plant_stale_reads,
        })
    }

    /// Waits for its next turn; false when it is to stop.
    pub(super) async fn turn(&mut self) -> bool {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => false,
            _ = self.pace.tick() => true,
        }
    }

    /// Waits until it is told to stop.
    pub(super) async fn stopped(&self) {
        self.stop.cancelled().await;
    }

    /// Its connections.
    pub(super) fn members(&self) -> &[MemberClient] {
        &self.members
    }

    /// A value that nobody ever wrote before.
    pub(super) fn value(&mut self) -> String {
        self.written += 1;
        format!("c{}-{}", self.number, self.written)
    }

    /// A lease that nobody ever had before.
    pub(super) fn lease(&mut self) -> i64 {
        self.leases += 1;
        (self.number as i64 + 1) * limits::LEASES_OF_CLIENT_MAX + self.leases
    }

    /// The member for the next call.
    pub(super) fn member(&mut self) -> usize {
        let roaming = self.rng.random_range(0..self.members.len());
        self.home.unwrap_or(roaming)
    }

    /// Calls once; `None` when the history is full.
    pub(super) async fn call(&mut self, action: &Action) -> Option<Outcome> {
        let member = self.member();
        self.call_on(member, action).await
    }

    /// The same on a member of the caller's choice.
    pub(super) async fn call_on(&mut self, member: usize, action: &Action) -> Option<Outcome> {
        let index = self.recorder.invoke(self.process, member, action.clone())?;
        let outcome = self.members[member].execute(&sent(action, self.plant_stale_reads)).await;
        if matches!(outcome, Outcome::Unknown(_)) {
            self.process = self.recorder.new_process();
        }
        self.recorder.complete(index, outcome.clone());
        Some(outcome)
    }
}

/// What is sent for an action: the planted bug makes a linearizable read a serializable one.
fn sent(action: &Action, plant_stale_reads: bool) -> Action {
    match action {
        Action::Single { step: step @ (Step::Get { .. } | Step::List { .. }), .. }
            if plant_stale_reads =>
        {
            Action::Single { step: step.clone(), serializable: true }
        }
        _ => action.clone(),
    }
}
