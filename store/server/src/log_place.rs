//! Where the raft log lies: in the data directory, or where `--wal-dir` said at the first start.
//!
//! A member that lost sight of its log would forget how it voted. So it starts with the `--wal-dir` of
//! its first start or not at all. A note in the data directory says which that was; an owner's mark in
//! the folder says whose it is, so that two members that were given the same folder do not share it, and
//! another disk in its place is not taken for it.
//!
//! | Rule | What always holds |
//! |---|---|
//! | L1 | The note is durable before the mark is made, and the mark before the log's first file. |
//! | L2 | A mark is made only where there is nothing, and only if nobody else made one. |
//! | L3 | Only what lies beside one's own mark is ever cleared, and only while the first start is not done. |
//! | L4 | After the first start the folder must have one's own mark. |

use std::{
    ffi::OsString,
    fs::{self, File},
    io::{self, Write as _},
    os::unix::ffi::{OsStrExt as _, OsStringExt as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};

use crate::bootstrap::{self, DataDir};

/// The note's name in the data directory.
const NOTE: &str = "wal-dir";
/// The mark's name in the folder of the log.
const OWNER: &str = "owner";
/// What the root of an ext file system has in it.
const OF_THE_FILE_SYSTEM: &str = "lost+found";

/// What the data directory says about a folder outside of it.
#[derive(Debug)]
struct Note {
    /// Random: of this attempt at a first start, and of no other. None in a note from before there were
    /// marks: such a folder is trusted as it was then, and never cleared.
    mark: Option<String>,
    path: PathBuf,
}

impl Note {
    fn new(path: PathBuf) -> Self {
        Self { mark: Some(format!("{:032x}", rand::random::<u128>())), path }
    }

    fn read(dir: &DataDir) -> anyhow::Result<Option<Self>> {
        let path = dir.file(NOTE);
        let shown = || path.display().to_string();
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(shown),
        };
        let place = |bytes: &[u8]| PathBuf::from(OsString::from_vec(bytes.to_vec()));
        // Marks are hexadecimal, paths absolute.
        if bytes.starts_with(b"/") {
            return Ok(Some(Self { mark: None, path: place(&bytes) }));
        }
        let end = bytes.iter().position(|byte| *byte == b'\n').context("it has no mark");
        let end = end.with_context(shown)?;
        let mark = String::from_utf8(bytes[..end].to_vec()).with_context(shown)?;
        Ok(Some(Self { mark: Some(mark), path: place(&bytes[end + 1..]) }))
    }

    fn write(&self, dir: &DataDir) -> io::Result<()> {
        let line = format!("{}\n", self.mark());
        dir.keep(NOTE, &[line.as_bytes(), self.path.as_os_str().as_bytes()].concat())
    }

    fn mark(&self) -> &str {
        self.mark.as_deref().unwrap_or_default()
    }

    /// Whether the folder has the mark.
    fn is_owner(&self) -> io::Result<bool> {
        match fs::read(self.path.join(OWNER)) {
            Ok(mark) => Ok(mark == self.mark().as_bytes()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// L2
    fn take(&self) -> io::Result<()> {
        bootstrap::make_folder(&self.path)?;
        if let Some(found) = contents(&self.path)?.first() {
            return Err(taken(found));
        }
        let owner = self.path.join(OWNER);
        let mut file = File::create_new(&owner).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => taken(&owner),
            _ => error,
        })?;
        file.write_all(self.mark().as_bytes())?;
        file.sync_all()?;
        File::open(&self.path)?.sync_all()
    }

    /// L3. The folder itself stays: a file system may be mounted there.
    fn clear(&self) -> io::Result<()> {
        if self.mark.is_none() || !self.is_owner()? {
            return Ok(());
        }
        let owner = self.path.join(OWNER);
        for path in contents(&self.path)?.into_iter().filter(|path| *path != owner) {
            if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) }?;
        }
        File::open(&self.path)?.sync_all()?;
        fs::remove_file(owner)
    }
}

fn taken(found: &Path) -> io::Error {
    let problem = format!("it is not empty: {}", found.display());
    io::Error::new(io::ErrorKind::DirectoryNotEmpty, problem)
}

fn contents(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let paths = fs::read_dir(folder)?.map(|entry| Ok(entry?.path()));
    let paths = paths.collect::<io::Result<Vec<_>>>()?;
    Ok(paths.into_iter().filter(|path| !path.ends_with(OF_THE_FILE_SYSTEM)).collect())
}

/// The folder of the log of a member whose `--wal-dir` is `asked`. At a first start, that start is begun.
///
/// # Errors
/// If the log lies elsewhere, the folder of a first start is not empty, or the file system refuses; the
/// message says what to change.
pub(crate) fn find(dir: &DataDir, asked: Option<&Path>, fresh: bool) -> anyhow::Result<PathBuf> {
    let asked = asked.map(std::path::absolute).transpose().context("--wal-dir")?;
    let kept = Note::read(dir)?;
    if fresh {
        if let Some(kept) = kept.filter(|_| dir.has_begun()) {
            kept.clear().with_context(|| format!("--wal-dir {}", kept.path.display()))?;
        }
        dir.forget(NOTE).context("--wal-dir")?;
        dir.begin()?;
        return begin(dir, asked);
    }
    match kept {
        Some(kept) if asked.as_ref() == Some(&kept.path) => {
            let shown = kept.path.display();
            if kept.mark.is_some()
                && !kept.is_owner().with_context(|| format!("--wal-dir {shown}"))?
            {
                // L4
                bail!(
                    "--wal-dir {shown}: the raft log of this member is not there; is the right disk mounted?"
                );
            }
            Ok(kept.path)
        }
        None if asked.is_none() => Ok(dir.log()),
        Some(Note { path, .. }) => {
            bail!("the raft log of this member lies in {0}: give --wal-dir={0}", path.display())
        }
        None => {
            let log = dir.log();
            bail!("the raft log of this member lies in {}: omit --wal-dir", log.display())
        }
    }
}

