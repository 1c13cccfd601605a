//! A stream of frames: a task reads them as they come, and whoever waits is told.

use std::sync::Arc;

use anyhow::Context as _;
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use tonic::client::Grpc;
use tonic::transport::Channel;

use crate::limits;
use crate::wire::{BytesCodec, Method};

/// A frame, decoded and made comparable.
pub(crate) trait Frame: Sized + Clone + Send + 'static {
    fn decode(bytes: Bytes) -> Result<Self, String>;
}

struct Log<F> {
    frames: Vec<F>,
    /// How the server ended the stream.
    end: Option<Result<(), Status>>,
}

/// One open stream.
pub(crate) struct Stream<F> {
    requests: Option<mpsc::Sender<Bytes>>,
    log: Arc<Mutex<Log<F>>>,
    changed: watch::Receiver<usize>,
    reader: JoinHandle<()>,
}

impl<F: Frame> Stream<F> {
    pub(crate) fn open(grpc: &Grpc<Channel>, method: &'static Method) -> Self {
        let (requests, queue) = mpsc::channel(limits::STREAM_QUEUE);
        let log = Arc::new(Mutex::new(Log { frames: Vec::new(), end: None }));
        let (told, changed) = watch::channel(0);
        let (mut grpc, writer) = (grpc.clone(), Arc::clone(&log));
        let reader = tokio::spawn(async move {
            let end = read(&mut grpc, method, queue, &writer, &told).await;
            writer.lock().end = Some(end);
            told.send_modify(|count| *count += 1);
        });
        Self { requests: Some(requests), log, changed, reader }
    }

    /// Sends a request; an error when the stream has ended.
    pub(crate) async fn send(&self, request: Bytes) -> anyhow::Result<()> {
        let requests = self.requests.as_ref().context("this stream was closed by the script")?;
        requests.send(request).await.context("the server ended the stream")
    }

    /// Sends no more.
    pub(crate) fn close(&mut self) {
        self.requests = None;
    }

    pub(crate) fn len(&self) -> usize {
        self.log.lock().frames.len()
    }

    pub(crate) fn with<T>(&self, look: impl FnOnce(&[F]) -> T) -> T {
        look(&self.log.lock().frames)
    }

    /// Waits until `find` finds something in what has come so far.
    pub(crate) async fn wait<T>(
        &self,
        deadline: Instant,
        mut find: impl FnMut(&[F]) -> Option<T>,
    ) -> Option<T> {
        let mut changed = self.changed.clone();
        loop {
            changed.mark_unchanged();
            let (found, ended) = {
                let log = self.log.lock();
                (find(&log.frames), log.end.is_some())
            };
            if found.is_some() || ended {
                return found;
            }
            if timeout_at(deadline, changed.changed()).await.is_err() {
                return None;
            }
        }
    }
}

impl<F> Drop for Stream<F> {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

async fn read<F: Frame>(
    grpc: &mut Grpc<Channel>,
    method: &Method,
    queue: mpsc::Receiver<Bytes>,
    log: &Mutex<Log<F>>,
    told: &watch::Sender<usize>,
) -> Result<(), Status> {
    let unavailable = |error: tonic::transport::Error| Status::unavailable(error.to_string());
    grpc.ready().await.map_err(unavailable)?;
    let requests = tonic::Request::new(ReceiverStream::new(queue));
    let answer = grpc.streaming(requests, method.path.clone(), BytesCodec).await?;
    let mut frames = answer.into_inner();
    while let Some(bytes) = frames.message().await? {
        let frame = F::decode(bytes).map_err(Status::data_loss)?;
        log.lock().frames.push(frame);
        told.send_modify(|count| *count += 1);
    }
    Ok(())
}
