//! Every anomaly of list transactions in the smallest history that has it, and lawful ones.

use std::collections::BTreeMap;

use rand::rngs::StdRng;
use rand::seq::IteratorRandom as _;
use rand::{Rng as _, SeedableRng as _};

use super::{Verdict, append};
use crate::history::{Action, History, KeyValue, Op, Outcome, Reply, Step, StepReply};
use crate::model::kv::Store;
use crate::workload::{LISTS, Plan, Planner};

/// Transactions as a test writes them: "x=a b" reads a list, "x=a b|c" finds a and b and appends c.
#[derive(Default)]
struct Tale {
    history: History,
}

fn key(name: &str) -> String {
    format!("{LISTS}{name}")
}

fn found(key: &str, value: &str) -> Option<KeyValue> {
    let kv = KeyValue { key: key.to_owned(), value: value.to_owned(), ..KeyValue::default() };
    (!value.is_empty()).then_some(kv)
}

fn parse(text: &str) -> (Action, Reply) {
    let (mut then, mut steps) = (Vec::new(), Vec::new());
    for part in text.split(", ") {
        let (name, value) = part.split_once('=').expect("a key and its list");
        let key = key(name);
        if let Some((before, _)) = value.split_once('|') {
            steps.push(StepReply::Put { previous: found(&key, before) });
            then.push(Step::Put { key, value: value.to_owned() });
        } else {
            steps.push(StepReply::Read { found: found(&key, value).into_iter().collect() });
            then.push(Step::Get { key });
        }
    }
    let action = Action::Txn { guards: Vec::new(), then, otherwise: Vec::new() };
    (action, Reply { revision: 0, succeeded: true, steps })
}

impl Tale {
    fn op(&mut self, (invoked_ns, completed_ns): (u64, u64), action: Action, outcome: Outcome) {
        let index = self.history.ops.len();
        let op = Op { index, process: index, member: 0, invoked_ns, completed_ns, action, outcome };
        self.history.ops.push(op);
    }

    fn ok(&mut self, times: (u64, u64), text: &str) -> &mut Self {
        let (action, reply) = parse(text);
        self.op(times, action, Outcome::Ok(reply));
        self
    }

    /// At the same time as all others, so that clocks say nothing.
    fn any(&mut self, text: &str) -> &mut Self {
        self.ok((1, 1000), text)
    }

    fn unknown(&mut self, times: (u64, u64), text: &str) -> &mut Self {
        self.op(times, parse(text).0, Outcome::Unknown("lost".to_owned()));
        self
    }

    fn verdict(&self) -> Verdict {
        append::check(&self.history)
    }

    fn accepted(&self) {
        let verdict = self.verdict();
        assert!(verdict.passed(), "{verdict:#?}");
    }

    fn rejected(&self, rules: &[&str]) {
        let verdict = self.verdict();
        let named: Vec<&str> = verdict.violations.iter().map(|v| v.rule).collect();
        assert_eq!(named, rules, "{verdict:#?}");
    }
}

#[test]
fn lawful_transactions_are_accepted() {
    Tale::default().any("x=|a").any("x=a|b, y=").any("y=|c").any("x=a b, y=c").accepted();
    // Reads at the same time as a write see it or not.
    Tale::default().ok((1, 9), "x=|a").ok((2, 3), "x=").ok((4, 5), "x=a").accepted();
    // A transaction that sees its own append.
    Tale::default().any("x=|a, x=a").any("x=a").accepted();
    assert!(!Tale::default().verdict().passed(), "nothing is no pass");
}

#[test]
fn an_unanswered_append_happens_at_any_later_time_or_never() {
    Tale::default().unknown((1, 2), "x=|a").ok((3, 4), "x=").ok((5, 6), "x=a").accepted();
    Tale::default().unknown((1, 2), "x=|a").ok((3, 4), "x=|b").ok((5, 6), "x=b").accepted();
}

#[test]
fn an_unanswered_append_does_not_happen_before_it_was_sent() {
    Tale::default().ok((1, 2), "x=a").unknown((3, 4), "x=|a").rejected(&["G1c-realtime"]);
}

#[test]
fn internal_a_transaction_that_does_not_see_its_own_append() {
    Tale::default().any("x=|a, x=").rejected(&["internal"]);
    Tale::default().any("x=|a").any("x=, x=a").rejected(&["internal"]);
}

#[test]
fn phantom_an_element_that_nobody_appended() {
    Tale::default().any("x=a").rejected(&["phantom"]);
}