fn begin(dir: &DataDir, asked: Option<PathBuf>) -> anyhow::Result<PathBuf> {
    let Some(path) = asked else { return Ok(dir.log()) };
    let shown = path.display().to_string();
    if dir.is_own(&path) {
        bail!("--wal-dir {shown}: the member has other files there; choose another folder");
    }
    let note = Note::new(path);
    // L1
    note.write(dir).and_then(|()| note.take()).with_context(|| format!("--wal-dir {shown}"))?;
    Ok(note.path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bootstrap::Identity;

    struct Place {
        root: tempfile::TempDir,
        dir: DataDir,
        log: PathBuf,
    }

    fn place() -> Place {
        let root = tempfile::tempdir().unwrap();
        let dir = DataDir::open(&root.path().join("data")).unwrap();
        let log = root.path().join("disk/log");
        Place { root, dir, log }
    }

    fn refused(result: anyhow::Result<PathBuf>) -> String {
        format!("{:#}", result.unwrap_err())
    }

    fn names(folder: &Path) -> Vec<String> {
        let name = |path: PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
        contents(folder).unwrap().into_iter().map(name).collect()
    }

    #[test]
    fn a_member_starts_with_the_log_of_its_first_start_or_not_at_all() {
        let Place { dir, log, root } = &place();
        assert_eq!(find(dir, Some(log), true).unwrap(), *log);
        dir.set_identity(&Identity::new(1, 2)).unwrap();
        assert_eq!(find(dir, Some(log), false).unwrap(), *log);
        let said = refused(find(dir, None, false));
        assert!(said.contains(&format!("give --wal-dir={}", log.display())), "{said}");
        assert!(refused(find(dir, Some(&log.join("x")), false)).contains("give --wal-dir="));
        // L4: a disk that is not mounted, and another one.
        fs::rename(log, root.path().join("elsewhere")).unwrap();
        assert!(refused(find(dir, Some(log), false)).contains("is the right disk mounted?"));
        fs::create_dir(log).unwrap();
        fs::write(log.join(OWNER), "of an earlier attempt").unwrap();
        assert!(refused(find(dir, Some(log), false)).contains("is the right disk mounted?"));

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
        assert_eq!(names(log), [OWNER]);
        // Cut short before its mark was made.
        fs::remove_file(log.join(OWNER)).unwrap();
        find(dir, Some(log), true).unwrap();

        fs::write(log.join("000001.log"), "half").unwrap();
        assert_eq!(find(dir, None, true).unwrap(), dir.log(), "somewhere else this time");
        assert!(names(log).is_empty());
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
            assert!(said.contains("it is not empty") && said.contains("letters"), "{said}");
        }
        assert_eq!(fs::read(log.join("letters")).unwrap(), b"dear");
        fs::remove_file(log.join("letters")).unwrap();
        assert_eq!(find(dir, Some(log), true).unwrap(), *log, "a mounted disk is empty enough");
    }

    /// Two members that start for the first time with the same folder: a supervisor starts the second one
    /// again and again, and it must never clear the log of the first, which votes already.
    #[test]
    fn of_two_members_with_the_same_folder_one_has_it() {
        let Place { dir: first, log, .. } = &place();
        let Place { dir: second, .. } = &place();
        // Both have looked, and found nothing.
        Note::new(log.clone()).write(second).unwrap();
        second.begin().unwrap();
        find(first, Some(log), true).unwrap();
        fs::write(log.join("000001.log"), "a vote").unwrap();
        for _ in 0..2 {
            assert!(refused(find(second, Some(log), true)).contains("it is not empty"));
        }
        assert_eq!(fs::read(log.join("000001.log")).unwrap(), b"a vote");
    }

    /// The members of a version without marks start, and nothing of theirs is cleared.
    #[test]
    fn a_note_without_a_mark_still_says_where_the_log_lies() {
        let Place { dir, log, .. } = &place();
        fs::create_dir_all(log).unwrap();
        fs::write(log.join("000001.log"), "a vote").unwrap();
        dir.keep(NOTE, log.as_os_str().as_bytes()).unwrap();
        dir.set_identity(&Identity::new(1, 2)).unwrap();
        assert_eq!(find(dir, Some(log), false).unwrap(), *log);
        assert!(refused(find(dir, None, false)).contains("give --wal-dir="));
        dir.begin().unwrap();
        assert!(refused(find(dir, Some(log), true)).contains("it is not empty"));
        assert_eq!(fs::read(log.join("000001.log")).unwrap(), b"a vote");
    }

    #[test]
    fn the_folders_that_the_member_empties_are_refused() {
        let Place { dir, .. } = &place();
        for own in [dir.scratch(), dir.state().join("log"), dir.file("fixtures")] {
            let said = refused(find(dir, Some(&own), true));
            assert!(said.contains("choose another folder"), "{said}");
        }
        find(dir, Some(&dir.file("wal")), true).unwrap();
    }
}
