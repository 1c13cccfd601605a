//! A member whose files were damaged while it was stopped: it serves what it acknowledged, or says which
//! file is the matter and what to do, and doing that brings it back.
#![expect(clippy::unwrap_used, reason = "a failed helper is a failed test")]
#![expect(clippy::panic, reason = "a failed helper is a failed test")]

mod common;

use std::fs;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use common::{Cluster, eventually, get, put};
use proto::etcdserverpb::{
    MemberAddRequest, MemberRemoveRequest, PutRequest, RangeRequest, kv_client::KvClient,
};
use tokio_util::sync::CancellationToken;

const QUICK: [&str; 2] = ["--heartbeat-interval=50", "--election-timeout=300"];

/// The last file, by name, of a folder below `folder` whose name ends like this.
fn file(folder: &Path, end: &str) -> PathBuf {
    let names = fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    let mut found: Vec<_> = names.filter(|path| path.to_string_lossy().ends_with(end)).collect();
    found.sort();
    found.pop().unwrap_or_else(|| panic!("no file {end} in {}", folder.display()))
}

fn flip(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    fs::write(path, bytes).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_member_names_the_file_and_says_what_to_do() {
    let mut cluster = Cluster::start(1, &QUICK).await;
    let mut kv = cluster.kv(0);
    for number in 0..20 {
        put(&mut kv, &format!("key {number}"), &"x".repeat(1000)).await;
    }
    cluster.stop().await;
    let folder = cluster.folder(0);
    let log = |end: &str| file(&folder.join("log"), end);
    let state = |end: &str| file(&folder.join("state/db-1"), end);

    type Spoil = fn(&Path);
    let shorten: Spoil = |path| {
        let bytes = fs::read(path).unwrap();
        fs::write(path, &bytes[..bytes.len() - bytes.len() / 3]).unwrap();
    };
    let remove: Spoil = |path| fs::remove_file(path).unwrap();
    let cases: [(PathBuf, Spoil); 6] = [
        (log(".log"), flip),
        (log(".log"), shorten),
        (log("CURRENT"), remove),
        (state(".sst"), remove),
        (state("CURRENT"), flip),
        (folder.join("state/CURRENT"), flip),
    ];
    for (path, spoil) in cases {
        let good = fs::read(&path).unwrap();
        spoil(&path);
        let error = format!("{:#}", cluster.try_start_member(0).await.unwrap_err());
        let named = path.display().to_string();
        assert!(error.contains(&named), "{named} is not named: {error}");
        assert!(error.contains("etcdctl member remove"), "{error}");
        // Refusing changes nothing: the same file, whole again, is served.
        fs::write(&path, good).unwrap();
    }
    // The whole log: the votes that were given are not forgotten.
    let aside = folder.join("aside");
    fs::rename(folder.join("log"), &aside).unwrap();
    let error = format!("{:#}", cluster.try_start_member(0).await.unwrap_err());
    assert!(error.contains("log/CURRENT is missing"), "{error}");
    fs::rename(&aside, folder.join("log")).unwrap();

    cluster.start_member(0).await;
    let mut kv = cluster.kv(0);
    for number in 0..20 {
        let value = get(&mut kv, &format!("key {number}"), false).await;
        assert_eq!(value.as_deref(), Some("x".repeat(1000).as_str()));
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_member_comes_back_as_the_message_says() {
    let mut cluster = Cluster::start(3, &QUICK).await;
    put(&mut cluster.kv(0), "key", "before").await;
    let leader = cluster.leader().await;
    let (damaged, other) = ((leader + 1) % 3, (leader + 2) % 3);
    let id = cluster.members[damaged].as_ref().unwrap().id();
    cluster.stop_member(damaged).await;
    flip(&file(&cluster.folder(damaged).join("log"), ".log"));
    let error = cluster.try_start_member(damaged).await.unwrap_err();
    assert!(format!("{error:#}").contains("move its data folder away"), "{error:#}");

    // Remove, move away, add, start.
    let mut members = cluster.cluster(other);
    members.member_remove(MemberRemoveRequest { id }).await.unwrap();
    fs::rename(cluster.folder(damaged), cluster.folder(99)).unwrap();
    let peer = format!("http://{}", cluster.peer_address(damaged));
    let add = MemberAddRequest { peer_urls: vec![peer], is_learner: false };
    members.member_add(add).await.unwrap();
    cluster.join(damaged).await.unwrap();
    eventually("the member's vote", || async { (cluster.voters(other) == 3).then_some(()) }).await;
    assert_eq!(get(&mut cluster.kv(damaged), "key", false).await.as_deref(), Some("before"));
    put(&mut cluster.kv(damaged), "key", "after").await;
    cluster.stop().await;
}

const MEMBER: &str = "ORLOP_TEST_MEMBER_FLAGS";

/// A member in a process of its own, which may die of what is done to it: the test below starts this
/// program again with the member's flags, and without them there is nothing to do.
#[test]
fn member_process() {
    let Ok(line) = std::env::var(MEMBER) else { return };
    tracing::subscriber::set_global_default(common::Said).unwrap();
    let config = common::config(line.lines().map(str::to_owned));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let outcome = runtime.block_on(store_server::run(config, CancellationToken::new()));
    outcome.unwrap();
}

struct Process {
    child: Child,
}

impl Process {
    fn start(flags: &[String]) -> Self {
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "member_process", "--nocapture"])
            .env(MEMBER, flags.join("\n"))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Self { child }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A small file system of its own.
struct Mounted {
    dir: tempfile::TempDir,
}

impl Mounted {
    fn new() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=96m", "tmpfs"]).arg(dir.path());
        let mounted = mount.stderr(Stdio::null()).status().is_ok_and(|status| status.success());
        mounted.then_some(Self { dir })
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.dir.path()).status();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_stops_the_member_and_takes_nothing_that_was_acknowledged() {
    let Some(disk) = Mounted::new() else {
        testbed::skip(&"a small file system cannot be mounted here (root can)");
        return;
    };
    let (client, peer) = (testbed::free_url(), testbed::free_url());
    let flags = [
        "store".to_owned(),
        "--name=m0".to_owned(),
        format!("--data-dir={}", disk.dir.path().join("m0").display()),
        format!("--listen-client-urls={client}"),
        format!("--advertise-client-urls={client}"),
        format!("--listen-peer-urls={peer}"),
        format!("--initial-advertise-peer-urls={peer}"),
        format!("--initial-cluster=m0={peer}"),
        "--quota-backend-bytes=-1".to_owned(),
    ];
    let mut process = Process::start(&flags);
    let channel = tonic::transport::Endpoint::from_shared(client).unwrap().connect_lazy();
    let mut kv = KvClient::new(channel);
    let write = |number: usize| PutRequest {
        key: format!("key {number:03}").into(),
        value: vec![b'x'; 1 << 20].into(),
        ..PutRequest::default()
    };
    let began = std::time::Instant::now();
    while kv.put(write(0)).await.is_err() {
        assert!(began.elapsed().as_secs() < 20, "the member does not serve");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }

    // Somebody else takes all the room.
    let ballast = disk.dir.path().join("ballast");
    let mut file = fs::File::create(&ballast).unwrap();
    while file.write_all(&[1; 64 << 10]).is_ok() {}
    drop(file);
    let mut acknowledged = 1;
    while kv.put(write(acknowledged)).await.is_ok() {
        acknowledged += 1;
        assert!(acknowledged < 500, "the disk is never full");
    }
    // It does not go on, and says why and where.
    let mut said = String::new();
    let mut errors = process.child.stderr.take().unwrap();
    let read = tokio::task::spawn_blocking(move || {
        let _ = errors.read_to_string(&mut said);
        said
    });
    let said = tokio::time::timeout(std::time::Duration::from_secs(20), read).await;
    let said = said.expect("the member goes on").unwrap();
    assert!(!process.child.wait().unwrap().success());
    let folder = disk.dir.path().join("m0").display().to_string();
    assert!(said.contains("No space left on device") && said.contains(&folder), "{said}");
    assert!(!said.contains("member remove"), "a full disk is no damage: {said}");

    // There is room again: everything is there, and more can be written.
    fs::remove_file(&ballast).unwrap();
    drop(process);
    let _process = Process::start(&flags);
    let began = std::time::Instant::now();
    while kv.put(write(999)).await.is_err() {
        assert!(began.elapsed().as_secs() < 20, "the member does not serve again");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let all = RangeRequest {
        key: "key ".into(),
        range_end: "key!".into(),
        count_only: true,
        ..RangeRequest::default()
    };
    let found = kv.range(all).await.unwrap().into_inner().count;
    // The one that was not answered may be there or not.
    let acknowledged = i64::try_from(acknowledged).unwrap() + 1;
    assert!((acknowledged..=acknowledged + 1).contains(&found), "{found} of {acknowledged}");
}
