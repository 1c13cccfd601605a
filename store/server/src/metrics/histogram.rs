//! A histogram without a lock: it is told of every request, by many threads.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use prometheus_client::{
    encoding::{EncodeMetric, MetricEncoder, NoLabelSet},
    metrics::{MetricType, TypedMetric},
};

const NANOSECONDS_PER_SECOND: u64 = 1_000_000_000;
const NANOSECONDS_PER_MILLISECOND: u64 = 1_000_000;

/// Counts what lies below each of its bounds. Clones count together.
#[derive(Clone, Debug)]
pub(crate) struct Histogram {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// So many of what is observed are one of what is told: nanoseconds in a second.
    scale: u64,
    bounds: Vec<u64>,
    /// For each bound what is not above it, but above the one before; the last one has the rest.
    counts: Vec<AtomicU64>,
    sum: AtomicU64,
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

impl Histogram {
    fn new(scale: u64, bounds: Vec<u64>) -> Self {
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self { inner: Arc::new(Inner { scale, bounds, counts, sum: AtomicU64::new(0) }) }
    }

    fn doubling(scale: u64, first: u64, count: u32) -> Self {
        Self::new(scale, (0..count).map(|step| first << step).collect())
    }

    /// Of times in seconds; the first of `count` bounds, each twice the one before.
    pub(crate) fn seconds(first: Duration, count: u32) -> Self {
        Self::doubling(NANOSECONDS_PER_SECOND, nanoseconds(first), count)
    }

    /// Of times in milliseconds.
    pub(crate) fn milliseconds(first: Duration, count: u32) -> Self {
        Self::doubling(NANOSECONDS_PER_MILLISECOND, nanoseconds(first), count)
    }

    /// Of times in seconds, with these bounds in milliseconds.
    pub(crate) fn with_bounds(milliseconds: &[u64]) -> Self {
        let bounds = milliseconds.iter().map(|bound| bound * NANOSECONDS_PER_MILLISECOND);
        Self::new(NANOSECONDS_PER_SECOND, bounds.collect())
    }

    /// Of whole numbers; the first bound is one.
    pub(crate) fn whole(count: u32) -> Self {
        Self::doubling(1, 1, count)
    }

    /// Something took so long.
    pub(crate) fn observe(&self, took: Duration) {
        self.count(nanoseconds(took), 1);
    }

    /// Something took so long, so many times.
    pub(crate) fn observe_times(&self, took: Duration, times: u64) {
        self.count(nanoseconds(took), times);
    }

    /// There was such a number.
    pub(crate) fn observe_whole(&self, value: u64) {
        self.count(value, 1);
    }

    fn count(&self, value: u64, times: u64) {
        let at = self.inner.bounds.partition_point(|bound| *bound < value);
        self.inner.counts[at].fetch_add(times, Ordering::Relaxed);
        self.inner.sum.fetch_add(value.saturating_mul(times), Ordering::Relaxed);
    }
}

impl TypedMetric for Histogram {
    const TYPE: MetricType = MetricType::Histogram;
}

impl EncodeMetric for Histogram {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), fmt::Error> {
        let inner = &self.inner;
        #[expect(clippy::cast_precision_loss, reason = "the format has floats")]
        let told = |value: u64| value as f64 / inner.scale as f64;
        // Not all at one moment: a count that is read a little later may have grown, no harm done.
        let counts: Vec<u64> =
            inner.counts.iter().map(|count| count.load(Ordering::Relaxed)).collect();
        let bounds = inner.bounds.iter().map(|bound| told(*bound)).chain([f64::INFINITY]);
        let buckets: Vec<(f64, u64)> = bounds.zip(counts.iter().copied()).collect();
        let sum = told(inner.sum.load(Ordering::Relaxed));
        encoder.encode_histogram::<NoLabelSet>(sum, counts.iter().sum(), &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::{encoding::text::encode, registry::Registry};

    use super::*;

    #[test]
    fn a_value_on_a_bound_belongs_below_it() {
        let histogram = Histogram::seconds(Duration::from_millis(1), 3);
        for millis in [1, 2, 3, 4, 5] {
            histogram.observe(Duration::from_millis(millis));
        }
        histogram.observe_times(Duration::from_millis(3), 10);
        let mut registry = Registry::default();
        registry.register("it", "It", histogram);
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        let expected = [
            "it_sum 0.045",
            "it_count 15",
            "it_bucket{le=\"0.001\"} 1",
            "it_bucket{le=\"0.002\"} 2",
            "it_bucket{le=\"0.004\"} 14",
            "it_bucket{le=\"+Inf\"} 15",
        ];
        assert_eq!(lines, expected);
    }
}
