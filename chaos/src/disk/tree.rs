//! Names and attributes, passed through to the folder behind the disk.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{DirEntryExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{FileAttr, FileType, INodeNo};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, RenameFlags, openat, readlinkat, renameat2};
use nix::sys::stat::{Mode, mkdirat};
use nix::sys::statvfs::{Statvfs, fstatvfs};
use nix::unistd::{UnlinkatFlags, linkat, symlinkat, unlinkat};
use parking_lot::{Mutex, RwLock, RwLockReadGuard};
use rand::SeedableRng as _;
use rand::rngs::StdRng;

use super::content::Open;
use super::faults::{Faults, Operation};
use super::inodes::{Inode, Inodes};
use super::unsynced::{Lost, Taken};

/// One entry of a folder: its number, kind and name.
pub(super) type Entry = (u64, FileType, OsString);

/// The folder, and how it misbehaves.
#[derive(Debug)]
pub(super) struct Tree {
    root: PathBuf,
    pub(super) inodes: Inodes,
    pub(super) faults: Faults,
    /// Whether what was not synced is remembered.
    pub(super) is_volatile: bool,
    /// Who changes something holds it, and it says whether there is power.
    power: RwLock<bool>,
    pub(super) open: Mutex<HashMap<u64, Arc<Open>>>,
    next_handle: AtomicU64,
}

impl Tree {
    pub(super) fn new(root: &Path, is_volatile: bool) -> io::Result<Self> {
        let root = root.canonicalize()?;
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY;
        let file = OpenOptions::new().read(true).custom_flags(flags.bits()).open(&root)?;
        Ok(Self {
            root,
            inodes: Inodes::new(file)?,
            faults: Faults::default(),
            is_volatile,
            power: RwLock::new(true),
            open: Mutex::default(),
            next_handle: AtomicU64::new(1),
        })
    }

    pub(super) fn handle(&self) -> u64 {
        self.next_handle.fetch_add(1, Ordering::Relaxed)
    }

