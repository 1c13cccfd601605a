//! The replicated state as openraft sees it; everything happens on one thread of its own.
//!
//! | Rule | What always holds |
//! |------|-------------------|
//! | M1 | Entries are applied in log order, by one thread, one disk batch for each call. |
//! | M2 | Watchers have an event queued before the write's own client is answered. |
//! | M3 | A checkpoint holds exactly the state at the log id that it is labelled with. |

use std::{
    io,
    path::PathBuf,
    sync::{Arc, Weak, mpsc},
    time::Duration,
};

use bytes::Bytes;
use futures::{Stream, StreamExt};
use openraft::{
    EntryPayload, OptionalSend, RaftSnapshotBuilder,
    storage::{ApplyResponder, EntryResponder, RaftStateMachine},
};
use prost::Message;
use proto::orlop::store::v1::{Batch, command::Op};
use store_state_machine::{CompactProgress, Fault, Reply, StateMachine, View};
use tokio::{
    sync::{oneshot, watch},
    time::Instant,
};

use super::{
    codec,
    log::Log,
    pace::{Next, Pace},
    snapshot::Checkpoint,
    types::{LeaderId, LogId, NOBODY, SnapshotMeta, StoredMembership, TypeConfig},
};
use crate::{
    auth::{Note, Tokens},
    digests::Digests,
    error::Error,
    exec::{self, Bell, Loop},
    lessor::Lessor,
    limits,
    metrics::{Metrics, store::Tally},
    pending::Pending,
    watch::Hub,
};

type Snapshot = openraft::alias::SnapshotOf<TypeConfig, Arc<Checkpoint>>;
type Item = (super::types::Entry, Option<ApplyResponder<TypeConfig>>);
type Done<T> = oneshot::Sender<io::Result<T>>;

enum Job {
    Apply(Vec<Item>, Done<()>),
    Position(Done<(Option<LogId>, StoredMembership)>),
    Checkpoint(Done<Option<Snapshot>>),
    Install(SnapshotMeta, Arc<Checkpoint>, Done<()>),
    Rebuild(u64, Checkpoint, Log, Done<()>),
    Stop,
}

/// Whom the apply thread tells what it did.
pub(crate) struct Listeners {
    pub(crate) hub: Arc<Hub>,
    pub(crate) pending: Arc<Pending>,
    pub(crate) lessor: Lessor,
    pub(crate) applied: watch::Sender<u64>,
    /// Whose entries are being applied: told once everybody who waited for an earlier leader's has
    /// been answered.
    pub(crate) reign: watch::Sender<LeaderId>,
    pub(crate) compacted: watch::Sender<i64>,
    pub(crate) tokens: Arc<Tokens>,
    pub(crate) digests: Arc<Digests>,
    pub(crate) metrics: Arc<Metrics>,
}

/// Where jobs for the apply thread are queued.
#[derive(Clone)]
struct Jobs {
    queue: mpsc::SyncSender<Job>,
    bell: Bell,
}

impl Jobs {
    /// Queues a job, if there is room and the thread runs.
    fn offer(&self, job: Job) -> io::Result<()> {
        let closed = |_| io::Error::other("the apply thread has stopped");
        self.queue.try_send(job).map_err(closed)?;
        self.bell.ring();
        Ok(())
    }
}

/// openraft's side of the apply thread.
pub(crate) struct Machine {
    jobs: Jobs,
    view: View,
    metrics: Arc<Metrics>,
}

/// Ends the apply thread.
pub(crate) struct Handle {
    jobs: Jobs,
    running: Loop,
}

impl Handle {
    /// Carries out what is queued, flushes the state, and ends the thread.
    pub(crate) async fn stop(self) {
        let Self { jobs, running } = self;
        let asked = exec::blocking(move || {
            drop(jobs.queue.send(Job::Stop));
            jobs.bell.ring();
        });
        drop(asked.await);
        running.ended().await;
    }
}

struct Worker {
    machine: StateMachine,
    listeners: Listeners,
    scratch: PathBuf,
    serial: u64,
    recent: Option<(Instant, SnapshotMeta, Weak<Checkpoint>)>,
}

fn fault(error: Fault) -> io::Error {
    io::Error::other(error)
}

