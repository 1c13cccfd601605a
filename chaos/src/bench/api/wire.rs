//! One HTTP/2 connection to an API server.

use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use bytes::Bytes;
use h2::RecvStream;
use h2::client::{ResponseFuture, SendRequest};
use http::{HeaderValue, Method, Request, Version};
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::server::Server;
use crate::limits;

pub(super) const JSON: &str = "application/json";

/// A connection; clones share it.
#[derive(Clone, Debug)]
pub(super) struct Connection {
    streams: SendRequest<Bytes>,
    origin: String,
    token: Option<HeaderValue>,
}

/// One request.
#[derive(Clone, Debug)]
pub(super) struct Ask<'a> {
    pub method: Method,
    pub path: &'a str,
    pub accept: &'a str,
    pub content_type: &'a str,
    pub body: Bytes,
}

impl<'a> Ask<'a> {
    /// A read of JSON.
    pub(super) fn get(path: &'a str) -> Self {
        Self::with(Method::GET, path, Bytes::new())
    }

    /// Anything with a body in JSON.
    pub(super) fn with(method: Method, path: &'a str, body: Bytes) -> Self {
        Self { method, path, accept: JSON, content_type: JSON, body }
    }
}

/// An answer, as it came.
#[derive(Debug)]
pub(super) struct Answer {
    pub code: u16,
    pub parts: Vec<Bytes>,
    pub length: usize,
}

impl Answer {
    /// All of it in one piece.
    pub(super) fn body(mut self) -> Bytes {
        match self.parts.len() {
            1 => self.parts.swap_remove(0),
            _ => Bytes::from(self.parts.concat()),
        }
    }

    /// All of it, if its code is one of these.
    pub(super) fn expect(self, codes: &[u16], what: &str) -> anyhow::Result<Bytes> {
        const SHOWN_MAX: usize = 300;
        let code = self.code;
        let body = self.body();
        if codes.contains(&code) {
            return Ok(body);
        }
        let text = String::from_utf8_lossy(&body[..body.len().min(SHOWN_MAX)]).into_owned();
        bail!("{what}: {code}: {text}")
    }
}

impl Connection {
    pub(super) async fn open(server: &Server) -> anyhow::Result<Self> {
        let within = limits::OPERATION_DEADLINE;
        tokio::time::timeout(within, Self::open_without_deadline(server))
            .await
            .with_context(|| format!("{} does not answer", server.origin()))?
    }

    async fn open_without_deadline(server: &Server) -> anyhow::Result<Self> {
        let tcp = TcpStream::connect((server.host.as_str(), server.port)).await?;
        tcp.set_nodelay(true)?;
        let name = ServerName::try_from(server.host.clone())?;
        let tls = TlsConnector::from(server.tls.clone()).connect(name, tcp).await?;
        let mut builder = h2::client::Builder::new();
        builder.initial_window_size(4 << 20).initial_connection_window_size(16 << 20);
        let (streams, connection) = builder.handshake(tls).await?;
        drop(tokio::spawn(connection));
        Ok(Self { streams, origin: server.origin(), token: server.token.clone() })
    }

    /// So many connections.
    pub(super) async fn open_many(server: &Server, count: usize) -> anyhow::Result<Vec<Self>> {
        let mut all = Vec::with_capacity(count);
        for _ in 0..count {
            all.push(Self::open(server).await?);
        }
        Ok(all)
    }

    /// Asks and waits for the end of the answer.
    pub(super) async fn call(&mut self, ask: Ask<'_>) -> anyhow::Result<Answer> {
        self.call_within(limits::BENCH_OPERATION_DEADLINE, ask).await
    }

    /// As [`Self::call`], with another deadline.
    pub(super) async fn call_within(
        &mut self,
        deadline: Duration,
        ask: Ask<'_>,
    ) -> anyhow::Result<Answer> {
        tokio::time::timeout(deadline, self.call_without_deadline(ask))
            .await
            .context("no answer within the deadline")?
    }

    async fn call_without_deadline(&mut self, ask: Ask<'_>) -> anyhow::Result<Answer> {
        let (head, mut body) = self.begin(ask).await?.await?.into_parts();
        let (mut parts, mut length) = (Vec::new(), 0);
        while let Some(data) = body.data().await {
            let data = data?;
            body.flow_control().release_capacity(data.len())?;
            length += data.len();
            ensure!(length <= limits::BENCH_API_RESPONSE_BYTES_MAX, "an answer is too large");
            parts.push(data);
        }
        Ok(Answer { code: head.status.as_u16(), parts, length })
    }

    /// Asks for a watch, and returns its stream once it was granted.
    pub(super) async fn watch(&mut self, path: &str) -> anyhow::Result<RecvStream> {
        let asked = async {
            let answer = self.begin(Ask::get(path)).await?.await?;
            ensure!(answer.status() == 200, "a watch: {}", answer.status());
            Ok(answer.into_body())
        };
        tokio::time::timeout(limits::BENCH_OPERATION_DEADLINE, asked)
            .await
            .context("a watch was not granted within the deadline")?
    }

    async fn begin(&mut self, ask: Ask<'_>) -> anyhow::Result<ResponseFuture> {
        let mut request = Request::builder()
            .method(ask.method)
            .version(Version::HTTP_2)
            .uri(format!("{}{}", self.origin, ask.path))
            .header("accept", ask.accept)
            .header("user-agent", "orlop-bench");
        if let Some(token) = &self.token {
            request = request.header("authorization", token);
        }
        let is_empty = ask.body.is_empty();
        if !is_empty {
            request = request.header("content-type", ask.content_type);
        }
        let request = request.body(())?;
        std::future::poll_fn(|context| self.streams.poll_ready(context)).await?;
        let (response, mut body) = self.streams.send_request(request, is_empty)?;
        if !is_empty {
            body.send_data(ask.body, true)?;
        }
        Ok(response)
    }
}
