//! What is in the store, held in memory: lists and watches are answered from here.
//!
//! One watch over the whole prefix feeds the caches of all resources, so that every event moves
//! all of them on: a consistent read rarely has to wait, and bookmarks are fresh for idle kinds.
//!
//! | Rule | What always holds |
//! |------|-------------------|
//! | C1 | A cache holds exactly the objects of its resource at the revision it names. |
//! | C2 | A watcher gets every matching event once, in revision order, or is ended. |
//! | C3 | A bookmark's revision is not below any event before it in the queue, nor above one after. |
//! | C4 | A replay has every event after the revision asked for, or is refused as too old. |
//! | C5 | An event is encoded once per encoding, whatever the number of watchers. |
//! | C6 | An object that cannot be read is an error to who asks for it, never an object that is not |
//! |    | there or that is older; all others are served. |

mod cache;
mod custom;
mod event;
mod feed;
mod filter;
mod rest;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use api_machinery::{ResourceInfo, Status, kinds};
use tokio::sync::{Notify, watch};

use crate::limits::{FRESH_WAIT, PROGRESS_INTERVAL};
use crate::storage::Storage;

pub(crate) use cache::{Cache, Message, Part, Start, Subscription, Wanted};
pub(crate) use custom::fill_one;
pub(crate) use event::{Change, Event, Version};
pub(crate) use feed::run;
pub(crate) use filter::Filter;
pub(crate) use rest::{Json, run as rest};

/// The caches of all resources.
#[derive(Debug)]
pub(crate) struct Caches {
    all: Vec<Arc<Cache>>,
    custom: custom::CustomCaches,
    /// Every event up to here is in the caches; 0 before the first fill.
    revision: watch::Sender<u64>,
    progress_wanted: Notify,
    /// What could not be read may be readable now.
    refill_wanted: Notify,
    /// Whether asking the store for its progress costs no more than a question.
    progress_is_free: AtomicBool,
    /// Revisions before it are gone from the store.
    compacted: AtomicU64,
}

impl Caches {
    /// Empty caches of every kind that is kept in the store.
    pub(crate) fn new() -> Arc<Self> {
        let kept = kinds::all().iter().filter(|info| info.is_stored() && info.kept_as.is_none());
        let all = kept.map(|info| Arc::new(Cache::new(info))).collect();
        Arc::new(Self {
            all,
            custom: custom::CustomCaches::default(),
            revision: watch::Sender::new(0),
            progress_wanted: Notify::new(),
            refill_wanted: Notify::new(),
            progress_is_free: AtomicBool::new(false),
            compacted: AtomicU64::new(0),
        })
    }

    /// The cache of a resource: one for all its versions.
    pub(crate) fn of(&self, info: &'static ResourceInfo) -> &Arc<Cache> {
        let kept = info.kept();
        self.all
            .iter()
            .find(|cache| std::ptr::eq(cache.info(), kept))
            .expect("there is a cache for every kind that is stored")
    }

    pub(crate) fn all(&self) -> &[Arc<Cache>] {
        &self.all
    }

    /// Every event up to this revision is in the caches.
    pub(crate) fn revision(&self) -> u64 {
        *self.revision.borrow()
    }

    /// Revisions before this one are gone from the store, as far as this server has heard.
    pub(crate) fn compacted(&self) -> u64 {
        self.compacted.load(Ordering::Relaxed)
    }

    /// Lists of earlier revisions are expired from now on, as they are everywhere else.
    pub(crate) fn forget_before(&self, revision: u64) {
        self.compacted.fetch_max(revision, Ordering::Relaxed);
    }

    /// Whether the caches have been filled.
    pub(crate) fn is_synced(&self) -> bool {
        self.revision() > 0
    }

    /// The caches of built-in and custom kinds.
    pub(crate) fn every(&self) -> Vec<Arc<Cache>> {
        self.all.iter().cloned().chain(self.custom.all()).collect()
    }

    /// Fills the caches anew if something in them could not be read.
    pub(crate) fn look_again_at_broken(&self) {
        if self.every().iter().any(|cache| cache.has_broken()) {
            self.refill_wanted.notify_one();
        }
    }

    /// Waits until the caches have seen `revision`; upstream's 504 when that takes too long.
    pub(crate) async fn wait_for(&self, revision: u64) -> Result<(), Status> {
        let mut seen = self.revision.subscribe();
        if *seen.borrow() >= revision {
            return Ok(());
        }
        let waiting = async {
            loop {
                let step = seen.wait_for(|now| *now >= revision);
                match tokio::time::timeout(PROGRESS_INTERVAL, step).await {
                    Ok(reached) => return reached.is_ok(),
                    // Nothing came by itself: the missing revisions may touch no key of ours.
                    Err(_) => self.progress_wanted.notify_one(),
                }
            }
        };
        if self.progress_is_free.load(Ordering::Relaxed) {
            self.progress_wanted.notify_one();
        }
        match tokio::time::timeout(FRESH_WAIT, waiting).await {
            Ok(true) => Ok(()),
            Ok(false) | Err(_) => {
                Err(Status::too_large_resource_version(revision, self.revision()))
            }
        }
    }

    /// Waits until the caches show everything written before this call.
    pub(crate) async fn wait_until_fresh(&self, storage: &Storage) -> Result<(), Status> {
        let revision = storage.revision().await?;
        self.wait_for(revision).await
    }
}
