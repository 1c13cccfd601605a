//! Whether a run was worth judging, and whether everybody came back.
//!
//! | Rule | What always holds |
//! |------|-------------------|
//! | G1 | So many faults took effect as the run demands. |
//! | G2 | Each kind that the run demands took effect at least once, unless this machine or this store |
//! |    | has no way to it: those are listed, and never passed. |
//! | G3 | Enough operations were acknowledged: in all, and around each fault and those that overlap it. |
//! | G4 | Within the deadline after the last heal each member serves a linearizable read and a write; |
//! |    | and no member of a fault is given up after its heal, unless other faults left it no time. |
//! | G5 | No member ended without a fault that explains it, and nothing was found broken by the way. |
//! | G6 | Everybody who watched from the beginning was told something. |
//! | G7 | Of each workload something was acknowledged, if any number of operations is demanded. |

use std::collections::{BTreeMap, BTreeSet};

use super::kind::Kind;
use super::schedule::Event;
use super::strike::{Effect, Strike};
use crate::checker::Verdict;
use crate::history::{Action, Fault, History, Kind as Work, Op, Step};
use crate::limits;
use crate::workload::{BULK, GUARDED, LEASED, LISTS, LOCKS, OBJECTS, REGISTERS, SECRETS, SETS};

/// What the keys start with that are read and written in transactions.
const SHARED: &str = "r/";

/// What a run must have shown.
#[derive(Clone, Debug, Default)]
pub struct Demands {
    /// Faults that took effect.
    pub effects: usize,
    /// Kinds that did, each once or more.
    pub kinds: BTreeSet<Kind>,
    /// Acknowledged operations.
    pub operations: u64,
    /// Acknowledged operations from each fault until [`limits::RECOVERY_DEADLINE`] after its heal, and that
    /// of every fault which overlaps it.
    pub operations_around_fault: u64,
}

/// Kinds to which there is no way here, with the reason. That nobody was there at another attempt says
/// nothing against it.
pub(super) fn skipped(strikes: &[Strike]) -> Vec<(Kind, &str)> {
    let took = took(strikes);
    let mut skipped: Vec<(Kind, &str)> = Vec::new();
    for strike in strikes {
        let kind = strike.event.fault;
        if matches!(strike.effect, Effect::Skipped(_))
            && !took.contains(&kind)
            && !skipped.iter().any(|(other, _)| *other == kind)
        {
            skipped.push((kind, strike.effect.words()));
        }
    }
    skipped
}

/// Checks G1 to G7.
pub fn check(
    demands: &Demands,
    history: &History,
    strikes: &[Strike],
    crashes: &[String],
) -> Verdict {
    let mut verdict = Verdict::new("coverage");
    check_effects(demands, strikes, &mut verdict);
    check_traffic(demands, history, &mut verdict);
    check_workloads(demands, history, &mut verdict);
    check_recovery(history, &mut verdict);
    check_returns(strikes, history.finals.len(), &mut verdict);
    for crash in crashes {
        verdict.checked += 1;
        verdict.fail("G5", Vec::new(), crash.clone());
    }
    // Others come and go, and may have asked for what never came. Each stream has a log of its own.
    let stays = |name: &str| name.starts_with("on member") || name == "roaming";
    let mut told: BTreeMap<&str, bool> = BTreeMap::new();
    for watch in history.watches.iter().filter(|watch| stays(&watch.name)) {
        let is_told = watch.seen.iter().any(|seen| !seen.events.is_empty());
        *told.entry(&watch.name).or_default() |= is_told;
    }
    for (name, is_told) in told {
        verdict.checked += 1;
        if !is_told {
            verdict.fail("G6", Vec::new(), format!("watcher {name} was told nothing"));
        }
    }
    verdict
}

/// The kind of each fault that took effect.
fn took(strikes: &[Strike]) -> Vec<Kind> {
    let took = strikes.iter().filter(|strike| matches!(strike.effect, Effect::Took(_)));
    took.map(|strike| strike.event.fault).collect()
}