#[test]
fn g1a_an_element_of_a_transaction_that_did_not_happen() {
    let mut tale = Tale::default();
    tale.op((1, 2), parse("x=|a").0, Outcome::Refused("no".to_owned()));
    tale.ok((3, 4), "x=a").rejected(&["G1a"]);

    let mut tale = Tale::default();
    let failed = Reply { revision: 0, succeeded: false, steps: Vec::new() };
    tale.op((1, 2), parse("x=|a").0, Outcome::Ok(failed));
    tale.ok((3, 4), "x=a").rejected(&["G1a"]);
}

#[test]
fn g1b_half_of_an_append() {
    Tale::default().any("x=|a b").any("x=a").any("x=a b").rejected(&["G1b", "G-single"]);
}

#[test]
fn duplicate_append_an_element_that_is_there_twice() {
    Tale::default().any("x=|a").any("x=a a").rejected(&["duplicate-append"]);
}

#[test]
fn incompatible_order_two_lists_of_which_neither_begins_the_other() {
    let mut tale = Tale::default();
    tale.unknown((1, 2), "x=|a").unknown((1, 2), "x=a|b").unknown((1, 2), "x=b|a");
    tale.ok((1, 9), "x=a b").ok((1, 9), "x=b a").rejected(&["incompatible-order"]);
}

#[test]
fn lost_update_two_appends_to_the_same_version() {
    let mut tale = Tale::default();
    tale.any("x=|a").any("x=|b").rejected(&["incompatible-order", "lost-update"]);
}

#[test]
fn lost_update_what_a_guarded_put_replaced_is_not_what_it_was_guarded_on() {
    let mut tale = Tale::default();
    tale.any("x=|a").any("x=a|b").any("x=a|c");
    if let Outcome::Ok(reply) = &mut tale.history.ops[2].outcome {
        reply.steps[0] = StepReply::Put { previous: found(&key("x"), "a|b") };
    }
    tale.rejected(&["lost-update", "incompatible-order", "lost-update"]);
}

#[test]
fn lost_append_an_acknowledged_element_that_is_never_seen() {
    let mut tale = Tale::default();
    tale.ok((1, 2), "x=|a").ok((3, 4), "x=").ok((5, 6), "x=");
    tale.rejected(&["lost-append", "G-single-realtime"]);
}

#[test]
fn g0_writes_of_two_transactions_in_both_orders() {
    let mut tale = Tale::default();
    tale.any("x=|a, y=c|d").any("x=a|b, y=|c");
    // What a write found is a read too, so that this is a G1c as well: the worse one is reported.
    tale.rejected(&["G0"]);
}

#[test]
fn g1c_two_transactions_that_read_each_other() {
    Tale::default().any("x=|a, y=b").any("y=|b, x=a").rejected(&["G1c"]);
}

#[test]
fn g_single_a_read_that_sees_half_of_a_transaction() {
    Tale::default().any("x=|a, y=|b").any("x=a, y=").rejected(&["G-single"]);
}

#[test]
fn g2_write_skew() {
    Tale::default().any("x=, y=|b").any("y=, x=|a").rejected(&["G2"]);
}

#[test]
fn g0_realtime_a_write_before_one_that_was_answered_earlier() {
    let mut tale = Tale::default();
    tale.ok((5, 6), "x=|a").ok((1, 2), "x=a|b");
    tale.rejected(&["lost-append", "G0-realtime"]);
}

#[test]
fn g1c_realtime_a_read_of_what_was_not_yet_sent() {
    Tale::default().ok((1, 2), "x=a").ok((3, 4), "x=|a").rejected(&["G1c-realtime"]);
}

#[test]
fn g_single_realtime_a_stale_read() {
    let mut tale = Tale::default();
    tale.ok((1, 2), "x=|a").ok((3, 4), "x=a|b").ok((5, 6), "x=a").ok((7, 8), "x=a b");
    tale.rejected(&["G-single-realtime"]);
    assert_eq!(tale.verdict().violations[0].ops.len(), 2, "the shortest cycle");
}

#[test]
fn g2_realtime_two_readers_that_disagree_on_which_write_was_first() {
    let mut tale = Tale::default();
    tale.ok((1, 100), "x=|a").ok((1, 100), "y=|b").ok((1, 100), "x=, y=b");
    tale.ok((2, 3), "x=a").ok((4, 5), "y=");
    tale.rejected(&["G2-realtime"]);
}

