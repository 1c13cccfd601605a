//! What failed rounds leave, and how much of it is kept: what is largest and least needed goes
//! first. The ledger has the command of each failed round in any case.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

/// What a round's folder is called.
pub(super) fn folder(state: &Path, round: u64) -> PathBuf {
    state.join(format!("round-{round:05}"))
}

/// The folders of rounds that are there.
pub(super) fn folders(state: &Path) -> anyhow::Result<Vec<(u64, PathBuf)>> {
    let mut found = Vec::new();
    for path in entries(state)? {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if let Some(round) = name.strip_prefix("round-").and_then(|round| round.parse().ok()) {
            found.push((round, path));
        }
    }
    Ok(found)
}

/// Kinds of things in the folder of a failed round, in the order in which they go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Worth {
    /// Members' data: the schedule makes it again.
    Data,
    /// The history once more.
    Copy,
    /// The history.
    History,
    /// Reports, verdicts, the schedule and logs.
    Report,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Part {
    worth: Worth,
    round: u64,
    path: PathBuf,
    bytes: u64,
}

/// What has to go, so that no more than `bytes_max` are kept: of the oldest rounds first.
fn surplus(mut parts: Vec<Part>, bytes_max: u64) -> Vec<Part> {
    parts.sort_by_key(|part| (part.worth, part.round));
    let mut left: u64 = parts.iter().map(|part| part.bytes).sum();
    parts
        .into_iter()
        .take_while(|part| {
            let is_surplus = left > bytes_max;
            left = left.saturating_sub(part.bytes);
            is_surplus
        })
        .collect()
}

/// Removes what is too much, and says what that was.
///
/// # Errors
/// If something cannot be read or removed.
pub(super) fn trim(state: &Path, bytes_max: u64) -> anyhow::Result<Vec<PathBuf>> {
    let mut parts = Vec::new();
    for (round, folder) in folders(state)? {
        for path in entries(&folder)? {
            let name = path.file_name().and_then(|name| name.to_str());
            let worth = match name {
                Some("members") => {
                    for path in entries(&path)? {
                        let worth = if path.is_dir() { Worth::Data } else { Worth::Report };
                        parts.push(Part { worth, round, bytes: size(&path)?, path });
                    }
                    continue;
                }
                Some("tmp") => Worth::Data,
                Some("history.edn") => Worth::Copy,
                Some("history.jsonl") => Worth::History,
                _ => Worth::Report,
            };
            parts.push(Part { worth, round, bytes: size(&path)?, path });
        }
    }
    let gone: Vec<PathBuf> = surplus(parts, bytes_max).into_iter().map(|part| part.path).collect();
    for path in &gone {
        let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
        removed.with_context(|| path.display().to_string())?;
    }
    Ok(gone)
}

/// What a file or folder takes of the disk, in bytes.
fn size(path: &Path) -> anyhow::Result<u64> {
    let data = fs::symlink_metadata(path).with_context(|| path.display().to_string())?;
    // Blocks are of 512 bytes, whatever the file system's own are.
    let mut bytes = data.blocks() * 512;
    if data.is_dir() {
        for path in entries(path)? {
            bytes += size(&path)?;
        }
    }
    Ok(bytes)
}

fn entries(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let name = || folder.display().to_string();
    let entries = fs::read_dir(folder).with_context(name)?;
    entries.map(|entry| Ok(entry.with_context(name)?.path())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(round: u64, worth: Worth, bytes: u64) -> Part {
        Part { worth, round, path: PathBuf::new(), bytes }
    }

    #[test]
    fn what_is_least_needed_goes_first_and_of_the_oldest_round() {
        let parts = || {
            vec![
                part(9, Worth::Data, 50),
                part(1, Worth::Report, 10),
                part(1, Worth::History, 30),
                part(1, Worth::Data, 40),
            ]
        };
        let gone = |bytes_max| {
            let gone = surplus(parts(), bytes_max).into_iter();
            gone.map(|part| (part.round, part.worth)).collect::<Vec<_>>()
        };
        assert_eq!(gone(130), []);
        assert_eq!(gone(129), [(1, Worth::Data)]);
        assert_eq!(gone(89), [(1, Worth::Data), (9, Worth::Data)]);
        assert_eq!(gone(9).len(), 4);
    }

    #[test]
    fn no_more_is_kept_than_was_said_and_the_reports_stay() {
        let state = tempfile::tempdir().unwrap();
        let write = |round: u64, name: &str, bytes: usize| {
            let path = folder(state.path(), round).join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, vec![7; bytes]).unwrap();
        };
        for round in [3, 4] {
            write(round, "members/m0/data", 1 << 20);
            write(round, "members/m0.log", 4096);
            write(round, "history.edn", 1 << 19);
            write(round, "history.jsonl", 1 << 19);
            write(round, "report.html", 4096);
        }
        let all: u64 = folders(state.path()).unwrap().iter().map(|(_, at)| size(at).unwrap()).sum();
        assert!(all > 4 << 20, "{all}");
        assert!(trim(state.path(), all).unwrap().is_empty());
        let gone = trim(state.path(), 1 << 20).unwrap();
        let in_round = |round: u64, name: &str| folder(state.path(), round).join(name);
        assert!(
            gone.contains(&in_round(3, "members/m0")) && gone.contains(&in_round(4, "members/m0"))
        );
        assert!(
            gone.contains(&in_round(3, "history.edn"))
                && gone.contains(&in_round(4, "history.edn"))
        );
        for round in [3, 4] {
            assert!(in_round(round, "report.html").exists());
            assert!(in_round(round, "members/m0.log").exists());
        }
        let left: u64 =
            folders(state.path()).unwrap().iter().map(|(_, at)| size(at).unwrap()).sum();
        // Folders themselves take some bytes too.
        assert!(left <= (1 << 20) + (1 << 16), "{left}");
        assert!(in_round(4, "history.jsonl").exists());
    }
}
