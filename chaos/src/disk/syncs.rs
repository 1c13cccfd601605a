//! Threads on which syncs wait, so that a slow one holds up no other request.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use parking_lot::Mutex;

use crate::limits;

type Job = Box<dyn FnOnce() + Send>;

/// The way to the threads. They end when it is dropped.
#[derive(Debug)]
pub(super) struct Syncs {
    jobs: SyncSender<Job>,
}

impl Syncs {
    pub(super) fn start() -> io::Result<Self> {
        let (jobs, queue) = sync_channel(limits::DISK_SYNCS_QUEUED_MAX);
        let queue = Arc::new(Mutex::new(queue));
        for number in 0..limits::DISK_SYNC_THREADS {
            let queue = Arc::clone(&queue);
            let thread = std::thread::Builder::new().name(format!("disk-sync-{number}"));
            thread.spawn(move || work(&queue))?;
        }
        Ok(Self { jobs })
    }

    /// Runs it on one of the threads; a full queue makes the caller wait.
    pub(super) fn run(&self, job: impl FnOnce() + Send + 'static) {
        self.jobs.send(Box::new(job)).expect("the threads end after the sender");
    }
}

fn work(queue: &Mutex<Receiver<Job>>) {
    loop {
        // Who waits for a job holds the lock; the others wait for the lock.
        let job = queue.lock().recv();
        match job {
            Ok(job) => job(),
            Err(_) => return,
        }
    }
}
