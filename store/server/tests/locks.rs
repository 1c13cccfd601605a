//! Locks, elections, health and streamed ranges, as their clients see them.
#![expect(clippy::unwrap_used, reason = "a failed helper is a failed test")]

mod common;

use std::time::Duration;

use common::{Cluster, eventually, put};
use proto::{
    etcdserverpb::{
        LeaseGrantRequest, LeaseRevokeRequest, PutRequest, RangeRequest, kv_client::KvClient,
    },
    grpc::health::v1::{
        HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
    },
    v3electionpb::{
        CampaignRequest, LeaderRequest, ProclaimRequest, ResignRequest,
        election_client::ElectionClient,
    },
    v3lockpb::{LockRequest, UnlockRequest, lock_client::LockClient},
};
use tonic::{
    Code,
    transport::{Channel, Endpoint},
};

const QUICK: [&str; 2] = ["--heartbeat-interval=50", "--election-timeout=300"];
const PATIENCE: Duration = Duration::from_secs(15);

fn channel(cluster: &Cluster, number: usize) -> Channel {
    let urls = cluster.endpoints();
    let url = urls.split(',').nth(number).unwrap().to_owned();
    Endpoint::from_shared(url).unwrap().connect_lazy()
}

async fn lease(cluster: &Cluster, number: usize) -> i64 {
    let grant = LeaseGrantRequest { ttl: 60, id: 0 };
    cluster.lease(number).lease_grant(grant).await.unwrap().into_inner().id
}

/// How many keys lie below a name.
async fn waiting(mut kv: KvClient<Channel>, name: &'static str) -> i64 {
    let range = RangeRequest {
        key: format!("{name}/").into(),
        range_end: format!("{name}0").into(),
        count_only: true,
        ..RangeRequest::default()
    };
    kv.range(range).await.unwrap().into_inner().count
}

