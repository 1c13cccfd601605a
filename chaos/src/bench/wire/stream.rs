//! A gRPC stream of messages in both directions.

use anyhow::{Context as _, ensure};
use bytes::{Buf as _, Bytes, BytesMut};
use h2::client::ResponseFuture;
use h2::{RecvStream, SendStream};
use http::HeaderMap;

use super::{FRAME_HEAD, check_status};
use crate::limits;

/// The way to the server. The stream ends when it is dropped.
#[derive(Debug)]
pub(in crate::bench) struct Sender {
    stream: SendStream<Bytes>,
}

impl Sender {
    pub(super) fn new(stream: SendStream<Bytes>) -> Self {
        Self { stream }
    }

    /// Sends one framed message.
    pub(in crate::bench) fn send(&mut self, message: Bytes) -> anyhow::Result<()> {
        Ok(self.stream.send_data(message, false)?)
    }
}

/// The way from the server.
#[derive(Debug)]
pub(in crate::bench) struct Receiver {
    state: State,
    buffer: BytesMut,
}

#[derive(Debug)]
enum State {
    /// etcd sends the head of its answer with its first message.
    Waiting(ResponseFuture),
    Open(HeaderMap, RecvStream),
}

impl Receiver {
    pub(super) fn new(response: ResponseFuture) -> Self {
        Self { state: State::Waiting(response), buffer: BytesMut::new() }
    }

    /// The next message; `None` when the server ended the stream with the status OK, any other
    /// status is an error. May be dropped and called again: nothing is lost.
    pub(in crate::bench) async fn next(&mut self) -> anyhow::Result<Option<Bytes>> {
        loop {
            if let Some(message) = take_message(&mut self.buffer)? {
                return Ok(Some(message));
            }
            match &mut self.state {
                State::Waiting(response) => {
                    let (head, body) = response.await?.into_parts();
                    self.state = State::Open(head.headers, body);
                }
                State::Open(head, body) => match body.data().await {
                    Some(data) => {
                        let data = data?;
                        body.flow_control().release_capacity(data.len())?;
                        self.buffer.extend_from_slice(&data);
                    }
                    None => {
                        let trailers = body.trailers().await?;
                        check_status(trailers.as_ref().unwrap_or(head))?;
                        ensure!(self.buffer.is_empty(), "a stream ends within a message");
                        return Ok(None);
                    }
                },
            }
        }
    }

    /// The next message of a stream that must not end, within the time of an operation.
    pub(in crate::bench) async fn expect(&mut self) -> anyhow::Result<Bytes> {
        tokio::time::timeout(limits::BENCH_OPERATION_DEADLINE, self.next())
            .await
            .context("no answer within the deadline")??
            .context("the server ended the stream")
    }
}

fn take_message(buffer: &mut BytesMut) -> anyhow::Result<Option<Bytes>> {
    let Some(head) = buffer.first_chunk::<FRAME_HEAD>() else { return Ok(None) };
    ensure!(head[0] == 0, "an answer is compressed, which nobody asked for");
    let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
    ensure!(length <= limits::BENCH_RESPONSE_BYTES_MAX, "an answer is too large");
    if buffer.len() < FRAME_HEAD + length {
        buffer.reserve(FRAME_HEAD + length - buffer.len());
        return Ok(None);
    }
    buffer.advance(FRAME_HEAD);
    Ok(Some(buffer.split_to(length).freeze()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_out_as_they_went_in_wherever_the_bytes_were_cut() {
        let sent: Vec<Bytes> = [&b""[..], b"a", &[7; 300]].map(Bytes::copy_from_slice).to_vec();
        let mut wire = Vec::new();
        for message in &sent {
            wire.push(0);
            wire.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
            wire.extend_from_slice(message);
        }
        for size in [1, 4, 5, 6, 64, wire.len()] {
            let mut buffer = BytesMut::new();
            let mut got = Vec::new();
            for chunk in wire.chunks(size) {
                buffer.extend_from_slice(chunk);
                while let Some(message) = take_message(&mut buffer).unwrap() {
                    got.push(message);
                }
            }
            assert_eq!(got, sent, "{size} bytes at once");
        }
    }
}
