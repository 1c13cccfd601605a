//! Processes of a soak's rounds that were left running: found by the mark in their environment,
//! which all that a round starts inherits, and ended. A process id alone could be another's by now.
//!
//! A process shows an empty environment for a moment while it becomes another program (execve has
//! given it its new memory, and has not written the new environment yet). So what has a program and
//! no environment is looked at again before it is called nobody's.

use std::collections::BTreeSet;
use std::fs;
use std::time::Instant;

use anyhow::{Context as _, ensure};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::limits;

/// The variable that says of which soak a process is.
pub(super) const MARK: &str = "ORLOP_SOAK";

/// Ends all processes of this soak's rounds, and says how many there were.
///
/// # Errors
/// If one does not end.
pub(super) async fn end(soak: &str) -> anyhow::Result<usize> {
    let start = Instant::now();
    let mut ended = BTreeSet::new();
    loop {
        let found = of(soak).await?;
        if found.is_empty() {
            return Ok(ended.len());
        }
        let deadline = limits::SOAK_END_DEADLINE;
        ensure!(start.elapsed() < deadline, "processes of a round do not end: {found:?}");
        for process in found {
            match kill(Pid::from_raw(process), Signal::SIGKILL) {
                Ok(()) | Err(Errno::ESRCH) => {}
                Err(error) => return Err(error).context(format!("process {process} of a round")),
            }
            ended.insert(process);
        }
        tokio::time::sleep(limits::POLL_INTERVAL).await;
    }
}

/// Those of this soak. What ended and was not waited for has no environment any more.
async fn of(soak: &str) -> anyhow::Result<Vec<i32>> {
    let mark = format!("{MARK}={soak}");
    let own = i32::try_from(std::process::id()).ok();
    let mut found = Vec::new();
    let mut unclear = Vec::new();
    for entry in fs::read_dir("/proc").context("/proc")? {
        let name = entry?.file_name();
        let Some(process) = name.to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        match look(process, &mark) {
            _ if Some(process) == own => {}
            Seen::Ours => found.push(process),
            Seen::Becoming => unclear.push(process),
            Seen::Foreign => {}
        }
    }
    for _ in 0..limits::SOAK_SECOND_LOOKS {
        if unclear.is_empty() {
            break;
        }
        tokio::time::sleep(limits::POLL_INTERVAL).await;
        unclear.retain(|process| match look(*process, &mark) {
            Seen::Ours => {
                found.push(*process);
                false
            }
            Seen::Becoming => true,
            Seen::Foreign => false,
        });
    }
    Ok(found)
}

/// What one look at a process says.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Ours,
    /// In the midst of an execve, or started without any variable.
    Becoming,
    /// Also one that is not ours to read, has just ended, or is the kernel's own.
    Foreign,
}

fn look(process: i32, mark: &str) -> Seen {
    let Ok(environment) = fs::read(format!("/proc/{process}/environ")) else {
        return Seen::Foreign;
    };
    if environment.split(|byte| *byte == 0).any(|one| one == mark.as_bytes()) {
        return Seen::Ours;
    }
    // What has ended and the kernel's threads have no program.
    let has_program = fs::read_link(format!("/proc/{process}/exe")).is_ok();
    if environment.is_empty() && has_program { Seen::Becoming } else { Seen::Foreign }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use tokio::process::Command;

    use super::*;

    /// Also what a round's process has left behind, in a session of its own. Nobody else's.
    #[tokio::test]
    async fn whatever_a_round_started_is_found() {
        let id = |name: &str| format!("{name}-{}", std::process::id());
        let script = |soak: String, text: &str| {
            let mut command = Command::new("/bin/sh");
            command.args(["-c", text]).env(MARK, soak).kill_on_drop(true).spawn().unwrap()
        };
        let mut other = script(id("other"), "exec sleep 600");
        let mut left = script(id("this"), "setsid sleep 600 & exit 0");
        assert!(left.wait().await.unwrap().success());
        assert_eq!(end(&id("this")).await.unwrap(), 1);
        assert_eq!(end(&id("this")).await.unwrap(), 0);
        assert!(other.try_wait().unwrap().is_none());
        assert_eq!(end(&id("other")).await.unwrap(), 1);
    }

    /// A process that becomes one program after the other has no environment for a part of its
    /// life; it is found in all of it (CI met it once, in that moment).
    #[tokio::test]
    async fn who_is_becoming_another_program_is_found() {
        let soak = format!("becoming-{}", std::process::id());
        for _ in 0..20 {
            let text =
                r#"n=40; [ "$1" ] && n=$1; [ $n = 0 ] && exec sleep 600; exec "$0" "$((n-1))""#;
            let folder = tempfile::tempdir().unwrap();
            let script = folder.path().join("again");
            fs::write(&script, format!("#!/bin/sh\n{text}\n")).unwrap();
            fs::set_permissions(&script, PermissionsExt::from_mode(0o755)).unwrap();
            let mut command = Command::new("/bin/sh");
            let mut one = command.arg(&script).env(MARK, &soak).kill_on_drop(true).spawn().unwrap();
            assert_eq!(end(&soak).await.unwrap(), 1);
            assert!(!one.wait().await.unwrap().success());
        }
    }
}