async fn until_waiting(cluster: &Cluster, name: &'static str, count: i64) {
    let kv = cluster.kv(0);
    eventually("place in the queue", || {
        let kv = kv.clone();
        async move { (waiting(kv, name).await == count).then_some(()) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_goes_from_one_to_the_next_whoever_serves_them() {
    let mut cluster = Cluster::start(3, &QUICK).await;
    cluster.leader().await;
    let lock = |number: usize, lease: i64| {
        let mut client = LockClient::new(channel(&cluster, number));
        async move { client.lock(LockRequest { name: "l".into(), lease }).await }
    };
    // Without a lease, the server grants one.
    let first = lock(0, 0).await.unwrap().into_inner();
    assert!(first.key.starts_with(b"l/"), "{first:?}");

    let (second_lease, third_lease) = (lease(&cluster, 1).await, lease(&cluster, 2).await);
    let second = tokio::spawn(lock(1, second_lease));
    until_waiting(&cluster, "l", 2).await;
    let third = tokio::spawn(lock(2, third_lease));
    until_waiting(&cluster, "l", 3).await;
    assert!(!second.is_finished() && !third.is_finished());

    // A waiter that gives up leaves nothing behind.
    let mut impatient = LockClient::new(channel(&cluster, 0));
    let mut request = tonic::Request::new(LockRequest { name: "l".into(), lease: 0 });
    request.set_timeout(Duration::from_millis(300));
    impatient.lock(request).await.unwrap_err();
    until_waiting(&cluster, "l", 3).await;

    let mut any = LockClient::new(channel(&cluster, 2));
    any.unlock(UnlockRequest { key: first.key }).await.unwrap();
    let second = tokio::time::timeout(PATIENCE, second).await.unwrap().unwrap().unwrap();
    assert_eq!(second.get_ref().key, format!("l/{second_lease:x}"));
    assert!(!third.is_finished());
    // A holder whose lease ends holds no longer.
    cluster.lease(0).lease_revoke(LeaseRevokeRequest { id: second_lease }).await.unwrap();
    let third = tokio::time::timeout(PATIENCE, third).await.unwrap().unwrap().unwrap();
    assert_eq!(third.get_ref().key, format!("l/{third_lease:x}"));
    // The same holder may ask again.
    assert_eq!(lock(0, third_lease).await.unwrap().get_ref().key, third.get_ref().key);
    // A waiter whose lease ended while it waited does not get the lock.
    let late_lease = lease(&cluster, 0).await;
    let late = tokio::spawn(lock(1, late_lease));
    until_waiting(&cluster, "l", 2).await;
    cluster.lease(0).lease_revoke(LeaseRevokeRequest { id: late_lease }).await.unwrap();
    any.unlock(UnlockRequest { key: third.into_inner().key }).await.unwrap();
    let error = tokio::time::timeout(PATIENCE, late).await.unwrap().unwrap().unwrap_err();
    assert_eq!((error.code(), error.message()), (Code::Unknown, "mutex: session is expired"));
    let error = lock(0, 12345).await.unwrap_err();
    let expected = (Code::Unknown, "etcdserver: requested lease not found");
    assert_eq!((error.code(), error.message()), expected);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_observer_sees_every_leader_and_what_it_proclaims() {
    let mut cluster = Cluster::start(1, &QUICK).await;
    cluster.leader().await;
    let mut election = ElectionClient::new(channel(&cluster, 0));
    let leader = LeaderRequest { name: "e".into() };
    let error = election.leader(leader.clone()).await.unwrap_err();
    assert_eq!((error.code(), error.message()), (Code::Unknown, "election: no leader"));

    let mut observer = election.clone();
    let name = leader.clone();
    // The stream begins when there is a leader.
    let observed = tokio::spawn(async move {
        let mut leaders = observer.observe(name).await.unwrap().into_inner();
        let mut values = Vec::new();
        while values.len() < 3 {
            let next = tokio::time::timeout(PATIENCE, leaders.message()).await.unwrap();
            let kv = next.unwrap().unwrap().kv.unwrap();
            values.push(String::from_utf8(kv.value.to_vec()).unwrap());
        }
        values
    });
    let candidate = election.clone();
    let campaign = |value: &'static str, lease: i64| {
        let mut election = candidate.clone();
        let request = CampaignRequest { name: "e".into(), lease, value: value.into() };
        async move { election.campaign(request).await }
    };
    let one = lease(&cluster, 0).await;
    let first = campaign("one", one).await.unwrap().into_inner().leader.unwrap();
    assert_eq!((first.key.as_ref(), first.lease), (format!("e/{one:x}").as_bytes(), one));
    let known = election.leader(leader.clone()).await.unwrap().into_inner().kv.unwrap();
    assert_eq!(known.create_revision, first.rev);

    let proclaim = ProclaimRequest { leader: Some(first.clone()), value: "one again".into() };
    election.proclaim(proclaim.clone()).await.unwrap();
    let second = tokio::spawn(campaign("two", lease(&cluster, 0).await));
    until_waiting(&cluster, "e", 2).await;
    assert!(!second.is_finished());
    election.resign(ResignRequest { leader: Some(first) }).await.unwrap();
    tokio::time::timeout(PATIENCE, second).await.unwrap().unwrap().unwrap();
    let error = election.proclaim(proclaim).await.unwrap_err();
    assert_eq!(error.message(), "election: not leader");
    let values = tokio::time::timeout(PATIENCE, observed).await.unwrap().unwrap();
    assert_eq!(values.last().map(String::as_str), Some("two"), "{values:?}");
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn health_is_told_until_the_member_stops() {
    let mut cluster = Cluster::start(1, &QUICK).await;
    cluster.leader().await;
    let mut health = HealthClient::new(channel(&cluster, 0));
    let all = HealthCheckRequest::default();
    let now = health.check(all.clone()).await.unwrap().into_inner();
    assert_eq!(now.status(), ServingStatus::Serving);
    let other = HealthCheckRequest { service: "other".into() };
    assert_eq!(health.check(other).await.unwrap_err().code(), Code::NotFound);
    let mut changes = health.watch(all).await.unwrap().into_inner();
    let first = changes.message().await.unwrap().unwrap();
    assert_eq!(first.status(), ServingStatus::Serving);
    let stopping = tokio::spawn(async move { cluster.stop().await });
    let last = tokio::time::timeout(PATIENCE, changes.message()).await.unwrap();
    assert_eq!(last.unwrap().unwrap().status(), ServingStatus::NotServing);
    stopping.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_streamed_range_is_the_range_at_one_revision() {
    let extra = ["--max-request-bytes=4096"];
    let mut cluster = Cluster::start(1, &extra).await;
    cluster.leader().await;
    let mut kv = cluster.kv(0);
    for number in 0..200 {
        put(&mut kv, &format!("k/{number:03}"), &"x".repeat(100)).await;
    }
    let range =
        RangeRequest { key: "k/".into(), range_end: "k0".into(), ..RangeRequest::default() };
    let whole = kv.range(range.clone()).await.unwrap().into_inner();
    for limit in [0, 1, 10, 150, 200, 500] {
        let asked = RangeRequest { limit, ..range.clone() };
        let expected = kv.range(asked.clone()).await.unwrap().into_inner();
        let mut pieces = kv.range_stream(asked).await.unwrap().into_inner();
        let (mut kvs, mut count, mut last) = (Vec::new(), 0, None);
        while let Some(piece) = pieces.message().await.unwrap() {
            let piece = piece.range_response.unwrap();
            assert!(last.is_none(), "there was a piece after the last one");
            kvs.extend(piece.kvs);
            count += 1;
            last = piece.header.map(|header| (header, piece.more, piece.count));
            if count == 1 && limit == 0 {
                // What is written meanwhile is not part of it.
                let request = PutRequest { key: "k/199".into(), ..PutRequest::default() };
                kv.put(request).await.unwrap();
            }
        }
        let (_, more, total) = last.expect("the last piece has a header");
        assert_eq!((more, total), (expected.more, expected.count), "limit {limit}");
        if limit == 0 {
            assert_eq!(kvs, whole.kvs);
            assert!(count > 3, "only {count} pieces");
        } else {
            assert_eq!(kvs, expected.kvs, "limit {limit}");
        }
    }
    let count = RangeRequest { count_only: true, ..range.clone() };
    let mut pieces = kv.range_stream(count).await.unwrap().into_inner();
    let only = pieces.message().await.unwrap().unwrap().range_response.unwrap();
    assert_eq!((only.count, only.kvs.len()), (200, 0));
    assert!(pieces.message().await.unwrap().is_none());
    let sorted = RangeRequest { sort_order: 2, ..range };
    assert_eq!(kv.range_stream(sorted).await.unwrap_err().code(), Code::Unimplemented);
    cluster.stop().await;
}
