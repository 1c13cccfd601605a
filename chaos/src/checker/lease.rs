//! The promises of a lease.
//!
//! All times are the clients': a lease that was renewed by a call lives at least its time from the moment
//! on when that call was sent, and at most its time from the moment on when it was answered, plus what a
//! fault holds up. That something is gone is known when somebody is told of the revision that took it.
//!
//! | Rule | What always holds |
//! |------|-------------------|
//! | E1 | A lease does not end before its time after the last acknowledged renewal has passed, unless it |
//! |    | is revoked. |
//! | E2 | A lease that nobody renews ends within its time and a slack; a fault meanwhile that may hold |
//! |    | that up gives it its time anew from the recovery on, or from when that was given up. |
//! | E3 | No key of a lease outlives the revision in which the lease took keys with it. |
//! | E4 | A lease that ended stays ended: it is not renewed, has no time and gets no keys. |
//! | E5 | When a revoke is acknowledged, all keys of the lease are gone. |
//! | E6 | A lease is granted for at least the time that was asked for. |

use std::collections::BTreeMap;
use std::time::Duration;

use super::floor::Floor;
use super::{Verdict, by_revision};
use crate::history::{
    Action, EventKind, Fault, History, LeaseCall, Op, Outcome, Reply, Step, StepReply,
};
use crate::limits;
use crate::model::kv::Store;
use crate::run::{Effect, Kind};
use crate::workload::LOCKS;

const SECOND_NS: u64 = 1_000_000_000;

/// Faults that leave a leader its time, and leases with it: a jump is one of wall clocks, which no lease
/// may go by.
const HARMLESS: [Kind; 4] = [Kind::Backup, Kind::Restore, Kind::Compact, Kind::ClockJump];

/// Checks E1 to E6 of every lease that was granted with an answer.
pub fn check(history: &History) -> Verdict {
    let mut verdict = Verdict::new("lease");
    let floor = Floor::of(history);
    let mut lives = lives(history, &mut verdict);
    replay(history, &floor, &mut lives, &mut verdict);
    let end_ns = history.ops.iter().map(|op| op.invoked_ns).max().unwrap_or(0);
    let delays = delays(history);
    for (lease, life) in &lives {
        verdict.checked += life.renewals.len() as u64 + life.gone.len() as u64;
        life.judge_early(*lease, &mut verdict);
        life.judge_late(*lease, &delays, end_ns, &mut verdict);
    }
    verdict
}

/// What is known of one lease.
#[derive(Default)]
struct Life {
    ttl_ns: u64,
    /// Acknowledged grants and renewals: when they were sent, and which operation it was.
    renewals: Vec<(u64, usize)>,
    /// Until when the last call that may have renewed it can have done so.
    renewable_ns: u64,
    /// Calls that only a living lease answers as they were answered, by when they were sent.
    alive: Vec<(u64, usize)>,
    /// When somebody knew that it was gone, and from which operation or revision.
    gone: Vec<(u64, Evidence)>,
    /// When the first revoke was sent.
    revoked_ns: Option<u64>,
    /// Whether it has keys at the end.
    holds_keys: bool,
}

#[derive(Clone, Copy, Debug)]
enum Evidence {
    Op(usize),
    Revision(i64),
}

impl Evidence {
    fn op(self) -> Option<usize> {
        match self {
            Self::Op(op) => Some(op),
            Self::Revision(_) => None,
        }
    }

    fn describe(self) -> String {
        match self {
            Self::Op(op) => format!("by operation {op}"),
            Self::Revision(revision) => format!("by revision {revision}"),
        }
    }
}

