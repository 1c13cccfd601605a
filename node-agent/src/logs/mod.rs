//! The log files of containers on the disk: their names, what they say about earlier runs, their tails.
//!
//! A container's folder holds `N.log` for its run number N, and, once that grew too long,
//! `N.log.TIME` and `N.log.TIME.gz`; the kubelet's names, so that log shippers find them.

pub(crate) mod rotate;

use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// The number of the run that wrote a file, by the file's name; rotated files count too.
fn run_of(name: &str) -> Option<u32> {
    let (number, rest) = name.split_once(".log")?;
    (rest.is_empty() || rest.starts_with('.')).then_some(())?;
    number.parse().ok()
}

/// How many runs of a container left logs in its folder: the number that the next run gets when
/// the runtime remembers none of them, as after it was emptied. Blocking.
pub(crate) fn runs_before(folder: &Path) -> i32 {
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let runs = files
        .filter(|entry| entry.file_type().is_ok_and(|kind| !kind.is_dir()))
        .filter_map(|entry| run_of(entry.file_name().to_str()?));
    let next = runs.max().map_or(0, |newest| newest.saturating_add(1));
    i32::try_from(next).unwrap_or(i32::MAX)
}

/// The log files of a container's runs, newest run first. Blocking.
///
/// # Errors
/// When the folder cannot be read.
pub(crate) fn current(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut runs: Vec<u32> = std::fs::read_dir(folder)?
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.strip_suffix(".log")?.parse().ok())
        .collect();
    runs.sort_unstable_by(|a, b| b.cmp(a));
    Ok(runs.into_iter().map(|run| folder.join(format!("{run}.log"))).collect())
}

/// A log and what was rotated away from it. Blocking.
pub(crate) fn with_rotated(log: &Path) -> Vec<PathBuf> {
    let (Some(folder), Some(name)) = (log.parent(), log.file_name().and_then(|n| n.to_str()))
    else {
        return Vec::new();
    };
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let belongs = |other: &str| {
        other.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    files
        .filter(|entry| entry.file_name().to_str().is_some_and(belongs))
        .map(|entry| entry.path())
        .collect()
}

/// The last bytes of a file, at most `bytes_max`; whatever its length, no more is read. Blocking.
///
/// # Errors
/// When it cannot be read.
pub(crate) fn tail_bytes(path: &Path, bytes_max: u64) -> std::io::Result<Vec<u8>> {
    let mut file = std::fs::File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(bytes_max)))?;
    let mut bytes = Vec::new();
    // A container may still be writing: what comes after the first look is not read.
    file.take(bytes_max).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_run_is_counted_from_the_logs_that_are_there() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(runs_before(&folder.path().join("none")), 0);
        assert_eq!(runs_before(folder.path()), 0);
        for (name, want) in [
            ("0.log", 1),
            ("notes.txt", 1),
            ("x.log", 1),
            ("7.logs", 1),
            ("2.log.20261121-090000.gz", 3),
            ("1.log", 3),
            ("10.log", 11),
        ] {
            std::fs::write(folder.path().join(name), "").unwrap();
            assert_eq!(runs_before(folder.path()), want, "{name}");
        }
        std::fs::create_dir(folder.path().join("50.log")).unwrap();
        assert_eq!(runs_before(folder.path()), 11, "a folder is no log");
        let newest = current(folder.path()).unwrap();
        assert_eq!(newest[1], folder.path().join("10.log"));
    }

    #[test]
    fn a_log_goes_with_what_was_rotated_away_from_it_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        for name in
            ["1.log", "1.log.20261121-090000", "1.log.20261120-090000.gz", "10.log", "1.logs"]
        {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        let mut names: Vec<String> = with_rotated(&folder.path().join("1.log"))
            .iter()
            .map(|path| path.file_name().unwrap().to_string_lossy().into_owned())
            .collect();
        names.sort();
        assert_eq!(names, ["1.log", "1.log.20261120-090000.gz", "1.log.20261121-090000"]);
    }

    #[test]
    fn only_the_end_of_a_long_file_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        std::fs::write(&path, "0123456789").unwrap();
        assert_eq!(tail_bytes(&path, 4).unwrap(), b"6789");
        assert_eq!(tail_bytes(&path, 40).unwrap(), b"0123456789");
        assert!(tail_bytes(&folder.path().join("none"), 4).is_err());
    }
}
