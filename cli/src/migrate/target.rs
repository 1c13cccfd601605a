//! Writes to the target, each of them only while this migration is the one that may.
//!
//! The mark is a key of the migration's own. Every transaction compares its revision, so that a write
//! that was held up on the way, or another migration, can never undo what came later.

use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use store_client::rpc::{PutRequest, RequestOp, TxnRequest};
use store_client::{Error, compare, op};
use tokio::time::Instant;

use super::leases::Leases;
use super::side::Side;
use crate::limits;

/// What a migration writes of itself on the target, until it has handed over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Mark {
    /// The source's cluster id, in hex.
    pub(super) source: String,
    /// Tells runs apart.
    run: String,
    /// Rises with each write of the mark.
    step: u64,
    /// The target holds what the source held at this revision; 0 while keys are copied.
    pub(super) revision: i64,
}

/// What becomes of a key.
#[derive(Debug, Clone)]
pub(super) struct Change {
    pub(super) key: Bytes,
    /// The value and the lease; nothing: it is deleted.
    pub(super) put: Option<(Bytes, i64)>,
}

impl Change {
    pub(super) fn bytes(&self) -> usize {
        let value = self.put.as_ref().map_or(0, |(value, _)| value.len());
        // What the messages around them take, and more.
        self.key.len() + value + 64
    }
}

/// The mark as it is now.
#[derive(Debug, Clone)]
struct Held {
    mark: Mark,
    mod_revision: i64,
}

/// The store that is filled.
pub(super) struct Target {
    pub(super) side: Side,
    leases: Arc<Leases>,
    held: Mutex<Held>,
    /// Changes that one transaction may have; the mark is one operation more.
    pub(super) changes_max: usize,
}

/// What came of a transaction.
enum Outcome {
    /// It was carried out, with the mark's new revision.
    Done(i64),
    /// The mark is not the one that was expected.
    Fenced,
    LeaseMissing,
}

/// Reads the mark that a target has, if any.
pub(super) async fn read_mark(side: &Side) -> anyhow::Result<Option<(Mark, i64)>> {
    let response = side.get(&side.keys.mark).await?;
    let Some(kv) = response.kvs.first() else { return Ok(None) };
    let mark = serde_json::from_slice(&kv.value).with_context(|| {
        format!("the {} has a key {:?} that is no migration's", side.name, text(&side.keys.mark))
    })?;
    Ok(Some((mark, kv.mod_revision)))
}

pub(super) fn text(key: &Bytes) -> String {
    String::from_utf8_lossy(key).into_owned()
}

impl Target {
    /// Takes hold of the target: writes the mark over the one that was found there, if any.
    pub(super) async fn hold(
        side: Side,
        leases: Arc<Leases>,
        source: String,
        found: Option<(Mark, i64)>,
        changes_max: usize,
    ) -> anyhow::Result<Self> {
        let run = format!("{:016x}", rand::random::<u64>());
        let step = found.as_ref().map_or(0, |(mark, _)| mark.step);
        let held = Held {
            mark: Mark { source, run, step, revision: 0 },
            mod_revision: found.map_or(0, |(_, mod_revision)| mod_revision),
        };
        let target = Self { side, leases, held: Mutex::new(held), changes_max };
        target.step(&[], 0).await?;
        Ok(target)
    }

    /// Whether what was found in a store is the mark of this very run: then both are one store.
    pub(super) fn is_own(&self, found: &Mark) -> bool {
        self.held.lock().mark.run == found.run
    }

    /// Makes changes that do not complete a revision; several of these may be under way.
    pub(super) async fn write(&self, changes: &[Change]) -> anyhow::Result<()> {
        let held = self.held.lock().clone();
        self.carry_out(changes, &held, None).await.map(|_| ())
    }

    /// Makes changes after which the target is at `revision` of the source, or still before it. Only
    /// one at a time, and none of [`Target::write`] beside it.
    pub(super) async fn step(&self, changes: &[Change], revision: i64) -> anyhow::Result<()> {
        let held = self.held.lock().clone();
        let mark = Mark { step: held.mark.step + 1, revision, ..held.mark.clone() };
        let mod_revision = self.carry_out(changes, &held, Some(&mark)).await?;
        *self.held.lock() = Held { mark, mod_revision };
        Ok(())
    }