impl Machine {
    /// Starts the apply thread over an opened state machine.
    pub(crate) fn start(
        machine: StateMachine,
        listeners: Listeners,
        scratch: PathBuf,
    ) -> io::Result<(Self, Handle)> {
        let (view, metrics) = (machine.view(), listeners.metrics.clone());
        let (jobs, queue) = mpsc::sync_channel(64);
        let jobs = Jobs { queue: jobs, bell: Bell::default() };
        let worker = Worker { machine, listeners, scratch, serial: 0, recent: None };
        let running = worker.start(queue, &jobs.bell)?;
        let handle = Handle { jobs: jobs.clone(), running };
        Ok((Self { jobs, view, metrics }, handle))
    }

    async fn ask<T>(&self, job: impl FnOnce(Done<T>) -> Job) -> io::Result<T> {
        let (done, answer) = oneshot::channel();
        // openraft has one job under way at a time, so the queue never fills up.
        self.jobs.offer(job(done))?;
        answer.await.map_err(|_| io::Error::other("the apply thread has stopped"))?
    }
}

/// A job, or none when it is time for a step of a compaction. Nothing comes when nobody is left to ask.
#[cfg(feature = "sim")]
async fn come(pace: &Pace, queue: &mut mpsc::Receiver<Job>, bell: &Bell) -> Option<Option<Job>> {
    loop {
        let due = match pace.next() {
            Next::Job => None,
            Next::JobUntil(due) => Some(due),
            Next::Step => return Some(None),
        };
        match queue.try_recv() {
            Ok(job) => return Some(Some(job)),
            Err(mpsc::TryRecvError::Disconnected) => return None,
            Err(mpsc::TryRecvError::Empty) => {}
        }
        match due {
            None => bell.rung().await,
            Some(due) if tokio::time::timeout_at(due, bell.rung()).await.is_err() => {
                return Some(None);
            }
            Some(_) => {}
        }
    }
}

impl Worker {
    fn start(self, queue: mpsc::Receiver<Job>, bell: &Bell) -> io::Result<Loop> {
        #[cfg(feature = "sim")]
        if exec::is_simulated() {
            return Ok(Loop::Task(tokio::spawn(self.run_simulated(queue, bell.clone()))));
        }
        let _nobody_hears_it = bell;
        Loop::thread("apply", move || self.run(&queue))
    }

    fn run(mut self, queue: &mpsc::Receiver<Job>) {
        let mut pace = Pace::new();
        loop {
            let job = match pace.next() {
                Next::Job => match queue.recv() {
                    Ok(job) => Some(job),
                    Err(mpsc::RecvError) => return,
                },
                Next::JobUntil(due) => {
                    match queue.recv_timeout(due.saturating_duration_since(Instant::now())) {
                        Ok(job) => Some(job),
                        Err(mpsc::RecvTimeoutError::Timeout) => None,
                        Err(mpsc::RecvTimeoutError::Disconnected) => return,
                    }
                }
                Next::Step => None,
            };
            if !self.turn(job, &mut pace) {
                return;
            }
        }
    }

    /// As a task of a simulated world.
    #[cfg(feature = "sim")]
    async fn run_simulated(mut self, mut queue: mpsc::Receiver<Job>, bell: Bell) {
        let mut pace = Pace::new();
        while let Some(job) = come(&pace, &mut queue, &bell).await {
            // What takes time on a machine: others get on meanwhile, and a crash may come.
            tokio::time::sleep(crate::simulated::apply_time()).await;
            if !self.turn(job, &mut pace) {
                return;
            }
        }
    }

    /// Does a job, or a step of a compaction if there is none; false if it was the last one.
    fn turn(&mut self, job: Option<Job>, pace: &mut Pace) -> bool {
        match job {
            Some(Job::Apply(items, done)) => {
                pace.busy = true;
                let result = self.apply(items, &mut pace.compacting);
                drop(done.send(result));
            }
            Some(Job::Position(done)) => drop(done.send(self.position())),
            Some(Job::Checkpoint(done)) => drop(done.send(self.checkpoint())),
            Some(Job::Install(meta, from, done)) => {
                drop(done.send(self.install(&meta, &from)));
                pace.compacting = true;
            }
            Some(Job::Rebuild(index, from, log, done)) => {
                drop(done.send(self.rebuild(index, &from, &log, &mut pace.compacting)));
                pace.compacting = true;
            }
            Some(Job::Stop) => {
                if let Err(error) = self.machine.finish() {
                    tracing::warn!(%error, "the state was not flushed; the log is replayed");
                }
                return false;
            }
            None => match self.compact(&mut pace.since) {
                Ok((progress, took)) => {
                    pace.stepped(took, progress.done);
                    if progress.done {
                        let revision = self.machine.view().compact_revision();
                        self.listeners.compacted.send_replace(revision);
                    }
                }
                Err(error) => crate::fatal("compacting", &error),
            },
        }
        true
    }

