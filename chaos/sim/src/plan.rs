//! What happens in a run: everything that is decided from the seed alone, before it begins.

use std::time::Duration;

use chaos::history::Kind;
use chaos::topo::shapes;
use chaos::workload::{Mix, Part};
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom as _, SliceRandom as _};
use rand::{Rng as _, SeedableRng as _};
use serde::{Deserialize, Serialize};

/// Whom a fault is done to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Whom {
    /// Whoever leads then.
    Leader,
    /// One who does not; this one of them.
    Follower(usize),
    /// This member.
    Member(usize),
}

/// How a disk fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failing {
    /// What cannot be done.
    pub operation: Operation,
    /// Whether the disk is full; broken otherwise.
    pub is_full: bool,
    /// How often; for as long as the fault holds if not given.
    pub times: Option<u64>,
}

/// What a disk does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Operation {
    /// Writing.
    Write,
    /// Making it durable.
    Sync,
    /// Reading.
    Read,
}

/// Which data of a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    /// The raft log.
    Log,
    /// What was applied.
    State,
}

impl Failing {
    fn name(self) -> &'static str {
        match (self.is_full, self.operation) {
            (true, Operation::Write | Operation::Sync) => "disk-full",
            (true, Operation::Read) => "read-error",
            (false, Operation::Write) => "write-error",
            (false, Operation::Sync) => "sync-error",
            (false, Operation::Read) => "read-error",
        }
    }
}

/// The shape of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Shape {
    /// One member alone.
    Isolated,
    /// A minority and a majority.
    Halves,
    /// One member hears nothing, but is heard.
    Deaf,
    /// One member is not heard.
    Mute,
    /// Two halves that reach each other through one member.
    Bridge,
    /// Each member hears another majority.
    Ring,
}

impl Shape {
    fn name(self) -> &'static str {
        match self {
            Self::Isolated => "isolated",
            Self::Halves => "halves",
            Self::Deaf => "deaf",
            Self::Mute => "mute",
            Self::Bridge => "bridge",
            Self::Ring => "ring",
        }
    }
}

/// What is done to a cluster.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum What {
    /// The process ends without warning, and starts again at the end.
    Kill(Whom),
    /// The power goes: what was not synced is lost, in part or wholly, and the last write may be torn.
    PowerLoss(Whom),
    /// The power goes in the middle of a write, after so many more.
    TornPower(Whom, u64),
    /// It goes everywhere at the same time.
    PowerLossAll,
    /// These operations of the disk fail from then on, this often or until the end: the member is to
    /// stop, and starts again when the disk is well.
    DiskError(Whom, Failing),
    /// The process is stopped in order, and started again.
    Restart(Whom),
    /// These directed links lose everything.
    Cut { shape: Shape, links: Vec<(usize, usize)> },
    /// These members and the others hear nothing of each other until the end; then everything arrives
    /// that was said meanwhile.
    Hold(Vec<usize>),
    /// Clients and this member are cut off from each other.
    NoClients(usize),
    /// Messages between members take up to so long.
    SlowLinks(Duration),
    /// Each write of the log takes so long.
    SlowDisk(Whom, Duration),
    /// What was committed is applied this much later.
    SlowApply(usize, Duration),
    /// Another member is to lead.
    MoveLeader,
    /// While the process is down, bits of its data flip. Only ever on one member of a run.
    BitFlip { member: usize, place: Place, bits: u32 },
    /// The process ends, and the member is removed, wiped and added again: as a learner that is promoted,
    /// or at once with a vote. Only ever the one whose bits flip.
    Replace { member: usize, is_learner: bool },
}

