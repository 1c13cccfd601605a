//! Every limit of the harness in one table: nothing here waits, grows or retries without one.

use std::time::Duration;

/// Longest time one client operation may take before its outcome is recorded as unknown. Longer
/// than a pause holds: what a paused leader had in its sockets it answers when it wakes up, and
/// exactly those answers can be stale.
pub const OPERATION_DEADLINE: Duration = Duration::from_secs(5);

/// Longest time to wait for a TCP connection to a member on this machine.
pub const CONNECT_DEADLINE: Duration = Duration::from_secs(1);

/// How often an idle connection with a stream on it is asked whether it lives. Servers take more than
/// one question in five seconds for abuse.
pub const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(10);

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

/// Requests of one watch stream that the server has not read yet.
pub const WATCH_REQUESTS_MAX: usize = 32;

/// How long a watcher of a workload lives, in milliseconds, before another one takes its place.
pub const WATCH_LIFE_MS: std::ops::Range<u64> = 200..4000;

/// Keys that a watcher remembers, to watch one of them.
pub const WATCH_KEYS_MAX: usize = 16;

/// Compactions a second, wrong ones and large writes among them.
pub const COMPACT_RATE: u32 = 4;

/// How far ahead a compaction is that must be refused: further than a store comes meanwhile.
pub const COMPACT_FAR_AHEAD: i64 = 1_000_000_000;

/// Seconds that leases of the workloads are granted for. Servers give at least one and a half times
/// their election timeout.
pub const LEASE_TTL_S: std::ops::RangeInclusive<i64> = 2..=5;

/// Leases of one client, so that their numbers say whose they are.
pub const LEASES_OF_CLIENT_MAX: i64 = 1_000_000;

/// How much later than its time a lease may end: an election of which nobody knows, the step in which a
/// server looks for leases that are over, and its queue.
pub const LEASE_SLACK: Duration = Duration::from_secs(4);

/// How long the last leases of a run have to end.
pub const LEASE_DRAIN_DEADLINE: Duration = Duration::from_secs(30);

/// Locks that clients want at the same time.
pub const LOCKS_COUNT: usize = 3;

/// Users of whom some may do what others may not, and as many roles and prefixes of keys.
pub const AUTH_USERS: usize = 3;

/// Changes a second of what users may do. With each of them requests that are under way are refused.
pub const AUTH_CHANGE_RATE: u32 = 4;

/// Calls a second while users are made.
pub const AUTH_SETUP_RATE: u32 = 1000;

/// Attempts to let everybody do everything again at the end of a run.
pub const AUTH_ATTEMPTS_MAX: usize = 50;

/// Elements of a set before its key is left behind for a new one.
pub const SET_ELEMENTS_MAX: usize = 64;

/// Attempts to add an element to a set that others change meanwhile.
pub const SET_ATTEMPTS_MAX: usize = 10;

/// Objects of which one lease takes the time.
pub const KUBE_LEASE_USES: u32 = 20;

/// Keys on a page of a list.
pub const KUBE_PAGE_KEYS: std::ops::Range<i64> = 3..40;

/// How many objects there are for each key that other workloads share.
pub const KUBE_OBJECTS_PER_KEY: usize = 8;

/// Size of a large value, and how many of them are written at once. A few such transactions are more
/// than the 2 MiB at which a watch's responses are cut in pieces, and each is below the 1.5 MiB that a
/// request may have.
pub const BULK_VALUE_BYTES: usize = 300_000;

/// See [`BULK_VALUE_BYTES`].
pub const BULK_VALUES: usize = 3;

/// Pause before a watcher opens its stream again on a member that refused it.
pub const WATCH_RETRY_INTERVAL: Duration = Duration::from_millis(100);

/// How often a watcher asks for its progress when it was told to.
pub const WATCH_PROGRESS_INTERVAL: Duration = Duration::from_millis(200);

/// A watcher whose stream is silent for this long opens another one, so that a stream on a paused
/// or half-dead member does not end the observation.
pub const WATCH_SILENCE: Duration = Duration::from_secs(2);

/// Time for a member to end after SIGTERM before it gets SIGKILL.
pub const STOP_DEADLINE: Duration = Duration::from_secs(5);

/// Largest message that a client of the harness accepts, in bytes.
pub const RESPONSE_BYTES_MAX: usize = 64 << 20;

/// Operations kept in one history; a client that would record more stops.
pub const HISTORY_OPERATIONS_MAX: usize = 2_000_000;

