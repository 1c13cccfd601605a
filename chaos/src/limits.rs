//! Every limit of the harness in one table: nothing here waits, grows or retries without one.

use std::time::Duration;

/// Longest time one client operation may take before its outcome is recorded as unknown. Longer
/// than a pause holds: what a paused leader had in its sockets it answers when it wakes up, and
/// exactly those answers can be stale.
pub const OPERATION_DEADLINE: Duration = Duration::from_secs(5);

/// Longest time to wait for a TCP connection to a member on this machine.
pub const CONNECT_DEADLINE: Duration = Duration::from_secs(1);

/// Longest time from starting all members of a new cluster to serving a linearizable read on each.
pub const BRING_UP_DEADLINE: Duration = Duration::from_secs(60);

/// The promise: a member that was started again serves linearizable reads within this time, and
/// the cluster acknowledges a write within this time of losing its leader.
pub const RECOVERY_DEADLINE: Duration = Duration::from_secs(10);

/// How long the harness waits for a recovery before it gives the run up. Longer than the promise,
/// so that a slow recovery is reported with its time and not as "never".
pub const RECOVERY_GIVE_UP: Duration = Duration::from_secs(60);

/// Pause between two looks at a condition that is awaited.
pub const POLL_INTERVAL: Duration = Duration::from_millis(25);

/// Time for a watcher, at the end, to have been told everything.
pub const WATCH_CATCH_UP_DEADLINE: Duration = Duration::from_secs(20);

/// Pause before a watcher opens its stream again on a member that refused it.
pub const WATCH_RETRY_INTERVAL: Duration = Duration::from_millis(100);

/// How often a watcher asks for its progress when it was told to.
pub const WATCH_PROGRESS_INTERVAL: Duration = Duration::from_millis(200);

/// A watcher whose stream is silent for this long opens another one, so that a stream on a paused
/// or half-dead member does not end the observation.
pub const WATCH_SILENCE: Duration = Duration::from_secs(2);

/// Time for a member to end after SIGTERM before it gets SIGKILL.
pub const STOP_DEADLINE: Duration = Duration::from_secs(5);

/// Operations kept in one history; a client that would record more stops.
pub const HISTORY_OPERATIONS_MAX: usize = 2_000_000;

/// Violations a checker lists; it counts all of them.
pub const VIOLATIONS_LISTED_MAX: usize = 20;

/// Streams the load generator keeps open on one connection. Servers commonly allow at least 100.
pub const BENCH_STREAMS_PER_CONNECTION_MAX: usize = 10_000;

/// Largest message the load generator accepts, in bytes.
pub const BENCH_RESPONSE_BYTES_MAX: usize = 64 << 20;

/// Longest latency the load generator's histogram can hold, in microseconds (10 minutes).
pub const BENCH_LATENCY_US_MAX: u64 = 600_000_000;

/// Time for new members to come to rest before their idle memory is read.
pub const BENCH_IDLE_SETTLE: Duration = Duration::from_secs(3);

/// First pause of a load generator's client after an error; it doubles with each further error, so
/// that a dead endpoint costs no CPU time.
pub const BENCH_BACK_OFF_FIRST: Duration = Duration::from_millis(5);

/// Longest pause of a load generator's client between two attempts.
pub const BENCH_BACK_OFF_MAX: Duration = Duration::from_secs(1);

/// Longest time one operation of the load generator may take before it is counted as an error.
pub const BENCH_OPERATION_DEADLINE: Duration = Duration::from_secs(30);

/// Pause between two looks of the load generator at a condition that is awaited and timed.
pub const BENCH_POLL_INTERVAL: Duration = Duration::from_millis(2);

/// Longest time one of a load generator's probes may take while a leader is replaced: the next one
/// through the new leader must not wait for an answer of the old one.
pub const BENCH_PROBE_DEADLINE: Duration = Duration::from_millis(100);

/// Longest time that compacting or defragmenting one member with few keys may take before the load
/// generator gives it up; each key adds 25 us.
pub const BENCH_MAINTENANCE_DEADLINE: Duration = Duration::from_secs(60);

/// Probes of the load generator that may be under way at the same time: a member that stalls for
/// longer than these last ends the measurement.
pub const BENCH_PROBES_MAX: usize = 20_000;

/// Random bytes that the load generator cuts its values out of; no value is larger.
pub const BENCH_NOISE_BYTES: usize = 4 << 20;

/// How long every sync must have been shorter than [`BENCH_QUIET_SYNC`] before a disk counts as quiet.
/// A virtual one may write back after seconds what it was given.
pub const BENCH_QUIET_FOR: Duration = Duration::from_secs(10);

/// See [`BENCH_QUIET_FOR`].
pub const BENCH_QUIET_SYNC: Duration = Duration::from_millis(20);

/// How long the load generator waits for a disk to become quiet.
pub const BENCH_QUIET_DEADLINE: Duration = Duration::from_secs(60);

/// Threads of one [`crate::disk::Disk`] that serve everything but syncs.
pub const DISK_SERVING_THREADS: usize = 6;

/// Syncs of one disk that wait at the same time: more of them queue up.
pub const DISK_SYNC_THREADS: usize = 16;

/// Syncs of one disk in the queue before it takes no more requests.
pub const DISK_SYNCS_QUEUED_MAX: usize = 1024;

/// What one file of a disk remembers of bytes that were overwritten since its last sync. With more
/// the disk has written them back by itself, as real ones do.
pub const DISK_UNSYNCED_BYTES_MAX: usize = 64 << 20;

/// How long the kernel believes what a disk said of a file's name and attributes.
pub const DISK_ATTRIBUTES_LAST: Duration = Duration::from_secs(1);

/// How long an unmounted disk waits for its threads to end.
pub const DISK_END_DEADLINE: Duration = Duration::from_secs(5);
