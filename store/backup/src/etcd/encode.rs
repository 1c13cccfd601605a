//! A state and its records as the pairs of etcd's buckets.

use prost::Message as _;
use proto::etcdserverpb::Member;
use serde::Serialize;

use super::{
    ALARM, AUTH, AUTH_ENABLED, AUTH_REVISION, AUTH_ROLES, AUTH_USERS, BUCKETS, CLUSTER,
    CLUSTER_VERSION, CONF_STATE, CONSISTENT_INDEX, FINISHED_COMPACTION, KEY, LEASE, MEMBERS,
    MEMBERS_REMOVED, META, Place, Record, SCHEDULED_COMPACTION, STORAGE_VERSION, State, TERM,
};
use crate::bbolt::{Content, EachPair};
use crate::error::Failure;

/// Where the records come from.
pub trait Records<E> {
    /// Calls `each` with every record, in order; the same ones at every call.
    ///
    /// # Errors
    /// Its own, and those of `each`.
    fn visit(&self, each: &mut dyn FnMut(Record<'_>) -> Result<(), E>) -> Result<(), E>;
}

/// What a snapshot is made of.
pub struct Contents<'a, R> {
    /// Buckets but `key`, in the order of [`BUCKETS`].
    small: Vec<Vec<Pair>>,
    records: &'a R,
}

type Pair = (Vec<u8>, Vec<u8>);

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct MemberJson<'a> {
    id: u64,
    #[serde(rename = "peerURLs")]
    peer_urls: &'a [String],
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    is_learner: bool,
    #[serde(skip_serializing_if = "str::is_empty")]
    name: &'a str,
    #[serde(rename = "clientURLs", skip_serializing_if = "<[String]>::is_empty")]
    client_urls: &'a [String],
}

#[derive(Serialize)]
struct ConfState<'a> {
    #[serde(skip_serializing_if = "<[u64]>::is_empty")]
    voters: &'a [u64],
    #[serde(skip_serializing_if = "<[u64]>::is_empty")]
    learners: &'a [u64],
    auto_leave: bool,
}

fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("numbers and text have a JSON form")
}

fn member(member: &Member) -> Pair {
    let value = MemberJson {
        id: member.id,
        peer_urls: &member.peer_urls,
        is_learner: member.is_learner,
        name: &member.name,
        client_urls: &member.client_urls,
    };
    (format!("{:x}", member.id).into(), json(&value))
}

fn meta(state: &State) -> Vec<Pair> {
    let mut pairs: Vec<Pair> = Vec::new();
    let mut put = |key: &str, value: Vec<u8>| pairs.push((key.into(), value));
    let conf = ConfState { voters: &state.voters, learners: &state.learners, auto_leave: false };
    put(CONF_STATE, json(&conf));
    put(CONSISTENT_INDEX, state.index.to_be_bytes().into());
    put(TERM, state.term.to_be_bytes().into());
    if state.removed_below > 0 {
        let place = Place { main: state.removed_below, sub: 0 };
        put(FINISHED_COMPACTION, place.to_key().into());
    }
    if state.compacted > 0 {
        let place = Place { main: state.compacted, sub: 0 };
        put(SCHEDULED_COMPACTION, place.to_key().into());
    }
    if !state.storage_version.is_empty() {
        put(STORAGE_VERSION, state.storage_version.clone().into());
    }
    pairs
}

fn small(bucket: &str, state: &State) -> Vec<Pair> {
    let mut pairs: Vec<Pair> = match bucket {
        ALARM => state.alarms.iter().map(|one| (one.encode_to_vec(), Vec::new())).collect(),
        AUTH if state.auth.revision > 0 => vec![
            (AUTH_ENABLED.into(), vec![u8::from(state.auth.enabled)]),
            (AUTH_REVISION.into(), state.auth.revision.to_be_bytes().into()),
        ],
        AUTH_ROLES => {
            state.auth.roles.iter().map(|one| (one.name.to_vec(), one.encode_to_vec())).collect()
        }
        AUTH_USERS => {
            state.auth.users.iter().map(|one| (one.name.to_vec(), one.encode_to_vec())).collect()
        }
        CLUSTER if !state.cluster_version.is_empty() => {
            vec![(CLUSTER_VERSION.into(), state.cluster_version.clone().into())]
        }
        LEASE => {
            let pair = |id: i64, value| (id.to_be_bytes().into(), value);
            state.leases.iter().map(|one| pair(one.id, one.encode_to_vec())).collect()
        }
        MEMBERS => state.members.iter().map(member).collect(),
        MEMBERS_REMOVED => {
            let pair = |id: &u64| (format!("{id:x}").into(), b"removed".into());
            state.removed_members.iter().map(pair).collect()
        }
        META => meta(state),
        _ => Vec::new(),
    };
    pairs.sort();
    pairs
}

impl<'a, R> Contents<'a, R> {
    /// The content of a snapshot.
    #[must_use]
    pub fn new(state: &State, records: &'a R) -> Self {
        Self { small: BUCKETS.iter().map(|bucket| small(bucket, state)).collect(), records }
    }
}

impl<E: Failure, R: Records<E>> Content<E> for Contents<'_, R> {
    fn buckets(&self) -> &[&'static str] {
        &BUCKETS
    }

    fn pairs(&self, bucket: &str, each: &mut EachPair<'_, E>) -> Result<(), E> {
        if bucket == KEY {
            return self.records.visit(&mut |record| {
                let mut key = [b't'; 18];
                key[..17].copy_from_slice(&record.place.to_key());
                each(&key[..17 + usize::from(record.deleted)], record.kv)
            });
        }
        let at = BUCKETS.iter().position(|other| *other == bucket);
        at.map_or(&[][..], |at| &self.small[at])
            .iter()
            .try_for_each(|(key, value)| each(key, value))
    }
}