    async fn carry_out(
        &self,
        changes: &[Change],
        held: &Held,
        mark: Option<&Mark>,
    ) -> anyhow::Result<i64> {
        let until = Instant::now() + limits::MIGRATE_PATIENCE;
        let ids: BTreeSet<i64> =
            changes.iter().filter_map(|change| Some(change.put.as_ref()?.1)).collect();
        loop {
            let alive = self.leases.ensure(&ids).await?;
            match self.attempt(changes, &alive, held, mark).await {
                Ok(Outcome::Done(revision)) => return Ok(revision),
                Ok(Outcome::LeaseMissing) if Instant::now() < until => self.leases.forget(&ids),
                Ok(Outcome::LeaseMissing) => bail!("leases do not stay on the target"),
                // Perhaps an earlier attempt did it, of which no answer came.
                Ok(Outcome::Fenced) => match (read_mark(&self.side).await?, mark) {
                    (Some((found, mod_revision)), Some(mark)) if found == *mark => {
                        return Ok(mod_revision);
                    }
                    _ => bail!(
                        "the mark {:?} on the target is not this migration's any more: another one \
                         has taken over, or the key was written by hand",
                        text(&self.side.keys.mark)
                    ),
                },
                Err(Error::Unavailable { .. } | Error::Unknown { .. })
                    if Instant::now() < until =>
                {
                    tokio::time::sleep(limits::MIGRATE_ASK_AGAIN).await;
                }
                Err(error) => return Err(explain(error, changes)),
            }
        }
    }

    async fn attempt(
        &self,
        changes: &[Change],
        alive: &BTreeSet<i64>,
        held: &Held,
        mark: Option<&Mark>,
    ) -> Result<Outcome, Error> {
        let lease_of = |lease: i64| if alive.contains(&lease) { lease } else { 0 };
        let missing = |message: &str| message.contains("requested lease not found");
        if let ([Change { key, put: Some((value, lease)) }], None) = (changes, mark)
            && value.len() > limits::MIGRATE_TXN_BYTES
        {
            // So large that it may only just fit in a request of its own.
            let put = PutRequest {
                key: key.clone(),
                value: value.clone(),
                lease: lease_of(*lease),
                ..PutRequest::default()
            };
            return match self.side.client.put(put).await {
                Ok(_) => Ok(Outcome::Done(0)),
                Err(Error::Refused { message, .. }) if missing(&message) => {
                    Ok(Outcome::LeaseMissing)
                }
                Err(error) => Err(error),
            };
        }
        let mut success: Vec<RequestOp> = changes
            .iter()
            .map(|change| match &change.put {
                Some((value, lease)) => {
                    op::put(change.key.clone(), value.clone(), lease_of(*lease))
                }
                None => op::delete(change.key.clone()),
            })
            .collect();
        let mark_key = &self.side.keys.mark;
        if let Some(mark) = mark {
            let value = serde_json::to_vec(mark).map_err(|why| Error::Config(why.to_string()))?;
            success.push(op::put(mark_key.clone(), value, 0));
        }
        let compare = vec![compare::mod_revision_is(mark_key.clone(), held.mod_revision)];
        let txn = TxnRequest { compare, success, failure: Vec::new() };
        match self.side.client.txn(txn).await {
            Ok(answer) if answer.succeeded => {
                Ok(Outcome::Done(answer.header.map_or(0, |header| header.revision)))
            }
            Ok(_) => Ok(Outcome::Fenced),
            Err(Error::Refused { message, .. }) if missing(&message) => Ok(Outcome::LeaseMissing),
            Err(error) => Err(error),
        }
    }

    /// Removes the mark: the target is its own from now on.
    pub(super) async fn release(&self) -> anyhow::Result<()> {
        let held = self.held.lock().clone();
        let key = &self.side.keys.mark;
        let until = Instant::now() + limits::MIGRATE_PATIENCE;
        loop {
            let compare = vec![compare::mod_revision_is(key.clone(), held.mod_revision)];
            let success = vec![op::delete(key.clone())];
            let txn = TxnRequest { compare, success, failure: Vec::new() };
            match self.side.client.txn(txn).await {
                Ok(answer) if answer.succeeded => return Ok(()),
                // By an attempt of which no answer came.
                Ok(_) if read_mark(&self.side).await?.is_none() => return Ok(()),
                Ok(_) => bail!("another migration has taken over the target"),
                Err(Error::Unavailable { .. } | Error::Unknown { .. })
                    if Instant::now() < until =>
                {
                    tokio::time::sleep(limits::MIGRATE_ASK_AGAIN).await;
                }
                Err(error) => return Err(error).context("removing the migration's mark"),
            }
        }
    }
}

/// What the person can do about a refusal.
fn explain(error: Error, changes: &[Change]) -> anyhow::Error {
    let advice = match &error {
        Error::Refused { message, .. } if message.contains("too many operations") => {
            "the target allows fewer operations in a transaction: lower --txn-ops to its \
             --max-txn-ops"
                .to_owned()
        }
        Error::Refused { message, .. }
            if message.contains("too large") || message.contains("larger than max") =>
        {
            let largest = changes.iter().max_by_key(|change| change.bytes());
            let key = largest.map_or_else(String::new, |change| text(&change.key));
            format!("{key:?} does not fit in a request: raise the target's --max-request-bytes")
        }
        Error::Refused { message, .. } if message.contains("space exceeded") => {
            "the target is full: raise its --quota-backend-bytes and disarm its alarm".to_owned()
        }
        Error::Config(_)
        | Error::Compacted { .. }
        | Error::Refused { .. }
        | Error::Unavailable { .. }
        | Error::Unknown { .. } => "writing to the target".to_owned(),
    };
    anyhow::Error::new(error).context(advice)
}
