//! What etcd keeps in its database: which bucket holds what, in which bytes.
//!
//! | Bucket | Key | Value |
//! |--------|-----|-------|
//! | `key` | main (8), `_`, sub (8), and `t` for a deletion; big-endian | `mvccpb.KeyValue`; of a deletion only its key |
//! | `lease` | id (8), big-endian | id, TTL and remaining TTL as fields 1 to 3 |
//! | `meta` | `consistent_index`, `term` | number (8), big-endian |
//! | `meta` | `confState` | JSON: the ids of voters and learners |
//! | `meta` | `scheduledCompactRev`, `finishedCompactRev` | a revision, as in `key` |
//! | `meta` | `storageVersion` | text, from version 3.6 on |
//! | `members`, `members_removed` | id, hexadecimal | JSON of the member; `removed` |
//! | `cluster` | `clusterVersion` | text |
//! | `alarm` | `etcdserverpb.AlarmMember` | empty |
//! | `auth` | `authEnabled`, `authRevision` | 0 or 1; number (8), big-endian |
//! | `authUsers`, `authRoles` | name | `authpb.User`, `authpb.Role` |

mod decode;
mod encode;

use proto::authpb::{Role, User};
use proto::etcdserverpb::{AlarmMember, Member};
use proto::orlop::store::v1::LeaseRecord;

pub use decode::{read_records, read_state};
pub use encode::{Contents, Records};

pub(crate) const ALARM: &str = "alarm";
pub(crate) const AUTH: &str = "auth";
pub(crate) const AUTH_ROLES: &str = "authRoles";
pub(crate) const AUTH_USERS: &str = "authUsers";
pub(crate) const CLUSTER: &str = "cluster";
pub(crate) const KEY: &str = "key";
pub(crate) const LEASE: &str = "lease";
pub(crate) const MEMBERS: &str = "members";
pub(crate) const MEMBERS_REMOVED: &str = "members_removed";
pub(crate) const META: &str = "meta";
/// All of them, in the order of their names.
pub(crate) const BUCKETS: [&str; 10] =
    [ALARM, AUTH, AUTH_ROLES, AUTH_USERS, CLUSTER, KEY, LEASE, MEMBERS, MEMBERS_REMOVED, META];

pub(crate) const CONSISTENT_INDEX: &str = "consistent_index";
pub(crate) const TERM: &str = "term";
pub(crate) const CONF_STATE: &str = "confState";
pub(crate) const SCHEDULED_COMPACTION: &str = "scheduledCompactRev";
pub(crate) const FINISHED_COMPACTION: &str = "finishedCompactRev";
pub(crate) const STORAGE_VERSION: &str = "storageVersion";
pub(crate) const CLUSTER_VERSION: &str = "clusterVersion";
pub(crate) const AUTH_ENABLED: &str = "authEnabled";
pub(crate) const AUTH_REVISION: &str = "authRevision";

/// The place of one write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The store's revision.
    pub main: i64,
    /// Among the writes of one revision, from zero.
    pub sub: i64,
}

impl Place {
    /// The key in the bucket `key`.
    pub(crate) fn to_key(self) -> [u8; 17] {
        let mut key = [b'_'; 17];
        key[..8].copy_from_slice(&self.main.to_be_bytes());
        key[9..].copy_from_slice(&self.sub.to_be_bytes());
        key
    }

    /// Reads the first 17 bytes of `key`; none when they are no revision.
    pub(crate) fn from_key(key: &[u8]) -> Option<Self> {
        let number = |range: std::ops::Range<usize>| {
            Some(i64::from_be_bytes(key.get(range)?.try_into().ok()?))
        };
        let place = Self { main: number(0..8)?, sub: number(9..17)? };
        (key[8] == b'_' && place.main >= 0 && place.sub >= 0).then_some(place)
    }
}

/// One record of the bucket `key`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// When it was written.
    pub place: Place,
    /// Whether it is a deletion.
    pub deleted: bool,
    /// The encoded key-value.
    pub kv: &'a [u8],
}

/// Users and roles.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Auth {
    /// Whether clients must say who they are.
    pub enabled: bool,
    /// Raised with each change of users and roles; zero when there never was one.
    pub revision: u64,
    /// By name.
    pub users: Vec<User>,
    /// By name.
    pub roles: Vec<Role>,
}

/// Everything in a snapshot but the records of the keys.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct State {
    /// The last applied entry of the log.
    pub index: u64,
    /// Its term.
    pub term: u64,
    /// Ids of those who vote.
    pub voters: Vec<u64>,
    /// Ids of those who do not vote yet.
    pub learners: Vec<u64>,
    /// Reads below it are refused; zero when nothing was compacted.
    pub compacted: i64,
    /// Up to which compacted revision the records are gone that nobody can see.
    pub removed_below: i64,
    /// The level that the cluster speaks; empty when it is not known.
    pub cluster_version: String,
    /// The level of the file, from 3.6 on; empty before.
    pub storage_version: String,
    /// Leases.
    pub leases: Vec<LeaseRecord>,
    /// Members.
    pub members: Vec<Member>,
    /// Ids of members that were removed.
    pub removed_members: Vec<u64>,
    /// Raised alarms.
    pub alarms: Vec<AlarmMember>,
    /// Users and roles.
    pub auth: Auth,
}
