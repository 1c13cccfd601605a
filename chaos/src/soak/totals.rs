//! Rounds added up, as a person reads them.

use std::collections::BTreeMap;
use std::fmt;

use super::ledger::{Kind, Round};
use crate::report::summary::{Failure, FaultCount};

/// Rounds added up.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Totals {
    rounds: u64,
    runs: u64,
    sims: u64,
    seeds: u64,
    seconds: f64,
    simulated_seconds: f64,
    operations: u64,
    acknowledged: u64,
    facts: u64,
    faults: BTreeMap<String, FaultCount>,
    left_out: BTreeMap<String, String>,
    failed: Vec<(u64, Vec<Failure>)>,
}

impl Totals {
    /// Adds all of them.
    pub fn of(rounds: &[Round]) -> Self {
        let mut totals = Self::default();
        for round in rounds {
            totals.add(round);
        }
        totals
    }

    fn add(&mut self, round: &Round) {
        self.rounds += 1;
        match round.kind {
            Kind::Run => self.runs += 1,
            Kind::Sim => self.sims += 1,
        }
        self.seconds += round.seconds;
        if !round.passed() {
            self.failed.push((round.number, round.failures()));
        }
        let Some(summary) = &round.summary else { return };
        if round.kind == Kind::Sim {
            self.seeds += summary.seeds;
        }
        self.simulated_seconds += summary.simulated_seconds;
        self.operations += summary.operations;
        self.acknowledged += summary.acknowledged;
        self.facts += summary.verdicts.iter().map(|verdict| verdict.checked).sum::<u64>();
        for (kind, count) in &summary.faults {
            self.faults.entry(kind.clone()).or_default().add(*count);
        }
        for (kind, why) in &summary.left_out {
            self.left_out.insert(kind.clone(), why.clone());
        }
    }

    fn all_faults(&self) -> FaultCount {
        let mut all = FaultCount::default();
        for count in self.faults.values() {
            all.add(*count);
        }
        all
    }

    /// Rounds in all.
    pub fn rounds(&self) -> u64 {
        self.rounds
    }

    /// Rounds that did not pass.
    pub fn failed(&self) -> usize {
        self.failed.len()
    }

    /// Why simulated rounds are missing, if nothing was simulated and this is why.
    pub fn leave_out_simulation(&mut self, why: &str) {
        if self.sims == 0 {
            self.left_out.insert("simulated rounds".to_owned(), why.to_owned());
        }
    }

    /// The figures on a line.
    pub fn line(&self) -> String {
        format!(
            "{} rounds in {:.2} hours, {} failed; {} operations, {} faults, {} simulated seeds",
            self.rounds,
            self.seconds / 3600.0,
            self.failed.len(),
            self.operations,
            self.all_faults().took_effect,
            self.seeds,
        )
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rounds, runs, sims, seeds, operations, acknowledged, facts, .. } = self;
        let (hours, simulated) = (self.seconds / 3600.0, self.simulated_seconds / 3600.0);
        writeln!(
            out,
            "rounds   {rounds} in {hours:.2} hours: {runs} on real processes, {sims} simulated"
        )?;
        writeln!(out, "seeds    {seeds} simulated, {simulated:.2} hours of simulated time")?;
        writeln!(out, "ops      {operations} recorded, {acknowledged} of them acknowledged")?;
        writeln!(out, "facts    {facts} compared by checkers")?;
        let [kind, took, without, left] = ["fault", "took effect", "no effect", "left out"];
        writeln!(out, "\n{kind:20} {took:>12} {without:>10} {left:>9}")?;
        let all = ("all kinds".to_owned(), self.all_faults());
        for (kind, count) in self.faults.iter().chain([(&all.0, &all.1)]) {
            let FaultCount { took_effect, without_effect, left_out } = count;
            writeln!(out, "{kind:20} {took_effect:12} {without_effect:10} {left_out:9}")?;
        }
        for (what, why) in &self.left_out {
            writeln!(out, "LEFT OUT {what}: {why}")?;
        }
        for (round, failures) in &self.failed {
            for Failure { what, again } in failures {
                writeln!(out, "FAILED   round {round}: {what}\n         again: {again}")?;
            }
        }
        let failed = self.failed.len() as u64;
        writeln!(out, "{} rounds passed, {failed} failed", rounds - failed)
    }
}
