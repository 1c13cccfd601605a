//! The whole state as of one moment, read while apply goes on: what backups are made from.

use std::sync::Arc;

use bytes::Bytes;
use prost::Message;
use prost::encoding::decode_varint;
use proto::etcdserverpb::{AlarmMember, Member};
use proto::mvccpb::KeyValue;
use proto::orlop::store::v1::LeaseRecord;
use store_engine::Reading;

use crate::auth::Auth;
use crate::codec;
use crate::compact;
use crate::disk::{META, REV};
use crate::error::Fault;
use crate::keys::{self, Revision};
use crate::view::{Frozen, View};

/// All that the state holds beside the records of the keys.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Facts {
    /// The store's revision.
    pub revision: i64,
    /// Reads below it are refused; zero when nothing was compacted.
    pub compacted: i64,
    /// Up to which compacted revision the records that nobody can see are gone from the disk.
    pub removed_below: i64,
    /// Log id of the last applied entry, as bytes of the log's owner.
    pub applied: Option<Bytes>,
    /// The membership as the log's owner stored it.
    pub membership: Option<Bytes>,
    /// Zero before it is set.
    pub cluster_id: u64,
    /// Empty before it is set.
    pub cluster_version: String,
    /// By id.
    pub leases: Vec<LeaseRecord>,
    /// By id.
    pub members: Vec<Member>,
    /// Ids that are never used again.
    pub removed_members: Vec<u64>,
    /// Raised alarms.
    pub alarms: Vec<AlarmMember>,
    /// Users and roles.
    pub auth: Arc<Auth>,
}

/// One record as etcd stores it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written<'a> {
    /// When it was written.
    pub revision: Revision,
    /// Whether it is a deletion.
    pub deleted: bool,
    /// The encoded key-value; of a deletion it holds only the key.
    pub kv: &'a [u8],
}

/// The state as of one moment. Nothing that happens later changes what it shows.
pub struct Export<'a> {
    frozen: Frozen<'a>,
    /// Without the records.
    pub facts: Facts,
}

impl View {
    /// Calls `work` with the state as of now. The disk keeps what `work` can see for as long as it
    /// runs, and nothing waits for it.
    ///
    /// # Errors
    /// Those of `work`, and a fault of this member.
    pub fn export<T, E: From<Fault>>(
        &self,
        work: impl FnOnce(&Export<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let registry = self.shared.registry.read();
        let state = self.shared.state.read();
        let disk = Arc::clone(&state.disk);
        // Apply holds the first lock from its first change to its last: this is between two of them.
        let frozen = Frozen { disk: &disk, snapshot: disk.db.snapshot() };
        let alarm =
            |(alarm, member_id): &(i32, u64)| AlarmMember { member_id: *member_id, alarm: *alarm };
        let mut facts = Facts {
            revision: state.revision,
            compacted: state.compacted,
            removed_below: 0,
            applied: state.applied.clone(),
            membership: state.membership.clone(),
            cluster_id: registry.cluster_id,
            cluster_version: registry.cluster_version.clone(),
            leases: registry.leases.values().map(|lease| lease.record).collect(),
            members: registry.members.values().cloned().collect(),
            removed_members: registry.removed.iter().copied().collect(),
            alarms: registry.alarms.iter().map(alarm).collect(),
            auth: Arc::clone(&registry.auth),
        };
        drop(state);
        drop(registry);
        let progress = frozen.snapshot.get(disk.family(META), keys::COMPACT);
        if let Some(stored) = progress.map_err(Fault::from)? {
            facts.removed_below = compact::finished(&stored)?;
        }
        work(&Export { frozen, facts })
    }
}

impl Export<'_> {
    /// Calls `each` with every record, in the order in which they were written.
    ///
    /// # Errors
    /// Those of `each`, and a fault of this member.
    pub fn records<E: From<Fault>>(
        &self,
        mut each: impl FnMut(Written<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let family = self.frozen.disk.family(REV);
        let end = Revision::first_of(self.facts.revision.saturating_add(1)).to_key();
        let reading = Reading {
            end: Some(end.to_vec()),
            // A backup reads everything once; what clients read often must stay in memory.
            fill_cache: false,
            readahead_bytes: Some(READAHEAD_BYTES),
        };
        let mut iterator = self.frozen.snapshot.cursor(family, reading);
        iterator.seek(&[]);
        let mut bare = Vec::new();
        while let Some((key, stored)) = iterator.item() {
            let revision =
                Revision::from_key(key).ok_or_else(|| Fault::damaged("key of a revision"))?;
            let (deleted, kv) = split(codec::body(stored)?)?;
            if deleted {
                let full =
                    KeyValue::decode(kv).map_err(|error| Fault::damaged(error.to_string()))?;
                bare.clear();
                let only_key = KeyValue { key: full.key, ..KeyValue::default() };
                only_key.encode(&mut bare).expect("a vector has room");
                each(Written { revision, deleted, kv: &bare })?;
            } else {
                each(Written { revision, deleted, kv })?;
            }
            iterator.next();
        }
        Ok(iterator.status().map_err(Fault::from)?)
    }
}

const READAHEAD_BYTES: usize = 2 << 20;

/// Finds the key-value inside a record, which is stored as etcd stores it, without decoding it: a
/// backup copies all of them.
pub(crate) fn split(record: &[u8]) -> Result<(bool, &[u8]), Fault> {
    const KV: u64 = 1;
    const DELETED: u64 = 5;
    let torn = || Fault::damaged("record is torn");
    let (mut rest, mut deleted, mut kv) = (record, false, None);
    while !rest.is_empty() {
        let tag = decode_varint(&mut rest).map_err(|_| torn())?;
        let (field, wire_type) = (tag >> 3, tag & 7);
        let number = decode_varint(&mut rest).map_err(|_| torn())?;
        match (field, wire_type) {
            (KV, 2) => {
                let length = usize::try_from(number).map_err(|_| torn())?;
                let (found, after) = rest.split_at_checked(length).ok_or_else(torn)?;
                (kv, rest) = (Some(found), after);
            }
            (DELETED, 0) => deleted = number != 0,
            (_, 0) => {}
            (field, _) => return Err(Fault::damaged(format!("record has a field {field}"))),
        }
    }
    Ok((deleted, kv.ok_or_else(|| Fault::damaged("record without a key"))?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::orlop::store::v1::Record;

    /// A backup copies the stored key-value as it is: it must be what etcd's own encoding gives.
    #[test]
    fn the_key_value_is_cut_out_of_its_record() {
        let kv = KeyValue {
            key: Bytes::from_static(b"k"),
            create_revision: 3,
            mod_revision: 900,
            version: 2,
            value: Bytes::from(vec![7; 300]),
            lease: -1,
        };
        let record = Record {
            kv: Some(kv.clone()),
            sub: 4,
            previous_main: 8,
            previous_sub: 1,
            deleted: false,
        };
        let stored = record.encode_to_vec();
        assert_eq!(split(&stored).unwrap(), (false, kv.encode_to_vec().as_slice()));
        for length in 0..stored.len() {
            // Shortened anywhere, it is refused or means the same without its last fields.
            if let Ok((_, found)) = split(&stored[..length]) {
                assert_eq!(found, kv.encode_to_vec());
            }
        }
    }
}
