//! Random commands of every kind, and logs of them.

use proptest::prelude::*;
use proto::authpb::Permission;
use proto::etcdserverpb::{
    AlarmRequest, AuthDisableRequest, AuthEnableRequest, AuthRoleAddRequest, AuthRoleDeleteRequest,
    AuthRoleGrantPermissionRequest, AuthUserAddRequest, AuthUserDeleteRequest,
    AuthUserGrantRoleRequest, AuthUserRevokeRoleRequest, CompactionRequest, LeaseCheckpoint,
    LeaseCheckpointRequest, LeaseGrantRequest, LeaseRevokeRequest, Member,
};
use proto::orlop::store::v1::auth_change::Change;
use proto::orlop::store::v1::command::Op;
use proto::orlop::store::v1::{AuthChange, Caller, ClusterSet, DigestRestart, Fence, MemberRemove};
use store_state_machine::Entry;

use super::{delete, entry, put};

pub fn ops() -> impl Strategy<Value = Vec<Op>> {
    let key = || (0..9u8).prop_map(|key| format!("k{key}"));
    let lease = || 1..4i64;
    let op = prop_oneof![
        6 => (key(), any::<u8>(), 0..4i64).prop_map(|(key, value, lease)| {
            let mut put = put(&key, &value.to_string());
            put.lease = lease;
            Op::Put(put)
        }),
        2 => (key(), key()).prop_map(|(from, to)| Op::DeleteRange(delete(&from, &to))),
        2 => lease().prop_map(|id| Op::LeaseGrant(LeaseGrantRequest { id, ttl: 10 + id })),
        1 => lease().prop_map(|id| Op::LeaseRevoke(LeaseRevokeRequest { id })),
        1 => lease().prop_map(|id| Op::LeaseCheckpoint(LeaseCheckpointRequest {
            checkpoints: vec![LeaseCheckpoint { id, remaining_ttl: 3 }],
        })),
        2 => (1..60i64).prop_map(|revision| {
            Op::Compact(CompactionRequest { revision, physical: false })
        }),
        1 => (0..3i32, 0..3i32).prop_map(|(action, alarm)| {
            Op::Alarm(AlarmRequest { action, member_id: 1, alarm })
        }),
        1 => (1..4u64).prop_map(|id| Op::MemberSet(Member {
            id,
            peer_urls: vec![format!("http://{}", id % 2)],
            ..Default::default()
        })),
        1 => (1..4u64).prop_map(|member_id| Op::MemberRemove(MemberRemove { member_id })),
        1 => (1..4u64, any::<bool>()).prop_map(|(member_id, lifted)| {
            Op::Fence(Fence { member_id, lifted })
        }),
        1 => (1..3u64, "v[12]?").prop_map(|(cluster_id, cluster_version)| {
            Op::ClusterSet(ClusterSet { cluster_id, cluster_version })
        }),
        1 => Just(Op::DigestRestart(DigestRestart {})),
        4 => auth_change().prop_map(|change| Op::Auth(AuthChange { change: Some(change) })),
    ];
    proptest::collection::vec(op, 1..80)
}

/// `root` comes up often enough that auth is on in a part of the runs.
fn auth_change() -> impl Strategy<Value = Change> {
    let name = || prop_oneof![Just("root"), Just("u1"), Just("u2")].prop_map(str::to_owned);
    let role = || prop_oneof![Just("root"), Just("r1"), Just("r2")].prop_map(str::to_owned);
    let permission = (0..3i32, 0..9u8, 0..9u8).prop_map(|(perm_type, key, end)| Permission {
        perm_type,
        key: format!("k{key}").into(),
        range_end: if end == 0 { "".into() } else { format!("k{end}").into() },
    });
    prop_oneof![
        2 => Just(Change::Enable(AuthEnableRequest {})),
        1 => Just(Change::Disable(AuthDisableRequest {})),
        2 => name().prop_map(|name| {
            let (hashed_password, options) = ("aGFzaA==".to_owned(), None);
            let password = String::new();
            Change::UserAdd(AuthUserAddRequest { name, password, hashed_password, options })
        }),
        1 => name().prop_map(|name| Change::UserDelete(AuthUserDeleteRequest { name })),
        2 => (name(), role()).prop_map(|(user, role)| {
            Change::UserGrantRole(AuthUserGrantRoleRequest { user, role })
        }),
        1 => (name(), role()).prop_map(|(name, role)| {
            Change::UserRevokeRole(AuthUserRevokeRoleRequest { name, role })
        }),
        2 => role().prop_map(|name| Change::RoleAdd(AuthRoleAddRequest { name })),
        1 => role().prop_map(|role| Change::RoleDelete(AuthRoleDeleteRequest { role })),
        2 => (role(), permission).prop_map(|(name, perm)| {
            let perm = Some(perm);
            Change::RoleGrantPermission(AuthRoleGrantPermissionRequest { name, perm })
        }),
    ]
}

/// Who asks is settled by the place in the log: nobody, a member, or a user that may be there.
fn caller(index: u64) -> Option<Caller> {
    match index % 4 {
        0 => None,
        1 => Some(Caller { member: true, ..Caller::default() }),
        2 => Some(Caller { user: "root".to_owned(), auth_revision: index, member: false }),
        _ => Some(Caller { user: "u1".to_owned(), auth_revision: 1000, member: false }),
    }
}

/// Two commands an entry.
pub fn log(ops: Vec<Op>) -> Vec<Entry> {
    let by = |(ops, index): (&[Op], u64)| {
        let mut entry = entry(index, ops.to_vec());
        for command in &mut entry.commands {
            command.caller = caller(index);
        }
        entry
    };
    ops.chunks(2).zip(1..).map(by).collect()
}
