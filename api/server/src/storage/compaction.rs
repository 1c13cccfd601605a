//! Forgets old revisions every five minutes; servers of one store agree by `compact_rev_key`.

use std::sync::Arc;

use bytes::Bytes;
use store_client::{Error, compare, op, rpc};
use tokio_util::sync::CancellationToken;

use super::Storage;
use crate::limits::COMPACTION_INTERVAL;

const KEY: &[u8] = b"compact_rev_key";

/// Compacts until `shutdown`. What was the revision one interval ago is what may go.
pub(crate) async fn run(storage: Arc<Storage>, shutdown: CancellationToken) {
    let mut seen: Option<(i64, i64)> = None;
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(COMPACTION_INTERVAL) => {}
        }
        match round(&storage, seen).await {
            Ok(next) => seen = Some(next),
            Err(error) => tracing::warn!(%error, "compaction failed, will try again"),
        }
    }
}

/// One round; `seen` is the key's version and the store's revision at the last one.
async fn round(storage: &Storage, seen: Option<(i64, i64)>) -> Result<(i64, i64), Error> {
    let key = Bytes::from_static(KEY);
    let (version, revision) = seen.unwrap_or((0, 0));
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
        let version = response.responses.into_iter().find_map(|answer| match answer.response? {
            rpc::response_op::Response::ResponseRange(range) => {
                range.kvs.first().map(|kv| kv.version)
            }
            rpc::response_op::Response::ResponsePut(_)
            | rpc::response_op::Response::ResponseDeleteRange(_)
            | rpc::response_op::Response::ResponseTxn(_) => None,
        });
        return Ok((version.unwrap_or(0), now));
    }
    if revision > 0 {
        match storage.client().compact(revision).await {
            Ok(_) | Err(Error::Compacted { .. }) => {
                tracing::debug!(revision, "store compacted");
            }
            Err(error) => return Err(error),
        }
    }
    Ok((version + 1, now))
}
