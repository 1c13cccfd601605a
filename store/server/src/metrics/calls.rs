//! Counts gRPC calls, under the names that Prometheus' Go library gives them; warns of slow ones.

use std::{
    collections::HashMap,
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use axum::body::{Body, Bytes};
use futures::future::BoxFuture;
use http::{HeaderMap, Request, Response};
use http_body::{Frame, SizeHint};
use parking_lot::RwLock;
use prometheus_client::{
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};
use prost::Message as _;
use tonic::Code;
use tower::{Layer, Service};

use super::{Histogram, Labels};
use crate::limits;

/// gRPC's codes in order, by the names that Go has for them.
const CODES: [&str; 17] = [
    "OK",
    "Canceled",
    "Unknown",
    "InvalidArgument",
    "DeadlineExceeded",
    "NotFound",
    "AlreadyExists",
    "PermissionDenied",
    "ResourceExhausted",
    "FailedPrecondition",
    "Aborted",
    "OutOfRange",
    "Unimplemented",
    "Internal",
    "Unavailable",
    "DataLoss",
    "Unauthenticated",
];

/// The packages whose services the client port has.
const PACKAGES: [&str; 4] = ["etcdserverpb", "v3electionpb", "v3lockpb", "grpc.health.v1"];

fn times() -> Histogram {
    Histogram::with_bounds(&[5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000])
}

/// The counters of all methods.
pub(crate) struct Calls {
    methods: HashMap<String, Arc<Method>>,
    started: Family<Labels, Counter>,
    handled: Family<Labels, Counter>,
    received: Family<Labels, Counter>,
    sent: Family<Labels, Counter>,
    handling: Family<Labels, Histogram, fn() -> Histogram>,
    settings: OnceLock<(bool, Duration)>,
    clients: Clients,
}

/// Counts requests by the version that their client names.
#[derive(Default)]
struct Clients {
    requests: Family<Labels, Counter>,
    /// What was counted before, for streams and others: few versions are in use at a time.
    known: RwLock<Vec<(bool, String, Counter)>>,
}

impl Clients {
    fn count(&self, streams: bool, headers: &HeaderMap) {
        let version = headers.get("client-api-version").and_then(|version| version.to_str().ok());
        let version = version.unwrap_or("unknown");
        let find = |known: &[(bool, String, Counter)], version: &str| {
            let found = known.iter().find(|one| one.0 == streams && one.1 == version);
            found.map(|(_, _, counter)| counter.clone())
        };
        let counted = find(&self.known.read(), version);
        if let Some(counter) = counted {
            counter.inc();
            return;
        }
        let mut known = self.known.write();
        // What clients say is bounded: they could say anything.
        let version = if known.len() < limits::CLIENT_VERSIONS_MAX { version } else { "other" };
        let counter = find(&known, version).unwrap_or_else(|| {
            let kind = if streams { "stream" } else { "unary" };
            let labels: Labels =
                vec![("type", kind.to_owned()), ("client_api_version", version.to_owned())];
            let counter = self.requests.get_or_create(&labels).clone();
            known.push((streams, version.to_owned(), counter.clone()));
            counter
        });
        counter.inc();
    }
}

struct Method {
    path: String,
    streams: bool,
    started: Counter,
    handled: [Counter; CODES.len()],
    received: Counter,
    sent: Counter,
    labels: Labels,
    handling: OnceLock<Histogram>,
}

impl Default for Calls {
    fn default() -> Self {
        let mut calls = Self {
            methods: HashMap::new(),
            started: Family::default(),
            handled: Family::default(),
            received: Family::default(),
            sent: Family::default(),
            handling: Family::new_with_constructor(times),
            settings: OnceLock::new(),
            clients: Clients::default(),
        };
        let set = prost_types::FileDescriptorSet::decode(proto::DESCRIPTORS);
        let set = set.expect("our own build wrote it");
        for file in set.file.iter().filter(|file| PACKAGES.contains(&file.package())) {
            for service in &file.service {
                let name = format!("{}.{}", file.package(), service.name());
                for method in &service.method {
                    calls.add(&name, method);
                }
            }
        }
        calls
    }
}

impl Calls {
    fn add(&mut self, service: &str, method: &prost_types::MethodDescriptorProto) {
        let kind = match (method.client_streaming(), method.server_streaming()) {
            (false, false) => "unary",
            (true, false) => "client_stream",
            (false, true) => "server_stream",
            (true, true) => "bidi_stream",
        };
        let labels: Labels = vec![
            ("grpc_type", kind.to_owned()),
            ("grpc_service", service.to_owned()),
            ("grpc_method", method.name().to_owned()),
        ];
        let counter = |family: &Family<Labels, Counter>, labels: &Labels| {
            family.get_or_create(labels).clone()
        };
        let handled = CODES.map(|code| {
            let labels = [labels.clone(), vec![("grpc_code", code.to_owned())]].concat();
            counter(&self.handled, &labels)
        });
        let path = format!("/{service}/{}", method.name());
        let method = Method {
            path: path.clone(),
            streams: kind != "unary",
            started: counter(&self.started, &labels),
            handled,
            received: counter(&self.received, &labels),
            sent: counter(&self.sent, &labels),
            labels,
            handling: OnceLock::new(),
        };
        self.methods.insert(path, Arc::new(method));
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        let name = |what: &str| format!("grpc_server_{what}");
        let started = "RPCs started on the server";
        registry.register(name("started"), started, self.started.clone());
        let handled = "RPCs completed on the server, regardless of success or failure";
        registry.register(name("handled"), handled, self.handled.clone());
        let received = "RPC messages received on the server";
        registry.register(name("msg_received"), received, self.received.clone());
        let sent = "RPC messages sent by the server";
        registry.register(name("msg_sent"), sent, self.sent.clone());
        let handling = "Response latency of RPCs, in seconds";
        registry.register(name("handling_seconds"), handling, self.handling.clone());
        let requests = "Requests by the client's version";
        registry.register("etcd_server_client_requests", requests, self.clients.requests.clone());
    }

    /// `extensive`: measure times; `slow`: warn of unary calls that take longer.
    pub(crate) fn set(&self, extensive: bool, slow: Duration) {
        self.settings.get_or_init(|| (extensive, slow));
        if extensive {
            for method in self.methods.values() {
                let histogram = self.handling.get_or_create(&method.labels).clone();
                method.handling.get_or_init(|| histogram);
            }
        }
    }

    /// As if the version of a client had been seen.
    #[cfg(test)]
    pub(super) fn seen_for_test(&self) {
        self.clients.count(false, &HeaderMap::new());
    }

    fn slow(&self) -> Duration {
        self.settings.get().map_or(Duration::MAX, |(_, slow)| *slow)
    }
}

/// Counts the calls of a router.
#[derive(Clone)]
pub(crate) struct Counting {
    calls: Arc<Calls>,
}

impl Counting {
    pub(crate) fn new(calls: Arc<Calls>) -> Self {
        Self { calls }
    }
}

impl<S> Layer<S> for Counting {
    type Service = Counted<S>;

    fn layer(&self, inner: S) -> Counted<S> {
        Counted { inner, calls: self.calls.clone() }
    }
}

/// A service whose calls are counted.
#[derive(Clone)]
pub(crate) struct Counted<S> {
    inner: S,
    calls: Arc<Calls>,
}

impl<S> Service<Request<Body>> for Counted<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Response<Body>, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let Some(method) = self.calls.methods.get(request.uri().path()).cloned() else {
            return Box::pin(self.inner.call(request));
        };
        method.started.inc();
        self.calls.clients.count(method.streams, request.headers());
        let slow = self.calls.slow();
        let call = Call { method: method.clone(), began: Instant::now(), counted: false };
        if method.streams {
            let request = request.map(|body| {
                let counter = method.received.clone();
                Body::new(Messages { body, frames: Frames::default(), counter, call: None })
            });
            let answer = self.inner.call(request);
            return Box::pin(async move { Ok(streamed(answer.await?, call)) });
        }
        method.received.inc();
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = answer.await?;
            let took = call.began.elapsed();
            if took > slow {
                let method = call.method.path.as_str();
                tracing::warn!(method, ?took, "a request took long");
            }
            // A refusal is told in the headers; an answer was made whole before they are sent.
            call.end(code(answer.headers()));
            Ok(answer)
        })
    }
}

