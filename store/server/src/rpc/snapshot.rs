//! `Maintenance.Snapshot`: the state as of one revision, as a file of etcd's, while writes go on.

use std::time::{Duration, Instant};

use bytes::Bytes;
use proto::etcdserverpb::SnapshotResponse;
use store_backup::etcd;
use store_state_machine::{Export, Fault};
use tokio::{
    runtime::Handle,
    sync::{Semaphore, mpsc},
    time::timeout,
};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::Services;
use crate::{error::Error, exec, limits, raft::seed};

/// Each one holds back what compaction may remove, and reads the whole disk.
pub(super) static IN_FLIGHT: Semaphore = Semaphore::const_new(limits::SNAPSHOTS_IN_FLIGHT_MAX);

/// Why a snapshot was not sent to its end.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error("the client is gone, or this member stops")]
    Gone,
    #[error("the client took nothing for {} s", limits::SNAPSHOT_STALL_TIMEOUT.as_secs())]
    Stalled,
    #[error(transparent)]
    State(#[from] Fault),
    #[error(transparent)]
    File(#[from] store_backup::Error),
    #[error("position in the log: {0}")]
    Position(#[from] std::io::Error),
}

/// The records of an export, as etcd has them, until the member stops.
struct Records<'a> {
    export: &'a Export<'a>,
    stopping: &'a CancellationToken,
}

impl etcd::Records<Broken> for Records<'_> {
    fn visit(
        &self,
        each: &mut dyn FnMut(etcd::Record<'_>) -> Result<(), Broken>,
    ) -> Result<(), Broken> {
        self.export.records(|written| {
            if self.stopping.is_cancelled() {
                return Err(Broken::Gone);
            }
            let place =
                etcd::Place { main: written.revision.main, sub: written.revision.sub.into() };
            each(etcd::Record { place, deleted: written.deleted, kv: written.kv })
        })
    }
}

fn state(export: &Export<'_>) -> Result<etcd::State, Broken> {
    let facts = &export.facts;
    let (term, index) = match &facts.applied {
        Some(position) => seed::term_and_index(position)?,
        None => (0, 0),
    };
    let ids = |learners: bool| {
        let chosen = facts.members.iter().filter(move |member| member.is_learner == learners);
        chosen.map(|member| member.id).collect()
    };
    Ok(etcd::State {
        index,
        term,
        voters: ids(false),
        learners: ids(true),
        compacted: facts.compacted,
        removed_below: facts.removed_below,
        // Left out: a real etcd older than the level named here would refuse to start on the file,
        // and every one finds the level out by itself.
        cluster_version: String::new(),
        storage_version: crate::VERSION.to_owned(),
        leases: facts.leases.clone(),
        members: facts.members.clone(),
        removed_members: facts.removed_members.clone(),
        alarms: facts.alarms.clone(),
        auth: etcd::Auth {
            enabled: facts.auth.enabled(),
            revision: facts.auth.revision(),
            users: facts.auth.users().cloned().collect(),
            roles: facts.auth.roles().cloned().collect(),
        },
    })
}

/// Where the chunks go.
struct Outlet {
    sender: mpsc::Sender<Result<SnapshotResponse, Status>>,
    runtime: Handle,
    stopping: CancellationToken,
}

impl Outlet {
    /// Called on a thread of its own, which may wait.
    fn send(&self, blob: Bytes, remaining_bytes: u64) -> Result<(), Broken> {
        if self.stopping.is_cancelled() {
            return Err(Broken::Gone);
        }
        let version = crate::VERSION.to_owned();
        let response = SnapshotResponse { header: None, remaining_bytes, blob, version };
        if exec::is_simulated() {
            return exec::send(&self.sender, Ok(response)).map_err(|_| Broken::Gone);
        }
        let sent = timeout(limits::SNAPSHOT_STALL_TIMEOUT, self.sender.send(Ok(response)));
        match self.runtime.block_on(sent) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(Broken::Gone),
            Err(_) => Err(Broken::Stalled),
        }
    }
}

impl Services {
    pub(super) fn stream_snapshot(
        &self,
    ) -> Result<ReceiverStream<Result<SnapshotResponse, Status>>, Status> {
        let permit = IN_FLIGHT.try_acquire().map_err(|_| Error::TooManyRequests)?;
        let (sender, receiver) = exec::queue(limits::SNAPSHOT_QUEUE_CHUNKS);
        let failed = sender.clone();
        let outlet = Outlet { sender, runtime: Handle::current(), stopping: self.stopping.clone() };
        let (view, metrics) = (self.state.view(), self.metrics.clone());
        exec::blocking(move || {
            let _permit = permit;
            let began = Instant::now();
            let sent = view.export(|export| {
                let records = Records { export, stopping: &outlet.stopping };
                let plan = store_backup::plan(&state(export)?, &records)?;
                store_backup::write(&plan, &mut |chunk, left| outlet.send(chunk, left))?;
                Ok::<_, Broken>((export.facts.revision, plan.bytes()))
            });
            let took_ms = Duration::as_millis(&began.elapsed());
            match sent {
                Ok((revision, bytes)) => {
                    metrics.disk.snapshots.observe(began.elapsed());
                    tracing::info!(revision, bytes, took_ms, "sent a snapshot");
                }
                Err(Broken::State(fault)) => crate::fatal("reading the state", &fault),
                Err(error) => {
                    tracing::warn!(%error, took_ms, "a snapshot was not sent to its end");
                    // The end of the stream must not look like the end of the snapshot.
                    drop(failed.try_send(Err(Status::unavailable(error.to_string()))));
                }
            }
        });
        Ok(ReceiverStream::new(receiver))
    }
}
