//! The disk that misbehaves on request: like the folder behind it, until it is told not to be.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use chaos::client::MemberClient;
use chaos::cluster::{Cluster, Launcher};
use chaos::disk::{Disk, Fault, Lost, Operations};
use chaos::history::{Action, Outcome, Reply, Step, StepReply};
use chaos::limits;
use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, Flock, FlockArg, OFlag, fallocate};
use tempfile::TempDir;

const EACH: std::ops::RangeInclusive<u64> = 1..=u64::MAX;

/// How long a store may take to answer, or to serve again.
const DEADLINE: Duration = Duration::from_secs(30);

/// A disk on folders of its own, which go after it.
struct Story {
    disk: Disk,
    dir: TempDir,
}

impl Story {
    fn begin(is_volatile: bool) -> Option<Self> {
        if let Err(reason) = Disk::check() {
            testbed::skip(&format!("this machine mounts no FUSE: {reason:#}"));
            return None;
        }
        let dir = tempfile::tempdir().expect("a folder");
        fs::create_dir(dir.path().join("backing")).expect("a folder behind the disk");
        fs::create_dir(dir.path().join("disk")).expect("a folder to mount on");
        Some(Self { disk: mounted(dir.path(), is_volatile), dir })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.disk.mountpoint().join(name)
    }

    fn behind(&self, name: &str) -> PathBuf {
        self.dir.path().join("backing").join(name)
    }

    /// The power is back: the same folder, mounted anew.
    fn mounted_anew(self) -> Self {
        let Self { disk, dir } = self;
        drop(disk);
        Self { disk: mounted(dir.path(), true), dir }
    }
}

fn mounted(dir: &Path, is_volatile: bool) -> Disk {
    let mount = if is_volatile { Disk::mount_volatile } else { Disk::mount };
    mount(&dir.join("backing"), &dir.join("disk")).expect("it was possible just now")
}

fn errno<T>(result: io::Result<T>) -> Option<Errno> {
    result.err().and_then(|error| error.raw_os_error()).map(Errno::from_raw)
}

fn open(path: &Path) -> File {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).expect("open")
}

#[test]
fn a_disk_without_faults_is_like_the_folder_behind_it() {
    let Some(story) = Story::begin(false) else { return };
    let (a, b) = (story.path("folder/a"), story.path("folder/b"));
    fs::create_dir_all(story.path("folder/deep/deeper")).expect("folders");
    fs::write(&a, "one").expect("a file");
    fs::write(&b, "two").expect("a file");

    // A name that is taken over; what somebody had open stays as it was.
    let mut replaced = File::open(&b).expect("open");
    fs::rename(&a, &b).expect("rename");
    assert_eq!(fs::read_to_string(&b).expect("read"), "one");
    let mut text = String::new();
    replaced.read_to_string(&mut text).expect("a file that has no name any more");
    assert_eq!(text, "two");
    assert_eq!(errno(fs::read(&a)), Some(Errno::ENOENT));

    // Hard links are one file, links to names are followed.
    fs::hard_link(&b, &a).expect("link");
    let (one, other) = (fs::metadata(&a).expect("stat"), fs::metadata(&b).expect("stat"));
    assert_eq!((one.ino(), one.nlink()), (other.ino(), 2));
    assert_eq!(one.ino(), fs::metadata(story.behind("folder/a")).expect("stat").ino());
    std::os::unix::fs::symlink("folder/a", story.path("link")).expect("symlink");
    assert_eq!(fs::read_to_string(story.path("link")).expect("read"), "one");
    assert_eq!(fs::read_link(story.path("link")).expect("a link"), Path::new("folder/a"));

    // Places, lengths, room, rights, locks.
    let file = open(&a);
    file.write_all_at(b"end", 8192).expect("write");
    assert_eq!(fs::metadata(&b).expect("stat").len(), 8195);
    file.set_len(2).expect("truncate");
    assert_eq!(fs::read_to_string(&b).expect("read"), "on");
    fallocate(&file, FallocateFlags::FALLOC_FL_KEEP_SIZE, 0, 1 << 20).expect("room");
    assert_eq!(fs::metadata(&b).expect("stat").len(), 2);
    fallocate(&file, FallocateFlags::empty(), 0, 1 << 20).expect("length");
    assert_eq!(fs::metadata(story.behind("folder/b")).expect("stat").len(), 1 << 20);
    fs::set_permissions(&a, fs::Permissions::from_mode(0o600)).expect("chmod");
    assert_eq!(fs::metadata(&b).expect("stat").mode() & 0o7777, 0o600);
    let lock = Flock::lock(file, FlockArg::LockExclusiveNonblock).expect("the only lock");
    let second = Flock::lock(open(&b), FlockArg::LockExclusiveNonblock);
    assert_eq!(second.err().map(|(_, errno)| errno), Some(Errno::EWOULDBLOCK));
    drop(lock);
    let mut added = OpenOptions::new().append(true).open(&a).expect("open");
    added.write_all(b"more").expect("append");
    assert_eq!(fs::metadata(&a).expect("stat").len(), (1 << 20) + 4);

    // Folders: their order to disk, what is in them, and that full ones stay.
    File::open(story.path("folder")).and_then(|folder| folder.sync_all()).expect("sync a folder");
    for number in 0..500 {
        fs::write(story.path(&format!("folder/deep/{number}")), "").expect("a file");
    }
    let names = fs::read_dir(story.path("folder/deep")).expect("a folder");
    assert_eq!(names.filter_map(Result::ok).count(), 501);
    assert_eq!(errno(fs::remove_dir(story.path("folder"))), Some(Errno::ENOTEMPTY));
    fs::remove_dir_all(story.path("folder")).expect("remove");
    assert!(!story.behind("folder").exists());
}

