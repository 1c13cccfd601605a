//! This member's calls to its peers.

use std::{collections::HashMap, future::Future, io, sync::Arc, time::Duration};

use futures::{Stream, StreamExt};
use hyper_util::rt::TokioIo;
use openraft::{
    OptionalSend, RaftNetworkFactory, RaftNetworkV2,
    base::{BoxFuture, BoxStream},
    errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Unreachable},
    network::{RPCOption, stream_append_sequential},
    raft::{
        AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendError,
        StreamAppendResult, TransferLeaderRequest, TransferLeaderResponse, VoteRequest,
        VoteResponse,
    },
};
use parking_lot::Mutex;
use proto::orlop::peer::v1 as peer;
use rustls_pki_types::ServerName;
use tokio::{
    sync::{Semaphore, mpsc},
    time::{Instant, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{
    Status,
    transport::{Channel, Endpoint, Uri},
};

use super::{
    convert,
    snapshot::{self, Checkpoint},
    types::{Peer, TypeConfig, Vote},
};
use crate::{
    exec, limits,
    metrics::{
        Metered, Traffic,
        peers::{self, Peer as Counts},
    },
    net,
};

/// How a member that calls begins to say who it is; its id follows, in hexadecimal.
pub(crate) const CALLER: &str = "orlop-member/";

/// A client of one peer's service.
pub(crate) type PeerClient = peer::peer_client::PeerClient<Channel>;

type Snapshot = openraft::alias::SnapshotOf<TypeConfig, Arc<Checkpoint>>;

/// Makes channels to peers, and keeps one for requests that are forwarded.
#[derive(Clone)]
pub(crate) struct Network {
    inner: Arc<Inner>,
}

struct Inner {
    cluster_id: u64,
    tls: Option<Arc<rustls::ClientConfig>>,
    timeout: Duration,
    metrics: peers::Peers,
    runtime: tokio::runtime::Handle,
    removed: CancellationToken,
    forward: Mutex<HashMap<u64, (Vec<String>, PeerClient)>>,
    /// Connections over which a vote was last answered, by the peer's URL.
    asked: Mutex<HashMap<String, PeerClient>>,
    /// Questions for votes that may be under way, those that openraft has given up included.
    questions: Arc<Semaphore>,
}

/// When a peer that is quiet is asked whether the connection still leads to it.
#[derive(Clone, Copy)]
enum Asked {
    /// Always, so often: whoever uses it cannot wait for that.
    WhileOpen(Duration),
    /// While there is a call that waits for an answer.
    WhileUsed,
}

/// A connection could not be made, so that nothing can have been sent on it.
#[derive(Debug, thiserror::Error)]
#[error("cannot connect to {peer}: {why}")]
struct NoConnection {
    peer: Uri,
    why: io::Error,
}

/// The host and the port of a peer's URL.
pub(super) fn address(uri: &Uri) -> (&str, u16) {
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    (host, uri.port_u16().unwrap_or(2380))
}

async fn connect(
    uri: Uri,
    tls: Option<Arc<rustls::ClientConfig>>,
    traffic: Option<Traffic>,
) -> io::Result<TokioIo<Metered<Box<dyn Io>>>> {
    let (host, port) = address(&uri);
    let tcp = timeout(limits::PEER_CONNECT_TIMEOUT, net::connect((host, port))).await??;
    tcp.set_nodelay(true)?;
    if uri.scheme_str() != Some("https") {
        return Ok(TokioIo::new(Metered::new(Box::new(tcp), traffic)));
    }
    let tls = tls.ok_or_else(|| io::Error::other("an https peer, but no peer certificates"))?;
    let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    let connector = tokio_rustls::TlsConnector::from(tls);
    let stream = timeout(limits::HANDSHAKE_TIMEOUT, connector.connect(name, tcp)).await??;
    Ok(TokioIo::new(Metered::new(Box::new(stream), traffic)))
}

trait Io: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin {}
impl<T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin> Io for T {}

impl Network {
    pub(crate) fn new(
        cluster_id: u64,
        tls: Option<Arc<rustls::ClientConfig>>,
        timeout: Duration,
        metrics: peers::Peers,
    ) -> Self {
        let forward = Mutex::default();
        let runtime = tokio::runtime::Handle::current();
        let removed = CancellationToken::new();
        let asked = Mutex::default();
        let questions = Arc::new(Semaphore::new(limits::VOTE_QUESTIONS_MAX));
        let inner = Inner {
            cluster_id,
            tls,
            timeout,
            metrics,
            runtime,
            removed,
            forward,
            asked,
            questions,
        };
        Self { inner: Arc::new(inner) }
    }

    /// Fires when this member learns that it was removed.
    pub(crate) fn removed(&self) -> &CancellationToken {
        &self.inner.removed
    }

    /// A new channel to somebody who is not known yet, that connects when it is first used.
    pub(crate) fn channel(&self, url: &str) -> Result<PeerClient, io::Error> {
        self.channel_to(None, url, Asked::WhileOpen(limits::PEER_RARE_PING))
    }

    fn channel_to(
        &self,
        member: Option<u64>,
        url: &str,
        asked: Asked,
    ) -> Result<PeerClient, io::Error> {
        let metrics = &self.inner.metrics;
        let traffic = member.map(|member| Traffic::Peer(metrics.of(member)));
        let own = metrics.own().map_or_else(String::new, |own| format!("{own:x}"));
        let uri: Uri = url.parse().map_err(io::Error::other)?;
        let tls = self.inner.tls.clone();
        // tonic refuses https without its own TLS; the connector below speaks it instead.
        let plain = url.replacen("https://", "http://", 1);
        let channel = Endpoint::from_shared(plain)
            .map_err(io::Error::other)?
            .user_agent(format!("{CALLER}{own}"))
            .map_err(io::Error::other)?
            .http2_keep_alive_interval(match asked {
                Asked::WhileOpen(every) => every,
                Asked::WhileUsed => limits::PEER_PING,
            })
            .keep_alive_timeout(self.inner.timeout.max(limits::PEER_PING) * 2)
            .keep_alive_while_idle(matches!(asked, Asked::WhileOpen(_)))
            .initial_stream_window_size(8 << 20)
            .initial_connection_window_size(16 << 20)
            .tcp_nodelay(true)
            .connect_with_connector_lazy(tower::service_fn(move |_| {
                let (peer, tls, traffic) = (uri.clone(), tls.clone(), traffic.clone());
                async move {
                    let stream = connect(peer.clone(), tls, traffic).await;
                    stream.map_err(|why| NoConnection { peer, why })
                }
            }));
        Ok(PeerClient::new(channel)
            .max_decoding_message_size(limits::PEER_MESSAGE_BYTES_MAX)
            .max_encoding_message_size(limits::PEER_MESSAGE_BYTES_MAX))
    }

    /// The channel for requests that are forwarded to `member`.
    pub(crate) fn forward(&self, member: u64, urls: &[String]) -> Result<PeerClient, io::Error> {
        let mut kept = self.inner.forward.lock();
        if let Some((known, client)) = kept.get(&member)
            && known == urls
        {
            return Ok(client.clone());
        }
        let url = urls.first().ok_or_else(|| io::Error::other("the peer has no URL"))?;
        let client = self.channel_to(Some(member), url, Asked::WhileUsed)?;
        kept.insert(member, (urls.to_vec(), client.clone()));
        Ok(client)
    }

    /// The runtime that calls to peers run on, for callers on other threads.
    pub(crate) fn runtime(&self) -> &tokio::runtime::Handle {
        &self.inner.runtime
    }

    /// True if the call failed before anything was sent.
    pub(crate) fn never_sent(status: &Status) -> bool {
        let mut source = std::error::Error::source(status);
        while let Some(error) = source {
            if error.downcast_ref::<NoConnection>().is_some() {
                return true;
            }
            source = error.source();
        }
        false
    }

    pub(crate) fn cluster_id(&self) -> u64 {
        self.inner.cluster_id
    }

    /// A call to a peer that is counted, with a deadline.
    async fn call<T>(
        &self,
        counts: &Counts,
        limit: Duration,
        call: impl Future<Output = Result<tonic::Response<T>, Status>> + Send,
    ) -> Result<T, RPCError<TypeConfig>> {
        match timeout(limit, call).await {
            Ok(Ok(response)) => Ok(response.into_inner()),
            Ok(Err(status)) => {
                counts.sent_failures.inc();
                if status.code() == tonic::Code::PermissionDenied
                    && status.message() == limits::REMOVED
                {
                    self.inner.removed.cancel();
                }
                Err(failed(&status))
            }
            Err(_) => {
                counts.sent_failures.inc();
                Err(RPCError::Unreachable(Unreachable::from_string("no answer in time")))
            }
        }
    }

    fn link(&self, target: u64, node: &Peer, heartbeat: bool) -> Link {
        let client = match node.urls.first() {
            Some(url) => self.channel_to(Some(target), url, Asked::WhileOpen(limits::PEER_PING)),
            None => Err(io::Error::other("the peer has no URL")),
        };
        let counts = self.inner.metrics.of(target);
        let url = node.urls.first().cloned().unwrap_or_default();
        let (beats, idle_since) = (None, None);
        Link { url, client, heartbeat, beats, idle_since, counts, network: self.clone() }
    }
}

impl RaftNetworkFactory<TypeConfig> for Network {
    type Network = Link;

    async fn new_client(&mut self, target: u64, node: &Peer) -> Link {
        self.link(target, node, false)
    }

    async fn new_heartbeat_client(&mut self, target: u64, node: &Peer) -> Link {
        self.link(target, node, true)
    }

    async fn new_snapshot_client(&mut self, target: u64, node: &Peer) -> Link {
        self.link(target, node, false)
    }
}

/// One use of one peer: heartbeats, replication and snapshots have their own connections.
pub(crate) struct Link {
    url: String,
    client: Result<PeerClient, io::Error>,
    heartbeat: bool,
    /// The call that heartbeats go over, while it goes on.
    beats: Option<Beats>,
    /// When the last heartbeat had been answered.
    idle_since: Option<Instant>,
    counts: Arc<Counts>,
    network: Network,
}

/// A call that carries one heartbeat after the other. A call of its own for each is five frames and as many
/// wakes of an idle member; here it is one frame there and one back.
struct Beats {
    requests: mpsc::Sender<peer::AppendEntriesRequest>,
    answers: tonic::Streaming<peer::AppendEntriesResponse>,
}

impl Beats {
    /// Begins it, and returns with the answer to the first.
    async fn begin(
        mut client: PeerClient,
        first: peer::AppendEntriesRequest,
    ) -> Result<(Self, peer::AppendEntriesResponse), Status> {
        let (requests, queue) = mpsc::channel(1);
        requests.try_send(first).map_err(|_| Status::internal("there is room for one"))?;
        let answers = client.stream_append(ReceiverStream::new(queue)).await?.into_inner();
        let mut beats = Self { requests, answers };
        match beats.answers.message().await? {
            Some(answer) => Ok((beats, answer)),
            None => Err(Status::unavailable("the peer did not answer")),
        }
    }
}

fn failed(status: &Status) -> RPCError<TypeConfig> {
    match status.code() {
        tonic::Code::Unavailable | tonic::Code::Unknown => {
            RPCError::Unreachable(Unreachable::from_string(status.message()))
        }
        _ => RPCError::Network(NetworkError::from_string(status)),
    }
}

impl Link {
    fn client(&self) -> Result<PeerClient, RPCError<TypeConfig>> {
        match &self.client {
            Ok(client) => Ok(client.clone()),
            Err(error) => Err(RPCError::Unreachable(Unreachable::new(error))),
        }
    }

    /// Asks for a vote. Openraft makes a new link for each time, and waits for half an election's timeout. On
    /// a long way a new connection alone takes as long, and nobody would ever be elected; so the call goes on
    /// when openraft has given up, and once it is answered, whenever that is, its connection is there for
    /// the next time. One without an answer is not used again: it may lead nowhere any more.
    async fn ask<T, F>(&self, ask: impl FnOnce(PeerClient) -> F) -> Result<T, RPCError<TypeConfig>>
    where
        T: Send + 'static,
        F: Future<Output = Result<tonic::Response<T>, Status>> + Send + 'static,
    {
        let place = self.network.inner.questions.clone().try_acquire_owned();
        let place = place.map_err(|full| RPCError::Unreachable(Unreachable::new(&full)))?;
        let kept = self.network.inner.asked.lock().remove(&self.url);
        let client = kept.map_or_else(|| self.client(), Ok)?;
        let answer = ask(client.clone());
        let (network, counts, url) = (self.network.clone(), self.counts.clone(), self.url.clone());
        let asked = tokio::spawn(async move {
            let _place = place;
            let answer = network.call(&counts, network.inner.timeout * 2, answer).await?;
            network.inner.asked.lock().insert(url, client);
            Ok(answer)
        });
        let stopped = |why| RPCError::Unreachable(Unreachable::new(&why));
        asked.await.map_err(stopped)?
    }

    /// Sends a heartbeat over the call that the last one was answered on, or over a new one.
    async fn beat(
        &mut self,
        client: PeerClient,
        message: peer::AppendEntriesRequest,
        option: &RPCOption,
    ) -> Result<peer::AppendEntriesResponse, RPCError<TypeConfig>> {
        // Put back when it has answered: what was given up leaves no answer behind for the next.
        if let Some(mut beats) = self.beats.take()
            && beats.requests.try_send(message.clone()).is_ok()
        {
            let answer = async { Ok(tonic::Response::new(beats.answers.message().await)) };
            // If not, it ended with its last answer, or with the peer's process.
            if let Ok(Some(answer)) = self.call(option, answer).await? {
                self.beats = Some(beats);
                return Ok(answer);
            }
        }
        let begin = async { Beats::begin(client, message).await.map(tonic::Response::new) };
        let (beats, answer) = self.call(option, begin).await?;
        self.beats = Some(beats);
        Ok(answer)
    }

    /// A call with a deadline: a busy machine must not look like a dead one, so it is at least
    /// as long as an election timeout.
    async fn call<T>(
        &self,
        option: &RPCOption,
        call: impl Future<Output = Result<tonic::Response<T>, Status>> + Send,
    ) -> Result<T, RPCError<TypeConfig>> {
        let limit = option.hard_ttl().max(self.network.inner.timeout);
        self.network.call(&self.counts, limit, call).await
    }
}

impl RaftNetworkV2<TypeConfig> for Link {
    type SnapshotData = Arc<Checkpoint>;

    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, RPCError<TypeConfig>> {
        let mut client = self.client()?;
        let message = convert::append_out(&rpc, self.network.inner.cluster_id);
        // One that failed says nothing of this member: the next one is not measured from it.
        if let Some(idle_since) = self.idle_since.take() {
            self.network.inner.metrics.heartbeat(idle_since.elapsed());
        }
        let answer = if self.heartbeat {
            self.beat(client, message, &option).await?
        } else {
            self.call(&option, client.append_entries(message)).await?
        };
        self.idle_since = self.heartbeat.then(Instant::now);
        let last = rpc.entries.last().map(|entry| entry.log_id).or(rpc.prev_log_id);
        Ok(match convert::appended_in(&answer).map_err(|status| failed(&status))? {
            Ok(matching) if matching == last => AppendEntriesResponse::Success,
            Ok(matching) => AppendEntriesResponse::PartialSuccess(matching),
            Err(StreamAppendError::Conflict(_)) => AppendEntriesResponse::Conflict,
            Err(StreamAppendError::HigherVote(vote)) => AppendEntriesResponse::HigherVote(vote),
        })
    }

    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        option: RPCOption,
    ) -> BoxFuture<
        's,
        Result<
            BoxStream<'s, Result<StreamAppendResult<TypeConfig>, RPCError<TypeConfig>>>,
            RPCError<TypeConfig>,
        >,
    >
    where
        S: Stream<Item = AppendEntriesRequest<TypeConfig>> + OptionalSend + Unpin + 'static,
    {
        if self.heartbeat {
            return stream_append_sequential(self, input, option);
        }
        Box::pin(async move {
            let mut client = self.client()?;
            let cluster_id = self.network.inner.cluster_id;
            let requests = input.map(move |request| convert::append_out(&request, cluster_id));
            let answers = match self.call(&option, client.stream_append(requests)).await {
                Ok(answers) => answers,
                Err(error) => {
                    // openraft waits where it makes the next request; a peer that cannot be reached
                    // asks for none, and would be called again at once, thousands of times a second.
                    tokio::time::sleep(limits::PEER_RETRY_EVERY).await;
                    return Err(error);
                }
            };
            let answers = answers.map(|answer| {
                let answer = answer.and_then(|answer| convert::appended_in(&answer));
                answer.map_err(|status| failed(&status))
            });
            Ok(answers.boxed() as BoxStream<'s, _>)
        })
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        let message = convert::vote_request_out(&rpc, self.network.inner.cluster_id);
        let ask = async move |mut client: PeerClient| client.vote(message).await;
        let answer = self.ask(ask).await?;
        convert::vote_response_in(&answer).map_err(|status| failed(&status))
    }

    async fn pre_vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        let message = convert::vote_request_out(&rpc, self.network.inner.cluster_id);
        let ask = async move |mut client: PeerClient| client.pre_vote(message).await;
        let answer = self.ask(ask).await?;
        convert::vote_response_in(&answer).map_err(|status| failed(&status))
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let mut client = self.client()?;
        let counts = self.counts.clone();
        let transfer = counts.sending();
        let (send, receive) = exec::queue(4);
        let cluster_id = self.network.inner.cluster_id;
        let reader = exec::blocking(move || send_snapshot(&vote, &snapshot, cluster_id, &send));
        let call = timeout(
            limits::SNAPSHOT_TIMEOUT,
            client.install_snapshot(ReceiverStream::new(receive)),
        );
        let answer = tokio::select! {
            answer = call => answer,
            closed = cancel => return Err(StreamingError::Closed(closed)),
        };
        if let Ok(Err(error)) = reader.await {
            return Err(NetworkError::new(&error).into());
        }
        match answer {
            Ok(Ok(answer)) => {
                let vote = convert::vote_in(answer.into_inner().vote.as_ref())
                    .map_err(NetworkError::from_string)?;
                transfer.end();
                Ok(SnapshotResponse::new(vote))
            }
            Ok(Err(status)) => Err(failed(&status).into()),
            Err(_) => Err(Unreachable::from_string("the snapshot took too long").into()),
        }
    }

    async fn transfer_leader(
        &mut self,
        req: TransferLeaderRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<TypeConfig>, RPCError<TypeConfig>> {
        let mut client = self.client()?;
        let message = peer::TransferLeaderRequest {
            from_leader: Some(convert::vote_out(req.from_leader())),
            to_node_id: *req.to_node_id(),
            last_log_id: req.last_log_id().map(convert::log_id_out),
            cluster_id: self.network.inner.cluster_id,
        };
        let answer = self.call(&option, client.transfer_leader(message)).await?;
        if answer.refused.is_empty() {
            Ok(Ok(()))
        } else {
            Err(RPCError::Network(NetworkError::from_string(answer.refused)))
        }
    }
}

pub(super) fn send_snapshot(
    vote: &Vote,
    snapshot: &Snapshot,
    cluster_id: u64,
    send: &mpsc::Sender<peer::InstallSnapshotRequest>,
) -> io::Result<()> {
    use peer::install_snapshot_request::Part;
    let dir = snapshot.snapshot.path();
    let files = snapshot::manifest(dir)?;
    let manifest = peer::SnapshotManifest {
        vote: Some(convert::vote_out(vote)),
        last_log_id: snapshot.meta.last_log_id.as_ref().map(convert::log_id_out),
        membership: Some(convert::membership_out(&snapshot.meta.last_membership)),
        cluster_id,
        files: files.clone(),
        format: 1,
        snapshot_id: dir.file_name().unwrap_or_default().to_string_lossy().into_owned(),
    };
    let part = |part| peer::InstallSnapshotRequest { part: Some(part) };
    if exec::send(send, part(Part::Manifest(manifest))).is_err() {
        return Ok(());
    }
    snapshot::read_chunks(dir, &files, |chunk| exec::send(send, part(Part::Chunk(chunk))).is_ok())
}
