//! What files hold, passed through to the folder behind the disk.

use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{FileExt as _, PermissionsExt as _, chown};
use std::sync::Arc;

use fuser::{FileAttr, TimeOrNow};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, FallocateFlags, OFlag, fallocate, open, openat};
use nix::sys::stat::{Mode, UtimensatFlags, utimensat};
use nix::sys::time::TimeSpec;
use parking_lot::Mutex;

use super::faults::Operation;
use super::inodes::Inode;
use super::tree::{Entry, Tree, attributes};

/// A file or folder that a program has open.
#[derive(Debug)]
pub(super) struct Open {
    pub inode: Arc<Inode>,
    pub file: File,
    /// What the folder had in it when a program last began to read it.
    entries: Mutex<Arc<Vec<Entry>>>,
}

/// What is to be changed of a file's attributes.
#[derive(Debug, Default)]
pub(super) struct Changes {
    pub mode: Option<u32>,
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    pub size: Option<u64>,
    pub atime: Option<TimeOrNow>,
    pub mtime: Option<TimeOrNow>,
}

impl Tree {
    pub(super) fn open_file(&self, number: u64, flags: i32) -> io::Result<u64> {
        let inode = self.inodes.get(number)?;
        let _powered = self.begin(Operation::Other, &|| self.name(&inode))?;
        let file = open(&inode.magic_path(), self.flags(flags), Mode::empty())?.into();
        Ok(self.opened(inode, file))
    }

    fn opened(&self, inode: Arc<Inode>, file: File) -> u64 {
        let open = Open { inode, file, entries: Mutex::default() };
        let handle = self.handle();
        self.open.lock().insert(handle, Arc::new(open));
        handle
    }

    /// Makes a new file and opens it.
    pub(super) fn create(
        &self,
        folder: u64,
        name: &OsStr,
        mode: u32,
        flags: i32,
    ) -> io::Result<(FileAttr, u64)> {
        let folder = self.inodes.get(folder)?;
        let _powered = self.begin(Operation::Other, &|| self.name(&folder).join(name))?;
        let exclusive = OFlag::from_bits_truncate(flags) & OFlag::O_EXCL;
        let flags = self.flags(flags) | exclusive | OFlag::O_CREAT | OFlag::O_NOFOLLOW;
        let mode = Mode::from_bits_truncate(mode);
        let file: File = openat(&folder.file, name, flags, mode)?.into();
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        let same = open(path.as_str(), OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())?;
        let attributes = self.known(same.into())?;
        let inode = self.inodes.get(attributes.ino.0)?;
        Ok((attributes, self.opened(inode, file)))
    }

    /// How a file is opened behind the disk. The kernel says where each write goes, has cut the
    /// file off if it was told to, and asks for a sync after each write if the program wants that.
    fn flags(&self, flags: i32) -> OFlag {
        let flags = OFlag::from_bits_truncate(flags);
        let mut flags = flags & OFlag::O_ACCMODE | OFlag::O_CLOEXEC;
        if self.is_volatile && flags & OFlag::O_ACCMODE == OFlag::O_WRONLY {
            // What is written over is read before.
            flags = flags.difference(OFlag::O_ACCMODE) | OFlag::O_RDWR;
        }
        flags
    }

    fn find(&self, handle: u64) -> io::Result<Arc<Open>> {
        Ok(Arc::clone(self.open.lock().get(&handle).ok_or(Errno::EBADF)?))
    }

    pub(super) fn close(&self, handle: u64) {
        let closed = self.open.lock().remove(&handle);
        // Closing a large file that was removed takes long: not under the lock.
        drop(closed);
    }

    /// The entries of an open folder, as they were when a program began to read it.
    pub(super) fn listed(&self, handle: u64, is_first: bool) -> io::Result<Arc<Vec<Entry>>> {
        let open = self.find(handle)?;
        let mut entries = open.entries.lock();
        if is_first {
            *entries = Arc::new(self.list(open.inode.number)?);
        }
        Ok(Arc::clone(&entries))
    }

    pub(super) fn read(&self, handle: u64, offset: u64, size: u32) -> io::Result<Vec<u8>> {
        let open = self.find(handle)?;
        let path = || self.name(&open.inode);
        let _powered = self.begin(Operation::Read, &path)?;
        let mut data = vec![0; usize::try_from(size).expect("64 bits")];
        let mut filled = 0;
        while filled < data.len() {
            match open.file.read_at(&mut data[filled..], offset + filled as u64)? {
                0 => break,
                more => filled += more,
            }
        }
        data.truncate(filled);
        self.faults.flip(&mut data, offset, &path);
        Ok(data)
    }

    pub(super) fn write(&self, handle: u64, offset: u64, data: &[u8]) -> io::Result<u32> {
        let open = self.find(handle)?;
        let end = offset + data.len() as u64;
        let written = self.change(&open.inode, &open.file, offset..end, Change::Write, || {
            open.file.write_at(data, offset)
        })?;
        u32::try_from(written).map_err(io::Error::other)
    }