#[test]
fn a_file_of_many_megabytes_is_what_was_written() {
    let Some(story) = Story::begin(false) else { return };
    let data: Vec<u8> =
        (0..9_000_001_u32).map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect();
    fs::write(story.path("large"), &data).expect("write");
    assert!(fs::read(story.path("large")).expect("read") == data);
    assert!(fs::read(story.behind("large")).expect("read") == data);
}

#[test]
fn slow_syncs_are_slow_side_by_side_and_nothing_else_is() {
    let Some(story) = Story::begin(false) else { return };
    // Long enough for all that follows, on a machine that does other things too.
    let delay = Duration::from_secs(3);
    let files: Vec<File> =
        (0..8).map(|number| open(&story.path(&format!("file {number}")))).collect();
    story.disk.slow_syncs(delay);
    let (start, ended) = (Instant::now(), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for (number, file) in files.iter().enumerate() {
            let ended = &ended;
            scope.spawn(move || {
                if number % 2 == 0 { file.sync_all() } else { file.sync_data() }.expect("a sync");
                assert!(start.elapsed() >= delay);
                ended.fetch_add(1, Ordering::SeqCst);
            });
        }
        while story.disk.delayed_syncs() < 8 {
            assert_eq!(ended.load(Ordering::SeqCst), 0, "they wait one after the other");
            assert!(start.elapsed() < delay * 10, "some sync never begins");
            std::thread::yield_now();
        }
        // More files than threads serve this disk wait now, and this one does not.
        for number in 0..50 {
            fs::write(story.path(&format!("another {number}")), "quick").expect("write");
        }
        assert_eq!(ended.load(Ordering::SeqCst), 0, "a write waited for a sync of another file");
    });
    assert_eq!(story.disk.delayed_syncs(), 8);

    // A program can also ask for a sync with each write.
    story.disk.slow_syncs(Duration::from_millis(10));
    let mut options = OpenOptions::new();
    let synced = options.write(true).custom_flags(OFlag::O_DSYNC.bits());
    let synced = synced.open(story.path("file 0")).expect("open");
    synced.write_all_at(b"x", 0).expect("write");
    assert_eq!(story.disk.delayed_syncs(), 9);

    story.disk.slow_syncs(Duration::ZERO);
    files[0].sync_all().expect("a sync");
    assert_eq!(story.disk.delayed_syncs(), 9);
}

