//! Every limit of this process, in one table.

use std::time::Duration;

/// A batch that takes longer to apply is counted as slow: etcd's.
pub(crate) const SLOW_APPLY: Duration = Duration::from_millis(100);
/// Recent log entries kept in memory for followers and the apply thread.
pub(crate) const LOG_TAIL_BYTES_MAX: usize = 64 << 20;
/// Of the raft log, the bytes that are kept at least, where fewer entries than `--snapshot-count` have them;
/// twice as many at most.
pub(crate) const LOG_BYTES_KEPT: u64 = 1 << 30;
/// How often a member looks at the size of its log.
pub(crate) const LOG_LOOK_EVERY: Duration = Duration::from_secs(1);
/// Bytes of the raft log after which a new file is begun.
pub(crate) const LOG_FILE_BYTES: usize = 32 << 20;
/// Bytes of one append to a follower.
pub(crate) const APPEND_BYTES_MAX: usize = 2 << 20;
/// Bytes of one message between members: an append plus one oversized entry.
pub(crate) const PEER_MESSAGE_BYTES_MAX: usize = 64 << 20;

/// Commands in one log entry.
pub(crate) const BATCH_COMMANDS_MAX: usize = 1024;
/// Bytes of one log entry, unless a single command is larger.
pub(crate) const BATCH_BYTES_MAX: usize = 512 << 10;
/// Commands that wait for their outcome on this member.
pub(crate) const PROPOSALS_IN_FLIGHT_MAX: usize = 20_000;
/// Their bytes.
pub(crate) const PROPOSAL_BYTES_IN_FLIGHT_MAX: usize = 256 << 20;
/// Batches of this member that are under way: one is being made durable while the next is sent.
pub(crate) const BATCHES_IN_FLIGHT_MAX: usize = 2;
/// Between two looks for a leader that takes a batch.
pub(crate) const LEADER_LOOK_AGAIN: Duration = Duration::from_millis(50);

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
/// Leases revoked in one second by the leader's timers.
pub(crate) const LEASE_REVOKES_PER_SECOND_MAX: usize = 1000;
/// Leases in one checkpoint: etcd's.
pub(crate) const LEASE_CHECKPOINTS_MAX: usize = 1000;
/// Between two looks of the leader for leases that ran out, at least.
pub(crate) const LEASE_TICK: Duration = Duration::from_millis(200);
/// And at most: no lease is shorter, so none that is granted meanwhile ends unseen.
pub(crate) const LEASE_LOOK_EVERY: Duration = Duration::from_secs(1);

/// The lease of a lock or an election whose client brings none, in seconds: etcd's.
pub(crate) const SESSION_TTL: i64 = 60;
/// Key-values in the first piece of a streamed range; the next ones grow towards the target size.
pub(crate) const RANGE_STREAM_FIRST_PIECE: i64 = 10;
/// Pieces of a streamed range that are read before the client has taken them.
pub(crate) const RANGE_STREAM_QUEUE: usize = 2;

/// What a client request may be larger than the configured limit, for its envelope.
pub(crate) const REQUEST_ENVELOPE_BYTES: usize = 512 << 10;
/// Streams that one client connection may have open.
pub(crate) const STREAMS_PER_CONNECTION_MAX: u32 = 10_000;
/// Open client connections.
pub(crate) const CONNECTIONS_MAX: usize = 20_000;
/// Versions of clients that are counted apart.
pub(crate) const CLIENT_VERSIONS_MAX: usize = 32;
/// Connections that wait to be accepted.
pub(crate) const LISTEN_BACKLOG: u32 = 4096;
/// The time for the head of an HTTP/1 request.
pub(crate) const HEADER_TIMEOUT: Duration = Duration::from_secs(300);
/// The time for a TLS handshake.
pub(crate) const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// A chunk of a snapshot on its way to a follower.
pub(crate) const SNAPSHOT_CHUNK_BYTES: usize = 1 << 20;
/// The time for sending one snapshot.
pub(crate) const SNAPSHOT_TIMEOUT: Duration = Duration::from_secs(600);
/// Snapshots sent to clients at the same time: each one reads the whole disk.
pub(crate) const SNAPSHOTS_IN_FLIGHT_MAX: usize = 4;
/// Chunks of a snapshot made before the client has taken them.
pub(crate) const SNAPSHOT_QUEUE_CHUNKS: usize = 8;
/// Checksums of files kept from one backup to the next.
pub(crate) const CHECKSUMS_KNOWN_MAX: usize = 10_000;
/// A client that takes no chunk for this long has gone.
pub(crate) const SNAPSHOT_STALL_TIMEOUT: Duration = Duration::from_secs(60);
/// A checkpoint is shared by followers that ask within this time.
pub(crate) const SNAPSHOT_SHARED_FOR: Duration = Duration::from_secs(10);