    /// One step of a compaction, if there is anything to do.
    fn compact(
        &mut self,
        since: &mut Option<Instant>,
    ) -> Result<(CompactProgress, Duration), Fault> {
        let began = Instant::now();
        let progress = self.machine.compact_step(limits::COMPACTION_STEP_REVISIONS)?;
        if since.is_some() || progress.removed > 0 || !progress.done {
            let first = *since.get_or_insert(began);
            self.listeners.metrics.store.compacted(progress, began.elapsed(), first.elapsed());
        }
        if progress.done {
            *since = None;
        }
        Ok((progress, began.elapsed()))
    }

    fn apply(&mut self, items: Vec<Item>, compacting: &mut bool) -> io::Result<()> {
        let started = Instant::now();
        let mut entries = Vec::with_capacity(items.len());
        let mut commands = Vec::new();
        let mut responders = Vec::with_capacity(items.len());
        let mut notes = Vec::new();
        let mut tally = Tally::default();
        let first_index = items.first().map_or(0, |(entry, _)| entry.log_id.index);
        let (mut last_index, mut last_leader) = (0, NOBODY);
        for (entry, responder) in items {
            (last_index, last_leader) = (entry.log_id.index, entry.log_id.leader_id);
            let log_id = Bytes::copy_from_slice(&codec::encode_log_id(&entry.log_id));
            let mut out = store_state_machine::Entry { log_id, ..Default::default() };
            match entry.payload {
                EntryPayload::Blank => {}
                EntryPayload::Normal(payload) => {
                    let batch = Batch::decode(payload.0).map_err(io::Error::other)?;
                    let first = commands.len();
                    tally.asked(&batch.commands);
                    commands.extend(batch.commands.iter().zip(first..).map(|(command, at)| {
                        match &command.op {
                            Some(Op::LeaseRevoke(revoke)) => (command.id, Some(revoke.id)),
                            Some(Op::Auth(change)) => {
                                notes.extend(Note::of(change).map(|note| (at, last_index, note)));
                                (command.id, None)
                            }
                            Some(Op::Compact(_)) => {
                                *compacting = true;
                                (command.id, None)
                            }
                            _ => (command.id, None),
                        }
                    }));
                    out.commands = batch.commands;
                }
                EntryPayload::Membership(membership) => {
                    let stored = StoredMembership::new(Some(entry.log_id), membership);
                    out.membership = Some(codec::encode_stored_membership(&stored)?.into());
                }
            }
            entries.push(out);
            responders.extend(responder);
        }
        let applied = self.machine.apply(entries).map_err(fault)?;

        let listeners = &self.listeners;
        let mut outcomes = Vec::with_capacity(commands.len());
        let mut events = Vec::new();
        let mut revision = None;
        listeners.digests.applied((first_index..).zip(applied.iter().map(|one| one.digest)));
        for one in applied {
            outcomes.extend(one.outcomes);
            events.extend(one.events);
            revision = Some(one.revision);
        }
        for (at, index, note) in notes {
            if let Ok(Reply::Auth(changed)) = &mut outcomes[at] {
                listeners.tokens.applied(index, note, changed);
            }
        }
        tally.done(&outcomes, &events, &listeners.metrics.store.lease_ttl);
        if let Some(revision) = revision {
            // M2: first the watchers, then the client.
            listeners.hub.publish(events, revision);
        }
        // Before those who wait until this is applied: they may ask for the lease.
        for ((_, revoked), outcome) in commands.iter().zip(&outcomes) {
            if let Ok(Reply::LeaseGrant(granted)) = outcome {
                listeners.lessor.granted(granted.id, granted.ttl);
            }
            if let (Some(lease), Ok(_)) = (revoked, outcome) {
                listeners.lessor.revoked(*lease);
            }
        }
        listeners.applied.send_replace(last_index);
        listeners.metrics.applied(last_index, &tally, started.elapsed());
        for ((id, _), outcome) in commands.into_iter().zip(outcomes) {
            listeners.pending.answer(id, || outcome.map_err(Error::Refused));
        }
        listeners.reign.send_if_modified(|old| std::mem::replace(old, last_leader) != last_leader);
        for responder in responders {
            responder.send(());
        }
        Ok(())
    }

