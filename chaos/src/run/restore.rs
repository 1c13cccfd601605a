//! A backup is worth what can be made of it: a snapshot of a member under load becomes a store of its own, on
//! the operator's host, and what that holds is compared with the log when the run is over (C5).

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Instant;

use anyhow::{Context as _, bail, ensure};
use tokio::process::Command;

use super::operator;
use super::strike::{Blow, Effect};
use crate::client::MemberClient;
use crate::cluster::{Launcher, Process};
use crate::history::{Action, Outcome, Restored, Step, StepReply};
use crate::limits;

const NAME: &str = "restored";

/// Nobody else has these: the operator's host runs nothing, and one operator is at work at a time.
const CLIENT_URL: &str = "http://127.0.0.1:2379";
const PEER_URL: &str = "http://127.0.0.1:2380";

/// Takes a snapshot, restores it, and reads everything that is in it.
pub(super) async fn restore(blow: &Blow) -> anyhow::Result<Effect> {
    let launcher = blow.world.cluster.lock().launcher().clone();
    let tool = match Tool::of(&launcher) {
        Ok(tool) => tool,
        Err(why) => return Ok(Effect::Skipped(why)),
    };
    let member = blow.members[0];
    let snapshot = match operator::snapshot(blow, member).await? {
        Ok(snapshot) => snapshot,
        Err(wrong) => return Ok(Effect::Nothing(wrong)),
    };
    let begun = Instant::now();
    let folder = blow.world.cluster.lock().dir().to_owned();
    let folder = tempfile::Builder::new().prefix("restored-").tempdir_in(folder)?;
    let file = folder.path().join("snapshot.db");
    tokio::fs::write(&file, &snapshot).await?;
    let data = folder.path().join("data");
    tool.restore(&file, &data).await?;
    let log = folder.path().join("log");
    let process = Process::spawn(&launcher, &arguments(&data), &log)?;
    let restored = everything(process, begun).await;
    let restored = match restored {
        Ok(restored) => restored,
        Err(error) => {
            let said = tokio::fs::read_to_string(&log).await.unwrap_or_default();
            let last = said.lines().next_back().unwrap_or("nothing").to_owned();
            let wrong = format!("a restored member does not serve: {error:#}; it said: {last}");
            blow.world.told.lock().crashes.push(wrong.clone());
            return Ok(Effect::Nothing(wrong));
        }
    };
    let words = format!(
        "{} keys at revision {}, out of {} bytes, serving {} ms after the snapshot",
        restored.live.len(),
        restored.revision,
        snapshot.len(),
        begun.elapsed().as_millis()
    );
    blow.world.told.lock().restored.push(Restored { member, ..restored });
    Ok(Effect::Took(words))
}

/// What makes a data folder out of a snapshot.
#[derive(Debug, PartialEq, Eq)]
struct Tool {
    program: PathBuf,
    words: Vec<&'static str>,
}

impl Tool {
    /// Our program restores by itself; etcd has another one for it, beside its own.
    fn of(launcher: &Launcher) -> Result<Self, String> {
        if !launcher.arguments.is_empty() {
            let words = vec!["backup", "restore", "--bump-revision=0"];
            return Ok(Self { program: launcher.program.clone(), words });
        }
        let program = launcher.program.with_file_name("etcdutl");
        if program.is_file() {
            return Ok(Self { program, words: vec!["snapshot", "restore"] });
        }
        Err(format!("to restore takes {}, which is not there", program.display()))
    }

    async fn restore(&self, file: &Path, data: &Path) -> anyhow::Result<()> {
        let mut command = Command::new(&self.program);
        command.args(&self.words).arg(file).arg("--data-dir").arg(data);
        command.arg(format!("--name={NAME}")).arg(format!("--initial-cluster={NAME}={PEER_URL}"));
        command.arg(format!("--initial-cluster-token={NAME}"));
        if self.words[0] == "snapshot" {
            command.arg(format!("--initial-advertise-peer-urls={PEER_URL}"));
        }
        command.stdin(Stdio::null()).kill_on_drop(true);
        let ended = tokio::time::timeout(limits::RUN_RESTORE_DEADLINE, command.output()).await;
        let output = ended.context("the restore does not end")??;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "the restore ended with {}: {said}", output.status);
        Ok(())
    }
}

fn arguments(data: &Path) -> Vec<String> {
    vec![
        format!("--name={NAME}"),
        format!("--data-dir={}", data.display()),
        format!("--listen-client-urls={CLIENT_URL}"),
        format!("--advertise-client-urls={CLIENT_URL}"),
        format!("--listen-peer-urls={PEER_URL}"),
        format!("--initial-advertise-peer-urls={PEER_URL}"),
        format!("--initial-cluster={NAME}={PEER_URL}"),
    ]
}

/// Reads as soon as it serves: its leases begin anew, and end what hangs on them.
async fn everything(mut process: Process, begun: Instant) -> anyhow::Result<Restored> {
    let list = Action::Single { step: Step::List { prefix: String::new() }, serializable: false };
    // It logs in when it is refused: the users are restored, too.
    let mut client = MemberClient::new(CLIENT_URL)?;
    loop {
        if let Some(status) = process.exited() {
            bail!("it ended: {status}");
        }
        match client.execute(&list).await {
            Outcome::Ok(reply) => {
                let revision = reply.revision;
                let Some(StepReply::Read { found: live }) = reply.steps.into_iter().next() else {
                    bail!("it answers a list with something else");
                };
                process.kill()?;
                return Ok(Restored { member: 0, revision, live });
            }
            Outcome::Refused(why) | Outcome::Unknown(why) => {
                ensure!(begun.elapsed() < limits::RUN_RESTORE_DEADLINE, "{why}");
            }
        }
        tokio::time::sleep(limits::POLL_INTERVAL).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_store_is_restored_by_its_own_tool() {
        let ours = Launcher::orlop(Path::new("/opt/orlop"));
        let tool = Tool::of(&ours).expect("it restores by itself");
        assert_eq!((tool.program.as_path(), tool.words[0]), (Path::new("/opt/orlop"), "backup"));
        let folder = tempfile::tempdir().expect("a folder");
        let etcd = Launcher::etcd(&folder.path().join("etcd"));
        let why = Tool::of(&etcd).expect_err("it has no tool");
        assert!(why.contains("etcdutl, which is not there"), "{why}");
        std::fs::write(folder.path().join("etcdutl"), "").expect("a file");
        assert_eq!(Tool::of(&etcd).expect("it has one").words, ["snapshot", "restore"]);
    }
}
