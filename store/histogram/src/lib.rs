//! The histogram that openraft counts with, in two kilobytes.
//!
//! The registry's crate of this name builds the tables of every precision that it knows when the
//! first histogram is made: 26 MB of each member's memory, of which one table of 2 kB is ever used.
//! openraft cannot be built without it, so this one takes its place (`[patch]` in the root
//! `Cargo.toml`), with the part of its interface that openraft uses.

use std::fmt;
use std::marker::PhantomData;

/// Buckets for each doubling of the value.
const STEPS: u64 = 4;
/// Values below this have a bucket of their own.
const EXACT: u64 = 2 * STEPS;
/// Enough for every 64-bit value.
const BUCKETS: usize = (STEPS as usize) * 63;

/// Counts values in buckets that are at most a quarter of their value wide.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Histogram<T = ()> {
    counts: Box<[u64]>,
    total: u64,
    of: PhantomData<T>,
}

/// The bucket of a value: exact for small ones, then four for each doubling.
fn bucket(value: u64) -> usize {
    let place = if value < EXACT {
        value
    } else {
        let doublings = u64::from(value.ilog2()) - 2;
        // The two bits behind the highest one.
        let step = (value >> doublings) - STEPS;
        STEPS * doublings + STEPS + step
    };
    usize::try_from(place).expect("there are few buckets")
}

/// The smallest value of a bucket.
fn smallest(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < EXACT {
        return bucket;
    }
    let doublings = bucket / STEPS - 1;
    (STEPS + bucket % STEPS) << doublings
}

impl<T> Default for Histogram<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Histogram<T> {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self { counts: vec![0; BUCKETS].into(), total: 0, of: PhantomData }
    }

    /// Counts one value.
    pub fn record(&mut self, value: u64) {
        self.record_n(value, 1);
    }

    /// Counts a value several times.
    pub fn record_n(&mut self, value: u64, times: u64) {
        self.counts[bucket(value)] += times;
        self.total += times;
    }

    /// How many values were counted.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.total
    }

    /// The smallest value of the bucket in which the given thousandth of all values lies.
    fn at(&self, thousandths: u64) -> u64 {
        let wanted = (u128::from(self.total) * u128::from(thousandths)).div_ceil(1000).max(1);
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += u128::from(*count);
            if seen >= wanted {
                return smallest(bucket);
            }
        }
        0
    }

    /// The usual percentiles; all zero when nothing was counted.
    #[must_use]
    pub fn percentile_stats(&self) -> PercentileStats {
        PercentileStats {
            samples: self.total,
            p0_1: self.at(1),
            p1: self.at(10),
            p5: self.at(50),
            p10: self.at(100),
            p50: self.at(500),
            p90: self.at(900),
            p99: self.at(990),
            p99_9: self.at(999),
        }
    }
}

/// Percentiles of a histogram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PercentileStats {
    /// How many values were counted.
    pub samples: u64,
    /// A thousandth of the values is not above it.
    pub p0_1: u64,
    /// A hundredth.
    pub p1: u64,
    /// A twentieth.
    pub p5: u64,
    /// A tenth.
    pub p10: u64,
    /// One half.
    pub p50: u64,
    /// Nine tenths.
    pub p90: u64,
    /// 99 of 100.
    pub p99: u64,
    /// 999 of 1000.
    pub p99_9: u64,
}

impl fmt::Display for PercentileStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { samples, p0_1, p1, p5, p10, p50, p90, p99, p99_9 } = self;
        write!(
            f,
            "{samples} samples: 0.1 % {p0_1}, 1 % {p1}, 5 % {p5}, 10 % {p10}, 50 % {p50}, \
             90 % {p90}, 99 % {p99}, 99.9 % {p99_9}"
        )
    }
}

/// Several histograms for a person to read: a line each.
#[derive(Debug, Clone, Default)]
pub struct AsciiChart {
    series: Vec<(String, PercentileStats)>,
}

impl AsciiChart {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// With one more histogram.
    #[must_use]
    #[expect(clippy::needless_pass_by_value, reason = "the interface that openraft calls")]
    pub fn add(mut self, name: impl fmt::Display, histogram: Histogram) -> Self {
        self.series.push((name.to_string(), histogram.percentile_stats()));
        self
    }
}

impl fmt::Display for AsciiChart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, stats) in &self.series {
            writeln!(f, "{name}: {stats}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_has_a_bucket_that_is_close_below_it() {
        let mut values: Vec<u64> = (0..2000).collect();
        values.extend((0..64).flat_map(|bit| [(1u64 << bit) - 1, 1 << bit, (1 << bit) | 1]));
        values.push(u64::MAX);
        for value in values {
            let bucket = bucket(value);
            assert!(bucket < BUCKETS, "{value} has bucket {bucket}");
            let start = smallest(bucket);
            assert!(start <= value && value - start <= start / 4, "{value} counts as {start}");
            assert!(bucket + 1 == BUCKETS || smallest(bucket + 1) > value, "{value}");
        }
    }

    #[test]
    fn percentiles_are_those_of_the_values() {
        let mut histogram = Histogram::<()>::new();
        assert_eq!(histogram.percentile_stats().p50, 0);
        histogram.record_n(3, 90);
        histogram.record_n(1000, 9);
        histogram.record(1 << 20);
        let stats = histogram.percentile_stats();
        assert_eq!((stats.samples, stats.p50, stats.p90, stats.p99), (100, 3, 3, 896));
        assert_eq!(stats.p99_9, 1 << 20);
        assert_eq!(histogram.total(), 100);
    }
}
