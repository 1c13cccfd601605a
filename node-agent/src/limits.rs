//! Every limit and period of the node agent in one table; the values are the kubelet's own.

use std::time::Duration;

/// How often the runtime is listed to notice containers that came or went.
pub(crate) const RELIST_PERIOD: Duration = Duration::from_secs(1);
/// How often a pod is looked at when nothing about it seems to change.
pub(crate) const POD_RESYNC: Duration = Duration::from_secs(60);
/// How long a pod waits after a step failed before it is tried again.
pub(crate) const POD_RETRY: Duration = Duration::from_secs(10);
/// Steps of one pod in one go; more means that the plan does not converge.
pub(crate) const POD_STEPS_MAX: usize = 64;
/// First wait of a crashing container or a failing image pull.
pub(crate) const BACK_OFF_FIRST: Duration = Duration::from_secs(10);
/// Longest wait of a crashing container or a failing image pull.
pub(crate) const BACK_OFF_MAX: Duration = Duration::from_secs(300);
/// Shortest grace that a container gets when it is stopped in the usual way.
pub(crate) const GRACE_MIN_SECONDS: i64 = 2;
/// Grace of a pod that says nothing.
pub(crate) const GRACE_DEFAULT_SECONDS: i64 = 30;
/// How often the lease of the node is renewed; it lasts [`LEASE_DURATION_SECONDS`].
pub(crate) const LEASE_RENEW: Duration = Duration::from_secs(10);
/// How long the node's lease is good for without being renewed.
pub(crate) const LEASE_DURATION_SECONDS: i32 = 40;
/// An unchanged node status is written at least this often.
pub(crate) const NODE_STATUS_REPORT: Duration = Duration::from_secs(300);
/// Deadline of one request to the API.
pub(crate) const API_CALL: Duration = Duration::from_secs(10);
/// Wait between attempts to write what the API did not take.
pub(crate) const API_RETRY: Duration = Duration::from_secs(2);
/// Deadline of one ordinary request to the container runtime.
pub(crate) const RUNTIME_CALL: Duration = Duration::from_secs(120);
/// Deadline of an image pull.
pub(crate) const IMAGE_PULL: Duration = Duration::from_secs(600);
/// Largest answer of the container runtime, in bytes.
pub(crate) const RUNTIME_MESSAGE_BYTES_MAX: usize = 16 << 20;
/// Manifest folder: rescan period and the largest file that is read.
pub(crate) const MANIFEST_RESCAN: Duration = Duration::from_secs(5);
/// Largest manifest file, in bytes.
pub(crate) const MANIFEST_BYTES_MAX: u64 = 1 << 20;
/// Longest termination message of a container, in bytes: its end counts.
pub(crate) const TERMINATION_MESSAGE_BYTES_MAX: u64 = 4096;
/// All termination messages of one pod together, in bytes; its containers share it evenly.
pub(crate) const POD_MESSAGES_BYTES_MAX: usize = 12 << 10;
/// Longest tail of a log that stands in for a termination message: bytes and lines.
pub(crate) const TERMINATION_LOG_BYTES_MAX: usize = 2048;
/// See [`TERMINATION_LOG_BYTES_MAX`].
pub(crate) const TERMINATION_LOG_LINES_MAX: usize = 80;
/// Events waiting to be written; more are dropped.
pub(crate) const EVENT_QUEUE: usize = 1024;
/// Distinct events remembered, so that a repeat raises a count.
pub(crate) const EVENT_MEMORY: usize = 4096;
/// Pods (by uid) that one agent looks after, whatever `--max-pods` says.
pub(crate) const PODS_MAX: usize = 10_000;
/// Connections that the agent's server holds at once.
pub(crate) const CONNECTIONS_MAX: usize = 512;
/// How long it is kept that the API allows a client something.
pub(crate) const ALLOWED_KEPT: Duration = Duration::from_secs(300);
/// The same for what it does not allow.
pub(crate) const DENIED_KEPT: Duration = Duration::from_secs(30);
/// Decisions of the API about clients that are kept at once.
pub(crate) const DECISIONS_MAX: usize = 10_000;
/// Deadline of a TLS handshake.
pub(crate) const TLS_HANDSHAKE: Duration = Duration::from_secs(10);
/// How often a followed log is looked at for new lines.
pub(crate) const LOG_FOLLOW: Duration = Duration::from_millis(250);
/// Longest line of a container log file, in bytes (containerd splits at 16 KiB).
pub(crate) const LOG_LINE_BYTES_MAX: usize = 1 << 20;
/// Most bytes of a log that are read for its last lines.
pub(crate) const LOG_TAIL_BYTES_MAX: u64 = 64 << 10;
/// How often logs are looked at for their length.
pub(crate) const LOG_ROTATE_PERIOD: Duration = Duration::from_secs(10);
/// Most bytes of a probe's answer that are read.
pub(crate) const PROBE_BODY_BYTES_MAX: usize = 10 << 10;
/// Redirects that a probe follows.
pub(crate) const PROBE_REDIRECTS_MAX: usize = 10;
/// Attempts of an exec probe whose runtime call failed, as opposed to the command.
pub(crate) const PROBE_RETRIES: usize = 3;
/// Dead containers kept for each container name, besides the newest.
pub(crate) const DEAD_CONTAINERS_KEPT: usize = 1;
/// Deadline of a child process such as `ctr` or `containerd --version`.
pub(crate) const CHILD_PROCESS: Duration = Duration::from_secs(120);
/// Names of images in the node's status.
pub(crate) const NODE_IMAGES_MAX: usize = 50;
/// Longest run of a postStart hook, which nothing else limits while its pod stays.
pub(crate) const HOOK: Duration = Duration::from_secs(3600);
/// How often images are looked at: which are used, and whether the disk is full.
pub(crate) const IMAGE_GC_PERIOD: Duration = Duration::from_secs(300);
/// An image that came less than this ago is not removed: a container may be about to use it.
pub(crate) const IMAGE_GC_AGE_MIN: Duration = Duration::from_secs(120);
/// How long a pod waits for the first list of services before its environment is made.
pub(crate) const SERVICES_FIRST_LIST: Duration = Duration::from_secs(5);
/// Resolver configuration: name servers, search domains and their length together, in bytes.
pub(crate) const DNS_SERVERS_MAX: usize = 3;
/// See [`DNS_SERVERS_MAX`].
pub(crate) const DNS_SEARCHES_MAX: usize = 32;
/// See [`DNS_SERVERS_MAX`].
pub(crate) const DNS_SEARCH_LINE_BYTES_MAX: usize = 2048;
/// Longest search domain, in bytes; a longer one is left out.
pub(crate) const DNS_SEARCH_BYTES_MAX: usize = 253;
/// Longest host name, in bytes, and longest when it is a full name.
pub(crate) const HOSTNAME_BYTES_MAX: usize = 63;
/// See [`HOSTNAME_BYTES_MAX`].
pub(crate) const FQDN_BYTES_MAX: usize = 64;
/// How long fetched configMaps and secrets of one pod stand for themselves without being read again.
pub(crate) const SOURCES_FRESH: Duration = Duration::from_secs(1);
/// A token of a service account is replaced at this age at the latest.
pub(crate) const TOKEN_AGE_MAX: Duration = Duration::from_secs(24 * 3600);
/// Containers that are being stopped at once when all pods of a node stop.
pub(crate) const STOP_CONTAINERS_PARALLEL: usize = 64;
/// Sandboxes that are being removed at once when all pods of a node stop.
pub(crate) const STOP_SANDBOXES_PARALLEL: usize = 16;
