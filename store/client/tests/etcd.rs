//! The client against a real etcd.
#![expect(clippy::unwrap_used, reason = "a failed helper is a failed test")]

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use store_client::{
    Client, Config, Error, Happened, WatchOptions, compare, op, prefix_end, range_prefix, rpc,
};

struct Etcd {
    child: Child,
    binary: PathBuf,
    dir: tempfile::TempDir,
    port: u16,
    peer: u16,
}

impl Etcd {
    fn start() -> Option<Self> {
        let binary = testbed::program("etcd")?;
        let dir = tempfile::tempdir().unwrap();
        let (port, peer) = (testbed::free_port(), testbed::free_port());
        let child = spawn(&binary, &dir, port, peer);
        Some(Self { child, binary, dir, port, peer })
    }

    fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    fn restart(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.child = spawn(&self.binary, &self.dir, self.port, self.peer);
    }
}

fn spawn(binary: &PathBuf, dir: &tempfile::TempDir, port: u16, peer: u16) -> Child {
    let (client, peer) = (format!("http://127.0.0.1:{port}"), format!("http://127.0.0.1:{peer}"));
    Command::new(binary)
        .args(["--name", "one", "--log-level", "error", "--data-dir"])
        .arg(dir.path().join("data"))
        .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
        .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
        .args(["--initial-cluster", &format!("one={peer}")])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

impl Drop for Etcd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn put(key: &str, value: &str) -> rpc::PutRequest {
    rpc::PutRequest {
        key: key.to_owned().into(),
        value: value.to_owned().into(),
        ..rpc::PutRequest::default()
    }
}

/// Puts once and only once: an unknown outcome is looked up, as a careful program does.
async fn put_surely(client: &Client, key: &str, value: &str) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while let Err(error) = client.put(put(key, value)).await {
        assert!(Instant::now() < deadline, "etcd does not come back: {error}");
        if error.happened() == Happened::Unknown {
            let now = client.range(rpc::RangeRequest {
                key: key.to_owned().into(),
                ..rpc::RangeRequest::default()
            });
            if now.await.unwrap().kvs.first().is_some_and(|kv| kv.value == value) {
                return;
            }
        }
    }
}

#[tokio::test]
async fn reads_and_writes_go_through_and_skip_a_dead_endpoint() {
    let Some(etcd) = Etcd::start() else { return };
    let dead = format!("http://127.0.0.1:{}", testbed::free_port());
    let client = Client::new(&Config::new([dead, etcd.endpoint()])).unwrap();

    // The first endpoint refuses connections: the write surely was not sent, so it moves on (S2).
    let first = client.put(put("a/1", "x")).await.unwrap().header.unwrap().revision;
    client.put(put("a/2", "y")).await.unwrap();

    let answer = client.range(range_prefix("a/")).await.unwrap();
    assert_eq!(answer.count, 2);

    let txn = rpc::TxnRequest {
        compare: vec![compare::mod_revision_is("a/1", first)],
        success: vec![op::put("a/1", "z", 0)],
        failure: vec![op::get("a/1")],
    };
    assert!(client.txn(txn.clone()).await.unwrap().succeeded);
    assert!(!client.txn(txn).await.unwrap().succeeded, "the key has moved on");

    let lease = client.lease_grant(60).await.unwrap();
    assert!(client.lease_keep_alive_once(lease.id).await.unwrap().ttl > 0);
    client.lease_revoke(lease.id).await.unwrap();
    assert_eq!(client.lease_time_to_live(lease.id, false).await.unwrap().ttl, -1);

    let refused = client.lease_revoke(lease.id).await.unwrap_err();
    assert_eq!(refused.happened(), Happened::No);
    assert_eq!(client.member_list().await.unwrap().members.len(), 1);
    assert!(client.status(&etcd.endpoint()).await.unwrap().db_size > 0);
}

#[tokio::test]
async fn a_watch_resumes_over_a_restart_without_a_gap_or_a_double() {
    let Some(mut etcd) = Etcd::start() else { return };
    let client = Client::new(&Config::new([etcd.endpoint()])).unwrap();
    let start = client.put(put("w/0", "0")).await.unwrap().header.unwrap().revision;
    let mut watch = client.watch(WatchOptions {
        key: "w/".into(),
        range_end: prefix_end(b"w/"),
        start_revision: start,
        prev_kv: true,
        progress_notify: false,
    });

    for n in 1..=20 {
        if n == 10 {
            etcd.restart();
        }
        put_surely(&client, "w/0", &n.to_string()).await;
    }

    let mut seen = Vec::new();
    while seen.len() < 21 {
        let next = tokio::time::timeout(Duration::from_secs(20), watch.next()).await.unwrap();
        for event in next.unwrap().unwrap().events {
            seen.push(String::from_utf8(event.kv.unwrap().value.to_vec()).unwrap());
        }
    }
    let wanted: Vec<String> = (0..=20).map(|n| n.to_string()).collect();
    assert_eq!(seen, wanted);

    let revision = client.put(put("w/0", "21")).await.unwrap().header.unwrap().revision;
    while watch.next().await.unwrap().unwrap().revision < revision {}
    watch.request_progress();
    let mark = tokio::time::timeout(Duration::from_secs(10), watch.next()).await.unwrap();
    let mark = mark.unwrap().unwrap();
    assert!(mark.events.is_empty() && mark.revision >= revision);
}

#[tokio::test]
async fn a_watch_below_the_compacted_revision_says_so() {
    let Some(etcd) = Etcd::start() else { return };
    let client = Client::new(&Config::new([etcd.endpoint()])).unwrap();
    let mut last = 0;
    for n in 0..5 {
        last = client.put(put("c", &n.to_string())).await.unwrap().header.unwrap().revision;
    }
    client.compact(last).await.unwrap();

    let mut watch = client.watch(WatchOptions {
        key: "c".into(),
        start_revision: 2,
        ..WatchOptions::default()
    });
    let end = tokio::time::timeout(Duration::from_secs(10), watch.next()).await.unwrap();
    assert!(
        matches!(end, Some(Err(Error::Compacted { compact_revision })) if compact_revision == last)
    );
    assert!(watch.next().await.is_none(), "nothing follows the error");

    let old = rpc::RangeRequest { revision: 2, ..range_prefix("c") };
    assert!(matches!(client.range(old).await, Err(Error::Compacted { .. })));
}
