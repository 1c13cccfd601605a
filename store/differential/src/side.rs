//! One server as a script's client sees it: calls, watch streams, and everything that happened.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context as _, bail, ensure};
use bytes::Bytes;
use futures::future::join_all;
use parking_lot::RwLock;
use prost::Message;
use prost_reflect::DynamicMessage;
use proto::etcdserverpb as pb;
use proto::etcdserverpb::watch_request::RequestUnion;
use proto::mvccpb::{Event, KeyValue};
use tokio::time::{Instant, sleep, timeout};
use tonic::client::Grpc;
use tonic::transport::{Channel, Endpoint};

use crate::answer::Answer;
use crate::limits;
use crate::origin::Origin;
use crate::step::{Step, keep_alive_method, watch_method};
use crate::stream::Stream;
use crate::watcher::revision;
use crate::watching::Watching;
use crate::wire::{BytesCodec, Method, dynamic, method};

/// One server.
pub struct Side {
    grpc: Grpc<Channel>,
    pub(crate) origin: Arc<RwLock<Origin>>,
    /// etcd's version that it stands for.
    pub(crate) version: (u64, u64, u64),
    pub(crate) streams: BTreeMap<u8, Watching>,
    /// Streams on which the script sends no more; their watches live on.
    silent: Vec<Watching>,
    keep_alive: Option<Stream<pb::LeaseKeepAliveResponse>>,
    /// What users got for their passwords.
    tokens: BTreeMap<String, String>,
    /// Users or roles may be there since the last reset.
    has_users: bool,
    /// A watch of everything since the script began, and the event of its beginning.
    all: Option<Stream<pb::WatchResponse>>,
    first: Event,
    /// When a watch was last created that begins in the past.
    late_watch: Option<Instant>,
    /// The server's revision as the last answer said, and the compacted one.
    pub(crate) now: i64,
    pub(crate) compacted: i64,
    /// Whether what the last compaction made unreachable may still be there.
    removing: bool,
}

fn version_of(text: &str) -> (u64, u64, u64) {
    let mut numbers = text.split(['.', '-', '+']).map(|part| part.parse().unwrap_or(0));
    let mut next = || numbers.next().unwrap_or(0);
    (next(), next(), next())
}

impl Side {
    /// Connects, and waits until the server answers a linearizable read.
    ///
    /// # Errors
    /// When it does not in time.
    pub async fn connect(url: &str) -> anyhow::Result<Self> {
        let channel = Endpoint::from_shared(url.to_owned())?.tcp_nodelay(true).connect_lazy();
        let grpc = Grpc::new(channel)
            .max_decoding_message_size(limits::ANSWER_BYTES_MAX)
            .max_encoding_message_size(limits::ANSWER_BYTES_MAX);
        let mut side = Self {
            grpc,
            origin: Arc::default(),
            version: (0, 0, 0),
            streams: BTreeMap::new(),
            silent: Vec::new(),
            keep_alive: None,
            tokens: BTreeMap::new(),
            has_users: false,
            all: None,
            first: Event::default(),
            late_watch: None,
            now: 0,
            compacted: 0,
            removing: false,
        };
        let deadline = Instant::now() + limits::BRING_UP_DEADLINE;
        let range = pb::RangeRequest { key: "a".into(), ..pb::RangeRequest::default() };
        loop {
            match side.own::<pb::RangeResponse>("KV/Range", &range).await {
                Ok(_) => break,
                Err(error) if Instant::now() > deadline => return Err(error),
                Err(_) => sleep(limits::POLL_INTERVAL).await,
            }
        }
        let status = pb::StatusRequest::default();
        let status: pb::StatusResponse = side.own("Maintenance/Status", &status).await?;
        side.version = version_of(&status.version);
        Ok(side)
    }

