//! Operations in steps of time, for curves.

use super::axis::Axis;
use crate::history::{History, Outcome};
use crate::limits;

/// What happened in one step of time.
#[derive(Clone, Debug, Default)]
pub(super) struct Bucket {
    pub(super) from_ns: u64,
    pub(super) to_ns: u64,
    /// How long acknowledged operations took that were sent in this step, sorted.
    pub(super) latencies_ns: Vec<u64>,
    /// Acknowledged in this step: reads, and writes that changed nothing.
    pub(super) reads: u64,
    /// Acknowledged in this step, and changed something.
    pub(super) writes: u64,
    /// Ended in this step.
    pub(super) refused: u64,
    /// Given up in this step.
    pub(super) unknown: u64,
}

impl Bucket {
    /// The latency that `share` (0..=1000) thousandths did not exceed.
    pub(super) fn quantile_ns(&self, share: usize) -> Option<u64> {
        let last = self.latencies_ns.len().checked_sub(1)?;
        Some(self.latencies_ns[(last * share).div_ceil(1000)])
    }
}

/// Steps of equal length over the whole axis.
pub(super) fn buckets(history: &History, axis: &Axis) -> Vec<Bucket> {
    let step = axis.span_ns().div_ceil(limits::REPORT_BUCKETS_MAX).max(1);
    let count = axis.span_ns().div_ceil(step);
    let mut buckets: Vec<Bucket> = (0..count)
        .map(|n| Bucket { from_ns: n * step, to_ns: (n + 1) * step, ..Bucket::default() })
        .collect();
    let last = buckets.len() - 1;
    let place = |ns: u64| usize::try_from(ns / step).map_or(last, |place| place.min(last));
    for op in &history.ops {
        let ended = &mut buckets[place(op.completed_ns)];
        match &op.outcome {
            Outcome::Ok(reply) if reply.wrote() => ended.writes += 1,
            Outcome::Ok(_) => ended.reads += 1,
            Outcome::Refused(_) => ended.refused += 1,
            Outcome::Unknown(_) => ended.unknown += 1,
        }
        if op.reply().is_some() {
            let took = op.completed_ns.saturating_sub(op.invoked_ns);
            buckets[place(op.invoked_ns)].latencies_ns.push(took);
        }
    }
    for bucket in &mut buckets {
        bucket.latencies_ns.sort_unstable();
    }
    buckets
}