/// Reads all calls about leases.
fn lives(history: &History, verdict: &mut Verdict) -> BTreeMap<i64, Life> {
    let mut lives: BTreeMap<i64, Life> = BTreeMap::new();
    for op in &history.ops {
        if let Action::Lease(LeaseCall::Grant { lease, ttl_s }) = op.action
            && let Some(granted_s) = op.reply().and_then(time_of)
        {
            if granted_s < ttl_s {
                let text = format!("lease {lease} was granted {granted_s} s of {ttl_s} s");
                verdict.fail("E6", vec![op.index], text);
            }
            let life = lives.entry(lease).or_default();
            life.ttl_ns = granted_s.unsigned_abs() * SECOND_NS;
            life.renewals.push((op.invoked_ns, op.index));
            life.renewable_ns = op.completed_ns;
        }
    }
    for op in &history.ops {
        match &op.action {
            Action::Lease(call) => {
                if let Some(life) = lives.get_mut(&call.lease()) {
                    life.called(*call, op);
                }
            }
            Action::Single { .. } | Action::Txn { .. } | Action::As { .. } => {
                attached(op, &mut lives)
            }
            Action::Page(_) | Action::Compact { .. } | Action::Lock(_) | Action::Admin(_) => {}
        }
    }
    lives
}

/// The seconds that an answer says a lease has.
fn time_of(reply: &Reply) -> Option<i64> {
    match reply.steps.first() {
        Some(StepReply::Lease { ttl_s, .. }) => Some(*ttl_s),
        Some(_) | None => None,
    }
}

/// What a write of a key with a lease says about the lease.
fn attached(op: &Op, lives: &mut BTreeMap<i64, Life>) {
    let succeeded = op.reply().is_none_or(|reply| reply.succeeded);
    for step in op.action.steps(succeeded) {
        let Step::PutLeased { lease, .. } = step else { continue };
        let Some(life) = lives.get_mut(lease) else { continue };
        match &op.outcome {
            Outcome::Ok(_) => life.alive.push((op.invoked_ns, op.index)),
            Outcome::Refused(why) if why.contains("requested lease not found") => {
                life.gone.push((op.completed_ns, Evidence::Op(op.index)));
            }
            Outcome::Refused(_) | Outcome::Unknown(_) => {}
        }
    }
}

impl Life {
    fn called(&mut self, call: LeaseCall, op: &Op) {
        let gone = (op.completed_ns, Evidence::Op(op.index));
        match (call, &op.outcome) {
            (LeaseCall::Grant { .. }, _) | (_, Outcome::Refused(_)) => {}
            (LeaseCall::Revoke { .. }, Outcome::Ok(_)) => {
                self.revoked_ns = Some(self.revoked_ns.unwrap_or(u64::MAX).min(op.invoked_ns));
                self.gone.push(gone);
            }
            (LeaseCall::Revoke { .. }, Outcome::Unknown(_)) => {
                self.revoked_ns = Some(self.revoked_ns.unwrap_or(u64::MAX).min(op.invoked_ns));
            }
            (LeaseCall::KeepAlive { .. }, Outcome::Ok(reply)) => match time_of(reply) {
                Some(1..) => {
                    self.renewals.push((op.invoked_ns, op.index));
                    self.renewable_ns = self.renewable_ns.max(op.completed_ns);
                }
                Some(_) => self.gone.push(gone),
                None => {}
            },
            (LeaseCall::KeepAlive { .. }, Outcome::Unknown(_)) => {
                let late = nanoseconds(limits::OPERATION_DEADLINE);
                self.renewable_ns = self.renewable_ns.max(op.completed_ns.saturating_add(late));
            }
            (LeaseCall::TimeToLive { .. }, Outcome::Ok(reply)) => match reply.steps.first() {
                // Of one that is gone nobody knows for how long it was granted. One that is known and
                // has no time left is late, and still there.
                Some(StepReply::Lease { granted_s: ..=0, .. }) => self.gone.push(gone),
                Some(StepReply::Lease { ttl_s: 1.., .. }) => {
                    self.alive.push((op.invoked_ns, op.index));
                }
                Some(_) | None => {}
            },
            (LeaseCall::TimeToLive { .. }, Outcome::Unknown(_)) => {}
        }
    }

