//! First starts that a crash cut short at each of their steps: the next one makes the member whole.

use std::{path::Path, sync::Arc, time::Duration};

use clap::Parser as _;
use proto::{etcdserverpb::PutRequest, orlop::store::v1::command::Op};

use super::{bootstrap, log_place, open};
use crate::{
    Config, Flags, Member,
    bootstrap::{DataDir, Identity},
    metrics::Metrics,
};

#[derive(clap::Parser)]
struct Line {
    #[command(flatten)]
    flags: Flags,
}

fn config(root: &Path) -> Config {
    let (client, peer) = (testbed::free_url(), testbed::free_url());
    let line = Line::parse_from([
        "store".to_owned(),
        format!("--data-dir={}", root.join("data").display()),
        format!("--wal-dir={}", root.join("log").display()),
        format!("--listen-client-urls={client}"),
        format!("--advertise-client-urls={client}"),
        format!("--listen-peer-urls={peer}"),
        format!("--initial-advertise-peer-urls={peer}"),
        format!("--initial-cluster=default={peer}"),
    ]);
    line.flags.into_config().unwrap()
}

fn founder(config: &Config) -> Identity {
    let ids: Vec<u64> = bootstrap::initial_members(config).iter().map(|(id, ..)| *id).collect();
    Identity::new(bootstrap::cluster_id(&ids), ids[0])
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Done {
    /// The log has its place, and something is in it.
    Place,
    /// Log and state are there.
    Data,
    /// It knows who it is, and has not begun its cluster.
    Identity,
}

/// What a start does until a crash comes.
async fn begin(config: &Config, done: Done) {
    let dir = DataDir::open(&config.data_dir).unwrap();
    let log = log_place::find(&dir, config.wal_dir.as_deref(), true).unwrap();
    if done == Done::Place {
        std::fs::write(log.join("000004.log"), "half").unwrap();
        return;
    }
    let (log, machine) = open(log, dir.state(), true, &Arc::new(Metrics::new())).await.unwrap();
    if done == Done::Identity {
        dir.set_identity(&founder(config)).unwrap();
    }
    machine.finish().unwrap();
    log.closed().await;
}

async fn put(member: &Member) {
    let request = PutRequest { key: "a".into(), value: "b".into(), ..PutRequest::default() };
    let proposed = member.services.proposer.propose(None, Op::Put(request));
    tokio::time::timeout(Duration::from_secs(20), proposed).await.unwrap().unwrap();
}

/// A member alone that was cut short after it knew who it was began no cluster ever: it had no leader.
#[tokio::test(flavor = "multi_thread")]
async fn a_first_start_that_was_cut_short_anywhere_is_done_by_the_next() {
    for done in [Done::Place, Done::Data, Done::Identity] {
        let root = tempfile::tempdir().unwrap();
        let config = config(root.path());
        begin(&config, done).await;
        let member = Member::start(config.clone()).await.unwrap();
        put(&member).await;
        assert_eq!(member.id(), founder(&config).member_id, "{done:?}");
        member.stop().await;
        let member = Member::start(config).await.unwrap();
        put(&member).await;
        member.stop().await;
    }
}
