//! The figures of one measurement, for people and for programs.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use hdrhistogram::Histogram;
use serde::Serialize;

use super::measure::{Meter, Usage};
use super::tally::Tally;

/// Latency in microseconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Latency {
    /// Mean.
    pub mean: f64,
    /// Half are faster.
    pub p50: u64,
    /// 90 % are faster.
    pub p90: u64,
    /// 99 % are faster.
    pub p99: u64,
    /// 99.9 % are faster.
    pub p999: u64,
    /// The slowest.
    pub max: u64,
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
impl Latency {
    pub(super) fn of(histogram: &Histogram<u64>) -> Self {
        Self {
            mean: histogram.mean(),
            p50: histogram.value_at_quantile(0.5),
            p90: histogram.value_at_quantile(0.9),
            p99: histogram.value_at_quantile(0.99),
            p999: histogram.value_at_quantile(0.999),
            max: histogram.max(),
        }
    }

    /// In milliseconds, on one line.
    pub(super) fn line(&self) -> String {
        format!(
            "mean {:.2}  p50 {:.2}  p90 {:.2}  p99 {:.2}  p99.9 {:.2}  max {:.2}",
            self.mean / 1e3,
            self.p50 as f64 / 1e3,
            self.p90 as f64 / 1e3,
            self.p99 as f64 / 1e3,
            self.p999 as f64 / 1e3,
            self.max as f64 / 1e3
        )
    }
}

/// One of several kinds of operations in a measurement.
#[derive(Clone, Debug, Serialize)]
pub struct KindSummary {
    /// What it is.
    pub name: String,
    /// Operations that succeeded.
    pub operations: u64,
    /// Compare-and-swaps that lost; they are in no other figure.
    pub lost: u64,
    /// Latency of those that succeeded.
    pub latency_us: Latency,
}

/// The figures of one measurement.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// What was done.
    pub name: String,
    /// How.
    pub what: String,
    /// Operations a second that were due; `None` in a closed loop.
    pub rate: Option<u64>,
    /// Operations that succeeded.
    pub operations: u64,
    /// Compare-and-swaps that lost; they are in no other figure.
    pub lost: u64,
    /// Operations that failed, or whose answer was wrong; they are in no other figure.
    pub failed: u64,
    /// Their reasons.
    pub errors: BTreeMap<String, u64>,
    /// Bytes of all answers.
    pub response_bytes: u64,
    /// Latency.
    pub latency_us: Latency,
    /// The same for each kind of operation, when there are several.
    pub kinds: Vec<KindSummary>,
    /// Length of the measurement, CPU time and memory.
    #[serde(flatten)]
    pub usage: Usage,
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
impl Summary {
    /// Ends the measurement and keeps its figures.
    pub(super) fn new(
        name: String,
        what: String,
        rate: Option<u64>,
        tally: &Tally,
        meter: Meter,
    ) -> anyhow::Result<Self> {
        let usage = meter.stop()?;
        let latency_us = tally.latency_us()?;
        Ok(Self {
            name,
            what,
            rate,
            operations: latency_us.len(),
            lost: tally.lost(),
            failed: tally.failed,
            errors: tally.errors.clone(),
            response_bytes: tally.response_bytes,
            latency_us: Latency::of(&latency_us),
            kinds: Vec::new(),
            usage,
        })
    }

    /// With the figures of each kind of operation, which have these names.
    pub(super) fn with_kinds(mut self, names: &[&str], tally: &Tally) -> Self {
        let named = names.iter().zip(&tally.kinds);
        self.kinds = named
            .map(|(name, kind)| KindSummary {
                name: (*name).to_owned(),
                operations: kind.latency_us.len(),
                lost: kind.lost,
                latency_us: Latency::of(&kind.latency_us),
            })
            .collect();
        self
    }

    /// Operations a second.
    pub fn throughput(&self) -> f64 {
        self.operations as f64 / self.usage.seconds
    }

    /// CPU time of all servers for one operation, in microseconds.
    pub fn server_cpu_us_per_operation(&self) -> Option<f64> {
        self.usage.server_cpu_us.map(|us| us as f64 / self.operations.max(1) as f64)
    }

    /// The figures as a table.
    pub fn table(&self) -> String {
        let mut out = String::new();
        self.write_table(&mut out).expect("writing to a string cannot fail");
        out
    }

    fn write_table(&self, out: &mut String) -> fmt::Result {
        let due = self.rate.map_or_else(String::new, |rate| format!(", {rate}/s due"));
        writeln!(out, "{}: {}{due}", self.name, self.what)?;
        let lost = if self.lost > 0 { format!(", {} lost", self.lost) } else { String::new() };
        writeln!(
            out,
            "  {:.0} operations/s ({} in {:.2} s), {} failed{lost}",
            self.throughput(),
            self.operations,
            self.usage.seconds,
            self.failed
        )?;
        writeln!(out, "  latency ms: {}", self.latency_us.line())?;
        for kind in &self.kinds {
            let lost = if kind.lost > 0 { format!(", {} lost", kind.lost) } else { String::new() };
            writeln!(
                out,
                "  {} ({}{lost}) ms: {}",
                kind.name,
                kind.operations,
                kind.latency_us.line()
            )?;
        }
        write_usage(out, &self.usage, self.operations, "operation")?;
        write_errors(out, &self.errors)
    }
}

/// CPU time for each of what was done, and memory.
#[expect(clippy::cast_precision_loss, reason = "figures for people")]
pub(super) fn write_usage(out: &mut String, usage: &Usage, count: u64, what: &str) -> fmt::Result {
    let each = |us: u64| us as f64 / count.max(1) as f64;
    let own = each(usage.generator_cpu_us);
    match usage.server_cpu_us {
        Some(us) => {
            writeln!(out, "  CPU us per {what}: servers {:.1}, load generator {own:.1}", each(us))?;
        }
        None => writeln!(out, "  CPU us per {what}: load generator {own:.1}")?,
    }
    for memory in &usage.memory {
        writeln!(
            out,
            "  process {}: RSS {:.1} MiB, anonymous {:.1} MiB",
            memory.pid,
            memory.rss_kib as f64 / 1024.0,
            memory.anon_kib as f64 / 1024.0
        )?;
    }
    Ok(())
}

pub(super) fn write_errors(out: &mut String, errors: &BTreeMap<String, u64>) -> fmt::Result {
    errors.iter().try_for_each(|(error, count)| writeln!(out, "  {count} x {error}"))
}