/// Of each kind that is demanded, was tried and had no effect, the last event.
pub(super) fn missed(demands: &Demands, strikes: &[Strike]) -> Vec<Event> {
    let took = took(strikes);
    let skipped = skipped(strikes);
    let is_missed =
        |kind: &&Kind| !took.contains(kind) && !skipped.iter().any(|(other, _)| other == *kind);
    let last = |kind: &Kind| strikes.iter().rev().find(|strike| strike.event.fault == *kind);
    let missed = demands.kinds.iter().filter(is_missed).filter_map(last);
    missed.map(|strike| strike.event.clone()).collect()
}

fn check_effects(demands: &Demands, strikes: &[Strike], verdict: &mut Verdict) {
    let took = took(strikes);
    verdict.checked += 1;
    if took.len() < demands.effects {
        let text = format!("{} faults took effect, {} are demanded", took.len(), demands.effects);
        verdict.fail("G1", Vec::new(), text);
    }
    let skipped = skipped(strikes);
    for kind in &demands.kinds {
        verdict.checked += 1;
        let is_skipped = skipped.iter().any(|(other, _)| other == kind);
        if !took.contains(kind) && !is_skipped {
            let reasons: Vec<&str> = strikes
                .iter()
                .filter(|strike| strike.event.fault == *kind)
                .map(|strike| strike.effect.words())
                .collect();
            let text = format!("{} never took effect: {reasons:?}", kind.name());
            verdict.fail("G2", Vec::new(), text);
        }
    }
}

fn check_traffic(demands: &Demands, history: &History, verdict: &mut Verdict) {
    let mut completed: Vec<u64> =
        history.ops.iter().filter(|op| op.reply().is_some()).map(|op| op.completed_ns).collect();
    completed.sort_unstable();
    verdict.checked += 1;
    if (completed.len() as u64) < demands.operations {
        let text = format!(
            "{} operations were acknowledged, {} are demanded",
            completed.len(),
            demands.operations
        );
        verdict.fail("G3", Vec::new(), text);
    }
    for (number, fault) in history.faults.iter().enumerate() {
        verdict.checked += 1;
        let from = completed.partition_point(|ns| *ns < fault.injected_ns);
        let end = over_ns(fault, &history.faults) + nanoseconds();
        let count = (completed.partition_point(|ns| *ns <= end) - from) as u64;
        if count < demands.operations_around_fault {
            let text = format!(
                "{count} operations were acknowledged around fault {} ({}), {} are demanded",
                number + 1,
                fault.name,
                demands.operations_around_fault
            );
            verdict.fail("G3", Vec::new(), text);
        }
    }
}

fn check_workloads(demands: &Demands, history: &History, verdict: &mut Verdict) {
    if demands.operations == 0 {
        return;
    }
    for work in &history.kinds {
        verdict.checked += 1;
        let is_its = |op: &Op| op.reply().is_some() && is_of(*work, &op.action);
        if !history.ops.iter().any(is_its) {
            let text = format!("nothing of the workload {} was acknowledged", work.name());
            verdict.fail("G7", Vec::new(), text);
        }
    }
}

/// Whether an operation is one of a workload, which has keys or calls of its own.
fn is_of(work: Work, action: &Action) -> bool {
    let has_key = |prefix: &str| {
        action.steps(true).iter().any(|step| step.key().is_some_and(|key| key.starts_with(prefix)))
    };
    match work {
        Work::Register => has_key(REGISTERS),
        Work::Append => has_key(LISTS),
        Work::RwTxn => has_key(SHARED),
        Work::Watch => has_key(BULK) || matches!(action, Action::Compact { .. }),
        Work::Set => has_key(SETS),
        Work::Lease => has_key(LEASED),
        Work::Kube => has_key(OBJECTS),
        Work::Lock => has_key(GUARDED) || has_key(LOCKS) || matches!(action, Action::Lock(_)),
        Work::Auth => has_key(SECRETS),
    }
}

