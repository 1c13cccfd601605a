//! The audit file: grows to its limit, is put aside under the time, and a new one is begun.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use jiff::{SignedDuration, Timestamp};

/// How old files are named: by the time at which they were put aside, UTC.
const STAMP: &str = "%Y-%m-%dT%H-%M-%S.%3f";
/// Names tried for one file that is put aside; each next one is a millisecond later.
const NAMES_MAX: i64 = 1000;

/// How large a file gets, and how long old ones are kept; 0 is no limit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) bytes: u64,
    pub(super) backups: u32,
    pub(super) age_days: u32,
}

/// Where lines go.
#[derive(Debug)]
pub(super) enum Output {
    Stdout(io::Stdout),
    File(Rotating),
}

impl Output {
    /// Opens the file; `-` is the standard output.
    pub(super) fn open(path: &str, limits: Limits) -> io::Result<Self> {
        if path == "-" {
            return Ok(Self::Stdout(io::stdout()));
        }
        Rotating::open(Path::new(path), limits).map(Self::File)
    }

    /// Writes whole lines.
    pub(super) fn write(&mut self, lines: &[u8], now: Timestamp) -> io::Result<()> {
        match self {
            Self::Stdout(out) => {
                let mut out = out.lock();
                out.write_all(lines)?;
                out.flush()
            }
            Self::File(file) => file.write(lines, now),
        }
    }
}

/// A file with its older ones beside it.
#[derive(Debug)]
pub(super) struct Rotating {
    path: PathBuf,
    limits: Limits,
    file: File,
    size: u64,
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(0o600).open(path)
}

impl Rotating {
    fn open(path: &Path, limits: Limits) -> io::Result<Self> {
        if let Some(dir) = path.parent().filter(|dir| !dir.as_os_str().is_empty()) {
            DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        }
        let file = open(path)?;
        let size = file.metadata()?.len();
        Ok(Self { path: path.to_owned(), limits, file, size })
    }

    fn write(&mut self, lines: &[u8], now: Timestamp) -> io::Result<()> {
        let size = lines.len() as u64;
        if self.limits.bytes > 0 && self.size > 0 && self.size + size > self.limits.bytes {
            self.put_aside(now)?;
        }
        self.file.write_all(lines)?;
        self.size += size;
        Ok(())
    }

    /// `audit.log` becomes `audit-2026-01-02T03-04-05.678.log`.
    fn put_aside(&mut self, now: Timestamp) -> io::Result<()> {
        let aside = (0..NAMES_MAX)
            .filter_map(|later| now.checked_add(SignedDuration::from_millis(later)).ok())
            .map(|time| self.aside(time))
            .find(|path| !path.exists())
            .ok_or_else(|| io::Error::other("no free name for the old file"))?;
        fs::rename(&self.path, aside)?;
        self.file = open(&self.path)?;
        self.size = 0;
        if let Err(error) = self.clean(now) {
            tracing::warn!(%error, "old audit files could not be removed");
        }
        Ok(())
    }

    /// What stands before and behind the time in the names of old files.
    fn frame(&self) -> (String, String) {
        let part = |part: Option<&std::ffi::OsStr>| {
            part.map(|part| part.to_string_lossy().into_owned()).unwrap_or_default()
        };
        let extension = match part(self.path.extension()) {
            extension if extension.is_empty() => extension,
            extension => format!(".{extension}"),
        };
        (format!("{}-", part(self.path.file_stem())), extension)
    }

    fn aside(&self, time: Timestamp) -> PathBuf {
        let (prefix, extension) = self.frame();
        self.path.with_file_name(format!("{prefix}{}{extension}", time.strftime(STAMP)))
    }

    /// Removes old files that are too many or too old.
    fn clean(&self, now: Timestamp) -> io::Result<()> {
        let (prefix, extension) = self.frame();
        let dir = self.path.parent().filter(|dir| !dir.as_os_str().is_empty());
        let mut old = Vec::new();
        for entry in fs::read_dir(dir.unwrap_or(Path::new(".")))? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let inside = name.strip_prefix(&prefix).and_then(|rest| rest.strip_suffix(&extension));
            // Other files of that place are none of ours.
            if let Some(time) = inside.and_then(stamp) {
                old.push((time, entry.path()));
            }
        }
        old.sort();
        let kept = match self.limits.backups {
            0 => old.len(),
            backups => backups as usize,
        };
        let too_many = old.len().saturating_sub(kept);
        let days = SignedDuration::from_hours(24 * i64::from(self.limits.age_days));
        for (index, (time, path)) in old.into_iter().enumerate() {
            let is_old = self.limits.age_days > 0 && now.duration_since(time) > days;
            if index < too_many || is_old {
                fs::remove_file(path)?;
            }
        }
        Ok(())
    }
}

fn stamp(text: &str) -> Option<Timestamp> {
    let time = jiff::civil::DateTime::strptime("%Y-%m-%dT%H-%M-%S%.f", text).ok()?;
    time.to_zoned(jiff::tz::TimeZone::UTC).ok().map(|time| time.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_file_is_put_aside_and_the_oldest_go() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("logs/audit.log");
        let limits = Limits { bytes: 10, backups: 2, age_days: 30 };
        let mut file = Rotating::open(&path, limits).unwrap();
        let mut now: Timestamp = "2026-01-02T03:04:05.678Z".parse().unwrap();
        fs::write(dir.path().join("logs/audit-notes.log"), "mine").unwrap();
        for number in 0..5 {
            file.write(format!("line {number}\n").as_bytes(), now).unwrap();
            now += SignedDuration::from_secs(1);
        }
        let mut names: Vec<String> = fs::read_dir(dir.path().join("logs"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        assert_eq!(
            names,
            [
                "audit-2026-01-02T03-04-08.678.log",
                "audit-2026-01-02T03-04-09.678.log",
                "audit-notes.log",
                "audit.log"
            ]
        );
        assert_eq!(fs::read_to_string(&path).unwrap(), "line 4\n");
        // Two in the same moment do not take each other's place.
        now -= SignedDuration::from_secs(1);
        file.write(b"line 5\n", now).unwrap();
        assert!(dir.path().join("logs/audit-2026-01-02T03-04-09.679.log").exists());
        // A month later the old ones go, whatever their number.
        now += SignedDuration::from_hours(24 * 31);
        file.write(b"line 6\n", now).unwrap();
        assert_eq!(fs::read_dir(dir.path().join("logs")).unwrap().count(), 3);
        // A file that was there goes on.
        let again = Rotating::open(&path, limits).unwrap();
        assert_eq!(again.size, 7);
    }
}