impl What {
    /// Its name in reports.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Kill(_) => "kill",
            Self::PowerLoss(_) => "power-loss",
            Self::TornPower(..) => "torn-power",
            Self::PowerLossAll => "power-loss-all",
            Self::DiskError(_, failing) => failing.name(),
            Self::Restart(_) => "restart",
            Self::Cut { shape, .. } => shape.name(),
            Self::Hold(_) => "hold",
            Self::NoClients(_) => "no-clients",
            Self::SlowLinks(_) => "slow-links",
            Self::SlowDisk(..) => "slow-disk",
            Self::SlowApply(..) => "slow-apply",
            Self::MoveLeader => "move-leader",
            Self::BitFlip { place: Place::Log, .. } => "bit-flip-log",
            Self::BitFlip { place: Place::State, .. } => "bit-flip-state",
            Self::Replace { is_learner: false, .. } => "replace",
            Self::Replace { is_learner: true, .. } => "learner",
        }
    }
}

/// One fault of the schedule.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Planned {
    /// When it begins, from the start of the work.
    pub at: Duration,
    /// How long it holds.
    pub hold: Duration,
    /// What is done.
    pub what: What,
}

/// A whole run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Plan {
    /// Where it all comes from.
    pub seed: u64,
    /// Members of the cluster.
    pub members: usize,
    /// How long clients work.
    pub work: Duration,
    /// The longest that a message takes while nothing is wrong.
    pub latency_max: Duration,
    /// The longest that a write of the log takes while nothing is wrong.
    pub disk_max: Duration,
    /// One of so many writes takes up to twenty times as long.
    pub disk_slow_one_in: u32,
    /// Log entries between two snapshots.
    pub snapshot_count: u64,
    /// The leader's heartbeat; the election timeout is ten times as long.
    pub heartbeat: Duration,
    /// What the clients do.
    #[serde(default = "every_kind")]
    pub kinds: Vec<Kind>,
    /// Clients of each workload, and operations a second of each client.
    pub clients: usize,
    /// See `clients`.
    pub rate: u32,
    /// What is done to the cluster.
    pub faults: Vec<Planned>,
}

const KINDS: [&str; 19] = [
    "kill",
    "power-loss",
    "power-loss",
    "torn-power",
    "power-loss-all",
    "disk-error",
    "restart",
    "leader-cut",
    "halves",
    "one-way",
    "ring",
    "hold",
    "no-clients",
    "slow-links",
    "slow-disk",
    "slow-apply",
    "move-leader",
    "bit-flip",
    "replace",
];

impl Plan {
    /// The plan of a seed.
    pub fn of(seed: u64) -> Self {
        let rng = &mut StdRng::seed_from_u64(seed);
        let members = *[3, 3, 3, 3, 5, 1].choose(rng).expect("it is not empty");
        let work = Duration::from_millis(rng.random_range(6_000..12_000));
        let millis = |ms: u64| Duration::from_millis(ms);
        Self {
            seed,
            members,
            work,
            latency_max: millis(*[2, 5, 20].choose(rng).expect("it is not empty")),
            disk_max: millis(*[1, 3, 12].choose(rng).expect("it is not empty")),
            disk_slow_one_in: *[20, 100, 1000].choose(rng).expect("it is not empty"),
            snapshot_count: *[20, 50, 100, 400].choose(rng).expect("it is not empty"),
            heartbeat: millis(*[30, 60, 100].choose(rng).expect("it is not empty")),
            kinds: kinds(rng),
            clients: rng.random_range(2..=4),
            rate: rng.random_range(5..=14),
            faults: faults(rng, members, work),
        }
    }

    /// What the clients do.
    pub fn mix(&self) -> Mix {
        let (clients, rate) = (self.clients, self.rate);
        Mix {
            parts: self.kinds.iter().map(|kind| Part { kind: *kind, clients, rate }).collect(),
            keys: 8,
            seed: self.seed,
            watch_progress: Some(true),
            plant_stale_reads: false,
        }
    }
}

fn every_kind() -> Vec<Kind> {
    Kind::ALL.to_vec()
}

/// Some workloads only: a smaller history shows more of each, and sooner what is wrong.
fn kinds(rng: &mut StdRng) -> Vec<Kind> {
    let mut kinds = every_kind();
    kinds.shuffle(rng);
    kinds.truncate(rng.random_range(2..=5));
    kinds
}

