//! Forgets old revisions every five minutes; servers of one store agree by `compact_rev_key`.

use std::sync::Arc;

use bytes::Bytes;
use store_client::{Error, compare, op, rpc};
use tokio_util::sync::CancellationToken;

use super::Storage;
use crate::limits::COMPACTION_INTERVAL;
use crate::watch_cache::Caches;

const KEY: &[u8] = b"compact_rev_key";

/// Compacts until `shutdown`. What was the revision one interval ago is what may go.
pub(crate) async fn run(storage: Arc<Storage>, caches: Arc<Caches>, shutdown: CancellationToken) {
    let mut seen = None;
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(COMPACTION_INTERVAL) => {}
        }
        match round(&storage, seen).await {
            Ok(next) => {
                caches.forget_before(next.compacted);
                seen = Some(next);
            }
            Err(error) => tracing::warn!(%error, "compaction failed, will try again"),
        }
    }
}

/// What a round saw.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    /// Version of the key.
    version: i64,
    /// Revision of the store.
    revision: i64,
    /// Revisions before this one are gone.
    compacted: u64,
}

/// One round; `seen` is what the last one saw.
async fn round(storage: &Storage, seen: Option<Seen>) -> Result<Seen, Error> {
    let key = Bytes::from_static(KEY);
    let Seen { version, revision, .. } = seen.unwrap_or_default();
    let unchanged = rpc::Compare {
        result: rpc::compare::CompareResult::Equal.into(),
        target: rpc::compare::CompareTarget::Version.into(),
        key: key.clone(),
        target_union: Some(rpc::compare::TargetUnion::Version(version)),
        ..compare::mod_revision_is(key.clone(), 0)
    };
    let request = rpc::TxnRequest {
        compare: vec![unchanged],
        success: vec![op::put(key.clone(), revision.to_string(), 0)],
        failure: vec![op::get(key)],
    };
    let response = storage.client().txn(request).await?;
    let now = response.header.as_ref().map_or(0, |header| header.revision);
    if !response.succeeded {
        // Another server does it in this interval; note where it stands.
        let kept = response.responses.into_iter().find_map(super::range_answer);
        let version = kept.as_ref().map_or(0, |kv| kv.version);
        let compacted = kept.and_then(|kv| std::str::from_utf8(&kv.value).ok()?.parse().ok());
        return Ok(Seen { version, revision: now, compacted: compacted.unwrap_or(0) });
    }
    if revision > 0 {
        match storage.client().compact(revision).await {
            Ok(_) | Err(Error::Compacted { .. }) => {
                tracing::debug!(revision, "store compacted");
            }
            Err(error) => return Err(error),
        }
    }
    Ok(Seen { version: version + 1, revision: now, compacted: super::unsigned(revision) })
}
