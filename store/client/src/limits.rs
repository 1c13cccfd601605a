//! Every limit of the client in one table.

use std::time::Duration;

/// Largest message accepted from a member: clientv3 accepts 2 GiB less one byte.
pub(crate) const RESPONSE_BYTES_MAX: usize = i32::MAX as usize;
/// Largest message sent: well past the server's own limit, so that the server's error is seen.
pub(crate) const REQUEST_BYTES_MAX: usize = 64 * 1024 * 1024;
/// How long one read waits for one member before another is asked.
pub(crate) const READ_ATTEMPT_MAX: Duration = Duration::from_secs(3);
/// How long a member may take to read all of its history.
pub(crate) const HASH_MAX: Duration = Duration::from_secs(600);
/// How long a member may take to find out how large its snapshot is, or to send a piece of it.
pub(crate) const SNAPSHOT_STALL_MAX: Duration = Duration::from_secs(300);
/// How often a call that surely did not happen is tried, over all endpoints.
pub(crate) const ATTEMPTS_MAX: usize = 64;
/// Back-off between rounds over all endpoints.
pub(crate) const BACKOFF_MIN: Duration = Duration::from_millis(25);
/// The longest back-off.
pub(crate) const BACKOFF_MAX: Duration = Duration::from_millis(1000);
/// Ping interval while a stream is open. etcd answers pings under 5 s with GOAWAY.
pub(crate) const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
/// How long a ping may stay unanswered before the connection counts as dead.
pub(crate) const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(5);
/// Batches of a watch waiting for the reader; past it the stream's own flow control holds back.
pub(crate) const WATCH_QUEUE: usize = 64;
/// Requests (create, progress) waiting to be written to a watch stream.
pub(crate) const WATCH_REQUESTS: usize = 16;
/// How long a member may take to answer a watch's creation.
pub(crate) const WATCH_CREATE_MAX: Duration = Duration::from_secs(5);
