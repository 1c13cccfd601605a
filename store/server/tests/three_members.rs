//! Three members as clients see them: agreement, failover, restarts, snapshots, watches, leases.

mod common;

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};
use std::time::{Duration, Instant};

use common::{Cluster, eventually, get, put};
use proto::etcdserverpb::{
    CompactionRequest, LeaseGrantRequest, LeaseKeepAliveRequest, LeaseTimeToLiveRequest,
    MoveLeaderRequest, PutRequest, WatchCreateRequest, WatchRequest, watch_request::RequestUnion,
};
use tonic::Code;

const QUICK: [&str; 2] = ["--heartbeat-interval=50", "--election-timeout=300"];

#[tokio::test(flavor = "multi_thread")]
async fn every_member_serves_writes_and_current_reads() {
    let mut cluster = Cluster::start(3, &QUICK).await;
    for number in 0..3 {
        put(&mut cluster.kv(number), "key", &format!("from {number}")).await;
        for reader in 0..3 {
            // Linearizable: whoever is asked, the newest value is told.
            let value = get(&mut cluster.kv(reader), "key", false).await;
            assert_eq!(value.as_deref(), Some(format!("from {number}").as_str()));
        }
        // A client reads its own write from its member even without asking the leader.
        let value = get(&mut cluster.kv(number), "key", true).await;
        assert_eq!(value.as_deref(), Some(format!("from {number}").as_str()));
    }
    // Everything is still there after all of them restarted.
    cluster.stop().await;
    for number in 0..3 {
        cluster.start_member(number).await;
    }
    for number in 0..3 {
        let value = get(&mut cluster.kv(number), "key", false).await;
        assert_eq!(value.as_deref(), Some("from 2"));
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_leader_is_replaced_and_a_lost_quorum_is_said() {
    let mut cluster = Cluster::start(3, &QUICK).await;
    let leader = cluster.leader().await;
    put(&mut cluster.kv(leader), "before", "1").await;
    cluster.stop_member(leader).await;
    let stopped = Instant::now();
    let next = (leader + 1) % 3;
    put(&mut cluster.kv(next), "after", "2").await;
    assert!(stopped.elapsed() < Duration::from_secs(5), "failover took {:?}", stopped.elapsed());
    assert_eq!(get(&mut cluster.kv(next), "before", false).await.as_deref(), Some("1"));

    let last = (leader + 2) % 3;
    cluster.stop_member(next).await;
    let request = PutRequest { key: "lost".into(), ..PutRequest::default() };
    let error = cluster.kv(last).put(request).await.unwrap_err();
    assert_eq!(error.code(), Code::Unavailable);
    assert!(error.message().starts_with("etcdserver: request timed out"), "{error}");
    // What was applied can still be read from the last member itself.
    assert_eq!(get(&mut cluster.kv(last), "after", true).await.as_deref(), Some("2"));

    cluster.start_member(next).await;
    put(&mut cluster.kv(last), "found", "3").await;
    cluster.stop().await;
}

/// Replication once called a dead member thousands of times a second, and left the living ones
/// little of their machine.
#[tokio::test(flavor = "multi_thread")]
async fn a_dead_member_is_called_now_and_then_only() {
    let mut cluster = Cluster::start(3, &QUICK).await;
    let leader = cluster.leader().await;
    let dead = (leader + 1) % 3;
    let address = cluster.peer_address(dead);
    cluster.stop_member(dead).await;
    let listener = eventually("the port of the dead member", || async {
        tokio::net::TcpListener::bind(&address).await.ok()
    })
    .await;
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = calls.clone();
    let counter = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::Relaxed);
            drop(stream);
        }
    });
    let began = Instant::now();
    let mut kv = cluster.kv(leader);
    while began.elapsed() < Duration::from_secs(2) {
        put(&mut kv, "key", "value").await;
    }
    let calls = calls.load(Ordering::Relaxed);
    // Replication ten times a second, heartbeats twenty times.
    assert!((1..150).contains(&calls), "{calls} calls in {:?}", began.elapsed());
    counter.abort();
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_missed_the_log_gets_a_snapshot() {
    let flags = [QUICK[0], QUICK[1], "--snapshot-count=20"];
    let mut cluster = Cluster::start(3, &flags).await;
    let leader = cluster.leader().await;
    let lagging = (leader + 1) % 3;
    cluster.stop_member(lagging).await;
    // Five times the count is kept; these are many more entries, so the log will be gone.
    let mut kv = cluster.kv(leader);
    for number in 0..400 {
        put(&mut kv, &format!("key {number:03}"), &"x".repeat(100)).await;
    }
    // Whoever leads next must not have it either.
    for number in [leader, (leader + 2) % 3] {
        cluster.log_gone(number, 100).await;
    }
    cluster.start_member(lagging).await;
    let mut late = cluster.kv(lagging);
    eventually("snapshot", || {
        let mut late = late.clone();
        async move { get(&mut late, "key 399", true).await }
    })
    .await;
    let sum = |text: &str, name: &str| -> f64 {
        let values = text.lines().filter_map(|line| line.strip_prefix(name)?.rsplit(' ').next());
        values.map(|value| value.parse::<f64>().unwrap()).sum()
    };
    cluster.snapshot_came(lagging).await;
    let metrics = eventually("a snapshot to be counted", || async {
        let metrics = cluster.http(lagging, "/metrics");
        let counted = sum(&metrics, "etcd_network_snapshot_receive_success{From=") >= 1.0
            && sum(&metrics, "etcd_network_snapshot_receive_inflights_total{From=") == 0.0
            && sum(&metrics, "etcd_snap_db_save_total_duration_seconds_count") >= 1.0;
        counted.then_some(metrics)
    })
    .await;
    // The values of the keys came from somewhere, as its peers say too.
    let received = sum(&metrics, "etcd_network_peer_received_bytes_total{From=");
    assert!(received > 400.0 * 100.0, "{received} bytes:\n{metrics}");
    eventually("a peer to have sent it", || async {
        let others = [leader, (leader + 2) % 3].map(|number| cluster.http(number, "/metrics"));
        let name = "etcd_network_snapshot_send_success{To=";
        others.iter().any(|text| sum(text, name) >= 1.0).then_some(())
    })
    .await;
    assert!(cluster.http(lagging, "/health").contains("{\"health\":\"true\""));
    put(&mut late, "key 000", "again").await;
    assert_eq!(get(&mut cluster.kv(leader), "key 000", false).await.as_deref(), Some("again"));
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_gets_history_then_news_without_a_gap() {
    let mut cluster = Cluster::start(1, &QUICK).await;
    let mut kv = cluster.kv(0);
    let first = put(&mut kv, "w/0", "0").await;
    for number in 1..50 {
        put(&mut kv, &format!("w/{number}"), "old").await;
    }
    let create = WatchCreateRequest {
        key: "w/".into(),
        range_end: "w0".into(),
        start_revision: first,
        prev_kv: true,
        ..WatchCreateRequest::default()
    };
    let request = WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
    let requests =
        tokio_stream::StreamExt::chain(tokio_stream::iter([request]), tokio_stream::pending());
    let mut frames = cluster.watch(0).watch(requests).await.unwrap().into_inner();
    assert!(frames.message().await.unwrap().unwrap().created);
    for number in 0..50 {
        put(&mut kv, &format!("w/{number}"), "new").await;
    }
    let mut revisions = Vec::new();
    while revisions.len() < 100 {
        let frame = tokio::time::timeout(Duration::from_secs(5), frames.message());
        let frame = frame.await.unwrap().unwrap().unwrap();
        for event in frame.events {
            let kv = event.kv.unwrap();
            assert_eq!(event.prev_kv.is_some(), kv.version > 1, "previous values are told");
            revisions.push(kv.mod_revision);
        }
    }
    let expected: Vec<i64> = (first..first + 100).collect();
    assert_eq!(revisions, expected);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_ends_and_takes_its_keys_along() {
    let mut cluster = Cluster::start(3, &QUICK).await;
    let leader = cluster.leader().await;
    let follower = (leader + 1) % 3;
    let grant = LeaseGrantRequest { ttl: 1, id: 0 };
    let granted = cluster.lease(follower).lease_grant(grant).await.unwrap().into_inner();
    assert_eq!(granted.ttl, 1);
    let request = PutRequest { key: "leased".into(), lease: granted.id, ..PutRequest::default() };
    cluster.kv(follower).put(request).await.unwrap();
    assert!(get(&mut cluster.kv(leader), "leased", false).await.is_some());
    eventually("expiry", || {
        let mut kv = cluster.kv(follower);
        async move { get(&mut kv, "leased", false).await.is_none().then_some(()) }
    })
    .await;
    cluster.stop().await;
}

/// A lease once had its whole time again with every new leader: where leaders change often, a long
/// one never ended.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_leader_goes_on_with_the_time_left_of_a_lease() {
    let extra = [QUICK[0], QUICK[1], "--lease-checkpoint-interval=1s"];
    let mut cluster = Cluster::start(3, &extra).await;
    let leader = cluster.leader().await;
    let grant = LeaseGrantRequest { ttl: 60, id: 7 };
    cluster.lease(leader).lease_grant(grant).await.unwrap();
    let left = async |through: usize| {
        let request = LeaseTimeToLiveRequest { id: 7, keys: false };
        cluster.lease(through).lease_time_to_live(request).await.unwrap().into_inner().ttl
    };
    eventually("some of the time to go by", || async { (left(leader).await <= 55).then_some(()) })
        .await;

    let heir = cluster.members[(leader + 1) % 3].as_ref().unwrap().id();
    let request = MoveLeaderRequest { target_id: heir };
    cluster.maintenance(leader).move_leader(request).await.unwrap();
    let now = left((leader + 2) % 3).await;
    assert!((40..58).contains(&now), "{now} s left after the leader changed");

    // Renewed, it has its whole time, under the next leader as well.
    let renew = || LeaseKeepAliveRequest { id: 7 };
    let requests = tokio_stream::once(renew());
    let mut answers = cluster.lease(leader).lease_keep_alive(requests).await.unwrap().into_inner();
    assert_eq!(answers.message().await.unwrap().unwrap().ttl, 60);
    let back = cluster.members[leader].as_ref().unwrap().id();
    let request = MoveLeaderRequest { target_id: back };
    cluster.maintenance((leader + 1) % 3).move_leader(request).await.unwrap();
    let now = left(leader).await;
    assert!(now >= 58, "{now} s left after a renewal");
    cluster.stop().await;
}

/// A lease that has run out has its keys until its revocation is applied, and may still be given some.
/// Who renewed it in that time was told that it is gone, and saw it live afterwards (found by a soak).
#[tokio::test(flavor = "multi_thread")]
async fn a_lease_that_is_said_to_be_gone_is_gone() {
    let mut cluster = Cluster::start(1, &QUICK).await;
    // A leader that is new gives leases more time: the first has to end before the others are timed.
    let mut lease = cluster.lease(0);
    lease.lease_grant(LeaseGrantRequest { ttl: 1, id: 99 }).await.unwrap();
    let start = Instant::now();
    while lease
        .lease_time_to_live(LeaseTimeToLiveRequest { id: 99, keys: false })
        .await
        .unwrap()
        .into_inner()
        .ttl
        >= 0
    {
        assert!(start.elapsed() < Duration::from_secs(20), "the first lease does not end");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // So many that some are renewed between their end and the next look for those that ended.
    let renewals = (1..=16).map(|id: i64| {
        let (mut lease, mut kv) = (cluster.lease(0), cluster.kv(0));
        async move {
            tokio::time::sleep(Duration::from_millis(23 * id.unsigned_abs())).await;
            lease.lease_grant(LeaseGrantRequest { ttl: 1, id }).await.unwrap();
            tokio::time::sleep(Duration::from_millis(1_005)).await;
            let requests = tokio_stream::once(LeaseKeepAliveRequest { id });
            let mut answers = lease.lease_keep_alive(requests).await.unwrap().into_inner();
            let ttl = answers.message().await.unwrap().unwrap().ttl;
            let request = PutRequest { key: "k".into(), lease: id, ..PutRequest::default() };
            let put = kv.put(request).await;
            assert_eq!(ttl == 0, put.is_err(), "lease {id} has {ttl} s, and then: {put:?}");
            ttl
        }
    });
    let ttls = futures::future::join_all(renewals).await;
    assert!(ttls.contains(&0), "none was renewed after its end: {ttls:?}");
    cluster.stop().await;
}

/// One did not while the next write came within ten milliseconds of the last, which is always, where
/// it matters.
#[tokio::test(flavor = "multi_thread")]
async fn a_compaction_ends_while_writes_keep_coming() {
    let mut cluster = Cluster::start(1, &QUICK).await;
    let mut kv = cluster.kv(0);
    let mut last = 0;
    for _ in 0..30 {
        last = put(&mut kv, "key", "value").await;
    }
    let stop = tokio_util::sync::CancellationToken::new();
    let writers: Vec<_> = (0..8)
        .map(|number| {
            let (mut kv, stop) = (cluster.kv(0), stop.clone());
            tokio::spawn(async move {
                while !stop.is_cancelled() {
                    put(&mut kv, &format!("writer {number}"), "x").await;
                }
            })
        })
        .collect();
    let compact = CompactionRequest { revision: last, physical: true };
    let ended = tokio::time::timeout(Duration::from_secs(20), kv.compact(compact)).await;
    stop.cancel();
    ended.expect("a compaction to end").unwrap();
    for writer in writers {
        writer.await.unwrap();
    }
    cluster.stop().await;
}
