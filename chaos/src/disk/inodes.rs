//! The files that the kernel knows, and for how many of its lookups.

use std::collections::HashMap;
use std::fs::{File, Metadata};
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fuser::INodeNo;
use nix::errno::Errno;
use parking_lot::Mutex;

use super::unsynced::Log;

/// The root's number, to the kernel.
const ROOT: u64 = INodeNo::ROOT.0;

/// One file, folder or link behind the disk. As long as it is held, its number is not used anew.
#[derive(Debug)]
pub(super) struct Inode {
    pub number: u64,
    device: u64,
    /// Opened with `O_PATH`: it stays the same file whatever it is called.
    pub file: File,
    /// What a power cut would take back.
    pub log: Mutex<Log>,
}

impl Inode {
    /// A path that opens this very file, even after it was renamed or removed.
    pub(super) fn magic_path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.file.as_raw_fd()))
    }

    /// Its name from the root of the disk; one of them if it has several.
    pub(super) fn name(&self, root: &Path) -> PathBuf {
        let path = std::fs::read_link(self.magic_path()).unwrap_or_default();
        path.strip_prefix(root).map(Path::to_owned).unwrap_or(path)
    }
}

#[derive(Debug)]
struct Known {
    inode: Arc<Inode>,
    lookups: u64,
}

/// All of them.
#[derive(Debug)]
pub(super) struct Inodes {
    known: Mutex<HashMap<u64, Known>>,
    /// The root's own number behind the disk: to the kernel it has another.
    root: u64,
}

impl Inodes {
    pub(super) fn new(root: File) -> io::Result<Self> {
        let metadata = root.metadata()?;
        let number = ROOT;
        let inode = Inode { number, device: metadata.dev(), file: root, log: Mutex::default() };
        let root = Known { inode: Arc::new(inode), lookups: 1 };
        Ok(Self { known: Mutex::new(HashMap::from([(number, root)])), root: metadata.ino() })
    }

    pub(super) fn number(&self, ino: u64) -> u64 {
        if ino == self.root { ROOT } else { ino }
    }

    pub(super) fn get(&self, number: u64) -> io::Result<Arc<Inode>> {
        let known = self.known.lock();
        Ok(Arc::clone(&known.get(&number).ok_or(Errno::ESTALE)?.inode))
    }

    pub(super) fn all(&self) -> Vec<Arc<Inode>> {
        self.known.lock().values().map(|known| Arc::clone(&known.inode)).collect()
    }

    /// Notes that the kernel was told of a file.
    pub(super) fn look_up(&self, file: File, metadata: &Metadata) -> io::Result<Arc<Inode>> {
        let number = self.number(metadata.ino());
        let device = metadata.dev();
        let mut known = self.known.lock();
        let found = known.entry(number).or_insert_with(|| {
            let inode = Inode { number, device, file, log: Mutex::default() };
            Known { inode: Arc::new(inode), lookups: 0 }
        });
        if found.inode.device != device {
            // Another file system is mounted in the folder: its numbers are not ours.
            return Err(Errno::EXDEV.into());
        }
        found.lookups += 1;
        Ok(Arc::clone(&found.inode))
    }

    /// Notes that the kernel has forgotten that many lookups.
    pub(super) fn forget(&self, number: u64, lookups: u64) {
        if number == ROOT {
            return;
        }
        if let Some(known) = self.known.lock().get_mut(&number) {
            known.lookups = known.lookups.saturating_sub(lookups);
        }
        self.release(number);
    }

    /// Lets go of a file that the kernel does not know any more and a power cut would not change.
    pub(super) fn release(&self, number: u64) {
        let mut known = self.known.lock();
        let is_over = known.get(&number).is_some_and(|known| {
            let is_removed = || known.inode.file.metadata().is_ok_and(|file| file.nlink() == 0);
            // Whoever holds the log calls this afterwards.
            let is_synced = || known.inode.log.try_lock().is_some_and(|log| log.is_empty());
            known.lookups == 0 && (is_synced() || is_removed())
        });
        let gone = if is_over { known.remove(&number) } else { None };
        drop(known);
        // Closing the last descriptor of a large file that was removed takes long.
        drop(gone);
    }
}
