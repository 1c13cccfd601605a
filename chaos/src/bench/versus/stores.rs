//! The two stores: three members each, both running all the time.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, ensure};

use super::VersusFlags;
use crate::cluster::{Cluster, Launcher};
use crate::disk::Disk;

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
    /// What makes every fsync slower, if anything does.
    pub slowed_by: Option<SlowedBy>,
}

/// What makes every fsync of all members slower.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SlowedBy {
    /// A disk of ours that all data is on.
    Disk,
    /// A tracer, where no disk can be mounted.
    Strace,
}

impl SlowedBy {
    /// What a reader of the figures must know.
    pub(super) fn note(self) -> &'static str {
        match self {
            Self::Disk => {
                "Both stores' data was on a disk of the load generator (FUSE), which added the \
                 delay to each fsync. What that disk costs stands under the generator's CPU time \
                 and in no figure of the stores, but it takes the machine's; each write of both \
                 goes through it."
            }
            Self::Strace => {
                "This machine mounts no FUSE: strace added the delay, and stops each thread for \
                 it. Its own CPU time is in no figure, but it takes the machine's."
            }
        }
    }
}

impl Stores {
    /// Starts them anew, with every fsync made slower if that is asked for.
    pub(super) async fn start(
        flags: &VersusFlags,
        slow_fsync: Option<Duration>,
    ) -> anyhow::Result<Self> {
        let mut etcd = Launcher::etcd(&flags.etcd);
        etcd.extra.push(ETCD_QUOTA.to_owned());
        let orlop = Launcher::orlop(&orlop_binary(flags)?);
        let Some(delay) = slow_fsync else {
            let etcd = Cluster::start(etcd, MEMBERS).await.context("etcd does not start")?;
            let orlop = Cluster::start(orlop, MEMBERS).await.context("orlop does not start")?;
            return Ok(Self { etcd, orlop, is_loaded: false, slowed_by: None });
        };
        let Err(reason) = Disk::check() else {
            let etcd = on_slow_disk(etcd, delay).await.context("etcd does not start")?;
            let orlop = on_slow_disk(orlop, delay).await.context("orlop does not start")?;
            return Ok(Self { etcd, orlop, is_loaded: false, slowed_by: Some(SlowedBy::Disk) });
        };
        let strace = Command::new("strace").arg("-V").stdout(Stdio::null()).status();
        let is_there = strace.is_ok_and(|status| status.success());
        ensure!(is_there, "--slow-fsync needs FUSE ({reason:#}) or strace, which is not there");
        let (etcd, orlop) = (slowed(etcd, delay), slowed(orlop, delay));
        let etcd = Cluster::start(etcd, MEMBERS).await.context("etcd does not start")?;
        let orlop = Cluster::start(orlop, MEMBERS).await.context("orlop does not start")?;
        Ok(Self { etcd, orlop, is_loaded: false, slowed_by: Some(SlowedBy::Strace) })
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

/// Members with all their data on a disk whose syncs are slow.
async fn on_slow_disk(launcher: Launcher, delay: Duration) -> anyhow::Result<Cluster> {
    let cluster = Cluster::start_on_disk(Disk::mount, launcher, MEMBERS).await?;
    for member in 0..MEMBERS {
        cluster.disk(member).context("it was just mounted")?.slow_syncs(delay);
    }
    Ok(cluster)
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
