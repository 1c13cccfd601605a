//! The default space quota: sized to the disk that the data lie on.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

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
