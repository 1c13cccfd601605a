//! The ledger of a soak: a line for each round that ended.
//!
//! | Rule | What always holds |
//! |------|-------------------|
//! | L1 | A round is in the ledger once it ended, whichever way, and never twice. |
//! | L2 | A line that a crash cut short is not counted: its round is run again. |
//! | L3 | The seeds of a round follow from the ledger's first seed and the round's number. |

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::Path;

use anyhow::{Context as _, ensure};
use rand::Rng as _;
use serde::{Deserialize, Serialize};

use crate::limits;
use crate::report::summary::{Failure, Summary};

/// What a round was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A cluster of real processes.
    Run,
    /// Simulated clusters.
    Sim,
}

/// One round that ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Round {
    /// Its number, from zero.
    pub number: u64,
    /// What it was.
    pub kind: Kind,
    /// Its first seed.
    pub seed: u64,
    /// The command that runs it again.
    pub command: String,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// What it said; none when it ended without a word that can be relied on.
    pub summary: Option<Summary>,
    /// How it ended, when it said nothing.
    pub end: String,
}

impl Round {
    /// Whether every checker passed.
    pub fn passed(&self) -> bool {
        self.summary.as_ref().is_some_and(|summary| summary.passed && summary.failures.is_empty())
    }

    /// Whether it told nothing about a store: it recorded no operation.
    pub fn is_mute(&self) -> bool {
        self.summary.as_ref().is_none_or(|summary| summary.operations == 0)
    }

    /// What went wrong, each with the command that does it again.
    pub fn failures(&self) -> Vec<Failure> {
        let told = self.summary.as_ref().map(|summary| summary.failures.clone());
        let told = told.unwrap_or_default();
        if self.passed() || !told.is_empty() {
            return told;
        }
        let what = if self.end.is_empty() { "it did not say why" } else { &self.end };
        vec![Failure { what: what.to_owned(), again: self.command.clone() }]
    }
}

/// The first line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// The seed that all others follow from.
    pub first_seed: u64,
    /// What this soak's processes and folders are known by; no other soak has it.
    pub id: String,
}

/// What a ledger's file has, without a last line that was cut short.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Lines {
    /// None in an empty file.
    pub head: Option<Head>,
    /// The rounds so far.
    pub rounds: Vec<Round>,
    /// How long all of that is.
    bytes: u64,
}

impl Lines {
    /// Reads a file that somebody else may be writing.
    ///
    /// # Errors
    /// If it cannot be read, or a line but the last is no line of a ledger.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
        Self::parse(&text, path)
    }

    fn parse(text: &str, path: &Path) -> anyhow::Result<Self> {
        // L2: what is not ended by a new line was cut short.
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        let place = |at: usize| format!("{}, line {}", path.display(), at + 1);
        let mut lines = Self { bytes: whole as u64, ..Self::default() };
        for (at, line) in text[..whole].lines().enumerate() {
            if at == 0 {
                lines.head = Some(serde_json::from_str(line).with_context(|| place(at))?);
                continue;
            }
            let round: Round = serde_json::from_str(line).with_context(|| place(at))?;
            let due = lines.rounds.len() as u64;
            ensure!(round.number == due, "{}: round {} and not {due}", place(at), round.number);
            lines.rounds.push(round);
        }
        Ok(lines)
    }
}

/// An open ledger: only one soak at a time writes it.
#[derive(Debug)]
pub struct Ledger {
    file: File,
    /// The first line.
    pub head: Head,
    /// The rounds so far.
    pub rounds: Vec<Round>,
}

impl Ledger {
    /// Opens a ledger, or begins one: with this seed, or a random one.
    ///
    /// # Errors
    /// If the file cannot be used, somebody else writes it, it began with another seed, or a line
    /// but the last is no line of a ledger.
    pub fn open(path: &Path, first_seed: Option<u64>) -> anyhow::Result<Self> {
        let name = || path.display().to_string();
        let mut options = OpenOptions::new();
        let options = options.read(true).write(true).create(true).truncate(false);
        let mut file = options.open(path).with_context(name)?;
        file.try_lock().with_context(|| format!("{}: in use by another soak", path.display()))?;
        let mut text = String::new();
        file.read_to_string(&mut text).with_context(name)?;
        let Lines { head, rounds, bytes } = Lines::parse(&text, path)?;
        file.set_len(bytes).with_context(name)?;
        file.seek(io::SeekFrom::End(0)).with_context(name)?;
        let Some(head) = head else {
            let first_seed = first_seed.unwrap_or_else(|| rand::rng().random::<u32>().into());
            let id = format!("{:016x}", rand::rng().random::<u64>());
            let head = Head { first_seed, id };
            let mut ledger = Self { file, head: head.clone(), rounds };
            ledger.append(&head).with_context(name)?;
            return Ok(ledger);
        };
        if let Some(wanted) = first_seed {
            let first = head.first_seed;
            ensure!(first == wanted, "{}: its seeds begin at {first}, not {wanted}", name());
        }
        Ok(Self { file, head, rounds })
    }

    /// The number of the round that comes next.
    pub fn next(&self) -> u64 {
        self.rounds.len() as u64
    }

    /// L3: the first seed of a round. Rounds are far enough apart for their seeds to differ.
    pub fn seed(&self, round: u64) -> u64 {
        self.head.first_seed.wrapping_add(round.wrapping_mul(limits::SOAK_SEEDS_PER_ROUND))
    }

    /// How long all rounds took, in seconds.
    pub fn seconds(&self) -> f64 {
        self.rounds.iter().fold(0.0, |seconds, round| seconds + round.seconds)
    }

    /// Adds a round that ended.
    ///
    /// # Errors
    /// If it cannot be written and synced.
    pub fn add(&mut self, round: Round) -> anyhow::Result<()> {
        self.append(&round).context("the ledger cannot be written")?;
        self.rounds.push(round);
        Ok(())
    }

    fn append(&mut self, line: &impl Serialize) -> io::Result<()> {
        let mut text = serde_json::to_vec(line)?;
        text.push(b'\n');
        self.file.write_all(&text)?;
        self.file.sync_data()
    }
}
