//! The end of a run: nothing is under way any more, and every member's state is read.

use anyhow::{Context as _, bail, ensure};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;

use super::Connect;
use crate::client;
use crate::history::{Action, Asked, Event, FinalState, Outcome, Recorder, Step, StepReply};
use crate::limits;

/// Waits until no key ends with a lease any more: one that does changes the store after everybody left.
/// Leases that do not end are found by the checker, not here.
pub(super) async fn leases_end(connect: &Connect) -> anyhow::Result<()> {
    let start = Instant::now();
    let mut clients = connect.clients()?;
    for turn in 0.. {
        let step = Step::List { prefix: String::new() };
        let list = Action::Single { step, serializable: false };
        let member = turn % clients.len();
        if let Outcome::Ok(reply) = clients[member].execute(&list).await
            && reply.steps.iter().flat_map(StepReply::found).all(|kv| kv.lease == 0)
        {
            break;
        }
        if start.elapsed() > limits::LEASE_DRAIN_DEADLINE {
            break;
        }
        tokio::time::sleep(limits::WATCH_RETRY_INTERVAL).await;
    }
    Ok(())
}

/// A last write through each member; the revision of the last of them. An operation without an answer
/// may still be on its way, and this comes after all that its member had. What is not acknowledged is
/// tried again, as another write: a member may still be coming back.
pub(super) async fn tombstones(connect: &Connect, recorder: &Recorder) -> anyhow::Result<i64> {
    let mut last = 0;
    let mut process = limits::TOMBSTONE_PROCESS;
    for member in 0..connect.members() {
        let start = Instant::now();
        loop {
            let value = format!("tombstone-{process}");
            let step = Step::Put { key: "tombstone".to_owned(), value };
            let action = Action::Single { step, serializable: false };
            let index = recorder.invoke(process, member, action.clone());
            let index = index.context("the history is full")?;
            process += 1;
            let outcome = connect.client(member)?.execute(&action).await;
            recorder.complete(index, outcome.clone());
            match outcome {
                Outcome::Ok(reply) => {
                    last = reply.revision;
                    break;
                }
                Outcome::Refused(reason) | Outcome::Unknown(reason) => ensure!(
                    start.elapsed() < limits::RECOVERY_GIVE_UP,
                    "the last write through member {member} failed: {reason}"
                ),
            }
            tokio::time::sleep(limits::WATCH_RETRY_INTERVAL).await;
        }
    }
    Ok(last)
}

/// What a member has, and its log from the base revision to `revision`. What was compacted away is
/// taken from the archive. One that was damaged may find that out only now, and be replaced meanwhile:
/// it is asked until it answers or has had the time for that. A member that answers at an earlier
/// revision has lost something: it is read so far, for the checkers to judge.
pub(super) async fn final_state(
    connect: &Connect,
    member: usize,
    archive: &[Event],
    revisions: (i64, i64),
) -> anyhow::Result<FinalState> {
    let start = Instant::now();
    loop {
        match state_of(connect, member, archive, revisions).await {
            Err(error) if start.elapsed() < limits::RECOVERY_GIVE_UP => {
                tracing::warn!(member, %error, "the final state cannot be read yet");
            }
            state => return state,
        }
        tokio::time::sleep(limits::WATCH_RETRY_INTERVAL).await;
    }
}

async fn state_of(
    connect: &Connect,
    member: usize,
    archive: &[Event],
    (base_revision, revision): (i64, i64),
) -> anyhow::Result<FinalState> {
    let mut client = connect.client(member)?;
    let step = Step::List { prefix: String::new() };
    let list = Action::Single { step, serializable: false };
    let reply = match client.execute(&list).await {
        Outcome::Ok(reply) => reply,
        Outcome::Refused(reason) | Outcome::Unknown(reason) => {
            bail!("the final state of member {member} cannot be read: {reason}")
        }
    };
    let live = reply.steps.first().map(StepReply::found).unwrap_or_default().to_vec();
    // The question was asked after the last write was acknowledged.
    let revision = revision.min(reply.revision);
    let log = match read_log(connect, member, base_revision + 1, revision).await? {
        Log::Whole(log) => log,
        Log::Compacted(compacted) => {
            let mut log = archive.to_vec();
            log.retain(|event| event.kv.mod_revision <= compacted);
            match read_log(connect, member, compacted + 1, revision).await? {
                Log::Whole(rest) => log.extend(rest),
                Log::Compacted(_) => bail!("member {member} compacts while nobody asks it to"),
            }
            log
        }
    };
    let hash = client.hash_at(revision).await?;
    Ok(FinalState { member, revision: reply.revision, live, log, hash })
}

enum Log {
    Whole(Vec<Event>),
    /// It begins behind this revision.
    Compacted(i64),
}

/// Every event of a member's log from `start_revision` to `end_revision`, by a new watch.
async fn read_log(
    connect: &Connect,
    member: usize,
    start_revision: i64,
    end_revision: i64,
) -> anyhow::Result<Log> {
    let mut events: Vec<Event> = Vec::new();
    if end_revision < start_revision {
        return Ok(Log::Whole(events));
    }
    let (requests, receiver) = mpsc::channel(1);
    requests.send(client::watch(&Asked::everything(start_revision), 1)).await?;
    let mut client = connect.client(member)?;
    let mut responses = client.open_watch(ReceiverStream::new(receiver)).await?;
    let start = Instant::now();
    while events.last().is_none_or(|last| last.kv.mod_revision < end_revision) {
        ensure!(start.elapsed() < limits::WATCH_CATCH_UP_DEADLINE, "the log is not read in time");
        let response = tokio::time::timeout(limits::WATCH_CATCH_UP_DEADLINE, responses.next())
            .await
            .with_context(|| format!("member {member} tells no more of its log"))?
            .context("the watch ended before the log did")??;
        if response.compact_revision > 0 {
            return Ok(Log::Compacted(response.compact_revision));
        }
        ensure!(!response.canceled, "the watch was cancelled: {}", response.cancel_reason);
        events.extend(response.events.into_iter().map(client::event));
    }
    Ok(Log::Whole(events))
}
