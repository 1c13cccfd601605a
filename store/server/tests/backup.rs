//! Backups out and in, with real etcd, etcdctl and etcdutl on the other side.
#![expect(clippy::unwrap_used, reason = "a failed helper is a failed test")]

mod common;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use common::{Cluster, eventually, get, put};
use proto::etcdserverpb::{
    CompactionRequest, DeleteRangeRequest, HashKvRequest, HashKvResponse, LeaseGrantRequest,
    LeaseLeasesRequest, PutRequest, RangeRequest, RequestOp, TxnRequest, kv_client::KvClient,
    lease_client::LeaseClient, maintenance_client::MaintenanceClient, request_op::Request,
};
use proto::mvccpb::KeyValue;
use store_backup::{Digest, Snapshot, examine};
use store_server::{NewCluster, Origin, Plan, RestoreError, restore};
use tonic::transport::{Channel, Endpoint};

/// A program with its arguments; answers what it printed.
fn run(program: &Path, arguments: &[&str]) -> String {
    let output = Command::new("timeout").arg("60").arg(program).args(arguments).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

async fn run_aside(program: &Path, arguments: &[&str]) -> String {
    let program = program.to_path_buf();
    let arguments: Vec<String> = arguments.iter().map(|one| (*one).to_owned()).collect();
    tokio::task::spawn_blocking(move || {
        run(&program, &arguments.iter().map(String::as_str).collect::<Vec<_>>())
    })
    .await
    .unwrap()
}

/// A real etcd of one member, ended with the test.
struct Etcd {
    child: Child,
    client_url: String,
}

impl Drop for Etcd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Etcd {
    async fn start(program: &Path, data_dir: &Path, peer_url: &str) -> Self {
        let client_url = testbed::free_url();
        let child = Command::new(program)
            .args(["--name", "e", "--data-dir"])
            .arg(data_dir)
            .args(["--listen-client-urls", &client_url, "--advertise-client-urls", &client_url])
            .args(["--listen-peer-urls", peer_url, "--initial-advertise-peer-urls", peer_url])
            .args(["--initial-cluster", &format!("e={peer_url}")])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let etcd = Self { child, client_url };
        eventually("etcd that answers", || async {
            let request = RangeRequest { key: "x".into(), ..RangeRequest::default() };
            KvClient::new(etcd.channel()).range(request).await.ok()
        })
        .await;
        etcd
    }

    fn channel(&self) -> Channel {
        Endpoint::from_shared(self.client_url.clone()).unwrap().connect_lazy()
    }
}

/// A history with all that can be in one: versions, deletions, transactions, leases, large values.
async fn live(channel: Channel) {
    let mut kv = KvClient::new(channel.clone());
    let mut lease = LeaseClient::new(channel);
    lease.lease_grant(LeaseGrantRequest { id: 7, ttl: 5000 }).await.unwrap();
    lease.lease_grant(LeaseGrantRequest { id: 8, ttl: 6000 }).await.unwrap();
    for number in 0..300 {
        put(&mut kv, &format!("key-{:03}", number % 100), &format!("value {number}")).await;
    }
    let leased =
        PutRequest { key: "leased".into(), value: "v".into(), lease: 7, ..PutRequest::default() };
    kv.put(leased).await.unwrap();
    let large =
        PutRequest { key: "large".into(), value: vec![5; 300_000].into(), ..PutRequest::default() };
    kv.put(large).await.unwrap();
    let delete = DeleteRangeRequest {
        key: "key-010".into(),
        range_end: "key-020".into(),
        ..DeleteRangeRequest::default()
    };
    kv.delete_range(delete).await.unwrap();
    let several = ["t1", "t2", "t3"].map(|key| RequestOp {
        request: Some(Request::RequestPut(PutRequest {
            key: key.into(),
            value: "in one revision".into(),
            ..PutRequest::default()
        })),
    });
    kv.txn(TxnRequest { success: several.to_vec(), ..TxnRequest::default() }).await.unwrap();
    // At a revision without a deletion: there all versions of etcd agree.
    kv.compact(CompactionRequest { revision: 150, physical: true }).await.unwrap();
    put(&mut kv, "key-011", "again").await;
}

async fn everything(channel: Channel) -> (i64, Vec<KeyValue>) {
    let request =
        RangeRequest { key: "\0".into(), range_end: "\0".into(), ..RangeRequest::default() };
    let response = KvClient::new(channel).range(request).await.unwrap().into_inner();
    (response.header.unwrap().revision, response.kvs)
}

async fn hash(channel: Channel, revision: i64) -> HashKvResponse {
    let mut client = MaintenanceClient::new(channel);
    client.hash_kv(HashKvRequest { revision }).await.unwrap().into_inner()
}

async fn leases(channel: Channel) -> Vec<i64> {
    let mut client = LeaseClient::new(channel);
    let response = client.lease_leases(LeaseLeasesRequest {}).await.unwrap().into_inner();
    let mut ids: Vec<i64> = response.leases.iter().map(|lease| lease.id).collect();
    ids.sort_unstable();
    ids
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// An operator moves to etcd with etcd's own tools, and finds everything there.
#[tokio::test(flavor = "multi_thread")]
async fn a_real_etcd_starts_on_our_snapshot() {
    let programs = ["etcd", "etcdctl", "etcdutl"].map(testbed::program);
    let [Some(etcd), Some(etcdctl), Some(etcdutl)] = programs else { return };
    let mut cluster = Cluster::start(3, &[]).await;
    let leader = cluster.leader().await;
    live(cluster.channel(leader)).await;
    let (revision, kvs) = everything(cluster.channel(leader)).await;

    let dir = tempfile::tempdir().unwrap();
    let (file, data) = (dir.path().join("snapshot.db"), dir.path().join("data"));
    // A follower may be a little behind; the snapshot is of the moment.
    let follower = (leader + 1) % 3;
    get(&mut cluster.kv(follower), "t3", false).await.unwrap();
    let endpoint = cluster.endpoints().split(',').nth(follower).unwrap().to_owned();
    run_aside(&etcdctl, &["--endpoints", &endpoint, "snapshot", "save", text(&file)]).await;
    let status = run_aside(&etcdutl, &["snapshot", "status", "-w", "json", text(&file)]).await;
    assert!(status.contains(&format!("\"revision\":{revision}")), "{status}");
    let (_, summary) = examine(&Snapshot::open(&file, Digest::Required).unwrap()).unwrap();
    assert_eq!((summary.revision, summary.keys, summary.leases), (revision, kvs.len() as u64, 2));

    let peer_url = testbed::free_url();
    let cluster_flag = format!("e={peer_url}");
    let into = ["--data-dir", text(&data), "--name", "e", "--initial-cluster", &cluster_flag];
    let into = [&into[..], &["--initial-advertise-peer-urls", &peer_url]].concat();
    run_aside(&etcdutl, &[&["snapshot", "restore", text(&file)], &into[..]].concat()).await;
    let restored = Etcd::start(&etcd, &data, &peer_url).await;
    assert_eq!(everything(restored.channel()).await, (revision, kvs));
    assert_eq!(leases(restored.channel()).await, [7, 8]);
    let (ours, theirs) =
        (hash(cluster.channel(leader), revision).await, hash(restored.channel(), revision).await);
    assert_eq!((ours.hash, ours.compact_revision), (theirs.hash, theirs.compact_revision));
    assert_eq!(summary.hash_kv, ours.hash);
    cluster.stop().await;
}

/// An operator moves from etcd: a cluster of three begins with all that the old one had.
#[tokio::test(flavor = "multi_thread")]
async fn three_members_start_on_a_real_etcds_snapshot() {
    let programs = ["etcd", "etcdctl"].map(testbed::program);
    let [Some(etcd), Some(etcdctl)] = programs else { return };
    let dir = tempfile::tempdir().unwrap();
    let old = Etcd::start(&etcd, &dir.path().join("etcd"), &testbed::free_url()).await;
    live(old.channel()).await;
    let (revision, kvs) = everything(old.channel()).await;
    let expected = hash(old.channel(), revision).await;
    let file = dir.path().join("snapshot.db");
    let arguments = ["--endpoints", &old.client_url, "snapshot", "save", text(&file)];
    run_aside(&etcdctl, &arguments).await;
    drop(old);

    let snapshot = Snapshot::open(&file, Digest::Required).unwrap();
    let (_, summary) = examine(&snapshot).unwrap();
    assert_eq!((summary.revision, summary.hash_kv), (revision, expected.hash));
    for bump in [0, 1_000_000] {
        let (mut cluster, folders) = Cluster::restored(3, |initial_cluster, folders| {
            let new = NewCluster::new(initial_cluster, "token", "test").unwrap();
            let plan = Plan::new(Origin::Snapshot(&snapshot), bump);
            restore(&plan, &new, folders, &mut |_| {}).unwrap();
        })
        .await;
        let leader = cluster.leader().await;
        assert_eq!(everything(cluster.channel(leader)).await, (revision + bump, kvs.clone()));
        assert_eq!(leases(cluster.channel(leader)).await, [7, 8]);
        if bump == 0 {
            for member in 0..3 {
                get(&mut cluster.kv(member), "t1", false).await.unwrap();
                assert_eq!(hash(cluster.channel(member), revision).await.hash, expected.hash);
            }
        } else {
            let past = RangeRequest { key: "t1".into(), revision, ..RangeRequest::default() };
            let refused = cluster.kv(leader).range(past).await.unwrap_err();
            assert!(refused.message().contains("has been compacted"), "{refused}");
        }
        assert_eq!(put(&mut cluster.kv(leader), "new", "v").await, revision + bump + 1);

        // R1: not even a second restore writes over the first one.
        let (name, folder) = folders[0].clone();
        let new = NewCluster::new(&format!("{name}=http://127.0.0.1:1"), "t", "t").unwrap();
        let plan = Plan::new(Origin::Snapshot(&snapshot), 0);
        let again = restore(&plan, &new, &[(name, folder)], &mut |_| {});
        assert!(matches!(again, Err(RestoreError::NotEmpty(_))), "{again:?}");
        cluster.stop().await;
    }
}

/// A member that was restored and one that starts anew with the same flags never become one cluster.
#[tokio::test(flavor = "multi_thread")]
async fn a_fresh_member_does_not_join_restored_ones() {
    let cluster = "a=http://127.0.0.1:1,b=http://127.0.0.1:2";
    let restored = NewCluster::new(cluster, "etcd-cluster", "backup 1").unwrap();
    let again = NewCluster::new(cluster, "etcd-cluster", "backup 1").unwrap();
    assert_eq!(restored, again, "each host makes the same cluster");
    let other = NewCluster::new(cluster, "etcd-cluster", "backup 2").unwrap();
    assert_ne!(restored.cluster_id, other.cluster_id);
    let ids = |cluster: &NewCluster| cluster.members.iter().map(|(id, ..)| *id).collect::<Vec<_>>();
    assert_ne!(ids(&restored), ids(&other));
}

/// Failure leaves nothing behind that looks like a data folder.
#[test]
fn a_damaged_snapshot_leaves_no_folder() {
    let dir = tempfile::tempdir().unwrap();
    let file: PathBuf = dir.path().join("snapshot.db");
    std::fs::write(&file, vec![0; 8192]).unwrap();
    assert!(Snapshot::open(&file, Digest::IfPresent).is_err());
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}
