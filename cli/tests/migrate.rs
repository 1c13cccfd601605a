//! Moving from a live store to ours, as an operator does it.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod stores;

use std::io::{BufRead as _, BufReader};
use std::process::{ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use store_client::rpc::{DeleteRangeRequest, PutRequest, TxnRequest};
use store_client::{Client, Config, op};
use stores::{Running, client, everything, orlop, our_store, put, put_of, run, start};

/// `orlop store migrate` under way, and what it says.
struct Migration {
    process: Running,
    lines: BufReader<ChildStdout>,
}

impl Migration {
    fn start(from: &str, to: &str, more: &[&str]) -> Self {
        let mut child = orlop()
            .args(["store", "migrate", "--json", "--from", from, "--to", to])
            .args(["--quiet", "1"])
            .args(more)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Self { process: Running(child), lines }
    }

    /// Reads until a line of this phase.
    fn until(&mut self, phase: &str) -> serde_json::Value {
        let mut said = String::new();
        loop {
            let mut line = String::new();
            assert!(self.lines.read_line(&mut line).unwrap() > 0, "no {phase:?} in: {said}");
            let value: serde_json::Value = serde_json::from_str(&line).unwrap();
            if value["phase"] == phase {
                return value;
            }
            said += &line;
        }
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.process.0.id()).unwrap()), signal).unwrap();
    }
}

/// Writes all kinds of things until it is told to stop. Leases are renewed until the end.
async fn writes(client: Client, stop: Arc<AtomicBool>) {
    for number in 0u64.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let key = |offset: u64| format!("key-{:04}", (number * 7 + offset) % 700);
        match number % 5 {
            0 => {
                // Sometimes a whole range, sometimes one key.
                let range_end = if number % 50 == 0 { key(20) } else { String::new() };
                let (key, range_end) = (key(0).into(), range_end.into());
                let range = DeleteRangeRequest { key, range_end, ..Default::default() };
                client.delete_range(range).await.unwrap();
            }
            1 => {
                let several = (0..3).map(|at| op::put(key(at), format!("txn {number}"), 0));
                let txn = TxnRequest { success: several.collect(), ..TxnRequest::default() };
                client.txn(txn).await.unwrap();
            }
            2 => {
                let put = PutRequest { lease: 79, ..put_of(&key(0), &number.to_string()) };
                client.put(put).await.unwrap();
                client.lease_keep_alive_once(79).await.unwrap();
            }
            _ => put(&client, &key(0), &number.to_string()).await,
        }
    }
}

async fn moves(source: Command) {
    let dir = tempfile::tempdir().unwrap();
    let (_one, from) = start(source, &dir.path().join("one"), "http");
    let (_two, to) = start(our_store(), &dir.path().join("two"), "http");
    let source = client(&Config::new([from.clone()])).await;
    let target = client(&Config::new([to.clone()])).await;

    for number in 0..8 {
        let many = (0..100).map(|at| op::put(format!("key-{:04}", number * 100 + at), "first", 0));
        let txn = TxnRequest { success: many.collect(), ..TxnRequest::default() };
        source.txn(txn).await.unwrap();
    }
    // With a key, without one, and one that ends at once when nobody renews it.
    for (id, ttl) in [(77, 500), (78, 600), (79, 2)] {
        source.lease_grant_as(id, ttl).await.unwrap();
    }
    source.put(PutRequest { lease: 77, ..put_of("leased", "x") }).await.unwrap();
    source.put(put_of("large", &"x".repeat(1_400_000))).await.unwrap();

    let base = ["store", "migrate", "--from", &from, "--to", &to];
    let (done, said) = run(&[&base[..], &["--dry-run"]].concat()).await;
    assert!(done && said.contains("802 keys") && said.contains("nothing was written"), "{said}");
    assert!(everything(&target).await.is_empty());

    let stop = Arc::new(AtomicBool::new(false));
    let writer = tokio::spawn(writes(source.clone(), Arc::clone(&stop)));
    let mut migration = Migration::start(&from, &to, &[]);
    let follow = tokio::task::spawn_blocking(move || {
        let copied = migration.until("copied");
        assert!(copied["written"].as_u64().unwrap() > 100, "{copied}");
        migration.until("follow");
        migration
    });
    // Killed with no time to say goodbye; what it did not see is compacted away.
    drop(follow.await.unwrap());
    let (done, said) = run(&base).await;
    assert!(!done && said.contains("--resume"), "{said}");
    let now = put_revision(&source, "between the runs").await;
    source.compact(now).await.unwrap();

    let mut migration = Migration::start(&from, &to, &["--resume"]);
    let mut migration = tokio::task::spawn_blocking(move || {
        migration.until("following");
        migration.signal(Signal::SIGINT);
        migration.until("hand-over");
        migration
    })
    .await
    .unwrap();
    // It waits for the writers.
    let still = put_revision(&source, "written during the hand-over").await;
    stop.store(true, Ordering::Relaxed);
    writer.await.unwrap();
    let (done, success) = tokio::task::spawn_blocking(move || {
        (migration.until("done"), migration.process.0.wait().unwrap().success())
    })
    .await
    .unwrap();
    assert!(success && done["source_revision"].as_i64().unwrap() >= still, "{done}");
    let content = everything(&target).await;
    assert_eq!(done["keys"].as_u64().unwrap(), content.len() as u64);
    for id in [77, 78] {
        let of = |store: Client| async move {
            let lease = store.lease_time_to_live(id, true).await.unwrap();
            (lease.granted_ttl, lease.keys)
        };
        let (theirs, ours) = (of(source.clone()).await, of(target.clone()).await);
        assert_eq!(theirs, ours, "lease {id}");
    }
    equal_in_the_end(&source, &target).await;
}

