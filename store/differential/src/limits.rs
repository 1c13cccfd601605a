//! Every limit of the comparison, in one table.

use std::time::Duration;

/// From starting a server to its first linearizable answer.
pub(crate) const BRING_UP_DEADLINE: Duration = Duration::from_secs(30);
/// One call, however large.
pub(crate) const CALL_DEADLINE: Duration = Duration::from_secs(15);
/// What a watch owes after the write that caused it was answered. etcd looks after late watchers
/// ten times a second.
pub(crate) const WATCH_DEADLINE: Duration = Duration::from_secs(15);
/// After this time etcd has looked at a watch that began in the past. Before, a compaction cancels it.
pub(crate) const WATCH_LOOKED_AT: Duration = Duration::from_millis(300);
/// Between two requests for progress: etcd answers none while a watcher is not yet synchronised.
pub(crate) const PROGRESS_RETRY: Duration = Duration::from_millis(150);
/// Such requests.
pub(crate) const PROGRESS_TRIES: usize = 60;
/// A lease that ran out is revoked within this time.
pub(crate) const EXPIRY_DEADLINE: Duration = Duration::from_secs(20);
/// Between two looks at a condition that nothing announces.
pub(crate) const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// Requests of one stream that wait to be sent.
pub(crate) const STREAM_QUEUE: usize = 64;
/// Reads that are sent at once: no write is under way between them.
pub(crate) const READS_AT_ONCE: usize = 16;
/// Bytes of one answer.
pub(crate) const ANSWER_BYTES_MAX: usize = 256 << 20;
/// Attempts to make a failing script shorter.
pub(crate) const SHRINK_ATTEMPTS: usize = 400;
/// Time for it.
pub(crate) const SHRINK_TIME: Duration = Duration::from_secs(90);
/// Differences that one run reports before it stops.
pub(crate) const DIFFERENCES_MAX: usize = 5;
