//! The rows that are a workload and a number of rounds: what they run, and what they are to reach.

use super::goal::Goal::{self, TimesAtLeast, TimesAtMost};
use super::sample::{CPU, CPU_EVENT, EVENTS, LAG_P99, OPERATIONS, P50, P99, SWAP_P99, Sample};
use super::{BIG_KEY_BYTES, BIG_PREFIX, Row, VersusFlags};
use crate::bench::operation::{Kind, Shape};
use crate::bench::{
    LeaseFlags, LoadFlags, MixedFlags, PaceFlags, ServerFlags, WatchFlags, lease, load, mixed,
    watch,
};

/// Connections that the clients of one measurement share at most.
const CONNECTIONS_MAX: usize = 9;

/// Which members the clients use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Through {
    /// All of them.
    All,
    /// One that does not lead.
    Follower,
    /// The one that leads.
    Leader,
}

/// One measurement.
#[derive(Clone, Debug)]
pub(super) struct Case {
    pub row: Row,
    pub title: String,
    pub goals: Vec<(&'static str, Goal)>,
    pub notes: Vec<&'static str>,
    pub through: Through,
    pub rounds: usize,
    pub job: Job,
}

/// What is run.
#[derive(Clone, Debug)]
pub(super) enum Job {
    Put(LoadFlags),
    /// With the keys already there, or to be written in the first round.
    Read(Kind, LoadFlags, bool),
    Watch(WatchFlags),
    Lease(LeaseFlags),
    Mixed(MixedFlags),
}

impl Job {
    /// Runs it on some servers.
    pub(super) async fn run(&self, server: ServerFlags, is_first: bool) -> anyhow::Result<Sample> {
        let conns = |clients: usize| ServerFlags { conns: connections(clients), ..server.clone() };
        match self {
            Self::Put(flags) => {
                let server = conns(flags.pace.clients);
                let flags = LoadFlags { server, ..flags.clone() };
                Sample::of(&Box::pin(load::generate(Kind::Put, &flags)).await?, None)
            }
            Self::Read(kind, flags, is_filled) => {
                let server = conns(flags.pace.clients);
                let flags = LoadFlags { server, ..flags.clone() };
                let is_filled = *is_filled || !is_first;
                Sample::of(&Box::pin(load::read(*kind, &flags, is_filled)).await?, None)
            }
            Self::Watch(flags) => {
                let server = ServerFlags { conns: flags.streams, ..server };
                let flags = WatchFlags { server, ..flags.clone() };
                Sample::of_watch(&Box::pin(watch::run(&flags)).await?)
            }
            Self::Lease(flags) => {
                let server = conns(flags.pace.clients);
                let flags = LeaseFlags { server, ..flags.clone() };
                Sample::of(&Box::pin(lease::run(&flags)).await?, None)
            }
            Self::Mixed(flags) => {
                let server = conns(flags.pace.clients);
                let flags = MixedFlags { server, ..flags.clone() };
                Sample::of(&Box::pin(mixed::run(&flags)).await?, None)
            }
        }
    }
}

fn of_clients(clients: usize) -> String {
    format!("{clients} {}", if clients == 1 { "client" } else { "clients" })
}

fn connections(clients: usize) -> usize {
    clients.clamp(1, CONNECTIONS_MAX)
}

/// The servers' own flags are filled in when it is run.
fn nowhere() -> ServerFlags {
    ServerFlags::plain(Vec::new(), 0, Vec::new())
}

fn pace(clients: usize, seconds: u64) -> PaceFlags {
    let warm_up = 200 + 20 * clients as u64;
    PaceFlags { warm_up, ..PaceFlags::for_seconds(clients, seconds) }
}

fn load_flags(pace: PaceFlags, prefix: &str, key_space: u64) -> LoadFlags {
    LoadFlags {
        server: nowhere(),
        pace,
        prefix: prefix.to_owned(),
        key_size: 28,
        val_size: 256,
        key_space,
        first_key: 0,
        sequential_keys: false,
    }
}

/// The measurements of a row; none for rows that are more than that.
pub(super) fn of(row: Row, flags: &VersusFlags) -> Vec<Case> {
    match row {
        Row::B1 => puts(flags, TimesAtLeast(3.0), "native disk"),
        Row::B3 => vec![mix(flags)],
        Row::B4 => ranges(flags),
        Row::B5 => follower_reads(flags),
        Row::B6 => watches(flags),
        Row::B7 => leases(flags),
        Row::B2 | Row::B8 | Row::B9 | Row::B15 => Vec::new(),
    }
}

/// Row B1, with the disk as it is or made slower.
pub(super) fn puts(flags: &VersusFlags, goal: Goal, disk: &str) -> Vec<Case> {
    let third = TimesAtMost(1.0 / 3.0);
    let case = |clients: &usize| Case {
        row: Row::B1,
        title: format!("put 256 B, {}, {disk}", of_clients(*clients)),
        goals: vec![(OPERATIONS, goal), (P99, TimesAtMost(0.5)), (CPU, third)],
        notes: Vec::new(),
        through: Through::All,
        rounds: flags.rounds,
        job: Job::Put(load_flags(pace(*clients, flags.seconds), "b1/", 100_000)),
    };
    flags.clients.iter().map(case).collect()
}

fn mix(flags: &VersusFlags) -> Case {
    // Long enough for some compactions.
    let seconds = flags.seconds * 3;
    let few = |count: u64| if flags.quick { count / 10 } else { count };
    let job = Job::Mixed(MixedFlags {
        server: nowhere(),
        pace: pace(64, seconds),
        leases: few(1_000),
        pods: few(10_000),
        others: few(89_000),
        watchers: 20,
        compact_every: flags.seconds,
    });
    Case {
        row: Row::B3,
        title: "Kubernetes mix, 64 clients, 20 watchers".to_owned(),
        goals: vec![(OPERATIONS, TimesAtLeast(3.0)), (SWAP_P99, TimesAtMost(0.5))],
        notes: vec![
            "55 % leases compared and swapped, 12 % pods compared and swapped, 5 % created, 2 % \
             deleted, 4 % events with a lease, 15 % gets, 5 % lists of 500, 2 % counts",
        ],
        through: Through::All,
        rounds: flags.few_rounds(),
        job,
    }
}

fn ranges(flags: &VersusFlags) -> Vec<Case> {
    let case = |title: String, goal, kind, load, is_filled| Case {
        row: Row::B4,
        title,
        goals: vec![(OPERATIONS, TimesAtLeast(goal))],
        notes: Vec::new(),
        through: Through::All,
        rounds: flags.rounds,
        job: Job::Read(kind, load, is_filled),
    };
    let kind = |shape| Kind::Range { serializable: false, shape };
    let whole = Shape::Prefix { limit: 0, keys_only: false };
    let page = Shape::Prefix { limit: 500, keys_only: false };
    let pace = PaceFlags { warm_up: 8, ..pace(4, flags.seconds) };
    let small = load_flags(pace.clone(), "b4/", 10_000);
    let key_size = BIG_KEY_BYTES;
    let big = LoadFlags { key_size, ..load_flags(pace, BIG_PREFIX, flags.keys) };
    let keys = flags.keys;
    vec![
        case("(a) all of 10,000 keys, 4 clients".to_owned(), 4.0, kind(whole), small, false),
        case(
            format!("(b) the first 500 of {keys} keys, 4 clients"),
            50.0,
            kind(page),
            big.clone(),
            true,
        ),
        case(format!("(c) count of {keys} keys, 4 clients"), 100.0, kind(Shape::Count), big, true),
    ]
}

fn follower_reads(flags: &VersusFlags) -> Vec<Case> {
    let kind = Kind::Range { serializable: false, shape: Shape::Key };
    let case = |clients: usize| Case {
        row: Row::B5,
        title: format!("linearizable reads through one follower, {}", of_clients(clients)),
        goals: vec![(OPERATIONS, TimesAtLeast(3.0)), (P50, TimesAtMost(0.5))],
        notes: Vec::new(),
        through: Through::Follower,
        rounds: flags.rounds,
        job: Job::Read(kind, load_flags(pace(clients, flags.seconds), "b5/", 20_000), false),
    };
    vec![case(64), case(1)]
}

fn watches(flags: &VersusFlags) -> Vec<Case> {
    let case = |title: &str, notes, rounds, watch| Case {
        row: Row::B6,
        title: title.to_owned(),
        goals: vec![
            (EVENTS, TimesAtLeast(8.0)),
            (LAG_P99, TimesAtMost(0.1)),
            (CPU_EVENT, TimesAtMost(1.0 / 8.0)),
        ],
        notes,
        through: Through::All,
        rounds,
        job: Job::Watch(watch),
    };
    let base = WatchFlags {
        server: nowhere(),
        watchers: 1_000,
        streams: 10,
        puts: if flags.quick { 100 } else { 1_000 },
        rate: 100,
        window: None,
        val_size: 1_024,
        drain: 120,
    };
    let puts = if flags.quick { 20 } else { 100 };
    let many = WatchFlags { watchers: 10_000, streams: 20, puts, rate: 20, ..base.clone() };
    let full = WatchFlags { window: Some(16), ..base.clone() };
    vec![
        case(
            "(a) 1,000 watchers on 10 streams, 1 KiB, 100 puts/s",
            vec!["No store can tell more than 100,000 events/s of so few puts."],
            flags.few_rounds(),
            base,
        ),
        case(
            "(a) the same, puts as fast as watchers follow",
            vec!["At most 16 puts are not yet told to all."],
            flags.few_rounds(),
            full,
        ),
        case(
            "(b) 10,000 watchers on 20 streams, 1 KiB, 20 puts/s",
            vec!["No store can tell more than 200,000 events/s of so few puts."],
            1,
            many,
        ),
    ]
}

fn leases(flags: &VersusFlags) -> Vec<Case> {
    let case = |title: &str, through| Case {
        row: Row::B7,
        title: format!("keepalives of 1,000 leases, 64 clients, through {title}"),
        goals: vec![(OPERATIONS, TimesAtLeast(3.0))],
        notes: Vec::new(),
        through,
        rounds: flags.rounds,
        job: Job::Lease(LeaseFlags {
            server: nowhere(),
            pace: pace(64, flags.seconds),
            leases: 1_000,
            ttl: 600,
        }),
    };
    vec![case("all members", Through::All), case("the leader", Through::Leader)]
}