/// When a fault is over, and every other one that began before its members had time to recover: such a one
/// may have taken the majority away meanwhile, and for longer than was planned.
fn over_ns(fault: &Fault, all: &[Fault]) -> u64 {
    let back_ns = |one: &Fault| one.recovered_ns.unwrap_or(one.healed_ns).max(one.healed_ns);
    let until = fault.healed_ns + nanoseconds();
    let overlaps = |one: &&Fault| one.injected_ns <= until && back_ns(one) >= fault.injected_ns;
    all.iter().filter(overlaps).map(back_ns).max().unwrap_or(0).max(fault.healed_ns)
}

fn nanoseconds() -> u64 {
    u64::try_from(limits::RECOVERY_DEADLINE.as_nanos()).unwrap_or(u64::MAX)
}

/// When the last fault was healed.
pub(super) fn last_heal_ns(history: &History) -> u64 {
    history.faults.iter().map(|fault| fault.healed_ns).max().unwrap_or(0)
}

/// How long after the last heal each member acknowledged a linearizable read, and a write.
pub(super) fn recoveries(history: &History) -> Vec<(usize, [Option<u64>; 2])> {
    let since = last_heal_ns(history);
    let members = history.finals.iter().map(|state| state.member);
    members.map(|member| (member, served(&history.ops, member, since))).collect()
}

/// How long after a time a member acknowledged a linearizable read, and a write, that were sent since.
pub(super) fn served(ops: &[Op], member: usize, since_ns: u64) -> [Option<u64>; 2] {
    let first = |is_meant: fn(&Op) -> bool| {
        let after = ops.iter().filter(|op| op.member == member && op.invoked_ns >= since_ns);
        after.filter(|op| is_meant(op)).map(|op| op.completed_ns - since_ns).min()
    };
    [first(is_read), first(is_write)]
}

fn is_read(op: &Op) -> bool {
    let is_linearizable = matches!(
        op.action,
        Action::Single { step: Step::Get { .. } | Step::List { .. }, serializable: false }
    );
    op.reply().is_some() && is_linearizable
}

fn is_write(op: &Op) -> bool {
    op.write().is_some()
}

fn check_recovery(history: &History, verdict: &mut Verdict) {
    for (member, took) in recoveries(history) {
        for (what, took) in ["linearizable read", "write"].into_iter().zip(took) {
            verdict.checked += 1;
            if took.is_none_or(|took| took > nanoseconds()) {
                let took = took.map_or("never".to_owned(), |ns| format!("{} ms", ns / 1_000_000));
                let text = format!(
                    "member {member} served its first {what} after the last heal: {took}; {:?} are \
                     allowed",
                    limits::RECOVERY_DEADLINE
                );
                verdict.fail("G4", Vec::new(), text);
            }
        }
    }
}

/// Whether the members of each fault came back. One that was left out did nothing to them.
fn check_returns(strikes: &[Strike], members: usize, verdict: &mut Verdict) {
    for (number, strike) in strikes.iter().enumerate() {
        let is_asked = match &strike.effect {
            Effect::Took(_) => true,
            // These wait for each member by themselves, and have no effect where one does not come back.
            Effect::Nothing(_) => {
                matches!(strike.event.fault, Kind::RollingRestart | Kind::SnapshotInstall)
            }
            Effect::Skipped(_) => false,
        };
        if !is_asked {
            continue;
        }
        verdict.checked += 1;
        let fault = &strike.fault;
        let had_time = |member: &usize| had_time(*member, fault, strikes, members);
        if fault.recovered_ns.is_none() && fault.members.iter().all(had_time) {
            let text = format!(
                "fault {} ({}) was healed at {} ms, and within {:?} not all of members {:?} served \
                 again",
                number + 1,
                fault.name,
                fault.healed_ns / 1_000_000,
                limits::RECOVERY_GIVE_UP,
                fault.members
            );
            verdict.fail("G4", Vec::new(), text);
        }
    }
}

