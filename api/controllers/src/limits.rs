//! Every limit of the controllers in one table.

use std::time::Duration;

/// Pods created or deleted in one reconcile of a ReplicaSet (upstream's burst).
pub const REPLICA_BURST: usize = 500;
/// First batch of pod creations; each batch that succeeds doubles the next (upstream's slow start).
pub const SLOW_START_FIRST: usize = 1;
/// After this time an expectation that nobody met is given up (upstream's value).
pub const EXPECTATION_LIFE: Duration = Duration::from_secs(300);
/// Everything is looked at again after this time, whether or not something changed.
pub const RESYNC: Duration = Duration::from_secs(600);
/// How long a quota must not have been charged before it is measured: longer than from a charge to
/// the sight of what it was for.
pub const QUOTA_QUIET: Duration = Duration::from_millis(500);
/// A quota that is charged all the time is measured after this long all the same.
pub const QUOTA_QUIET_MAX: Duration = Duration::from_secs(10);
/// How long the changes that concern a quota gather before it is measured again.
pub const QUOTA_DELAY: Duration = Duration::from_millis(100);
/// How often the node controller looks at all nodes (upstream's node-monitor-period).
pub const NODE_MONITOR_PERIOD: Duration = Duration::from_secs(5);
/// How long after a pod was marked for taint eviction a failed deletion is tried again.
pub const EVICTION_RETRY: Duration = Duration::from_secs(1);
/// How often the pod garbage collector runs (upstream's period).
pub const POD_GC_PERIOD: Duration = Duration::from_secs(20);
/// How long a node must be gone before its pods are deleted (upstream's quarantine).
pub const POD_GC_QUARANTINE: Duration = Duration::from_secs(40);
/// How often the garbage collector asks which kinds exist (upstream's period).
pub const DISCOVERY_PERIOD: Duration = Duration::from_secs(30);
/// Owners known to be gone, remembered by the garbage collector.
pub const ABSENT_OWNERS_MAX: usize = 500;
/// Requests that the namespace controller has under way at once for one namespace.
pub const NAMESPACE_REQUESTS_MAX: usize = 8;
/// Revision history kept in an annotation, in characters (upstream's value).
pub const REVISION_HISTORY_CHARS: usize = 2000;
/// Longest time that a reconcile of one key may take.
pub const RECONCILE_DEADLINE: Duration = Duration::from_secs(120);
/// Objects in one answer to a list that is read from the server itself.
pub const PAGE: u32 = 500;
/// How long a range of Service addresses is kept after its deletion, so that every allocator has heard
/// of that (upstream's value).
pub const SERVICE_CIDR_GRACE: Duration = Duration::from_secs(10);
