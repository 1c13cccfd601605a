//! What came of a seed, and of all.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::report::summary::{self as report, Failure, FaultCount, Finding};

/// What came of one run: the simulator's line.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// The seed.
    pub seed: u64,
    /// Whether nothing was wrong.
    pub passed: bool,
    /// Members of the cluster.
    pub members: usize,
    /// Simulated milliseconds.
    pub simulated_ms: u64,
    /// Operations that clients asked for.
    pub operations: u64,
    /// Those that were acknowledged, by what they did.
    pub acknowledged: BTreeMap<String, u64>,
    /// Faults that took hold, by kind.
    pub faults: BTreeMap<String, u64>,
    /// What they led to, by name.
    pub effects: BTreeMap<String, u64>,
    /// Facts that were compared, by checker.
    pub checked: BTreeMap<String, u64>,
    /// How many of them were wrong, by checker.
    pub wrong: BTreeMap<String, u64>,
    /// What was wrong, the most telling first.
    pub broken: Vec<String>,
    /// Equal if and only if everything happened in the same way.
    pub trace: String,
}

/// What came of all.
#[derive(Debug, Default, Serialize)]
pub struct Total {
    /// Seeds that were run.
    pub seeds: u64,
    /// Those that broke a promise.
    pub failed: Vec<u64>,
    /// Simulated seconds.
    pub simulated_s: f64,
    /// Real seconds.
    pub real_s: f64,
    /// Seeds that ran at the same time.
    pub jobs: usize,
    /// Simulated seconds in a real one, of all that ran at the same time together.
    pub speed: f64,
    /// Operations that clients asked for.
    pub operations: u64,
    /// Those that were acknowledged, by what they did.
    pub acknowledged: BTreeMap<String, u64>,
    /// Facts that were compared, by checker.
    pub checked: BTreeMap<String, u64>,
    /// How many of them were wrong, by checker.
    pub wrong: BTreeMap<String, u64>,
    /// Faults that took hold, by kind.
    pub faults: BTreeMap<String, u64>,
    /// What they led to, by name.
    pub effects: BTreeMap<String, u64>,
}

impl Total {
    /// Adds what came of a seed.
    pub(super) fn add(&mut self, summary: &Summary) {
        self.seeds += 1;
        if !summary.passed {
            self.failed.push(summary.seed);
        }
        self.simulated_s += Duration::from_millis(summary.simulated_ms).as_secs_f64();
        self.operations += summary.operations;
        for (all, one) in [
            (&mut self.acknowledged, &summary.acknowledged),
            (&mut self.checked, &summary.checked),
            (&mut self.wrong, &summary.wrong),
            (&mut self.faults, &summary.faults),
            (&mut self.effects, &summary.effects),
        ] {
            for (name, times) in one {
                *all.entry(name.clone()).or_default() += times;
            }
        }
    }

    /// Ends the sum.
    pub(super) fn took(&mut self, real: Duration) {
        self.real_s = real.as_secs_f64();
        self.speed = self.simulated_s / self.real_s.max(0.001);
    }

    /// For a program that adds up many runs.
    pub(super) fn figures(&self, first: u64, failures: Vec<Failure>) -> report::Summary {
        let faults = self.faults.iter().map(|(name, times)| {
            (name.clone(), FaultCount { took_effect: *times, ..FaultCount::default() })
        });
        let verdicts = self.checked.iter().map(|(name, checked)| Finding {
            name: name.clone(),
            checked: *checked,
            broken: self.wrong.get(name).copied().unwrap_or(0),
        });
        report::Summary {
            passed: self.failed.is_empty(),
            failures,
            seed: first,
            seeds: self.seeds,
            seconds: self.real_s,
            simulated_seconds: self.simulated_s,
            operations: self.operations,
            acknowledged: self.acknowledged.values().sum(),
            faults: faults.collect(),
            left_out: BTreeMap::new(),
            verdicts: verdicts.collect(),
        }
    }

    /// For a person who waits.
    pub(super) fn words(&self) -> String {
        format!(
            "{} seeds, {} failed; {:.0} simulated s in {:.0} s: {:.1} a second; {} operations, {} \
             acknowledged; {} faults; {} facts checked\n",
            self.seeds,
            self.failed.len(),
            self.simulated_s,
            self.real_s,
            self.speed,
            self.operations,
            self.acknowledged.values().sum::<u64>(),
            self.faults.values().sum::<u64>(),
            self.checked.values().sum::<u64>()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_name_the_seeds_that_failed() {
        let mut total = Total::default();
        let faults = BTreeMap::from([("kill".to_owned(), 2)]);
        let good =
            Summary { seed: 1, passed: true, simulated_ms: 500, faults, ..Summary::default() };
        total.add(&good);
        total.add(&Summary { seed: 2, passed: false, ..good });
        total.took(Duration::from_millis(250));
        assert_eq!((total.seeds, total.failed.as_slice()), (2, &[2][..]));
        assert_eq!(total.faults["kill"], 4);
        assert!((total.speed - 4.0).abs() < 1e-9, "{total:?}");
    }
}
