//! Processes of a soak's rounds that were left running: found by the mark in their environment,
//! which all that a round starts inherits, and ended. A process id alone could be another's by now.

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
        let found = of(soak)?;
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
fn of(soak: &str) -> anyhow::Result<Vec<i32>> {
    let mark = format!("{MARK}={soak}");
    let own = i32::try_from(std::process::id()).ok();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").context("/proc")? {
        let name = entry?.file_name();
        let Some(process) = name.to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        // One that is not ours to read, or has just ended, is none of ours.
        let Ok(environment) = fs::read(format!("/proc/{process}/environ")) else { continue };
        let is_marked = environment.split(|byte| *byte == 0).any(|one| one == mark.as_bytes());
        if is_marked && Some(process) != own {
            found.push(process);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
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
}
