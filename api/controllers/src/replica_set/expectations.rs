//! What a ReplicaSet's own writes will show in the cache: until they do, nothing more is created or deleted.
//!
//! | Rule | What always holds |
//! |------|-------------------|
//! | X1 | While a creation or deletion of ours has not been seen, the counts of the cache are not acted on. |

use std::collections::{HashMap, HashSet};

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::limits;

#[derive(Debug)]
struct Expected {
    creations: usize,
    deletions: HashSet<String>,
    since: Instant,
}

/// Expectations by ReplicaSet key.
#[derive(Debug, Default)]
pub(super) struct Expectations(Mutex<HashMap<String, Expected>>);

impl Expectations {
    /// True when the cache shows all of our writes, or they are too old to wait for.
    pub(super) fn satisfied(&self, key: &str) -> bool {
        self.0.lock().get(key).is_none_or(|expected| {
            (expected.creations == 0 && expected.deletions.is_empty())
                || expected.since.elapsed() > limits::EXPECTATION_LIFE
        })
    }

    pub(super) fn expect(
        &self,
        key: &str,
        creations: usize,
        deletions: impl IntoIterator<Item = String>,
    ) {
        let deletions = deletions.into_iter().collect();
        let expected = Expected { creations, deletions, since: Instant::now() };
        self.0.lock().insert(key.to_owned(), expected);
    }

    /// One creation was seen, or will never be.
    pub(super) fn created(&self, key: &str) {
        if let Some(expected) = self.0.lock().get_mut(key) {
            expected.creations = expected.creations.saturating_sub(1);
        }
    }

    /// The deletion of this pod was seen, or will never be.
    pub(super) fn deleted(&self, key: &str, uid: &str) {
        if let Some(expected) = self.0.lock().get_mut(key) {
            expected.deletions.remove(uid);
        }
    }

    pub(super) fn forget(&self, key: &str) {
        self.0.lock().remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn nothing_is_done_until_every_write_was_seen() {
        let expectations = Expectations::default();
        assert!(expectations.satisfied("ns/a"), "nothing expected");
        expectations.expect("ns/a", 2, []);
        expectations.created("ns/a");
        assert!(!expectations.satisfied("ns/a"));
        expectations.created("ns/a");
        assert!(expectations.satisfied("ns/a"));

        expectations.expect("ns/a", 0, ["u1".to_owned(), "u2".to_owned()]);
        expectations.deleted("ns/a", "u1");
        expectations.deleted("ns/a", "u1");
        assert!(!expectations.satisfied("ns/a"), "one pod seen twice is not two pods");
        tokio::time::advance(limits::EXPECTATION_LIFE * 2).await;
        assert!(expectations.satisfied("ns/a"), "given up after five minutes");
    }
}
