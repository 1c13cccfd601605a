//! Members whose data differ: found by comparing, fenced if a majority agrees, and given the leader's data.
#![expect(clippy::unwrap_used, reason = "a failed helper is a failed test")]

mod common;

use std::path::Path;
use std::time::{Duration, Instant};

use common::{Cluster, eventually, get, put};
use proto::etcdserverpb::{
    AlarmRequest, AlarmType, MoveLeaderRequest, PutRequest, RangeRequest, kv_client::KvClient,
};
use rocksdb::{DB, IteratorMode, Options};
use tonic::{Code, transport::Channel};

const QUICK: [&str; 2] = ["--heartbeat-interval=50", "--election-timeout=300"];

/// Changes a value in a stopped member's state, as no disk does: every checksum is right afterwards.
fn falsify(folder: &Path, from: &str, to: &str) {
    assert_eq!(from.len(), to.len());
    let path = folder.join("state/db-1");
    std::fs::remove_file(path.join("SEAL")).unwrap();
    let db = DB::open_cf(&Options::default(), &path, ["default", "live", "rev", "meta"]).unwrap();
    let mut changed = 0;
    for name in ["live", "rev"] {
        let family = db.cf_handle(name).unwrap();
        for pair in db.iterator_cf(family, IteratorMode::Start) {
            let (key, value) = pair.unwrap();
            let mut value = value.to_vec();
            let found = value.windows(from.len()).position(|part| part == from.as_bytes());
            if let Some(at) = found {
                value[at..at + to.len()].copy_from_slice(to.as_bytes());
                db.put_cf(family, key, value).unwrap();
                changed += 1;
            }
        }
        db.flush_cf(family).unwrap();
    }
    assert_eq!(changed, 2);
}

/// Stops a member that has applied all there is, and makes it wrong.
async fn spoil(cluster: &mut Cluster, bad: usize) {
    assert_eq!(get(&mut cluster.kv(bad), "this", false).await.as_deref(), Some("is good"));
    cluster.stop_member(bad).await;
    falsify(&cluster.folder(bad), "is good", "is evil");
}

/// A read of a member's own data, or the code that it is refused with.
async fn own(kv: &mut KvClient<Channel>, key: &str) -> Result<String, (Code, String)> {
    let key = key.to_owned().into();
    let request = RangeRequest { key, serializable: true, ..RangeRequest::default() };
    match kv.range(request).await {
        Ok(answer) => {
            let kv = answer.into_inner().kvs.remove(0);
            Ok(String::from_utf8(kv.value.to_vec()).unwrap())
        }
        Err(status) => Err((status.code(), status.message().to_owned())),
    }
}

