//! What is known beside the keys: leases, members, alarms, users, the cluster's name. Replicated, all
//! in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use proto::etcdserverpb::alarm_request::AlarmAction;
use proto::etcdserverpb::{
    AlarmMember, AlarmRequest, AlarmType, LeaseCheckpointRequest, LeaseGrantRequest, Member,
};
use proto::orlop::store::v1::{ClusterSet, Fence, LeaseRecord, auth_change::Change};
use store_engine::Batch;

use crate::auth::{Auth, Loader};
use crate::codec;
use crate::disk::{Disk, META};
use crate::error::{Fault, Refusal};
use crate::{keys, limits};

#[derive(Default)]
pub(crate) struct Lease {
    pub(crate) record: LeaseRecord,
    pub(crate) keys: BTreeSet<Box<[u8]>>,
}

/// A lease with what hangs on it.
#[derive(Clone, Debug, PartialEq)]
pub struct LeaseInfo {
    /// Seconds granted, and seconds left at the last checkpoint.
    pub record: LeaseRecord,
    /// Attached keys, in order.
    pub keys: Vec<Bytes>,
}

/// Methods that change something write it to `batch` too.
#[derive(Default)]
pub(crate) struct Registry {
    pub(crate) leases: BTreeMap<i64, Lease>,
    pub(crate) members: BTreeMap<u64, Member>,
    pub(crate) removed: BTreeSet<u64>,
    pub(crate) alarms: BTreeSet<(i32, u64)>,
    /// Members whose data differ from those of a majority.
    pub(crate) fenced: BTreeSet<u64>,
    pub(crate) cluster_id: u64,
    pub(crate) cluster_version: String,
    /// Readers have the one that was published last: a change makes a copy.
    pub(crate) auth: Arc<Auth>,
}

impl Registry {
    pub(crate) fn load(disk: &Disk) -> Result<Self, Fault> {
        let mut registry = Self::default();
        let mut auth = Loader::default();
        disk.scan(META, &[], None, |key, value| {
            if key.starts_with(keys::LEASE_PREFIX) {
                let record: LeaseRecord = codec::decode(value)?;
                registry.leases.insert(record.id, Lease { record, keys: BTreeSet::new() });
            } else if key.starts_with(keys::MEMBER_PREFIX) {
                let member: Member = codec::decode(value)?;
                registry.members.insert(member.id, member);
            } else if key.starts_with(keys::ALARM_PREFIX) {
                let alarm: AlarmMember = codec::decode(value)?;
                registry.alarms.insert((alarm.alarm, alarm.member_id));
            } else if key.starts_with(keys::REMOVED_PREFIX) {
                let id = keys::removed_id(key).ok_or_else(|| Fault::damaged("removed member"))?;
                registry.removed.insert(id);
            } else if key.starts_with(keys::FENCED_PREFIX) {
                let id = keys::fenced_id(key).ok_or_else(|| Fault::damaged("fenced member"))?;
                registry.fenced.insert(id);
            } else {
                auth.take(key, value)?;
            }
            Ok(true)
        })?;
        registry.auth = Arc::new(auth.finish()?);
        Ok(registry)
    }

    /// Refuses what the raised alarms forbid. `grows`: the command can make the database larger.
    pub(crate) fn allow(&self, grows: bool) -> Result<(), Refusal> {
        let raised = |kind: AlarmType| self.alarms.iter().any(|(other, _)| *other == kind as i32);
        if raised(AlarmType::Corrupt) {
            return Err(Refusal::Corrupt);
        }
        if grows && raised(AlarmType::Nospace) {
            return Err(Refusal::NoSpace);
        }
        Ok(())
    }

    /// Whether anybody's data are known, or thought, to differ from the others'.
    pub(crate) fn suspects(&self) -> bool {
        !self.fenced.is_empty() || self.allow(false).is_err()
    }

    /// L1: moves `key` from the lease that it was attached to, to the one it names now.
    pub(crate) fn attach(&mut self, key: &[u8], old: i64, new: i64) {
        if old == new {
            return;
        }
        if let Some(lease) = self.leases.get_mut(&old) {
            lease.keys.remove(key);
        }
        if let Some(lease) = self.leases.get_mut(&new) {
            lease.keys.insert(key.into());
        }
    }

    pub(crate) fn grant(
        &mut self,
        disk: &Disk,
        batch: &mut Batch,
        request: &LeaseGrantRequest,
    ) -> Result<(), Refusal> {
        self.allow(true)?;
        if request.id == 0 {
            return Err(Refusal::UnknownCommand);
        }
        if request.ttl > limits::LEASE_TTL_MAX {
            return Err(Refusal::LeaseTtlTooLarge);
        }
        if self.leases.contains_key(&request.id) {
            return Err(Refusal::LeaseExists);
        }
        let record = LeaseRecord { id: request.id, ttl: request.ttl, remaining_ttl: 0 };
        put(disk, batch, &keys::lease(record.id), &record);
        self.leases.insert(record.id, Lease { record, keys: BTreeSet::new() });
        Ok(())
    }

    /// Unknown leases are passed over: they may have been revoked since the checkpoint was taken.
    pub(crate) fn checkpoint(
        &mut self,
        disk: &Disk,
        batch: &mut Batch,
        request: &LeaseCheckpointRequest,
    ) {
        for checkpoint in &request.checkpoints {
            if let Some(lease) = self.leases.get_mut(&checkpoint.id) {
                lease.record.remaining_ttl = checkpoint.remaining_ttl;
                put(disk, batch, &keys::lease(checkpoint.id), &lease.record);
            }
        }
    }

