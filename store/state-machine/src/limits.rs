//! Every bound of the state machine, with its reason.

/// The highest revision, version and auth revision that is taken from a disk or a backup: half of what
/// there is, so that counting on from it never overflows.
pub(crate) const REVISION_MAX: i64 = i64::MAX / 2;

/// Longest time to live of a lease in seconds, as in etcd.
pub const LEASE_TTL_MAX: i64 = 9_000_000_000;

/// Keys in one chunk of the index before it is split: small enough that an insertion moves little.
pub(crate) const INDEX_CHUNK_KEYS_MAX: usize = 256;

/// Transactions within one another. Every message that holds one must be readable again, and
/// decoders stop at a hundred messages within one another; each transaction is two of them, and
/// what holds it in the log and between members, and what it answers, needs some as well. etcd
/// takes 128: its decoder has no limit.
pub const TXN_DEPTH_MAX: usize = 40;

/// Operations of one branch of a transaction when the server sets no other limit, as in etcd.
pub const TXN_OPS_MAX: usize = 128;
