//! The command line and the file of settings.

use std::time::Duration;

use clap::{Args as _, Command, FromArgMatches as _};

use crate::{Config, Flags, Logs, flags};

/// The configuration that these arguments lead to. No file is read, and the size of the disk is not
/// asked for.
///
/// # Errors
/// What the operator is told.
pub fn command_line(arguments: &[&str]) -> Result<(Config, Logs), String> {
    let command = Flags::augment_args(Command::new("store").no_binary_name(true));
    let matches = command.try_get_matches_from(arguments).map_err(|error| error.to_string())?;
    let flags = Flags::from_arg_matches(&matches).map_err(|error| error.to_string())?;
    flags.without_disk().map_err(|error| error.to_string())
}

/// The configuration that a file with this content leads to, as [`command_line`].
///
/// # Errors
/// What the operator is told.
pub fn file(content: &str) -> Result<(Config, Logs), String> {
    Flags::of_text(content).and_then(Flags::without_disk).map_err(|error| error.to_string())
}

/// The value of `--initial-cluster`.
///
/// # Errors
/// What the operator is told.
pub fn initial_cluster(text: &str) -> Result<Vec<(String, Vec<String>)>, String> {
    flags::cluster(text).map_err(|error| error.to_string())
}

/// A list of URLs.
///
/// # Errors
/// What the operator is told.
pub fn urls(text: &str) -> Result<Vec<String>, String> {
    flags::urls("urls", text).map_err(|error| error.to_string())
}

/// A duration as Go writes it.
#[must_use]
pub fn duration(text: &str) -> Option<Duration> {
    flags::duration(text)
}
