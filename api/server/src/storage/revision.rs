//! The store's revision by a linearizable read; callers that wait at the same time share one.

use api_machinery::Status;
use bytes::Bytes;
use store_client::{Client, rpc};
use tokio::{
    sync::{mpsc, oneshot},
    task::yield_now,
};

/// Callers that may wait for the next read.
const WAITING_MAX: usize = 4096;

/// How often the runtime is let go on, at most, before a read starts: as long as each turn brings callers.
const GATHER_TURNS: usize = 4;

type Answer = oneshot::Sender<Result<u64, Status>>;

/// Asks the reader task.
#[derive(Debug)]
pub(crate) struct Reader(mpsc::Sender<Answer>);

impl Reader {
    /// Starts the task; it ends when the reader is dropped.
    pub(crate) fn start(client: Client, key: String) -> Self {
        let (sender, receiver) = mpsc::channel(WAITING_MAX);
        tokio::spawn(run(client, key, receiver));
        Self(sender)
    }

    /// A revision that is not older than this call.
    pub(crate) async fn read(&self) -> Result<u64, Status> {
        let (answer, answered) = oneshot::channel();
        let gone = || Status::service_unavailable("the server is shutting down");
        self.0.send(answer).await.map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }
}

async fn run(client: Client, key: String, mut waiting: mpsc::Receiver<Answer>) {
    while let Some(first) = waiting.recv().await {
        // Everybody who asked before the read starts may share it. Requests of one moment are often read
        // from their connections just after the first of them: those are let come, a read costs more.
        let mut group = vec![first];
        for _ in 0..GATHER_TURNS {
            let before = group.len();
            yield_now().await;
            while let Ok(next) = waiting.try_recv() {
                group.push(next);
            }
            if group.len() == before {
                break;
            }
        }
        let request = rpc::RangeRequest {
            key: Bytes::copy_from_slice(key.as_bytes()),
            ..rpc::RangeRequest::default()
        };
        let revision = match client.range(request).await {
            Ok(response) => {
                Ok(response.header.map_or(0, |header| super::unsigned(header.revision)))
            }
            Err(error) => Err(super::status(&error)),
        };
        for answer in group {
            // A caller that gave up needs no answer.
            let _ = answer.send(revision.clone());
        }
    }
}
