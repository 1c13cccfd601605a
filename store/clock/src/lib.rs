//! What time it is: the machine's, or ahead of it where a test has moved it forward.
//!
//! A [`Clock`] belongs to threads: those of one runtime, which enter it when they start. So several
//! servers of one process have times of their own, and code that asks for the time need not be given a
//! clock. On a thread that entered none, the time is the machine's.
//!
//! | Rule | What always holds |
//! |------|-------------------|
//! | N1 | A clock is never behind the machine's, and never goes back. |
//! | N2 | Whoever sleeps by a clock wakes when the clock reaches the deadline, moved or not. |

use std::cell::OnceCell;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;
use tokio::time::Instant;

/// How far ahead a clock can be: certificates and dates stay within what everybody can write.
pub const AHEAD_MAX: Duration = Duration::from_secs(50 * 365 * 24 * 60 * 60);

thread_local! {
    static CURRENT: OnceCell<Clock> = const { OnceCell::new() };
}

/// A time that can be moved forward. Clones are the same clock.
#[derive(Clone, Debug)]
pub struct Clock(Arc<watch::Sender<Duration>>);

/// The clock would be further ahead than [`AHEAD_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooFar;

impl std::fmt::Display for TooFar {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a clock cannot be more than 50 years ahead")
    }
}

impl std::error::Error for TooFar {}

impl Default for Clock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock {
    /// A clock that shows the machine's time.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(watch::Sender::new(Duration::ZERO)))
    }

    /// Makes it the clock of this thread, for good. Only the first clock of a thread counts.
    pub fn enter(&self) {
        CURRENT.with(|current| {
            // A thread belongs to one runtime, and a runtime to one clock.
            let _ = current.set(self.clone());
        });
    }

    /// How far it is ahead.
    #[must_use]
    pub fn ahead(&self) -> Duration {
        *self.0.borrow()
    }

    /// What it shows.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        let now = Timestamp::now();
        // Within the range of both: see `AHEAD_MAX`.
        now.checked_add(self.ahead()).unwrap_or(now)
    }

    /// Moves it forward; what sleeps until then wakes.
    ///
    /// # Errors
    /// [`TooFar`]; then it stays where it is.
    pub fn advance(&self, by: Duration) -> Result<Timestamp, TooFar> {
        let mut moved = Err(TooFar);
        self.0.send_if_modified(|ahead| {
            let Some(next) = ahead.checked_add(by).filter(|next| *next <= AHEAD_MAX) else {
                return false;
            };
            *ahead = next;
            moved = Ok(());
            true
        });
        moved.map(|()| self.now())
    }
}

/// The clock of this thread, if it has one.
#[must_use]
pub fn current() -> Option<Clock> {
    CURRENT.with(|current| current.get().cloned())
}

fn ahead() -> Duration {
    CURRENT.with(|current| current.get().map_or(Duration::ZERO, Clock::ahead))
}

/// The time of day.
#[must_use]
pub fn now() -> Timestamp {
    CURRENT.with(|current| current.get().map_or_else(Timestamp::now, Clock::now))
}

/// A point in time to measure from, which moves with the clock.
#[must_use]
pub fn instant() -> Instant {
    Instant::now() + ahead()
}

/// Waits until [`instant`] has reached `deadline`.
pub async fn sleep_until(deadline: Instant) {
    let Some(clock) = current() else {
        tokio::time::sleep_until(deadline).await;
        return;
    };
    let mut moved = clock.0.subscribe();
    loop {
        let ahead = *moved.borrow_and_update();
        let left = deadline.saturating_duration_since(Instant::now() + ahead);
        if left.is_zero() {
            return;
        }
        tokio::select! {
            () = tokio::time::sleep(left) => {}
            changed = moved.changed() => if changed.is_err() { return },
        }
    }
}

/// Waits until so much time has passed.
pub async fn sleep(duration: Duration) {
    sleep_until(instant() + duration).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn a_clock_goes_forward_and_no_further_than_it_may() {
        let clock = Clock::new();
        let same = clock.clone();
        let before = Timestamp::now();
        assert!(clock.advance(HOUR).unwrap() >= before + HOUR);
        assert_eq!(clock.advance(AHEAD_MAX), Err(TooFar));
        assert_eq!((clock.ahead(), same.ahead()), (HOUR, HOUR));
    }

    #[test]
    fn each_runtime_has_the_time_of_its_own_clock() {
        let run = |clock: &Clock| {
            let entered = clock.clone();
            let mut builder = tokio::runtime::Builder::new_multi_thread();
            builder.worker_threads(1).enable_all().on_thread_start(move || entered.enter());
            let runtime = builder.build().unwrap();
            runtime.block_on(async { tokio::spawn(async { now() }).await.unwrap() })
        };
        let (one, other) = (Clock::new(), Clock::new());
        one.advance(HOUR).unwrap();
        assert!(run(&one) > Timestamp::now() + HOUR / 2);
        assert!(run(&other) < Timestamp::now() + HOUR / 2);
        assert!(now() < Timestamp::now() + HOUR / 2, "a thread without a clock");
    }

    #[test]
    fn a_sleeper_wakes_when_the_clock_is_moved() {
        let clock = Clock::new();
        let entered = clock.clone();
        let thread = std::thread::spawn(move || {
            entered.enter();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(sleep(HOUR));
        });
        while !thread.is_finished() {
            // It may not sleep yet.
            clock.advance(HOUR).unwrap();
            std::thread::sleep(Duration::from_millis(1));
        }
        thread.join().unwrap();
    }
}
