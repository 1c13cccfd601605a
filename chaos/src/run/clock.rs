//! False wall clocks: libfaketime in front of each member, told by a file what time it is. Timers are
//! not touched: faking them would hang the members.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, bail};

use super::strike::{Blow, Effect};
use crate::limits;

/// Where distributions put it.
const PLACES: [&str; 3] = [
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/faketime/libfaketimeMT.so.1",
];

/// How long the library believes what it read, in seconds: looking at every call is slow.
const CACHE_SECONDS: u64 = 1;

/// What says how far each member's clock is off.
#[derive(Debug)]
pub(super) struct Clocks {
    /// Why nobody's clock can be set, if so.
    pub(super) missing: Option<String>,
    library: PathBuf,
    dir: tempfile::TempDir,
}

impl Clocks {
    /// Looks for the library, and whether the program would listen to it.
    pub(super) fn find(program: &Path, members: usize) -> anyhow::Result<Self> {
        let library = PLACES.iter().map(PathBuf::from).find(|place| place.exists());
        let missing = match (&library, is_dynamic(program)) {
            (None, _) => Some("libfaketime is not installed".to_owned()),
            (_, Err(error)) => Some(format!("{}: {error:#}", program.display())),
            (_, Ok(false)) => Some(format!("{} asks no library for the time", program.display())),
            (Some(library), Ok(true)) => tried(program, library).err(),
        };
        let dir = tempfile::Builder::new().prefix("orlop-chaos-clocks-").tempdir()?;
        let library = library.unwrap_or_default();
        let clocks = Self { missing, library, dir };
        (0..members).try_for_each(|member| clocks.set(member, 0))?;
        Ok(clocks)
    }

    /// To be called when the members are gone.
    pub(super) fn forget_the_dead() {
        clear_shared(Path::new(super::conduct::MEMORY), |pid| {
            Path::new("/proc").join(pid).exists()
        });
    }

    fn file(&self, member: usize) -> PathBuf {
        self.dir.path().join(format!("m{member}.clock"))
    }

    /// How far a member's clock is off from now on.
    pub(super) fn set(&self, member: usize, seconds: i64) -> anyhow::Result<()> {
        // Replaced in one step: half a line would be another time.
        let new = self.dir.path().join(format!("m{member}.clock.new"));
        fs::write(&new, format!("{seconds:+}\n"))?;
        fs::rename(&new, self.file(member)).context("a clock was not set")
    }

