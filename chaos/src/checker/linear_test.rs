//! What the search for an order accepts and what it rejects. No answer here has a revision, but for
//! those that a guard names: the checker has to do without.

use rand::rngs::StdRng;
use rand::seq::IteratorRandom as _;
use rand::{Rng as _, SeedableRng as _};

use super::{Verdict, linear};
use crate::history::{Action, Guard, History, KeyValue, Op, Outcome, Reply, Step, StepReply};
use crate::model::kv::Store;

const KEY: &str = "k";

/// Operations with their times; the answers are the test's own.
#[derive(Default)]
struct Tale {
    history: History,
}

fn shown(value: &str) -> Vec<KeyValue> {
    let kv = KeyValue { key: KEY.to_owned(), value: value.to_owned(), ..KeyValue::default() };
    if value.is_empty() { Vec::new() } else { vec![kv] }
}

fn put(value: &str) -> Step {
    Step::Put { key: KEY.to_owned(), value: value.to_owned() }
}

fn get() -> Step {
    Step::Get { key: KEY.to_owned() }
}

fn delete() -> Step {
    Step::Delete { key: KEY.to_owned() }
}

impl Tale {
    fn op(&mut self, (invoked_ns, completed_ns): (u64, u64), action: Action, outcome: Outcome) {
        let index = self.history.ops.len();
        let op = Op { index, process: index, member: 0, invoked_ns, completed_ns, action, outcome };
        self.history.ops.push(op);
    }

    fn single(&mut self, times: (u64, u64), step: Step, answer: StepReply) -> &mut Self {
        let reply = Reply { revision: 0, succeeded: true, steps: vec![answer] };
        self.op(times, Action::Single { step, serializable: false }, Outcome::Ok(reply));
        self
    }

    fn put(&mut self, times: (u64, u64), value: &str, found: &str) -> &mut Self {
        let previous = shown(found).pop();
        self.single(times, put(value), StepReply::Put { previous })
    }

    fn delete(&mut self, times: (u64, u64), found: &str) -> &mut Self {
        self.single(times, delete(), StepReply::Delete { previous: shown(found) })
    }

    fn get(&mut self, times: (u64, u64), found: &str) -> &mut Self {
        self.single(times, get(), StepReply::Read { found: shown(found) })
    }

    fn unknown(&mut self, times: (u64, u64), step: Step) -> &mut Self {
        let outcome = Outcome::Unknown("lost".to_owned());
        self.op(times, Action::Single { step, serializable: false }, outcome);
        self
    }

    fn verdict(&self) -> Verdict {
        linear::check(&self.history)
    }

    fn accepted(&self) {
        let verdict = self.verdict();
        assert!(verdict.passed(), "{verdict:#?}");
    }

    fn rejected(&self, ops: &[usize]) {
        let verdict = self.verdict();
        let [violation] = verdict.violations.as_slice() else { panic!("one of {verdict:#?}") };
        assert_eq!((violation.rule, violation.ops.as_slice()), ("L1", ops), "{violation:#?}");
    }
}

#[test]
fn writes_at_the_same_time_may_come_in_any_order() {
    Tale::default().put((1, 9), "x", "").put((2, 8), "y", "x").get((10, 11), "y").accepted();
    Tale::default().put((1, 9), "x", "y").put((2, 8), "y", "").get((10, 11), "x").accepted();
}

#[test]
fn l1_writes_one_after_the_other_have_one_order() {
    Tale::default().put((1, 2), "x", "y").put((3, 4), "y", "").rejected(&[0]);
}

#[test]
fn a_read_at_the_same_time_as_a_write_sees_it_or_not() {
    for found in ["x", "y"] {
        let mut tale = Tale::default();
        tale.put((1, 2), "x", "").put((3, 9), "y", "x").get((4, 8), found).accepted();
    }
}

#[test]
fn l1_two_reads_one_after_the_other_during_a_write_do_not_see_it_come_and_go() {
    let mut tale = Tale::default();
    tale.put((1, 2), "x", "").put((3, 20), "y", "x").get((4, 5), "y").get((6, 7), "x");
    tale.rejected(&[1, 3]);
}

#[test]
fn l1_a_stale_read() {
    let mut tale = Tale::default();
    tale.put((1, 2), "x", "").put((3, 4), "y", "x").get((5, 6), "x").get((7, 8), "y");
    tale.rejected(&[1, 2]);
}

#[test]
fn l1_a_lost_write() {
    Tale::default().put((1, 2), "x", "").get((3, 4), "").rejected(&[0, 1]);
    Tale::default().put((1, 2), "x", "").delete((3, 4), "").rejected(&[0, 1]);
}

#[test]
fn l1_a_deleted_value_that_is_back() {
    let mut tale = Tale::default();
    tale.put((1, 2), "x", "").delete((3, 4), "x").get((5, 6), "");
    tale.accepted();
    tale.get((7, 8), "x").rejected(&[3]);
}