#[test]
fn chosen_operations_of_chosen_files_fail_until_that_is_lifted() {
    let Some(story) = Story::begin(false) else { return };
    let (log, other) = (open(&story.path("a.log")), open(&story.path("b.data")));
    let fail = |operations, errno, turns| Fault::Fail { operations, errno, turns };

    let writes = story.disk.inject(fail(Operations::Writes, Errno::EIO, 2..=3), ".log");
    let results: Vec<_> = (0..5).map(|_| errno(log.write_all_at(b"x", 0))).collect();
    assert_eq!(results, [None, Some(Errno::EIO), Some(Errno::EIO), None, None]);
    assert_eq!(errno(other.write_all_at(b"x", 0)), None);
    assert_eq!(writes.count(), 2);
    story.disk.lift(&writes);

    let syncs = story.disk.inject(fail(Operations::Syncs, Errno::ENOSPC, EACH), ".log");
    assert_eq!(errno(log.sync_data()), Some(Errno::ENOSPC));
    assert_eq!(errno(log.write_all_at(b"x", 0)), None);
    assert_eq!(errno(other.sync_data()), None);
    story.disk.lift(&syncs);
    assert_eq!(errno(log.sync_data()), None);
    assert_eq!(syncs.count(), 1);

    let all = story.disk.inject(fail(Operations::All, Errno::EIO, EACH), "");
    assert_eq!(errno(fs::write(story.path("new"), "")), Some(Errno::EIO));
    assert_eq!(errno(other.sync_data()), Some(Errno::EIO));
    story.disk.lift(&all);
    assert_eq!(errno(fs::write(story.path("new"), "")), None);
    assert!(all.count() >= 2);
}

#[test]
fn a_full_disk_takes_what_fits_and_writes_over_what_is_there() {
    let Some(story) = Story::begin(false) else { return };
    let file = open(&story.path("file"));
    file.write_all_at(&[1; 4096], 0).expect("room");
    let full = story.disk.inject(Fault::Full { after: 8192 }, "");
    file.write_all_at(&[2; 8192], 0).expect("half of it is there already");
    file.write_all_at(&[3; 4096], 8192).expect("exactly fits");
    assert_eq!(errno(file.write_all_at(&[4; 1], 12288)), Some(Errno::ENOSPC));
    assert_eq!(errno(file.set_len(20_000)), Some(Errno::ENOSPC));
    let longer = fallocate(&file, FallocateFlags::empty(), 0, 20_000);
    assert_eq!(longer, Err(Errno::ENOSPC));
    assert_eq!(errno(fs::write(story.path("other"), "x")), Some(Errno::ENOSPC));
    file.write_all_at(&[5; 4096], 4096).expect("written over");
    assert_eq!(full.count(), 4);
    story.disk.lift(&full);
    file.write_all_at(&[4; 1], 12288).expect("room again");
}

#[test]
fn a_flipped_bit_is_read_and_not_stored() {
    let Some(story) = Story::begin(false) else { return };
    let path = story.path("keys.sst");
    fs::write(&path, [0; 10_000]).expect("write");
    // What the kernel has in memory must not hide it.
    assert_eq!(fs::read(&path).expect("read"), [0; 10_000]);
    let file = File::open(&path).expect("open");
    let flip = story.disk.inject(Fault::Flip { offset: 5000, bit: 3 }, ".sst");
    let mut byte = [0];
    file.read_exact_at(&mut byte, 5000).expect("read");
    assert_eq!(byte, [8]);
    assert_eq!(fs::read(&path).expect("read").iter().filter(|byte| **byte != 0).count(), 1);
    assert!(flip.count() >= 1);
    assert_eq!(fs::read(story.behind("keys.sst")).expect("read"), [0; 10_000]);
    story.disk.lift(&flip);
    file.read_exact_at(&mut byte, 5000).expect("read");
    assert_eq!(byte, [0]);
}