async fn put_revision(client: &Client, value: &str) -> i64 {
    client.put(put_of("between", value)).await.unwrap().header.unwrap().revision
}

/// Lease 79 ends on both, by itself: until then one may hold keys that the other has no more.
async fn equal_in_the_end(source: &Client, target: &Client) {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let (theirs, ours) = (everything(source).await, everything(target).await);
        if theirs == ours {
            assert!(theirs.len() > 1, "nothing is left to compare");
            return;
        }
        assert!(Instant::now() < deadline, "{} and {} keys", theirs.len(), ours.len());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_etcd_is_left_while_it_is_written_to() {
    let Some(etcd) = testbed::program("etcd") else { return };
    moves(Command::new(etcd)).await;
}

/// G2, G3: what is there is not written over, and a source that is written to is not handed over.
#[tokio::test(flavor = "multi_thread")]
async fn what_would_lose_something_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (_one, from) = start(our_store(), &dir.path().join("one"), "http");
    let (_two, to) = start(our_store(), &dir.path().join("two"), "http");
    let source = client(&Config::new([from.clone()])).await;
    let target = client(&Config::new([to.clone()])).await;
    put(&source, "a/1", "1").await;
    let base = ["store", "migrate", "--from", &from, "--to", &to, "--quiet", "1"];

    let (done, said) = run(&["store", "migrate", "--from", &from, "--to", &from]).await;
    assert!(!done && said.contains("1 keys: nothing is written over them"), "{said}");
    let empty = ["store", "migrate", "--from", &to, "--to", &to];
    let (done, said) = run(&empty).await;
    assert!(!done && said.contains("are one store"), "{said}");
    put(&target, "a/2", "in use").await;
    let (done, said) = run(&base).await;
    assert!(!done && said.contains("the target holds 1 keys"), "{said}");
    // Other keys are nobody's business.
    let prefix = ["--prefix", "b/", "--hand-over", "--hand-over-timeout", "3"];
    put(&source, "b/1", "1").await;
    let stop = Arc::new(AtomicBool::new(false));
    source.lease_grant_as(79, 500).await.unwrap();
    let writer = tokio::spawn(writes(source.clone(), Arc::clone(&stop)));
    let (done, said) = run(&[&base[..], &prefix].concat()).await;
    assert!(!done && said.contains("stop its writers first"), "{said}");
    stop.store(true, Ordering::Relaxed);
    writer.await.unwrap();
    let (done, said) = run(&[&base[..], &prefix, &["--resume"]].concat()).await;
    assert!(done && said.contains("handed over"), "{said}");
    let keys: Vec<_> = everything(&target).await.into_iter().map(|(key, ..)| key).collect();
    assert_eq!(keys, [b"a/2".to_vec(), b"b/1".to_vec()]);
}
