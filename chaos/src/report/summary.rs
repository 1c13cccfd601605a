//! What a program reads after a run: figures that can be added up over many of them.
//! `orlop chaos run --summary FILE` writes it, and so does whatever else a soak starts.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use crate::checker::{Verdict, shortest_counter_example};

/// How often a kind of fault was asked for, and what came of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FaultCount {
    /// Injected, and shown to have taken effect.
    pub took_effect: u64,
    /// Injected, and nothing was seen of it.
    pub without_effect: u64,
    /// Not injected, because this machine or this store cannot have it.
    pub left_out: u64,
}

impl FaultCount {
    /// Adds another one.
    pub fn add(&mut self, other: Self) {
        self.took_effect += other.took_effect;
        self.without_effect += other.without_effect;
        self.left_out += other.left_out;
    }
}

/// What one checker found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Finding {
    /// The checker's name.
    pub name: String,
    /// How many facts were compared.
    pub checked: u64,
    /// How many of them were wrong.
    pub broken: u64,
}

impl From<&Verdict> for Finding {
    fn from(verdict: &Verdict) -> Self {
        Self { name: verdict.name.to_owned(), checked: verdict.checked, broken: verdict.broken }
    }
}

/// Something that went wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Failure {
    /// What, in a sentence.
    pub what: String,
    /// The command that makes the same choices again.
    pub again: String,
}

/// One run, or several simulated ones, in figures. A field that is not there is zero or empty, so
/// that what older programs wrote can be read.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Summary {
    /// Whether every checker passed: then there are no failures.
    pub passed: bool,
    /// One, or one for each simulated seed that failed.
    pub failures: Vec<Failure>,
    /// The first seed.
    pub seed: u64,
    /// How many seeds were run: one on real processes.
    pub seeds: u64,
    /// Seconds of real time, with the checks.
    pub seconds: f64,
    /// Seconds of simulated time; zero on real processes.
    pub simulated_seconds: f64,
    /// Operations that were recorded and judged.
    pub operations: u64,
    /// How many of them were acknowledged.
    pub acknowledged: u64,
    /// By kind of fault.
    pub faults: BTreeMap<String, FaultCount>,
    /// Why a kind was left out, by kind.
    pub left_out: BTreeMap<String, String>,
    /// By checker.
    pub verdicts: Vec<Finding>,
}

impl Summary {
    /// Reads one from a file.
    ///
    /// # Errors
    /// If the file is not there or is not a summary; the message names it.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read(path).with_context(|| path.display().to_string())?;
        serde_json::from_slice(&text).with_context(|| format!("{}: no summary", path.display()))
    }

    /// Writes it to a file.
    ///
    /// # Errors
    /// If the file cannot be written; the message names it.
    pub fn write(&self, path: &Path) -> anyhow::Result<()> {
        let text = serde_json::to_vec_pretty(self)?;
        std::fs::write(path, text).with_context(|| path.display().to_string())
    }
}

/// What went wrong, if anything did: the shortest counter-example, or who compared nothing.
pub fn failure(verdicts: &[Verdict]) -> Option<String> {
    if let Some((checker, violation)) = shortest_counter_example(verdicts) {
        return Some(format!("{checker}, {}: {}", violation.rule, violation.text));
    }
    let silent = verdicts.iter().find(|verdict| !verdict.passed())?;
    Some(format!("{}: {} facts, {} wrong", silent.name, silent.checked, silent.broken))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_went_wrong_is_told_in_a_sentence() {
        let mut good = Verdict::new("answers");
        good.checked = 2;
        assert_eq!(failure(&[good.clone()]), None);
        let mut bad = Verdict::new("durable");
        bad.checked = 7;
        bad.fail("D1", vec![3], "a write is gone".to_owned());
        let told = failure(&[good.clone(), bad]);
        assert_eq!(told.as_deref(), Some("durable, D1: a write is gone"));
        // Whoever compared nothing did not pass, and has no counter-example.
        let told = failure(&[good, Verdict::new("watch")]);
        assert_eq!(told.as_deref(), Some("watch: 0 facts, 0 wrong"));
    }

    #[test]
    fn an_empty_object_is_no_pass() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("summary.json");
        std::fs::write(&file, "{}").unwrap();
        assert!(!Summary::read(&file).unwrap().passed);
        std::fs::write(&file, "{\"passed\": tr").unwrap();
        let error = format!("{:#}", Summary::read(&file).unwrap_err());
        assert!(error.contains("summary.json: no summary"), "{error}");
    }
}