    fn position(&self) -> io::Result<(Option<LogId>, StoredMembership)> {
        let (applied, membership) = self.machine.applied();
        let applied = applied.map(|bytes| codec::decode_log_id(&bytes)).transpose()?;
        Ok((applied, codec::decode_stored_membership(&membership.unwrap_or_default())?))
    }

    fn checkpoint(&mut self) -> io::Result<Option<Snapshot>> {
        if let Some((made, meta, checkpoint)) = &self.recent
            && made.elapsed() < limits::SNAPSHOT_SHARED_FOR
            && let Some(snapshot) = checkpoint.upgrade()
        {
            return Ok(Some(Snapshot { meta: meta.clone(), snapshot }));
        }
        let (Some(applied), last_membership) = self.position()? else { return Ok(None) };
        self.serial += 1;
        std::fs::create_dir_all(&self.scratch)?;
        let path = self.scratch.join(format!("checkpoint-{}-{}", applied.index, self.serial));
        // M3: nothing is applied between reading the position and making the checkpoint.
        self.machine.checkpoint(&path).map_err(fault)?;
        let meta = SnapshotMeta { last_log_id: Some(applied), last_membership };
        let snapshot = Arc::new(Checkpoint::new(path));
        self.recent = Some((Instant::now(), meta.clone(), Arc::downgrade(&snapshot)));
        Ok(Some(Snapshot { meta, snapshot }))
    }

    fn install(&mut self, meta: &SnapshotMeta, from: &Checkpoint) -> io::Result<()> {
        self.listeners.metrics.raft.snapshot_applying.set(1);
        let installed = self.replace(meta, from);
        self.listeners.metrics.raft.snapshot_applying.set(0);
        #[cfg(feature = "sim")]
        if installed.is_ok() {
            crate::simulated::installed();
        }
        installed
    }

    fn replace(&mut self, meta: &SnapshotMeta, from: &Checkpoint) -> io::Result<()> {
        let (applied, _) = store_state_machine::inspect(from.path()).map_err(fault)?;
        let applied = applied.map(|bytes| codec::decode_log_id(&bytes)).transpose()?;
        if applied != meta.last_log_id {
            let what = format!("snapshot at {applied:?} is labelled {:?}", meta.last_log_id);
            return Err(io::Error::new(io::ErrorKind::InvalidData, what));
        }
        self.machine.replace_from(from.path()).map_err(fault)?;
        self.listeners.tokens.replaced();
        self.recent = None;
        // Their commands may be in the snapshot, or never come: nobody can tell.
        self.listeners.pending.abandon();
        self.listeners.hub.reset(self.machine.view().revision());
        let index = applied.map_or(0, |id| id.index);
        self.listeners.digests.replaced(index, self.machine.view().digest());
        self.listeners.applied.send_replace(index);
        if let Some(id) = applied {
            self.listeners.reign.send_replace(id.leader_id);
        }
        self.listeners.metrics.snapshots_installed.inc();
        tracing::info!(index, "installed a snapshot");
        Ok(())
    }
}

