//! What the state makes of bytes that a disk gave it, as functions: the doors of `store/fuzz`.
//!
//! Nothing here decodes by itself: each function calls the one that the state uses.

use std::path::Path;

use proto::mvccpb::KeyValue;
use proto::orlop::store::v1::Record;
use store_engine::seal;

use crate::disk::{Disk, LIVE, META, Options, REV};
use crate::error::Fault;
use crate::{codec, compact, export};

/// Where a pair of the state lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// The newest record of each key.
    Live,
    /// Every record, by its revision.
    Rev,
    /// What is not a record.
    Meta,
}

/// Makes the folder of a state out of these pairs, in the bytes in which they are stored.
///
/// # Errors
/// When the disk fails.
pub fn plant(dir: &Path, options: &Options, pairs: &[(Family, &[u8], &[u8])]) -> Result<(), Fault> {
    let disk = Disk::open(dir, options)?;
    let mut batch = disk.batch();
    for (family, key, value) in pairs {
        let family = match family {
            Family::Live => LIVE,
            Family::Rev => REV,
            Family::Meta => META,
        };
        batch.put(disk.family(family), key, value);
    }
    disk.write(batch)?;
    disk.flush()
}

/// The files that the text of a seal names, with their sizes and checksums; none for a damaged one.
#[must_use]
pub fn seal(bytes: &[u8]) -> Option<Vec<(String, u64, u32)>> {
    seal::listed(bytes)
}

/// A stored record, as reads decode it: none when it holds no key.
///
/// # Errors
/// [`Fault::Damaged`].
pub fn record(stored: &[u8]) -> Result<Option<(bool, KeyValue)>, Fault> {
    let record: Record = codec::decode(stored)?;
    Ok(record.kv.map(|kv| (record.deleted, kv)))
}

/// A stored record, as backups cut it: whether it is a deletion, and the encoded key-value.
///
/// # Errors
/// [`Fault::Damaged`].
pub fn cut(stored: &[u8]) -> Result<(bool, &[u8]), Fault> {
    export::split(codec::body(stored)?)
}

/// How far the removal behind compactions has come.
///
/// # Errors
/// [`Fault::Damaged`].
pub fn progress(stored: &[u8]) -> Result<i64, Fault> {
    compact::finished(stored)
}
