//! Every limit of the watch consumers in one table.

use std::time::Duration;

/// First retry of a failed key (client-go's default item back-off).
pub const RETRY_MIN: Duration = Duration::from_millis(5);
/// Longest wait between two retries of a failed key (client-go's default item back-off).
pub const RETRY_MAX: Duration = Duration::from_secs(1000);
/// Events that wait to be written; more are dropped, and counted.
pub const EVENTS_WAITING_MAX: usize = 2048;
/// Events remembered, so that a repetition bumps a count instead of making a new object.
pub const EVENTS_REMEMBERED_MAX: usize = 4096;
/// Repetitions allowed in a burst per object (client-go's spam filter).
pub const EVENT_BURST: f64 = 25.0;
/// After the burst, one more event per object each so many seconds (client-go's spam filter).
pub const EVENT_REFILL_SECONDS: f64 = 300.0;
/// Longest time that writing one event may take.
pub const EVENT_WRITE_DEADLINE: Duration = Duration::from_secs(10);
/// Longest time that the first list of an informer may take before it is said aloud.
pub const SYNC_WARNING_AFTER: Duration = Duration::from_secs(30);
/// Longest wait for loops to end after they were told to.
pub const STOP_DEADLINE: Duration = Duration::from_secs(5);
/// Longest time for giving up the lease on the way out.
pub const RELEASE_DEADLINE: Duration = Duration::from_secs(3);
/// Connections served at once on the health port.
pub const HEALTH_CONNECTIONS_MAX: usize = 64;
/// Longest life of one connection on the health port.
pub const HEALTH_CONNECTION_DEADLINE: Duration = Duration::from_secs(60);
/// Longest time that asking for a token of a service account may take.
pub const TOKEN_DEADLINE: Duration = Duration::from_secs(10);
/// First and longest wait after no token was given.
pub const TOKEN_RETRY_MIN: Duration = Duration::from_millis(100);
/// See [`TOKEN_RETRY_MIN`].
pub const TOKEN_RETRY_MAX: Duration = Duration::from_secs(10);
/// A token that is refused is not replaced before it has this age.
pub const TOKEN_AGE_MIN: Duration = Duration::from_secs(10);
