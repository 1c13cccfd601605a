//! gRPC's framing, both ways: five bytes, then a message.

use axum::body::{Body, Bytes};
use bytes::{Buf as _, BufMut as _, BytesMut};
use http::HeaderMap;
use http_body_util::BodyExt as _;
use tonic::{Code, Status};

/// One message with its prefix.
pub(super) fn frame(message: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(5 + message.len());
    out.put_u8(0);
    // A request is at most a few mebibytes: the gateway bounds its body.
    out.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    out.put_slice(message);
    out.freeze()
}

/// The messages of an answer, and its status at the end.
pub(super) struct Frames {
    body: Body,
    buffer: BytesMut,
    status: Option<Status>,
}

impl Frames {
    /// `headers` may hold the status already, if the RPC failed before it began.
    pub(super) fn new(headers: &HeaderMap, body: Body) -> Self {
        Self { body, buffer: BytesMut::new(), status: Status::from_header_map(headers) }
    }

    fn buffered(&mut self) -> Option<Bytes> {
        let length = self.buffer.get(1..5)?;
        let length = u32::from_be_bytes(length.try_into().expect("these are four bytes"));
        let length = usize::try_from(length).expect("usize has at least 32 bits");
        if self.buffer.len() < 5 + length {
            return None;
        }
        self.buffer.advance(5);
        Some(self.buffer.split_to(length).freeze())
    }

    /// The next message; nothing after the last one, or why there are no more.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Status> {
        loop {
            if let Some(message) = self.buffered() {
                return Ok(Some(message));
            }
            match self.body.frame().await {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.buffer.extend_from_slice(&data),
                    Err(frame) => {
                        if let Ok(trailers) = frame.into_trailers() {
                            self.status = Status::from_header_map(&trailers);
                        }
                    }
                },
                Some(Err(error)) => return Err(Status::unavailable(error.to_string())),
                None => {
                    let status = self.status.take();
                    let status = status.unwrap_or_else(|| Status::ok(""));
                    return if status.code() == Code::Ok { Ok(None) } else { Err(status) };
                }
            }
        }
    }
}
