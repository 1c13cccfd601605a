//! Every limit of the store in memory in one table.

/// Records that one step of a compaction looks at, while nothing else is applied.
pub(crate) const COMPACTION_STEP: usize = 1000;
/// Operations of a transaction: etcd's default.
pub(crate) const TXN_OPS_MAX: usize = 128;
/// Events that a watch reads at once; whole revisions only.
pub(crate) const WATCH_EVENTS_MAX: usize = 1000;
/// Seconds that a lease may be granted for: etcd's limit.
pub(crate) const LEASE_TTL_MAX_S: i64 = 9_000_000_000;
