//! What a member sees of itself: its part in raft, its reads, its disk.

use std::{
    sync::atomic::{AtomicI64, AtomicU64},
    time::{Duration, Instant},
};

use prometheus_client::{
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

use super::{Histogram, Labels};

/// Linearizable reads that went wrong. Clones count together.
#[derive(Clone, Default)]
pub(crate) struct Reads {
    /// Read indexes that came late, or not in time.
    pub(crate) slow: Counter,
    /// Read indexes that could not be had.
    pub(crate) failed: Counter,
}

/// This member's part in raft.
#[derive(Default)]
pub(crate) struct Raft {
    pub(crate) has_leader: Gauge<i64, AtomicI64>,
    pub(crate) is_leader: Gauge<i64, AtomicI64>,
    pub(crate) is_learner: Gauge<i64, AtomicI64>,
    pub(crate) leader_changes: Counter,
    pub(crate) proposals_committed: Gauge<u64, AtomicU64>,
    pub(crate) proposals_pending: Gauge<u64, AtomicU64>,
    pub(crate) proposals_failed: Counter,
    /// 1 while a snapshot of another member replaces the state.
    pub(crate) snapshot_applying: Gauge,
    pub(crate) reads: Reads,
    promoted: Counter,
    not_promoted: Family<Labels, Counter>,
}

impl Raft {
    pub(super) fn register(&self, r: &mut Registry) {
        let name = |name: &str| format!("etcd_server_{name}");
        r.register(name("has_leader"), "1 if a leader is known", self.has_leader.clone());
        r.register(name("is_leader"), "1 if this member leads", self.is_leader.clone());
        r.register(name("is_learner"), "1 if this member learns", self.is_learner.clone());
        let changes = "Leader changes seen";
        r.register(name("leader_changes_seen"), changes, self.leader_changes.clone());
        let committed = "Index of the last committed log entry";
        r.register(name("proposals_committed_total"), committed, self.proposals_committed.clone());
        let pending = "Commands waiting for their outcome";
        r.register(name("proposals_pending"), pending, self.proposals_pending.clone());
        let failed = "Commands whose outcome was not known in time";
        r.register(name("proposals_failed"), failed, self.proposals_failed.clone());
        let applying = "1 while a snapshot of another member replaces the state";
        let gauge = self.snapshot_applying.clone();
        r.register(name("snapshot_apply_in_progress_total"), applying, gauge);
        let slow = "Read indexes that came late, or not in time";
        r.register(name("slow_read_indexes"), slow, self.reads.slow.clone());
        let failed = "Read indexes that could not be had";
        r.register(name("read_indexes_failed"), failed, self.reads.failed.clone());
        let promoted = "Learners made voters while this member led";
        r.register(name("learner_promote_successes"), promoted, self.promoted.clone());
        let refused = "Learners not made voters while this member led";
        r.register(name("learner_promote_failures"), refused, self.not_promoted.clone());
    }

    /// A learner was made a voter, or was not, because of this.
    pub(crate) fn promoted(&self, outcome: Result<(), String>) {
        match outcome {
            Ok(()) => drop(self.promoted.inc()),
            Err(why) => drop(self.not_promoted.get_or_create(&vec![("Reason", why)]).inc()),
        }
    }
}

/// The log and the state on disk.
pub(crate) struct Disk {
    fsyncs: Histogram,
    log_bytes: Gauge<u64, AtomicU64>,
    pub(super) commits: Histogram,
    defragments: Histogram,
    defragmenting: Gauge,
    /// A snapshot for a client, until the client has it.
    pub(crate) snapshots: Histogram,
    /// A snapshot of another member, until all of it is on disk here.
    pub(crate) received: Histogram,
    pub(crate) received_fsyncs: Histogram,
    /// Flushes of the state, after which the log can be cut.
    pub(crate) flushes: Histogram,
}

impl Default for Disk {
    fn default() -> Self {
        let quick = || Histogram::seconds(Duration::from_millis(1), 14);
        Self {
            fsyncs: quick(),
            log_bytes: Gauge::default(),
            commits: quick(),
            defragments: Histogram::seconds(Duration::from_millis(100), 13),
            defragmenting: Gauge::default(),
            snapshots: Histogram::seconds(Duration::from_millis(10), 17),
            received: Histogram::seconds(Duration::from_millis(100), 10),
            received_fsyncs: quick(),
            flushes: quick(),
        }
    }
}

impl Disk {
    pub(super) fn register(&self, r: &mut Registry) {
        let name = |name: &str| format!("etcd_disk_{name}");
        let fsync = "Latency of the log's fsync";
        r.register(name("wal_fsync_duration_seconds"), fsync, self.fsyncs.clone());
        let written = "Bytes written to the log";
        r.register(name("wal_write_bytes_total"), written, self.log_bytes.clone());
        let apply = "Latency of applying one batch of log entries";
        r.register(name("backend_commit_duration_seconds"), apply, self.commits.clone());
        let defragment = "Time of giving back space when asked to";
        r.register(name("backend_defrag_duration_seconds"), defragment, self.defragments.clone());
        let now = "1 while space is given back; nothing waits for that";
        r.register(name("defrag_inflight"), now, self.defragmenting.clone());
        let snapshot = "Time of a snapshot for a client";
        r.register(name("backend_snapshot_duration_seconds"), snapshot, self.snapshots.clone());
        let received = "Time of a snapshot of another member, until it is on disk";
        let name = "etcd_snap_db_save_total_duration_seconds";
        r.register(name, received, self.received.clone());
        let fsync = "Latency of the fsync of a file of another member's snapshot";
        r.register("etcd_snap_db_fsync_duration_seconds", fsync, self.received_fsyncs.clone());
        let flush = "Time of a flush of the state, after which the log can be cut";
        let name = "etcd_debugging_snap_save_total_duration_seconds";
        r.register(name, flush, self.flushes.clone());
    }

    /// So many bytes of the log were written and synced.
    pub(crate) fn synced(&self, took: Duration, bytes: usize) {
        self.fsyncs.observe(took);
        self.log_bytes.inc_by(bytes as u64);
    }

    /// Space is given back until the answer is dropped.
    pub(crate) fn defragmenting(&self) -> Defragmenting<'_> {
        self.defragmenting.inc();
        Defragmenting { disk: self, began: Instant::now() }
    }
}

/// Space is being given back.
pub(crate) struct Defragmenting<'a> {
    disk: &'a Disk,
    began: Instant,
}

impl Drop for Defragmenting<'_> {
    fn drop(&mut self) {
        self.disk.defragmenting.dec();
        self.disk.defragments.observe(self.began.elapsed());
    }
}
