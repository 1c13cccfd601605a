//! Where blocking work runs: off the async threads. In a simulated world (feature `sim`) there is one
//! thread, and it runs there as a task, so that nothing but the seed decides what happens first.

use std::thread::JoinHandle;

use tokio::{
    sync::mpsc::{self, error::SendError},
    task,
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
