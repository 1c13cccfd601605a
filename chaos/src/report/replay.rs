//! The command line that does a run again, with the same random choices.

use std::fmt::Display;

use clap::ValueEnum as _;

use crate::scenario::Flags;

/// A command line that grows.
pub(crate) struct Line(Vec<String>);

impl Line {
    /// Begins with `orlop chaos` and this.
    pub(crate) fn of(mode: &str) -> Self {
        Self(["orlop", "chaos", mode].map(str::to_owned).to_vec())
    }

    /// Adds a flag with its value.
    pub(crate) fn flag(&mut self, name: &str, value: impl Display) {
        self.0.push(format!("--{name}={}", quoted(&value.to_string())));
    }

    /// Adds a flag that has none.
    pub(crate) fn switch(&mut self, name: &str) {
        self.0.push(format!("--{name}"));
    }

    /// As one gives it to a shell.
    pub(crate) fn text(&self) -> String {
        self.0.join(" ")
    }
}

/// `orlop chaos ...` with every number that the run depended on, defaults too: those may change.
pub fn command_line(flags: &Flags, seed: u64) -> String {
    let scenario = flags.scenario.to_possible_value();
    let mut line = Line::of(scenario.as_ref().map_or("", |value| value.get_name()));
    line.flag("seed", seed);
    line.flag("members", flags.members);
    line.flag("kills", flags.kills);
    let kinds: Vec<&str> = flags.workloads.iter().map(|kind| kind.name()).collect();
    line.flag("workloads", kinds.join(","));
    line.flag("clients", flags.clients);
    line.flag("keys", flags.keys);
    line.flag("rate", flags.rate);
    line.flag("writes-between", flags.writes_between);
    line.flag("duration", flags.duration);
    flags.tested.tell(&mut line);
    flags.asking.tell(&mut line);
    line.text()
}

/// As a shell takes it for one word.
pub(crate) fn quoted(word: &str) -> String {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "-_./:=,@+%".contains(letter);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}
