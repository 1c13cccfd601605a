//! Every metric: etcd's names where the meaning is the same.
//!
//! `etcd.txt` lists what etcd 3.5 and 3.6 have, and why some of it means nothing here.

mod calls;
mod histogram;
mod member;
pub(crate) mod peers;
pub(crate) mod sample;
pub(crate) mod store;
mod traffic;
pub(crate) mod watches;

use std::sync::{
    Arc,
    atomic::{AtomicI64, AtomicU64},
};
use std::time::Duration;

use prometheus_client::{
    encoding::text::encode,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

use calls::Calls;
pub(crate) use calls::Counting;
pub(crate) use histogram::Histogram;
pub(crate) use member::{Disk, Raft, Reads};
use peers::Peers;
use store::{Store, Tally};
pub(crate) use traffic::{Metered, Traffic};
use watches::Watches;

/// A few labels with their values.
type Labels = Vec<(&'static str, String)>;

/// The metrics of one member.
pub(crate) struct Metrics {
    registry: Registry,
    proposals_applied: Gauge<u64, AtomicU64>,
    commands: Counter,
    pub(crate) snapshots_installed: Counter,
    pub(crate) db_size: Gauge<u64, AtomicU64>,
    pub(crate) db_size_in_use: Gauge<u64, AtomicU64>,
    pub(crate) quota: Gauge<u64, AtomicU64>,
    pub(crate) keys: Gauge<u64, AtomicU64>,
    pub(crate) revision: Gauge<i64, AtomicI64>,
    pub(crate) compact_revision: Gauge<i64, AtomicI64>,
    pub(crate) auth_revision: Gauge<u64, AtomicU64>,
    /// Index of the last log entry that was deleted here, after a snapshot.
    pub(crate) log_purged: Gauge<u64, AtomicU64>,
    /// Comparisons of the members' data that were made here, and those that found a difference.
    pub(crate) compared: Counter,
    pub(crate) digests_compared: Counter,
    pub(crate) differences: Counter,
    /// 1 while this member serves nothing because its data differ.
    pub(crate) fenced: Gauge<i64, AtomicI64>,
    /// 1 while a write of the raft log does not end.
    pub(crate) disk_stuck: Gauge<i64, AtomicI64>,
    /// How often this member gave up leadership because its disk was stuck.
    pub(crate) leaderships_given_up: Counter,
    pub(crate) health_success: Counter,
    pub(crate) health_failures: Counter,
    /// Bytes of gRPC and HTTP from and to clients.
    pub(crate) received: Counter,
    pub(crate) sent: Counter,
    health_checks: Family<Labels, Counter>,
    health_check: Family<Labels, Gauge>,
    scraping: Gauge,
    scrapes: Family<Labels, Counter>,
    pub(crate) raft: Raft,
    pub(crate) disk: Disk,
    pub(crate) store: Store,
    pub(crate) watches: Watches,
    pub(crate) peers: Peers,
    calls: Arc<Calls>,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        sample::begin();
        let metrics = Self {
            registry: Registry::default(),
            proposals_applied: Gauge::default(),
            commands: Counter::default(),
            snapshots_installed: Counter::default(),
            db_size: Gauge::default(),
            db_size_in_use: Gauge::default(),
            quota: Gauge::default(),
            keys: Gauge::default(),
            revision: Gauge::default(),
            compact_revision: Gauge::default(),
            auth_revision: Gauge::default(),
            log_purged: Gauge::default(),
            compared: Counter::default(),
            digests_compared: Counter::default(),
            differences: Counter::default(),
            fenced: Gauge::default(),
            disk_stuck: Gauge::default(),
            leaderships_given_up: Counter::default(),
            health_success: Counter::default(),
            health_failures: Counter::default(),
            received: Counter::default(),
            sent: Counter::default(),
            health_checks: Family::default(),
            health_check: Family::default(),
            scraping: Gauge::default(),
            scrapes: Family::default(),
            raft: Raft::default(),
            disk: Disk::default(),
            store: Store::default(),
            watches: Watches::default(),
            peers: Peers::default(),
            calls: Arc::default(),
        };
        metrics.registered()
    }

    fn registered(mut self) -> Self {
        let r = &mut self.registry;
        let applied = "Index of the last applied log entry";
        r.register("etcd_server_proposals_applied_total", applied, self.proposals_applied.clone());
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
        self.own_registered()
    }

    /// What etcd does not have.
    fn own_registered(mut self) -> Self {
        let r = &mut self.registry;
        let name = |name: &str| format!("orlop_store_{name}");
        let commands = "Commands applied since the start";
        r.register(name("commands_applied"), commands, self.commands.clone());
        let installed = "Snapshots of other members installed here";
        r.register(name("snapshots_installed"), installed, self.snapshots_installed.clone());
        let purged = "Index of the last log entry that is only in the state any more";
        r.register(name("log_purged_index"), purged, self.log_purged.clone());
        let compared = "Comparisons of the members' data made by this member";
        r.register(name("data_comparisons"), compared, self.compared.clone());
        let digests =
            "Comparisons of the digests of all that the members applied made by this member";
        r.register(name("digest_comparisons"), digests, self.digests_compared.clone());
        let differences = "Members whose data were found to differ by this member";
        r.register(name("data_differences"), differences, self.differences.clone());
        let fenced = "1 while this member serves nothing because its data differ";
        r.register(name("fenced"), fenced, self.fenced.clone());
        let stuck = "1 while a write of the raft log does not end";
        r.register(name("disk_stuck"), stuck, self.disk_stuck.clone());
        let given_up = "Leaderships given up because the disk was stuck";
        r.register(name("leaderships_given_up"), given_up, self.leaderships_given_up.clone());
        self.edge_registered()
    }

    /// What is seen of clients, and the parts.
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
        let name = |name: &str| format!("promhttp_metric_handler_requests{name}");
        r.register(name("_in_flight"), "Scrapes being answered", self.scraping.clone());
        r.register(name(""), "Scrapes by the status that answered them", self.scrapes.clone());
        self.raft.register(r);
        self.disk.register(r);
        self.store.register(r);
        self.watches.register(r);
        self.peers.register(r);
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

    /// Somebody asks for the metrics.
    pub(crate) fn scrape(&self) -> Scrape<'_> {
        self.scraping.inc();
        Scrape { metrics: self }
    }

    /// A batch was applied.
    pub(crate) fn applied(&self, index: u64, tally: &Tally, took: Duration) {
        self.disk.commits.observe(took);
        self.proposals_applied.set(index);
        self.commands.inc_by(tally.commands() as u64);
        self.store.applied(tally, took);
    }

    /// The exposition text, in the format that every Prometheus reads.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("a string takes everything");
        sample::older(&text)
    }
}

/// A scrape under way.
pub(crate) struct Scrape<'a> {
    metrics: &'a Metrics,
}

impl Scrape<'_> {
    /// It is about to be answered with this status.
    pub(crate) fn answered(self, status: http::StatusCode) {
        let labels = vec![("code", status.as_str().to_owned())];
        self.metrics.scrapes.get_or_create(&labels).inc();
    }
}

impl Drop for Scrape<'_> {
    fn drop(&mut self) {
        self.metrics.scraping.dec();
    }
}

#[cfg(test)]
mod etcd_test;
