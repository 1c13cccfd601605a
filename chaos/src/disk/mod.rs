//! A disk that misbehaves on request: a file system that passes everything through to a folder.
//!
//! | Rule | What always holds |
//! |------|-------------------|
//! | D1 | Without faults a program cannot tell it from the folder behind it, but for its speed. |
//! | D2 | A slow sync holds up nothing but its own file (as FUSE locks it) and who waits for it. |
//! | D3 | A fault can be lifted while programs run, and counts what it did. |
//! | D4 | What a sync answered for is there after a power cut. |
//! | D5 | Whatever uses it, dropping the disk unmounts it; the next one reaps what a kill left. |
//!
//! Start: [`Disk`]. Requests come in by `filesystem.rs`, are carried out by `tree.rs` and
//! `content.rs`, and ask `faults.rs` first; syncs wait on threads of their own (`syncs.rs`).
//!
//! Whoever touches a mounted disk waits for this process's threads: they are ordinary ones that run
//! nothing else, so the process that serves a disk may use it too.

mod content;
mod faults;
mod filesystem;
mod inodes;
mod stale;
mod syncs;
mod tree;
mod unsynced;

pub use faults::{Fault, Injected, Operations};
pub use unsynced::{Lost, Taken};

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use fuser::{BackgroundSession, Config, INodeNo, MountOption};
use nix::mount::{MntFlags, umount2};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use self::filesystem::Filesystem;
use self::tree::Tree;
use crate::limits;

/// A mounted disk. Dropping it unmounts it, also under the feet of programs that use it; the files
/// stay in the folder behind it.
///
/// If the process that serves it is killed, the mount point stays and answers `ENOTCONN`; the next
/// disk that is mounted on this machine takes it away.
#[derive(Debug)]
pub struct Disk {
    mountpoint: PathBuf,
    tree: Arc<Tree>,
    session: Option<BackgroundSession>,
}

impl Disk {
    /// Mounts the folder `backing` on the folder `mountpoint`.
    pub fn mount(backing: &Path, mountpoint: &Path) -> anyhow::Result<Self> {
        Self::start(backing, mountpoint, false)
    }

    /// The same, and remembers what was not synced, which [`Disk::cut_power`] needs. It costs a
    /// read for each write over something.
    pub fn mount_volatile(backing: &Path, mountpoint: &Path) -> anyhow::Result<Self> {
        Self::start(backing, mountpoint, true)
    }

    /// Takes away the disks of processes that were killed.
    pub fn reap() {
        stale::reap();
    }

    /// Whether this machine can mount one, tried out on empty folders.
    pub fn check() -> anyhow::Result<()> {
        let (backing, mountpoint) = (tempfile::tempdir()?, tempfile::tempdir()?);
        let disk = Self::mount(backing.path(), mountpoint.path())?;
        std::fs::read_dir(disk.mountpoint()).context("a mounted disk does not answer").map(drop)
    }

    fn start(backing: &Path, mountpoint: &Path, is_volatile: bool) -> anyhow::Result<Self> {
        stale::reap();
        // Each file that the kernel knows is a descriptor here.
        let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
        setrlimit(Resource::RLIMIT_NOFILE, most, most)?;
        let mountpoint = mountpoint.canonicalize().context("no folder to mount on")?;
        let tree = Tree::new(backing, is_volatile).context("no folder behind the disk")?;
        let tree = Arc::new(tree);
        let mut config = Config::default();
        config.n_threads = Some(limits::DISK_SERVING_THREADS);
        config.mount_options = vec![
            MountOption::FSName(stale::source(std::process::id())),
            MountOption::NoAtime,
            MountOption::NoDev,
        ];
        let filesystem = Filesystem::new(Arc::clone(&tree))?;
        let session = fuser::spawn_mount(filesystem, &mountpoint, &config)
            .with_context(|| format!("cannot mount {}", mountpoint.display()))?;
        Ok(Self { mountpoint, tree, session: Some(session) })
    }

    /// Where it is mounted.
    pub fn mountpoint(&self) -> &Path {
        &self.mountpoint
    }

    /// Adds a delay to every fsync and fdatasync that begins from now on.
    pub fn slow_syncs(&self, delay: Duration) {
        self.tree.faults.slow_syncs(delay);
    }

    /// How many syncs were delayed so far, those that still wait among them.
    pub fn delayed_syncs(&self) -> u64 {
        self.tree.faults.delayed()
    }

    /// From now on the fault happens to files whose path from the disk's root contains `path`.
    pub fn inject(&self, fault: Fault, path: &str) -> Injected {
        let injected = self.tree.faults.inject(fault, path);
        self.drop_caches(&injected);
        injected
    }

    /// Ends a fault.
    pub fn lift(&self, injected: &Injected) {
        self.tree.faults.lift(injected);
        self.drop_caches(injected);
    }

    /// What the kernel has read before must be read again, with a bit flipped or without.
    fn drop_caches(&self, injected: &Injected) {
        let Some(session) = self.session.as_ref().filter(|_| injected.is_in_reads()) else {
            return;
        };
        let notifier = session.notifier();
        for inode in self.tree.inodes.all() {
            // The kernel may have forgotten this file since.
            drop(notifier.inval_inode(INodeNo(inode.number), 0, 0));
        }
    }

    /// Takes the power away: every file goes back to what was durable, and from then on every
    /// operation fails with `EIO` until the folder is mounted anew. Kill the programs that use it,
    /// before or after: the kernel may still answer reads from its memory.
    ///
    /// Of what may be lost, this loses content and length, and keeps names: a file that was
    /// created, renamed or removed stays so without a sync of its folder. So a file that was written
    /// and renamed without a sync is there, and empty.
    pub fn cut_power(&self, lost: Lost) -> io::Result<Taken> {
        self.tree.cut_power(lost)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let Some(session) = self.session.take() else { return };
        let thread = unmounted(session);
        if stale::is_mounted(&self.mountpoint) {
            // Somebody has a file open: pull the plug. FORCE fails what they ask for from now on.
            let how = MntFlags::MNT_FORCE | MntFlags::MNT_DETACH;
            if let Err(error) = umount2(&self.mountpoint, how) {
                tracing::error!(mountpoint = %self.mountpoint.display(), %error, "still mounted");
            }
        }
        let start = Instant::now();
        while !thread.is_finished() && start.elapsed() < limits::DISK_END_DEADLINE {
            std::thread::sleep(limits::BENCH_POLL_INTERVAL);
        }
    }
}

/// Drops all of a session but its thread, which unmounts it unless somebody has a file open.
fn unmounted(session: BackgroundSession) -> JoinHandle<io::Result<()>> {
    session.guard
}
