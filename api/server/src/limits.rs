//! Every limit of the API server in one table, with where each number comes from.

use std::time::Duration;

/// Largest request body (upstream's `MaxRequestBodyBytes`).
pub(crate) const REQUEST_BODY_BYTES_MAX: usize = 3 * 1024 * 1024;
/// A request that is neither a watch nor a followed log ends after this long.
pub(crate) const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
/// Responses smaller than this are never compressed (upstream's `defaultGzipThresholdBytes`).
pub(crate) const GZIP_BYTES_MIN: usize = 128 * 1024;
/// A list longer than this is sent in chunks of about this size, made one after the other.
pub(crate) const LIST_CHUNK_BYTES: usize = 128 * 1024;
/// Finished TLS handshakes take no longer than this.
pub(crate) const TLS_HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Time for the request headers to arrive on an HTTP/1 connection.
pub(crate) const HEADER_READ_TIMEOUT: Duration = Duration::from_secs(32);
/// Bytes of the headers of one HTTP/2 request, names and path included (upstream's).
pub(crate) const HEADER_LIST_BYTES_MAX: u32 = 1 << 20;
/// Headers of one HTTP/1 request.
pub(crate) const HEADERS_MAX: usize = 1000;
/// Streams that one HTTP/2 connection may have open (upstream's default).
pub(crate) const HTTP2_STREAMS_MAX: u32 = 100;
/// Bytes that may wait in one HTTP/2 stream below its body.
pub(crate) const HTTP2_SEND_BYTES_MAX: usize = 64 * 1024;
/// An HTTP/2 client that is quiet is asked this often whether it is there, and must answer.
pub(crate) const HTTP2_PING_INTERVAL: Duration = Duration::from_secs(30);
pub(crate) const HTTP2_PING_TIMEOUT: Duration = Duration::from_secs(15);
/// The same below HTTP (upstream's), in seconds.
pub(crate) const TCP_KEEPALIVE_S: u32 = 180;
/// A client that takes nothing of what is written for it is given up after this long.
pub(crate) const WRITE_STALL_TIMEOUT: Duration = Duration::from_secs(60);
/// Files of the process that are not for clients: the store, node agents, logs.
pub(crate) const FILES_RESERVED: u64 = 128;
/// Connections that are let in however few files there may be.
pub(crate) const CONNECTIONS_MIN: u64 = 64;
/// That connections are refused is said this often.
pub(crate) const REFUSALS_LOG_INTERVAL: Duration = Duration::from_secs(10);
/// Time to the next try when a connection cannot be accepted.
pub(crate) const ACCEPT_RETRY: Duration = Duration::from_millis(50);
/// Streams that a client may give up before their turn comes, until its connection is ended: as many
/// as upstream bears. Informers give up many watches at once.
pub(crate) const HTTP2_STREAMS_GIVEN_UP_MAX: usize = 10 * HTTP2_STREAMS_MAX as usize;
/// How long open connections get to finish when the server stops.
pub(crate) const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// What a connection says in one moment, put together: four TLS records. The largest piece that
/// joins is an HTTP/2 frame of the usual greatest size: an event is worth its copy.
pub(crate) const CORK: cork::Limits =
    cork::Limits { bytes_max: 64 * 1024, piece_bytes_max: 16 * 1024 + 9, idle_bytes: 4 * 1024 };

/// Chunks that may wait between a streaming handler and its connection.
pub(crate) const STREAM_CHUNKS_MAX: usize = 64;
/// Bytes that may wait there.
pub(crate) const STREAM_BYTES_MAX: usize = 64 * 1024;
/// A watcher that waits for its client looks this often whether it has been ended.
pub(crate) const WATCHER_LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// The largest frame that a client of a web socket may send; of a watch it has nothing to say.
pub(crate) const WEBSOCKET_FRAME_BYTES_MAX: usize = 32 * 1024;

