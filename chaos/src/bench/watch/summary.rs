//! The figures of watchers, for people and for programs.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use serde::Serialize;

use crate::bench::measure::Usage;
use crate::bench::report::{Latency, write_errors, write_usage};

/// The figures of one measurement.
#[derive(Clone, Debug, Serialize)]
pub struct WatchSummary {
    /// Watchers.
    pub watchers: usize,
    /// Streams that they shared.
    pub streams: usize,
    /// Keys that were written and acknowledged.
    pub puts: u64,
    /// Events that watchers were told.
    pub events: u64,
    /// Events that did not come in time.
    pub missing: u64,
    /// Puts that failed, and streams that broke.
    pub failed: u64,
    /// Their reasons.
    pub errors: BTreeMap<String, u64>,
    /// From the first write to the last event.
    pub event_seconds: f64,
    /// From the sending of a put to the arrival of its event, for each event.
    pub lag_us: Latency,
    /// Latency of the puts.
    pub put_latency_us: Latency,
    /// How much all servers grew while watchers came, for each watcher; streams and connections
    /// are in it.
    pub rss_bytes_per_watcher: Option<f64>,
    /// CPU time and memory.
    #[serde(flatten)]
    pub usage: Usage,
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
impl WatchSummary {
    /// Events that watchers were told a second.
    pub fn events_per_second(&self) -> f64 {
        self.events as f64 / self.event_seconds.max(1e-6)
    }

    /// CPU time of all servers for one event, in microseconds; the put is in it.
    pub fn server_cpu_us_per_event(&self) -> Option<f64> {
        self.usage.server_cpu_us.map(|us| us as f64 / self.events.max(1) as f64)
    }

    /// The figures as a table.
    pub fn table(&self) -> String {
        let mut out = String::new();
        self.write_table(&mut out).expect("writing to a string cannot fail");
        out
    }

    fn write_table(&self, out: &mut String) -> fmt::Result {
        writeln!(out, "watch: {} watchers on {} streams", self.watchers, self.streams)?;
        writeln!(
            out,
            "  {:.0} events/s ({} in {:.2} s), {} puts; {} events missing, {} failed",
            self.events_per_second(),
            self.events,
            self.event_seconds,
            self.puts,
            self.missing,
            self.failed
        )?;
        writeln!(out, "  lag ms: {}", self.lag_us.line())?;
        writeln!(out, "  put latency ms: {}", self.put_latency_us.line())?;
        if let Some(bytes) = self.rss_bytes_per_watcher {
            writeln!(out, "  RSS grown by {bytes:.0} B a watcher")?;
        }
        write_usage(out, &self.usage, self.events, "event")?;
        write_errors(out, &self.errors)
    }
}