/// What a removed member is told, in etcd's words.
pub(crate) const REMOVED: &str = "the member has been permanently removed from the cluster";
/// How long a member that joins looks for somebody who knows it.
pub(crate) const JOIN_TIMEOUT: Duration = Duration::from_secs(10);
/// What raft's metrics may be behind raft itself.
pub(crate) const METRICS_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a change of the membership may take.
pub(crate) const RECONFIGURE_TIMEOUT: Duration = Duration::from_secs(7);
/// How often a new leader looks whether it has heard of everybody.
pub(crate) const HEARD_EVERY: Duration = Duration::from_millis(10);
/// A member counts as there if it answered the leader within this time.
pub(crate) const ACTIVE_WITHIN: Duration = Duration::from_secs(5);

/// The time for the leader to take the call that tells its followers that it runs.
pub(crate) const ATTEND_TIMEOUT: Duration = Duration::from_secs(1);
/// Between two such calls, nearly.
pub(crate) const ATTEND_AGAIN: Duration = Duration::from_millis(250);
/// After the end of one, the time until a follower looks a second time whether anybody listens; twice as
/// long each time.
pub(crate) const ATTEND_LOOK_AGAIN: Duration = Duration::from_millis(5);
/// Questions for votes under way at once: each lives for two elections' timeouts at most, and more than a few
/// are of no use.
pub(crate) const VOTE_QUESTIONS_MAX: usize = 64;
/// When a leader's process is gone: the head start that a voter has over the next one. Longer than
/// asking for votes takes.
pub(crate) const STEP_IN_STAGGER: Duration = Duration::from_millis(40);
/// Until a voter asks a second time whether it would be elected, twice as long each time, up to the most. For
/// so long it does so while nobody leads; then raft's own timers do.
pub(crate) const STEP_IN_AGAIN: Duration = Duration::from_millis(40);
pub(crate) const STEP_IN_AT_LEAST_EVERY: Duration = Duration::from_secs(1);
pub(crate) const STEP_IN_FOR: Duration = Duration::from_secs(10);

/// Between two tries to replicate to a peer that cannot be reached.
pub(crate) const PEER_RETRY_EVERY: Duration = Duration::from_millis(100);
/// How often every peer is asked whether it is there: etcd's.
pub(crate) const PROBE_EVERY: Duration = Duration::from_secs(4);
/// The time for the answer.
pub(crate) const PROBE_TIMEOUT: Duration = Duration::from_secs(2);
/// Connecting to a peer.
pub(crate) const PEER_CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// How often a peer that says nothing on a connection is asked whether that still leads to it.
pub(crate) const PEER_PING: Duration = Duration::from_secs(1);
/// The same where nothing waits for it: what it would tell is found out in other ways, too.
pub(crate) const PEER_RARE_PING: Duration = Duration::from_secs(5);
/// The time that a stopping member takes to hand over leadership.
pub(crate) const HAND_OVER_TIMEOUT: Duration = Duration::from_secs(2);
/// The time that a stopping member gives to open requests of clients.
pub(crate) const DRAIN_TIMEOUT: Duration = Duration::from_secs(3);
/// And to those of peers: streams of theirs never end by themselves.
pub(crate) const PEER_DRAIN_TIMEOUT: Duration = Duration::from_millis(100);