fn streamed(answer: Response<Body>, call: Call) -> Response<Body> {
    if answer.headers().contains_key("grpc-status") {
        call.end(code(answer.headers()));
        return answer;
    }
    answer.map(|body| {
        let counter = call.method.sent.clone();
        Body::new(Messages { body, frames: Frames::default(), counter, call: Some(call) })
    })
}

/// The code that headers or trailers tell; none told is OK.
fn code(headers: &HeaderMap) -> Code {
    headers.get("grpc-status").map_or(Code::Ok, |status| Code::from_bytes(status.as_bytes()))
}

/// One call, counted when it ends, or as canceled when it is dropped before.
struct Call {
    method: Arc<Method>,
    began: Instant,
    counted: bool,
}

impl Call {
    fn end(mut self, code: Code) {
        self.count(code);
    }

    fn count(&mut self, code: Code) {
        self.counted = true;
        let number = usize::try_from(i32::from(code)).unwrap_or(0);
        if let Some(counter) = self.method.handled.get(number) {
            counter.inc();
        }
        if code == Code::Ok && !self.method.streams {
            self.method.sent.inc();
        }
        if let Some(histogram) = self.method.handling.get() {
            histogram.observe(self.began.elapsed());
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if !self.counted {
            self.count(Code::Cancelled);
        }
    }
}

/// Finds where messages begin in a stream of pieces: five bytes, of which four are the length.
#[derive(Default)]
struct Frames {
    prefix: [u8; 5],
    seen: usize,
    left: usize,
}

impl Frames {
    /// How many messages begin in this piece.
    fn count(&mut self, mut piece: &[u8]) -> u64 {
        let mut begun = 0;
        while !piece.is_empty() {
            let skipped = self.left.min(piece.len());
            self.left -= skipped;
            piece = &piece[skipped..];
            let taken = piece.len().min(self.prefix.len() - self.seen);
            self.prefix[self.seen..self.seen + taken].copy_from_slice(&piece[..taken]);
            self.seen += taken;
            piece = &piece[taken..];
            if self.seen == self.prefix.len() {
                let [_, length @ ..] = self.prefix;
                self.left = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
                self.seen = 0;
                begun += 1;
            }
        }
        begun
    }
}

/// A body whose messages are counted.
struct Messages {
    body: Body,
    frames: Frames,
    counter: Counter,
    call: Option<Call>,
}

impl http_body::Body for Messages {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.body).poll_frame(context);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(piece) = frame.data_ref() {
                    this.counter.inc_by(this.frames.count(piece));
                }
                if let Some(trailers) = frame.trailers_ref()
                    && let Some(call) = this.call.take()
                {
                    call.end(code(trailers));
                }
            }
            Poll::Ready(None) => {
                if let Some(call) = this.call.take() {
                    call.end(Code::Ok);
                }
            }
            Poll::Ready(Some(Err(_))) | Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_found_however_they_are_cut() {
        let wire: Vec<u8> = [3u8, 0, 300u32 as u8]
            .iter()
            .flat_map(|length| {
                let mut frame = vec![0, 0, 0, 0, *length];
                frame.extend(std::iter::repeat_n(9, usize::from(*length)));
                frame
            })
            .collect();
        for cut in 1..wire.len() {
            let mut frames = Frames::default();
            let total: u64 = wire.chunks(cut).map(|piece| frames.count(piece)).sum();
            assert_eq!(total, 3, "cut into pieces of {cut}");
        }
    }

    #[test]
    fn clients_cannot_make_up_versions_without_end() {
        let clients = Clients::default();
        for number in 0..10 * limits::CLIENT_VERSIONS_MAX {
            let mut headers = HeaderMap::new();
            headers.insert("client-api-version", number.to_string().parse().unwrap());
            clients.count(false, &headers);
        }
        assert_eq!(clients.known.read().len(), limits::CLIENT_VERSIONS_MAX + 1);
        let total: u64 = clients.known.read().iter().map(|(_, _, counter)| counter.get()).sum();
        assert_eq!(total, 10 * limits::CLIENT_VERSIONS_MAX as u64);
    }

    #[test]
    fn a_call_is_counted_once_also_if_it_is_dropped() {
        let calls = Calls::default();
        let method = &calls.methods["/etcdserverpb.KV/Put"];
        let call = || Call { method: method.clone(), began: Instant::now(), counted: false };
        call().end(Code::Ok);
        drop(call());
        let counts: Vec<u64> = method.handled.iter().map(Counter::get).collect();
        assert_eq!((counts[0], counts[1], counts.iter().sum::<u64>()), (1, 1, 2));
        assert_eq!(method.sent.get(), 1);
    }
}
