//! Where the raft log lies: in the data directory, or where `--wal-dir` said at the first start.
//!
//! A member that lost sight of its log would forget how it voted. So it starts with the `--wal-dir` of
//! its first start or not at all; a note in the data directory says which that was. The folder was empty
//! when the note was made durable, so all that is in it came from this member: that is why a first start
//! that a crash cut short may clear it.

use std::{
    fs, io,
    os::unix::ffi::{OsStrExt as _, OsStringExt as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};

use crate::bootstrap::DataDir;

/// What the root of an ext file system has in it.
const OF_THE_FILE_SYSTEM: &str = "lost+found";

/// The folder of the log of a member whose `--wal-dir` is `asked`. At a first start, that start is begun.
///
/// # Errors
/// If the log lies elsewhere, the folder of a first start has something in it, or the file system
/// refuses; the message says what to change.
pub(crate) fn find(dir: &DataDir, asked: Option<&Path>, fresh: bool) -> anyhow::Result<PathBuf> {
    let asked = asked.map(std::path::absolute).transpose().context("--wal-dir")?;
    let kept = kept(dir)?;
    if fresh {
        if let Some(kept) = kept.filter(|_| dir.has_begun()) {
            clear(&kept).with_context(|| format!("--wal-dir {}", kept.display()))?;
        }
        dir.begin()?;
        return begin(dir, asked);
    }
    match kept {
        Some(kept) if asked.as_ref() == Some(&kept) => Ok(kept),
        None if asked.is_none() => Ok(dir.log()),
        Some(kept) => {
            bail!("the raft log of this member lies in {0}: give --wal-dir={0}", kept.display())
        }
        None => {
            let log = dir.log();
            bail!("the raft log of this member lies in {}: omit --wal-dir", log.display())
        }
    }
}

fn begin(dir: &DataDir, asked: Option<PathBuf>) -> anyhow::Result<PathBuf> {
    let Some(path) = asked else {
        dir.forget(NOTE).context("--wal-dir")?;
        return Ok(dir.log());
    };
    let begin = || -> io::Result<()> {
        fs::create_dir_all(&path)?;
        if let Some(found) = contents(&path)?.first() {
            let problem = format!("it has something in it: {}", found.display());
            return Err(io::Error::new(io::ErrorKind::DirectoryNotEmpty, problem));
        }
        dir.keep(NOTE, path.as_os_str().as_bytes())
    };
    begin().with_context(|| format!("--wal-dir {}", path.display()))?;
    Ok(path)
}

/// The note's name in the data directory.
const NOTE: &str = "wal-dir";

fn kept(dir: &DataDir) -> anyhow::Result<Option<PathBuf>> {
    let path = dir.file(NOTE);
    match fs::read(&path) {
        Ok(kept) => Ok(Some(PathBuf::from(std::ffi::OsString::from_vec(kept)))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| path.display().to_string()),
    }
}

fn contents(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let paths = entries.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
    Ok(paths.into_iter().filter(|path| !path.ends_with(OF_THE_FILE_SYSTEM)).collect())
}

/// The folder itself stays: a file system may be mounted there.
fn clear(folder: &Path) -> io::Result<()> {
    for path in contents(folder)? {
        if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) }?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bootstrap::Identity;

    struct Place {
        _root: tempfile::TempDir,
        dir: DataDir,
        log: PathBuf,
    }

    fn place() -> Place {
        let root = tempfile::tempdir().unwrap();
        let dir = DataDir::open(&root.path().join("data")).unwrap();
        let log = root.path().join("disk/log");
        Place { _root: root, dir, log }
    }

    fn refused(result: anyhow::Result<PathBuf>) -> String {
        format!("{:#}", result.unwrap_err())
    }

    #[test]
    fn a_member_starts_with_the_log_of_its_first_start_or_not_at_all() {
        let Place { dir, log, .. } = &place();
        assert_eq!(find(dir, Some(log), true).unwrap(), *log);
        dir.set_identity(&Identity::new(1, 2)).unwrap();
        assert_eq!(find(dir, Some(log), false).unwrap(), *log);
        let said = refused(find(dir, None, false));
        assert!(said.contains(&format!("give --wal-dir={}", log.display())), "{said}");
        assert!(refused(find(dir, Some(&log.join("x")), false)).contains("give --wal-dir="));

        let Place { dir, log, .. } = &place();
        assert_eq!(find(dir, None, true).unwrap(), dir.log());
        dir.set_identity(&Identity::new(1, 2)).unwrap();
        assert_eq!(find(dir, None, false).unwrap(), dir.log());
        assert!(refused(find(dir, Some(log), false)).contains("omit --wal-dir"));
    }

    /// What an attempt that a crash cut short had written was taken for a log of this member, of which it
    /// remembers nothing.
    #[test]
    fn a_first_start_that_was_cut_short_finds_an_empty_log_again() {
        let Place { dir, log, .. } = &place();
        find(dir, Some(log), true).unwrap();
        fs::create_dir(log.join("archive")).unwrap();
        fs::write(log.join("000001.log"), "half").unwrap();
        find(dir, Some(log), true).unwrap();
        assert!(contents(log).unwrap().is_empty());

        fs::write(log.join("000001.log"), "half").unwrap();
        assert_eq!(find(dir, None, true).unwrap(), dir.log(), "somewhere else this time");
        assert!(contents(log).unwrap().is_empty());
        dir.set_identity(&Identity::new(1, 2)).unwrap();
        assert_eq!(find(dir, None, false).unwrap(), dir.log());
    }

    #[test]
    fn somebody_elses_folder_is_neither_used_nor_cleared() {
        let Place { dir, log, .. } = &place();
        fs::create_dir_all(log.join("lost+found")).unwrap();
        fs::write(log.join("letters"), "dear").unwrap();
        for _ in 0..2 {
            let said = refused(find(dir, Some(log), true));
            assert!(said.contains("it has something in it") && said.contains("letters"), "{said}");
        }
        assert_eq!(fs::read(log.join("letters")).unwrap(), b"dear");
        fs::remove_file(log.join("letters")).unwrap();
        assert_eq!(find(dir, Some(log), true).unwrap(), *log, "a mounted disk is empty enough");
    }
}
