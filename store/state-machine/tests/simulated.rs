//! The state on the simulated engine: the same as on RocksDB, and whole after a crash at any moment.
#![expect(clippy::unwrap_used, reason = "a failed helper is a failed test")]

mod support;

use std::path::{Path, PathBuf};

use proptest::prelude::*;
use proto::orlop::store::v1::command::Op;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use store_engine::sim::{self, Disk, Failure, Operation, Times};
use store_state_machine::{Fault, ReadError, StateMachine};
use support::logs::{log, ops};
use support::{digest, entry, put, small};
use tempfile::TempDir;

/// A folder on a simulated disk.
struct Host {
    dir: TempDir,
    disk: Disk,
}

impl Host {
    fn new() -> Self {
        let (dir, disk) = (tempfile::tempdir().unwrap(), Disk::new());
        sim::register(dir.path(), &disk);
        Self { dir, disk }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    fn open(&self) -> Result<StateMachine, Fault> {
        StateMachine::open(&self.path(), &small())
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        sim::unregister(self.dir.path());
    }
}

fn applied_index(machine: &StateMachine) -> usize {
    let index = machine.applied().0.map_or(0, |id| u64::from_be_bytes(id[..].try_into().unwrap()));
    usize::try_from(index).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 100, ..Default::default() })]

    #[test]
    fn both_engines_make_the_same_state(
        ops in ops(),
        actions in prop::collection::vec(0..6_u8, 1..20),
    ) {
        let log = log(ops);
        let (real, host) = (tempfile::tempdir().unwrap(), Host::new());
        let mut rocks = Some(StateMachine::open(real.path(), &small()).unwrap());
        let mut simulated = Some(host.open().unwrap());
        for (entry, action) in log.iter().zip(actions.iter().cycle()) {
            let outcomes = [&mut rocks, &mut simulated].map(|machine| {
                let machine = machine.as_mut().unwrap();
                let applied = machine.apply(vec![entry.clone()]).unwrap().remove(0);
                let step = (*action == 0).then(|| machine.compact_step(2).unwrap());
                (applied.outcomes, applied.digest, step)
            });
            prop_assert_eq!(&outcomes[0], &outcomes[1]);
            if *action == 1 {
                (rocks, simulated) = (None, None);
                rocks = rocks.or_else(|| StateMachine::open(real.path(), &small()).ok());
                simulated = simulated.or_else(|| host.open().ok());
            }
        }
        let (mut rocks, mut simulated) = (rocks.unwrap(), simulated.unwrap());
        prop_assert_eq!(digest(&mut rocks), digest(&mut simulated));
    }

    #[test]
    fn a_crash_anywhere_leaves_a_prefix_and_the_rest_of_the_log_repairs_it(
        ops in ops(),
        flush_at in prop::collection::btree_set(0..40_usize, 0..4),
        crash_after in 0..12_u64,
        seed in any::<u64>(),
    ) {
        let log = log(ops);
        let host = Host::new();
        let mut machine = host.open().unwrap();
        let (mut applied, mut flushed) = (0, 0);
        host.disk.crash_after(crash_after);
        for (at, entry) in log.iter().enumerate() {
            if machine.apply(vec![entry.clone()]).is_err() {
                break;
            }
            applied = at + 1;
            if flush_at.contains(&at) && machine.flush().is_ok() {
                flushed = at + 1;
            }
        }
        host.disk.crash(&mut StdRng::seed_from_u64(seed)).unwrap();
        prop_assert!(machine.flush().is_err(), "the power is gone");
        drop(machine);

        let mut after = host.open().unwrap();
        let survived = applied_index(&after);
        prop_assert!((flushed..=applied).contains(&survived), "{flushed} {survived} {applied}");
        let other = Host::new();
        let mut prefix = other.open().unwrap();
        if survived > 0 {
            prefix.apply(log[..survived].to_vec()).unwrap();
            prop_assert_eq!(digest(&mut after), digest(&mut prefix), "K3");
        }
        after.apply(log[survived..].to_vec()).unwrap();
        prefix.apply(log[survived..].to_vec()).unwrap();
        prop_assert_eq!(digest(&mut after), digest(&mut prefix));
    }
}

