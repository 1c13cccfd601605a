//! What clients count: a histogram for each kind of operation, and errors by their texts.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;

use crate::limits;

/// Distinct error texts that are kept; all errors are counted.
const ERROR_TEXTS_MAX: usize = 8;

/// An operation that was carried out and judged to be right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Done {
    /// Which kind it was, by its place in the workload's list.
    pub kind: usize,
    /// Bytes of the answer.
    pub bytes: usize,
    /// A compare-and-swap that somebody else's change came before: no error, and no success.
    pub lost: bool,
}

/// What one client or all of them measured.
#[derive(Debug)]
pub(super) struct Tally {
    /// One for each kind of operation.
    pub kinds: Vec<KindTally>,
    /// Texts of errors, and how often each came.
    pub errors: BTreeMap<String, u64>,
    /// Operations that failed.
    pub failed: u64,
    /// Bytes of all answers.
    pub response_bytes: u64,
}

/// One kind of operation.
#[derive(Debug)]
pub(super) struct KindTally {
    /// Of those that succeeded.
    pub latency_us: Histogram<u64>,
    /// Those that lost.
    pub lost: u64,
}

/// A histogram of the load generator's: microseconds, three digits.
pub(super) fn histogram() -> anyhow::Result<Histogram<u64>> {
    Ok(Histogram::new_with_bounds(1, limits::BENCH_LATENCY_US_MAX, 3)?)
}

/// Adds a time to a histogram.
pub(super) fn record(histogram: &mut Histogram<u64>, elapsed: Duration) {
    let us = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX);
    histogram.saturating_record(us.max(1));
}

impl Tally {
    pub(super) fn new(kinds: usize) -> anyhow::Result<Self> {
        let kinds = (0..kinds)
            .map(|_| Ok(KindTally { latency_us: histogram()?, lost: 0 }))
            .collect::<anyhow::Result<_>>()?;
        Ok(Self { kinds, errors: BTreeMap::new(), failed: 0, response_bytes: 0 })
    }

    pub(super) fn record(&mut self, elapsed: Duration, result: anyhow::Result<Done>) {
        match result {
            Ok(done) => {
                let kind = &mut self.kinds[done.kind];
                if done.lost {
                    kind.lost += 1;
                } else {
                    record(&mut kind.latency_us, elapsed);
                }
                self.response_bytes += done.bytes as u64;
            }
            Err(error) => self.fail(&error),
        }
    }

    pub(super) fn fail(&mut self, error: &anyhow::Error) {
        self.failed += 1;
        let text = format!("{error:#}");
        if self.errors.contains_key(&text) || self.errors.len() < ERROR_TEXTS_MAX {
            *self.errors.entry(text).or_default() += 1;
        }
    }

    pub(super) fn add(&mut self, other: Self) -> anyhow::Result<()> {
        for (own, others) in self.kinds.iter_mut().zip(other.kinds) {
            own.latency_us.add(&others.latency_us)?;
            own.lost += others.lost;
        }
        self.failed += other.failed;
        self.response_bytes += other.response_bytes;
        for (text, count) in other.errors {
            *self.errors.entry(text).or_default() += count;
        }
        Ok(())
    }

    /// Latencies of all kinds together.
    pub(super) fn latency_us(&self) -> anyhow::Result<Histogram<u64>> {
        let mut all = histogram()?;
        for kind in &self.kinds {
            all.add(&kind.latency_us)?;
        }
        Ok(all)
    }

    /// Those that lost, of all kinds.
    pub(super) fn lost(&self) -> u64 {
        self.kinds.iter().map(|kind| kind.lost).sum()
    }

    /// An error that names what went wrong, when anything did.
    pub(super) fn all_succeeded(&self, what: &str) -> anyhow::Result<()> {
        anyhow::ensure!(self.failed == 0, "{what}: {} failed: {:?}", self.failed, self.errors);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_failed_and_what_lost_is_in_no_latency() {
        let mut tally = Tally::new(2).unwrap();
        let done = |kind, lost| Ok(Done { kind, bytes: 10, lost });
        tally.record(Duration::from_micros(100), done(0, false));
        tally.record(Duration::from_micros(900), done(1, false));
        tally.record(Duration::from_secs(9), done(1, true));
        for _ in 0..3 {
            tally.record(Duration::from_secs(9), Err(anyhow::anyhow!("no")));
        }
        let mut all = Tally::new(2).unwrap();
        all.add(tally).unwrap();
        let latency = all.latency_us().unwrap();
        assert_eq!((latency.len(), latency.max()), (2, 900));
        assert_eq!((all.lost(), all.failed, all.errors["no"]), (1, 3, 3));
        assert_eq!(all.response_bytes, 30);
        assert!(all.all_succeeded("it").unwrap_err().to_string().contains("3 failed"));
    }
}
