//! Finds out that a member works and works while its time stands still.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use crate::limits;

static TICKS: AtomicU64 = AtomicU64::new(0);

/// Simulated time goes on.
pub(crate) fn ticked() {
    TICKS.fetch_add(1, Ordering::Relaxed);
}

/// From now on, calls `stuck` once time has stood still for too long; it is not to return.
pub(crate) fn watch(stuck: impl FnOnce(u64) + Send + 'static) {
    thread::spawn(move || {
        let (mut last, mut seconds) = (u64::MAX, 0);
        while seconds < limits::STUCK_SECONDS {
            // A second of the machine: this thread is in no simulated world.
            thread::sleep(std::time::Duration::from_secs(1));
            let now = TICKS.load(Ordering::Relaxed);
            seconds = if now == last { seconds + 1 } else { 0 };
            last = now;
        }
        stuck(last);
    });
}
