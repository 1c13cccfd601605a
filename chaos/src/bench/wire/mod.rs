//! One gRPC connection on bare HTTP/2.

pub(super) mod scan;
mod stream;
mod tls;

pub(super) use stream::{Receiver, Sender};

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use h2::SendStream;
use h2::client::{ResponseFuture, SendRequest};
use http::{HeaderMap, Method, Request, Uri, Version};
use prost::Message;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::ServerFlags;
use crate::limits;

/// Bytes before each message: whether it is compressed, and its length.
const FRAME_HEAD: usize = 5;

/// A connection; clones share it.
#[derive(Clone, Debug)]
pub(super) struct Connection {
    streams: SendRequest<Bytes>,
    origin: String,
}

impl Connection {
    pub(super) async fn open(endpoint: &str, flags: &ServerFlags) -> anyhow::Result<Self> {
        let uri: Uri = endpoint.parse().with_context(|| format!("{endpoint} is no URL"))?;
        let host = uri.host().with_context(|| format!("{endpoint} has no host"))?.to_owned();
        let port = uri.port_u16().unwrap_or(2379);
        let connect = TcpStream::connect((host.as_str(), port));
        let tcp = tokio::time::timeout(limits::CONNECT_DEADLINE, connect)
            .await
            .with_context(|| format!("{endpoint} does not answer"))?
            .with_context(|| format!("cannot connect to {endpoint}"))?;
        tcp.set_nodelay(true)?;
        let mut builder = h2::client::Builder::new();
        builder.initial_window_size(1 << 20).initial_connection_window_size(8 << 20);
        let streams = if uri.scheme_str() == Some("https") {
            let name = ServerName::try_from(host).context("the host is no server name")?;
            let tls = TlsConnector::from(Arc::new(tls::config(flags)?)).connect(name, tcp).await?;
            let (streams, connection) = builder.handshake(tls).await?;
            drop(tokio::spawn(connection));
            streams
        } else {
            let (streams, connection) = builder.handshake(tcp).await?;
            drop(tokio::spawn(connection));
            streams
        };
        Ok(Self { streams, origin: endpoint.trim_end_matches('/').to_owned() })
    }

    /// As many connections as the flags say, spread over the endpoints.
    pub(super) async fn open_all(flags: &ServerFlags) -> anyhow::Result<Vec<Self>> {
        ensure!(flags.conns > 0, "at least one connection");
        ensure!(!flags.endpoints.is_empty(), "at least one endpoint");
        let mut connections = Vec::new();
        for number in 0..flags.conns {
            let endpoint = &flags.endpoints[number % flags.endpoints.len()];
            connections.push(Self::open(endpoint, flags).await?);
        }
        Ok(connections)
    }

    /// Sends one framed message and waits for the end of the answer. Any gRPC status but OK is an
    /// error. Returns the message of the answer.
    pub(super) async fn call(&mut self, path: &str, message: Bytes) -> anyhow::Result<Bytes> {
        self.call_within(limits::BENCH_OPERATION_DEADLINE, path, message).await
    }

    /// As [`Self::call`], with another deadline.
    pub(super) async fn call_within(
        &mut self,
        deadline: Duration,
        path: &str,
        message: Bytes,
    ) -> anyhow::Result<Bytes> {
        tokio::time::timeout(deadline, self.call_without_deadline(path, message))
            .await
            .context("no answer within the deadline")?
    }

    async fn call_without_deadline(&mut self, path: &str, message: Bytes) -> anyhow::Result<Bytes> {
        let (response, mut body) = self.begin(path).await?;
        body.send_data(message, true)?;
        let (head, mut body) = response.await?.into_parts();
        let mut answer = Bytes::new();
        let mut parts = BytesMut::new();
        while let Some(data) = body.data().await {
            let data = data?;
            body.flow_control().release_capacity(data.len())?;
            // Most answers come in one piece, and need no copy.
            if answer.is_empty() && parts.is_empty() {
                answer = data;
                continue;
            }
            if parts.is_empty() {
                parts.extend_from_slice(&std::mem::take(&mut answer));
            }
            parts.extend_from_slice(&data);
            ensure!(parts.len() <= limits::BENCH_RESPONSE_BYTES_MAX, "an answer is too large");
        }
        let trailers = body.trailers().await?;
        check_status(trailers.as_ref().unwrap_or(&head.headers))?;
        only_message(if parts.is_empty() { answer } else { parts.freeze() })
    }

    /// Opens a stream in both directions.
    pub(super) async fn stream(&mut self, path: &str) -> anyhow::Result<(Sender, Receiver)> {
        let (response, body) = self.begin(path).await?;
        Ok((Sender::new(body), Receiver::new(response)))
    }

    /// Sends one framed message that is answered with a stream of them.
    pub(super) async fn download(
        &mut self,
        path: &str,
        message: Bytes,
    ) -> anyhow::Result<Receiver> {
        let (response, mut body) = self.begin(path).await?;
        body.send_data(message, true)?;
        Ok(Receiver::new(response))
    }

    async fn begin(&mut self, path: &str) -> anyhow::Result<(ResponseFuture, SendStream<Bytes>)> {
        let request = Request::builder()
            .method(Method::POST)
            .version(Version::HTTP_2)
            .uri(format!("{}{path}", self.origin))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(())?;
        std::future::poll_fn(|context| self.streams.poll_ready(context)).await?;
        Ok(self.streams.send_request(request, false)?)
    }
}

/// A message as gRPC sends it.
pub(super) fn frame(message: &impl Message) -> Bytes {
    let length = message.encoded_len();
    let mut frame = BytesMut::with_capacity(length + FRAME_HEAD);
    frame.put_u8(0);
    frame.put_u32(u32::try_from(length).expect("a request is far below 4 GiB"));
    message.encode(&mut frame).expect("the buffer grows");
    frame.freeze()
}

fn only_message(mut framed: Bytes) -> anyhow::Result<Bytes> {
    ensure!(framed.len() >= FRAME_HEAD, "an answer holds no message");
    ensure!(framed[0] == 0, "an answer is compressed, which nobody asked for");
    framed.advance(1);
    let length = framed.get_u32() as usize;
    ensure!(framed.len() == length, "an answer is not one message");
    Ok(framed)
}

fn check_status(headers: &HeaderMap) -> anyhow::Result<()> {
    let text = |name| headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()));
    match text("grpc-status").as_deref() {
        Some("0") => Ok(()),
        Some(status) => {
            bail!("gRPC status {status}: {}", text("grpc-message").unwrap_or_default())
        }
        None => bail!("the answer has no gRPC status"),
    }
}
