//! Request bodies in, response bodies out.

use std::pin::Pin;
use std::task::{Context, Poll};

use crate::audit::Audited;
use crate::limits::REQUEST_BODY_BYTES_MAX;
use crate::stream::{self, Broken};
use api_machinery::Status;
use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;

/// A long body that is written while it is sent: nobody has to hold all of it, and a client that
/// reads slowly slows down only its own.
pub(crate) trait Pull: Send {
    /// The next bytes; `None` at the end.
    fn pull(&mut self) -> Option<Bytes>;

    /// Whether the end came too early.
    fn is_broken(&self) -> bool {
        false
    }
}

/// Why a body ends before its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error(transparent)]
    Proxied(#[from] hyper::Error),
    #[error(transparent)]
    Broken(#[from] Broken),
}

impl std::fmt::Debug for dyn Pull {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Pull")
    }
}

/// A response body.
#[derive(Debug)]
pub(crate) enum Body {
    /// All of it; `None` once it was sent.
    Full(Option<Bytes>),
    /// Chunks that are made when the connection wants them.
    Pulled(Box<dyn Pull>),
    /// Chunks as they come; the stream ends when the sender is dropped.
    Stream(stream::Receiver),
    /// What another server sends.
    Proxied(Incoming),
    /// One of these, whose end is written down.
    Audited(Box<Audited>),
}

impl Body {
    /// A body of these bytes.
    pub(crate) fn full(bytes: impl Into<Bytes>) -> Self {
        Self::Full(Some(bytes.into()))
    }

    /// A bounded stream and its sender.
    pub(crate) fn stream() -> (stream::Sender, Self) {
        let (sender, receiver) = stream::channel();
        (sender, Self::Stream(receiver))
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = Failure;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        match self.get_mut() {
            Self::Full(bytes) => Poll::Ready(
                bytes.take().filter(|bytes| !bytes.is_empty()).map(|bytes| Ok(Frame::data(bytes))),
            ),
            Self::Pulled(writer) => Poll::Ready(match writer.pull() {
                Some(bytes) => Some(Ok(Frame::data(bytes))),
                None if writer.is_broken() => Some(Err(Broken.into())),
                None => None,
            }),
            Self::Stream(chunks) => {
                chunks.poll(context).map(|chunk| chunk.map(|chunk| Ok(chunk.map(Frame::data)?)))
            }
            Self::Proxied(incoming) => {
                Pin::new(incoming).poll_frame(context).map_err(Failure::Proxied)
            }
            Self::Audited(audited) => audited.poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Full(bytes) => bytes.as_ref().is_none_or(Bytes::is_empty),
            Self::Pulled(_) | Self::Stream(_) => false,
            Self::Proxied(incoming) => incoming.is_end_stream(),
            Self::Audited(audited) => audited.is_done(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Full(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Self::Pulled(_) | Self::Stream(_) | Self::Audited(_) => SizeHint::default(),
            Self::Proxied(incoming) => incoming.size_hint(),
        }
    }
}

/// Reads a whole request body; 413 when it is too large.
pub(crate) async fn collect(body: Incoming) -> Result<Bytes, Status> {
    match Limited::new(body, REQUEST_BODY_BYTES_MAX).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => {
            Err(Status::too_large(REQUEST_BODY_BYTES_MAX))
        }
        Err(error) => Err(Status::bad_request(format!("reading the request body: {error}"))),
    }
}
