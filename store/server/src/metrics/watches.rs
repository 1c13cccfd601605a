//! What is seen of watches.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    task::{Context, Poll},
};

use futures::Stream;
use prometheus_client::{
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};
use proto::etcdserverpb::WatchResponse;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};

use super::Labels;

/// The numbers of all watches. Clones count together.
#[derive(Clone, Default)]
pub(crate) struct Watches {
    streams: Gauge,
    watchers: Gauge,
    slow: Gauge,
    events: Counter,
    pending: Gauge,
    failures: Family<Labels, Counter>,
}

impl Watches {
    pub(super) fn register(&self, r: &mut Registry) {
        let name = |name: &str| format!("etcd_debugging_mvcc_{name}");
        r.register(name("watch_stream_total"), "Open watch streams", self.streams.clone());
        r.register(name("watcher_total"), "Watches", self.watchers.clone());
        let slow = "Watches that read events of the past";
        r.register(name("slow_watcher_total"), slow, self.slow.clone());
        r.register(name("events"), "Events handed to clients", self.events.clone());
        let pending = "Events that wait until their clients take them";
        r.register(name("pending_events_total"), pending, self.pending.clone());
        let failures = "Streams of clients that broke";
        r.register("etcd_network_server_stream_failures", failures, self.failures.clone());
    }

    /// A stream begins.
    pub(crate) fn stream(&self) -> Share {
        self.streams.inc();
        let queue = Queue { metrics: self.clone(), pending: AtomicI64::new(0) };
        Share { queue: Arc::new(queue), watchers: 0, slow: 0 }
    }

    /// What a client sent on a stream could not be read.
    pub(crate) fn broke(&self, api: &str, why: &Status) {
        // A client that goes away breaks nothing.
        if why.code() == Code::Cancelled {
            return;
        }
        let labels = vec![("Type", "receive".to_owned()), ("API", api.to_owned())];
        self.failures.get_or_create(&labels).inc();
    }
}

/// Events of one stream that were queued and not taken yet.
pub(crate) struct Queue {
    metrics: Watches,
    pending: AtomicI64,
}

fn signed(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

impl Queue {
    fn add(&self, events: usize) {
        self.pending.fetch_add(signed(events), Ordering::Relaxed);
        self.metrics.pending.inc_by(signed(events));
    }

    fn take(&self, events: usize) {
        self.pending.fetch_sub(signed(events), Ordering::Relaxed);
        self.metrics.pending.dec_by(signed(events));
        self.metrics.events.inc_by(events as u64);
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        self.metrics.pending.dec_by(*self.pending.get_mut());
    }
}

/// What one stream adds to the numbers of all; dropping it takes that back.
pub(crate) struct Share {
    queue: Arc<Queue>,
    watchers: i64,
    slow: i64,
}

impl Share {
    /// The stream has so many watches, of which so many are behind.
    pub(crate) fn set(&mut self, watchers: usize, slow: usize) {
        let (watchers, slow) = (signed(watchers), signed(slow));
        if (watchers, slow) != (self.watchers, self.slow) {
            self.queue.metrics.watchers.inc_by(watchers - self.watchers);
            self.queue.metrics.slow.inc_by(slow - self.slow);
            (self.watchers, self.slow) = (watchers, slow);
        }
    }

    /// So many events are queued.
    pub(crate) fn queued(&self, events: usize) {
        if events > 0 {
            self.queue.add(events);
        }
    }

    /// What the client takes of the queue.
    pub(crate) fn frames(&self, frames: ReceiverStream<Result<WatchResponse, Status>>) -> Frames {
        Frames { frames, queue: self.queue.clone() }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.set(0, 0);
        self.queue.metrics.streams.dec();
    }
}

/// The frames of a stream, counted when they are taken.
pub(crate) struct Frames {
    frames: ReceiverStream<Result<WatchResponse, Status>>,
    queue: Arc<Queue>,
}

impl Stream for Frames {
    type Item = Result<WatchResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let polled = Pin::new(&mut self.frames).poll_next(context);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && !frame.events.is_empty()
        {
            self.queue.take(frame.events.len());
        }
        polled
    }
}

#[cfg(test)]
mod tests {
    use futures::StreamExt as _;
    use proto::mvccpb::Event;
    use tokio::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn what_a_stream_added_is_taken_back_when_it_ends() {
        let metrics = Watches::default();
        let mut share = metrics.stream();
        let (send, receive) = mpsc::channel(4);
        let mut frames = share.frames(ReceiverStream::new(receive));
        share.set(3, 1);
        for _ in 0..3 {
            let events = vec![Event::default(); 2];
            share.queued(events.len());
            send.send(Ok(WatchResponse { events, ..WatchResponse::default() })).await.unwrap();
        }
        frames.next().await.unwrap().unwrap();
        let now = || {
            let Watches { streams, watchers, slow, events, pending, .. } = &metrics;
            (streams.get(), watchers.get(), slow.get(), events.get(), pending.get())
        };
        assert_eq!(now(), (1, 3, 1, 2, 4));
        // The client is gone before the stream knows it, and takes nothing of what is queued.
        drop(frames);
        assert_eq!(now(), (1, 3, 1, 2, 4));
        drop(share);
        assert_eq!(now(), (0, 0, 0, 2, 0));
    }
}
