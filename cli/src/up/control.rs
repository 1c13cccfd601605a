//! How other commands talk to a running `orlop up`: one JSON line each way on a socket that only
//! the owner of the folder can reach.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{RwLock, Semaphore};
use tokio_util::sync::CancellationToken;

use super::supervise::{State, Supervisor};
use crate::limits;

/// What a running `up` can be asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Request {
    Status,
    Down,
    KillHost { host: String, hold: bool },
    StartHost { host: String },
}

/// Its answer.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Reply {
    Status(Status),
    /// The names of the parts that were told.
    Told(Vec<String>),
    Refused(String),
}

/// The supervisor and its parts.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Status {
    /// The supervisor's process.
    pub(crate) pid: u32,
    pub(crate) runtime: String,
    /// Whether every step of the start is done.
    pub(crate) ready: bool,
    pub(crate) parts: Vec<PartStatus>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct PartStatus {
    pub(crate) host: String,
    pub(crate) part: String,
    pub(crate) state: State,
    pub(crate) pid: Option<u32>,
    pub(crate) restarts: u32,
    pub(crate) uptime_seconds: Option<u64>,
    pub(crate) address: String,
    pub(crate) log: String,
}

/// What the socket's server looks at.
pub(crate) struct Control {
    pub(crate) supervisor: Arc<RwLock<Supervisor>>,
    pub(crate) ready: CancellationToken,
    /// Fired by `down`.
    pub(crate) stop: CancellationToken,
    pub(crate) runtime: String,
}

impl Control {
    /// Answers requests until the supervisor drops this task.
    pub(crate) async fn serve(self: Arc<Self>, listener: UnixListener) {
        let permits = Arc::new(Semaphore::new(limits::CONTROL_CONNECTIONS_MAX));
        loop {
            let Ok(permit) = Arc::clone(&permits).acquire_owned().await else { return };
            let stream = match listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept on the control socket");
                    tokio::time::sleep(limits::READY_POLL).await;
                    continue;
                }
            };
            let control = Arc::clone(&self);
            tokio::spawn(async move {
                let answered =
                    tokio::time::timeout(limits::CONTROL_DEADLINE, control.answer(stream));
                if let Ok(Err(error)) = answered.await {
                    tracing::debug!(%error, "a control request was not answered");
                }
                drop(permit);
            });
        }
    }

    async fn answer(&self, stream: UnixStream) -> anyhow::Result<()> {
        let (reader, mut writer) = stream.into_split();
        let mut line = String::new();
        BufReader::new(reader.take(limits::CONTROL_BYTES_MAX)).read_line(&mut line).await?;
        let reply = match serde_json::from_str(&line) {
            Ok(request) => self.carry_out(request).await,
            Err(error) => Reply::Refused(format!("not understood: {error}")),
        };
        let mut text = serde_json::to_string(&reply)?;
        text.push('\n');
        writer.write_all(text.as_bytes()).await?;
        writer.shutdown().await?;
        Ok(())
    }

    async fn carry_out(&self, request: Request) -> Reply {
        let told = match request {
            Request::Status => return Reply::Status(self.status().await),
            Request::Down => {
                self.stop.cancel();
                Ok(self.status().await.parts.into_iter().map(|part| part.name()).collect())
            }
            Request::KillHost { host, hold } => {
                self.supervisor.read().await.kill_host(&host, hold).await
            }
            Request::StartHost { host } => self.supervisor.read().await.start_host(&host).await,
        };
        told.map_or_else(|error| Reply::Refused(format!("{error:#}")), Reply::Told)
    }

    async fn status(&self) -> Status {
        let supervisor = self.supervisor.read().await;
        let parts = supervisor.parts().map(|part| {
            let view = *part.view.borrow();
            PartStatus {
                host: part.spec.host.clone(),
                part: part.spec.kind.name().to_owned(),
                state: view.state,
                pid: view.pid,
                restarts: view.restarts,
                uptime_seconds: view.since.map(|since| since.elapsed().as_secs()),
                address: part.spec.address.clone(),
                log: part.spec.log.display().to_string(),
            }
        });
        Status {
            pid: std::process::id(),
            runtime: self.runtime.clone(),
            ready: self.ready.is_cancelled(),
            parts: parts.collect(),
        }
    }
}

impl PartStatus {
    pub(crate) fn name(&self) -> String {
        format!("{}-{}", self.host, self.part)
    }
}

/// Asks the `up` whose control socket is at `socket`; `None` when none runs.
pub(crate) async fn ask(socket: &Path, request: &Request) -> anyhow::Result<Option<Reply>> {
    let asked = async {
        let mut stream = match UnixStream::connect(socket).await {
            Ok(stream) => stream,
            Err(error) => {
                use std::io::ErrorKind::{ConnectionRefused, NotFound};
                if matches!(error.kind(), NotFound | ConnectionRefused) {
                    return Ok(None);
                }
                return Err(error).with_context(|| format!("cannot talk to {}", socket.display()));
            }
        };
        let mut text = serde_json::to_string(request)?;
        text.push('\n');
        stream.write_all(text.as_bytes()).await?;
        let mut answer = String::new();
        stream.take(limits::CONTROL_BYTES_MAX).read_to_string(&mut answer).await?;
        if answer.is_empty() {
            bail!("`orlop up` ended before it answered");
        }
        Ok(Some(serde_json::from_str(&answer).context("`orlop up` answered something else")?))
    };
    tokio::time::timeout(limits::CONTROL_DEADLINE, asked)
        .await
        .context("`orlop up` does not answer: it may hang; stop it with SIGTERM")?
}