    /// Lets an operation begin: not without power, nor against a fault.
    pub(super) fn begin(
        &self,
        operation: Operation,
        path: &dyn Fn() -> PathBuf,
    ) -> io::Result<RwLockReadGuard<'_, bool>> {
        let powered = self.powered()?;
        self.faults.check(operation, path)?;
        Ok(powered)
    }

    pub(super) fn powered(&self) -> io::Result<RwLockReadGuard<'_, bool>> {
        let powered = self.power.read();
        if *powered { Ok(powered) } else { Err(Errno::EIO.into()) }
    }

    pub(super) fn name(&self, inode: &Inode) -> PathBuf {
        inode.name(&self.root)
    }

    fn begin_named(&self, folder: &Inode, name: &OsStr) -> io::Result<RwLockReadGuard<'_, bool>> {
        self.begin(Operation::Other, &|| self.name(folder).join(name))
    }

    /// Finds a file by its name; the kernel then knows it.
    pub(super) fn look_up(&self, folder: u64, name: &OsStr) -> io::Result<FileAttr> {
        let folder = self.inodes.get(folder)?;
        let _powered = self.begin_named(&folder, name)?;
        self.found(&folder, name)
    }

    fn found(&self, folder: &Inode, name: &OsStr) -> io::Result<FileAttr> {
        let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        self.known(openat(&folder.file, name, flags, Mode::empty())?.into())
    }

    /// Notes that the kernel is told of a file, which was opened with `O_PATH`.
    pub(super) fn known(&self, file: File) -> io::Result<FileAttr> {
        let metadata = file.metadata()?;
        let inode = self.inodes.look_up(file, &metadata)?;
        attributes(inode.number, &metadata)
    }

    pub(super) fn attributes(&self, number: u64) -> io::Result<FileAttr> {
        let inode = self.inodes.get(number)?;
        let _powered = self.begin(Operation::Other, &|| self.name(&inode))?;
        attributes(number, &inode.file.metadata()?)
    }

    pub(super) fn link_target(&self, number: u64) -> io::Result<OsString> {
        let inode = self.inodes.get(number)?;
        let _powered = self.begin(Operation::Other, &|| self.name(&inode))?;
        Ok(readlinkat(&inode.file, "")?)
    }

    pub(super) fn make_folder(&self, folder: u64, name: &OsStr, mode: u32) -> io::Result<FileAttr> {
        let folder = self.inodes.get(folder)?;
        let _powered = self.begin_named(&folder, name)?;
        mkdirat(&folder.file, name, Mode::from_bits_truncate(mode))?;
        self.found(&folder, name)
    }

    pub(super) fn make_link(
        &self,
        folder: u64,
        name: &OsStr,
        target: &Path,
    ) -> io::Result<FileAttr> {
        let folder = self.inodes.get(folder)?;
        let _powered = self.begin_named(&folder, name)?;
        symlinkat(target, &folder.file, name)?;
        self.found(&folder, name)
    }

    /// Gives a file one more name.
    pub(super) fn link(&self, number: u64, folder: u64, name: &OsStr) -> io::Result<FileAttr> {
        let (inode, folder) = (self.inodes.get(number)?, self.inodes.get(folder)?);
        let _powered = self.begin_named(&folder, name)?;
        let follow = AtFlags::AT_SYMLINK_FOLLOW;
        linkat(AT_FDCWD, &inode.magic_path(), &folder.file, name, follow)?;
        self.found(&folder, name)
    }

    pub(super) fn remove(&self, folder: u64, name: &OsStr, what: UnlinkatFlags) -> io::Result<()> {
        let folder = self.inodes.get(folder)?;
        let _powered = self.begin_named(&folder, name)?;
        Ok(unlinkat(&folder.file, name, what)?)
    }

    pub(super) fn rename(
        &self,
        from: (u64, &OsStr),
        to: (u64, &OsStr),
        flags: u32,
    ) -> io::Result<()> {
        let (source, target) = (self.inodes.get(from.0)?, self.inodes.get(to.0)?);
        let _powered = self.begin_named(&source, from.1)?;
        let flags = RenameFlags::from_bits(flags).ok_or(Errno::EINVAL)?;
        Ok(renameat2(&source.file, from.1, &target.file, to.1, flags)?)
    }

    /// Lists a folder as it is now.
    pub(super) fn list(&self, number: u64) -> io::Result<Vec<Entry>> {
        let inode = self.inodes.get(number)?;
        let _powered = self.begin(Operation::Other, &|| self.name(&inode))?;
        let folder = |name: &str| (number, FileType::Directory, OsString::from(name));
        let mut entries = vec![folder("."), folder("..")];
        for entry in std::fs::read_dir(inode.magic_path())? {
            let entry = entry?;
            let kind = FileType::from_std(entry.file_type()?).ok_or(Errno::EIO)?;
            entries.push((self.inodes.number(entry.ino()), kind, entry.file_name()));
        }
        Ok(entries)
    }

    pub(super) fn statistics(&self) -> io::Result<Statvfs> {
        let root = self.inodes.get(INodeNo::ROOT.0)?;
        let _powered = self.begin(Operation::Other, &PathBuf::new)?;
        Ok(fstatvfs(&root.file)?)
    }

    /// See [`super::Disk::cut_power`].
    pub(super) fn cut_power(&self, lost: Lost) -> io::Result<Taken> {
        // Waits for whoever is changing something.
        let mut powered = self.power.write();
        if !self.is_volatile {
            let error = "the disk does not remember what was not synced";
            return Err(io::Error::new(io::ErrorKind::Unsupported, error));
        }
        let mut taken = Taken::default();
        if !std::mem::replace(&mut *powered, false) {
            return Ok(taken);
        }
        let mut inodes = self.inodes.all();
        inodes.sort_by_key(|inode| inode.number);
        let mut seed = match lost {
            Lost::All => None,
            Lost::LastTorn { seed } => Some(StdRng::seed_from_u64(seed)),
        };
        for inode in inodes {
            let mut log = inode.log.lock();
            if !log.is_empty() {
                let file = OpenOptions::new().read(true).write(true).open(inode.magic_path())?;
                let here = log.lose(&file, seed.as_mut())?;
                taken.files += here.files;
                taken.changes += here.changes;
            }
        }
        Ok(taken)
    }
}

/// What the kernel is told of a file.
pub(super) fn attributes(number: u64, file: &Metadata) -> io::Result<FileAttr> {
    let narrow = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
    Ok(FileAttr {
        ino: INodeNo(number),
        size: file.len(),
        blocks: file.blocks(),
        atime: time(file.atime(), file.atime_nsec()),
        mtime: time(file.mtime(), file.mtime_nsec()),
        ctime: time(file.ctime(), file.ctime_nsec()),
        crtime: UNIX_EPOCH,
        kind: FileType::from_std(file.file_type()).ok_or(Errno::EIO)?,
        perm: u16::try_from(file.mode() & 0o7777).expect("twelve bits"),
        nlink: narrow(file.nlink()),
        uid: file.uid(),
        gid: file.gid(),
        rdev: narrow(file.rdev()),
        blksize: narrow(file.blksize()),
        flags: 0,
    })
}

fn time(seconds: i64, nanoseconds: i64) -> SystemTime {
    let nanoseconds = Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(0));
    let whole = Duration::from_secs(seconds.unsigned_abs());
    let second = if seconds < 0 { UNIX_EPOCH - whole } else { UNIX_EPOCH + whole };
    second + nanoseconds
}
