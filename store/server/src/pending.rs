//! Who waits for the outcome of which command; the apply thread answers.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
};

use parking_lot::Mutex;
use store_state_machine::Reply;
use tokio::sync::oneshot;

use crate::{error::Error, limits};

const SHARDS: usize = 16;

type Answer = Result<Reply, Error>;

/// The commands proposed here that have no outcome yet.
pub(crate) struct Pending {
    shards: [Mutex<HashMap<u64, oneshot::Sender<Answer>>>; SHARDS],
    /// The upper half of every id given out here: tells this member's commands from others'.
    origin: u64,
    next: AtomicU64,
    count: AtomicUsize,
    bytes: AtomicUsize,
}

impl Pending {
    pub(crate) fn new(member_id: u64) -> Self {
        let origin = (member_id ^ (member_id >> 32)) & 0xffff_ffff;
        // Random, so that a restarted member does not meet its commands of before.
        let next = AtomicU64::new(u64::from(rand::random::<u32>()));
        Self {
            shards: std::array::from_fn(|_| Mutex::default()),
            origin: origin << 32,
            next,
            count: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
        }
    }

    fn shard(&self, id: u64) -> &Mutex<HashMap<u64, oneshot::Sender<Answer>>> {
        &self.shards[usize::try_from(id % SHARDS as u64).expect("a shard number is small")]
    }

    /// Starts waiting for a command of this size.
    pub(crate) fn register(&self, bytes: usize) -> Result<Waiter<'_>, Error> {
        let count = self.count.fetch_add(1, Ordering::Relaxed);
        let total = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        let id = self.origin | (self.next.fetch_add(1, Ordering::Relaxed) & 0xffff_ffff);
        let (send, receive) = oneshot::channel();
        let waiter = Waiter { pending: self, id, bytes, receive };
        if count >= limits::PROPOSALS_IN_FLIGHT_MAX || total >= limits::PROPOSAL_BYTES_IN_FLIGHT_MAX
        {
            return Err(Error::TooManyRequests);
        }
        self.shard(id).lock().insert(id, send);
        Ok(waiter)
    }

    /// Answers whoever waits for `id`, if that is on this member.
    pub(crate) fn answer(&self, id: u64, answer: impl FnOnce() -> Answer) {
        if id & !0xffff_ffff != self.origin || id == 0 {
            return;
        }
        let waiter = self.shard(id).lock().remove(&id);
        if let Some(waiter) = waiter {
            // The client may have given up: then nobody listens.
            drop(waiter.send(answer()));
        }
    }

    /// Tells all who wait that the outcome will not be known.
    pub(crate) fn abandon(&self) {
        for shard in &self.shards {
            for (_, waiter) in shard.lock().drain() {
                drop(waiter.send(Err(Error::Timeout)));
            }
        }
    }

    /// True if somebody still waits for `id`.
    pub(crate) fn waits(&self, id: u64) -> bool {
        self.shard(id).lock().contains_key(&id)
    }

    /// How many commands wait.
    pub(crate) fn len(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }
}

/// One waiting command; dropping it stops waiting.
pub(crate) struct Waiter<'a> {
    pending: &'a Pending,
    pub(crate) id: u64,
    bytes: usize,
    pub(crate) receive: oneshot::Receiver<Answer>,
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.pending.shard(self.id).lock().remove(&self.id);
        self.pending.count.fetch_sub(1, Ordering::Relaxed);
        self.pending.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}
