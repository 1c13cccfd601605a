//! The objects of a kind in one namespace, for admission: as the cache has them, or the store.

use api_machinery::{Object, ResourceInfo, Status};

use crate::limits::STORE_PAGE_KEYS;
use crate::storage::{self, Storage};
use crate::watch_cache::{Caches, Filter};

pub(super) fn cached(
    (storage, caches): (&Storage, &Caches),
    kind: &'static ResourceInfo,
    namespace: &str,
) -> Result<Vec<Object>, Status> {
    let prefix = storage.prefix(kind, namespace);
    let (versions, _) = caches.of(kind).list_whole(&prefix, &Filter::default(), 0)?;
    versions.iter().map(|version| version.object()).collect()
}

/// What the store has, and the revision at which it had it.
pub(super) async fn stored(
    storage: &Storage,
    kind: &'static ResourceInfo,
    namespace: &str,
) -> Result<(Vec<Object>, u64), Status> {
    let prefix = storage.prefix(kind, namespace);
    let (mut objects, mut start, mut revision) = (Vec::new(), String::new(), 0);
    loop {
        let page = storage.page(&prefix, &start, STORE_PAGE_KEYS, revision).await;
        let page = page.map_err(|error| storage::status(&error))?;
        revision = page.revision;
        for raw in &page.values {
            objects.push(storage::stored(raw)?.object);
        }
        let is_full = i64::try_from(page.values.len()).is_ok_and(|len| len >= STORE_PAGE_KEYS);
        let Some(last) = page.values.last().filter(|_| is_full) else {
            return Ok((objects, revision));
        };
        // The first key after the last one.
        start = format!("{}\0", String::from_utf8_lossy(&last.key));
    }
}
