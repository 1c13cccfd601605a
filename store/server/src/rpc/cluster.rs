//! etcd's Cluster service. Changes are carried out by the leader.

use proto::{
    etcdserverpb::{
        MemberAddRequest, MemberAddResponse, MemberListRequest, MemberListResponse,
        MemberPromoteRequest, MemberPromoteResponse, MemberRemoveRequest, MemberRemoveResponse,
        MemberUpdateRequest, MemberUpdateResponse, ResponseHeader, cluster_server::Cluster,
    },
    orlop::peer::v1::{
        self as peer, ChangedMembership, change_membership_request::Change,
        change_membership_response::Result as Answer,
    },
};
use tokio::time::{Duration, Instant, sleep, timeout};
use tonic::{Code, Request, Response, Status};

use super::Services;
use crate::{auth, error::Error};

impl Services {
    /// As etcd: headers of this service carry no revision.
    fn cluster_header(&self) -> Option<ResponseHeader> {
        Some(self.headers.at(0))
    }

    /// Carries out a change that only root may ask for.
    async fn members_by<T>(
        &self,
        request: Request<T>,
        change: impl FnOnce(T) -> Change,
    ) -> Result<ChangedMembership, Status> {
        let (sender, message) = auth::split(request);
        self.gate.pass(&sender).await?.root()?;
        self.change(change(message)).await
    }

    /// Carries out a change wherever the leader is.
    pub(super) async fn change(&self, change: Change) -> Result<ChangedMembership, Status> {
        let deadline = Instant::now() + self.config.request_timeout();
        loop {
            let leader = *self.leader.borrow();
            if leader == Some(self.headers.member_id()) {
                return Ok(self.members.change(change).await?);
            }
            if let Some(mut client) = leader.and_then(|leader| self.members.client(leader)) {
                let cluster_id = self.headers.cluster_id();
                let change = Some(change.clone());
                let request = peer::ChangeMembershipRequest { change, cluster_id };
                let limit = self.config.request_timeout();
                match timeout(limit, client.change_membership(request)).await {
                    Ok(Ok(answer)) => match answer.into_inner().result {
                        Some(Answer::Changed(changed)) => return Ok(changed),
                        Some(Answer::Refused(error)) => {
                            return Err(Status::new(Code::from(error.code), error.message));
                        }
                        Some(Answer::NotLeader(_)) => {}
                        Some(Answer::Unknown(_)) | None => return Err(Error::Timeout.into()),
                    },
                    // It may have happened: it is not tried again.
                    Ok(Err(_)) | Err(_) => return Err(Error::Timeout.into()),
                }
            }
            if Instant::now() >= deadline {
                let lost = self.leader.borrow().is_none();
                return Err(if lost { Error::NoLeader } else { Error::Timeout }.into());
            }
            sleep(Duration::from_millis(50)).await;
        }
    }
}

#[tonic::async_trait]
impl Cluster for Services {
    async fn member_add(
        &self,
        request: Request<MemberAddRequest>,
    ) -> Result<Response<MemberAddResponse>, Status> {
        let changed = self.members_by(request, Change::Add).await?;
        let header = self.cluster_header();
        let ChangedMembership { added: member, members } = changed;
        Ok(Response::new(MemberAddResponse { header, member, members }))
    }

    async fn member_remove(
        &self,
        request: Request<MemberRemoveRequest>,
    ) -> Result<Response<MemberRemoveResponse>, Status> {
        let members = self.members_by(request, Change::Remove).await?.members;
        let header = self.cluster_header();
        Ok(Response::new(MemberRemoveResponse { header, members }))
    }

    async fn member_update(
        &self,
        request: Request<MemberUpdateRequest>,
    ) -> Result<Response<MemberUpdateResponse>, Status> {
        let members = self.members_by(request, Change::Update).await?.members;
        let header = self.cluster_header();
        Ok(Response::new(MemberUpdateResponse { header, members }))
    }

    async fn member_list(
        &self,
        request: Request<MemberListRequest>,
    ) -> Result<Response<MemberListResponse>, Status> {
        self.check_leader(&request)?;
        if request.get_ref().linearizable {
            self.reader.linearizable().await?;
            self.members.settle().await;
        }
        let (sender, _) = auth::split(request);
        self.gate.pass(&sender).await?.user()?;
        let (header, members) = (self.cluster_header(), self.members.list());
        Ok(Response::new(MemberListResponse { header, members }))
    }

    async fn member_promote(
        &self,
        request: Request<MemberPromoteRequest>,
    ) -> Result<Response<MemberPromoteResponse>, Status> {
        let members = self.members_by(request, Change::Promote).await?.members;
        let header = self.cluster_header();
        Ok(Response::new(MemberPromoteResponse { header, members }))
    }
}