    /// What a member is started with.
    pub(super) fn environment(&self, member: usize) -> Vec<(String, String)> {
        if self.missing.is_some() {
            return Vec::new();
        }
        [
            ("LD_PRELOAD", self.library.display().to_string()),
            ("FAKETIME_TIMESTAMP_FILE", self.file(member).display().to_string()),
            ("FAKETIME_CACHE_DURATION", CACHE_SECONDS.to_string()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
            ("DONT_FAKE_MONOTONIC", "1".to_owned()),
            ("FAKETIME_DONT_RESET", "1".to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .to_vec()
    }
}

/// libfaketime makes a piece of shared memory and a semaphore for each process, and leaves those of every
/// process that is killed.
fn clear_shared(folder: &Path, is_alive: impl Fn(&str) -> bool) {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    for entry in entries {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let pid =
            ["faketime_shm_", "sem.faketime_sem_"].iter().find_map(|kind| name.strip_prefix(kind));
        if pid.is_some_and(|pid| pid.parse::<u32>().is_ok() && !is_alive(pid)) {
            // Somebody else's run may have removed it meanwhile.
            drop(fs::remove_file(entry.path()));
        }
    }
}

/// Whether a program is linked at its start, as one without a word to the linker is not.
fn is_dynamic(program: &Path) -> anyhow::Result<bool> {
    const INTERPRETER: u32 = 3;
    let bytes = fs::read(program)?;
    let number = |at: usize, size: usize| -> anyhow::Result<usize> {
        let bytes = bytes.get(at..at + size).context("the program ends in its header")?;
        Ok(bytes.iter().rev().fold(0, |sum, byte| sum << 8 | usize::from(*byte)))
    };
    if !bytes.starts_with(b"\x7fELF\x02\x01") {
        bail!("no program of 64 bits");
    }
    let (table, size, count) = (number(32, 8)?, number(54, 2)?, number(56, 2)?);
    for entry in 0..count {
        if number(table + entry * size, 4)? == INTERPRETER as usize {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether a program lives under the library: one with an allocator of its own may not, when each asks
/// the other before it is ready.
fn tried(program: &Path, library: &Path) -> Result<(), String> {
    let mut command = Command::new(program);
    command.arg("--version").env("LD_PRELOAD", library).env("FAKETIME", "+1h");
    let ended = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    match ended {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{} ends under libfaketime: {status}", program.display())),
        Err(error) => Err(format!("{}: {error}", program.display())),
    }
}

/// Sets the clocks of the members, waits until one is seen to be off, and sets them right again.
pub(super) async fn jump(blow: &Blow) -> anyhow::Result<Effect> {
    let world = &blow.world;
    let Some(clocks) = &world.clocks else {
        return Ok(Effect::Skipped("the members were not started for it".to_owned()));
    };
    if let Some(missing) = &clocks.missing {
        return Ok(Effect::Skipped(missing.clone()));
    }
    let logs: Vec<Log> = blow.members.iter().flat_map(|member| logs(blow, *member)).collect();
    for member in &blow.members {
        clocks.set(*member, blow.event.amount)?;
    }
    let seen = seen(blow, &logs).await;
    blow.hold().await;
    for member in &blow.members {
        clocks.set(*member, 0)?;
    }
    let off = seen?;
    let wanted = blow.event.amount;
    let words = format!("a log line was written {off} s away from the machine's clock");
    Ok(Effect::if_so((off - wanted).abs() <= 5, words))
}

/// A file whose lines have a member's time.
struct Log {
    member: usize,
    file: PathBuf,
    /// How long it was before the clock was set: what was written a minute ago is no proof of a clock
    /// that is a minute behind.
    bytes: usize,
}

fn logs(blow: &Blow, member: usize) -> Vec<Log> {
    let cluster = blow.world.cluster.lock();
    let data = cluster.data_dir(member);
    let files = [data.join("state/db-1/LOG"), data.join("log/LOG"), cluster.log_file(member)];
    drop(cluster);
    let log = |file: PathBuf| {
        // One that is not there yet is new from its beginning.
        let bytes = fs::metadata(&file).map_or(0, |data| data.len());
        Log { member, file, bytes: usize::try_from(bytes).unwrap_or(usize::MAX) }
    };
    files.map(log).into()
}

/// How far off a member's clock is, as the new lines of its files say. A defragmentation makes it
/// write some.
async fn seen(blow: &Blow, logs: &[Log]) -> anyhow::Result<i64> {
    let world = &blow.world;
    tokio::time::sleep(Duration::from_secs(CACHE_SECONDS)).await;
    let start = Instant::now();
    let mut off = 0;
    while start.elapsed() < limits::RUN_CALL_DEADLINE {
        for member in &blow.members {
            // Only its log lines matter, whatever it answers.
            drop(world.api(*member)?.defragment().await);
            for log in logs.iter().filter(|log| log.member == *member) {
                let Some(last) = last_time(&log.file, log.bytes) else { continue };
                off = i64::try_from(last).unwrap_or(0) - now();
                if (off - blow.event.amount).abs() <= 5 {
                    return Ok(off);
                }
            }
        }
        tokio::time::sleep(limits::WATCH_RETRY_INTERVAL).await;
    }
    Ok(off)
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// The time in the last line of a log that has one, in seconds since 1970. Only what was added since it
/// had so many bytes counts; one that is shorter now was begun anew.
fn last_time(file: &Path, bytes_before: usize) -> Option<u64> {
    let bytes = fs::read(file).ok()?;
    let new = bytes.get(bytes_before..).unwrap_or(&bytes);
    let tail = String::from_utf8_lossy(&new[new.len().saturating_sub(8192)..]).into_owned();
    tail.lines().rev().find_map(time_in)
}

/// Finds `2026-11-21T22:50:15` or `2026/11/21-22:50:15` in a line.
fn time_in(line: &str) -> Option<u64> {
    let bytes = line.as_bytes();
    bytes.windows(19).find_map(|window| {
        let form = b"dddd-dd-dd-dd:dd:dd";
        let fits = window.iter().zip(form).all(|(byte, form)| match form {
            b'd' => byte.is_ascii_digit(),
            b'-' => matches!(byte, b'-' | b'/' | b'T'),
            _ => byte == form,
        });
        fits.then(|| {
            let number = |at: usize, size: usize| {
                window[at..at + size]
                    .iter()
                    .fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0'))
            };
            let days = days(number(0, 4), number(5, 2), number(8, 2));
            days * 86_400 + number(11, 2) * 3600 + number(14, 2) * 60 + number(17, 2)
        })
    })
}

/// Days since 1970 of a date: years begin in March here, so that the leap day is the last.
fn days(year: u64, month: u64, day: u64) -> u64 {
    let year = if month <= 2 { year - 1 } else { year };
    let since_march = (month + 9) % 12;
    let day_of_year = (153 * since_march + 2) / 5 + day - 1;
    (year * 365 + year / 4 - year / 100 + year / 400 + day_of_year).saturating_sub(719_468)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_dead_left_is_cleared_and_nothing_else() {
        let folder = tempfile::tempdir().expect("a folder");
        for name in
            ["faketime_shm_7", "sem.faketime_sem_7", "faketime_shm_8", "faketime_shm_x", "other_7"]
        {
            fs::write(folder.path().join(name), "").expect("a file");
        }
        clear_shared(folder.path(), |pid| pid == "8");
        let left = fs::read_dir(folder.path()).expect("a folder").flatten();
        let mut left: Vec<_> = left.map(|entry| entry.file_name()).collect();
        left.sort();
        assert_eq!(left, ["faketime_shm_8", "faketime_shm_x", "other_7"]);
    }

    /// Lines of a minute ago were taken for those of a clock that was set back by a minute.
    #[test]
    fn only_what_was_added_to_a_log_has_a_time() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("LOG");
        let (old, new) = ("1970/01/02-00:00:01 old\n", "1970/01/02-00:00:02 new\n");
        fs::write(&file, old).expect("a log");
        assert_eq!((last_time(&file, 0), last_time(&file, old.len())), (Some(86_401), None));
        fs::write(&file, format!("{old}{new}no time\n")).expect("a longer one");
        assert_eq!(last_time(&file, old.len()), Some(86_402));
        fs::write(&file, new).expect("one that was begun anew");
        assert_eq!(last_time(&file, old.len() + new.len()), Some(86_402));
    }

    #[test]
    fn times_are_found_in_lines_of_both_kinds() {
        assert_eq!(time_in("1970/01/02-00:00:01.5 x"), Some(86_401));
        assert_eq!(time_in("{\"ts\":\"2026-11-21T22:50:15.8Z\"}"), Some(1_795_301_415));
        assert_eq!(time_in("2000-03-01T00:00:00"), Some(951_868_800));
        assert_eq!(time_in("no time 12:00:00"), None);
    }
}