/// A legal history: the workload's own transactions, one after the other on the model, each at a
/// moment between its times. Some are not answered, and of these some did not happen.
fn legal(seed: u64, count: usize, clients: usize) -> History {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut planners: Vec<Planner> =
        (0..clients).map(|client| Planner::new(seed, client, 3)).collect();
    let mut plans: BTreeMap<usize, (Plan, Reply)> = BTreeMap::new();
    let mut free_ns = vec![0; clients];
    let mut tale = Tale::default();
    let mut store = Store::at(1);
    let mut now_ns = 100;
    while tale.history.ops.len() < count {
        now_ns += rng.random_range(1..10);
        let free = (0..clients).filter(|client| free_ns[*client] < now_ns);
        let Some(client) = free.choose(&mut rng) else { continue };
        let (plan, looked) = match plans.remove(&client) {
            Some((plan, looked)) => (plan, Some(looked)),
            None => (planners[client].plan(tale.history.ops.len() / 100), None),
        };
        let look = plan.look().filter(|_| looked.is_none());
        let looks = look.is_some();
        let action = look.unwrap_or_else(|| plan.act(looked.as_ref()));
        let expected = store.predict(&action);
        let lost = rng.random_ratio(1, 50);
        if !lost || rng.random_bool(0.5) {
            let revision = store.revision + i64::from(!expected.events.is_empty());
            store.apply(revision, &expected.events);
        }
        let (succeeded, steps) = (expected.succeeded, expected.steps);
        let reply = Reply { revision: store.revision, succeeded, steps };
        if looks && !lost {
            plans.insert(client, (plan, reply.clone()));
        }
        let invoked_ns = rng.random_range(free_ns[client] + 1..=now_ns).max(now_ns - 50);
        free_ns[client] = now_ns + rng.random_range(0..50);
        let outcome = if lost { Outcome::Unknown("lost".to_owned()) } else { Outcome::Ok(reply) };
        tale.op((invoked_ns, free_ns[client]), action, outcome);
    }
    tale.history
}

#[test]
fn legal_histories_are_accepted() {
    for seed in 0..300 {
        let verdict = append::check(&legal(seed, 300, 6));
        assert!(verdict.passed(), "seed {seed}: {verdict:#?}");
    }
}

/// Gives a read the answer of an earlier one that a write had made obsolete before it was sent.
fn make_a_read_stale(history: &mut History, rng: &mut StdRng) -> bool {
    let mut choices = Vec::new();
    for write in history.ops.iter().filter(|op| op.reply().is_some_and(|r| r.succeeded)) {
        for (step, answer) in write.action.steps(true).iter().zip(&write.reply().expect("ok").steps)
        {
            let (Step::Put { key, .. }, StepReply::Put { previous }) = (step, answer) else {
                continue;
            };
            for read in history.ops.iter().filter(|op| op.invoked_ns > write.completed_ns) {
                let is_read = matches!(&read.action,
                    Action::Single { step: Step::Get { key: k }, .. } if k == key);
                if is_read && read.reply().is_some() {
                    choices.push((read.index, previous.clone()));
                }
            }
        }
    }
    let Some((index, old)) = choices.into_iter().choose(rng) else { return false };
    if let Outcome::Ok(reply) = &mut history.ops[index].outcome {
        reply.steps = vec![StepReply::Read { found: old.into_iter().collect() }];
    }
    true
}

#[test]
fn a_legal_history_with_one_stale_read_is_rejected() {
    let mut mutated = 0;
    for seed in 0..300 {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut history = legal(seed, 200, 6);
        if make_a_read_stale(&mut history, &mut rng) {
            mutated += 1;
            let verdict = append::check(&history);
            let is_stale = |name: &str| name.ends_with("-realtime") || name.starts_with('G');
            let named = verdict.violations.iter().any(|v| is_stale(v.rule));
            assert!(named, "seed {seed}: {verdict:#?}");
        }
    }
    assert!(mutated > 250, "only {mutated} histories had a read to make stale");
}

/// What a smoke run records: 100 000 operations. Prints how long the checker took.
#[test]
fn a_hundred_thousand_operations_are_judged_in_seconds() {
    let history = legal(1, 100_000, 8);
    let start = std::time::Instant::now();
    let verdict = append::check(&history);
    let took = start.elapsed();
    println!("{} lists in {took:?}", verdict.checked);
    assert!(verdict.passed(), "{verdict:#?}");
    assert!(took < std::time::Duration::from_secs(60), "took {took:?}");
}