/// Number of the process that sends the last write through member 0; the other members' follow. No
/// client comes that far, with a new number for every operation of a full history.
pub const TOMBSTONE_PROCESS: usize = 1_000_000_000;

/// Longest time of one round of a soak, in minutes, if nothing else is said: twice what it takes.
pub const SOAK_ROUND_MINUTES: u64 = 25;

/// Time for a round to tear its clusters down after SIGINT before it gets SIGKILL, and for what was
/// killed to be gone.
pub const SOAK_END_DEADLINE: Duration = Duration::from_secs(30);

/// How often a process is looked at again, each after [`POLL_INTERVAL`], that has a program and no
/// environment: an execve takes microseconds, and the scheduler may interrupt it for some ticks.
pub const SOAK_SECOND_LOOKS: usize = 4;

/// Seeds between the first ones of two rounds of a soak, and so the most that a round can have.
pub const SOAK_SEEDS_PER_ROUND: u64 = 10_000;

/// Members of a soak's clusters, in turns, if nothing else is said: three is what most people run.
pub const SOAK_MEMBERS: [usize; 5] = [3, 3, 5, 3, 1];

/// Seeds of one simulated round, if nothing else is said.
pub const SOAK_SIM_SEEDS: u64 = 500;

/// MiB that failed rounds keep, all together, if nothing else is said.
pub const SOAK_KEPT_MIB: u64 = 4096;

/// Free bytes without which no round begins: a failed one leaves some hundred MiB.
pub const SOAK_FREE_BYTES_MIN: u64 = 1 << 30;

/// Rounds in a row that record no operation before a soak gives up: nothing is learned from more.
pub const SOAK_MUTE_ROUNDS_MAX: u64 = 5;

/// Violations a checker lists; it counts all of them.
pub const VIOLATIONS_LISTED_MAX: usize = 20;

/// Configurations that the search for an order of one key's window remembers before it gives up.
pub const LINEAR_CONFIGURATIONS_MAX: usize = 1_000_000;

/// Operations on single keys that the search for an order takes: a list is one for each key.
pub const LINEAR_OPERATIONS_MAX: usize = 20_000_000;

/// Starts from which the shortest cycle in a knot of transactions is looked for.
pub const APPEND_CYCLE_STARTS_MAX: usize = 1_000;

/// Operations on a register before it is left behind for a new one: the search for an order of all
/// of them must stay short.
pub const REGISTER_OPERATIONS_MAX: u64 = 400;

/// Elements of a list before its key is left behind for a new one.
pub const APPEND_LIST_MAX: usize = 64;

/// Members that a page about a run draws.
pub const REPORT_MEMBERS_MAX: usize = 9;

/// Marks on a page's timeline; where there would be more, cells show the shares of what ended in them.
pub const REPORT_MARKS_MAX: usize = 6_000;

/// Steps of a page's curves of latency and throughput.
pub const REPORT_BUCKETS_MAX: u64 = 180;

/// Counter-examples that a page lists of each checker.
pub const REPORT_VIOLATIONS_MAX: usize = 5;

/// Operations on the same keys that a page shows around a counter-example.
pub const REPORT_NEIGHBOURS_MAX: usize = 40;

/// Rows of any other table on a page.
pub const REPORT_ROWS_MAX: usize = 200;

/// Letters of a text from a store on a page.
pub const REPORT_LETTERS_MAX: usize = 600;

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

/// Largest answer of an API server that the load generator accepts: a list of all pods.
pub const BENCH_API_RESPONSE_BYTES_MAX: usize = 1 << 30;

/// Longest time that an API server may take for a list of all pods, or to delete them.
pub const BENCH_API_LONG_DEADLINE: Duration = Duration::from_secs(180);

/// Seconds that a new control plane gets at most to come to rest before its idle CPU time counts.
pub const BENCH_API_SETTLE_S: u64 = 30;

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

/// Hosts of one [`crate::topo::Topo`].
pub const TOPO_HOSTS_MAX: usize = 32;

/// Frames on their way through a topology's switch: with more of them it drops, as real ones do.
pub const TOPO_FRAMES_WAITING_MAX: usize = 16_384;

/// Largest frame that a host can send. Their interfaces make them no larger than 1514 bytes.
pub const TOPO_FRAME_BYTES_MAX: usize = 1 << 16;

/// Frames that a switch takes from one host before the others get their turn.
pub const TOPO_FRAMES_PER_TURN: usize = 64;

/// Longest time a stream of an informer lasts before its server ends it, in seconds: bookmarks come
/// two seconds before.
pub const INFORMER_WATCH_SECONDS: u32 = 6;

