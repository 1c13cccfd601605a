//! The figures of one round of one store, and those of all rounds side by side.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use super::goal::Goal;
use super::stores::Side;
use crate::bench::measure::Usage;
use crate::bench::{Summary, WatchSummary};

pub(super) const OPERATIONS: &str = "ops/s";
pub(super) const KEYS: &str = "keys/s";
pub(super) const P50: &str = "p50 ms";
pub(super) const P99: &str = "p99 ms";
pub(super) const SWAP_P99: &str = "lease swap p99 ms";
pub(super) const CPU: &str = "CPU us/op";
pub(super) const EVENTS: &str = "events/s";
pub(super) const LAG_P50: &str = "lag p50 ms";
pub(super) const LAG_P99: &str = "lag p99 ms";
pub(super) const CPU_EVENT: &str = "CPU us/event";
pub(super) const GENERATOR: &str = "generator CPU us/op";
pub(super) const RSS: &str = "RSS MiB";

/// One round of one store.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Sample {
    /// Figures by their names, in the order of the report.
    pub figures: Vec<(&'static str, f64)>,
    /// Operations that failed.
    pub failed: u64,
    /// Their reasons.
    pub errors: BTreeMap<String, u64>,
    /// The slowest hundredth of each kind of operation, in ms, when there are several.
    pub kinds: Vec<(String, f64)>,
    /// CPU time of the servers' threads.
    pub threads: BTreeMap<String, u64>,
    /// Everything that was measured.
    pub raw: Value,
}

impl Sample {
    /// A figure; NaN when it was not measured.
    pub(super) fn figure(&self, name: &str) -> f64 {
        let found = self.figures.iter().find(|(other, _)| *other == name);
        found.map_or(f64::NAN, |(_, figure)| *figure)
    }

    /// Of operations; each of them writes so many keys, if that is what counts.
    pub(super) fn of(summary: &Summary, keys: Option<u64>) -> anyhow::Result<Self> {
        let keys_each = keys.unwrap_or(1) as f64;
        let generator = summary.usage.generator_cpu_us as f64 / summary.operations.max(1) as f64;
        let swaps = summary.kinds.iter().find(|kind| kind.name == "lease-swap");
        let mut figures = vec![
            (if keys.is_some() { KEYS } else { OPERATIONS }, summary.throughput() * keys_each),
            (P50, ms(summary.latency_us.p50)),
            (P99, ms(summary.latency_us.p99)),
        ];
        figures.extend(swaps.map(|kind| (SWAP_P99, ms(kind.latency_us.p99))));
        figures.extend([
            (CPU, summary.server_cpu_us_per_operation().unwrap_or(f64::NAN)),
            (GENERATOR, generator),
            (RSS, rss_mib(&summary.usage)),
        ]);
        Ok(Self {
            figures,
            failed: summary.failed,
            errors: summary.errors.clone(),
            kinds: summary
                .kinds
                .iter()
                .map(|kind| (kind.name.clone(), ms(kind.latency_us.p99)))
                .collect(),
            threads: summary.usage.server_cpu_us_by_thread.clone(),
            raw: serde_json::to_value(summary)?,
        })
    }

    /// Of events that watchers were told. One that did not come is a failure.
    pub(super) fn of_watch(summary: &WatchSummary) -> anyhow::Result<Self> {
        let mut errors = summary.errors.clone();
        if summary.missing > 0 {
            errors.insert("events that did not come in time".to_owned(), summary.missing);
        }
        Ok(Self {
            figures: vec![
                (EVENTS, summary.events_per_second()),
                (LAG_P50, ms(summary.lag_us.p50)),
                (LAG_P99, ms(summary.lag_us.p99)),
                (CPU_EVENT, summary.server_cpu_us_per_event().unwrap_or(f64::NAN)),
                ("put p99 ms", ms(summary.put_latency_us.p99)),
                ("RSS B/watcher", summary.rss_bytes_per_watcher.unwrap_or(f64::NAN)),
                (RSS, rss_mib(&summary.usage)),
            ],
            failed: summary.failed + summary.missing,
            errors,
            kinds: Vec::new(),
            threads: summary.usage.server_cpu_us_by_thread.clone(),
            raw: serde_json::to_value(summary)?,
        })
    }
}

pub(super) fn ms(us: u64) -> f64 {
    us as f64 / 1e3
}

/// Of all members together.
fn rss_mib(usage: &Usage) -> f64 {
    usage.memory.iter().map(|memory| memory.rss_kib).sum::<u64>() as f64 / 1024.0
}

/// All rounds of one measurement.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Comparison {
    /// The row ("B1").
    pub row: String,
    /// What was measured.
    pub title: String,
    /// What is meant to be reached, by names of figures.
    pub goals: Vec<(&'static str, Goal)>,
    /// What a reader must know.
    pub notes: Vec<String>,
    /// Rounds of etcd.
    pub etcd: Vec<Sample>,
    /// Rounds of ours.
    pub orlop: Vec<Sample>,
}

impl Comparison {
    pub(super) fn new(row: &str, title: String, goals: Vec<(&'static str, Goal)>) -> Self {
        let (notes, etcd, orlop) = (Vec::new(), Vec::new(), Vec::new());
        Self { row: row.to_owned(), title, goals, notes, etcd, orlop }
    }

    pub(super) fn push(&mut self, side: Side, sample: Sample) {
        match side {
            Side::Etcd => self.etcd.push(sample),
            Side::Orlop => self.orlop.push(sample),
        }
    }

    /// A figure of all rounds: etcd's, then ours.
    pub(super) fn figures(&self, name: &str) -> (Vec<f64>, Vec<f64>) {
        let of = |rounds: &[Sample]| rounds.iter().map(|round| round.figure(name)).collect();
        (of(&self.etcd), of(&self.orlop))
    }

    /// Operations that failed, of both. Figures that stand beside errors reach no goal.
    pub(super) fn failed(&self) -> u64 {
        self.etcd.iter().chain(&self.orlop).map(|round| round.failed).sum()
    }
}