/// Each run has some kinds of faults only, so that their combinations differ from run to run.
fn faults(rng: &mut StdRng, members: usize, work: Duration) -> Vec<Planned> {
    let mut kinds = KINDS.to_vec();
    kinds.shuffle(rng);
    kinds.truncate(rng.random_range(2..=6));
    // The one whose data may be damaged, or thrown away: a majority always keeps what it had.
    let victim = rng.random_range(0..members);
    let every_ms = rng.random_range(400..2500);
    let mut planned = Vec::new();
    let mut at_ms: u64 = 300;
    let work_ms = u64::try_from(work.as_millis()).unwrap_or(u64::MAX);
    while at_ms < work_ms {
        let kind = kinds.choose(rng).expect("at least two are left");
        if let Some(what) = one(rng, kind, members, victim) {
            let hold = Duration::from_millis(rng.random_range(50..3500));
            planned.push(Planned { at: Duration::from_millis(at_ms), hold, what });
        }
        at_ms += rng.random_range(50..2 * every_ms);
    }
    planned
}

fn whom(rng: &mut StdRng, members: usize) -> Whom {
    match rng.random_range(0..4) {
        0 | 1 => Whom::Leader,
        2 => Whom::Follower(rng.random_range(0..members.max(2) - 1)),
        _ => Whom::Member(rng.random_range(0..members)),
    }
}

/// A fault of this kind; none if the cluster is too small for it.
fn one(rng: &mut StdRng, kind: &str, members: usize, victim: usize) -> Option<What> {
    let mut hosts: Vec<usize> = (0..members).collect();
    hosts.shuffle(rng);
    let cut = |shape, links| (members > 1).then_some(What::Cut { shape, links });
    let millis = |ms| Duration::from_millis(ms);
    match kind {
        "kill" => Some(What::Kill(whom(rng, members))),
        "power-loss" => Some(What::PowerLoss(whom(rng, members))),
        "torn-power" => Some(What::TornPower(whom(rng, members), rng.random_range(0..20))),
        "power-loss-all" => Some(What::PowerLossAll),
        "disk-error" => {
            let all = [Operation::Write, Operation::Sync, Operation::Read];
            let operation = *all.choose(rng).expect("it is not empty");
            let times = rng.random_bool(0.7).then(|| rng.random_range(1..4));
            let is_full = rng.random_bool(0.3) && operation != Operation::Read;
            let failing = Failing { operation, is_full, times };
            Some(What::DiskError(whom(rng, members), failing))
        }
        "restart" => Some(What::Restart(whom(rng, members))),
        "leader-cut" => cut(Shape::Isolated, shapes::partition(&hosts[..1], &hosts[1..])),
        "halves" => cut(Shape::Halves, shapes::halves(&hosts)),
        "one-way" if rng.random() => cut(Shape::Deaf, shapes::one_way(&hosts[1..], &hosts[..1])),
        "one-way" => cut(Shape::Mute, shapes::one_way(&hosts[..1], &hosts[1..])),
        "ring" if members > 3 && rng.random() => cut(Shape::Bridge, shapes::bridge(&hosts)),
        "ring" => cut(Shape::Ring, shapes::majorities_ring(&hosts)),
        "hold" => (members > 1).then(|| What::Hold(hosts[..members / 2].to_vec())),
        "no-clients" => Some(What::NoClients(hosts[0])),
        "slow-links" => Some(What::SlowLinks(millis(rng.random_range(20..400)))),
        "slow-disk" => {
            let time = millis(rng.random_range(10..800));
            Some(What::SlowDisk(whom(rng, members), time))
        }
        "slow-apply" => Some(What::SlowApply(hosts[0], millis(rng.random_range(5..300)))),
        "move-leader" => (members > 1).then_some(What::MoveLeader),
        "bit-flip" => {
            let place = if rng.random() { Place::Log } else { Place::State };
            let bits = rng.random_range(1..4);
            (members > 2).then_some(What::BitFlip { member: victim, place, bits })
        }
        "replace" => {
            let is_learner = rng.random();
            (members > 2).then_some(What::Replace { member: victim, is_learner })
        }
        _ => None,
    }
}