/// How long an informer lives that is started anew again and again.
pub const INFORMER_LIFE: Duration = Duration::from_millis(1500);

/// How long a slow informer takes over each object of a list.
pub const INFORMER_SLOWNESS: Duration = Duration::from_millis(20);

/// Compactions of one fault: they go on for longer than an informer lives and lists, so that one list at
/// least has its second page after one of them.
pub const INFORMER_COMPACTIONS: usize = 16;

/// Pause between two of them: shorter than a slow informer's list.
pub const INFORMER_COMPACTION_INTERVAL: Duration = Duration::from_millis(150);

/// Things one answer may tell an informer before no more of them are written down.
pub const INFORMER_TOLD_MAX: usize = 1_000_000;

/// Connections through the balancer before API servers at the same time.
pub const INFORMER_BALANCED_MAX: usize = 256;

/// Bytes that pass at once between an API server and a store member.
pub const INFORMER_WIRE_BYTES: usize = 1 << 16;

/// How long an API server is cut off from the store: longer than a stream, so that clients come to it
/// that have seen more than it has.
pub const INFORMER_CUT: Duration = Duration::from_secs(9);

/// Times a writer plans a replacement anew that lost its race.
pub const INFORMER_REPLACE_TRIES: usize = 3;

/// Tokens of one object before it is deleted.
pub const INFORMER_TOKENS_MAX: usize = 40;

/// Writes that an API server misses for good when it is stranded.
pub const INFORMER_MISSED_WRITES: u64 = 40;

/// Time for all informers to agree with the store at the end. Their back-off after errors is
/// doubled up to half a minute.
pub const INFORMER_SETTLE_DEADLINE: Duration = Duration::from_secs(60);

/// How often a kind of fault is tried beyond the schedule, if it never had an effect.
pub const RUN_MORE_ATTEMPTS: usize = 3;

/// Faults of one schedule.
pub const RUN_EVENTS_MAX: usize = 10_000;

/// Log entries between two snapshots of the members of a run, so few that a member that was away for
/// seconds needs one.
pub const RUN_SNAPSHOT_COUNT: u64 = 200;

/// Longest time one call of an operator may take.
pub const RUN_CALL_DEADLINE: Duration = Duration::from_secs(10);

/// Longest time from a snapshot until the store that was made of it has told what it holds.
pub const RUN_RESTORE_DEADLINE: Duration = Duration::from_secs(30);

/// Longest time a member may take to say how it is.
pub const RUN_STATUS_DEADLINE: Duration = Duration::from_secs(1);

/// Longest time one read takes that probes whether a member serves.
pub const RUN_PROBE_DEADLINE: Duration = Duration::from_secs(2);

/// How long a change of the membership is tried: others may be cut off or down meanwhile.
pub const RUN_CHANGE_DEADLINE: Duration = Duration::from_secs(30);

/// How long a member is kept away at most, so that it needs a snapshot.
pub const RUN_AWAY_MAX: Duration = Duration::from_secs(25);

/// Pause before a member that ended by itself is looked at again.
pub const RUN_REST: Duration = Duration::from_millis(500);

/// Starts of a member that ends by itself after a fault, before it is replaced.
pub const RUN_STARTS_MAX: usize = 3;

/// How often it is looked whether all members are as the faults want them.
pub const RUN_TEND_INTERVAL: Duration = Duration::from_millis(50);

/// Largest snapshot that is taken.
pub const RUN_SNAPSHOT_BYTES_MAX: usize = 1 << 30;

/// Largest page of metrics that is read.
pub const RUN_PAGE_BYTES_MAX: u64 = 8 << 20;

/// Threads of a run that carry clients and watchers.
pub const RUN_CLIENT_THREADS: usize = 4;

/// Threads of a run that carry out faults.
pub const RUN_OPERATOR_THREADS: usize = 4;

/// Acknowledged writes before the first fault.
pub const RUN_WARM_UP_WRITES: u64 = 200;

/// Pause between two looks whether all members serve after the last fault, and the least calm.
pub const RUN_CALM: Duration = Duration::from_secs(2);

/// Parts that are left out while a schedule is shrunk.
pub const SHRINK_STEPS_MAX: usize = 10_000;

/// Letters of one fault's proof on a terminal.
pub const RUN_LETTERS_MAX: usize = 160;

/// Free memory that a run's data may be put into, instead of on a disk.
pub const RUN_MEMORY_BYTES: u64 = 4 << 30;

/// Real time for the run of one seed of the simulator, in a build without optimization.
pub const SIM_SEED_DEADLINE: Duration = Duration::from_secs(300);
