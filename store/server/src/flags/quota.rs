//! The default space quota: sized to the disk that the data lie on.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// etcd's default, where the disk cannot be asked.
const ETCDS: u64 = 2 << 30;

/// Bytes of a disk, as far as they concern one data folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Room {
    /// What the folder takes already.
    own: u64,
    /// What is free for it to grow.
    free: u64,
}

/// Half of what the store could take, in whole MiB: a defragmentation, a snapshot for a new member or
/// a backup's checkpoint may take as much again for a while. At the quota clients are refused in good
/// order, long before the disk is full. What the folder takes counts, so that it stays the same when a
/// member starts again with more data.
fn default_quota(room: Room) -> u64 {
    const MIB: u64 = 1 << 20;
    (room.own.saturating_add(room.free) / 2 / MIB * MIB).max(MIB)
}

/// The quota of each of some members that lie on one disk: together they have what a single one would
/// have there.
fn share(room: Room, members: usize) -> u64 {
    const MIB: u64 = 1 << 20;
    (default_quota(room) / u64::try_from(members.max(1)).unwrap_or(u64::MAX) / MIB * MIB).max(MIB)
}

/// The default quota, in bytes, of each of the members whose data folders lie on one disk. By itself a
/// member takes half of what its disk has for it, as if it were there alone.
///
/// # Errors
/// If the disk cannot be asked, or a folder cannot be read.
pub fn shared_quota(data_dirs: &[PathBuf]) -> io::Result<u64> {
    let mut room = Room { own: 0, free: 0 };
    for data_dir in data_dirs {
        let Room { own, free } = self::room(data_dir)?;
        room = Room { own: room.own.saturating_add(own), free };
    }
    Ok(share(room, data_dirs.len()))
}

/// What the flag comes to in bytes; 0: no limit. As in etcd 0 stands for the default, and a negative
/// number for no limit.
pub(super) fn quota(given: i64, data_dir: &Path) -> u64 {
    if given != 0 {
        return u64::try_from(given).unwrap_or(0);
    }
    match room(data_dir) {
        Ok(room) => {
            let quota_bytes = default_quota(room);
            let Room { own, free } = room;
            tracing::info!(
                quota_bytes,
                own_bytes = own,
                free_bytes = free,
                "the space quota is half of what the disk has for the store"
            );
            if quota_bytes < ETCDS {
                tracing::warn!(quota_bytes, "the disk has little room for the store");
            }
            quota_bytes
        }
        Err(error) => {
            let folder = data_dir.display();
            tracing::warn!(%error, quota_bytes = ETCDS, "cannot see the room that {folder} has");
            ETCDS
        }
    }
}

fn room(data_dir: &Path) -> io::Result<Room> {
    // The folder may be made later.
    let there = data_dir.ancestors().find(|path| path.exists());
    let there = there.filter(|path| !path.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let disk = nix::sys::statvfs::statvfs(there)?;
    let mut files = BTreeSet::new();
    let own = if data_dir.is_dir() { taken(data_dir, &mut files)? } else { 0 };
    Ok(Room { own, free: disk.blocks_available().saturating_mul(disk.fragment_size()) })
}

/// What a folder takes. Files that are there under several names, as those of checkpoints, count once.
fn taken(folder: &Path, files: &mut BTreeSet<u64>) -> io::Result<u64> {
    let mut sum = 0;
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let data = fs::symlink_metadata(&path)?;
        if data.is_dir() {
            sum += taken(&path, files)?;
        } else if data.is_file() && files.insert(data.ino()) {
            sum += data.blocks() * 512;
        }
    }
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    #[test]
    fn the_default_quota_is_half_of_what_the_disk_has_for_the_store() {
        let quota = |own, free| default_quota(Room { own, free });
        assert_eq!(quota(0, 100 * GIB), 50 * GIB, "no cliff at 2 or 8 GiB");
        assert_eq!(quota(30 * GIB, 70 * GIB), 50 * GIB, "data do not change it");
        assert_eq!(quota(0, 3 * GIB), GIB + GIB / 2, "less than etcd's where there is less");
        assert_eq!(quota(0, 0), 1 << 20, "0 would mean no limit");
        assert_eq!(quota(u64::MAX, 1), u64::MAX >> 21 << 20);
    }

    #[test]
    fn members_on_one_disk_share_what_one_would_have() {
        let quota = |own, free, members| share(Room { own, free }, members);
        assert_eq!(quota(0, 100 * GIB, 1), 50 * GIB);
        assert_eq!(quota(0, 90 * GIB, 3), 15 * GIB, "three fill half of the disk, not all of it");
        assert_eq!(quota(30 * GIB, 60 * GIB, 3), 15 * GIB, "data do not change it");
        assert_eq!(quota(0, 10 << 20, 3), 1 << 20, "whole MiB");
        assert_eq!(quota(0, 0, 5), 1 << 20, "0 would mean no limit");

        let dir = tempfile::tempdir().unwrap();
        let folders: Vec<PathBuf> = (0..3).map(|n| dir.path().join(format!("m{n}"))).collect();
        let (one, three) = (shared_quota(&folders[..1]).unwrap(), shared_quota(&folders).unwrap());
        // Others write to the disk meanwhile.
        assert!(three <= one / 2 || one <= 4 << 20, "{one} for one, {three} for each of three");
    }

    #[test]
    fn a_quota_that_is_given_is_taken_as_it_is() {
        let nowhere = Path::new("/nonexistent/folder");
        assert_eq!(quota(5 * GIB as i64, nowhere), 5 * GIB);
        assert_eq!(quota(-1, nowhere), 0, "no limit");
        assert!(quota(0, nowhere) >= 1 << 20, "of the disk on which the folder will be made");
    }

    #[test]
    fn a_file_with_two_names_is_counted_once() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("checkpoint")).unwrap();
        fs::write(dir.path().join("a.sst"), vec![1; 100_000]).unwrap();
        let once = taken(dir.path(), &mut BTreeSet::new()).unwrap();
        fs::hard_link(dir.path().join("a.sst"), dir.path().join("checkpoint/a.sst")).unwrap();
        assert_eq!(taken(dir.path(), &mut BTreeSet::new()).unwrap(), once);
        assert!(once >= 100_000);
    }
}
