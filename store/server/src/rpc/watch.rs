//! etcd's Watch service.

use proto::etcdserverpb::{WatchRequest, watch_server::Watch};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::Services;
use crate::{
    auth::{self, Watchman},
    limits,
    metrics::watches::Frames,
    watch::Watches,
};

#[tonic::async_trait]
impl Watch for Services {
    type WatchStream = Frames;

    async fn watch(
        &self,
        request: Request<Streaming<WatchRequest>>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let needs_leader = super::needs_leader(&request);
        self.check_leader(&request)?;
        let (sender, requests) = auth::split(request);
        let watchman = Watchman { gate: self.gate.clone(), sender };
        let (send, frames) = mpsc::channel(limits::WATCH_STREAM_QUEUE);
        let watches = Watches::new(self.watch_context(), watchman, send);
        let frames = watches.counted(ReceiverStream::new(frames));
        tokio::spawn(watches.run(requests, needs_leader));
        Ok(Response::new(frames))
    }
}
