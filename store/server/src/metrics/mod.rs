//! Every metric: etcd's names where the meaning is the same.

mod calls;
pub(crate) mod sample;

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64},
    },
    time::Duration,
};

use prometheus_client::{
    encoding::text::encode,
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};

use calls::Calls;
pub(crate) use calls::Counting;

/// A few labels with their values.
type Labels = Vec<(&'static str, String)>;

/// The metrics of one member.
pub(crate) struct Metrics {
    registry: Registry,
    fsync: Histogram,
    apply: Histogram,
    proposals_applied: Gauge<u64, AtomicU64>,
    commands: Counter,
    pub(crate) snapshots_installed: Counter,
    pub(crate) has_leader: Gauge<i64, AtomicI64>,
    pub(crate) is_leader: Gauge<i64, AtomicI64>,
    pub(crate) leader_changes: Counter,
    pub(crate) proposals_committed: Gauge<u64, AtomicU64>,
    pub(crate) proposals_pending: Gauge<u64, AtomicU64>,
    pub(crate) db_size: Gauge<u64, AtomicU64>,
    pub(crate) db_size_in_use: Gauge<u64, AtomicU64>,
    pub(crate) quota: Gauge<u64, AtomicU64>,
    pub(crate) keys: Gauge<u64, AtomicU64>,
    pub(crate) revision: Gauge<i64, AtomicI64>,
    pub(crate) compact_revision: Gauge<i64, AtomicI64>,
    pub(crate) auth_revision: Gauge<u64, AtomicU64>,
    pub(crate) is_learner: Gauge<i64, AtomicI64>,
    /// Index of the last log entry that was deleted here, after a snapshot.
    pub(crate) log_purged: Gauge<u64, AtomicU64>,
    /// Comparisons of the members' data that were made here, and those that found a difference.
    pub(crate) compared: Counter,
    pub(crate) differences: Counter,
    /// 1 while this member serves nothing because its data differ.
    pub(crate) fenced: Gauge<i64, AtomicI64>,
    /// 1 while a write of the raft log does not end.
    pub(crate) disk_stuck: Gauge<i64, AtomicI64>,
    /// How often this member gave up leadership because its disk was stuck.
    pub(crate) leaderships_given_up: Counter,
    // Gauges, because etcd's names do not end as those of counters must.
    pub(crate) health_success: Gauge<u64, AtomicU64>,
    pub(crate) health_failures: Gauge<u64, AtomicU64>,
    /// Bytes of gRPC and HTTP from and to clients.
    pub(crate) received: Counter,
    pub(crate) sent: Counter,
    health_checks: Family<Labels, Counter>,
    health_check: Family<Labels, Gauge>,
    calls: Arc<Calls>,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        sample::begin();
        let histogram = || Histogram::new(exponential_buckets(0.001, 2.0, 14));
        let metrics = Self {
            registry: Registry::default(),
            fsync: histogram(),
            apply: histogram(),
            proposals_applied: Gauge::default(),
            commands: Counter::default(),
            snapshots_installed: Counter::default(),
            has_leader: Gauge::default(),
            is_leader: Gauge::default(),
            leader_changes: Counter::default(),
            proposals_committed: Gauge::default(),
            proposals_pending: Gauge::default(),
            db_size: Gauge::default(),
            db_size_in_use: Gauge::default(),
            quota: Gauge::default(),
            keys: Gauge::default(),
            revision: Gauge::default(),
            compact_revision: Gauge::default(),
            auth_revision: Gauge::default(),
            is_learner: Gauge::default(),
            log_purged: Gauge::default(),
            compared: Counter::default(),
            differences: Counter::default(),
            fenced: Gauge::default(),
            disk_stuck: Gauge::default(),
            leaderships_given_up: Counter::default(),
            health_success: Gauge::default(),
            health_failures: Gauge::default(),
            received: Counter::default(),
            sent: Counter::default(),
            health_checks: Family::default(),
            health_check: Family::default(),
            calls: Arc::default(),
        };
        metrics.registered()
    }

    fn registered(mut self) -> Self {
        let r = &mut self.registry;
        let fsync = "Latency of the log's fsync";
        r.register("etcd_disk_wal_fsync_duration_seconds", fsync, self.fsync.clone());
        let apply = "Latency of applying one batch of log entries";
        r.register("etcd_disk_backend_commit_duration_seconds", apply, self.apply.clone());
        let applied = "Index of the last applied log entry";
        r.register("etcd_server_proposals_applied_total", applied, self.proposals_applied.clone());
        let commands = "Commands applied since the start";
        r.register("orlop_store_commands_applied", commands, self.commands.clone());
        let installed = "Snapshots of other members installed here";
        r.register("orlop_store_snapshots_installed", installed, self.snapshots_installed.clone());
        r.register("etcd_server_has_leader", "1 if a leader is known", self.has_leader.clone());
        r.register("etcd_server_is_leader", "1 if this member leads", self.is_leader.clone());
        let changes = "Leader changes seen";
        r.register("etcd_server_leader_changes_seen", changes, self.leader_changes.clone());
        let committed = "Index of the last committed log entry";
        r.register(
            "etcd_server_proposals_committed_total",
            committed,
            self.proposals_committed.clone(),
        );
        let pending = "Commands waiting for their outcome";
        r.register("etcd_server_proposals_pending", pending, self.proposals_pending.clone());
        let size = "Bytes of the state on disk";
        r.register("etcd_mvcc_db_total_size_in_bytes", size, self.db_size.clone());
        let in_use = "Bytes of the state in use";
        r.register("etcd_mvcc_db_total_size_in_use_in_bytes", in_use, self.db_size_in_use.clone());
        r.register("etcd_server_quota_backend_bytes", "Quota in bytes", self.quota.clone());
        r.register("etcd_debugging_mvcc_keys_total", "Keys", self.keys.clone());
        let revision = "The current revision";
        r.register("etcd_debugging_mvcc_current_revision", revision, self.revision.clone());
        let compacted = "The revision below which history is gone";
        let name = "etcd_debugging_mvcc_compact_revision";
        r.register(name, compacted, self.compact_revision.clone());
        let auth = "The current revision of users and roles";
        r.register("etcd_debugging_auth_revision", auth, self.auth_revision.clone());
        r.register("etcd_server_is_learner", "1 if this member learns", self.is_learner.clone());
        let name = |name: &str| format!("orlop_store_{name}");
        let purged = "Index of the last log entry that is only in the state any more";
        r.register(name("log_purged_index"), purged, self.log_purged.clone());
        let compared = "Comparisons of the members' data made by this member";
        r.register(name("data_comparisons"), compared, self.compared.clone());
        let differences = "Members whose data were found to differ by this member";
        r.register(name("data_differences"), differences, self.differences.clone());
        let fenced = "1 while this member serves nothing because its data differ";
        r.register(name("fenced"), fenced, self.fenced.clone());
        let stuck = "1 while a write of the raft log does not end";
        r.register("orlop_store_disk_stuck", stuck, self.disk_stuck.clone());
        let given_up = "Leaderships given up because the disk was stuck";
        let name = "orlop_store_leaderships_given_up";
        r.register(name, given_up, self.leaderships_given_up.clone());
        self.edge_registered()
    }

    /// What is seen of clients.
    fn edge_registered(mut self) -> Self {
        let r = &mut self.registry;
        let name = |name: &str| format!("etcd_server_{name}");
        let good = "Health checks that found nothing";
        r.register(name("health_success"), good, self.health_success.clone());
        let bad = "Health checks that found something";
        r.register(name("health_failures"), bad, self.health_failures.clone());
        let checks = "Health checks by kind and outcome";
        r.register(name("healthchecks"), checks, self.health_checks.clone());
        let check = "The last outcome of each health check: 1 is good";
        r.register(name("healthcheck"), check, self.health_check.clone());
        let received = "Bytes received from clients";
        r.register("etcd_network_client_grpc_received_bytes", received, self.received.clone());
        let sent = "Bytes sent to clients";
        r.register("etcd_network_client_grpc_sent_bytes", sent, self.sent.clone());
        self.calls.register(r);
        self
    }

    /// Counts gRPC calls; `extensive`: measures their times too.
    pub(crate) fn calls(&self) -> Arc<Calls> {
        self.calls.clone()
    }

    /// A health check was made.
    pub(crate) fn checked(&self, kind: &str, name: &str, good: bool) {
        let labels = vec![("type", kind.to_owned()), ("name", name.to_owned())];
        self.health_check.get_or_create(&labels).set(i64::from(good));
        let status = if good { "success" } else { "error" };
        let labels = [labels, vec![("status", status.to_owned())]].concat();
        self.health_checks.get_or_create(&labels).inc();
    }

    /// The log was synced.
    pub(crate) fn synced(&self, took: Duration) {
        self.fsync.observe(took.as_secs_f64());
    }

    /// A batch was applied.
    pub(crate) fn applied(&self, index: u64, commands: usize, took: Duration) {
        self.apply.observe(took.as_secs_f64());
        self.proposals_applied.set(index);
        self.commands.inc_by(commands as u64);
    }

    /// The exposition text, in the format that every Prometheus reads.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("a string takes everything");
        sample::older(&text)
    }
}