/// Whether a member was left alone for as long as it may take to come back, from the heal of a fault on
/// and before it was given up.
fn had_time(member: usize, fault: &Fault, strikes: &[Strike], members: usize) -> bool {
    let waited_ns = u64::try_from(limits::RECOVERY_GIVE_UP.as_nanos()).unwrap_or(u64::MAX);
    let given_up_ns = fault.healed_ns.saturating_add(waited_ns);
    // With half of the members nobody serves.
    let takes = |one: &&Strike| {
        let takes_it = one.fault.members.contains(&member);
        let takes_half = one.fault.members.len() * 2 >= members;
        let is_real = !matches!(one.effect, Effect::Skipped(_));
        is_real && one.event.fault.takes_away() && (takes_it || takes_half)
    };
    let mut others: Vec<&Fault> = strikes.iter().filter(takes).map(|one| &one.fault).collect();
    others.sort_by_key(|other| other.injected_ns);
    let mut alone_ns = fault.healed_ns;
    for other in others {
        if other.injected_ns.min(given_up_ns) >= alone_ns.saturating_add(nanoseconds()) {
            return true;
        }
        alone_ns = alone_ns.max(other.healed_ns);
    }
    given_up_ns >= alone_ns.saturating_add(nanoseconds())
}

#[cfg(test)]
mod tests {
    use super::super::schedule::Targets;
    use super::*;
    use crate::history::{Outcome, Reply};

    const SECOND: u64 = 1_000_000_000;

    fn strike(fault: Kind, seed: u64, effect: Effect) -> Strike {
        let targets = Targets::Leader;
        let event = Event { at_ms: 0, hold_ms: 0, fault, targets, amount: 0, seed };
        Strike { number: 0, event, effect, fault: Fault::default() }
    }

    /// A snapshot that was waited for outlasted its plan, and took the majority away with a member whose
    /// data were damaged: nothing could be acknowledged, and nothing was wrong.
    #[test]
    fn what_overlaps_a_fault_has_its_time_too() {
        let fault = |from: u64, to: u64, back: u64| Fault {
            injected_ns: from * SECOND,
            healed_ns: to * SECOND,
            recovered_ns: Some(back * SECOND),
            ..Fault::default()
        };
        let all =
            [fault(100, 101, 114), fault(90, 118, 119), fault(112, 113, 113), fault(50, 60, 61)];
        let over = |place: usize| over_ns(&all[place], &all) / SECOND;
        assert_eq!((over(0), over(3)), (119, 61), "fault 2 begins later than both need");
    }

    /// A kill of members, healed after a second, of which somebody never served again.
    fn lost(members: &[usize], from: u64, effect: Effect) -> Strike {
        let fault = Fault {
            name: "kill".to_owned(),
            members: members.to_vec(),
            injected_ns: from * SECOND,
            healed_ns: (from + 1) * SECOND,
            ..Fault::default()
        };
        Strike { fault, ..strike(Kind::Kill, 0, effect) }
    }

    fn took() -> Effect {
        Effect::Took("seen".to_owned())
    }

    fn returns(strikes: &[Strike]) -> Verdict {
        let mut verdict = Verdict::new("coverage");
        check_returns(strikes, 3, &mut verdict);
        verdict
    }

    #[test]
    fn g4_a_member_that_serves_nothing_after_a_heal() {
        let one = lost(&[1], 10, took());
        let verdict = returns(std::slice::from_ref(&one));
        assert_eq!((verdict.checked, verdict.broken), (1, 1));
        assert_eq!(verdict.violations[0].rule, "G4");
        // It came back; it was left out; nothing was done to it.
        let mut back = one;
        back.fault.recovered_ns = Some(12 * SECOND);
        let skipped = lost(&[1], 10, Effect::Skipped("no way".to_owned()));
        let nothing = lost(&[1], 10, Effect::Nothing("it is down".to_owned()));
        assert_eq!(returns(&[back, skipped, nothing]).broken, 0);
        // A restart that is not over has no effect, for just this reason.
        let mut restart = lost(&[1], 10, Effect::Nothing("it serves nothing".to_owned()));
        restart.event.fault = Kind::RollingRestart;
        assert_eq!(returns(&[restart]).broken, 1);
    }

