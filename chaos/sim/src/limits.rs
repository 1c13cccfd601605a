//! Every limit of the simulator, in one table.

use std::time::Duration;

/// What the simulation moves on by at once: nothing is delivered sooner.
pub(crate) const TICK: Duration = Duration::from_millis(1);
/// Segments that a simulated connection holds until they are read.
pub(crate) const TCP_SEGMENTS: usize = 4096;
/// The first start of all members.
pub(crate) const BRING_UP: Duration = Duration::from_secs(30);
/// Once everything is healed, every member serves reads and writes within this time.
pub(crate) const LIVENESS: Duration = Duration::from_secs(15);
/// A fault is over when every member serves; others that overlap it may hold that up for so long.
pub(crate) const HEALED: Duration = Duration::from_secs(60);
/// Of simulated time, after the work: what waits for an end that does not come is found out.
pub(crate) const ENDING: Duration = Duration::from_secs(120);
/// How often a member's state is looked at.
pub(crate) const GLANCE_EVERY: Duration = Duration::from_millis(10);
/// A member that ended by itself is started again after so long.
pub(crate) const RESTART_AFTER: Duration = Duration::from_millis(700);
/// Real seconds that one tick may take.
pub(crate) const STUCK_SECONDS: u32 = 20;
/// The time between two looks while something is waited for.
pub(crate) const POLL: Duration = Duration::from_millis(20);
/// A clean stop may take this long, then the member is crashed.
pub(crate) const CLEAN_STOP: Duration = Duration::from_secs(12);
/// A change of the membership; others may be cut off or down meanwhile.
pub(crate) const CHANGE: Duration = Duration::from_secs(60);
/// One attempt at it.
pub(crate) const CALL: Duration = Duration::from_secs(4);
/// How often somebody looks whether a member refused to start on damaged data.
pub(crate) const KEEP_EVERY: Duration = Duration::from_millis(200);
/// A client's connection without a sign of the other side is asked for one, and given up.
pub(crate) const CLIENT_KEEPALIVE: Duration = Duration::from_millis(700);
