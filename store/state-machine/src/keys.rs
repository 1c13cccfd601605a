//! The bytes of every RocksDB key, and ranges of user keys. No other file builds a key.
//!
//! | Column family | Key | Value |
//! |---|---|---|
//! | `live` | the user's key | newest `Record` of it, deletions included until compacted |
//! | `rev` | main (8 bytes, big-endian), sub (4 bytes, big-endian) | `Record` |
//! | `meta` | `applied`, `membership` | opaque bytes of the log's owner |
//! | `meta` | `state` | `StateRecord` |
//! | `meta` | `compact` | how far the physical removal has come (node-local) |
//! | `meta` | `lease/` id (8 bytes, big-endian) | `LeaseRecord` |
//! | `meta` | `member/` id (8 bytes, big-endian) | `Member` |
//! | `meta` | `removed/` id (8 bytes, big-endian) | empty: an id that is never used again |
//! | `meta` | `alarm/` kind (4 bytes), member id (8 bytes), big-endian | `AlarmMember` |
//! | `meta` | `fenced/` member id (8 bytes, big-endian) | empty: its data differ from the others' |
//! | `meta` | `auth` | `AuthRecord` |
//! | `meta` | `user/` name | `User` |
//! | `meta` | `role/` name | `Role` |

use bytes::Bytes;

pub(crate) const APPLIED: &[u8] = b"applied";
pub(crate) const MEMBERSHIP: &[u8] = b"membership";
pub(crate) const STATE: &[u8] = b"state";
pub(crate) const COMPACT: &[u8] = b"compact";
pub(crate) const LEASE_PREFIX: &[u8] = b"lease/";
pub(crate) const MEMBER_PREFIX: &[u8] = b"member/";
pub(crate) const REMOVED_PREFIX: &[u8] = b"removed/";
pub(crate) const FENCED_PREFIX: &[u8] = b"fenced/";
pub(crate) const ALARM_PREFIX: &[u8] = b"alarm/";
pub(crate) const AUTH: &[u8] = b"auth";
pub(crate) const USER_PREFIX: &[u8] = b"user/";
pub(crate) const ROLE_PREFIX: &[u8] = b"role/";

/// The place of one write: which revision, and where among the writes of that revision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Revision {
    /// The store's revision.
    pub main: i64,
    /// From zero, in the order of the writes of one command.
    pub sub: u32,
}

impl Revision {
    pub(crate) const fn first_of(main: i64) -> Self {
        Self { main, sub: 0 }
    }

    /// Big-endian, so that the byte order is the order of the writes.
    pub(crate) fn to_key(self) -> [u8; 12] {
        let mut key = [0; 12];
        key[..8].copy_from_slice(&self.main.to_be_bytes());
        key[8..].copy_from_slice(&self.sub.to_be_bytes());
        key
    }

    pub(crate) fn from_key(key: &[u8]) -> Option<Self> {
        let (main, sub) = key.split_at_checked(8)?;
        Some(Self {
            main: i64::from_be_bytes(main.try_into().ok()?),
            sub: u32::from_be_bytes(sub.try_into().ok()?),
        })
    }
}

fn with_id(prefix: &[u8], id: u64) -> Vec<u8> {
    [prefix, &id.to_be_bytes()].concat()
}

pub(crate) fn lease(id: i64) -> Vec<u8> {
    with_id(LEASE_PREFIX, id.cast_unsigned())
}

pub(crate) fn member(id: u64) -> Vec<u8> {
    with_id(MEMBER_PREFIX, id)
}

pub(crate) fn removed(id: u64) -> Vec<u8> {
    with_id(REMOVED_PREFIX, id)
}

pub(crate) fn removed_id(key: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(key.strip_prefix(REMOVED_PREFIX)?.try_into().ok()?))
}

pub(crate) fn fenced(id: u64) -> Vec<u8> {
    with_id(FENCED_PREFIX, id)
}

pub(crate) fn fenced_id(key: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(key.strip_prefix(FENCED_PREFIX)?.try_into().ok()?))
}

pub(crate) fn alarm(kind: i32, member: u64) -> Vec<u8> {
    [ALARM_PREFIX, &kind.to_be_bytes(), &member.to_be_bytes()].concat()
}

pub(crate) fn user(name: &str) -> Vec<u8> {
    [USER_PREFIX, name.as_bytes()].concat()
}

pub(crate) fn role(name: &str) -> Vec<u8> {
    [ROLE_PREFIX, name.as_bytes()].concat()
}

/// Which user keys a request means, by etcd's rules for `key` and `range_end`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyRange {
    /// `range_end` was empty.
    One(Bytes),
    /// From the first, up to but without the second; empty when they are not in order.
    Between(Bytes, Bytes),
    /// `range_end` was a zero byte: everything from this key on.
    From(Bytes),
}

impl KeyRange {
    /// Reads `key` and `range_end` of a request.
    #[must_use]
    pub fn new(key: &Bytes, range_end: &Bytes) -> Self {
        match range_end.as_ref() {
            [] => Self::One(key.clone()),
            [0] => Self::From(key.clone()),
            _ => Self::Between(key.clone(), range_end.clone()),
        }
    }

    /// Whether `key` is meant.
    #[must_use]
    pub fn contains(&self, key: &[u8]) -> bool {
        match self {
            Self::One(one) => one.as_ref() == key,
            Self::Between(start, end) => start.as_ref() <= key && key < end.as_ref(),
            Self::From(start) => start.as_ref() <= key,
        }
    }

    /// The smallest key that can be meant.
    #[must_use]
    pub fn start(&self) -> &[u8] {
        match self {
            Self::One(start) | Self::Between(start, _) | Self::From(start) => start,
        }
    }

    /// The smallest key above all that are meant; none when there is no such key.
    #[must_use]
    pub fn end(&self) -> Option<Vec<u8>> {
        match self {
            Self::One(one) => Some([one.as_ref(), &[0]].concat()),
            Self::Between(_, end) => Some(end.to_vec()),
            Self::From(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Bytes, KeyRange, Revision};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn revision_keys_sort_as_revisions(a in 0..i64::MAX, b in 0..i64::MAX, s: u32, t: u32) {
            let (left, right) = (Revision { main: a, sub: s }, Revision { main: b, sub: t });
            prop_assert_eq!(left.cmp(&right), left.to_key().cmp(&right.to_key()));
            prop_assert_eq!(Revision::from_key(&left.to_key()), Some(left));
        }

        #[test]
        fn a_range_contains_what_lies_between_its_ends(
            key in proptest::collection::vec(0u8..4, 1..4),
            end in proptest::collection::vec(0u8..4, 0..4),
            probe in proptest::collection::vec(0u8..4, 1..4),
        ) {
            let range = KeyRange::new(&Bytes::from(key), &Bytes::from(end));
            let above = range.end().is_some_and(|end| probe >= end);
            let between = range.start() <= probe.as_slice() && !above;
            prop_assert_eq!(range.contains(&probe), between);
        }
    }
}