    /// The calm at the end lasts until this is so; it once ended on transactions that only read, and a
    /// member of which no client had read a key by then "never" served.
    #[test]
    fn g4_a_read_is_a_read_of_keys_and_not_a_transaction_without_a_write() {
        let op = |action: Action, at: u64| Op {
            index: 0,
            process: 0,
            member: 1,
            invoked_ns: at,
            completed_ns: at + 2,
            action,
            outcome: Outcome::Ok(Reply { revision: 2, succeeded: true, steps: Vec::new() }),
        };
        let get = |serializable: bool| {
            let step = Step::Get { key: "r/001".to_owned() };
            Action::Single { step, serializable }
        };
        let txn = || Action::Txn { guards: Vec::new(), then: Vec::new(), otherwise: Vec::new() };
        let mut ops = vec![op(get(false), 3), op(txn(), 20), op(get(true), 21)];
        assert_eq!(served(&ops, 1, 10), [None, None]);
        ops.push(op(get(false), 30));
        assert_eq!(served(&ops, 1, 10), [Some(22), None]);
        assert_eq!(served(&ops, 0, 10), [None, None]);
    }

    #[test]
    fn g4_a_member_that_other_faults_keep_away_has_more_time() {
        let back = |members: &[usize], from: u64| {
            let mut one = lost(members, from, took());
            one.fault.recovered_ns = Some((from + 2) * SECOND);
            one
        };
        // From 11 s to 71 s it is never left alone for 10 s.
        let busy = |members: &[usize]| {
            let others = (0..8).map(|turn| back(members, 15 + 8 * turn));
            std::iter::once(lost(&[1], 10, took())).chain(others).collect::<Vec<_>>()
        };
        assert_eq!(returns(&busy(&[1])).broken, 0, "it is taken away again and again");
        assert_eq!(returns(&busy(&[0, 2])).broken, 0, "the others are");
        assert_eq!(returns(&busy(&[2])).broken, 1, "two of three are left");
        let mut all = busy(&[1]);
        all.remove(3);
        assert_eq!(returns(&all).broken, 1, "from 24 s to 39 s it is left alone");
    }

    #[test]
    fn g7_a_workload_of_which_nothing_is_acknowledged() {
        let put = |key: &str| {
            let step = Step::Put { key: key.to_owned(), value: String::new() };
            Action::Single { step, serializable: false }
        };
        let reply = || Reply { revision: 2, succeeded: true, steps: Vec::new() };
        let op = |key: &str, outcome: Outcome| Op {
            index: 0,
            process: 0,
            member: 0,
            invoked_ns: 1,
            completed_ns: 2,
            action: put(key),
            outcome,
        };
        let lost = Outcome::Unknown("lost".to_owned());
        let ops = vec![op("r/001", Outcome::Ok(reply())), op("lease/1/0", lost)];
        let kinds = vec![Work::RwTxn, Work::Lease];
        let history = History { kinds, ops, ..History::default() };
        let judged = |operations: u64| {
            let mut verdict = Verdict::new("coverage");
            let demands = Demands { operations, ..Demands::default() };
            check_workloads(&demands, &history, &mut verdict);
            verdict
        };
        let verdict = judged(1);
        assert_eq!((verdict.checked, verdict.broken), (2, 1));
        assert_eq!(verdict.violations[0].rule, "G7");
        assert!(verdict.violations[0].text.contains("lease"));
        assert_eq!(judged(0).checked, 0, "no traffic is demanded");
    }

    /// On CI the one restore of a run found its member down, and the run failed of that alone.
    #[test]
    fn what_never_had_an_effect_is_tried_again_and_what_has_no_way_is_not() {
        let no = || Effect::Nothing("it is down".to_owned());
        let strikes = [
            strike(Kind::Kill, 1, no()),
            strike(Kind::Kill, 2, took()),
            strike(Kind::Restore, 3, no()),
            strike(Kind::Restore, 4, no()),
            strike(Kind::ClockJump, 5, Effect::Skipped("no library".to_owned())),
            strike(Kind::ClockJump, 6, no()),
            strike(Kind::Backup, 7, no()),
        ];
        let kinds = [Kind::Kill, Kind::Restore, Kind::ClockJump].into();
        let missed = missed(&Demands { kinds, ..Demands::default() }, &strikes);
        let missed: Vec<_> = missed.iter().map(|event| (event.fault, event.seed)).collect();
        assert_eq!(missed, [(Kind::Restore, 4)], "a backup is not demanded");
    }
}
