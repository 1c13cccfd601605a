//! A running checksum of all that was applied: two members that say the same number after the same
//! entry have done the same with every entry since the number began.
//!
//! | Rule | What always holds |
//! |------|-------------------|
//! | D1 | The same log, applied to the same state, gives the same digest, however it was cut into `apply` calls, and however far the physical compaction has come. |
//! | D2 | What an entry writes, whom it refuses and where it stands change the digest, for good. |
//! | D3 | Digests say something about each other only if they were made of equally many entries, up to the same one, by the same scheme. |

use bytes::{BufMut, Bytes};
use proto::orlop::store::v1::StateRecord;
use twox_hash::XxHash3_64;

use crate::error::Refusal;
use crate::staged::Staged;

/// Raised when the same command is stored or refused in another way than by the version before: members
/// of two versions then differ by right. A chain of another scheme is not gone on with.
pub const DIGEST_SCHEME: u32 = 1;

/// What has been applied since the chain began, in sixteen bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Digest {
    /// How many entries it was made of.
    pub entries: u64,
    /// Equal where these entries did the same.
    pub value: u64,
}

impl Digest {
    /// As it was stored; a new one where there was none, or one of another scheme.
    pub(crate) fn stored(record: &StateRecord) -> Self {
        if record.digest_scheme == DIGEST_SCHEME {
            Self { entries: record.digested, value: record.digest }
        } else {
            Self::default()
        }
    }

    fn fold(&mut self, writes: &[u8], facts: &[u8]) {
        self.entries += 1;
        let value = XxHash3_64::oneshot_with_seed(self.value, writes);
        self.value = XxHash3_64::oneshot_with_seed(value, facts);
    }
}

impl Staged<'_> {
    /// D2: takes in what one entry did: the bytes that it added to the batch, and what is stored only
    /// with the last entry of a call, or nowhere. Revisions say what the writes do not.
    pub(crate) fn digest_entry<T>(
        &mut self,
        log_id: &[u8],
        membership: Option<&Bytes>,
        outcomes: &[Result<T, Refusal>],
    ) {
        let facts = &mut self.facts;
        facts.clear();
        facts.put_i64_le(self.revision);
        facts.put_i64_le(self.compacted);
        facts.put_u64_le(self.registry.cluster_id);
        let version = self.registry.cluster_version.as_bytes();
        for part in [log_id, version, membership.map_or(&[], |bytes| bytes)] {
            facts.put_u64_le(part.len() as u64);
            facts.put_slice(part);
        }
        for outcome in outcomes {
            facts.put_i32_le(outcome.as_ref().err().map_or(0, |refusal| refusal.to_wire().into()));
        }
        let writes = self.batch.data();
        self.digest.fold(&writes[self.digested_bytes..], facts);
        self.digested_bytes = writes.len();
    }
}

#[cfg(test)]
mod tests {
    use crate::disk::{Disk, LIVE, META, Options, REV};

    /// D1: a batch names families by numbers, which RocksDB gives out in the order in which they are made.
    #[test]
    fn families_have_the_same_numbers_on_every_member() {
        let dir = tempfile::tempdir().unwrap();
        let options = Options { block_cache_bytes: 1 << 20, ..Options::default() };
        let numbered = |disk: &Disk| {
            for (name, number) in [LIVE, REV, META].into_iter().zip(1..) {
                let mut batch = disk.batch();
                let header = batch.size_in_bytes();
                batch.put(disk.family(name), "key", "value");
                assert_eq!(batch.data()[header + 1], number, "{name}");
            }
        };
        let made = Disk::open(&dir.path().join("made"), &options).unwrap();
        numbered(&made);
        let received = dir.path().join("other").join("received");
        let other = Disk::open(&dir.path().join("other"), &options).unwrap();
        made.checkpoint(&received).unwrap();
        numbered(&other.install(&received, &options).unwrap());
        drop(made);
        numbered(&Disk::open(&dir.path().join("made"), &options).unwrap());
    }
}
