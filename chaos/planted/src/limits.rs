//! Every limit of the suite.

use std::time::Duration;

/// One trial, from the first member's start to the verdict.
pub(crate) const TRIAL: Duration = Duration::from_secs(150);

/// What the end of a run waits for: a member that repairs itself is asked again.
pub(crate) const SETTLED: Duration = Duration::from_secs(30);

/// Acknowledged writes that are waited for between two deeds.
pub(crate) const PROGRESS: Duration = Duration::from_secs(30);

/// Something that a story waits for.
pub(crate) const STORY: Duration = Duration::from_secs(20);

/// Between two looks.
pub(crate) const POLL: Duration = Duration::from_millis(25);

/// Clients of a course, the keys that they share, and operations a second of each.
pub(crate) const CLIENTS: usize = 8;
pub(crate) const KEYS: usize = 12;
pub(crate) const RATE: u32 = 80;

/// Bytes of the values that fill a slow watch's buffers.
pub(crate) const LARGE_VALUE_BYTES: usize = 16 << 10;

/// Number of the first watcher of a course's own.
pub(crate) const WATCHERS_FROM: usize = 100;

/// Watches of the whole history.
pub(crate) const HISTORIES: i64 = 12;

/// How long a slow watch reads nothing.
pub(crate) const WATCH_SLEEP: Duration = Duration::from_secs(3);

/// How long a voter does not hear of whom it has elected.
pub(crate) const VOTER_IS_SLOW: Duration = Duration::from_millis(250);