    /// Member zero stands for every member, kind NONE for every kind, except when raising.
    pub(crate) fn alarm(
        &mut self,
        disk: &Disk,
        batch: &mut Batch,
        request: &AlarmRequest,
    ) -> Result<Vec<AlarmMember>, Refusal> {
        // Raising a kind that does not exist, or an action that does not, kills etcd's members.
        let action = AlarmAction::try_from(request.action).map_err(|_| Refusal::UnknownCommand)?;
        AlarmType::try_from(request.alarm).map_err(|_| Refusal::UnknownCommand)?;
        let chosen: Vec<(i32, u64)> = match action {
            AlarmAction::Activate if request.alarm == AlarmType::None as i32 => Vec::new(),
            AlarmAction::Activate => vec![(request.alarm, request.member_id)],
            AlarmAction::Get | AlarmAction::Deactivate => self
                .alarms
                .iter()
                .filter(|(kind, _)| request.alarm == 0 || *kind == request.alarm)
                .filter(|(_, member)| request.member_id == 0 || *member == request.member_id)
                .copied()
                .collect(),
        };
        if action == AlarmAction::Deactivate
            && [AlarmType::None, AlarmType::Corrupt].contains(&request.alarm())
        {
            // A fence is shown as such an alarm, and an operator may know better.
            let chosen = |id: &u64| request.member_id == 0 || *id == request.member_id;
            let lifted: Vec<u64> = self.fenced.iter().copied().filter(chosen).collect();
            for member_id in lifted {
                self.fence(disk, batch, &Fence { member_id, lifted: true });
            }
        }
        let to_wire = |(alarm, member_id)| AlarmMember { member_id, alarm };
        for (kind, member) in &chosen {
            let key = keys::alarm(*kind, *member);
            match action {
                AlarmAction::Activate => {
                    self.alarms.insert((*kind, *member));
                    put(disk, batch, &key, &to_wire((*kind, *member)));
                }
                AlarmAction::Deactivate => {
                    self.alarms.remove(&(*kind, *member));
                    batch.delete(disk.family(META), key);
                }
                AlarmAction::Get => {}
            }
        }
        Ok(chosen.into_iter().map(to_wire).collect())
    }

    pub(crate) fn set_member(
        &mut self,
        disk: &Disk,
        batch: &mut Batch,
        member: Member,
    ) -> Result<(), Refusal> {
        if self.removed.contains(&member.id) {
            return Err(Refusal::MemberNotFound);
        }
        let others = self.members.values().filter(|other| other.id != member.id);
        for other in others {
            if other.peer_urls.iter().any(|url| member.peer_urls.contains(url)) {
                return Err(Refusal::PeerUrlExists);
            }
        }
        put(disk, batch, &keys::member(member.id), &member);
        self.members.insert(member.id, member);
        Ok(())
    }

    /// The id is never used again. A member that never said who it is has no record yet, and can be
    /// removed all the same: whoever asks knows it from raft's membership.
    pub(crate) fn remove_member(
        &mut self,
        disk: &Disk,
        batch: &mut Batch,
        id: u64,
    ) -> Result<(), Refusal> {
        if !self.removed.insert(id) {
            return Err(Refusal::MemberNotFound);
        }
        self.members.remove(&id);
        self.fence(disk, batch, &Fence { member_id: id, lifted: true });
        batch.delete(disk.family(META), keys::member(id));
        batch.put(disk.family(META), keys::removed(id), []);
        Ok(())
    }

    /// Fences a member, or lifts its fence.
    pub(crate) fn fence(&mut self, disk: &Disk, batch: &mut Batch, fence: &Fence) {
        let key = keys::fenced(fence.member_id);
        if fence.lifted {
            if self.fenced.remove(&fence.member_id) {
                batch.delete(disk.family(META), key);
            }
        } else if !self.removed.contains(&fence.member_id) {
            self.fenced.insert(fence.member_id);
            batch.put(disk.family(META), key, []);
        }
    }

    /// The auth revision after the change. K2: a refused change copies, and changes nothing.
    pub(crate) fn change_auth(
        &mut self,
        disk: &Disk,
        batch: &mut Batch,
        change: Change,
    ) -> Result<u64, Refusal> {
        if let Change::Authenticate(request) = &change {
            self.auth.authenticate(&request.name)?;
            return Ok(self.auth.revision());
        }
        for (key, value) in Arc::make_mut(&mut self.auth).change(change)? {
            match value {
                Some(value) => batch.put(disk.family(META), key, value),
                None => batch.delete(disk.family(META), key),
            }
        }
        Ok(self.auth.revision())
    }

    /// Stored with the state record of the batch.
    pub(crate) fn set_cluster(&mut self, set: ClusterSet) -> Result<(), Refusal> {
        if self.cluster_id != 0 && set.cluster_id != self.cluster_id {
            return Err(Refusal::ClusterIdMismatch);
        }
        self.cluster_id = set.cluster_id;
        if !set.cluster_version.is_empty() {
            self.cluster_version = set.cluster_version;
        }
        Ok(())
    }
}

fn put(disk: &Disk, batch: &mut Batch, key: &[u8], record: &impl prost::Message) {
    batch.put(disk.family(META), key, codec::encode(record));
}
