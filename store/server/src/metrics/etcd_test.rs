//! The names and types of etcd's metrics, recorded, are held against ours.

use std::{collections::BTreeMap, time::Duration};

use super::{Metrics, sample};

/// All families of a text, with their types.
fn families(text: &str) -> BTreeMap<&str, &str> {
    text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')).collect()
}

/// Families with labels are there once there is something to tell of them.
fn in_use() -> Metrics {
    let metrics = Metrics::new();
    metrics.checked("readyz", "data_corruption", true);
    metrics.raft.promoted(Err("can only promote a learner member".to_owned()));
    metrics.watches.broke("watch", &tonic::Status::unknown("what is this?"));
    metrics.peers.of(0xa).probed(Some(Duration::from_millis(1)));
    metrics.scrape().answered(http::StatusCode::OK);
    let mut tally = super::Tally::default();
    let put = proto::orlop::store::v1::command::Op::Put(proto::etcdserverpb::PutRequest::default());
    tally.asked(&[proto::orlop::store::v1::Command { id: 1, caller: None, op: Some(put) }]);
    let answer = store_state_machine::Reply::Put(proto::etcdserverpb::PutResponse::default());
    tally.done(&[Ok(answer)], &[], &metrics.store.lease_ttl);
    metrics.applied(1, &tally, Duration::from_millis(101));
    metrics.calls().set(true, Duration::MAX);
    metrics.calls().seen_for_test();
    metrics
}

/// Those that are looked up for each scrape (`http::facts`) and have labels: the tests of a running
/// member look for them.
const LOOKED_UP: [&str; 6] = [
    "etcd_cluster_version",
    "etcd_debugging_server_alarms",
    "etcd_network_known_peers",
    "etcd_server_feature_enabled",
    "etcd_server_id",
    "etcd_server_version",
];

#[test]
fn every_metric_of_etcd_is_here_with_its_type_or_has_a_reason() {
    let text = in_use().text() + &sample::process();
    let ours = families(&text);
    let mut reasons = 0;
    for line in include_str!("etcd.txt").lines().filter(|line| !line.starts_with('#')) {
        let (name, rest) = line.split_once(' ').unwrap();
        let (kind, reason) = rest.split_once(" no: ").unwrap_or((rest, ""));
        if LOOKED_UP.contains(&name) {
            assert_eq!(kind, "gauge", "{name}");
        } else if reason.is_empty() {
            assert_eq!(ours.get(name), Some(&kind), "{name}");
        } else {
            assert_eq!(ours.get(name), None, "{name} is here, and said not to be: {reason}");
            reasons += 1;
        }
    }
    // A family that cannot be told honestly is left out; they do not become more by themselves.
    assert_eq!(reasons, 21);
}

#[test]
fn histograms_have_the_bounds_that_dashboards_of_etcd_know() {
    let text = in_use().text();
    let bounds = |name: &str| -> Vec<String> {
        let bucket = format!("{name}_bucket{{");
        let lines = text.lines().filter(|line| line.starts_with(&bucket));
        let bound =
            |line: &str| line.split("le=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
        lines.map(bound).collect()
    };
    let fsync = bounds("etcd_disk_wal_fsync_duration_seconds");
    assert_eq!((fsync.len(), fsync[0].as_str(), fsync[13].as_str()), (15, "0.001", "8.192"));
    let trip = bounds("etcd_network_peer_round_trip_time_seconds");
    assert_eq!((trip.len(), trip[0].as_str(), trip[15].as_str()), (17, "0.0001", "3.2768"));
    let apply = bounds("etcd_server_apply_duration_seconds");
    assert_eq!((apply.len(), apply[0].as_str(), apply[19].as_str()), (21, "0.0001", "52.4288"));
    let ttl = bounds("etcd_debugging_lease_ttl_total");
    assert_eq!((ttl.len(), ttl[0].as_str(), ttl[23].as_str()), (25, "1", "8388608"));
    let pause = bounds("etcd_debugging_mvcc_db_compaction_pause_duration_milliseconds");
    assert_eq!((pause.len(), pause[0].as_str(), pause[12].as_str()), (14, "1", "4096"));
}

#[test]
fn a_counter_whose_name_does_not_say_so_keeps_its_name() {
    let metrics = in_use();
    metrics.health_success.inc();
    let text = metrics.text();
    assert!(
        text.contains("# TYPE etcd_server_health_success counter\netcd_server_health_success 1\n")
    );
    assert!(text.contains("etcd_network_snapshot_send_failures{To=\"a\"} 0\n"));
    assert!(!text.contains("health_success_total"));
}
