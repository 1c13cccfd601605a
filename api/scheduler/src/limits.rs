//! Every limit of the scheduler in one table.

use std::time::Duration;

/// First back-off of a pod that did not fit (upstream's podInitialBackoffSeconds).
pub const BACKOFF_MIN: Duration = Duration::from_secs(1);
/// Longest back-off of a pod that did not fit (upstream's podMaxBackoffSeconds).
pub const BACKOFF_MAX: Duration = Duration::from_secs(10);
/// A pod that fits nowhere is tried again after this time, whether or not something changed.
pub const UNSCHEDULABLE_MAX: Duration = Duration::from_secs(300);
/// Bindings under way at once.
pub const BINDINGS_MAX: usize = 64;
/// Longest time that one binding may take, retries not counted.
pub const BINDING_DEADLINE: Duration = Duration::from_secs(15);
/// CPU that a pod without a request counts as when nodes are scored, in millicores (upstream's value).
pub const DEFAULT_CPU_MILLI: i64 = 100;
/// Memory that a pod without a request counts as when nodes are scored, in bytes (upstream's value).
pub const DEFAULT_MEMORY_BYTES: i64 = 200 * 1024 * 1024;
/// The greatest score that one rule gives a node.
pub const SCORE_MAX: i64 = 100;
