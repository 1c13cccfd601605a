//! Fills the caches from the store and keeps them up to date with one watch.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use api_machinery::Status;
use bytes::Bytes;
use store_client::{Batch, Error, WatchOptions, mvccpb};
use tokio_util::sync::CancellationToken;

use super::cache::Contents;
use super::{Cache, Caches};
use crate::limits::STORE_PAGE_KEYS;
use crate::storage::{self, Storage};

/// Wait before the caches are filled again after a failure.
const RETRY: Duration = Duration::from_millis(500);

/// Runs until `shutdown`.
pub(crate) async fn run(storage: Arc<Storage>, caches: Arc<Caches>, shutdown: CancellationToken) {
    loop {
        let ended = tokio::select! {
            () = shutdown.cancelled() => return,
            ended = fill_and_follow(&storage, &caches) => ended,
        };
        match ended {
            Err(Error::Compacted { compact_revision }) => {
                tracing::warn!(compact_revision, "watch fell behind, filling the caches again");
            }
            Err(error) => tracing::warn!(%error, "filling the caches failed, will try again"),
            Ok(()) => {}
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(RETRY) => {}
        }
    }
}

async fn fill_and_follow(storage: &Arc<Storage>, caches: &Caches) -> Result<(), Error> {
    // All resources are read at one revision, so that one watch continues all of them.
    let first = storage.page(&storage.root(), "", 1, 0).await?;
    let revision = first.revision;
    for cache in caches.all() {
        let contents = read_all(storage, cache, revision).await?;
        cache.fill(contents, revision);
    }
    // Those that are attached from here on fill themselves, from a later revision.
    for cache in caches.custom.all() {
        let contents = read_all(storage, &cache, revision).await?;
        cache.fill_again(contents, revision);
    }
    caches.revision.send_replace(revision);
    tracing::info!(revision, "watch caches filled");

    let reliable = storage.has_reliable_progress().await;
    caches.progress_is_free.store(reliable, Ordering::Relaxed);
    let root = storage.root();
    let prefixes: Vec<(String, &Arc<Cache>)> =
        caches.all().iter().map(|cache| (storage.prefix(cache.info(), ""), cache)).collect();
    let mut watch = storage.client().watch(WatchOptions {
        range_end: store_client::prefix_end(root.as_bytes()),
        key: Bytes::from(root.clone()),
        start_revision: storage::signed(revision + 1),
        prev_kv: false,
        progress_notify: reliable,
    });
    loop {
        let batch = tokio::select! {
            batch = watch.next() => batch,
            () = caches.refill_wanted.notified() => return Ok(()),
            () = caches.progress_wanted.notified() => {
                if reliable {
                    watch.request_progress();
                } else {
                    let storage = storage.clone();
                    tokio::spawn(async move { storage.make_progress().await });
                }
                continue;
            }
        };
        let Some(batch) = batch else { return Ok(()) };
        take(storage, caches, (root.as_str(), &prefixes), batch?);
    }
}

pub(super) async fn read_all(
    storage: &Storage,
    cache: &Cache,
    revision: u64,
) -> Result<Contents, Error> {
    let prefix = storage.prefix(cache.info(), "");
    let mut contents = Contents::default();
    let mut start = String::new();
    loop {
        let page = storage.page(&prefix, &start, STORE_PAGE_KEYS, revision).await?;
        let is_last = page.count <= page.values.len() as u64;
        if let Some(last) = page.values.last() {
            start = format!("{}\u{0}", String::from_utf8_lossy(&last.key));
        }
        for raw in &page.values {
            match cache.read(raw) {
                Ok(version) => contents.versions.push(Arc::new(version)),
                Err(error) => {
                    let key = String::from_utf8_lossy(&raw.key).into();
                    contents.broken.push((key, broken(&raw.key, error)));
                }
            }
        }
        if is_last {
            return Ok(contents);
        }
    }
}

fn take(
    storage: &Storage,
    caches: &Caches,
    (root, prefixes): (&str, &[(String, &Arc<Cache>)]),
    batch: Batch,
) {
    for event in batch.events {
        let is_delete = event.r#type() == mvccpb::event::EventType::Delete;
        let Some(kv) = event.kv else { continue };
        let raw = storage.open(kv);
        let Ok(key) = std::str::from_utf8(&raw.key) else { continue };
        match prefixes.iter().find(|(prefix, _)| key.starts_with(prefix)) {
            Some((_, cache)) => change(cache, (key, &raw), is_delete),
            None => {
                let below = key.strip_prefix(root).unwrap_or_default();
                for cache in caches.custom.of_key(below) {
                    change(&cache, (key, &raw), is_delete);
                }
            }
        }
    }
    let revision = storage::unsigned(batch.revision);
    caches.revision.send_if_modified(|seen| {
        let is_newer = revision > *seen;
        if is_newer {
            *seen = revision;
        }
        is_newer
    });
}

fn change(cache: &Cache, (key, raw): (&str, &storage::RawValue), is_delete: bool) {
    if is_delete {
        cache.apply(key, raw.revision, Ok(None));
        return;
    }
    let found = cache.read(raw).map(Some).map_err(|error| broken(&raw.key, error));
    cache.apply(key, raw.revision, found);
}

/// One unreadable value must not hide all others, nor go unseen (C6).
fn broken(key: &[u8], error: Status) -> Arc<Status> {
    tracing::error!(key = %String::from_utf8_lossy(key), %error, "stored object cannot be read");
    Arc::new(error)
}
