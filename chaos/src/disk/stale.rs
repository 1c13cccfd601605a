//! Mounts of processes that were killed: found by their source's name, and taken away.

use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::mount::{MntFlags, umount2};
use nix::sys::stat::stat;

/// What the source of every disk begins with; the process that serves it follows.
const SOURCE: &str = "orlop-disk-of-";

/// The source of the disks of a process, as it stands in the list of mounts.
pub(super) fn source(process: u32) -> String {
    format!("{SOURCE}{process}")
}

/// Whether a disk of this process is mounted there.
pub(super) fn is_mounted(mountpoint: &Path) -> bool {
    let own = source(std::process::id());
    disks(&mounts()).any(|(at, source)| at == mountpoint && source == own)
}

/// Takes away every disk whose process has gone and which answers nobody. Those of others stay.
pub(super) fn reap() {
    for (at, source) in disks(&mounts()) {
        let process = source.trim_start_matches(SOURCE);
        if Path::new("/proc").join(process).exists() || stat(&at) != Err(Errno::ENOTCONN) {
            continue;
        }
        if let Err(error) = umount2(&at, MntFlags::MNT_DETACH) {
            tracing::warn!(mountpoint = %at.display(), %error, "a dead disk stays mounted");
        }
    }
}

fn mounts() -> String {
    std::fs::read_to_string("/proc/self/mounts").unwrap_or_default()
}

/// Where disks are mounted, with their sources.
fn disks(mounts: &str) -> impl Iterator<Item = (PathBuf, String)> {
    mounts.lines().filter_map(|line| {
        let mut words = line.split(' ');
        let (source, at) = (words.next()?, words.next()?);
        // The kernel writes spaces and the like as octal numbers.
        let at = at.replace("\\040", " ").replace("\\011", "\t").replace("\\134", "\\");
        source.starts_with(SOURCE).then(|| (PathBuf::from(at), source.to_owned()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_disks_are_found_in_the_list_of_mounts() {
        let mounts = "tmpfs /tmp tmpfs rw 0 0\n\
                      orlop-disk-of-7 /tmp/a\\040b fuse rw,user_id=0 0 0\n";
        let found: Vec<_> = disks(mounts).collect();
        assert_eq!(found, [(PathBuf::from("/tmp/a b"), "orlop-disk-of-7".to_owned())]);
    }
}
