//! The checksum of a history, byte for byte as etcd's `HashKV` makes it.

use std::collections::BTreeSet;

use prost::Message;
use proto::mvccpb::KeyValue;

use crate::disk::REV;
use crate::error::Fault;
use crate::keys::Revision;
use crate::view::Frozen;

/// Hashes the records up to `at` that compaction to `compacted` keeps, removed from disk yet or not.
pub(crate) fn history(frozen: &Frozen<'_>, at: i64, compacted: i64) -> Result<u32, Fault> {
    let below = |main: i64| Some(Revision::first_of(main.saturating_add(1)).to_key().to_vec());

    let mut superseded = BTreeSet::new();
    frozen.scan(REV, &[], below(compacted), |_, record| {
        if record.previous_main != 0 {
            superseded.insert((record.previous_main, record.previous_sub));
        }
        Ok(true)
    })?;

    let mut hash = crc32c::crc32c(b"key");
    frozen.scan(REV, &[], below(at), |key, record| {
        let revision =
            Revision::from_key(key).ok_or_else(|| Fault::damaged("key of a revision"))?;
        let gone = superseded.contains(&(revision.main, revision.sub))
            || (record.deleted && revision.main < compacted);
        if gone {
            return Ok(true);
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
        Ok(true)
    })?;
    Ok(hash)
}
