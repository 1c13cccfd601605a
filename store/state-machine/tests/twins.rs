//! A1 and K3: the same log gives the same state however it is cut, and a crash leaves a prefix.
#![expect(clippy::unwrap_used, reason = "a failed helper is a failed test")]

mod support;

use std::fs;
use std::path::Path;

use proptest::prelude::*;
use proto::orlop::store::v1::command::Op;
use store_state_machine::{StateMachine, inspect};
use support::logs::{log, ops};
use support::{digest, entry, put, small};

fn applied_index(machine: &StateMachine) -> usize {
    let index = machine.applied().0.map_or(0, |id| u64::from_be_bytes(id[..].try_into().unwrap()));
    usize::try_from(index).unwrap()
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for file in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(file.file_name());
        if file.file_type().unwrap().is_dir() {
            copy(&file.path(), &target);
        } else {
            fs::copy(file.path(), target).unwrap();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 100, ..Default::default() })]

    #[test]
    fn one_log_gives_one_state_however_it_is_cut(
        ops in ops(),
        cuts in proptest::collection::vec((1..9usize, 0..4u8), 1..20),
    ) {
        let log = log(ops);
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mut slow = StateMachine::open(one.path(), &small()).unwrap();
        let mut slow_outcomes = Vec::new();
        for entry in &log {
            let applied = slow.apply(vec![entry.clone()]).unwrap();
            slow_outcomes.extend(applied.into_iter().map(|one| (one.outcomes, one.digest)));
        }

        let mut fast = Some(StateMachine::open(two.path(), &small()).unwrap());
        let mut fast_outcomes = Vec::new();
        let mut cuts = cuts.iter().cycle();
        while applied_index(fast.as_ref().unwrap()) < log.len() {
            let (length, action) = cuts.next().unwrap();
            let machine = fast.as_mut().unwrap();
            let at = applied_index(machine);
            let run = log[at..log.len().min(at + length)].to_vec();
            let applied = machine.apply(run).unwrap();
            fast_outcomes.extend(applied.into_iter().map(|one| (one.outcomes, one.digest)));
            match action {
                0 => {
                    machine.flush().unwrap();
                    drop(fast.take());
                    fast = Some(StateMachine::open(two.path(), &small()).unwrap());
                }
                1 => {
                    machine.compact_step(2).unwrap();
                }
                _ => {}
            }
        }
        prop_assert_eq!(slow_outcomes, fast_outcomes, "A1, D1");
        prop_assert_eq!(digest(&mut slow), digest(fast.as_mut().unwrap()));
    }

    #[test]
    fn a_crash_leaves_exactly_a_prefix_and_the_rest_of_the_log_repairs_it(
        ops in ops(), flush_at in proptest::collection::btree_set(0..40usize, 0..3),
    ) {
        let log = log(ops);
        let (dir, copied) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mut machine = StateMachine::open(dir.path(), &small()).unwrap();
        let mut flushed = 0;
        for (at, entry) in log.iter().enumerate() {
            machine.apply(vec![entry.clone()]).unwrap();
            if flush_at.contains(&at) {
                machine.flush().unwrap();
                flushed = at + 1;
            }
        }
        // The power goes: what was not flushed is not in the copy.
        copy(dir.path(), copied.path());

        let mut after = StateMachine::open(copied.path(), &small()).unwrap();
        let survived = applied_index(&after);
        prop_assert!(survived >= flushed, "flushed {flushed}, found {survived}");

        let prefix_dir = tempfile::tempdir().unwrap();
        let mut prefix = StateMachine::open(prefix_dir.path(), &small()).unwrap();
        prefix.apply(log[..survived].to_vec()).unwrap();
        if survived > 0 {
            prop_assert_eq!(digest(&mut after), digest(&mut prefix), "K3");
        }
        after.apply(log[survived..].to_vec()).unwrap();
        prop_assert_eq!(digest(&mut after), digest(&mut machine));
    }
}

#[test]
fn a_checkpoint_replaces_the_state_of_another_member_under_its_readers() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut leader = StateMachine::open(one.path(), &small()).unwrap();
    let mut member = StateMachine::open(two.path(), &small()).unwrap();
    for index in 1..=50 {
        leader.apply(vec![entry(index, vec![Op::Put(put(&format!("k{index}"), "new"))])]).unwrap();
    }
    member.apply(vec![entry(1, vec![Op::Put(put("old", "old"))])]).unwrap();
    let view = member.view();

    let received = two.path().join("received");
    leader.checkpoint(&received).unwrap();
    // What comes after the checkpoint must not be in it.
    let at_checkpoint = leader.applied();
    let digest_there = leader.view().digest();
    leader.apply(vec![entry(51, vec![Op::Put(put("late", "x"))])]).unwrap();
    assert_eq!(inspect(&received).unwrap(), at_checkpoint);

    member.replace_from(&received).unwrap();
    assert_eq!(member.applied(), at_checkpoint);
    assert_eq!(view.digest(), digest_there, "the digest comes with the state");
    assert_eq!(view.revision(), 51, "a view made before goes on with the new state");
    assert_eq!(view.range(&support::everything()).unwrap().count, 50);

    // The rest of the log brings it level, also after a restart.
    drop(view);
    drop(member);
    let mut member = StateMachine::open(two.path(), &small()).unwrap();
    member.apply(vec![entry(51, vec![Op::Put(put("late", "x"))])]).unwrap();
    assert_eq!(digest(&mut member), digest(&mut leader));
    let folders = fs::read_dir(two.path())
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().starts_with("db-"));
    assert_eq!(folders.count(), 1, "the old state's folder is gone");
}

#[test]
fn a_damaged_record_is_a_fault_and_not_a_panic() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("CURRENT"), "db-7").unwrap();
    fs::create_dir_all(dir.path().join("db-7")).unwrap();
    fs::write(dir.path().join("db-7/CURRENT"), "nonsense").unwrap();
    assert!(StateMachine::open(dir.path(), &small()).is_err());
}
