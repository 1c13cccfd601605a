//! etcd's Maintenance service.

use std::time::Instant;

use openraft::async_runtime::WatchReceiver as _;
use proto::{
    etcdserverpb::{
        AlarmMember, AlarmRequest, AlarmResponse, AlarmType, DefragmentRequest, DefragmentResponse,
        DowngradeInfo, DowngradeRequest, DowngradeResponse, HashKvRequest, HashKvResponse,
        HashRequest, HashResponse, MoveLeaderRequest, MoveLeaderResponse, SnapshotRequest,
        SnapshotResponse, StatusRequest, StatusResponse, alarm_request::AlarmAction,
        maintenance_server::Maintenance,
    },
    orlop::store::v1::command::Op,
};
use store_state_machine::Reply;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::Services;
use crate::{
    auth,
    error::{Error, read_failed},
};

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

impl Services {
    /// The message of a request that only root may send.
    pub(super) async fn only_root<T>(&self, request: Request<T>) -> Result<T, Status> {
        let (sender, message) = auth::split(request);
        self.gate.pass(&sender).await?.root()?;
        Ok(message)
    }

    /// Raised alarms; a fenced member is shown as one that is corrupt.
    pub(crate) fn alarms(&self) -> Vec<AlarmMember> {
        let view = self.state.view();
        let alarm = i32::from(AlarmType::Corrupt);
        let mut alarms = view.alarms();
        for member_id in view.fenced() {
            let fenced = AlarmMember { member_id, alarm };
            if !alarms.contains(&fenced) {
                alarms.push(fenced);
            }
        }
        alarms
    }

    /// What is wrong with the cluster, as Status reports it.
    pub(crate) fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if self.leader.borrow().is_none() {
            problems.push("etcdserver: no leader".to_owned());
        }
        for alarm in self.alarms() {
            let kind = AlarmType::try_from(alarm.alarm).unwrap_or_default();
            let name = kind.as_str_name();
            problems.push(format!("memberID:{} alarm:{name} ", alarm.member_id));
        }
        problems
    }
}

#[tonic::async_trait]
impl Maintenance for Services {
    async fn status(
        &self,
        request: Request<StatusRequest>,
    ) -> Result<Response<StatusResponse>, Status> {
        let (sender, _) = auth::split(request);
        self.gate.pass(&sender).await?.user()?;
        let view = self.state.view();
        let sized = view.clone();
        let sizes = crate::exec::blocking(move || sized.sizes()).await;
        let sizes = sizes
            .map_err(|error| Status::internal(error.to_string()))?
            .unwrap_or_else(|fault| crate::fatal("reading sizes", &fault));
        let metrics = self.raft.metrics().borrow_watched().clone();
        // A copy: what is borrowed within the answer stays so until its end, and to borrow it again
        // there waits for ever when a new leader is about to be written down between the two.
        let leader = *self.leader.borrow();
        Ok(Response::new(StatusResponse {
            header: Some(self.headers.at(view.revision())),
            version: crate::VERSION.to_owned(),
            db_size: signed(sizes.total),
            db_size_in_use: signed(sizes.in_use),
            db_size_quota: signed(self.config.quota_bytes),
            leader: leader.unwrap_or(0),
            raft_index: metrics.local_committed.map_or(0, |id| id.index),
            raft_term: self.headers.term(),
            raft_applied_index: metrics.last_applied.map_or(0, |id| id.index),
            errors: self.problems(),
            is_learner: self.members.is_learner(),
            storage_version: crate::VERSION.to_owned(),
            downgrade_info: Some(DowngradeInfo::default()),
        }))
    }

    async fn alarm(
        &self,
        request: Request<AlarmRequest>,
    ) -> Result<Response<AlarmResponse>, Status> {
        // A fenced member still shows its alarms.
        if request.get_ref().action != i32::from(AlarmAction::Get) {
            self.check_leader(&request)?;
        } else if self.members.is_learner() {
            return Err(Error::NotSupportedForLearner.into());
        }
        let (sender, request) = auth::split(request);
        let pass = self.gate.pass(&sender).await?;
        pass.user()?;
        if request.action == i32::from(AlarmAction::Get) {
            let view = self.state.view();
            let wanted = |alarm: &AlarmMember| {
                (request.member_id == 0 || request.member_id == alarm.member_id)
                    && (request.alarm == 0 || request.alarm == alarm.alarm)
            };
            let alarms = self.alarms().into_iter().filter(wanted).collect();
            let header = Some(self.headers.at(view.revision()));
            return Ok(Response::new(AlarmResponse { header, alarms }));
        }
        pass.root()?;
        match self.proposer.propose(pass.into_caller(), Op::Alarm(request)).await? {
            Reply::Alarm(mut response) => {
                self.headers.complete(&mut response.header);
                Ok(Response::new(response))
            }
            _ => Err(Status::internal("the outcome does not belong to the request")),
        }
    }

    async fn defragment(
        &self,
        request: Request<DefragmentRequest>,
    ) -> Result<Response<DefragmentResponse>, Status> {
        self.only_root(request).await?;
        // The files never fragment: space is given back by compaction in the background. What can
        // be done at once is to write out what is in memory; nothing is blocked meanwhile.
        let view = self.state.view();
        let _under_way = self.metrics.disk.defragmenting();
        let flushed = crate::exec::blocking(move || view.flush()).await;
        flushed
            .map_err(|error| Status::internal(error.to_string()))?
            .map_err(|fault| Status::internal(fault.to_string()))?;
        Ok(Response::new(DefragmentResponse { header: None }))
    }

    async fn hash(&self, request: Request<HashRequest>) -> Result<Response<HashResponse>, Status> {
        self.only_root(request).await?;
        Err(Status::unimplemented("a hash of the whole backend file is not kept; use HashKV"))
    }

    async fn hash_kv(
        &self,
        request: Request<HashKvRequest>,
    ) -> Result<Response<HashKvResponse>, Status> {
        let revision = self.only_root(request).await?.revision;
        let view = self.state.view();
        let current = view.revision();
        let began = Instant::now();
        let hashed = crate::exec::blocking(move || view.hash_kv(revision)).await;
        self.metrics.store.hashes.observe(began.elapsed());
        let hash =
            hashed.map_err(|error| Status::internal(error.to_string()))?.map_err(read_failed)?;
        Ok(Response::new(HashKvResponse {
            header: Some(self.headers.at(current)),
            hash: hash.hash,
            compact_revision: hash.compact_revision,
            hash_revision: hash.hash_revision,
        }))
    }

    type SnapshotStream = ReceiverStream<Result<SnapshotResponse, Status>>;

    async fn snapshot(
        &self,
        request: Request<SnapshotRequest>,
    ) -> Result<Response<Self::SnapshotStream>, Status> {
        self.only_root(request).await?;
        self.fence.check()?;
        Ok(Response::new(self.stream_snapshot()?))
    }

    async fn move_leader(
        &self,
        request: Request<MoveLeaderRequest>,
    ) -> Result<Response<MoveLeaderResponse>, Status> {
        let target = self.only_root(request).await?.target_id;
        if *self.leader.borrow() != Some(self.headers.member_id()) {
            return Err(Error::NotLeader.into());
        }
        self.members.move_leader(target).await?;
        Ok(Response::new(MoveLeaderResponse { header: None }))
    }

    async fn downgrade(
        &self,
        request: Request<DowngradeRequest>,
    ) -> Result<Response<DowngradeResponse>, Status> {
        self.only_root(request).await?;
        Err(Status::unimplemented("downgrades are not supported by this store"))
    }
}