/// Events that may wait for one watcher; a watcher that falls further behind is ended.
pub(crate) const WATCHER_QUEUE_EVENTS_MAX: usize = 4096;
/// Bytes of objects that may wait for one watcher, or one event.
pub(crate) const WATCHER_QUEUE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Events that may wait for all watchers of one resource; beyond that each may have
/// [`WATCHER_SHARE_EVENTS`] only.
pub(crate) const WATCHERS_QUEUED_EVENTS_MAX: usize = 2 * 1024 * 1024;
/// What any watcher may be behind, however many there are.
pub(crate) const WATCHER_SHARE_EVENTS: usize = 256;
/// Events that one resource keeps for replay.
pub(crate) const WINDOW_EVENTS_MAX: usize = 8192;
/// Bytes of objects that one resource keeps for replay.
pub(crate) const WINDOW_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Bytes of protobuf that versions of objects keep for the lists to come, all kinds together.
pub(crate) const MESSAGES_KEPT_BYTES_MAX: usize = 64 * 1024 * 1024;
/// What nobody asked for in such a time is kept packed.
pub(crate) const REST_TURN: Duration = Duration::from_secs(30);
/// Objects of which one is kept as it is, for the others to be packed as what they have other than it; and
/// after which others have their turn.
pub(crate) const REST_GROUP: usize = 32;
/// Bytes of JSON that are worth being packed.
pub(crate) const REST_SMALLEST: usize = 512;
/// What is free for longer is given back to the system when somebody asks for memory; mimalloc says a second.
pub(crate) const REST_GIVEN_BACK_AFTER: Duration = Duration::from_secs(3);
/// What is asked for then: more than lies ready.
pub(crate) const REST_ASKED_BYTES: usize = 8 * 1024 * 1024;
/// Bytes of a neighbour that are looked at: LZ4 refers to what is 64 KiB away at most.
pub(crate) const REST_NEIGHBOUR_MAX: usize = 32 * 1024;
/// Bookmarks are about this far apart (upstream's `defaultBookmarkFrequency`).
pub(crate) const BOOKMARK_INTERVAL: Duration = Duration::from_secs(60);
/// The last one comes so long before a watch ends (upstream's).
pub(crate) const LAST_BOOKMARK_BEFORE: Duration = Duration::from_secs(2);
/// A watch without `timeoutSeconds` ends after this long, or up to twice as long.
pub(crate) const WATCH_TIMEOUT_MIN: Duration = Duration::from_secs(1800);
/// How long a read waits until the cache has seen the revision it asks for (upstream: 3 s).
pub(crate) const FRESH_WAIT: Duration = Duration::from_secs(3);
/// How long a GET waits for the caches before it reads the store itself.
pub(crate) const GET_FRESH_WAIT: Duration = Duration::from_millis(250);
/// The store is asked again for its progress this often while somebody waits.
pub(crate) const PROGRESS_INTERVAL: Duration = Duration::from_millis(100);

/// The file of encryption is looked at this often (upstream's).
pub(crate) const ENCRYPTION_RELOAD_INTERVAL: Duration = Duration::from_secs(60);
/// Shortest wait after a file of encryption that cannot be used; it doubles up to the interval.
pub(crate) const ENCRYPTION_RETRY: Duration = Duration::from_millis(500);
/// A larger file of encryption is not read.
pub(crate) const ENCRYPTION_FILE_BYTES_MAX: usize = 3 * 1024 * 1024;

