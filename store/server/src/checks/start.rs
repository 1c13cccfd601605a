//! The log and the state, opened and held against each other.

use std::{io, path::Path, sync::Arc};

use anyhow::Context as _;
use store_state_machine::{Fault, StateMachine};

use super::ADVICE;
use crate::{
    metrics::Metrics,
    raft::{Log, seed},
};

/// Something that was durable cannot be read any more.
#[derive(Debug, thiserror::Error)]
#[error("{what}; {ADVICE}")]
struct Damaged {
    what: String,
}

fn damaged(what: impl std::fmt::Display) -> anyhow::Error {
    Damaged { what: what.to_string() }.into()
}

/// Opens the log and the state of a member. `fresh`: it never ran.
///
/// # Errors
/// If the disk refuses, or something that was durable is damaged; the message names the file.
pub(crate) fn open(
    log_path: &Path,
    state_path: &Path,
    fresh: bool,
    metrics: Arc<Metrics>,
) -> anyhow::Result<(Log, StateMachine)> {
    let options = store_state_machine::Options::default();
    let machine = StateMachine::open(state_path, &options).map_err(|fault| match fault {
        Fault::Damaged(_) | Fault::Broken => damaged(fault).context("state"),
        Fault::Disk(_) | Fault::File { .. } => {
            let path = state_path.display().to_string();
            anyhow::Error::from(fault).context(path).context("state")
        }
    })?;
    match open_log(&machine, log_path, state_path, fresh, metrics) {
        Ok(log) => Ok((log, machine)),
        Err(error) => {
            // A refusal leaves the state as closed as it was.
            if let Err(fault) = machine.finish() {
                tracing::warn!(%fault, "the state was not closed in order");
            }
            Err(error)
        }
    }
}

fn open_log(
    machine: &StateMachine,
    log_path: &Path,
    state_path: &Path,
    fresh: bool,
    metrics: Arc<Metrics>,
) -> anyhow::Result<Log> {
    let (applied, _) = machine.applied();
    let applied = applied.map(|bytes| seed::term_and_index(&bytes)).transpose()?;
    // A restored member has a state that nobody ever wrote a log for.
    let restored = applied == Some(seed::BEGINNING);
    let made = log_path.join("CURRENT");
    if !fresh && !restored && !made.exists() {
        return Err(damaged(format!("{} is missing", made.display())).context("raft log"));
    }
    let log = Log::open(log_path, move |took, bytes| metrics.disk.synced(took, bytes));
    let log = log.map_err(|error| match error.kind() {
        io::ErrorKind::InvalidData => damaged(error),
        _ => error.into(),
    });
    let log = log.context("raft log")?;
    let (_, purged) = log.begins();
    let (applied, purged) = (applied.map(|(_, index)| index), purged.map(|id| id.index));
    // What was deleted from the log was in the state, on disk, before.
    if purged > applied {
        let what = format!(
            "the state in {} ends at entry {}, but the log in {} begins behind entry {}",
            state_path.display(),
            applied.map_or("none".to_owned(), |index| index.to_string()),
            log_path.display(),
            purged.unwrap_or(0),
        );
        return Err(damaged(what));
    }
    Ok(log)
}
