//! Seeds of the simulator: nothing may break, and everything must happen again.

use std::path::PathBuf;

use chaos::history::Kind;
use chaos::sim::{self, Flags, Summary, Total};

/// All checkers of a run whose workloads are of all kinds.
const CHECKERS: &[&str] = &[
    "durable",
    "revisions",
    "answers",
    "linear",
    "watch",
    "converged",
    "append",
    "set",
    "lease",
    "lock",
    "auth",
    "lists",
];

/// All kinds of faults, as reports name them. Nothing is taken from the simulator itself: with it this
/// process would have the simulation's clock.
const FAULTS: &[&str] = &[
    "kill",
    "power-loss",
    "torn-power",
    "power-loss-all",
    "disk-full",
    "write-error",
    "sync-error",
    "read-error",
    "bit-flip-log",
    "bit-flip-state",
    "replace",
    "learner",
    "restart",
    "isolated",
    "halves",
    "deaf",
    "mute",
    "bridge",
    "ring",
    "hold",
    "no-clients",
    "slow-links",
    "slow-disk",
    "slow-apply",
    "move-leader",
];

fn flags(seeds: &str) -> Flags {
    Flags {
        seed: None,
        seeds: seeds.parse().expect("seeds"),
        plan: None,
        twice: false,
        time: None,
        jobs: None,
        summary: None,
        output: None,
        scratch: None,
        simulator: Some(PathBuf::from(env!("CARGO_BIN_EXE_orlop-sim"))),
    }
}

/// Runs seeds of which none may break anything.
async fn run(flags: Flags) -> (Total, Vec<Summary>) {
    let (mut all, mut broken) = (Vec::new(), String::new());
    let done = |summary: &Summary| {
        if !summary.passed {
            broken += &sim::words(&flags, summary);
        }
        all.push(summary.clone());
        Ok(())
    };
    let total = sim::execute(&flags, done).await.expect("seeds can be run");
    assert!(total.failed.is_empty(), "{broken}");
    (total, all)
}

/// The first seeds, and that they do what they are for: all kinds of work and of faults, and disks that
/// lost, tore and refused something.
#[tokio::test]
async fn two_hundred_seeds_break_no_promise() {
    let (total, _) = run(flags("1-200")).await;
    assert_eq!(total.seeds, 200);
    for action in Kind::ALL.iter().flat_map(|kind| kind.actions()) {
        assert!(total.acknowledged.contains_key(*action), "no {action}: {total:#?}");
    }
    for fault in FAULTS {
        assert!(total.faults.contains_key(*fault), "no {fault}: {total:#?}");
    }
    for effect in [
        "batches-lost",
        "torn-records-cut",
        "writes-failed",
        "syncs-failed",
        "reads-failed",
        "bits-flipped",
        "damage-refused",
        "replaced-for-damage",
        "promoted",
        "snapshots-installed",
    ] {
        assert!(total.effects.contains_key(effect), "no {effect}: {total:#?}");
    }
    for checker in CHECKERS {
        assert!(total.checked[*checker] > 100, "{checker} had too little to do: {total:#?}");
    }
    assert!(total.acknowledged.values().sum::<u64>() > 40_000, "{total:#?}");
    assert!(total.faults.values().sum::<u64>() > 800, "{total:#?}");
    eprintln!("{total:#?}");
}

#[tokio::test]
async fn a_seed_is_one_run() {
    let (_, all) = run(Flags { twice: true, ..flags("1-4") }).await;
    let mut traces: Vec<&str> = all.iter().map(|summary| summary.trace.as_str()).collect();
    traces.sort_unstable();
    traces.dedup();
    assert_eq!(traces.len(), 4, "different seeds, different runs");
    assert!(!traces.contains(&""), "{all:#?}");
}

/// What a seed found once, as plans: a seed's own plan changes with the simulator.
#[tokio::test]
async fn what_was_found_stays_found() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/plans");
    for plan in std::fs::read_dir(folder).unwrap() {
        run(Flags { plan: Some(plan.unwrap().path()), ..flags("1") }).await;
    }
}
