//! What the store did: operations, leases, compactions.

use std::{
    sync::OnceLock,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use prometheus_client::{
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};
use proto::{
    etcdserverpb::{TxnResponse, response_op::Response},
    orlop::store::v1::{Command, auth_change::Change, command::Op},
};
use store_state_machine::{CompactProgress, Refusal, Reply, RevisionEvents};

use super::{Histogram, Labels};
use crate::limits;

/// The kinds of commands that etcd's log has too, by its names for them.
const KINDS: [&str; 23] = [
    "Put",
    "DeleteRange",
    "Txn",
    "Compaction",
    "LeaseGrant",
    "LeaseRevoke",
    "LeaseCheckpoint",
    "Alarm",
    "ClusterMemberAttrSet",
    "ClusterVersionSet",
    "AuthEnable",
    "AuthDisable",
    "Authenticate",
    "AuthUserAdd",
    "AuthUserDelete",
    "AuthUserChangePassword",
    "AuthUserGrantRole",
    "AuthUserRevokeRole",
    "AuthRoleAdd",
    "AuthRoleDelete",
    "AuthRoleGrantPermission",
    "AuthRoleRevokePermission",
    // What etcd does by changing its configuration, or not at all.
    "",
];

fn kind(op: Option<&Op>) -> usize {
    match op {
        Some(Op::Put(_)) => 0,
        Some(Op::DeleteRange(_)) => 1,
        Some(Op::Txn(_)) => 2,
        Some(Op::Compact(_)) => 3,
        Some(Op::LeaseGrant(_)) => 4,
        Some(Op::LeaseRevoke(_)) => 5,
        Some(Op::LeaseCheckpoint(_)) => 6,
        Some(Op::Alarm(_)) => 7,
        Some(Op::MemberSet(_)) => 8,
        Some(Op::ClusterSet(_)) => 9,
        Some(Op::Auth(change)) => match &change.change {
            Some(Change::Enable(_)) => 10,
            Some(Change::Disable(_)) => 11,
            Some(Change::Authenticate(_)) => 12,
            Some(Change::UserAdd(_)) => 13,
            Some(Change::UserDelete(_)) => 14,
            Some(Change::UserChangePassword(_)) => 15,
            Some(Change::UserGrantRole(_)) => 16,
            Some(Change::UserRevokeRole(_)) => 17,
            Some(Change::RoleAdd(_)) => 18,
            Some(Change::RoleDelete(_)) => 19,
            Some(Change::RoleGrantPermission(_)) => 20,
            Some(Change::RoleRevokePermission(_)) => 21,
            None => 22,
        },
        Some(Op::MemberRemove(_) | Op::Fence(_) | Op::DigestRestart(_)) | None => 22,
    }
}

/// What one turn of the apply thread did, summed up before it is told.
#[derive(Default)]
pub(crate) struct Tally {
    kinds: Vec<usize>,
    /// How many of each kind were refused, and how many carried out.
    outcomes: [[u64; 2]; KINDS.len()],
    puts: u64,
    put_bytes: u64,
    deletes: u64,
    ranges: u64,
    txns: u64,
    /// Keys removed, by whatever; and by deletes.
    removed: u64,
    deleted: u64,
    leases: u64,
    revoked: u64,
}

impl Tally {
    /// These are about to be carried out.
    pub(crate) fn asked(&mut self, commands: &[Command]) {
        self.kinds.extend(commands.iter().map(|command| kind(command.op.as_ref())));
    }

    /// How many commands were asked for.
    pub(super) fn commands(&self) -> usize {
        self.kinds.len()
    }

    /// And this became of them.
    pub(crate) fn done(
        &mut self,
        outcomes: &[Result<Reply, Refusal>],
        events: &[RevisionEvents],
        ttl: &Histogram,
    ) {
        for (outcome, kind) in outcomes.iter().zip(&self.kinds) {
            self.outcomes[*kind][usize::from(outcome.is_ok())] += 1;
        }
        for reply in outcomes.iter().flatten() {
            match reply {
                Reply::DeleteRange(response) => {
                    self.deletes += 1;
                    self.deleted += response.deleted.unsigned_abs();
                }
                Reply::Txn(response) => self.txn(response),
                Reply::LeaseGrant(granted) => {
                    self.leases += 1;
                    ttl.observe_whole(granted.ttl.unsigned_abs());
                }
                Reply::LeaseRevoke(_) => self.revoked += 1,
                Reply::Put(_)
                | Reply::Compact(_)
                | Reply::LeaseCheckpoint(_)
                | Reply::Alarm(_)
                | Reply::Members(_)
                | Reply::Auth(_)
                | Reply::Done => {}
            }
        }
        for event in events.iter().flat_map(|events| &events.events) {
            if event.deleted {
                self.removed += 1;
            } else {
                self.puts += 1;
                self.put_bytes += (event.kv.key.len() + event.kv.value.len()) as u64;
            }
        }
    }

    fn txn(&mut self, response: &TxnResponse) {
        if self.operations(response) > 1 {
            self.txns += 1;
        }
    }

    fn operations(&mut self, response: &TxnResponse) -> u64 {
        let mut operations = 0;
        for op in &response.responses {
            operations += 1;
            match &op.response {
                Some(Response::ResponseRange(_)) => self.ranges += 1,
                Some(Response::ResponseDeleteRange(response)) => {
                    self.deletes += 1;
                    self.deleted += response.deleted.unsigned_abs();
                }
                Some(Response::ResponseTxn(response)) => {
                    operations += self.operations(response);
                }
                Some(Response::ResponsePut(_)) | None => {}
            }
        }
        operations
    }
}

type Times = Family<Labels, Histogram, fn() -> Histogram>;

fn apply_times() -> Histogram {
    Histogram::seconds(Duration::from_micros(100), 20)
}

/// The numbers themselves.
pub(crate) struct Store {
    puts: Counter,
    put_bytes: Gauge<u64, std::sync::atomic::AtomicU64>,
    deletes: Counter,
    ranges: Counter,
    txns: Counter,
    range_times: Times,
    /// Refused, and carried out.
    ranged: [Histogram; 2],
    apply_times: Times,
    applied: [[OnceLock<Histogram>; 2]; KINDS.len()],
    slow: Counter,
    leases_granted: Counter,
    leases_revoked: Counter,
    pub(crate) leases_renewed: Counter,
    pub(crate) leases_expired: Counter,
    pub(crate) lease_ttl: Histogram,
    compacted_keys: Counter,
    compacted_last: Gauge<u64, std::sync::atomic::AtomicU64>,
    compaction_pause: Histogram,
    compaction_total: Histogram,
    pub(crate) hashes: Histogram,
}

impl Default for Store {
    fn default() -> Self {
        let range_times: Times = Family::new_with_constructor(apply_times);
        let ranged = ["false", "true"].map(|success| {
            range_times.get_or_create(&vec![("success", success.to_owned())]).clone()
        });
        Self {
            puts: Counter::default(),
            put_bytes: Gauge::default(),
            deletes: Counter::default(),
            ranges: Counter::default(),
            txns: Counter::default(),
            range_times,
            ranged,
            apply_times: Family::new_with_constructor(apply_times),
            applied: std::array::from_fn(|_| [OnceLock::new(), OnceLock::new()]),
            slow: Counter::default(),
            leases_granted: Counter::default(),
            leases_revoked: Counter::default(),
            leases_renewed: Counter::default(),
            leases_expired: Counter::default(),
            lease_ttl: Histogram::whole(24),
            compacted_keys: Counter::default(),
            compacted_last: Gauge::default(),
            compaction_pause: Histogram::milliseconds(Duration::from_millis(1), 13),
            compaction_total: Histogram::milliseconds(Duration::from_millis(100), 14),
            hashes: Histogram::seconds(Duration::from_millis(10), 15),
        }
    }
}

impl Store {
    pub(super) fn register(&self, r: &mut Registry) {
        let name = |name: &str| format!("etcd_mvcc_{name}");
        r.register(name("put"), "Puts carried out here", self.puts.clone());
        r.register(name("delete"), "Deletes carried out here", self.deletes.clone());
        r.register(name("range"), "Ranges read here", self.ranges.clone());
        let txns = "Transactions of more than one operation carried out here";
        r.register(name("txn"), txns, self.txns.clone());
        let hashes = "Time of hashing the keys up to a revision";
        r.register(name("hash_rev_duration_seconds"), hashes, self.hashes.clone());

        let name = |name: &str| format!("etcd_debugging_mvcc_{name}");
        let bytes = "Bytes of keys and values put here";
        r.register(name("total_put_size_in_bytes"), bytes, self.put_bytes.clone());
        let removed = "Records that compactions removed";
        r.register(name("db_compaction_keys"), removed, self.compacted_keys.clone());
        let last = "When the last compaction ended, in seconds since the epoch; 0 before the first";
        r.register(name("db_compaction_last"), last, self.compacted_last.clone());
        let pause = "Time of one step of a compaction, in which nothing is applied";
        let pauses = self.compaction_pause.clone();
        r.register(name("db_compaction_pause_duration_milliseconds"), pause, pauses);
        let total = "Time of a whole compaction";
        let totals = self.compaction_total.clone();
        r.register(name("db_compaction_total_duration_milliseconds"), total, totals);

        let name = |name: &str| format!("etcd_debugging_lease_{name}");
        r.register(name("granted"), "Leases granted", self.leases_granted.clone());
        r.register(name("revoked"), "Leases revoked", self.leases_revoked.clone());
        let renewed = "Leases renewed by this member as leader";
        r.register(name("renewed"), renewed, self.leases_renewed.clone());
        r.register(name("ttl_total"), "TTLs of granted leases", self.lease_ttl.clone());

        let expired = "Leases that ran out while this member led";
        let counter = self.leases_expired.clone();
        r.register("etcd_debugging_server_lease_expired", expired, counter);
        let name = |name: &str| format!("etcd_server_{name}");
        let slow = "Commands in batches that took more than 100 ms to apply";
        r.register(name("slow_apply"), slow, self.slow.clone());
        let range = "Time of reading a range";
        r.register(name("range_duration_seconds"), range, self.range_times.clone());
        let apply = "Time of applying a command: that of the batch that it is in";
        r.register(name("apply_duration_seconds"), apply, self.apply_times.clone());
    }

    /// A batch was applied.
    pub(super) fn applied(&self, tally: &Tally, took: Duration) {
        self.puts.inc_by(tally.puts);
        self.put_bytes.inc_by(tally.put_bytes);
        // Leases that end delete their keys one by one.
        self.deletes.inc_by(tally.deletes + tally.removed.saturating_sub(tally.deleted));
        self.ranges.inc_by(tally.ranges);
        self.txns.inc_by(tally.txns);
        self.leases_granted.inc_by(tally.leases);
        self.leases_revoked.inc_by(tally.revoked);
        if took > limits::SLOW_APPLY {
            self.slow.inc_by(tally.kinds.len() as u64);
        }
        for (kind, outcomes) in tally.outcomes.iter().enumerate() {
            for (success, times) in outcomes.iter().enumerate().filter(|(_, times)| **times > 0) {
                if !KINDS[kind].is_empty() {
                    self.histogram(kind, success).observe_times(took, *times);
                }
            }
        }
    }

    fn histogram(&self, kind: usize, success: usize) -> &Histogram {
        self.applied[kind][success].get_or_init(|| {
            let success = if success == 1 { "true" } else { "false" };
            let labels: Labels = vec![
                ("version", "v3".to_owned()),
                ("op", KINDS[kind].to_owned()),
                ("success", success.to_owned()),
            ];
            self.apply_times.get_or_create(&labels).clone()
        })
    }

    /// A range was read, or could not be.
    pub(crate) fn ranged(&self, took: Duration, success: bool) {
        self.ranged[usize::from(success)].observe(took);
        self.ranges.inc_by(u64::from(success));
    }

    /// A transaction that only reads was answered.
    pub(crate) fn read(&self, response: &TxnResponse) {
        let mut tally = Tally::default();
        tally.txn(response);
        self.ranges.inc_by(tally.ranges);
        self.txns.inc_by(tally.txns);
    }

    /// A step of a compaction took so long, and all of it until now.
    pub(crate) fn compacted(&self, progress: CompactProgress, step: Duration, whole: Duration) {
        self.compaction_pause.observe(step);
        self.compacted_keys.inc_by(progress.removed as u64);
        if progress.done {
            self.compaction_total.observe(whole);
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            self.compacted_last.set(now.as_secs());
        }
    }
}
