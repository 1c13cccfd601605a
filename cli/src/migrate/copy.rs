//! Makes the target equal to the source as of one revision, and says whether it is.

use std::sync::Arc;

use anyhow::{Context as _, bail};
use sha2::{Digest as _, Sha256};
use store_client::mvccpb::KeyValue;
use tokio::task::JoinSet;

use super::report::Report;
use super::side::Side;
use super::target::{Change, Target, text};
use super::walk::{Cursor, Pair, Walk};
use crate::limits;

/// What a copy did.
pub(super) struct Copied {
    /// The target holds what the source held at this revision.
    pub(super) revision: i64,
    pub(super) keys: u64,
    pub(super) written: u64,
    pub(super) deleted: u64,
}

/// Changes that become one transaction.
#[derive(Default)]
struct Batch {
    changes: Vec<Change>,
    bytes: usize,
}

impl Batch {
    fn has_room(&self, change: &Change, changes_max: usize) -> bool {
        self.changes.is_empty()
            || self.changes.len() < changes_max
                && self.bytes + change.bytes() <= limits::MIGRATE_TXN_BYTES
    }

    fn push(&mut self, change: Change) {
        self.bytes += change.bytes();
        self.changes.push(change);
    }
}

/// Changes as transactions that the target takes.
pub(super) fn batches(changes: impl IntoIterator<Item = Change>, max: usize) -> Vec<Vec<Change>> {
    let mut done = Vec::new();
    let mut batch = Batch::default();
    for change in changes {
        if !batch.has_room(&change, max) {
            done.push(std::mem::take(&mut batch).changes);
        }
        batch.push(change);
    }
    if !batch.changes.is_empty() {
        done.push(batch.changes);
    }
    done
}

fn change(pair: &Pair) -> Change {
    let put = pair.source.as_ref().map(|kv| (kv.value.clone(), kv.lease));
    Change { key: pair.key(), put }
}

/// Writes what differs, however much the target holds already. When the source forgets the revision
/// that is read, the walk goes on at a newer one, and a second walk sets right what came before.
pub(super) async fn copy(
    source: &Side,
    target: &Arc<Target>,
    report: &Report,
) -> anyhow::Result<Copied> {
    let (mut written, mut deleted) = (0, 0);
    for _ in 0..limits::MIGRATE_PASSES_MAX {
        let walked = pass(source, target, report).await?;
        written += walked.0.written;
        deleted += walked.0.deleted;
        if walked.1 {
            target.step(&[], walked.0.revision).await?;
            return Ok(Copied { written, deleted, ..walked.0 });
        }
        // Writes of this walk that are still on their way must not meet the next one.
        target.step(&[], 0).await?;
    }
    bail!(
        "the source forgets its revisions faster than they can be read: give it a longer \
         --auto-compaction-retention, or compact it less often, while it is copied"
    )
}

/// One walk; true when it was at one revision from first to last.
async fn pass(
    source: &Side,
    target: &Arc<Target>,
    report: &Report,
) -> anyhow::Result<(Copied, bool)> {
    let revision = source.now().await?.revision;
    let own = target.side.now().await?.revision;
    let mut walk =
        Walk { source: Cursor::new(source, revision), target: Cursor::new(&target.side, own) };
    let mut copied = Copied { revision, keys: 0, written: 0, deleted: 0 };
    let mut writes = JoinSet::new();
    let mut batch = Batch::default();
    report.begin("copy");
    while let Some(pair) = walk.next().await? {
        copied.keys += u64::from(pair.source.is_some());
        report.walked("copy", copied.keys, walk.source.total, walk.source.revision);
        if pair.is_equal() {
            continue;
        }
        copied.written += u64::from(pair.source.is_some());
        copied.deleted += u64::from(pair.source.is_none());
        let change = change(&pair);
        if !batch.has_room(&change, target.changes_max) {
            send(&mut writes, target, std::mem::take(&mut batch)).await?;
        }
        batch.push(change);
    }
    send(&mut writes, target, batch).await?;
    while let Some(done) = writes.join_next().await {
        done.context("writing broke")??;
    }
    copied.revision = walk.source.revision;
    Ok((copied, walk.source.moved == 0))
}

