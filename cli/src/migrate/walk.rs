//! Walks over the keys of both stores at once, in the order of the keys, each at one revision.

use std::cmp::Ordering;
use std::collections::VecDeque;

use anyhow::Context as _;
use bytes::Bytes;
use store_client::Error;
use store_client::mvccpb::KeyValue;
use store_client::rpc::{RangeRequest, RangeResponse};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::side::Side;
use crate::limits;

/// A page under way; aborted when nobody waits for it any more.
struct Fetch(JoinHandle<Result<RangeResponse, Error>>);

impl Drop for Fetch {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The keys of one store from first to last. The next page is fetched while one is used.
pub(super) struct Cursor {
    side: Side,
    /// The revision at which keys are read.
    pub(super) revision: i64,
    /// How often the revision was compacted away, and a newer one was taken.
    pub(super) moved: u32,
    /// All keys of the range, as the store counted them.
    pub(super) total: u64,
    next: Bytes,
    limit: i64,
    page: VecDeque<KeyValue>,
    fetch: Option<Fetch>,
}

impl Cursor {
    pub(super) fn new(side: &Side, revision: i64) -> Self {
        let next = side.keys.first.clone();
        let limit = limits::PAGE_KEYS_FIRST;
        let mut cursor = Self {
            side: side.clone(),
            revision,
            moved: 0,
            total: 0,
            next,
            limit,
            page: VecDeque::new(),
            fetch: None,
        };
        cursor.start();
        cursor
    }

    fn start(&mut self) {
        let request = RangeRequest {
            key: self.next.clone(),
            range_end: self.side.keys.end.clone(),
            revision: self.revision,
            limit: self.limit,
            ..RangeRequest::default()
        };
        let client = self.side.client.clone();
        self.fetch = Some(Fetch(tokio::spawn(async move { client.range(request).await })));
    }

    /// The next key; none after the last one.
    pub(super) async fn peek(&mut self) -> anyhow::Result<Option<&KeyValue>> {
        while self.page.is_empty() && self.fetch.is_some() {
            self.turn().await?;
        }
        Ok(self.page.front())
    }

    pub(super) fn pop(&mut self) {
        self.page.pop_front();
    }

    /// Takes the page that is under way, and begins with the one after it.
    async fn turn(&mut self) -> anyhow::Result<()> {
        let until = Instant::now() + limits::MIGRATE_PATIENCE;
        let response = loop {
            let Some(fetch) = &mut self.fetch else { return Ok(()) };
            match (&mut fetch.0).await.context("reading broke")? {
                Ok(response) => break response,
                Err(Error::Compacted { .. }) => {
                    self.revision = self.side.now().await?.revision;
                    self.moved += 1;
                }
                Err(Error::Unavailable { .. } | Error::Unknown { .. })
                    if Instant::now() < until =>
                {
                    tokio::time::sleep(limits::MIGRATE_ASK_AGAIN).await;
                }
                Err(error) => {
                    return Err(error).with_context(|| format!("reading the {}", self.side.name));
                }
            }
            self.start();
        };
        self.fetch = None;
        if self.total == 0 {
            self.total = u64::try_from(response.count).unwrap_or(0);
        }
        let bytes: usize = response.kvs.iter().map(|kv| kv.key.len() + kv.value.len()).sum();
        self.limit = next_limit(response.kvs.len(), bytes);
        if response.more
            && let Some(last) = response.kvs.last()
        {
            // The first key after it.
            self.next = [&last.key[..], b"\0"].concat().into();
            self.start();
        }
        let mark = &self.side.keys.mark;
        self.page.extend(response.kvs.into_iter().filter(|kv| kv.key != mark));
        Ok(())
    }
}

/// How many keys the next page may have, so that it is about as large as pages ought to be.
fn next_limit(keys: usize, bytes: usize) -> i64 {
    let each = (bytes / keys.max(1)).max(1);
    let keys = i64::try_from(limits::PAGE_BYTES / each).unwrap_or(limits::PAGE_KEYS_MAX);
    keys.clamp(1, limits::PAGE_KEYS_MAX)
}

/// A key in which the stores differ, or that they have in common.
pub(super) struct Pair {
    pub(super) source: Option<KeyValue>,
    pub(super) target: Option<KeyValue>,
}

impl Pair {
    /// Whether a client would find the same: the value, and the lease.
    pub(super) fn is_equal(&self) -> bool {
        match (&self.source, &self.target) {
            (Some(source), Some(target)) => {
                source.value == target.value && source.lease == target.lease
            }
            (Some(_), None) | (None, Some(_)) => false,
            (None, None) => true,
        }
    }

    pub(super) fn key(&self) -> Bytes {
        let either = self.source.as_ref().or(self.target.as_ref());
        either.map_or_else(Bytes::new, |kv| kv.key.clone())
    }
}

/// Both stores, key by key.
pub(super) struct Walk {
    pub(super) source: Cursor,
    pub(super) target: Cursor,
}

impl Walk {
    pub(super) async fn next(&mut self) -> anyhow::Result<Option<Pair>> {
        let source = self.source.peek().await?;
        let target = self.target.peek().await?;
        let order = match (source, target) {
            (None, None) => return Ok(None),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(source), Some(target)) => source.key.cmp(&target.key),
        };
        let mut pair = Pair { source: None, target: None };
        if order.is_le() {
            pair.source = source.cloned();
            self.source.pop();
        }
        if order.is_ge() {
            pair.target = target.cloned();
            self.target.pop();
        }
        Ok(Some(pair))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_follow_the_size_of_values() {
        assert_eq!(next_limit(200, 200 * 1024), limits::PAGE_BYTES as i64 / 1024);
        assert_eq!(next_limit(200, 200), limits::PAGE_KEYS_MAX);
        assert_eq!(next_limit(2, 8 * 1024 * 1024), 1, "values of megabytes come one by one");
        assert_eq!(next_limit(0, 0), limits::PAGE_KEYS_MAX);
    }

    #[test]
    fn a_lease_counts_as_a_difference() {
        let kv = |lease| Some(KeyValue { value: "v".into(), lease, ..KeyValue::default() });
        assert!(Pair { source: kv(1), target: kv(1) }.is_equal());
        assert!(!Pair { source: kv(1), target: kv(0) }.is_equal());
        assert!(!Pair { source: kv(1), target: None }.is_equal());
    }
}
