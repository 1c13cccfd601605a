//! The figures of one measurement, for people and for programs.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use hdrhistogram::Histogram;
use serde::Serialize;

use super::measure::Memory;

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
}

/// The figures of one measurement.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// What was done.
    pub name: String,
    /// Operations under way at the same time.
    pub clients: usize,
    /// Connections.
    pub connections: usize,
    /// Bytes of a key.
    pub key_bytes: usize,
    /// Bytes of a value.
    pub value_bytes: usize,
    /// Operations a second that were due; `None` in a closed loop.
    pub rate: Option<u64>,
    /// Length of the measurement.
    pub seconds: f64,
    /// Operations that succeeded.
    pub operations: u64,
    /// Operations that failed; they are in no other figure.
    pub failed: u64,
    /// Their reasons.
    pub errors: BTreeMap<String, u64>,
    /// Bytes of all answers.
    pub response_bytes: u64,
    /// Latency.
    pub latency_us: Latency,
    /// CPU time of all servers together.
    pub server_cpu_us: Option<u64>,
    /// CPU time of the load generator.
    pub generator_cpu_us: u64,
    /// Memory of each server at the end.
    pub memory: Vec<Memory>,
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
impl Summary {
    /// Operations a second.
    pub fn throughput(&self) -> f64 {
        self.operations as f64 / self.seconds
    }

    /// CPU time of all servers for one operation, in microseconds.
    pub fn server_cpu_us_per_operation(&self) -> Option<f64> {
        self.server_cpu_us.map(|us| us as f64 / self.operations.max(1) as f64)
    }

    /// The figures as a table.
    pub fn table(&self) -> String {
        let mut out = String::new();
        self.write_table(&mut out).expect("writing to a string cannot fail");
        out
    }

    fn write_table(&self, out: &mut String) -> fmt::Result {
        let latency = &self.latency_us;
        writeln!(
            out,
            "{}: {} clients on {} connections, key {} B, value {} B{}",
            self.name,
            self.clients,
            self.connections,
            self.key_bytes,
            self.value_bytes,
            self.rate.map_or_else(String::new, |rate| format!(", {rate}/s due"))
        )?;
        writeln!(
            out,
            "  {:.0} operations/s ({} in {:.2} s), {} failed",
            self.throughput(),
            self.operations,
            self.seconds,
            self.failed
        )?;
        writeln!(
            out,
            "  latency ms: mean {:.2}  p50 {:.2}  p90 {:.2}  p99 {:.2}  p99.9 {:.2}  max {:.2}",
            latency.mean / 1e3,
            latency.p50 as f64 / 1e3,
            latency.p90 as f64 / 1e3,
            latency.p99 as f64 / 1e3,
            latency.p999 as f64 / 1e3,
            latency.max as f64 / 1e3
        )?;
        let own = self.generator_cpu_us as f64 / self.operations.max(1) as f64;
        match self.server_cpu_us_per_operation() {
            Some(us) => {
                writeln!(out, "  CPU us per operation: servers {us:.1}, load generator {own:.1}")?
            }
            None => writeln!(out, "  CPU us per operation: load generator {own:.1}")?,
        }
        for memory in &self.memory {
            writeln!(
                out,
                "  process {}: RSS {:.1} MiB, anonymous {:.1} MiB",
                memory.pid,
                memory.rss_kib as f64 / 1024.0,
                memory.anon_kib as f64 / 1024.0
            )?;
        }
        for (error, count) in &self.errors {
            writeln!(out, "  {count} x {error}")?;
        }
        Ok(())
    }
}
