//! The store's first promise, on real processes: while leaders die and return, nothing
//! acknowledged is lost, revisions never go back, and watchers are told everything once.

use std::path::PathBuf;

use chaos::cluster::find_orlop;
use chaos::report;
use chaos::scenario::{Flags, Scenario, execute};

async fn prove(flags: Flags) -> String {
    let run = execute(&flags).await.expect("the scenario runs to its end");
    let report = report::text::summary(&flags, &run);
    assert!(run.passed(), "seed {}:\n{report}", run.seed);
    report
}

/// The leader of three `orlop store` members is killed and restarted, five times.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orlop_keeps_its_promises_while_leaders_are_killed() {
    let binary = find_orlop().expect("the orlop binary");
    let flags = Flags { binary: Some(binary), ..Flags::for_scenario(Scenario::LeaderKill) };
    println!("{}", prove(flags).await);
}

/// The checkers accept real etcd under the same faults: a checker that fails a good store is wrong.
/// Runs when `ORLOP_ETCD` names an etcd binary.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_checkers_accept_real_etcd_under_the_same_faults() {
    let Some(etcd) = std::env::var_os("ORLOP_ETCD").map(PathBuf::from) else {
        eprintln!("SKIPPED: ORLOP_ETCD names no etcd binary, so the checkers have no oracle here");
        return;
    };
    let flags = Flags {
        binary: Some(etcd),
        store_command: String::new(),
        store_flags: vec!["--log-level=warn".to_owned()],
        ..Flags::for_scenario(Scenario::LeaderKill)
    };
    println!("{}", prove(flags).await);
}