/// Lists of many items that are made as a whole (YAML, indented JSON) at one time.
pub(crate) const WHOLE_LISTS_MAX: usize = 4;
/// Keys read from the store in one page.
pub(crate) const STORE_PAGE_KEYS: i64 = 500;
/// One call to the store takes no longer than this.
pub(crate) const STORE_TIMEOUT: Duration = Duration::from_secs(10);
/// Tries of the optimistic loop before a conflict is given up.
pub(crate) const UPDATE_TRIES_MAX: usize = 16;
/// What the store said of a namespace's limit ranges is believed this long (upstream's).
pub(crate) const LOOKED_UP_TTL: Duration = Duration::from_secs(30);
/// Namespaces of which that is kept (upstream's).
pub(crate) const LOOKED_UP_NAMESPACES_MAX: usize = 10_000;
/// A write waits this long until it is charged to its quotas (upstream's).
pub(crate) const QUOTA_TIMEOUT: Duration = Duration::from_secs(10);
/// Writes that wait for the quotas of one namespace.
pub(crate) const QUOTA_WAITERS_MAX: usize = 10_000;
/// Quotas that are remembered as this server charged them, until the cache has them too.
pub(crate) const CHARGED_QUOTAS_MAX: usize = 1000;
/// A request waits this long for its turn at most (upstream: a quarter of the request's time).
pub(crate) const FLOW_QUEUE_WAIT: Duration = Duration::from_secs(15);
/// Objects of a kind for which a list takes a seat (upstream's `ObjectsPerSeat`).
pub(crate) const LIST_OBJECTS_PER_SEAT: u64 = 100;
/// Seats that a list takes at most (upstream's `MaximumListSeatsLimit`).
pub(crate) const LIST_SEATS_MAX: u64 = 10;
/// The default flow schemas and levels are looked after this often (upstream's).
pub(crate) const FLOW_DEFAULTS_INTERVAL: Duration = Duration::from_secs(60);
/// The status of flow schemas follows a change of theirs, or of a level, after this long.
pub(crate) const FLOW_STATUS_INTERVAL: Duration = Duration::from_millis(500);
/// Names tried for one `generateName` (upstream: 8).
pub(crate) const GENERATE_NAME_TRIES_MAX: usize = 8;
/// How often the default service account is looked for, which follows its namespace (upstream: 10).
pub(crate) const DEFAULT_ACCOUNT_TRIES_MAX: usize = 10;
/// Shortest time between two looks for it; the longest is twice that (upstream's).
pub(crate) const DEFAULT_ACCOUNT_WAIT: Duration = Duration::from_millis(100);
/// A longer list of tolerations is not searched for those that others cover.
pub(crate) const TOLERATIONS_COMPARED_MAX: usize = 1000;
/// Pods that are held against a namespace's new standard, and for how long (upstream's).
pub(crate) const NAMESPACE_PODS_CHECKED_MAX: usize = 3000;
pub(crate) const NAMESPACE_PODS_CHECK_TIME: Duration = Duration::from_secs(1);
/// How often an eviction looks at its pod again when somebody changes it (upstream's steps).
pub(crate) const EVICTION_TRIES_MAX: usize = 20;
/// Pods on their way out that a budget names at most (upstream's `MaxDisruptedPodSize`).
pub(crate) const DISRUPTED_PODS_MAX: usize = 2000;
/// Events live this long (upstream's `--event-ttl`).
pub(crate) const EVENT_TTL: Duration = Duration::from_secs(3600);
/// Objects that share one lease at most (upstream's `DefaultLeaseMaxObjectCount`).
pub(crate) const LEASE_OBJECTS_MAX: u32 = 1000;
/// A lease takes new objects for this long at most (upstream's `DefaultLeaseReuseDurationSeconds`).
pub(crate) const LEASE_REUSE: Duration = Duration::from_secs(60);
/// Objects of one kind or purpose that are written at once at the start.
pub(crate) const BOOTSTRAP_CONCURRENT_MAX: usize = 64;
/// A server that stops takes this long at most to take itself out of the endpoints.
pub(crate) const ENDPOINTS_GIVE_BACK_TIMEOUT: Duration = Duration::from_secs(2);
/// Shortest and longest life of a token that can be asked for (upstream's), in seconds.
pub(crate) const TOKEN_SECONDS_MIN: i64 = 600;
pub(crate) const TOKEN_SECONDS_MAX: i64 = 1 << 32;
/// How long a token lives whose request does not say (upstream's default), in seconds.
pub(crate) const TOKEN_SECONDS_DEFAULT: i64 = 3600;
/// Pods that ask for exactly this life are believed for [`TOKEN_EXTENDED_S`] (upstream's).
pub(crate) const TOKEN_WARN_ONLY_S: i64 = 3607;
pub(crate) const TOKEN_EXTENDED_S: i64 = 365 * 24 * 3600;
/// Old revisions are compacted this often (upstream's `--etcd-compaction-interval`).
pub(crate) const COMPACTION_INTERVAL: Duration = Duration::from_secs(300);

