//! The pairs of etcd's buckets as a state and its records.

use bytes::Bytes;
use prost::Message;
use proto::authpb::{Role, User};
use proto::etcdserverpb::{AlarmMember, Member};
use proto::orlop::store::v1::LeaseRecord;
use serde::Deserialize;

use super::{
    ALARM, AUTH, AUTH_ENABLED, AUTH_REVISION, AUTH_ROLES, AUTH_USERS, CLUSTER, CLUSTER_VERSION,
    CONF_STATE, CONSISTENT_INDEX, FINISHED_COMPACTION, KEY, LEASE, MEMBERS, MEMBERS_REMOVED, META,
    Place, Record, SCHEDULED_COMPACTION, STORAGE_VERSION, State, TERM,
};
use crate::bbolt::{self, Database};
use crate::error::{Error, Failure};

#[derive(Deserialize)]
struct MemberJson {
    #[serde(rename = "peerURLs", default)]
    peer_urls: Option<Vec<String>>,
    #[serde(rename = "isLearner", default)]
    is_learner: bool,
    #[serde(default)]
    name: String,
    #[serde(rename = "clientURLs", default)]
    client_urls: Option<Vec<String>>,
}

#[derive(Deserialize, Default)]
struct ConfState {
    #[serde(default)]
    voters: Option<Vec<u64>>,
    #[serde(default)]
    learners: Option<Vec<u64>>,
}

/// Reads everything but the records. Buckets that etcd does not have are passed over.
///
/// # Errors
/// [`Error::Page`] or [`Error::Bucket`] for what is damaged.
pub fn read_state<S: bbolt::Bytes>(database: &Database<S>) -> Result<State, Error> {
    let mut state = State::default();
    let wanted = |bucket: &[u8]| bucket != KEY.as_bytes();
    database.visit(&wanted, &mut |bucket, key, value| {
        let name = String::from_utf8_lossy(bucket);
        take(&mut state, &name, key, value).map_err(|problem| {
            Error::bucket(&name, format!("key {:?}: {problem}", String::from_utf8_lossy(key)))
        })
    })?;
    state.compacted = state.compacted.max(state.removed_below);
    Ok(state)
}

/// Calls `each` with every record, in order.
///
/// # Errors
/// As [`read_state`], and those of `each`.
pub fn read_records<S: bbolt::Bytes, E: Failure>(
    database: &Database<S>,
    each: &mut dyn FnMut(Record<'_>) -> Result<(), E>,
) -> Result<(), E> {
    database.visit(&|bucket| bucket == KEY.as_bytes(), &mut |_, key, value| {
        let place = Place::from_key(key).filter(|_| key.len() == 17 || key[17..] == *b"t");
        let Some(place) = place else {
            let problem = format!("key {key:x?} is no revision");
            return Err(Error::bucket(KEY, problem).into());
        };
        each(Record { place, deleted: key.len() == 18, kv: value })
    })
}

fn number(value: &[u8]) -> Result<u64, String> {
    let bytes = value.try_into().map_err(|_| format!("a number of {} bytes", value.len()))?;
    Ok(u64::from_be_bytes(bytes))
}

fn hexadecimal(key: &[u8]) -> Result<u64, String> {
    let text = str::from_utf8(key).map_err(|error| error.to_string())?;
    u64::from_str_radix(text, 16).map_err(|error| error.to_string())
}

fn message<M: Message + Default>(bytes: &[u8]) -> Result<M, String> {
    M::decode(Bytes::copy_from_slice(bytes)).map_err(|error| error.to_string())
}

fn text(value: &[u8]) -> Result<String, String> {
    String::from_utf8(value.to_vec()).map_err(|error| error.to_string())
}

/// Users and roles lie under their names, which are text.
fn named(key: &[u8], name: &[u8]) -> Result<(), String> {
    let name = text(name)?;
    if key == name.as_bytes() { Ok(()) } else { Err(format!("it is the key of {name:?}")) }
}

fn revision(value: &[u8]) -> Result<i64, String> {
    Place::from_key(value).map(|place| place.main).ok_or_else(|| "no revision".to_owned())
}

fn take(state: &mut State, bucket: &str, key: &[u8], value: &[u8]) -> Result<(), String> {
    match bucket {
        META => take_meta(state, key, value)?,
        ALARM => state.alarms.push(message::<AlarmMember>(key)?),
        AUTH if key == AUTH_ENABLED.as_bytes() => state.auth.enabled = value == [1],
        AUTH if key == AUTH_REVISION.as_bytes() => state.auth.revision = number(value)?,
        AUTH_ROLES => {
            let role: Role = message(value)?;
            named(key, &role.name)?;
            state.auth.roles.push(role);
        }
        AUTH_USERS => {
            let user: User = message(value)?;
            named(key, &user.name)?;
            state.auth.users.push(user);
        }
        CLUSTER if key == CLUSTER_VERSION.as_bytes() => state.cluster_version = text(value)?,
        LEASE => {
            let lease: LeaseRecord = message(value)?;
            if key != lease.id.to_be_bytes() {
                return Err(format!("it is the key of lease {:x}", lease.id));
            }
            state.leases.push(lease);
        }
        MEMBERS => {
            let json: MemberJson =
                serde_json::from_slice(value).map_err(|error| error.to_string())?;
            state.members.push(Member {
                id: hexadecimal(key)?,
                name: json.name,
                peer_urls: json.peer_urls.unwrap_or_default(),
                client_urls: json.client_urls.unwrap_or_default(),
                is_learner: json.is_learner,
            });
        }
        MEMBERS_REMOVED => state.removed_members.push(hexadecimal(key)?),
        _ => {}
    }
    Ok(())
}

fn take_meta(state: &mut State, key: &[u8], value: &[u8]) -> Result<(), String> {
    match str::from_utf8(key).unwrap_or_default() {
        CONSISTENT_INDEX => state.index = number(value)?,
        TERM => state.term = number(value)?,
        CONF_STATE => {
            let conf: ConfState =
                serde_json::from_slice(value).map_err(|error| error.to_string())?;
            state.voters = conf.voters.unwrap_or_default();
            state.learners = conf.learners.unwrap_or_default();
        }
        SCHEDULED_COMPACTION => state.compacted = revision(value)?,
        FINISHED_COMPACTION => state.removed_below = revision(value)?,
        STORAGE_VERSION => state.storage_version = text(value)?,
        _ => {}
    }
    Ok(())
}