    async fn call(
        &self,
        method: &Method,
        request: Bytes,
        user: Option<&str>,
    ) -> Result<Bytes, tonic::Status> {
        let mut grpc = self.grpc.clone();
        let call = async {
            let unavailable =
                |error: tonic::transport::Error| tonic::Status::unavailable(error.to_string());
            grpc.ready().await.map_err(unavailable)?;
            let mut request = tonic::Request::new(request);
            if let Some(user) = user {
                // One who has no token sends one that nobody gave.
                let token = self.tokens.get(user).map_or("nonsense.1", String::as_str);
                let token = token.parse().map_err(|_| tonic::Status::internal("a token"))?;
                request.metadata_mut().insert("token", token);
            }
            grpc.unary(request, method.path.clone(), BytesCodec).await
        };
        match timeout(limits::CALL_DEADLINE, call).await {
            Ok(answer) => answer.map(tonic::Response::into_inner),
            Err(_) => Err(tonic::Status::deadline_exceeded("(told by the harness) no answer")),
        }
    }

    /// A call that is not part of a script.
    async fn own<M: Message + Default>(
        &self,
        name: &str,
        request: &impl Message,
    ) -> anyhow::Result<M> {
        let request = request.encode_to_vec().into();
        let user = self.has_users.then_some("root");
        let answer = self.call(method(name)?, request, user).await;
        let answer = answer.map_err(|status| {
            anyhow::anyhow!("{name}: {:?} {}", status.code(), status.message())
        })?;
        Ok(M::decode(answer)?)
    }

