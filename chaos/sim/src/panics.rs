//! A panic in a task ends that task alone, and nobody notices: here it is a broken law.

use std::sync::atomic::{AtomicBool, Ordering};

static PANICKED: AtomicBool = AtomicBool::new(false);

/// From now on panics are noticed.
pub(crate) fn watch() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        PANICKED.store(true, Ordering::Relaxed);
        usual(panic);
    }));
}

/// Whether there was one.
pub(crate) fn was_there() -> bool {
    PANICKED.load(Ordering::Relaxed)
}
