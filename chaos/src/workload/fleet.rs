//! All clients of a run: a mix of workloads against all members, written down by one recorder.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use anyhow::ensure;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::append::{self, LISTS, Lists};
use super::auth::{self, SECRETS};
use super::caller::Caller;
use super::compactor::{self, BULK};
use super::kube::{self, OBJECTS};
use super::lease::{self, LEASED};
use super::lock::{self, GUARDED, LOCKS};
use super::observers::{Observers, Told, archive};
use super::register::{self, REGISTERS, Registers};
use super::set::{self, SETS, Sets};
use super::watch::{self, Watching};
use super::{Connect, ending, rw_txn};
use crate::history::{Fault, FinalState, History, Kind, Recorder, WatchLog};
use crate::limits;

/// What a client is for, where a workload has several kinds of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Writer,
    Watcher,
    Compactor,
    Administrator,
}

impl Role {
    /// The role of the client at a place of its workload.
    fn of(kind: Kind, place: usize) -> Self {
        match (kind, place) {
            (Kind::Watch | Kind::Kube, 1) => Self::Compactor,
            (Kind::Watch, 2) | (Kind::Kube, 0) => Self::Writer,
            (Kind::Watch, _) => Self::Watcher,
            (Kind::Auth, 0) => Self::Administrator,
            (Kind::Kube, place) if place % 4 == 3 => Self::Watcher,
            (Kind::Kube | Kind::Register | Kind::Set | Kind::Append, _)
            | (Kind::RwTxn | Kind::Lease | Kind::Lock | Kind::Auth, _) => Self::Writer,
        }
    }
}

/// One workload of a mix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// What the clients do.
    pub kind: Kind,
    /// How many do it at the same time.
    pub clients: usize,
    /// Operations a second and client, at most.
    pub rate: u32,
}

/// What a fleet does.
#[derive(Clone, Debug)]
pub struct Mix {
    /// Its workloads.
    pub parts: Vec<Part>,
    /// Keys that the clients of a workload share at a time.
    pub keys: usize,
    /// Seed of all their choices.
    pub seed: u64,
    /// Whether watchers ask for their progress. When not given they do if the members' version says
    /// that the answer can be relied on.
    pub watch_progress: Option<bool>,
    /// Send linearizable reads as serializable ones: a planted bug, to see the checkers object.
    pub plant_stale_reads: bool,
}

impl Mix {
    /// These workloads, with the same number of clients and the same rate for each.
    pub fn of(kinds: &[Kind], clients: usize, rate: u32, seed: u64) -> Self {
        let parts = kinds.iter().map(|kind| Part { kind: *kind, clients, rate }).collect();
        Self { parts, keys: 12, seed, watch_progress: None, plant_stale_reads: false }
    }
}

/// Running clients and watchers.
#[derive(Debug)]
pub struct Fleet {
    connect: Connect,
    recorder: Recorder,
    base_revision: i64,
    kinds: Vec<Kind>,
    clients: JoinSet<Option<()>>,
    watchers: JoinSet<Vec<WatchLog>>,
    watching: Watching,
    stop: CancellationToken,
    observers: Observers,
    /// Who disables users at the end.
    administrator: Option<Caller>,
}

/// What a fleet recorded beside operations.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// The workloads that ran.
    pub kinds: Vec<Kind>,
    /// The store's revision before the first operation.
    pub base_revision: i64,
    /// What watchers were told.
    pub watches: Vec<WatchLog>,
    /// Every member's state after the last operation.
    pub finals: Vec<FinalState>,
}

impl Recorded {
    /// The whole history of a run.
    pub fn history(self, recorder: &Recorder, faults: Vec<Fault>) -> History {
        let Self { kinds, base_revision, watches, finals } = self;
        let ops = recorder.ops();
        let restored = Vec::new();
        History { kinds, base_revision, ops, watches, faults, finals, restored }
    }
}

impl Fleet {
    /// Starts all clients of a mix on an empty store whose members all serve.
    pub async fn start(connect: &Connect, mix: &Mix, recorder: &Recorder) -> anyhow::Result<Self> {
        ensure!(mix.keys > 0, "clients need keys");
        ensure!(mix.parts.iter().all(|part| part.clients > 0), "every workload needs clients");
        let status = connect.client(0)?.status().await?;
        let base_revision = status.revision;
        ensure!(base_revision == 1, "an empty store is at revision 1, not {base_revision}");
        let progress = mix.watch_progress.unwrap_or_else(|| status.has_reliable_progress());
        let stop = CancellationToken::new();
        let mut number = 0;
        let mut administrator = None;
        if mix.parts.iter().any(|part| part.kind == Kind::Auth) {
            let rate = limits::AUTH_SETUP_RATE;
            let mut caller = Caller::new(number, rate, mix, connect, recorder, &stop)?;
            auth::enable(&mut caller).await?;
            connect.as_root();
            administrator = Some(caller);
            number += 1;
        }
        let numbers = Arc::new(AtomicUsize::new(0));
        let observers = Observers::start(connect, base_revision + 1, progress, recorder, &numbers)?;
        let watching = Watching {
            recorder: recorder.clone(),
            told: observers.told().clone(),
            progress,
            numbers,
            prefixes: mix.parts.iter().flat_map(|part| prefixes(part.kind)).copied().collect(),
            live: Arc::default(),
            end: CancellationToken::new(),
        };
        let mut fleet = Self {
            connect: connect.clone(),
            recorder: recorder.clone(),
            base_revision,
            kinds: mix.parts.iter().map(|part| part.kind).collect(),
            clients: JoinSet::new(),
            watchers: JoinSet::new(),
            watching,
            stop,
            observers,
            administrator,
        };
        for part in &mix.parts {
            fleet.begin(part, mix, &mut number)?;
        }
        Ok(fleet)
    }