/// The time for hashing the whole history of a member.
pub(crate) const HASH_TIMEOUT: Duration = Duration::from_secs(600);
/// The time that a member has to apply what the leader has applied, when their data are compared.
pub(crate) const HASH_APPLY_TIMEOUT: Duration = Duration::from_secs(5);
/// Entries after which a member knows what its digest was.
pub(crate) const DIGESTS_KEPT: usize = 8192;
/// How often the leader compares the members' digests.
pub(crate) const DIGESTS_EVERY: Duration = Duration::from_secs(5);
/// The time for the answer of one member, which may have to apply something first.
pub(crate) const DIGEST_TIMEOUT: Duration = Duration::from_secs(7);
/// Comparing data takes at most this part of the time of the members.
pub(crate) const HASH_SHARE: u32 = 50;
/// Comparisons that are made more often than that after a member was fenced.
pub(crate) const HURRIED_COMPARISONS_MAX: usize = 20;
/// Hashes that a member makes for others at once.
pub(crate) const HASHES_IN_FLIGHT_MAX: usize = 2;
/// Between two looks of a member whether it is fenced, of which there is one after what was applied; and
/// of the leader whether data are to be compared, while somebody is.
pub(crate) const FENCE_TICK: Duration = Duration::from_millis(100);
/// How often the leader looks whether data are to be compared, while nobody is fenced.
pub(crate) const COMPARE_LOOK_EVERY: Duration = Duration::from_secs(1);
/// Between two tries of a fenced member to replace its state.
pub(crate) const REBUILD_RETRY_EVERY: Duration = Duration::from_secs(1);
/// Entries that are applied again to the leader's state; a state further behind is fetched anew.
pub(crate) const REBUILD_ENTRIES_MAX: u64 = 50_000;
/// How often a fenced member replaces its state before it waits for an operator.
pub(crate) const REBUILDS_MAX: usize = 3;
/// The shortest and the longest time between two looks at the disk of the raft log. At each of the
/// latter RocksDB is asked whether it failed in the background.
pub(crate) const DISK_LOOK_EVERY: (Duration, Duration) =
    (Duration::from_millis(20), Duration::from_secs(1));

/// How many times as long as a step of a compaction took the apply thread does other things: while
/// there is something to apply, and while there is nothing. Members that compact at the same time on a
/// machine of two processors must leave it time to flush its disk: three times as long did not.
pub(crate) const COMPACTION_RESTS: (u32, u32) = (9, 3);
/// The longest of these pauses.
pub(crate) const COMPACTION_REST_MAX: Duration = Duration::from_millis(10);
/// Revisions looked at in one step of a compaction: about a millisecond, which a write may wait.
pub(crate) const COMPACTION_STEP_REVISIONS: usize = 500;

/// Tokens of users that a member remembers.
pub(crate) const SIMPLE_TOKENS_MAX: usize = 100_000;
/// Users whose password is not hashed again when it is the same as the last time.
pub(crate) const PASSWORDS_REMEMBERED_MAX: usize = 10_000;
/// The time that a password waits for its turn to be hashed.
pub(crate) const PASSWORD_TIMEOUT: Duration = Duration::from_secs(5);
/// How often a password is checked anew because users or roles changed meanwhile.
pub(crate) const AUTHENTICATE_TRIES_MAX: usize = 8;

/// What a connection answers in one moment, put together.
pub(crate) const CORK: cork::Limits =
    cork::Limits { bytes_max: 64 << 10, piece_bytes_max: 4 << 10, idle_bytes: 4 << 10 };

/// Calls that a client may give up before their turn comes, until its connection ends with all of
/// its watches. An API server gives up many at once when its own clients do.
pub(crate) const CALLS_GIVEN_UP_MAX: usize = 10_000;
