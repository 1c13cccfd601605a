//! Every limit of this process, in one table.

use std::time::Duration;

/// Recent log entries kept in memory for followers and the apply thread.
pub(crate) const LOG_TAIL_BYTES_MAX: usize = 64 << 20;
/// Bytes of one append to a follower.
pub(crate) const APPEND_BYTES_MAX: usize = 2 << 20;
/// Bytes of one message between members: an append plus one oversized entry.
pub(crate) const PEER_MESSAGE_BYTES_MAX: usize = 64 << 20;

/// Commands in one log entry.
pub(crate) const BATCH_COMMANDS_MAX: usize = 128;
/// Bytes of one log entry, unless a single command is larger.
pub(crate) const BATCH_BYTES_MAX: usize = 256 << 10;
/// Commands that wait for their outcome on this member.
pub(crate) const PROPOSALS_IN_FLIGHT_MAX: usize = 20_000;
/// Their bytes.
pub(crate) const PROPOSAL_BYTES_IN_FLIGHT_MAX: usize = 256 << 20;
/// Batches that a follower has on their way to the leader.
pub(crate) const FORWARDS_IN_FLIGHT_MAX: usize = 64;

/// Linearizable reads that wait for one read index.
pub(crate) const READS_WAITING_MAX: usize = 50_000;

/// Memory for recent events, shared by all watchers.
pub(crate) const WATCH_RING_BYTES_MAX: usize = 64 << 20;
/// Revisions read from disk at once for a watcher that is behind.
pub(crate) const WATCH_CATCH_UP_REVISIONS_MAX: usize = 1000;
/// Responses queued for one watch stream before its reader has to catch up.
pub(crate) const WATCH_STREAM_QUEUE: usize = 16;
/// Watches on one stream.
pub(crate) const WATCHES_PER_STREAM_MAX: usize = 100_000;

/// The longest lease, in seconds.
pub(crate) const LEASE_TTL_MAX: i64 = 9_000_000_000;
/// Leases revoked at once by the leader's timers.
pub(crate) const LEASE_REVOKES_IN_FLIGHT_MAX: usize = 16;
/// Leases revoked in one second by the leader's timers.
pub(crate) const LEASE_REVOKES_PER_SECOND_MAX: usize = 1000;
/// How often the leader looks for leases that ran out.
pub(crate) const LEASE_TICK: Duration = Duration::from_millis(200);

/// What a client request may be larger than the configured limit, for its envelope.
pub(crate) const REQUEST_ENVELOPE_BYTES: usize = 512 << 10;
/// Streams that one client connection may have open.
pub(crate) const STREAMS_PER_CONNECTION_MAX: u32 = 10_000;
/// Open client connections.
pub(crate) const CONNECTIONS_MAX: usize = 20_000;
/// The time for a TLS handshake.
pub(crate) const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// A chunk of a snapshot on its way to a follower.
pub(crate) const SNAPSHOT_CHUNK_BYTES: usize = 1 << 20;
/// The time for sending one snapshot.
pub(crate) const SNAPSHOT_TIMEOUT: Duration = Duration::from_secs(600);
/// A checkpoint is shared by followers that ask within this time.
pub(crate) const SNAPSHOT_SHARED_FOR: Duration = Duration::from_secs(10);

/// Connecting to a peer.
pub(crate) const PEER_CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// The time that a stopping member takes to hand over leadership.
pub(crate) const HAND_OVER_TIMEOUT: Duration = Duration::from_secs(2);
/// The time that a stopping member gives to open requests.
pub(crate) const DRAIN_TIMEOUT: Duration = Duration::from_secs(3);

/// How often one step of a compaction is carried out while there is something to do.
pub(crate) const COMPACTION_STEP_EVERY: Duration = Duration::from_millis(10);
/// Revisions looked at in one step of a compaction.
pub(crate) const COMPACTION_STEP_REVISIONS: usize = 1000;
