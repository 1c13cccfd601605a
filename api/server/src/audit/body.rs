//! A response body whose end is an audit event.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body as _, Frame};

use super::trail::Trail;
use crate::body::{Body, Failure, Pull};
use crate::limits::AUDIT_BODY_BYTES_MAX;

type Ending = Pin<Box<dyn Future<Output = ()> + Send>>;

enum State {
    Running,
    /// The event is on its way; the client sees the end when it is written.
    Ending(Ending),
    Done,
}

/// A body, and the trail that ends with it.
pub(crate) struct Audited {
    inner: Body,
    trail: Trail,
    state: State,
}

impl std::fmt::Debug for Audited {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Audited").field(&self.inner).finish()
    }
}

impl Audited {
    pub(super) fn wrap(inner: Body, trail: Trail) -> Body {
        Body::Audited(Box::new(Self { inner, trail, state: State::Running }))
    }

    fn ending(&self) -> Ending {
        let trail = self.trail.clone();
        Box::pin(async move { trail.complete().await })
    }

    pub(crate) fn poll_frame(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        if let State::Running = self.state {
            match Pin::new(&mut self.inner).poll_frame(context) {
                Poll::Ready(None) => self.state = State::Ending(self.ending()),
                other => return other,
            }
        }
        if let State::Ending(ending) = &mut self.state {
            std::task::ready!(ending.as_mut().poll(context));
            self.state = State::Done;
        }
        Poll::Ready(None)
    }

    pub(crate) fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }
}

impl Drop for Audited {
    /// The client has gone before the end: that is an end, too.
    fn drop(&mut self) {
        let ending = match std::mem::replace(&mut self.state, State::Done) {
            State::Running => self.ending(),
            State::Ending(ending) => ending,
            State::Done => return,
        };
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn(ending)),
            Err(_) => self.trail.lost("the server has stopped"),
        }
    }
}

/// A long body of which a copy is kept.
pub(super) struct Copied {
    source: Box<dyn Pull>,
    trail: Trail,
    copy: Vec<u8>,
    is_too_large: bool,
}

impl Copied {
    pub(super) fn new(source: Box<dyn Pull>, trail: Trail) -> Self {
        Self { source, trail, copy: Vec::new(), is_too_large: false }
    }
}

impl Pull for Copied {
    fn pull(&mut self) -> Option<Bytes> {
        let chunk = self.source.pull();
        match &chunk {
            None if self.is_too_large => {}
            None => self.trail.answered(Bytes::from(std::mem::take(&mut self.copy))),
            Some(_) if self.is_too_large => {}
            Some(chunk) if self.copy.len() + chunk.len() > AUDIT_BODY_BYTES_MAX => {
                self.is_too_large = true;
                self.copy = Vec::new();
                self.trail.truncated();
            }
            Some(chunk) => self.copy.extend_from_slice(chunk),
        }
        chunk
    }

    fn is_broken(&self) -> bool {
        self.source.is_broken()
    }
}