#[test]
fn l1_two_writes_that_replaced_the_same_value() {
    let mut tale = Tale::default();
    tale.put((1, 2), "x", "").put((3, 9), "y", "x").put((4, 8), "z", "x");
    assert!(!tale.verdict().passed());
}

#[test]
fn l1_a_value_that_nobody_wrote() {
    Tale::default().put((1, 2), "x", "").get((3, 4), "phantom").rejected(&[0, 1]);
}

#[test]
fn l2_an_unanswered_write_happens_at_any_later_time_or_never() {
    let mut tale = Tale::default();
    tale.put((1, 2), "x", "").unknown((3, 4), put("u")).get((5, 6), "x").accepted();
    tale.get((7, 8), "x").get((9, 10), "u").put((11, 12), "y", "u").get((13, 14), "y").accepted();
}

#[test]
fn l2_an_unanswered_write_does_not_happen_before_it_was_sent_nor_twice() {
    let mut tale = Tale::default();
    tale.get((1, 2), "u").unknown((3, 4), put("u")).rejected(&[0]);
    let mut tale = Tale::default();
    tale.unknown((1, 2), put("u")).get((3, 4), "u").put((5, 6), "x", "u").get((7, 8), "u");
    tale.rejected(&[2, 3]);
}

#[test]
fn l2_an_unanswered_delete_explains_an_absent_key_once() {
    let mut tale = Tale::default();
    tale.put((1, 2), "x", "").unknown((3, 4), delete()).get((5, 6), "");
    tale.accepted();
    tale.put((7, 8), "y", "").get((9, 10), "").rejected(&[3, 4]);
}

#[test]
fn l2_a_refused_write_never_happens() {
    let mut tale = Tale::default();
    let action = Action::Single { step: put("r"), serializable: false };
    tale.op((1, 2), action, Outcome::Refused("no".to_owned()));
    tale.get((3, 4), "r").rejected(&[1]);
}

#[test]
fn l2_an_unanswered_compare_and_swap_only_happens_on_the_value_that_its_guard_names() {
    let swap = |tale: &mut Tale, mod_revision| {
        let guards = vec![Guard { key: KEY.to_owned(), mod_revision }];
        let action = Action::Txn { guards, then: vec![put("u")], otherwise: vec![get()] };
        tale.op((5, 6), action, Outcome::Unknown("lost".to_owned()));
    };
    for (mod_revision, lawful) in [(7, false), (8, true), (9, true)] {
        let mut tale = Tale::default();
        tale.put((1, 2), "x", "").put((3, 4), "y", "x");
        for (op, revision) in [(0, 7), (1, 8)] {
            if let Outcome::Ok(reply) = &mut tale.history.ops[op].outcome {
                reply.revision = revision;
            }
        }
        swap(&mut tale, mod_revision);
        tale.get((7, 8), "u");
        let passed = tale.verdict().passed();
        assert_eq!(passed, lawful, "a guard on {mod_revision}; what 9 is nobody was shown");
    }
}

#[test]
fn l1_a_transaction_takes_part_in_each_of_its_keys() {
    let both = |found: [&str; 2]| {
        let keys = ["a", "b"];
        let kv = |n: usize| KeyValue {
            key: keys[n].to_owned(),
            value: found[n].to_owned(),
            ..KeyValue::default()
        };
        let then = keys.map(|key| Step::Get { key: key.to_owned() }).to_vec();
        let steps = [0, 1].map(|n| StepReply::Read { found: vec![kv(n)] }).to_vec();
        let reply = Reply { revision: 0, succeeded: true, steps };
        (Action::Txn { guards: Vec::new(), then, otherwise: Vec::new() }, Outcome::Ok(reply))
    };
    let tale = |found| {
        let mut tale = Tale::default();
        for (n, key) in ["a", "b"].into_iter().enumerate() {
            let step = Step::Put { key: key.to_owned(), value: format!("{key}1") };
            let n = n as u64 * 10;
            tale.single((n + 1, n + 2), step, StepReply::Put { previous: None });
        }
        let (action, outcome) = both(found);
        tale.op((30, 31), action, outcome);
        tale
    };
    tale(["a1", "b1"]).accepted();
    tale(["a1", "b2"]).rejected(&[1, 2]);
}

#[test]
fn serializable_reads_are_left_out_and_nothing_is_no_pass() {
    let mut tale = Tale::default();
    let reply = Reply {
        revision: 0,
        succeeded: true,
        steps: vec![StepReply::Read { found: shown("old") }],
    };
    tale.op((1, 2), Action::Single { step: get(), serializable: true }, Outcome::Ok(reply));
    assert!(!tale.verdict().passed());
    tale.put((3, 4), "x", "").accepted();
}