/// Users whose way of acting as others is remembered (upstream: 10 000).
pub(crate) const IMPERSONATION_MODES_MAX: usize = 10_000;
/// Audit events that may wait in the blocking modes; requests wait beyond that.
pub(crate) const AUDIT_QUEUE_EVENTS_MAX: usize = 1000;
/// Bytes of bodies that may wait in mode batch; events beyond that are lost, and counted.
pub(crate) const AUDIT_QUEUE_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Audit events that are written with one call.
pub(crate) const AUDIT_GROUP_EVENTS_MAX: usize = 256;
/// A larger answer is not written down (upstream's `MaxBatchSize` of truncation).
pub(crate) const AUDIT_BODY_BYTES_MAX: usize = 10 * 1024 * 1024;
/// Definitions of custom kinds are looked at this often although nothing changes.
pub(crate) const CUSTOM_PASS_INTERVAL: Duration = Duration::from_secs(10);
/// What failed with a custom kind is tried again after this long.
pub(crate) const CUSTOM_RETRY: Duration = Duration::from_millis(500);
/// Objects of a definition that is deleted are looked for this often.
pub(crate) const CUSTOM_DELETION_PAUSE: Duration = Duration::from_millis(100);
/// While definitions change the OpenAPI document of version 2 is as old as this at most.
pub(crate) const OPENAPI_V2_PAUSE: Duration = Duration::from_secs(1);
/// Caches of custom kinds that are filled at once.
pub(crate) const CUSTOM_FILLS_MAX: usize = 8;
/// Tries to fill the cache of a custom kind that changes meanwhile.
pub(crate) const CUSTOM_FILL_TRIES_MAX: usize = 5;

/// A node agent accepts a connection within this time.
pub(crate) const KUBELET_CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A node agent answers with response headers within this time.
pub(crate) const KUBELET_RESPONSE_TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes of an error answer of a node agent that are passed on.
pub(crate) const KUBELET_ERROR_BYTES_MAX: usize = 10 * 1024;

/// What one binding of a policy may spend with one parameter (upstream's `RuntimeCELCostBudget`).
pub(crate) const POLICY_COST_MAX: u64 = 10_000_000;
/// The same for match conditions (upstream's `RuntimeCELCostBudgetMatchConditions`).
pub(crate) const MATCH_CONDITIONS_COST_MAX: u64 = 2_500_000;
/// Bytes of a message that a policy makes; a longer one is not used.
pub(crate) const POLICY_MESSAGE_BYTES_MAX: usize = 5 * 1024;
/// Bytes of an audit annotation; the rest is cut off.
pub(crate) const AUDIT_ANNOTATION_BYTES_MAX: usize = 10 * 1024;
/// The types of a new policy are checked after this long.
pub(crate) const POLICY_STATUS_INTERVAL: Duration = Duration::from_secs(1);
/// A component of the control plane says within this time how it is.
pub(crate) const COMPONENT_CHECK_TIMEOUT: Duration = Duration::from_secs(5);
/// Streams of a connection within the process: a watch of every kind there is.
pub(crate) const IN_PROCESS_STREAMS_MAX: u32 = 4096;
/// Bytes on their way in each direction of such a connection.
pub(crate) const IN_PROCESS_BUFFER_BYTES: usize = 64 << 10;
/// How often a server that starts is looked at.
pub(crate) const READY_LOOK: Duration = Duration::from_millis(1);
/// How long a server in this process may take to become ready.
pub(crate) const READY_WAIT_MAX: Duration = Duration::from_secs(60);
/// How often the graph of what nodes need is looked at before a node is refused, and the wait between.
pub(crate) const NODE_GRAPH_LOOKS: usize = 5;
/// See [`NODE_GRAPH_LOOKS`].
pub(crate) const NODE_GRAPH_WAIT: Duration = Duration::from_millis(10);
