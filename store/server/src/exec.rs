//! Where blocking work runs: off the async threads. In a simulated world (feature `sim`) there is one
//! thread, and it runs there as a task, so that nothing but the seed decides what happens first.

use std::{sync::OnceLock, thread::JoinHandle, time::Duration};

use tokio::{
    sync::mpsc::{self, error::SendError},
    task,
    time::{Instant, sleep},
};

/// Whether this is a simulated world.
#[inline]
pub(crate) fn is_simulated() -> bool {
    #[cfg(feature = "sim")]
    return turmoil::in_simulation();
    #[cfg(not(feature = "sim"))]
    false
}

/// Begins work that blocks. It goes on if nobody waits for it.
pub(crate) fn blocking<T, W>(work: W) -> task::JoinHandle<T>
where
    T: Send + 'static,
    W: FnOnce() -> T + Send + 'static,
{
    if is_simulated() {
        return tokio::spawn(async move { work() });
    }
    task::spawn_blocking(work)
}

const SECOND: Duration = Duration::from_secs(1);

/// Waits for `pause`. Who looks at something each second waits for the next of this process's seconds: an idle
/// member wakes once for all of them.
pub(crate) async fn rest(pause: Duration) {
    static BEGAN: OnceLock<Instant> = OnceLock::new();
    if pause < SECOND || is_simulated() {
        return sleep(pause).await;
    }
    sleep(left_of_second(BEGAN.get_or_init(Instant::now).elapsed())).await;
}

/// How long the second lasts that has begun by then.
fn left_of_second(gone: Duration) -> Duration {
    SECOND.saturating_sub(Duration::from_nanos(gone.subsec_nanos().into()))
}

/// A queue from blocking work to whoever takes its results.
pub(crate) fn queue<T>(limit: usize) -> (mpsc::Sender<T>, mpsc::Receiver<T>) {
    // Work that has no thread of its own cannot wait for a reader.
    mpsc::channel(if is_simulated() { 1 << 20 } else { limit })
}

/// Adds to such a queue, and waits for room if it is full.
pub(crate) fn send<T>(queue: &mpsc::Sender<T>, item: T) -> Result<(), SendError<T>> {
    if is_simulated() {
        return queue.try_send(item).map_err(|error| SendError(error.into_inner()));
    }
    queue.blocking_send(item)
}

/// Wakes a loop that is a task; one that is a thread has its own means.
#[derive(Debug, Default, Clone)]
pub(crate) struct Bell {
    #[cfg(feature = "sim")]
    rung: std::sync::Arc<tokio::sync::Notify>,
}

impl Bell {
    #[inline]
    pub(crate) fn ring(&self) {
        #[cfg(feature = "sim")]
        self.rung.notify_one();
    }

    /// Returns when it was rung since the last time.
    #[cfg(feature = "sim")]
    pub(crate) async fn rung(&self) {
        self.rung.notified().await;
    }
}

/// A loop that runs until it is told to stop.
pub(crate) enum Loop {
    Thread(JoinHandle<()>),
    #[cfg(feature = "sim")]
    Task(task::JoinHandle<()>),
}

impl Loop {
    /// Starts one on a thread of its own.
    pub(crate) fn thread(
        name: &str,
        body: impl FnOnce() + Send + 'static,
    ) -> std::io::Result<Self> {
        std::thread::Builder::new().name(name.to_owned()).spawn(body).map(Self::Thread)
    }

    /// Waits for its end on this thread; a task ends when this thread has time for it.
    pub(crate) fn join(self) {
        match self {
            Self::Thread(thread) => {
                if thread.join().is_err() {
                    tracing::error!("a thread panicked");
                }
            }
            #[cfg(feature = "sim")]
            Self::Task(_) => {}
        }
    }

    /// Waits for its end.
    pub(crate) async fn ended(self) {
        match self {
            Self::Thread(_) => drop(task::spawn_blocking(move || self.join()).await),
            #[cfg(feature = "sim")]
            Self::Task(task) => drop(task.await),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_who_look_each_second_wait_for_the_same_moment() {
        let millis = Duration::from_millis;
        assert_eq!(left_of_second(millis(300)), millis(700));
        assert_eq!(left_of_second(millis(12_999)), millis(1));
        assert_eq!(left_of_second(millis(13_000)), SECOND, "never no time at all");
    }

    #[tokio::test(start_paused = true)]
    async fn who_looks_more_often_waits_as_long_as_it_said() {
        let began = Instant::now();
        rest(Duration::from_millis(400)).await;
        let millis = Duration::from_millis;
        assert!((millis(400)..millis(403)).contains(&began.elapsed()));
        rest(SECOND).await;
        assert!(began.elapsed() < millis(1405));
    }
}