impl Worker {
    fn rebuild(
        &mut self,
        index: u64,
        from: &Checkpoint,
        log: &Log,
        compacting: &mut bool,
    ) -> io::Result<()> {
        let bad = |what: String| io::Error::new(io::ErrorKind::InvalidData, what);
        let (found, _) = store_state_machine::inspect(from.path()).map_err(fault)?;
        let found = found.map(|bytes| codec::decode_log_id(&bytes)).transpose()?;
        if found.map(|id| id.index) != Some(index) {
            return Err(bad(format!("the state at {found:?} is labelled {index}")));
        }
        let applied = self.position()?.0.map_or(0, |id| id.index);
        if applied < index {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        // All that is needed is looked at before anything is changed.
        let (_, purged) = log.begins();
        let long = applied - index > limits::REBUILD_ENTRIES_MAX;
        if long || purged.is_some_and(|id| id.index > index) {
            return Err(bad(format!("entry {index} is too far behind entry {applied}")));
        }

        self.machine.replace_from(from.path()).map_err(fault)?;
        self.listeners.tokens.replaced();
        self.recent = None;
        self.listeners.hub.reset(self.machine.view().revision());
        self.listeners.digests.replaced(index, self.machine.view().digest());
        let replayed = self.replay(index + 1, applied + 1, log, compacting);
        if let Err(error) = replayed.and_then(|()| self.machine.flush().map_err(fault)) {
            crate::fatal("applying the log to the leader's state", &error);
        }
        self.listeners.hub.reset(self.machine.view().revision());
        Ok(())
    }

    /// Applies entries of the own log again.
    fn replay(
        &mut self,
        mut next: u64,
        end: u64,
        log: &Log,
        compacting: &mut bool,
    ) -> io::Result<()> {
        while next < end {
            let entries = log.read(next, end, limits::LOG_TAIL_BYTES_MAX)?;
            match entries.first() {
                Some(first) if first.log_id.index == next => {}
                _ => return Err(io::Error::other(format!("entry {next} is gone from the log"))),
            }
            next += entries.len() as u64;
            self.apply(entries.into_iter().map(|entry| (entry, None)).collect(), compacting)?;
        }
        Ok(())
    }
}

/// Replaces the state under openraft, which does not notice.
pub(crate) struct Rebuilder {
    jobs: Jobs,
}

impl Rebuilder {
    /// Replaces the state by the leader's as of entry `index`, and applies what the own log has after
    /// that: the state is then at the entry at which it was before, and on disk.
    ///
    /// # Errors
    /// `WouldBlock` if the entry was not applied here yet; else why nothing was replaced. What fails
    /// later ends the process: the next start goes on from where the new state is.
    pub(crate) async fn rebuild(&self, index: u64, from: Checkpoint, log: Log) -> io::Result<()> {
        let (done, answer) = oneshot::channel();
        self.jobs.offer(Job::Rebuild(index, from, log, done))?;
        answer.await.map_err(|_| io::Error::other("the apply thread has stopped"))?
    }
}

impl Machine {
    /// For one replacement of the state.
    pub(crate) fn rebuilder(&self) -> Rebuilder {
        Rebuilder { jobs: self.jobs.clone() }
    }
}

/// Makes the applied state durable, so that the log before it can go.
pub(crate) struct Builder {
    view: View,
    meta: SnapshotMeta,
    metrics: Arc<Metrics>,
}

impl RaftSnapshotBuilder<TypeConfig> for Builder {
    type SnapshotData = Arc<Checkpoint>;

    async fn build_snapshot(&mut self) -> Result<Snapshot, io::Error> {
        let view = self.view.clone();
        let began = Instant::now();
        let flush = exec::blocking(move || view.flush());
        flush.await.map_err(io::Error::other)?.map_err(fault)?;
        self.metrics.disk.flushes.observe(began.elapsed());
        // Files are only made when a follower needs them.
        let snapshot = Arc::new(Checkpoint::new(PathBuf::new()));
        Ok(Snapshot { meta: self.meta.clone(), snapshot })
    }
}

impl RaftStateMachine<TypeConfig> for Machine {
    type SnapshotData = Arc<Checkpoint>;
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
        self.ask(Job::Position).await
    }

    async fn apply<S>(&mut self, mut entries: S) -> Result<(), io::Error>
    where
        S: Stream<Item = Result<EntryResponder<TypeConfig>, io::Error>> + Unpin + OptionalSend,
    {
        let mut items = Vec::new();
        while let Some(item) = entries.next().await {
            items.push(item?);
        }
        self.ask(|done| Job::Apply(items, done)).await
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        let position = self.ask(Job::Position).await;
        let (last_log_id, last_membership) =
            position.unwrap_or_else(|error| crate::fatal("starting a flush", &error));
        let meta = SnapshotMeta { last_log_id, last_membership };
        Builder { view: self.view.clone(), meta, metrics: self.metrics.clone() }
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        snapshot: Arc<Checkpoint>,
    ) -> Result<(), io::Error> {
        self.ask(|done| Job::Install(meta.clone(), snapshot, done)).await
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, io::Error> {
        self.ask(Job::Checkpoint).await
    }
}