    /// Makes the store as a script expects it: only the key `a`, empty, put at revision 1; everything
    /// before is compacted; no leases, no watches.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn reset(&mut self) -> anyhow::Result<()> {
        self.streams.clear();
        self.silent.clear();
        self.keep_alive = None;
        self.all = None;
        if self.has_users {
            self.forget_users().await?;
        }
        let leases: pb::LeaseLeasesResponse =
            self.own("Lease/LeaseLeases", &pb::LeaseLeasesRequest {}).await?;
        for lease in leases.leases {
            // One that runs out at this moment is gone as well.
            let revoke = pb::LeaseRevokeRequest { id: lease.id };
            drop(self.own::<pb::LeaseRevokeResponse>("Lease/LeaseRevoke", &revoke).await);
        }
        let every = Bytes::from_static(b"\0");
        let (key, range_end) = (every.clone(), every);
        let delete = pb::DeleteRangeRequest { key, range_end, ..pb::DeleteRangeRequest::default() };
        let _: pb::DeleteRangeResponse = self.own("KV/DeleteRange", &delete).await?;
        let put = pb::PutRequest { key: "a".into(), ..pb::PutRequest::default() };
        let put: pb::PutResponse = self.own("KV/Put", &put).await?;
        let revision = put.header.context("a put has a header")?.revision;
        let compact = pb::CompactionRequest { revision, physical: true };
        let _: pb::CompactionResponse = self.own("KV/Compact", &compact).await?;
        *self.origin.write() = Origin::new(revision - 1);
        (self.now, self.compacted, self.removing) = (revision, revision, false);
        let kv = KeyValue {
            key: "a".into(),
            create_revision: revision,
            mod_revision: revision,
            version: 1,
            ..KeyValue::default()
        };
        self.first = Event { kv: Some(kv), ..Event::default() };
        self.watch_all().await
    }

    /// Only root, with the password that scripts leave alone, can do it while auth is enabled.
    async fn forget_users(&mut self) -> anyhow::Result<()> {
        self.tokens.clear();
        let (name, password) = ("root".to_owned(), "root".to_owned());
        let login = pb::AuthenticateRequest { name, password };
        if let Ok(pb::AuthenticateResponse { token, .. }) =
            self.own("Auth/Authenticate", &login).await
        {
            self.tokens.insert("root".to_owned(), token);
            let disable = pb::AuthDisableRequest {};
            let _: pb::AuthDisableResponse = self.own("Auth/AuthDisable", &disable).await?;
        }
        self.has_users = false;
        let users: pb::AuthUserListResponse =
            self.own("Auth/UserList", &pb::AuthUserListRequest {}).await?;
        for name in users.users {
            let delete = pb::AuthUserDeleteRequest { name };
            let _: pb::AuthUserDeleteResponse = self.own("Auth/UserDelete", &delete).await?;
        }
        let roles: pb::AuthRoleListResponse =
            self.own("Auth/RoleList", &pb::AuthRoleListRequest {}).await?;
        for role in roles.roles {
            let delete = pb::AuthRoleDeleteRequest { role };
            let _: pb::AuthRoleDeleteResponse = self.own("Auth/RoleDelete", &delete).await?;
        }
        self.tokens.clear();
        Ok(())
    }

    /// A stream with a watch of everything from `start_revision` on.
    async fn every_event(&self, start_revision: i64) -> anyhow::Result<Stream<pb::WatchResponse>> {
        let every = Bytes::from_static(b"\0");
        let create = pb::WatchCreateRequest {
            key: every.clone(),
            range_end: every,
            prev_kv: true,
            start_revision,
            ..pb::WatchCreateRequest::default()
        };
        let request = pb::WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
        let all = Stream::open(&self.grpc, watch_method());
        all.send(request.encode_to_vec().into()).await?;
        Ok(all)
    }

    /// Waits until watches that begin in the past have begun; before, a compaction cancels them. etcd
    /// looks at all of them at once, so that one more, created now, is told its event no earlier.
    async fn begin_late_watches(&self, created: Instant) -> anyhow::Result<()> {
        if self.now == self.compacted {
            // There may be no event left to wait for.
            tokio::time::sleep_until(created + limits::WATCH_LOOKED_AT).await;
            return Ok(());
        }
        let all = self.every_event(self.now).await?;
        let deadline = Instant::now() + limits::WATCH_DEADLINE;
        let told = all.wait(deadline, |frames: &[pb::WatchResponse]| {
            frames.iter().any(|frame| !frame.events.is_empty()).then_some(())
        });
        told.await.context("a watch of the last revision is told nothing")
    }

    async fn watch_all(&mut self) -> anyhow::Result<()> {
        let all = self.every_event(0).await?;
        let deadline = Instant::now() + limits::WATCH_DEADLINE;
        let created = all.wait(deadline, |frames: &[pb::WatchResponse]| frames.first().cloned());
        let created = created.await.context("no watch of everything")?;
        ensure!(created.created && !created.canceled, "no watch of everything: {created:?}");
        self.all = Some(all);
        Ok(())
    }

    /// Everything that happened, from the script's beginning on.
    pub(crate) fn history(&self) -> Vec<Event> {
        let mut history = vec![self.first.clone()];
        if let Some(stream) = &self.all {
            stream.with(|frames| {
                history.extend(frames.iter().flat_map(|frame| frame.events.iter().cloned()));
            });
        }
        history
    }

    /// The history as the script means it.
    pub(crate) fn told(&self) -> Vec<DynamicMessage> {
        let output = &watch_method().output;
        let event = output.get_field_by_name("events").map(|field| field.kind());
        let event = event.and_then(|kind| kind.as_message().cloned()).expect("frames have events");
        let origin = self.origin.read();
        let told = self.history().into_iter().map(|one| {
            let mut one = dynamic(&event, &one);
            origin.inward(&mut one);
            one
        });
        told.collect()
    }

    /// Carries out a script, one step after the other, whatever is answered.
    pub async fn tell(&mut self, script: &[Step]) -> Vec<(Step, Answer)> {
        let mut told = Vec::with_capacity(script.len());
        for step in script {
            let answers = self.perform(std::slice::from_ref(step)).await;
            told.extend(answers.into_iter().map(|answer| (step.clone(), answer)));
        }
        told
    }

    /// Waits until the last compaction is over and committed. Where no key is left, etcd hashes what
    /// is physically there, so that its answer is another until then.
    async fn finish_removal(&mut self) {
        let compact = pb::CompactionRequest { revision: self.compacted, physical: true };
        // Both refuse to compact the same revision again, etcd once it has waited.
        drop(self.own::<pb::CompactionResponse>("KV/Compact", &compact).await);
        self.removing = false;
    }

    /// Carries out reads at once; other steps one by one.
    pub(crate) async fn perform(&mut self, steps: &[Step]) -> Vec<Answer> {
        if self.removing && steps.iter().any(Step::is_hash) {
            self.finish_removal().await;
        }
        if steps.iter().all(Step::is_read) {
            let answers = join_all(steps.iter().map(|step| self.answer_call(step))).await;
            answers.iter().for_each(|answer| self.learn(answer));
            return answers;
        }
        let mut answers = Vec::with_capacity(steps.len());
        for step in steps {
            let answer = match self.one(step).await {
                Ok(answer) => answer,
                Err(error) => Answer::complaint(format!("{error:#}")),
            };
            self.learn(&answer);
            answers.push(answer);
        }
        answers
    }

    fn learn(&mut self, answer: &Answer) {
        if let Some(revision) = answer.revision() {
            let revision = revision + self.origin.read().offset;
            self.now = self.now.max(revision);
        }
    }

    async fn answer_call(&self, step: &Step) -> Answer {
        let (method, bytes, user) = match step {
            Step::Call { method, request, user } => {
                let request = self.origin.read().outward(request);
                (method, request.encode_to_vec().into(), user.as_deref())
            }
            Step::Raw { method, bytes } => (method, bytes.clone(), None),
            Step::Watch { .. }
            | Step::Close { .. }
            | Step::KeepAlive { .. }
            | Step::Expire { .. } => {
                return Answer::nothing();
            }
        };
        match self.call(method, bytes, user).await {
            Ok(bytes) => Answer::decoded(&method.output, bytes, &self.origin.read()),
            Err(status) => status.into(),
        }
    }

    async fn one(&mut self, step: &Step) -> anyhow::Result<Answer> {
        match step {
            Step::Call { method, .. } if method.name == "KV/Compact" => {
                // Watches must have what they are owed before it can be taken away.
                self.settle().await?;
                if let Some(created) = self.late_watch.take() {
                    self.begin_late_watches(created).await?;
                }
                let answer = self.answer_call(step).await;
                let asked: Option<pb::CompactionRequest> = step.request("KV/Compact");
                if let (Answer::Message(_), Some(asked)) = (&answer, asked) {
                    self.compacted = asked.revision + self.origin.read().offset;
                    self.removing = !asked.physical;
                }
                Ok(answer)
            }
            Step::Call { method, .. } if method.name == "Lease/LeaseGrant" => {
                Ok(self.grant(step).await)
            }
            Step::Call { method, .. } if method.name == "Auth/Authenticate" => {
                self.authenticate(step).await
            }
            Step::Call { method, .. } => {
                self.has_users |= method.name.starts_with("Auth/");
                Ok(self.answer_call(step).await)
            }
            Step::Raw { .. } => Ok(self.answer_call(step).await),
            Step::Watch { stream, request } => self.watch(*stream, request).await,
            Step::Close { stream } => Ok(self.close(*stream)),
            Step::KeepAlive { request } => self.renew(request).await,
            Step::Expire { lease } => self.expire(*lease).await,
        }
    }

    async fn authenticate(&mut self, step: &Step) -> anyhow::Result<Answer> {
        let login: pb::AuthenticateRequest =
            step.request("Auth/Authenticate").context("matched by the caller")?;
        let method = method("Auth/Authenticate")?;
        Ok(match self.call(method, login.encode_to_vec().into(), None).await {
            Ok(bytes) => {
                let told = pb::AuthenticateResponse::decode(bytes.clone())?;
                self.tokens.insert(login.name, told.token);
                Answer::decoded(&method.output, bytes, &self.origin.read())
            }
            Err(status) => status.into(),
        })
    }

    /// A lease that the server names gets a name of the script's.
    async fn grant(&self, step: &Step) -> Answer {
        let answer = self.answer_call(step).await;
        let asked: Option<pb::LeaseGrantRequest> = step.request("Lease/LeaseGrant");
        let chosen = asked.is_some_and(|asked| asked.id == 0);
        let told: Option<pb::LeaseGrantResponse> = answer.as_type("LeaseGrantResponse");
        let (true, Some(mut told)) = (chosen, told) else { return answer };
        if told.id <= 0 {
            return Answer::complaint(format!("the server chose lease {}", told.id));
        }
        self.origin.write().name_lease(told.id);
        told.id = self.origin.read().lease_in(told.id);
        let method = method("Lease/LeaseGrant").expect("named in the source");
        Answer::Message(dynamic(&method.output, &told))
    }

    async fn renew(&mut self, request: &DynamicMessage) -> anyhow::Result<Answer> {
        let grpc = &self.grpc;
        let stream = self.keep_alive.get_or_insert_with(|| Stream::open(grpc, keep_alive_method()));
        let before = stream.len();
        let request = self.origin.read().outward(request);
        stream.send(request.encode_to_vec().into()).await?;
        let deadline = Instant::now() + limits::CALL_DEADLINE;
        let frame = stream.wait(deadline, |frames| frames.get(before).cloned()).await;
        let frame = frame.context("no answer to a keepalive")?;
        let bytes = frame.encode_to_vec().into();
        Ok(Answer::decoded(&keep_alive_method().output, bytes, &self.origin.read()))
    }

    async fn expire(&mut self, lease: i64) -> anyhow::Result<Answer> {
        let line = format!("Lease/LeaseTimeToLive ID:{lease}");
        let question: Step = line.parse()?;
        let deadline = Instant::now() + limits::EXPIRY_DEADLINE;
        while Instant::now() < deadline {
            let answer = self.answer_call(&question).await;
            let told: Option<pb::LeaseTimeToLiveResponse> =
                answer.as_type("LeaseTimeToLiveResponse");
            if told.is_some_and(|told| told.ttl == -1) {
                return Ok(answer);
            }
            sleep(limits::POLL_INTERVAL).await;
        }
        bail!("lease {lease} does not run out")
    }

    /// The server goes on telling what was asked for.
    fn close(&mut self, number: u8) -> Answer {
        if let Some(mut watching) = self.streams.remove(&number) {
            watching.stream.close();
            self.silent.push(watching);
        }
        Answer::nothing()
    }

    async fn watch(&mut self, number: u8, request: &DynamicMessage) -> anyhow::Result<Answer> {
        let request: pb::WatchRequest = crate::wire::typed(&self.origin.read().outward(request));
        let bytes = Bytes::from(request.encode_to_vec());
        if !self.streams.contains_key(&number) {
            let stream = Stream::open(&self.grpc, watch_method());
            self.streams
                .insert(number, Watching { stream, watchers: Vec::new(), compacted: Vec::new() });
        }
        let deadline = Instant::now() + limits::WATCH_DEADLINE;
        let compacted = self.compacted;
        let frames = match request.request_union {
            Some(RequestUnion::CreateRequest(create)) => {
                let watching = self.streams.get_mut(&number).context("opened above")?;
                let frames = watching.create(&create, bytes, compacted, deadline).await?;
                if create.start_revision != 0 {
                    self.late_watch = Some(Instant::now());
                }
                frames
            }
            Some(RequestUnion::CancelRequest(cancel)) => {
                self.settle().await?;
                let watching = self.streams.get_mut(&number).context("opened above")?;
                watching.cancel(cancel.watch_id, bytes, deadline).await?
            }
            Some(RequestUnion::ProgressRequest(_)) => {
                self.settle().await?;
                let now = self.now;
                let watching = self.streams.get_mut(&number).context("opened above")?;
                watching.progress(now, bytes).await?
            }
            None => {
                self.streams.get_mut(&number).context("opened above")?.stream.send(bytes).await?;
                Vec::new()
            }
        };
        let origin = self.origin.read();
        let convert = |frame: pb::WatchResponse| {
            let bytes = frame.encode_to_vec().into();
            match Answer::decoded(&watch_method().output, bytes, &origin) {
                Answer::Message(message) => message,
                Answer::Error { .. } | Answer::Frames(_) => dynamic(&watch_method().output, &frame),
            }
        };
        Ok(Answer::Frames(frames.into_iter().map(convert).collect()))
    }

    /// Waits until every watch was told all that it must be told, and checks that it was no more.
    pub(crate) async fn settle(&mut self) -> anyhow::Result<()> {
        let deadline = Instant::now() + limits::WATCH_DEADLINE;
        let (now, began) = (self.now, self.origin.read().offset + 1);
        let all = self.all.as_ref().context("no watch of everything")?;
        let reached = all.wait(deadline, |frames| {
            let last = frames.iter().rev().find_map(|frame| frame.events.last().map(revision));
            (last.unwrap_or(began) >= now).then_some(())
        });
        reached.await.with_context(|| format!("no events up to revision {now}"))?;
        let history = self.history();
        let lenient = self.version < (3, 5, 16);
        for watching in self.streams.values().chain(&self.silent) {
            for watcher in &watching.watchers {
                let checked = watching.check(watcher, &history, lenient, deadline).await;
                checked.with_context(|| format!("watch {} from {}", watcher.id, watcher.start))?;
            }
        }
        Ok(())
    }
}
