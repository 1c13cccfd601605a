//! Figures of one round of one server, and those of all rounds side by side.

use std::collections::BTreeMap;

use serde::Serialize;

use super::server::{Server, Side};
use crate::bench::measure::{Meter, Usage};
use crate::bench::report::Latency;
use crate::bench::tally::Tally;
use crate::bench::versus::goal::Goal;

pub(super) const RATE: &str = "requests/s";
pub(super) const P50: &str = "p50 ms";
pub(super) const P99: &str = "p99 ms";
pub(super) const CPU: &str = "server CPU us/request";
pub(super) const CPU_ALL: &str = "with its store";
pub(super) const RSS: &str = "server RSS MiB";

/// One round of one server.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Round {
    /// Figures by their names, in the order of the report.
    pub figures: Vec<(&'static str, f64)>,
    /// Requests that failed.
    pub failed: u64,
    /// Their reasons.
    pub errors: BTreeMap<String, u64>,
}

/// What the processes of a server used meanwhile.
#[derive(Debug)]
pub(super) struct Cost {
    pub server: Usage,
    pub all: Usage,
}

/// A measurement of a server's processes that is under way.
#[derive(Debug)]
pub(super) struct CostMeter(Meter, Meter);

impl CostMeter {
    pub(super) fn start(server: &Server) -> anyhow::Result<Self> {
        Ok(Self(Meter::start(&server.pids)?, Meter::start(&server.all_pids())?))
    }

    pub(super) fn stop(self) -> anyhow::Result<Cost> {
        Ok(Cost { server: self.0.stop()?, all: self.1.stop()? })
    }
}

impl Cost {
    /// CPU time of the server for each of so many, in microseconds; NaN when it is not known.
    pub(super) fn server_us(&self, count: u64) -> f64 {
        each(&self.server, count)
    }

    /// The same with its store's.
    pub(super) fn all_us(&self, count: u64) -> f64 {
        each(&self.all, count)
    }

    /// Memory of the server at the end, in MiB.
    pub(super) fn rss_mib(&self) -> f64 {
        match self.server.memory.as_slice() {
            [] => f64::NAN,
            memory => memory.iter().map(|one| one.rss_kib as f64).sum::<f64>() / 1024.0,
        }
    }
}

fn each(usage: &Usage, count: u64) -> f64 {
    usage.server_cpu_us.map_or(f64::NAN, |us| us as f64 / count.max(1) as f64)
}

impl Round {
    /// Of requests that were tallied.
    pub(super) fn of_requests(tally: &Tally, cost: &Cost) -> anyhow::Result<Self> {
        let latency = tally.latency_us()?;
        let done = latency.len();
        let latency = Latency::of(&latency);
        Ok(Self {
            figures: vec![
                (RATE, done as f64 / cost.server.seconds),
                (P50, latency.p50 as f64 / 1e3),
                (P99, latency.p99 as f64 / 1e3),
                (CPU, cost.server_us(done)),
                (CPU_ALL, cost.all_us(done)),
                (
                    "generator CPU us/request",
                    cost.server.generator_cpu_us as f64 / done.max(1) as f64,
                ),
                (RSS, cost.rss_mib()),
            ],
            failed: tally.failed,
            errors: tally.errors.clone(),
        })
    }

    /// A figure; NaN when it was not measured.
    pub(super) fn figure(&self, name: &str) -> f64 {
        let found = self.figures.iter().find(|(other, _)| *other == name);
        found.map_or(f64::NAN, |(_, figure)| *figure)
    }
}

/// All rounds of one measurement.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Comparison {
    /// The row ("B10").
    pub row: &'static str,
    /// What was measured.
    pub title: String,
    /// What is meant to be reached, by names of figures.
    pub goals: Vec<(&'static str, Goal)>,
    pub peer: Vec<Round>,
    pub orlop: Vec<Round>,
}

impl Comparison {
    pub(super) fn new(row: &'static str, title: String, goals: Vec<(&'static str, Goal)>) -> Self {
        Self { row, title, goals, peer: Vec::new(), orlop: Vec::new() }
    }

    pub(super) fn push(&mut self, side: Side, round: Round) {
        self.of_mut(side).push(round);
    }

    fn of_mut(&mut self, side: Side) -> &mut Vec<Round> {
        match side {
            Side::Peer => &mut self.peer,
            Side::Orlop => &mut self.orlop,
        }
    }

    /// A figure of all rounds: the peer's, then ours.
    pub(super) fn figures(&self, name: &str) -> (Vec<f64>, Vec<f64>) {
        let of = |rounds: &[Round]| rounds.iter().map(|round| round.figure(name)).collect();
        (of(&self.peer), of(&self.orlop))
    }

    /// Requests that failed, of both. Figures that stand beside errors reach no goal.
    pub(super) fn failed(&self) -> u64 {
        self.peer.iter().chain(&self.orlop).map(|round| round.failed).sum()
    }
}