#[test]
fn l3_a_key_that_is_over_the_limit_is_a_failure() {
    let mut tale = Tale::default();
    tale.put((1, 9), "x", "").put((2, 8), "y", "x").get((3, 7), "y");
    tale.accepted();
    let verdict = linear::check_within(&tale.history, 2);
    assert!(!verdict.passed());
    assert_eq!(verdict.violations[0].rule, "L3");
    assert!(verdict.violations[0].text.starts_with("unknown"));
}

/// A legal history: actions happen one after the other on the model, at a moment between the time
/// when they are said to be sent and the time when they are said to be answered.
fn legal(seed: u64, count: usize, keys: usize, clients: usize) -> History {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut generators: Vec<_> =
        (0..clients).map(|client| crate::workload::Generator::new(seed, client, keys)).collect();
    let mut free_ns = vec![0; clients];
    let mut history = History { base_revision: 1, ..History::default() };
    let mut store = Store::at(1);
    let mut now_ns = 100;
    while history.ops.len() < count {
        now_ns += rng.random_range(1..10);
        let free = (0..clients).filter(|client| free_ns[*client] < now_ns);
        let Some(client) = free.choose(&mut rng) else { continue };
        let action = generators[client].action();
        let lost = rng.random_ratio(1, 50);
        let expected = store.predict(&action);
        if !lost || rng.random_bool(0.5) {
            let revision = store.revision + i64::from(!expected.events.is_empty());
            store.apply(revision, &expected.events);
        }
        let (revision, succeeded, steps) = (store.revision, expected.succeeded, expected.steps);
        let outcome = if lost {
            Outcome::Unknown("lost".to_owned())
        } else {
            Outcome::Ok(Reply { revision, succeeded, steps })
        };
        generators[client].learn(&action, &outcome);
        let invoked_ns = rng.random_range(free_ns[client] + 1..=now_ns).max(now_ns - 50);
        let completed_ns = now_ns + rng.random_range(0..50);
        free_ns[client] = completed_ns;
        let index = history.ops.len();
        let (process, member) = (client, 0);
        history.ops.push(Op { index, process, member, invoked_ns, completed_ns, action, outcome });
    }
    history.ops.sort_by_key(|op| op.invoked_ns);
    history.ops.iter_mut().enumerate().for_each(|(index, op)| op.index = index);
    history
}

#[test]
fn legal_histories_are_accepted() {
    for seed in 0..300 {
        let verdict = linear::check(&legal(seed, 300, 1 + seed as usize % 6, 6));
        assert!(verdict.passed(), "seed {seed}: {verdict:#?}");
    }
}

/// Reads that are given a value which was seen replaced before they were sent.
fn make_a_read_stale(history: &mut History, rng: &mut StdRng) -> bool {
    let mut choices = Vec::new();
    for write in &history.ops {
        let (Some(reply), Action::Single { step: Step::Put { key, .. }, .. }) =
            (write.reply(), &write.action)
        else {
            continue;
        };
        let StepReply::Put { previous: Some(old) } = &reply.steps[0] else { continue };
        let reads = history.ops.iter().filter(|read| {
            read.invoked_ns > write.completed_ns
                && read.reply().is_some()
                && matches!(&read.action,
                    Action::Single { step: Step::Get { key: k }, serializable: false } if k == key)
        });
        choices.extend(reads.map(|read| (read.index, old.clone())));
    }
    let Some((index, old)) = choices.into_iter().choose(rng) else { return false };
    if let Outcome::Ok(reply) = &mut history.ops[index].outcome {
        reply.steps = vec![StepReply::Read { found: vec![old] }];
    }
    true
}

#[test]
fn l1_a_legal_history_with_one_stale_read_is_rejected() {
    let mut mutated = 0;
    for seed in 0..300 {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut history = legal(seed, 200, 1 + seed as usize % 6, 6);
        if make_a_read_stale(&mut history, &mut rng) {
            mutated += 1;
            let verdict = linear::check(&history);
            let rules: Vec<&str> = verdict.violations.iter().map(|v| v.rule).collect();
            assert_eq!(rules, ["L1"], "seed {seed}: {verdict:#?}");
        }
    }
    assert!(mutated > 250, "only {mutated} histories had a read to make stale");
}

/// What a smoke run records: 100 000 operations. Prints how long the search took.
#[test]
fn a_hundred_thousand_operations_are_judged_in_seconds() {
    for (keys, clients) in [(100, 8), (12, 8)] {
        let history = legal(1, 100_000, keys, clients);
        let start = std::time::Instant::now();
        let verdict = linear::check(&history);
        let took = start.elapsed();
        println!("{keys} keys, {clients} clients: {} facts in {took:?}", verdict.checked);
        assert!(verdict.passed(), "{verdict:#?}");
        assert!(took < std::time::Duration::from_secs(60), "took {took:?}");
    }
}
