//! A member's state, replaced by the leader's while the member runs.
//!
//! The log of the member is not touched: what it acknowledged stays acknowledged. The leader's state is
//! as of some entry; whatever the member has applied beyond that is applied to the new state again,
//! from its own log, in one step.

use std::{io, path::Path, time::Instant};

use proto::orlop::peer::v1::{FetchStateRequest, install_snapshot_request::Part};
use tokio::time::{sleep, timeout};

use super::compare::applied_index;
use crate::{
    limits,
    raft::{Checkpoint, Log, Receiver},
    rpc::Services,
};

fn failed(error: impl std::fmt::Display) -> io::Error {
    io::Error::other(error.to_string())
}

/// Answers the entry as of which the leader's state was taken.
pub(super) async fn rebuild(services: &Services, log: &Log, scratch: &Path) -> io::Result<u64> {
    let (index, checkpoint) = timeout(limits::SNAPSHOT_TIMEOUT, fetch(services, scratch))
        .await
        .map_err(|_| failed("the leader's state took too long"))??;
    let began = Instant::now();
    while applied_index(&services.state.view()) < index {
        if began.elapsed() > limits::HASH_APPLY_TIMEOUT {
            return Err(failed(format!("entry {index} was not applied in time")));
        }
        sleep(limits::FENCE_TICK).await;
    }
    let rebuilder = services.raft.with_state_machine(|machine: &mut crate::raft::Machine| {
        let rebuilder = machine.rebuilder();
        Box::pin(async move { rebuilder })
    });
    rebuilder.await.map_err(failed)?.rebuild(index, checkpoint, log.clone()).await?;
    Ok(index)
}

/// The leader's state, in files of this member.
async fn fetch(services: &Services, scratch: &Path) -> io::Result<(u64, Checkpoint)> {
    let leader = *services.leader.borrow();
    let client = leader.and_then(|leader| services.members.client(leader));
    let mut client = client.ok_or_else(|| failed("no leader is known"))?;
    let request = FetchStateRequest { cluster_id: services.headers.cluster_id() };
    let mut parts = client.fetch_state(request).await.map_err(failed)?.into_inner();
    let first = parts.message().await.map_err(failed)?.and_then(|message| message.part);
    let Some(Part::Manifest(manifest)) = first else {
        return Err(failed("a state begins with its manifest"));
    };
    if manifest.cluster_id != services.headers.cluster_id() || manifest.format != 1 {
        return Err(failed("the state is another cluster's, or of an unknown format"));
    }
    let index = manifest.last_log_id.map_or(0, |id| id.index);
    let dir = scratch.join(format!("fetched-{:016x}", rand::random::<u64>()));
    let mut receiver = Receiver::new(dir, manifest.files)?;
    while let Some(message) = parts.message().await.map_err(failed)? {
        let Some(Part::Chunk(chunk)) = message.part else {
            return Err(failed("a state has one manifest"));
        };
        let write = move || receiver.write(&chunk).map(|()| receiver);
        receiver = crate::exec::blocking(write).await.map_err(failed)??;
    }
    let finish = crate::exec::blocking(move || receiver.finish());
    Ok((index, finish.await.map_err(failed)??))
}