#[test]
fn a_power_cut_leaves_what_was_synced_and_answers_nobody() {
    let Some(story) = Story::begin(true) else { return };
    let file = open(&story.path("log"));
    file.write_all_at(b"durable.", 0).expect("write");
    file.sync_data().expect("sync");
    file.write_all_at(b"DUR", 0).expect("write over");
    file.write_all_at(b" and more", 8).expect("write");
    file.set_len(4).expect("truncate");
    fs::write(story.path("new"), "never synced").expect("write");
    fs::rename(story.path("new"), story.path("renamed")).expect("rename");
    let forgotten = open(&story.path("closed"));
    forgotten.write_all_at(b"kept", 0).expect("write");
    forgotten.sync_all().expect("sync");
    drop(forgotten);

    story.disk.cut_power(Lost::All).expect("a cut");
    assert_eq!(errno(file.write_all_at(b"x", 0)), Some(Errno::EIO));
    assert_eq!(errno(file.sync_data()), Some(Errno::EIO));
    assert_eq!(errno(fs::write(story.path("late"), "")), Some(Errno::EIO));
    drop(file);

    let story = story.mounted_anew();
    assert_eq!(fs::read_to_string(story.path("log")).expect("read"), "durable.");
    assert_eq!(fs::read_to_string(story.path("renamed")).expect("read"), "");
    assert_eq!(fs::read_to_string(story.path("closed")).expect("read"), "kept");
    assert!(!story.path("late").exists());
}

#[test]
fn a_power_cut_can_tear_the_last_write() {
    let Some(story) = Story::begin(true) else { return };
    let file = open(&story.path("log"));
    file.write_all_at(b"durable.", 0).expect("write");
    file.sync_data().expect("sync");
    file.write_all_at(b"first.", 8).expect("write");
    file.write_all_at(b"0123456789", 14).expect("write");
    story.disk.cut_power(Lost::LastTorn { seed: 7 }).expect("a cut");
    drop(file);
    let story = story.mounted_anew();
    let left = fs::read_to_string(story.path("log")).expect("read");
    assert!(left.starts_with("durable.first.") && left.len() < 24, "{left}");
    assert!("durable.first.0123456789".starts_with(&left), "{left}");
}

#[test]
fn a_disk_that_is_dropped_goes_from_under_who_uses_it() {
    let Some(story) = Story::begin(false) else { return };
    let file = open(&story.path("file"));
    let Story { disk, dir } = story;
    drop(disk);
    assert_eq!(errno(file.write_all_at(b"x", 0)), Some(Errno::ENOTCONN));
    let names = fs::read_dir(dir.path().join("disk")).expect("a folder with nothing mounted");
    assert_eq!(names.count(), 0);
}

/// Not a story: the next one runs it as a process of its own, which leaves its disk mounted.
#[test]
fn a_process_that_is_killed_with_its_disk_mounted() {
    let Some(dir) = std::env::var_os(LEFT_MOUNTED) else { return };
    let _disk = mounted(Path::new(&dir), false);
    nix::sys::signal::kill(nix::unistd::getpid(), nix::sys::signal::SIGKILL).expect("a signal");
}

const LEFT_MOUNTED: &str = "ORLOP_TEST_DISK_LEFT_MOUNTED";

#[test]
fn the_next_disk_takes_away_what_a_killed_process_left() {
    let Some(story) = Story::begin(false) else { return };
    let dir = tempfile::tempdir().expect("a folder");
    fs::create_dir(dir.path().join("backing")).expect("a folder behind the disk");
    fs::create_dir(dir.path().join("disk")).expect("a folder to mount on");
    let program = std::env::current_exe().expect("this test");
    let killed = std::process::Command::new(program)
        .args(["--exact", "a_process_that_is_killed_with_its_disk_mounted"])
        .env(LEFT_MOUNTED, dir.path())
        .status()
        .expect("it runs");
    assert!(!killed.success());
    drop(story.mounted_anew());
    let names = fs::read_dir(dir.path().join("disk")).expect("nothing is mounted there any more");
    assert_eq!(names.count(), 0);
}

