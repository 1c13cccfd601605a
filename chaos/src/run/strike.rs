//! One fault from its beginning to its end: on whom, what it did, and when its members served again.

use std::sync::Arc;
use std::time::Duration;

use super::kind::Kind;
use super::schedule::{Event, Targets};
use super::world::{View, World};
use super::{clock, damage, disk, membership, network, operator, process, restore};
use crate::history::Fault;
use crate::limits;

/// Whether a fault took effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It did, as was measured.
    Took(String),
    /// It did not, or nothing shows it.
    Nothing(String),
    /// This machine, or this store, has no way to it.
    Skipped(String),
}

impl Effect {
    /// The proof or the reason.
    pub fn words(&self) -> &str {
        match self {
            Self::Took(words) | Self::Nothing(words) | Self::Skipped(words) => words,
        }
    }

    /// In one word.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Took(_) => "took effect",
            Self::Nothing(_) => "NO EFFECT",
            Self::Skipped(_) => "LEFT OUT",
        }
    }

    /// Whether a fault with this proof may have taken effect: of one that is not measured nobody knows.
    pub fn may_have_struck(proof: &str) -> bool {
        let [none, skipped] = [Self::Nothing(String::new()), Self::Skipped(String::new())];
        !proof.starts_with(none.word()) && !proof.starts_with(skipped.word())
    }

    /// Took, if the condition holds.
    pub(super) fn if_so(is_so: bool, words: String) -> Self {
        if is_so { Self::Took(words) } else { Self::Nothing(words) }
    }
}

/// One fault as it was.
#[derive(Clone, Debug)]
pub struct Strike {
    /// Its place in the schedule.
    pub number: usize,
    /// What was wanted.
    pub event: Event,
    /// What came of it.
    pub effect: Effect,
    /// When, on whom, and who led.
    pub fault: Fault,
}

/// What a fault is carried out with.
#[derive(Debug)]
pub(super) struct Blow {
    pub(super) world: Arc<World>,
    pub(super) number: usize,
    pub(super) event: Event,
    /// The members that the targets stand for.
    pub(super) members: Vec<usize>,
}

impl Blow {
    /// Waits as long as the fault holds.
    pub(super) async fn hold(&self) {
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(self.event.hold_ms)) => {}
            () = self.world.closing.cancelled() => {}
        }
    }
}

/// Carries out one event, and waits until its members serve again.
pub(super) async fn strike(world: Arc<World>, number: usize, event: Event) -> Strike {
    let before = world.view().await;
    let injected_ns = world.recorder.now_ns();
    let members = resolve(&world, &event, before);
    let blow = Blow { world: Arc::clone(&world), number, event: event.clone(), members };
    let healed = if blow.members.is_empty() {
        Ok(Effect::Nothing("nobody is there to do it to".to_owned()))
    } else {
        carry_out(&blow).await
    };
    let healed_ns = world.recorder.now_ns();
    let effect = healed.unwrap_or_else(|error| Effect::Nothing(format!("{error:#}")));
    let (mut recovered_ns, mut after) = (Some(healed_ns), View::default());
    if matches!(effect, Effect::Took(_) | Effect::Nothing(_)) {
        // At the same time, so that all of them are given up at the same time (G4).
        let waits = blow.members.iter();
        let waits = waits.map(|member| world.wait_serving(*member, limits::RECOVERY_GIVE_UP));
        let waits = futures::future::join_all(waits).await;
        recovered_ns = Some(world.recorder.now_ns());
        for error in waits.into_iter().filter_map(Result::err) {
            world.note(format!("after {}: {error:#}", event.fault.name()));
            recovered_ns = None;
        }
        after = world.view().await;
    }
    let fault = Fault {
        name: event.fault.name(),
        members: blow.members,
        injected_ns,
        healed_ns,
        recovered_ns,
        leader_before: before.leader,
        leader_after: after.leader,
        term_before: before.term,
        term_after: after.term.max(before.term),
        proof: format!("{}: {}", effect.word(), effect.words()),
    };
    Strike { number, event, effect, fault }
}

/// Who the targets are now. Those who are not up can lose nothing, if there are others.
fn resolve(world: &World, event: &Event, view: View) -> Vec<usize> {
    let up = || (0..world.size).filter(|member| world.is_up(*member));
    let by_seed = |from: Vec<usize>| {
        let place = usize::try_from(event.seed).unwrap_or(usize::MAX).checked_rem(from.len());
        place.map(|place| vec![from[place]])
    };
    match &event.targets {
        Targets::Leader => {
            let leader = view.leader.filter(|leader| *leader < world.size);
            let leader = leader.filter(|leader| world.is_up(*leader)).map(|leader| vec![leader]);
            leader.or_else(|| by_seed(up().collect())).unwrap_or_default()
        }
        Targets::Follower => by_seed(up().filter(|member| Some(*member) != view.leader).collect())
            .unwrap_or_default(),
        Targets::All => (0..world.size).collect(),
        Targets::Members(named) => named.clone(),
    }
}

async fn carry_out(blow: &Blow) -> anyhow::Result<Effect> {
    match blow.event.fault {
        Kind::Kill => process::kill(blow).await,
        Kind::Pause => process::pause(blow).await,
        Kind::RollingRestart => process::rolling_restart(blow).await,
        Kind::PowerLoss => process::power_loss(blow).await,
        Kind::Isolate
        | Kind::Halves
        | Kind::MajoritiesRing
        | Kind::Bridge
        | Kind::Mute
        | Kind::Deaf
        | Kind::ClientCut
        | Kind::SlowLink
        | Kind::LossyLink
        | Kind::DuplicatingLink
        | Kind::ReorderingLink
        | Kind::CorruptingLink
        | Kind::LargeFramesLost => network::bend(blow).await,
        Kind::ClockJump => clock::jump(blow).await,
        Kind::DiskFull => disk::full(blow).await,
        Kind::IoErrors => disk::errors(blow).await,
        Kind::SlowSync => disk::slow(blow).await,
        Kind::BitFlipLog | Kind::BitFlipState | Kind::TornTail => damage::damage(blow).await,
        Kind::Replace => membership::replace(blow).await,
        Kind::Learner => membership::learner(blow).await,
        Kind::SnapshotInstall => membership::snapshot_install(blow).await,
        Kind::MoveLeader => operator::move_leader(blow).await,
        Kind::Compact => operator::compact(blow).await,
        Kind::Defragment => operator::defragment(blow).await,
        Kind::Backup => operator::backup(blow).await,
        Kind::Restore => restore::restore(blow).await,
    }
}
