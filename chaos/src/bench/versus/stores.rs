//! The two stores: three members each, both running all the time.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, ensure};

use super::VersusFlags;
use crate::cluster::{Cluster, Launcher};

const MEMBERS: usize = 3;

/// Ten million keys do not fit into etcd's own 2 GB.
const ETCD_QUOTA: &str = "--quota-backend-bytes=17179869184";

/// One of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Etcd,
    Orlop,
}

impl Side {
    /// In the order in which they take turns.
    pub(super) const BOTH: [Self; 2] = [Self::Etcd, Self::Orlop];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::Orlop => "orlop",
        }
    }
}

/// Both. Dropping it kills all members and removes their data.
#[derive(Debug)]
pub(super) struct Stores {
    etcd: Cluster,
    orlop: Cluster,
    /// Whether the many keys are there.
    pub is_loaded: bool,
}

impl Stores {
    /// Starts them anew, with every fsync made slower if that is asked for.
    pub(super) async fn start(
        flags: &VersusFlags,
        slow_fsync: Option<Duration>,
    ) -> anyhow::Result<Self> {
        let mut etcd = Launcher::etcd(&flags.etcd);
        etcd.extra.push(ETCD_QUOTA.to_owned());
        let mut orlop = Launcher::orlop(&orlop_binary(flags)?);
        if let Some(delay) = slow_fsync {
            let strace = Command::new("strace").arg("-V").stdout(Stdio::null()).status();
            let there = strace.is_ok_and(|status| status.success());
            ensure!(there, "--slow-fsync needs strace, which is not there: install it");
            (etcd, orlop) = (slowed(etcd, delay), slowed(orlop, delay));
        }
        let etcd = Cluster::start(etcd, MEMBERS).await.context("etcd does not start")?;
        let orlop = Cluster::start(orlop, MEMBERS).await.context("orlop does not start")?;
        Ok(Self { etcd, orlop, is_loaded: false })
    }

    pub(super) fn of(&mut self, side: Side) -> &mut Cluster {
        match side {
            Side::Etcd => &mut self.etcd,
            Side::Orlop => &mut self.orlop,
        }
    }
}

pub(super) fn orlop_binary(flags: &VersusFlags) -> anyhow::Result<PathBuf> {
    Ok(flags.orlop.clone().map_or_else(std::env::current_exe, Ok)?)
}

/// The same program under strace, which delays its fsyncs. With `-D` strace is the grandchild, so
/// that the process id, signals and CPU time are those of the member.
fn slowed(launcher: Launcher, delay: Duration) -> Launcher {
    let inject = format!("inject=fdatasync,fsync:delay_enter={}", delay.as_micros());
    let strace = ["-D", "-f", "--seccomp-bpf", "-qq", "-e", "trace=fdatasync,fsync", "-e", &inject];
    let program = launcher.program.display().to_string();
    let mut arguments: Vec<String> = strace.map(str::to_owned).to_vec();
    arguments.extend(["-o", "/dev/null", "--", &program].map(str::to_owned));
    arguments.extend(launcher.arguments);
    Launcher { program: Path::new("strace").to_owned(), arguments, extra: launcher.extra }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slowed_member_keeps_its_own_words_and_its_process_id() {
        let slowed = slowed(Launcher::orlop(Path::new("bin/orlop")), Duration::from_millis(4));
        let line = slowed.arguments.join(" ");
        assert_eq!(slowed.program, Path::new("strace"));
        assert!(line.starts_with("-D "), "{line}");
        assert!(line.contains("delay_enter=4000"), "{line}");
        assert!(line.ends_with("-- bin/orlop store"), "{line}");
    }
}
