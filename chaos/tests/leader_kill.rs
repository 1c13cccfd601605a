//! The store's first promise, on real processes: while leaders die and return, nothing
//! acknowledged is lost, revisions never go back, and watchers are told everything once.

use std::time::{Duration, Instant};

use chaos::client::MemberClient;
use chaos::cluster::{Cluster, Launcher};
use chaos::history::Outcome;
use chaos::limits;
use chaos::report;
use chaos::scenario::{Flags, Run, Scenario, execute};
use chaos::{Asking, Tested};

/// Sources that the binary under test must not be older than.
const SOURCES: [&str; 2] = ["proto", "store"];

async fn prove(flags: Flags) -> (Run, String) {
    let run = execute(&flags).await.expect("the scenario runs to its end");
    let report = report::text::summary(&flags, &run);
    assert!(run.passed(), "seed {}:\n{report}", run.seed);
    (run, report)
}

/// The leader of three `orlop store` members is killed and restarted, five times. All the while
/// watchers ask how far they are: an answer ahead of its events would make an API server serve
/// lists from its cache that miss acknowledged writes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orlop_keeps_its_promises_while_leaders_are_killed() {
    let binary = testbed::orlop(&SOURCES);
    let flags = Flags {
        tested: Tested::orlop(binary),
        asking: Asking { watch_progress: Some(true), ..Asking::default() },
        ..Flags::for_scenario(Scenario::LeaderKill)
    };
    let (run, report) = prove(flags).await;
    println!("{report}");
    for watch in &run.history.watches {
        assert!(watch.progress_answers() > 0, "watcher {} was never told progress", watch.name);
    }
    // What a member that lives had handed to the leader that died, it hands to the next one. Only who
    // spoke with the dead one itself cannot know; etcd answers the others with a timeout.
    let left_waiting = run.history.ops.iter().filter_map(|op| match &op.outcome {
        Outcome::Unknown(why) if why.contains("timed out") || why.contains("deadline") => {
            Some(format!("member {}: {:?}: {why}", op.member, op.action))
        }
        Outcome::Ok(_) | Outcome::Refused(_) | Outcome::Unknown(_) => None,
    });
    assert_eq!(left_waiting.collect::<Vec<_>>(), Vec::<String>::new());
}

/// An API server trusts progress answers by the store's version alone, so it must say a version
/// whose answers are trusted; otherwise every consistent list goes to the store.
#[tokio::test]
async fn orlop_says_a_version_whose_progress_answers_are_trusted() {
    let binary = testbed::orlop(&SOURCES);
    let cluster = Cluster::start(Launcher::orlop(&binary), 1).await.expect("one member");
    let mut client = MemberClient::new(&cluster.url(0)).expect("a client");
    let status = client.status().await.expect("a status");
    assert!(status.has_reliable_progress(), "version {:?}", status.version);
}

/// All members begin anew, without data; returns when each of them answers. Until then they start
/// programs and make their first files, and that takes what the machine takes.
async fn found_anew(cluster: &mut Cluster) {
    for member in 0..cluster.size() {
        cluster.kill(member).expect("a member that runs");
    }
    for member in 0..cluster.size() {
        cluster.wipe(member).expect("data that can be removed");
        cluster.spawn(member).expect("it starts");
    }
    let start = Instant::now();
    for member in 0..cluster.size() {
        // It says how it is without a leader, too.
        while let Err(error) = cluster.status(member).await {
            let waited = start.elapsed();
            assert!(waited < limits::BRING_UP_DEADLINE, "member {member}: {error:#}");
            tokio::time::sleep(limits::POLL_INTERVAL).await;
        }
    }
}

/// Nobody waits out the lease of a leader whose process is gone: with timers of half a minute, a put is
/// taken before that. Nor when founders unseat each other's first leader (8 of 40 starts beside a load
/// waited for raft's timers), or one that won this way is unseated by who asked a moment later.
#[tokio::test]
async fn orlop_replaces_a_leader_that_died_before_its_lease_ends() {
    let mut launcher = Launcher::orlop(&testbed::orlop(&SOURCES));
    let lease = Duration::from_secs(30);
    launcher.extra.extend([
        "--heartbeat-interval=3000".to_owned(),
        format!("--election-timeout={}", lease.as_millis()),
    ]);
    let mut cluster = Cluster::start(launcher, 3).await.expect("three members");
    found_anew(&mut cluster).await;
    let start = Instant::now();
    for member in 0..3 {
        cluster.wait_serving(member, lease / 3).await.expect("a first leader");
    }
    assert!(start.elapsed() < lease / 3, "the founders waited for their timers");
    for _ in 0..2 {
        let (leader, _) = cluster.wait_leader(lease).await.expect("a leader");
        let killed = Instant::now();
        cluster.kill(leader).expect("a member that runs");
        let left = (leader + 1) % 3;
        cluster.wait_serving(left, lease / 3).await.expect("a new leader");
        assert!(killed.elapsed() < lease / 3, "its lease ended");
        cluster.spawn(leader).expect("it starts again");
        cluster.wait_serving(leader, lease / 3).await.expect("it is back");
    }
}

/// A leader that is stopped, not dead, keeps its sockets: the others must elect without it, and
/// when it wakes up it must not answer from its past. Two pauses: each takes longer than an election.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orlop_elects_while_its_leader_is_paused() {
    let binary = testbed::orlop(&SOURCES);
    let flags = Flags {
        tested: Tested::orlop(binary),
        kills: 2,
        seed: Some(1),
        ..Flags::for_scenario(Scenario::Pause)
    };
    println!("{}", prove(flags).await.1);
}

/// The checkers accept real etcd: a checker that fails a good store is wrong. Paused, not killed: before
/// 3.5.3, etcd may lose acknowledged writes on a member that is killed under load (its issue 13766).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_checkers_accept_real_etcd_while_its_leader_is_paused() {
    let Some(etcd) = testbed::program("etcd") else { return };
    let flags = Flags {
        tested: Tested::etcd(etcd),
        kills: 2,
        seed: Some(1),
        ..Flags::for_scenario(Scenario::Pause)
    };
    println!("{}", prove(flags).await.1);
}
