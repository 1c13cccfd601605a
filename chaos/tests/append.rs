//! Transactions on lists are strictly serializable on real processes, while leaders come and go.

use chaos::checker::append;
use chaos::cluster::{Cluster, Launcher};
use chaos::history::{History, Kind, Outcome, Recorder};
use chaos::limits;
use chaos::workload::{Connect, Fleet, Mix};

/// Sources that the binary under test must not be older than.
const SOURCES: [&str; 2] = ["proto", "store"];

/// Waits until this many more writes were acknowledged.
async fn more_writes(recorder: &Recorder, more: u64) {
    let goal = recorder.acknowledged_writes() + more;
    let waiting = async {
        while recorder.acknowledged_writes() < goal {
            tokio::time::sleep(limits::POLL_INTERVAL).await;
        }
    };
    tokio::time::timeout(limits::RECOVERY_GIVE_UP, waiting).await.expect("writes go on");
}

/// What happens to a leader.
#[derive(Clone, Copy)]
enum Loss {
    Killed,
    Paused,
}

async fn record(launcher: Launcher, loss: Loss) -> History {
    let mut cluster = Cluster::start(launcher, 3).await.expect("three members");
    let recorder = Recorder::default();
    let mix = Mix { keys: 3, ..Mix::of(&[Kind::Append], 8, 60, 1) };
    let connect = Connect::to(&cluster.urls());
    let fleet = Fleet::start(&connect, &mix, &recorder).await.expect("clients");
    for _ in 0..2 {
        more_writes(&recorder, 150).await;
        let deadline = limits::RECOVERY_DEADLINE;
        let (leader, _) = cluster.wait_leader(deadline).await.expect("a leader");
        match loss {
            Loss::Killed => cluster.kill(leader).expect("a member that runs"),
            Loss::Paused => cluster.pause(leader).expect("a member that runs"),
        }
        more_writes(&recorder, 50).await;
        match loss {
            Loss::Killed => cluster.spawn(leader).expect("it starts again"),
            Loss::Paused => cluster.resume(leader).expect("it goes on"),
        }
        cluster.wait_serving(leader, deadline).await.expect("it is back");
    }
    more_writes(&recorder, 150).await;
    fleet.stop().await.expect("the members are back").history(&recorder, Vec::new())
}

fn prove(history: &History) -> String {
    let verdict = append::check(history);
    let answered = history.ops.iter().filter_map(|op| op.reply());
    let lost_races = answered.filter(|reply| !reply.succeeded).count();
    let unknown = history.ops.iter().filter(|op| matches!(op.outcome, Outcome::Unknown(_)));
    let report = format!(
        "{} operations, {} unknown, {lost_races} lost races, {} lists",
        history.ops.len(),
        unknown.count(),
        verdict.checked
    );
    assert!(verdict.passed(), "{verdict:#?}");
    assert!(lost_races > 0, "clients that never collide prove nothing: {report}");
    report
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orlop_serializes_transactions_while_leaders_are_killed() {
    let launcher = Launcher::orlop(&testbed::orlop(&SOURCES));
    println!("{}", prove(&record(launcher, Loss::Killed).await));
}

/// A checker that fails a good store is wrong. Paused, not killed: before 3.5.3, etcd may lose
/// acknowledged writes on a member that is killed under load (its issue 13766).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_checker_accepts_real_etcd_while_leaders_are_paused() {
    let Some(program) = testbed::program("etcd") else { return };
    let extra = vec!["--log-level=warn".to_owned()];
    let history = record(Launcher { program, arguments: Vec::new(), extra }, Loss::Paused).await;
    println!("{}", prove(&history));
}