    pub(super) fn allocate(&self, handle: u64, range: Range<u64>, mode: i32) -> io::Result<()> {
        let open = self.find(handle)?;
        let wide = |number: u64| i64::try_from(number).map_err(|_| Errno::EFBIG);
        let (offset, length) = (wide(range.start)?, wide(range.end - range.start)?);
        let mode = FallocateFlags::from_bits(mode).ok_or(Errno::EOPNOTSUPP)?;
        let moves =
            FallocateFlags::FALLOC_FL_COLLAPSE_RANGE | FallocateFlags::FALLOC_FL_INSERT_RANGE;
        if mode.intersects(moves) {
            return Err(Errno::EOPNOTSUPP.into());
        }
        let is_longer = !mode.contains(FallocateFlags::FALLOC_FL_KEEP_SIZE);
        let change = if is_longer { Change::Extend } else { Change::Other };
        self.change(&open.inode, &open.file, range, change, || {
            Ok(fallocate(&open.file, mode, offset, length)?)
        })
    }

    /// Changes the bytes of a file in a range, if nothing is against it.
    fn change<T>(
        &self,
        inode: &Inode,
        file: &File,
        range: Range<u64>,
        change: Change,
        act: impl FnOnce() -> io::Result<T>,
    ) -> io::Result<T> {
        let path = || self.name(inode);
        let _powered = self.begin(Operation::Write, &path)?;
        // Only who remembers needs changes of one file one after the other.
        let log = self.is_volatile.then(|| inode.log.lock());
        let is_longer = change != Change::Other;
        if is_longer && self.faults.room().is_some() {
            self.faults.grow(range.end.saturating_sub(file.metadata()?.len()), &path)?;
        }
        if let Some(mut log) = log {
            log.note(file, range, change == Change::Write)?;
            return act();
        }
        act()
    }

    /// Makes durable what was written before; returns what to run where waiting is free.
    pub(super) fn sync(
        self: &Arc<Self>,
        handle: u64,
        is_data_only: bool,
    ) -> io::Result<impl FnOnce() -> io::Result<()> + Send + 'static> {
        let open = self.find(handle)?;
        let mark = self.is_volatile.then(|| open.inode.log.lock().mark());
        let tree = Arc::clone(self);
        Ok(move || {
            tree.faults.delay_sync();
            // Not held while it waits: a power cut does not wait for syncs.
            drop(tree.begin(Operation::Sync, &|| tree.name(&open.inode))?);
            if is_data_only {
                open.file.sync_data()?
            } else {
                open.file.sync_all()?
            }
            if let Some(mark) = mark {
                let _powered = tree.powered()?;
                open.inode.log.lock().synced(mark);
            }
            // Somebody may have forgotten it while it could not be let go.
            tree.inodes.release(open.inode.number);
            Ok(())
        })
    }

    pub(super) fn set_attributes(
        &self,
        number: u64,
        handle: Option<u64>,
        changes: &Changes,
    ) -> io::Result<FileAttr> {
        let inode = self.inodes.get(number)?;
        let path = inode.magic_path();
        if let Some(size) = changes.size {
            self.resize(&inode, handle, size)?;
        }
        let _powered = self.begin(Operation::Other, &|| self.name(&inode))?;
        if let Some(mode) = changes.mode {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode & 0o7777))?;
        }
        if changes.uid.is_some() || changes.gid.is_some() {
            chown(&path, changes.uid, changes.gid)?;
        }
        if changes.atime.is_some() || changes.mtime.is_some() {
            let (atime, mtime) = (time(changes.atime)?, time(changes.mtime)?);
            utimensat(AT_FDCWD, &path, &atime, &mtime, UtimensatFlags::FollowSymlink)?;
        }
        attributes(number, &inode.file.metadata()?)
    }

    fn resize(&self, inode: &Inode, handle: Option<u64>, size: u64) -> io::Result<()> {
        let open = handle.and_then(|handle| self.find(handle).ok());
        let by_name;
        let file = if let Some(open) = &open {
            &open.file
        } else {
            let read = self.is_volatile;
            by_name = OpenOptions::new().read(read).write(true).open(inode.magic_path())?;
            &by_name
        };
        let is_longer = size > file.metadata()?.len();
        let (range, change) =
            if is_longer { (size..size, Change::Extend) } else { (size..u64::MAX, Change::Other) };
        self.change(inode, file, range, change, || file.set_len(size))
    }
}

/// How bytes change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    Write,
    /// The file gets longer, or room.
    Extend,
    /// It gets shorter, or has a hole.
    Other,
}

fn time(time: Option<TimeOrNow>) -> io::Result<TimeSpec> {
    match time {
        None => Ok(TimeSpec::UTIME_OMIT),
        Some(TimeOrNow::Now) => Ok(TimeSpec::UTIME_NOW),
        Some(TimeOrNow::SpecificTime(time)) => {
            let since = time.duration_since(std::time::UNIX_EPOCH).map_err(|_| Errno::EINVAL)?;
            Ok(TimeSpec::from_duration(since))
        }
    }
}
