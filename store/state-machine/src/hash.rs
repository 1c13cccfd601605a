//! The checksum of a history, byte for byte as etcd's `HashKV` makes it.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use prost::Message;
use proto::mvccpb::KeyValue;
use proto::orlop::store::v1::Record;

use crate::disk::REV;
use crate::error::Fault;
use crate::keys::Revision;
use crate::view::Frozen;

/// Records that were replaced: main and sub.
type Replaced = BTreeSet<(i64, u32)>;

fn scan(
    frozen: &Frozen<'_>,
    revisions: RangeInclusive<i64>,
    mut each: impl FnMut(Revision, Record),
) -> Result<(), Fault> {
    let start = Revision::first_of(*revisions.start()).to_key();
    let end = Revision::first_of(revisions.end().saturating_add(1)).to_key().to_vec();
    frozen.scan(REV, &start, Some(end), |key, record| {
        let revision =
            Revision::from_key(key).ok_or_else(|| Fault::damaged("key of a revision"))?;
        each(revision, record);
        Ok(true)
    })
}

/// The records up to the compacted revision that do not count, as of `at`. etcd's rule: what a key
/// still is at `at` counts; only if no key is left at `at`, what keys were at the compacted revision.
fn replaced(frozen: &Frozen<'_>, at: i64, compacted: i64) -> Result<Replaced, Fault> {
    let mut by_then = Replaced::new();
    let mut since = Replaced::new();
    scan(frozen, 0..=compacted.min(at), |_, record| {
        if record.previous_main != 0 {
            by_then.insert((record.previous_main, record.previous_sub));
        }
    })?;
    let mut live = 0_i64;
    scan(frozen, 0..=compacted.min(at), |revision, record| {
        live += i64::from(!record.deleted && !by_then.contains(&(revision.main, revision.sub)));
    })?;
    scan(frozen, compacted + 1..=at, |_, record| {
        if (1..=compacted).contains(&record.previous_main) {
            since.insert((record.previous_main, record.previous_sub));
        }
        // The first version of a key makes one more, a deletion one less.
        let first = record.kv.as_ref().is_some_and(|kv| kv.version == 1);
        live += i64::from(first && !record.deleted) - i64::from(record.deleted);
    })?;
    if live != 0 {
        by_then.append(&mut since);
    }
    Ok(by_then)
}

/// Hashes the records up to `at`: every one above the compacted revision, and those that count up to
/// it, but for deletions. The same before and after the others are removed from the disk.
pub(crate) fn history(frozen: &Frozen<'_>, at: i64, compacted: i64) -> Result<u32, Fault> {
    let replaced = replaced(frozen, at, compacted)?;
    let mut hash = crc32c::crc32c(b"key");
    scan(frozen, 0..=at, |revision, record| {
        let gone = revision.main <= compacted
            && (record.deleted || replaced.contains(&(revision.main, revision.sub)));
        if gone {
            return;
        }
        let mut name = Vec::with_capacity(18);
        name.extend(revision.main.to_be_bytes());
        name.push(b'_');
        name.extend(u64::from(revision.sub).to_be_bytes());
        let kv = record.kv.unwrap_or_default();
        let value = if record.deleted {
            name.push(b't');
            KeyValue { key: kv.key, ..KeyValue::default() }.encode_to_vec()
        } else {
            kv.encode_to_vec()
        };
        hash = crc32c::crc32c_append(hash, &name);
        hash = crc32c::crc32c_append(hash, &value);
    })?;
    Ok(hash)
}