/// Hands a transaction on, and waits while too many are under way.
async fn send(
    writes: &mut JoinSet<anyhow::Result<()>>,
    target: &Arc<Target>,
    batch: Batch,
) -> anyhow::Result<()> {
    while writes.len() >= limits::MIGRATE_WRITES {
        if let Some(done) = writes.join_next().await {
            done.context("writing broke")??;
        }
    }
    if !batch.changes.is_empty() {
        let target = Arc::clone(target);
        writes.spawn(async move { target.write(&batch.changes).await });
    }
    Ok(())
}

/// Keys, values and leases, in the order of the keys.
#[derive(Default)]
struct Content {
    keys: u64,
    hash: Sha256,
}

impl Content {
    fn add(&mut self, kv: &KeyValue) {
        self.keys += 1;
        for part in [&kv.key, &kv.value] {
            self.hash.update((part.len() as u64).to_be_bytes());
            self.hash.update(part);
        }
        self.hash.update(kv.lease.to_be_bytes());
    }

    fn finish(self) -> (u64, String) {
        let hash = self.hash.finalize();
        (self.keys, hash.iter().map(|byte| format!("{byte:02x}")).collect())
    }
}

/// What both hold, when that is the same.
pub(super) struct Equal {
    pub(super) keys: u64,
    pub(super) sha256: String,
}

/// Reads both whole, and compares: the source at `revision`, the target as it is.
pub(super) async fn verify(
    source: &Side,
    target: &Side,
    revision: i64,
    report: &Report,
) -> anyhow::Result<Equal> {
    let own = target.now().await?.revision;
    let mut walk = Walk { source: Cursor::new(source, revision), target: Cursor::new(target, own) };
    let (mut theirs, mut ours) = (Content::default(), Content::default());
    let mut different = Vec::new();
    let mut count = 0u64;
    report.begin("check");
    while let Some(pair) = walk.next().await? {
        pair.source.iter().for_each(|kv| theirs.add(kv));
        pair.target.iter().for_each(|kv| ours.add(kv));
        report.walked("check", theirs.keys, walk.source.total, revision);
        if !pair.is_equal() {
            count += 1;
            if different.len() < limits::MIGRATE_NAMED {
                different.push(text(&pair.key()));
            }
        }
    }
    if walk.source.moved > 0 {
        bail!("the source was compacted beyond revision {revision} while it was checked");
    }
    let (theirs, ours) = (theirs.finish(), ours.finish());
    if theirs != ours {
        bail!(
            "the contents are not equal: {count} keys differ, among them {different:?}; the source \
             holds {} keys (sha-256 {}), the target {} ({}). Nothing was handed over; --resume \
             compares all keys again and sets them right",
            theirs.0,
            theirs.1,
            ours.0,
            ours.1
        );
    }
    Ok(Equal { keys: ours.0, sha256: ours.1 })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(key: &str, value: usize) -> Change {
        Change { key: key.to_owned().into(), put: Some((vec![0; value].into(), 0)) }
    }

    #[test]
    fn transactions_stay_within_what_the_target_takes() {
        let many = (0..300).map(|number| change(&number.to_string(), 1));
        let sizes: Vec<usize> = batches(many, 127).iter().map(Vec::len).collect();
        assert_eq!(sizes, [127, 127, 46]);
        let large = [change("a", 600_000), change("b", 600_000), change("c", 3_000_000)];
        let sizes: Vec<usize> = batches(large, 127).iter().map(Vec::len).collect();
        assert_eq!(sizes, [1, 1, 1], "one that is too large goes alone, and the target decides");
        assert!(batches([], 127).is_empty());
    }

    #[test]
    fn a_hash_tells_keys_from_values() {
        let hash = |pairs: &[(&str, &str)]| {
            let mut content = Content::default();
            for (key, value) in pairs {
                let (key, value) = ((*key).to_owned().into(), (*value).to_owned().into());
                content.add(&KeyValue { key, value, ..KeyValue::default() });
            }
            content.finish().1
        };
        assert_ne!(hash(&[("ab", "c")]), hash(&[("a", "bc")]));
        assert_ne!(hash(&[("a", ""), ("b", "")]), hash(&[("a", "b")]));
        assert_eq!(hash(&[("a", "b")]), hash(&[("a", "b")]));
    }
}