fn filled(dir: &Path, name: &str, entries: u64) -> StateMachine {
    let mut machine = StateMachine::open(dir, &small()).unwrap();
    for index in 1..=entries {
        let put = put(&format!("k{index}"), name);
        machine.apply(vec![entry(index, vec![Op::Put(put)])]).unwrap();
    }
    machine
}

/// Every moment at which the power can go while a state is replaced: one of the two is there.
#[test]
fn a_crash_while_a_state_is_replaced_leaves_the_old_one_or_the_new_one() {
    let (mut old, mut new) = (0, 0);
    for moment in 0.. {
        let host = Host::new();
        let mut leader = filled(&host.dir.path().join("leader"), "new", 50);
        let mut member = filled(&host.path(), "old", 7);
        member.flush().unwrap();
        let (before, wanted) = (digest(&mut member), digest(&mut leader));
        let received = host.dir.path().join("received");
        leader.checkpoint(&received).unwrap();
        host.disk.crash_after(moment);
        let replaced = member.replace_from(&received);
        let died = host.disk.is_down();
        assert_eq!(replaced.is_err(), died, "moment {moment}");
        host.disk.crash(&mut StdRng::seed_from_u64(moment)).unwrap();
        drop((leader, member));

        let mut after = host.open().unwrap_or_else(|fault| panic!("moment {moment}: {fault}"));
        let found = digest(&mut after);
        assert!(found == before || found == wanted, "moment {moment}");
        if found == before {
            old += 1
        } else {
            new += 1
        }
        if !died {
            assert_eq!(found, wanted, "what was answered is there");
            break;
        }
    }
    // Before and after the name is replaced, at least.
    assert!(old >= 2 && new >= 2, "{old} moments left the old state, {new} the new one");
}

/// And while the first one is made.
#[test]
fn a_crash_while_a_state_is_made_leaves_one_that_opens() {
    for moment in 0.. {
        let host = Host::new();
        host.disk.crash_after(moment);
        let opened = host.open().is_ok();
        assert_eq!(opened, !host.disk.is_down(), "moment {moment}");
        host.disk.crash(&mut StdRng::seed_from_u64(moment)).unwrap();
        let after = host.open().unwrap_or_else(|fault| panic!("moment {moment}: {fault}"));
        assert_eq!(applied_index(&after), 0);
        if opened {
            assert!(moment >= 2, "there are moments to crash at");
            break;
        }
    }
}

/// What is wrong with the files is said with their name: at the start, or when it is read.
#[test]
fn a_flipped_bit_is_refused_with_the_name_of_the_file() {
    let (mut at_start, mut at_read) = (0, 0);
    for seed in 0..60 {
        let host = Host::new();
        filled(&host.path(), "x", 20).flush().unwrap();
        let wanted = |path: &Path| path.parent().unwrap().ends_with("db-1");
        let flip = host.disk.flip(wanted, &mut StdRng::seed_from_u64(seed)).unwrap().unwrap();
        let fault = match host.open() {
            Err(fault) => {
                at_start += 1;
                fault
            }
            Ok(machine) => match machine.view().hash_kv(0) {
                Err(ReadError::Failed(fault)) => {
                    at_read += 1;
                    fault
                }
                other => panic!("{flip:?}: {other:?}"),
            },
        };
        assert!(matches!(fault, Fault::Damaged(_)), "{fault}");
        assert!(fault.to_string().contains(flip.path.to_str().unwrap()), "{fault}");
    }
    assert!(at_start > 0 && at_read > 0, "{at_start} at the start, {at_read} later");
}

#[test]
fn a_flush_that_fails_is_a_fault_and_stays_one() {
    let host = Host::new();
    let mut machine = filled(&host.path(), "x", 5);
    host.disk.fail(Operation::Sync, Failure::Enospc, Times::Next(1));
    let fault = machine.flush().unwrap_err();
    assert!(fault.to_string().contains("No space left on device"), "{fault}");
    assert!(machine.flush().is_err(), "E4");
    assert_eq!(machine.view().background_errors().unwrap().1, 1);
    let put = Op::Put(put("late", "x"));
    assert!(machine.apply(vec![entry(6, vec![put])]).is_err());
}