fn corrupt<T>(answer: &Result<T, (Code, String)>) -> bool {
    let text = "etcdserver: corrupt cluster";
    matches!(answer, Err((Code::DataLoss, message)) if message == text)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_differs_serves_nothing_until_it_has_the_leaders_data() {
    let mut cluster = Cluster::start(3, &[QUICK[0], QUICK[1], "--corrupt-check-time=500ms"]).await;
    for number in 0..20 {
        put(&mut cluster.kv(0), &format!("key {number:02}"), "right").await;
    }
    put(&mut cluster.kv(0), "this", "is good").await;
    let leader = cluster.leader().await;
    let (bad, other) = ((leader + 1) % 3, (leader + 2) % 3);
    spoil(&mut cluster, bad).await;
    cluster.start_member(bad).await;

    let mut kv = cluster.kv(bad);
    let deadline = Instant::now() + Duration::from_secs(20);
    let mut refusals = 0;
    loop {
        // The others go on.
        put(&mut cluster.kv(other), "meanwhile", &refusals.to_string()).await;
        let answer = own(&mut kv, "this").await;
        match &answer {
            Ok(value) if value == "is good" => break,
            Ok(value) => {
                assert_eq!(value, "is evil");
                assert_eq!(refusals, 0, "it was served after the member was found to differ");
            }
            Err(_) => {
                assert!(corrupt(&answer), "{answer:?}");
                refusals += 1;
                if refusals == 1 {
                    let alarms = AlarmRequest::default();
                    let alarms = cluster.maintenance(other).alarm(alarms).await.unwrap();
                    let alarm = alarms.into_inner().alarms.pop();
                    let alarm = alarm.map(|alarm| (alarm.member_id, alarm.alarm()));
                    let id = cluster.members[bad].as_ref().unwrap().id();
                    assert_eq!(alarm, Some((id, AlarmType::Corrupt)));
                    assert!(cluster.http(bad, "/readyz").contains("[-]data_corruption failed"));
                    assert!(cluster.http(other, "/readyz").starts_with("HTTP/1.1 200"));
                    let write = PutRequest { key: "x".into(), ..PutRequest::default() };
                    let refused =
                        kv.put(write).await.map_err(|s| (s.code(), s.message().to_owned()));
                    assert!(corrupt(&refused), "{refused:?}");
                }
            }
        }
        assert!(Instant::now() < deadline, "still {answer:?} after {refusals} refusals");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(refusals > 0, "it was never fenced");
    // What came before and after, here and everywhere.
    for reader in 0..3 {
        assert_eq!(get(&mut cluster.kv(reader), "key 07", false).await.as_deref(), Some("right"));
        assert_eq!(get(&mut cluster.kv(reader), "this", false).await.as_deref(), Some("is good"));
    }
    put(&mut kv, "this", "is new").await;
    let alarms = cluster.maintenance(bad).alarm(AlarmRequest::default()).await.unwrap();
    assert_eq!(alarms.into_inner().alarms, []);
    // And after a restart it is what it became.
    cluster.stop_member(bad).await;
    cluster.start_member(bad).await;
    assert_eq!(get(&mut cluster.kv(bad), "this", false).await.as_deref(), Some("is new"));
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_differs_makes_way() {
    let never = ["--corrupt-check-time=0", "--compact-hash-check-time=0"];
    let mut cluster = Cluster::start(3, &[&QUICK[..], &never].concat()).await;
    put(&mut cluster.kv(0), "this", "is good").await;
    let leader = cluster.leader().await;
    let bad = (leader + 1) % 3;
    spoil(&mut cluster, bad).await;
    // Only this one compares, and only once it leads.
    cluster.extra.push("--corrupt-check-time=300ms".to_owned());
    cluster.start_member(bad).await;
    let target_id = cluster.members[bad].as_ref().unwrap().id();
    // Whoever leads is asked, until this one has led: it compares, and may be gone again at once.
    let compared = || {
        let metrics = cluster.http(bad, "/metrics");
        !metrics.contains("orlop_store_data_comparisons_total 0")
    };
    eventually("comparison by the one that differs", || async {
        for number in 0..3 {
            let mut asked = cluster.maintenance(number);
            let moved = asked.move_leader(MoveLeaderRequest { target_id });
            let _not_the_leader = moved.await;
        }
        compared().then_some(())
    })
    .await;
    eventually("good data of the leader that was", || {
        let mut kv = cluster.kv(bad);
        async move { own(&mut kv, "this").await.ok().filter(|value| value == "is good") }
    })
    .await;
    assert_ne!(cluster.leader().await, bad);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_majority_nothing_is_written_and_nobody_is_blamed() {
    let mut cluster = Cluster::start(2, &[QUICK[0], QUICK[1], "--corrupt-check-time=300ms"]).await;
    put(&mut cluster.kv(0), "this", "is good").await;
    let leader = cluster.leader().await;
    let bad = 1 - leader;
    spoil(&mut cluster, bad).await;
    cluster.start_member(bad).await;
    for writer in [leader, bad] {
        eventually("refused write", || {
            let mut kv = cluster.kv(writer);
            async move {
                let write = PutRequest { key: "x".into(), ..PutRequest::default() };
                let refused = kv.put(write).await.map_err(|s| (s.code(), s.message().to_owned()));
                corrupt(&refused).then_some(())
            }
        })
        .await;
    }
    let alarms = cluster.maintenance(leader).alarm(AlarmRequest::default()).await.unwrap();
    let alarms = alarms.into_inner().alarms;
    let raised: Vec<_> = alarms.iter().map(|a| (a.member_id, a.alarm())).collect();
    assert_eq!(raised, [(0, AlarmType::Corrupt)]);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_can_be_told_to_compare_before_it_serves() {
    let flags = [QUICK[0], QUICK[1], "--corrupt-check-time=0", "--compact-hash-check-time=0"];
    let flags = [&flags[..], &["--experimental-initial-corrupt-check=true"]].concat();
    let mut cluster = Cluster::start(3, &flags).await;
    put(&mut cluster.kv(0), "this", "is good").await;
    let bad = (cluster.leader().await + 1) % 3;
    cluster.stop_member(bad).await;
    // It agrees: nothing is said.
    cluster.start_member(bad).await;
    assert_eq!(get(&mut cluster.kv(bad), "this", false).await.as_deref(), Some("is good"));
    spoil(&mut cluster, bad).await;
    let error = format!("{:#}", cluster.try_start_member(bad).await.unwrap_err());
    assert!(error.contains("differ from those of 2 peers"), "{error}");
    assert!(error.contains(&cluster.folder(bad).display().to_string()), "{error}");
    cluster.stop().await;
}