fn put(number: usize) -> Action {
    let step = Step::Put { key: format!("key/{number}"), value: format!("value {number}") };
    Action::Single { step, serializable: false }
}

/// Asks until it is answered: a busy member may need longer than a client waits, or elect meanwhile.
async fn answered(client: &mut MemberClient, action: &Action) -> Reply {
    let start = Instant::now();
    loop {
        match client.execute(action).await {
            Outcome::Ok(reply) => return reply,
            Outcome::Refused(why) | Outcome::Unknown(why) => {
                assert!(start.elapsed() < DEADLINE, "{action:?}: {why}");
            }
        }
        tokio::time::sleep(limits::POLL_INTERVAL).await;
    }
}

/// Puts these keys; each of them is acknowledged.
async fn put_all(cluster: &Cluster, keys: std::ops::Range<usize>) {
    let mut client = MemberClient::new(&cluster.url(0)).expect("a client");
    for number in keys {
        answered(&mut client, &put(number)).await;
    }
}

async fn assert_all_there(cluster: &Cluster, keys: usize) {
    let mut client = MemberClient::new(&cluster.url(0)).expect("a client");
    for number in 0..keys {
        let step = Step::Get { key: format!("key/{number}") };
        let read = answered(&mut client, &Action::Single { step, serializable: false }).await;
        let is_there =
            matches!(read.steps.as_slice(), [StepReply::Read { found }] if found.len() == 1);
        assert!(is_there, "key {number} was acknowledged and is lost: {read:?}");
    }
}

/// A store runs on the disk unchanged; it is killed, its disk is slow, its power is cut.
async fn live_on_it(launcher: Launcher, members: usize) {
    let started = Cluster::start_on_disk(Disk::mount_volatile, launcher, members).await;
    let mut cluster = started.expect("members on a disk");
    put_all(&cluster, 0..50).await;
    cluster.kill(0).expect("a kill");
    cluster.spawn(0).expect("a start");
    cluster.wait_serving(0, DEADLINE).await.expect("it serves again");
    assert_all_there(&cluster, 50).await;

    let delay = Duration::from_millis(40);
    let slow_syncs = |cluster: &Cluster, delay| {
        for member in 0..members {
            cluster.disk(member).expect("it has one").slow_syncs(delay);
        }
    };
    slow_syncs(&cluster, delay);
    let start = Instant::now();
    put_all(&cluster, 50..60).await;
    assert!(start.elapsed() >= delay * 10, "a put was acknowledged before it was synced");
    slow_syncs(&cluster, Duration::ZERO);

    for (lost, keys) in [(Lost::All, 60..80), (Lost::LastTorn { seed: 1 }, 80..100)] {
        let all = keys.end;
        put_all(&cluster, keys).await;
        let all_members: Vec<usize> = (0..members).collect();
        cluster.cut_power(&all_members, lost).expect("a power cut");
        for member in 0..members {
            cluster.spawn(member).expect("a start");
        }
        cluster.wait_serving(0, DEADLINE).await.expect("it serves again");
        assert_all_there(&cluster, all).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orlop_lives_on_it_and_loses_nothing_with_the_power() {
    let binary = testbed::orlop(&["proto", "store"]);
    let Some(_) = Story::begin(false) else { return };
    live_on_it(Launcher::orlop(&binary), 1).await;
}

/// Three members: alone, etcd 3.5.1 acknowledges what it has not synced (its issue 14370), and
/// loses it here.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn etcd_lives_on_it_and_loses_nothing_with_the_power() {
    let Some(etcd) = testbed::program("etcd") else { return };
    let Some(_) = Story::begin(false) else { return };
    live_on_it(Launcher::etcd(&etcd), 3).await;
}
