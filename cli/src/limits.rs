//! Every limit of this process in one table.

use std::time::Duration;

use crate::part::Threads;

/// What a controller manager or a scheduler works on: one of each works, and the others wait for its lease.
pub(crate) const QUIET_PART: Threads = Threads::AtMost(2);

/// Node agents that one `orlop up` runs; their addresses are .21 to .70.
pub(crate) const NODES_MAX: u16 = 50;
/// What the kernel lets a socket's path be, with the byte at its end.
pub(crate) const SOCKET_PATH_BYTES_MAX: usize = 108;
/// Room for the longest socket name that is made under a folder.
pub(crate) const SOCKET_NAME_BYTES_MAX: usize = 20;

/// A log file above this is moved aside when its part is started.
pub(crate) const LOG_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// How much of a log's end is read to say why a part died.
pub(crate) const LOG_TAIL_BYTES: u64 = 16 * 1024;

/// A part that died is started again after this, then after twice as long each time.
pub(crate) const RESTART_DELAY_FIRST: Duration = Duration::from_millis(500);
pub(crate) const RESTART_DELAY_MAX: Duration = Duration::from_secs(30);
/// A part that was up for this long starts with the first delay again.
pub(crate) const RESTART_RESET_AFTER: Duration = Duration::from_secs(60);
/// Deaths of a part before the cluster is up that are no longer called a slow start.
pub(crate) const START_DEATHS_MAX: u32 = 4;

/// How long a member may give a checkpoint that is older than what it has.
pub(crate) const CHECKPOINT_FRESH_DEADLINE: Duration = Duration::from_secs(30);
/// How soon it is asked again.
pub(crate) const CHECKPOINT_ASK_AGAIN: Duration = Duration::from_secs(1);

/// How long one step of the start may take.
pub(crate) const STEP_DEADLINE: Duration = Duration::from_secs(90);
/// How often a condition is looked at while a step waits for it.
pub(crate) const READY_POLL: Duration = Duration::from_millis(100);
/// One question to a health endpoint.
pub(crate) const PROBE_DEADLINE: Duration = Duration::from_millis(1500);

/// The whole stop, pods included.
pub(crate) const STOP_DEADLINE: Duration = Duration::from_secs(10);
/// What containers get to end by themselves, of that: asked to, then made to.
pub(crate) const STOP_PODS_GRACE_SECONDS: i64 = 2;
pub(crate) const STOP_PODS_DEADLINE: Duration = Duration::from_secs(4);
/// Removing one network link, of that.
pub(crate) const REMOVE_LINK_DEADLINE: Duration = Duration::from_millis(500);
/// What any one part gets between SIGTERM and SIGKILL, of that.
pub(crate) const STOP_PART_DEADLINE: Duration = Duration::from_millis(1500);

/// How often the load balancer looks at each API server.
pub(crate) const BALANCER_PROBE_PERIOD: Duration = Duration::from_secs(1);
/// One look of the load balancer. With the period it bounds how long a hung host is still used.
pub(crate) const BALANCER_PROBE_DEADLINE: Duration = Duration::from_secs(1);
/// A connection to an API server on this machine is there at once, or there is none.
pub(crate) const BALANCER_CONNECT_DEADLINE: Duration = Duration::from_millis(500);
/// Connections through the load balancer at a time; more wait to be accepted.
pub(crate) const BALANCER_CONNECTIONS_MAX: usize = 4096;

/// A request on the control socket, and one answer.
pub(crate) const CONTROL_BYTES_MAX: u64 = 1024 * 1024;
pub(crate) const CONTROL_CONNECTIONS_MAX: usize = 16;
pub(crate) const CONTROL_DEADLINE: Duration = Duration::from_secs(5);
/// Bytes of an answer of a part that this command reads.
pub(crate) const HTTP_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Ports of a supervisor that was killed are free again this soon.
pub(crate) const LEFTOVER_PORTS_DEADLINE: Duration = Duration::from_secs(5);

/// What a page of `orlop store migrate` aims at; the keys of one follow from the size of the last.
pub(crate) const PAGE_BYTES: usize = 2 * 1024 * 1024;
pub(crate) const PAGE_KEYS_FIRST: i64 = 200;
pub(crate) const PAGE_KEYS_MAX: i64 = 5000;
/// Bytes of one transaction on the target: below the 1.5 MiB that a request may have by default.
pub(crate) const MIGRATE_TXN_BYTES: usize = 1024 * 1024;
/// Transactions of the copy that are under way at a time.
pub(crate) const MIGRATE_WRITES: usize = 8;
/// Leases that are asked for or renewed at a time.
pub(crate) const MIGRATE_LEASE_CALLS: usize = 16;
/// How long a store may be away before the migration ends; it can be resumed.
pub(crate) const MIGRATE_PATIENCE: Duration = Duration::from_secs(120);
pub(crate) const MIGRATE_ASK_AGAIN: Duration = Duration::from_millis(500);
/// How often a copy begins anew because the source was compacted under it, or a lease was lost.
pub(crate) const MIGRATE_PASSES_MAX: u32 = 20;
/// How often the source's revision is asked for.
pub(crate) const MIGRATE_LAG_POLL: Duration = Duration::from_millis(500);
/// How often a line says how far it is, where there is no terminal.
pub(crate) const MIGRATE_SAY_EVERY: Duration = Duration::from_secs(5);
/// How often the source is asked for leases that no key has.
pub(crate) const MIGRATE_LEASES_EVERY: Duration = Duration::from_secs(10);
/// A lease is looked at after a third of what it has left, within these.
pub(crate) const MIGRATE_LEASE_LOOK_MIN: Duration = Duration::from_millis(300);
pub(crate) const MIGRATE_LEASE_LOOK_MAX: Duration = Duration::from_secs(30);
/// A lease that has this much more left than it should was renewed: answers are in whole seconds.
pub(crate) const MIGRATE_LEASE_RENEWED: Duration = Duration::from_millis(1500);
/// Differences that are named when the contents are not equal.
pub(crate) const MIGRATE_NAMED: usize = 5;