    fn begin(&mut self, part: &Part, mix: &Mix, number: &mut usize) -> anyhow::Result<()> {
        let registers = Registers::new(mix.keys);
        let lists = Lists::new(mix.keys);
        let sets = Sets::default();
        let (seed, keys, told) = (mix.seed, mix.keys, &self.watching.told);
        for place in 0..part.clients {
            let role = Role::of(part.kind, place);
            let rate = match role {
                Role::Compactor => limits::COMPACT_RATE,
                Role::Administrator => limits::AUTH_CHANGE_RATE,
                Role::Writer | Role::Watcher => part.rate,
            };
            let (connect, recorder, stop) = (&self.connect, &self.recorder, &self.stop);
            let caller = Caller::new(*number, rate, mix, connect, recorder, stop)?;
            *number += 1;
            let clients = &mut self.clients;
            match (part.kind, role) {
                (Kind::Register, _) => clients.spawn(register::run(caller, registers.clone())),
                (Kind::Set, _) => clients.spawn(set::run(caller, sets.clone())),
                (Kind::Append, _) => clients.spawn(append::run(caller, seed, lists.clone())),
                (Kind::RwTxn, _) | (Kind::Watch, Role::Writer) => {
                    clients.spawn(rw_txn::run(caller, seed, keys))
                }
                (Kind::Lease, _) => clients.spawn(lease::run(caller)),
                (Kind::Lock, _) => clients.spawn(lock::run(caller)),
                (Kind::Auth, Role::Administrator) => clients.spawn(auth::administer(caller)),
                (Kind::Auth, _) => clients.spawn(auth::run(caller)),
                (Kind::Watch, Role::Compactor) => {
                    clients.spawn(compactor::run(caller, told.clone()))
                }
                (Kind::Watch, _) => self.watchers.spawn(watch::run(caller, self.watching.clone())),
                (Kind::Kube, Role::Compactor) => clients.spawn(kube::compact(caller, told.clone())),
                (Kind::Kube, Role::Watcher) => {
                    self.watchers.spawn(kube::reflect(caller, self.watching.clone()))
                }
                (Kind::Kube, _) => {
                    clients.spawn(kube::run(caller, keys * limits::KUBE_OBJECTS_PER_KEY))
                }
            };
        }
        Ok(())
    }

    /// The store's revision before the first operation.
    pub fn base_revision(&self) -> i64 {
        self.base_revision
    }

    /// How far its watchers are.
    pub fn told(&self) -> Told {
        self.observers.told().clone()
    }

    /// Lets every client finish its operation, writes once more through every member, gives the
    /// watchers time to be told of it, and reads every member's state. The members must be healed.
    pub async fn stop(mut self) -> anyhow::Result<Recorded> {
        self.stop.cancel();
        while let Some(ended) = self.clients.join_next().await {
            ended?;
        }
        if let Some(administrator) = &mut self.administrator {
            auth::disable(administrator).await?;
        }
        ending::leases_end(&self.connect).await?;
        let revision = ending::tombstones(&self.connect, &self.recorder).await?;
        let mut watches = self.observers.finish(revision).await;
        let archive = archive(&watches, revision);
        self.watching.finish(&archive).await;
        while let Some(watched) = self.watchers.join_next().await {
            watches.extend(watched?);
        }
        let mut finals = Vec::new();
        for member in 0..self.connect.members() {
            let revisions = (self.base_revision, revision);
            finals.push(ending::final_state(&self.connect, member, &archive, revisions).await?);
        }
        let Self { kinds, base_revision, .. } = self;
        Ok(Recorded { kinds, base_revision, watches, finals })
    }
}

/// What the keys of a workload start with.
fn prefixes(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Register => &[REGISTERS],
        Kind::Append => &[LISTS],
        Kind::RwTxn => &["r/", "r/00"],
        Kind::Watch => &["r/", BULK],
        Kind::Set => &[SETS],
        Kind::Lease => &[LEASED],
        Kind::Kube => &[OBJECTS],
        Kind::Lock => &[GUARDED, LOCKS],
        Kind::Auth => &[SECRETS],
    }
}