    /// E1 and E4.
    fn judge_early(&self, lease: i64, verdict: &mut Verdict) {
        let Some((gone_ns, evidence)) = self.gone.iter().min_by_key(|(at_ns, _)| *at_ns) else {
            return;
        };
        let shown = |op: usize| [op].into_iter().chain(evidence.op()).collect::<Vec<_>>();
        let after = |calls: &[(u64, usize)]| calls.iter().copied().find(|(at, _)| at > gone_ns);
        if let Some((_, op)) = after(&self.renewals).or_else(|| after(&self.alive)) {
            let text = format!("lease {lease} lives after it was gone ({})", evidence.describe());
            verdict.fail("E4", shown(op), text);
        }
        if self.revoked_ns.is_some_and(|revoked_ns| revoked_ns <= *gone_ns) {
            return;
        }
        let known = self.renewals.iter().filter(|(at_ns, _)| at_ns <= gone_ns);
        let Some((renewed_ns, op)) = known.max_by_key(|(at_ns, _)| *at_ns) else { return };
        if *gone_ns < renewed_ns + self.ttl_ns {
            let text = format!(
                "lease {lease} of {} s was gone {} ms after its last renewal was sent ({})",
                self.ttl_ns / SECOND_NS,
                (gone_ns - renewed_ns) / 1_000_000,
                evidence.describe()
            );
            verdict.fail("E1", shown(*op), text);
        }
    }

    /// E2.
    fn judge_late(&self, lease: i64, delays: &[Delay], end_ns: u64, verdict: &mut Verdict) {
        let bound_ns = self.bound_ns(delays);
        let gone_ns = self.gone.iter().map(|(at_ns, _)| *at_ns).min();
        let late = |text: String, ops| (text, ops);
        let found = if let Some((_, op)) = self.alive.iter().find(|(at_ns, _)| *at_ns > bound_ns) {
            Some(late("still lives".to_owned(), vec![*op]))
        } else if self.holds_keys && end_ns > bound_ns {
            Some(late("still has keys at the end".to_owned(), Vec::new()))
        } else {
            let took = self.gone.iter().filter(|(_, evidence)| evidence.op().is_none());
            let took_ns = took.map(|(at_ns, _)| *at_ns).min().or(gone_ns);
            took_ns.filter(|at_ns| *at_ns > bound_ns && self.had_keys()).map(|at_ns| {
                let ms = (at_ns - bound_ns) / 1_000_000;
                late(format!("took its keys {ms} ms too late"), Vec::new())
            })
        };
        // Of another one nobody saw the end, or somebody made it.
        if found.is_some() || gone_ns.is_some() && self.revoked_ns.is_none() {
            verdict.checked += 1;
        }
        if let Some((text, ops)) = found {
            let renewed = self.renewals.last().map(|(_, op)| *op);
            let ops = renewed.into_iter().chain(ops).collect();
            let since_ms = bound_ns / 1_000_000;
            let text = format!("lease {lease} should have ended by {since_ms} ms, but {text}");
            verdict.fail("E2", ops, text);
        }
    }

    fn had_keys(&self) -> bool {
        self.gone.iter().any(|(_, evidence)| matches!(evidence, Evidence::Revision(_)))
    }

    /// By when it must have ended.
    fn bound_ns(&self, delays: &[Delay]) -> u64 {
        let slack_ns = nanoseconds(limits::LEASE_SLACK);
        let mut bound_ns = self.renewable_ns.saturating_add(self.ttl_ns + slack_ns);
        for delay in delays {
            if delay.from_ns <= bound_ns {
                bound_ns = bound_ns.max(delay.to_ns.saturating_add(self.ttl_ns + slack_ns));
            }
        }
        bound_ns
    }
}

/// A time in which leases may not end.
struct Delay {
    from_ns: u64,
    to_ns: u64,
}

