//! What goes wrong on request: slow syncs, errors, a full disk, a flipped bit.

use std::io;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use nix::errno::Errno;
use parking_lot::RwLock;

/// What a program asks of a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    Read,
    /// Also making a file longer or shorter.
    Write,
    /// Of a file or a folder.
    Sync,
    /// Names and attributes.
    Other,
}

/// Which operations fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operations {
    /// Writes, and what makes a file longer or shorter.
    Writes,
    /// fsync and fdatasync of files and folders.
    Syncs,
    /// Everything that reaches the disk: the kernel answers some of what it knows by itself.
    All,
}

/// Something that goes wrong until it is lifted.
#[derive(Clone, Debug)]
pub enum Fault {
    /// Operations fail.
    Fail {
        /// Which.
        operations: Operations,
        /// With which error.
        errno: Errno,
        /// The how many-th of them since the fault began: `1..=u64::MAX` is each.
        turns: RangeInclusive<u64>,
    },
    /// After files grew by that many bytes, nothing that would make one longer is done (`ENOSPC`).
    /// Bytes that are written over are free, and removing a file gives nothing back. The first
    /// write that does not fit fails whole and takes the rest of the room.
    Full {
        /// How many.
        after: u64,
    },
    /// Reads have one bit flipped. The file is not touched.
    Flip {
        /// Where in the file.
        offset: u64,
        /// Which bit of that byte.
        bit: u8,
    },
}

/// A fault under way, or one that was.
#[derive(Clone, Debug)]
pub struct Injected(Arc<Active>);

impl Injected {
    /// How many operations failed, or answered wrongly, because of it.
    pub fn count(&self) -> u64 {
        self.0.taken.load(Ordering::SeqCst)
    }

    pub(super) fn is_in_reads(&self) -> bool {
        matches!(self.0.fault, Fault::Flip { .. })
    }
}

#[derive(Debug)]
struct Active {
    fault: Fault,
    path: String,
    /// Operations that it was about.
    seen: AtomicU64,
    /// Those that it changed.
    taken: AtomicU64,
    /// Bytes until the disk is full.
    room: AtomicU64,
}

/// All faults of one disk.
#[derive(Debug, Default)]
pub(super) struct Faults {
    active: RwLock<Vec<Arc<Active>>>,
    sync_delay_us: AtomicU64,
    delayed: AtomicU64,
}

impl Faults {
    pub(super) fn slow_syncs(&self, delay: Duration) {
        let us = u64::try_from(delay.as_micros()).unwrap_or(u64::MAX);
        self.sync_delay_us.store(us, Ordering::SeqCst);
    }

    pub(super) fn delayed(&self) -> u64 {
        self.delayed.load(Ordering::SeqCst)
    }

    /// Waits as long as a sync takes longer.
    pub(super) fn delay_sync(&self) {
        let us = self.sync_delay_us.load(Ordering::SeqCst);
        if us > 0 {
            self.delayed.fetch_add(1, Ordering::SeqCst);
            std::thread::sleep(Duration::from_micros(us));
        }
    }

    pub(super) fn inject(&self, fault: Fault, path: &str) -> Injected {
        let room = match fault {
            Fault::Full { after } => after,
            Fault::Fail { .. } | Fault::Flip { .. } => 0,
        };
        let active = Arc::new(Active {
            fault,
            path: path.to_owned(),
            seen: AtomicU64::new(0),
            taken: AtomicU64::new(0),
            room: AtomicU64::new(room),
        });
        self.active.write().push(Arc::clone(&active));
        Injected(active)
    }

    pub(super) fn lift(&self, injected: &Injected) {
        self.active.write().retain(|active| !Arc::ptr_eq(active, &injected.0));
    }

    /// The faults that are about a file. Its path is only asked for if that matters.
    fn about(&self, path: &dyn Fn() -> PathBuf) -> Vec<Arc<Active>> {
        let active = self.active.read();
        let mut found = active.clone();
        drop(active);
        if found.iter().any(|active| !active.path.is_empty()) {
            let path = path();
            let path = path.to_string_lossy();
            found.retain(|active| path.contains(&active.path));
        }
        found
    }

    /// Fails if the operation is to fail.
    pub(super) fn check(&self, operation: Operation, path: &dyn Fn() -> PathBuf) -> io::Result<()> {
        for active in self.about(path) {
            let Fault::Fail { operations, errno, turns } = &active.fault else { continue };
            let is_meant = match operations {
                Operations::Writes => operation == Operation::Write,
                Operations::Syncs => operation == Operation::Sync,
                Operations::All => true,
            };
            if is_meant && turns.contains(&(active.seen.fetch_add(1, Ordering::SeqCst) + 1)) {
                active.taken.fetch_add(1, Ordering::SeqCst);
                return Err((*errno).into());
            }
        }
        Ok(())
    }

    /// Bytes until the disk is full, if that is limited.
    pub(super) fn room(&self) -> Option<u64> {
        let active = self.active.read();
        let limited = active.iter().filter(|active| matches!(active.fault, Fault::Full { .. }));
        limited.map(|active| active.room.load(Ordering::SeqCst)).min()
    }

    /// Takes room for a file that grows by so many bytes.
    pub(super) fn grow(&self, bytes: u64, path: &dyn Fn() -> PathBuf) -> io::Result<()> {
        for active in self.about(path) {
            if bytes == 0 || !matches!(active.fault, Fault::Full { .. }) {
                continue;
            }
            let left = |room: u64| room.checked_sub(bytes);
            let order = Ordering::SeqCst;
            if active.room.fetch_update(order, order, left).is_err() {
                active.room.store(0, order);
                active.taken.fetch_add(1, order);
                return Err(Errno::ENOSPC.into());
            }
        }
        Ok(())
    }

    /// Flips what is to be flipped in what was read at an offset.
    pub(super) fn flip(&self, data: &mut [u8], offset: u64, path: &dyn Fn() -> PathBuf) {
        for active in self.about(path) {
            let Fault::Flip { offset: at, bit } = active.fault else { continue };
            let index = at.checked_sub(offset).and_then(|index| usize::try_from(index).ok());
            if let Some(byte) = index.and_then(|index| data.get_mut(index)) {
                *byte ^= 1 << (bit % 8);
                active.taken.fetch_add(1, Ordering::SeqCst);
            }
        }
    }
}
