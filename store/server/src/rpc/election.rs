//! etcd's Election service: the oldest key below a name leads, and its value is its proclamation.

use bytes::Bytes;
use proto::{
    etcdserverpb::{ResponseHeader, range_request::SortOrder},
    mvccpb::{KeyValue, event::EventType},
    v3electionpb::{
        CampaignRequest, CampaignResponse, LeaderKey, LeaderRequest, LeaderResponse,
        ProclaimRequest, ProclaimResponse, ResignRequest, ResignResponse,
        election_server::Election,
    },
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::session::{Client, Inside, Place, by_age, found, put, waiter_key};
use crate::limits;

/// The service.
#[derive(Clone)]
pub(crate) struct Elections {
    pub(crate) inside: Inside,
}

fn missing_leader() -> Status {
    Status::unknown("\"leader\" field must be provided")
}

fn below(name: &[u8]) -> Vec<u8> {
    [name, b"/"].concat()
}

/// Resigns if the candidate leaves before it leads.
struct Campaigning {
    client: Client,
    place: Option<(Bytes, i64)>,
}

impl Campaigning {
    fn won(mut self) {
        self.place = None;
    }
}

impl Drop for Campaigning {
    fn drop(&mut self) {
        let Some((key, revision)) = self.place.take() else { return };
        let client = self.client.clone();
        tokio::spawn(async move {
            // The lease takes it away otherwise.
            if let Err(error) = client.resign(key, revision).await {
                tracing::debug!(%error, "a candidate stays until its lease ends");
            }
        });
    }
}

async fn proclaim(
    client: &Client,
    (key, revision): (Bytes, i64),
    value: Bytes,
    lease: i64,
) -> Result<Option<ResponseHeader>, Status> {
    let told = client.if_made_at(key.clone(), revision, put(key, value, lease)).await?;
    if told.succeeded { Ok(told.header) } else { Err(Status::unknown("election: not leader")) }
}

#[tonic::async_trait]
impl Election for Elections {
    async fn campaign(
        &self,
        request: Request<CampaignRequest>,
    ) -> Result<Response<CampaignResponse>, Status> {
        let (client, request) = self.inside.for_client(request);
        let lease = client.session(request.lease).await?;
        let prefix = below(&request.name);
        let key = waiter_key(&prefix, lease);
        let Place { key, revision, txn } =
            client.queue(key, request.value.clone(), lease, None).await?;
        let place = Some((key.clone(), revision));
        let campaigning = Campaigning { client: client.clone(), place };
        let old = found(&txn, 0).and_then(<[KeyValue]>::first);
        if !txn.succeeded && old.is_some_and(|old| old.value != request.value) {
            proclaim(&client, (key.clone(), revision), request.value, lease).await?;
        }
        client.wait_for_turn(&prefix, revision).await?;
        campaigning.won();
        let leader = Some(LeaderKey { name: request.name, key, rev: revision, lease });
        Ok(Response::new(CampaignResponse { header: txn.header, leader }))
    }

    async fn proclaim(
        &self,
        request: Request<ProclaimRequest>,
    ) -> Result<Response<ProclaimResponse>, Status> {
        let (client, request) = self.inside.for_client(request);
        let leader = request.leader.ok_or_else(missing_leader)?;
        let lease = client.session(leader.lease).await?;
        let place = (leader.key, leader.rev);
        let header = proclaim(&client, place, request.value, lease).await?;
        Ok(Response::new(ProclaimResponse { header }))
    }

    async fn leader(
        &self,
        request: Request<LeaderRequest>,
    ) -> Result<Response<LeaderResponse>, Status> {
        let (client, request) = self.inside.for_client(request);
        let answer = client.range(by_age(&below(&request.name), SortOrder::Ascend)).await?;
        let kv = answer.kvs.into_iter().next();
        let kv = kv.ok_or_else(|| Status::unknown("election: no leader"))?;
        Ok(Response::new(LeaderResponse { header: answer.header, kv: Some(kv) }))
    }

    type ObserveStream = ReceiverStream<Result<LeaderResponse, Status>>;

    async fn observe(
        &self,
        request: Request<LeaderRequest>,
    ) -> Result<Response<Self::ObserveStream>, Status> {
        let (client, request) = self.inside.for_client(request);
        let (send, leaders) = mpsc::channel(limits::WATCH_STREAM_QUEUE);
        tokio::spawn(async move {
            let prefix = below(&request.name);
            tokio::select! {
                () = send.closed() => {}
                // As etcd: whatever goes wrong ends the stream, and the client asks again.
                Err(error) = observe(&client, &prefix, &send) => {
                    tracing::debug!(%error, "an observed election ended");
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(leaders)))
    }

    async fn resign(
        &self,
        request: Request<ResignRequest>,
    ) -> Result<Response<ResignResponse>, Status> {
        let (client, request) = self.inside.for_client(request);
        let leader = request.leader.ok_or_else(missing_leader)?;
        client.session(leader.lease).await?;
        let header = client.resign(leader.key, leader.rev).await?.header;
        Ok(Response::new(ResignResponse { header }))
    }
}

type Leaders = mpsc::Sender<Result<LeaderResponse, Status>>;

/// Sends every leader, and everything that it proclaims, until something fails.
async fn observe(
    client: &Client,
    prefix: &[u8],
    send: &Leaders,
) -> Result<std::convert::Infallible, Status> {
    let told = |header: Option<ResponseHeader>, kv: KeyValue| async move {
        let sent = send.send(Ok(LeaderResponse { header, kv: Some(kv) })).await;
        sent.map_err(|_| Status::cancelled("the observer has left"))
    };
    loop {
        let answer = client.range(by_age(prefix, SortOrder::Ascend)).await?;
        let now = answer.header.as_ref().map_or(0, |header| header.revision);
        let (header, leader) = match answer.kvs.into_iter().next() {
            Some(leader) => (answer.header, leader),
            None => first_candidate(client, prefix, now).await?,
        };
        let key = leader.key.clone();
        let seen = header.as_ref().map_or(0, |header| header.revision);
        told(header, leader).await?;
        let mut events = client.watch(key, Bytes::new(), seen + 1).await?;
        'reign: loop {
            let frame = events.next().await?;
            for event in frame.events {
                if event.r#type() == EventType::Delete {
                    break 'reign;
                }
                if let Some(kv) = event.kv {
                    told(frame.header, kv).await?;
                }
            }
        }
    }
}

/// Waits for the first key below `prefix`.
async fn first_candidate(
    client: &Client,
    prefix: &[u8],
    revision: i64,
) -> Result<(Option<ResponseHeader>, KeyValue), Status> {
    let mut events = client.watch_all(prefix, revision).await?;
    loop {
        let frame = events.next().await?;
        let put = frame.events.into_iter().find(|event| event.r#type() == EventType::Put);
        if let Some(kv) = put.and_then(|event| event.kv) {
            // One frame may hold several revisions: the leader's own is told.
            let header =
                frame.header.map(|header| ResponseHeader { revision: kv.mod_revision, ..header });
            return Ok((header, kv));
        }
    }
}
