//! One round of a soak: a process with a deadline, whose words go to a file.

use std::fs::File;
use std::future::Future;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use tokio::process::{Child, Command};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::strays;
use crate::report::summary::Summary;

/// Where a round writes its figures, in its folder.
pub(super) const SUMMARY: &str = "summary.json";
/// Where everything that it says goes.
const LOG: &str = "log";
/// Where its temporary files are.
const TEMPORARY: &str = "tmp";

/// What is run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Task<'a> {
    pub(super) program: &'a Path,
    pub(super) words: &'a [String],
    /// Made for it; whatever is there goes.
    pub(super) folder: &'a Path,
    /// What the processes of this soak are known by.
    pub(super) soak: &'a str,
    /// How long it may take to end when it is asked to.
    pub(super) grace: Duration,
}

/// How a round ended.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) summary: Option<Summary>,
    /// In words, when there are no figures.
    pub(super) end: String,
}

/// Runs a task to its end, or until it is `late`; `None` when `shutdown` fired before.
pub(super) async fn run(
    task: Task<'_>,
    late: impl Future<Output = ()>,
    shutdown: &CancellationToken,
) -> anyhow::Result<Option<Ended>> {
    let mut child = start(task)?;
    tokio::select! {
        status = child.wait() => {
            let status = status.context("waiting for a round")?;
            Ok(Some(judge(status, &task.folder.join(SUMMARY))))
        }
        () = late => {
            end(child, task.grace).await?;
            let end = "it had not ended at its deadline, and was killed".to_owned();
            Ok(Some(Ended { summary: None, end }))
        }
        () = shutdown.cancelled() => {
            end(child, task.grace).await?;
            Ok(None)
        }
    }
}

fn start(task: Task<'_>) -> anyhow::Result<Child> {
    let Task { program, words, folder, soak, .. } = task;
    let name = || folder.display().to_string();
    if folder.exists() {
        std::fs::remove_dir_all(folder).with_context(name)?;
    }
    let temporary = folder.join(TEMPORARY);
    std::fs::create_dir_all(&temporary).with_context(name)?;
    let log = File::create(folder.join(LOG)).with_context(name)?;
    Command::new(program)
        .args(words)
        .env(strays::MARK, soak)
        .env("TMPDIR", temporary)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        // A Ctrl-C at the terminal is the soak's, which passes it on.
        .process_group(0)
        .spawn()
        .with_context(|| format!("cannot run {}", program.display()))
}

/// A program that fails has to say in its figures that it failed; whatever else is no pass.
fn judge(status: ExitStatus, summary: &Path) -> Ended {
    match Summary::read(summary) {
        Ok(summary) if summary.passed == status.success() => {
            Ended { summary: Some(summary), end: String::new() }
        }
        Ok(summary) => {
            let said = if summary.passed { "passed" } else { "failed" };
            Ended { summary: None, end: format!("it says that it {said}, and ended with {status}") }
        }
        Err(error) => Ended { summary: None, end: format!("it ended with {status}; {error:#}") },
    }
}

/// SIGINT, so that it takes its clusters with it; SIGKILL to it and its own if that takes too long.
async fn end(mut child: Child, grace: Duration) -> anyhow::Result<()> {
    let id = child.id().context("a round that runs has a process")?;
    let id = Pid::from_raw(i32::try_from(id).context("a process id is small")?);
    // Until it is waited for, its id is nobody else's.
    kill(id, Signal::SIGINT).context("SIGINT to a round")?;
    if timeout(grace, child.wait()).await.is_err() {
        killpg(id, Signal::SIGKILL).context("SIGKILL to a round")?;
        child.wait().await.context("waiting for a killed round")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::time::Instant;

    use super::*;
    use crate::limits;

    /// A script as a round; FOLDER in it is the round's.
    async fn ended(
        (text, grace): (&str, Duration),
        late: impl AsyncFnOnce(&Path),
        shutdown: &CancellationToken,
    ) -> (Option<Ended>, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("round");
        let text = text.replace("FOLDER", &folder.display().to_string());
        let words = ["-c".to_owned(), text];
        let soak = format!("round-{}", std::process::id());
        let program = Path::new("/bin/sh");
        let task = Task { program, words: &words, folder: &folder, soak: &soak, grace };
        let ended = run(task, late(&folder), shutdown).await.unwrap();
        (ended, dir)
    }

    async fn ended_by_itself(text: &str) -> Ended {
        let forever = CancellationToken::new();
        let script = (text, limits::SOAK_END_DEADLINE);
        ended(script, async |_| pending().await, &forever).await.0.unwrap()
    }

    async fn there(file: &Path) {
        while !file.exists() {
            tokio::task::yield_now().await;
        }
    }

    fn figures(passed: bool) -> String {
        let summary = Summary { passed, operations: 7, ..Summary::default() };
        serde_json::to_string(&summary).unwrap()
    }

    #[tokio::test]
    async fn a_round_that_ends_well_is_taken_by_its_word() {
        let text = format!("echo '{}' > FOLDER/summary.json", figures(true));
        let ended = ended_by_itself(&text).await;
        assert_eq!(ended.summary.map(|summary| summary.operations), Some(7));
    }

    #[tokio::test]
    async fn a_round_that_dies_after_it_said_passed_is_no_pass() {
        let text = format!("echo '{}' > FOLDER/summary.json; kill -9 $$", figures(true));
        let ended = ended_by_itself(&text).await;
        assert!(ended.summary.is_none());
        assert!(ended.end.contains("signal: 9"), "{}", ended.end);
    }

    #[tokio::test]
    async fn a_round_without_a_word_is_no_pass() {
        let ended = ended_by_itself("exit 0").await;
        assert!(ended.summary.is_none());
        assert!(ended.end.contains("summary.json"), "{}", ended.end);
    }

    /// A Ctrl-C goes on to the round, which ends by itself.
    #[tokio::test]
    async fn a_round_is_interrupted_with_its_soak() {
        let text = "trap 'echo ended > FOLDER/said; exit' INT; touch FOLDER/up; sleep 600 & wait";
        let shutdown = CancellationToken::new();
        let interrupt = async |folder: &Path| {
            there(&folder.join("up")).await;
            shutdown.cancel();
            pending::<()>().await;
        };
        let (ended, dir) = ended((text, limits::SOAK_END_DEADLINE), interrupt, &shutdown).await;
        assert!(ended.is_none());
        assert_eq!(std::fs::read_to_string(dir.path().join("round/said")).unwrap(), "ended\n");
    }

    /// One that does not listen is killed with all that it started.
    #[tokio::test]
    async fn a_round_that_hangs_is_killed_at_its_deadline() {
        let text = "trap '' INT; sleep 600 & echo $! > FOLDER/child; mv FOLDER/child FOLDER/up; \
                    wait; wait";
        let forever = CancellationToken::new();
        let late = async |folder: &Path| there(&folder.join("up")).await;
        let (ended, dir) = ended((text, Duration::from_millis(1)), late, &forever).await;
        let ended = ended.unwrap();
        assert!(ended.summary.is_none());
        assert!(ended.end.contains("deadline"), "{}", ended.end);
        let child = std::fs::read_to_string(dir.path().join("round/up")).unwrap();
        let stat = format!("/proc/{}/stat", child.trim());
        let is_gone = || std::fs::read_to_string(&stat).map_or(true, |stat| stat.contains(") Z "));
        let start = Instant::now();
        while !is_gone() {
            assert!(start.elapsed() < limits::SOAK_END_DEADLINE, "what it started is still there");
            tokio::task::yield_now().await;
        }
    }
}