/// What faults hold up, by when it began. A member that did not come back holds nothing up for longer
/// than it was waited for.
fn delays(history: &History) -> Vec<Delay> {
    let given_up_ns =
        |fault: &Fault| fault.healed_ns.saturating_add(nanoseconds(limits::RECOVERY_GIVE_UP));
    let delay = |fault: &Fault| Delay {
        from_ns: fault.injected_ns,
        to_ns: fault.recovered_ns.unwrap_or_else(|| given_up_ns(fault)),
    };
    let mut delays: Vec<Delay> =
        history.faults.iter().filter(|fault| may_delay(fault)).map(delay).collect();
    delays.sort_by_key(|delay| delay.from_ns);
    delays
}

/// Whether a fault may hold up the end of leases. Under a new leader each has its time anew, even where
/// the fault was to do something else, or failed on its way.
fn may_delay(fault: &Fault) -> bool {
    let is_harmless = HARMLESS.iter().any(|kind| kind.name() == fault.name);
    let is_led_anew = fault.term_after > fault.term_before;
    is_led_anew || Effect::may_have_struck(&fault.proof) && !is_harmless
}

/// E3, E4 and E5 by the log; and when a lease took its keys with it.
fn replay(
    history: &History,
    floor: &Floor,
    lives: &mut BTreeMap<i64, Life>,
    verdict: &mut Verdict,
) {
    let owned: Vec<i64> = history.ops.iter().filter_map(Op::write).map(|r| r.revision).collect();
    let owned: std::collections::BTreeSet<i64> = owned.into_iter().collect();
    let mut revokes: Vec<(i64, i64, usize)> = Vec::new();
    for op in &history.ops {
        if let (Action::Lease(LeaseCall::Revoke { lease }), Some(reply)) = (&op.action, op.reply())
        {
            revokes.push((reply.revision, *lease, op.index));
        }
    }
    revokes.sort_unstable();
    let mut revokes = revokes.into_iter().peekable();
    let mut ended: BTreeMap<i64, i64> = BTreeMap::new();
    let mut store = Store::at(history.base_revision);
    for (revision, events) in by_revision(history.log()) {
        while let Some((_, lease, op)) = revokes.next_if(|(at, ..)| *at < revision) {
            judge_revoked(&store, lease, op, verdict);
        }
        let leased = events.iter().filter(|event| !event.kv.key.starts_with(LOCKS));
        let mut took = None;
        for event in leased {
            match event.kind {
                EventKind::Put if ended.contains_key(&event.kv.lease) => {
                    let text = format!("revision {revision} gives a key to a lease that ended");
                    verdict.fail("E4", Vec::new(), format!("{text}: {event:?}"));
                }
                EventKind::Delete if !owned.contains(&revision) => {
                    took = store.get(&event.kv.key).map(|kv| kv.lease).filter(|lease| *lease != 0);
                }
                EventKind::Put | EventKind::Delete => {}
            }
        }
        store.apply(revision, events);
        let Some(lease) = took else { continue };
        ended.insert(lease, revision);
        if let Some(key) = store.leased(lease).next() {
            let text = format!("lease {lease} ended at revision {revision}, but {key} is left");
            verdict.fail("E3", Vec::new(), text);
        }
        if let (Some(life), Some(at)) = (lives.get_mut(&lease), floor.first_known_ns(revision)) {
            life.gone.push((at, Evidence::Revision(revision)));
        }
    }
    for (_, lease, op) in revokes {
        judge_revoked(&store, lease, op, verdict);
    }
    for (lease, life) in lives {
        life.holds_keys = store.leased(*lease).next().is_some();
    }
}

fn judge_revoked(store: &Store, lease: i64, op: usize, verdict: &mut Verdict) {
    if let Some(key) = store.leased(lease).next() {
        let text = format!("lease {lease} was revoked, but {key} is left");
        verdict.fail("E5", vec![op], text);
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
