//! A member whose files were damaged while it was stopped: it serves what it acknowledged, or says which
//! file is the matter and what to do, and doing that brings it back.
#![expect(clippy::unwrap_used, reason = "a failed helper is a failed test")]
#![expect(clippy::panic, reason = "a failed helper is a failed test")]

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::{Cluster, eventually, get, put};
use proto::etcdserverpb::{MemberAddRequest, MemberRemoveRequest};

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
