//! etcd's Lease service. Times are the leader's business; followers ask it.

use proto::{
    etcdserverpb::{
        LeaseGrantRequest, LeaseGrantResponse, LeaseKeepAliveRequest, LeaseKeepAliveResponse,
        LeaseLeasesRequest, LeaseLeasesResponse, LeaseRevokeRequest, LeaseRevokeResponse,
        LeaseStatus, LeaseTimeToLiveRequest, LeaseTimeToLiveResponse, lease_server::Lease,
    },
    orlop::{
        peer::v1::{self as peer, lease_renew_response, lease_time_to_live_response},
        store::v1::command::Op,
    },
};
use store_planted::{self as planted, Bug};
use store_state_machine::{Access, Refusal, Reply};
use tokio::{
    sync::mpsc,
    time::{Duration, Instant, timeout, timeout_at},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::Services;
use crate::{
    auth::{self, Pass, Sender},
    error::Error,
    limits,
    raft::PeerClient,
};

impl Services {
    /// A client of the leader, if another member leads.
    fn leader_client(&self) -> Option<PeerClient> {
        let leader = (*self.leader.borrow())?;
        self.members.client(leader)
    }

    /// Renews a lease wherever the leader is: its TTL in seconds, zero if there is none.
    async fn renew(&self, id: i64) -> Result<i64, Error> {
        let deadline = Instant::now() + self.config.request_timeout();
        while Instant::now() < deadline {
            if *self.leader.borrow() == Some(self.headers.member_id()) {
                let renewed = self.lessor.renew(id, (&self.proposer, &self.reader));
                // One that ran out is waited for until its revocation is applied.
                match timeout_at(deadline, renewed).await {
                    Ok(Ok(Some(ttl))) => return Ok(ttl),
                    Ok(Err(error)) => return Err(error),
                    Ok(Ok(None)) | Err(_) => {}
                }
            } else if planted::is(Bug::LeaseRenewedNowhere) {
                return Ok(self.state.view().lease(id).map_or(0, |lease| lease.record.ttl));
            } else if let Some(mut client) = self.leader_client() {
                let cluster_id = self.headers.cluster_id();
                let request = peer::LeaseRenewRequest { lease_id: id, cluster_id };
                let call = timeout(self.config.election, client.lease_renew(request)).await;
                if let Ok(Ok(answer)) = call
                    && let Some(lease_renew_response::Result::Ttl(ttl)) = answer.into_inner().result
                {
                    return Ok(ttl);
                }
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Err(if self.leader.borrow().is_none() { Error::NoLeader } else { Error::Timeout })
    }

    /// Renews a lease for a client that may write every key of it.
    async fn renew_for(&self, sender: &Sender, id: i64) -> Result<i64, Error> {
        let pass = self.gate.pass(sender).await?;
        self.permit_lease(&pass, Access::Write, id)?;
        self.renew(id).await
    }

    /// Whether the keys of a lease may be touched; one without keys is for every user.
    fn permit_lease(&self, pass: &Pass, access: Access, id: i64) -> Result<(), Error> {
        if !pass.counts() {
            return Ok(());
        }
        pass.user()?;
        if pass.root().is_ok() {
            return Ok(());
        }
        let keys = self.state.view().lease(id).map_or_else(Vec::new, |lease| lease.keys);
        pass.keys(access, &keys)?;
        pass.unchanged(&self.state)
    }

    /// The answer to a TimeToLive on the leader; nothing if this member does not lead.
    pub(crate) fn time_to_live(
        &self,
        request: &LeaseTimeToLiveRequest,
    ) -> Option<LeaseTimeToLiveResponse> {
        let left = self.lessor.remaining(request.id)?;
        let view = self.state.view();
        let header = Some(self.headers.at(view.revision()));
        let missing = LeaseTimeToLiveResponse {
            header,
            id: request.id,
            ttl: -1,
            ..LeaseTimeToLiveResponse::default()
        };
        let Some(lease) = view.lease(request.id) else { return Some(missing) };
        let keys = if request.keys { lease.keys } else { Vec::new() };
        Some(LeaseTimeToLiveResponse {
            header,
            id: request.id,
            ttl: left,
            granted_ttl: lease.record.ttl,
            keys,
        })
    }
}

#[tonic::async_trait]
impl Lease for Services {
    async fn lease_grant(
        &self,
        request: Request<LeaseGrantRequest>,
    ) -> Result<Response<LeaseGrantResponse>, Status> {
        self.check_leader(&request)?;
        let (sender, mut request) = auth::split(request);
        let pass = self.gate.pass(&sender).await?;
        pass.user()?;
        if request.ttl > limits::LEASE_TTL_MAX {
            return Err(Error::Refused(Refusal::LeaseTtlTooLarge).into());
        }
        request.ttl = request.ttl.max(self.config.lease_ttl_min());
        while request.id == 0 {
            request.id = rand::random::<i64>() & i64::MAX;
        }
        match self.proposer.propose(pass.into_caller(), Op::LeaseGrant(request)).await? {
            Reply::LeaseGrant(mut response) => {
                self.headers.complete(&mut response.header);
                Ok(Response::new(response))
            }
            _ => Err(Status::internal("the outcome does not belong to the request")),
        }
    }

    async fn lease_revoke(
        &self,
        request: Request<LeaseRevokeRequest>,
    ) -> Result<Response<LeaseRevokeResponse>, Status> {
        self.check_leader(&request)?;
        let (sender, request) = auth::split(request);
        let pass = self.gate.pass(&sender).await?;
        pass.user()?;
        match self.proposer.propose(pass.into_caller(), Op::LeaseRevoke(request)).await? {
            Reply::LeaseRevoke(mut response) => {
                self.headers.complete(&mut response.header);
                Ok(Response::new(response))
            }
            _ => Err(Status::internal("the outcome does not belong to the request")),
        }
    }

    type LeaseKeepAliveStream = ReceiverStream<Result<LeaseKeepAliveResponse, Status>>;

    async fn lease_keep_alive(
        &self,
        request: Request<Streaming<LeaseKeepAliveRequest>>,
    ) -> Result<Response<Self::LeaseKeepAliveStream>, Status> {
        self.check_leader(&request)?;
        let (send, answers) = mpsc::channel(limits::WATCH_STREAM_QUEUE);
        let services = self.clone();
        let (sender, mut requests) = auth::split(request);
        tokio::spawn(async move {
            loop {
                let request = tokio::select! {
                    () = services.stopping.cancelled() => {
                        drop(send.send(Err(Error::Stopped.into())).await);
                        return;
                    }
                    request = requests.message() => request,
                };
                let id = match request {
                    Ok(Some(LeaseKeepAliveRequest { id })) => id,
                    Ok(None) => return,
                    Err(status) => {
                        services.metrics.watches.broke("lease-keepalive", &status);
                        return;
                    }
                };
                // As etcd: the header is of before the renewal.
                let header = Some(services.headers.at(services.state.view().revision()));
                let answer = match services.renew_for(&sender, id).await {
                    Ok(ttl) => Ok(LeaseKeepAliveResponse { header, id, ttl }),
                    Err(error) => Err(Status::from(error)),
                };
                let failed = answer.is_err();
                if send.send(answer).await.is_err() || failed {
                    return;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(answers)))
    }

    async fn lease_time_to_live(
        &self,
        request: Request<LeaseTimeToLiveRequest>,
    ) -> Result<Response<LeaseTimeToLiveResponse>, Status> {
        self.check_leader(&request)?;
        let (sender, request) = auth::split(request);
        let pass = self.gate.pass(&sender).await?;
        pass.user()?;
        if request.keys {
            self.permit_lease(&pass, Access::Read, request.id)?;
        }
        // Keys may have been attached since.
        let good = |answer: &LeaseTimeToLiveResponse| {
            if !request.keys {
                return Ok(());
            }
            pass.keys(Access::Read, &answer.keys)?;
            pass.unchanged(&self.state)
        };
        let deadline = Instant::now() + self.config.request_timeout();
        while Instant::now() < deadline {
            if *self.leader.borrow() == Some(self.headers.member_id()) {
                self.reader.linearizable().await?;
                if let Some(answer) = self.time_to_live(&request) {
                    good(&answer)?;
                    return Ok(Response::new(answer));
                }
            } else if let Some(mut client) = self.leader_client() {
                let cluster_id = self.headers.cluster_id();
                let message = peer::LeaseTimeToLiveRequest { request: Some(request), cluster_id };
                let call = client.lease_time_to_live(message);
                if let Ok(Ok(answer)) = timeout(self.config.election, call).await
                    && let Some(lease_time_to_live_response::Result::Response(mut answer)) =
                        answer.into_inner().result
                {
                    good(&answer)?;
                    self.headers.complete(&mut answer.header);
                    return Ok(Response::new(answer));
                }
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let lost = self.leader.borrow().is_none();
        Err(if lost { Error::NoLeader } else { Error::Timeout }.into())
    }

    async fn lease_leases(
        &self,
        request: Request<LeaseLeasesRequest>,
    ) -> Result<Response<LeaseLeasesResponse>, Status> {
        self.check_leader(&request)?;
        self.reader.linearizable().await?;
        let (sender, _) = auth::split(request);
        let pass = self.gate.pass(&sender).await?;
        pass.user()?;
        let view = self.state.view();
        if pass.counts() && pass.root().is_err() {
            for lease in view.leases() {
                self.permit_lease(&pass, Access::Read, lease.id)?;
            }
        }
        let mut ids: Vec<i64> = view.leases().into_iter().map(|lease| lease.id).collect();
        self.lessor.sort(&mut ids);
        let leases = ids.into_iter().map(|id| LeaseStatus { id }).collect();
        let header = Some(self.headers.at(view.revision()));
        Ok(Response::new(LeaseLeasesResponse { header, leases }))
    }
}
