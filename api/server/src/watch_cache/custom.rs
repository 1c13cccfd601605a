//! Caches that come and go while the feed runs: those of custom kinds.
//!
//! A cache is attached first, so that it gets every event from then on, and filled from the store as
//! it is after that: what comes meanwhile waits in the cache, and what the fill has already is left
//! out. So there is no gap, and no event twice (C1, C2).

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::RwLock;
use store_client::Error;

use super::feed::read_all;
use super::{Cache, Caches};
use crate::limits::CUSTOM_FILL_TRIES_MAX;
use crate::storage::Storage;

/// Caches by the first two steps of their keys. While one takes another's place there are two.
#[derive(Debug, Default)]
pub(super) struct CustomCaches(RwLock<HashMap<&'static str, Vec<Arc<Cache>>>>);

impl CustomCaches {
    pub(super) fn all(&self) -> Vec<Arc<Cache>> {
        self.0.read().values().flatten().cloned().collect()
    }

    /// The caches of a key below the root: `GROUP/PLURAL/…`.
    pub(super) fn of_key(&self, key: &str) -> Vec<Arc<Cache>> {
        let mut slashes = key.match_indices('/').map(|(at, _)| at);
        let Some(end) = slashes.nth(1) else { return Vec::new() };
        self.0.read().get(&key[..end]).cloned().unwrap_or_default()
    }
}

impl Caches {
    /// Gives a cache all events from now on.
    pub(crate) fn attach(&self, cache: &Arc<Cache>) {
        let mut all = self.custom.0.write();
        all.entry(cache.info().storage_prefix).or_default().push(cache.clone());
    }

    /// Closes a cache, and gives it no more events.
    pub(crate) fn detach(&self, cache: &Arc<Cache>) {
        cache.close();
        let mut all = self.custom.0.write();
        let prefix = cache.info().storage_prefix;
        if let Some(caches) = all.get_mut(prefix) {
            caches.retain(|one| !Arc::ptr_eq(one, cache));
            if caches.is_empty() {
                all.remove(prefix);
            }
        }
    }
}

/// Fills a cache that has been attached.
pub(crate) async fn fill_one(storage: &Storage, cache: &Cache) -> Result<(), Error> {
    let mut last = Ok(());
    for _ in 0..CUSTOM_FILL_TRIES_MAX {
        let prefix = storage.prefix(cache.info(), "");
        let revision = storage.page(&prefix, "", 1, 0).await?.revision;
        match read_all(storage, cache, revision).await {
            // False: more came meanwhile than may wait.
            Ok(contents) => {
                if cache.fill_attached(contents, revision) {
                    return Ok(());
                }
            }
            // The revision was compacted while it was read.
            Err(error) => last = Err(error),
        }
    }
    last.and_then(|()| {
        Err(Error::Unavailable { message: "the kind changes faster than it can be read".into() })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_leads_to_the_caches_of_its_kind() {
        let caches = CustomCaches::default();
        let info = api_machinery::kinds::find("apps", "v1", "deployments").unwrap();
        caches.0.write().insert("a.example.com/things", vec![Arc::new(Cache::new(info))]);
        for (key, found) in [
            ("a.example.com/things/n/x", 1),
            ("a.example.com/things/x", 1),
            ("a.example.com/things", 0),
            ("a.example.com/thingsandmore/x", 0),
            ("pods/n/x", 0),
            ("", 0),
        ] {
            assert_eq!(caches.of_key(key).len(), found, "{key}");
        }
    }
}
