//! Backups as an operator makes them: of a running store, twice, proved, and restored beside it.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use store_client::rpc::{DeleteRangeRequest, PutRequest, RangeRequest};
use store_client::{Client, Config};

fn orlop() -> Command {
    Command::new(env!("CARGO_BIN_EXE_orlop"))
}

/// A member of a store as a process, ended with the test.
struct Member(Child);

impl Drop for Member {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

struct Urls {
    client: String,
    peer: String,
}

fn urls() -> Urls {
    Urls { client: testbed::free_url(), peer: testbed::free_url() }
}

async fn start(folder: &Path, Urls { client, peer }: &Urls) -> (Member, Client) {
    let child = orlop()
        .args(["store", "--name", "one", "--data-dir"])
        .arg(folder)
        .args(["--listen-client-urls", client, "--advertise-client-urls", client])
        .args(["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer])
        .args(["--initial-cluster", &format!("one={peer}")])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let member = Member(child);
    let connected = Client::new(&Config::new([client.as_str()])).unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    while connected.range(RangeRequest { key: "x".into(), ..Default::default() }).await.is_err() {
        assert!(Instant::now() < deadline, "the member does not serve");
    }
    (member, connected)
}

async fn put(client: &Client, key: &str, value: &str) {
    let request = PutRequest {
        key: key.to_owned().into(),
        value: value.to_owned().into(),
        ..Default::default()
    };
    client.put(request).await.unwrap();
}

/// All keys and values, and the revision.
async fn everything(client: &Client) -> (i64, Vec<(Vec<u8>, Vec<u8>)>) {
    let request = RangeRequest { key: "\0".into(), range_end: "\0".into(), ..Default::default() };
    let response = client.range(request).await.unwrap();
    let pairs = response.kvs.iter().map(|kv| (kv.key.to_vec(), kv.value.to_vec())).collect();
    (response.header.unwrap().revision, pairs)
}

async fn backup(arguments: &[&str]) -> String {
    let mut command = orlop();
    command.arg("backup").args(arguments);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_is_backed_up_while_it_runs_and_restored_beside_itself() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let (repository, one, two) = (path("repository"), path("one"), path("two"));
    let old = urls();
    let (member, client) = start(Path::new(&one), &old).await;
    for number in 0..2000 {
        put(&client, &format!("key-{number}"), &format!("{number:0>500}")).await;
    }
    let place = ["--repository", repository.as_str()];
    let create = |kind: &'static str| {
        [&["create", "--endpoints", &old.client, "--kind", kind, "--json"], &place[..]].concat()
    };
    let first = backup(&create("auto")).await;
    assert!(first.contains("\"kind\": \"checkpoint\""), "{first}");
    let objects = || {
        let listing = |path: &Path| std::fs::read_dir(path).unwrap().flatten().collect::<Vec<_>>();
        let folders = listing(&dir.path().join("repository/objects"));
        folders.iter().map(|folder| listing(&folder.path()).len()).sum::<usize>()
    };
    let before = objects();
    put(&client, "later", "1").await;
    let second = backup(&create("checkpoint")).await;
    let files = second.matches("\"name\":").count() - second.matches("\"peer_urls\"").count();
    assert!(objects() < before + files, "files of the first backup were stored again");
    let third = backup(&create("snapshot")).await;
    assert!(third.contains("\"hash_kv\""), "{third}");
    let expected = everything(&client).await;
    put(&client, "after the backups", "lost").await;

    let list = backup(&[&["list"], &place[..]].concat()).await;
    assert_eq!(list.lines().count(), 4, "{list}");
    let ids: Vec<&str> = list.lines().skip(1).filter_map(|line| line.split(' ').next()).collect();
    for id in &ids {
        let said = backup(&[&["verify", id], &place[..]].concat()).await;
        assert!(said.contains("is sound"), "{said}");
    }

    let new = urls();
    let members = format!("one={}", new.peer);
    // The checkpoint and the snapshot hold the same, and make the same store.
    for (id, folder) in [(ids[1], &one), (ids[2], &two)] {
        let target = format!("{folder}-restored");
        let restore = ["restore", id, "--data-dir", &target, "--initial-cluster", &members];
        let restore = [&restore[..], &["--bump-revision", "1000"], &place[..]].concat();
        let said = backup(&[&restore[..], &["--dry-run"]].concat()).await;
        assert!(said.contains("nothing was written") && !Path::new(&target).exists(), "{said}");
        backup(&restore).await;
        let again = orlop().arg("backup").args(&restore).output().unwrap();
        let said = String::from_utf8_lossy(&again.stderr);
        assert!(!again.status.success() && said.contains("is not empty"), "{said}");

        let (restored, client) = start(&Path::new(&target).join("one"), &new).await;
        let (revision, pairs) = everything(&client).await;
        assert_eq!((revision, &pairs), (expected.0 + 1000, &expected.1));
        drop(restored);
    }
    drop(member);
}

/// What is in the repository is checked when it is used: one flipped bit is named with its file.
#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_backup_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let repository = dir.path().join("repository");
    let old = urls();
    let (member, client) = start(&dir.path().join("one"), &old).await;
    put(&client, "a", "1").await;
    let place = ["--repository", repository.to_str().unwrap()];
    let create = ["create", "--endpoints", &old.client, "--kind", "snapshot"];
    backup(&[&create[..], &place[..]].concat()).await;
    drop(member);

    let object = std::fs::read_dir(repository.join("objects")).unwrap().next().unwrap().unwrap();
    let object = std::fs::read_dir(object.path()).unwrap().next().unwrap().unwrap().path();
    let mut bytes = std::fs::read(&object).unwrap();
    bytes[5000] ^= 1;
    std::fs::write(&object, bytes).unwrap();
    let target = dir.path().join("restored");
    for command in [&["verify", "latest"][..], &["restore", "latest", "--data-dir"][..]] {
        let mut line = orlop();
        line.arg("backup").args(command);
        if command.len() > 2 {
            line.arg(&target);
        }
        let output = line.args(place).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains("sha-256"), "{said}");
    }
    assert!(!target.exists());
}

/// Between two backups lies an archive: any revision of it can be restored, and is what it was.
#[tokio::test(flavor = "multi_thread")]
async fn a_restore_goes_to_any_revision_and_time() {
    let dir = tempfile::tempdir().unwrap();
    let repository = dir.path().join("repository");
    let place = ["--repository", repository.to_str().unwrap()];
    let old = urls();
    let (member, client) = start(&dir.path().join("one"), &old).await;
    let endpoint = ["--endpoints", old.client.as_str()];
    put(&client, "first", "1").await;
    let lease = client.lease_grant(500).await.unwrap().id;
    for kind in ["snapshot", "checkpoint"] {
        backup(&[&["create", "--kind", kind], &endpoint[..], &place[..]].concat()).await;
    }
    // What there was after each revision, as the store said then.
    let mut history = BTreeMap::new();
    for number in 0..60 {
        let key = format!("key-{}", number % 7);
        if number % 5 == 4 {
            let end = format!("key-{}", number % 7 + 2);
            let range =
                DeleteRangeRequest { key: key.into(), range_end: end.into(), ..Default::default() };
            client.delete_range(range).await.unwrap();
        } else {
            let lease = if number % 11 == 0 { lease } else { 0 };
            let value = number.to_string().into();
            let request = PutRequest { key: key.into(), value, lease, ..Default::default() };
            client.put(request).await.unwrap();
        }
        let (revision, pairs) = everything(&client).await;
        history.insert(revision, pairs);
        if number == 30 {
            backup(&[&["archive", "--once"], &endpoint[..], &place[..]].concat()).await;
        }
    }
    let said = backup(&[&["archive", "--once"], &endpoint[..], &place[..]].concat()).await;
    assert!(said.contains("archived revisions"), "{said}");
    let newest = *history.keys().next_back().unwrap();
    put(&client, "not archived", "x").await;
    drop(member);

    let ids = backup(&[&["list"], &place[..]].concat()).await;
    let ids: Vec<&str> = ids.lines().skip(1).filter_map(|line| line.split(' ').next()).collect();
    let new = urls();
    let members = format!("one={}", new.peer);
    // From the snapshot and from the checkpoint; into both segments, and to the end.
    for (id, revision) in [(ids[0], newest - 40), (ids[1], newest - 20), ("latest", newest)] {
        let target = dir.path().join(format!("at-{revision}"));
        let target = target.to_str().unwrap();
        let to = revision.to_string();
        let line = ["restore", id, "--to-revision", &to, "--data-dir", target];
        let line = [&line[..], &["--initial-cluster", &members], &place[..]].concat();
        backup(&line).await;
        let (restored, client) = start(&Path::new(target).join("one"), &new).await;
        let (raised, pairs) = everything(&client).await;
        assert_eq!((raised, &pairs), (revision + 1_000_000_000, &history[&revision]));
        let left = client.lease_time_to_live(lease, false).await.unwrap();
        assert_eq!(left.granted_ttl, 500);
        drop(restored);
    }
    let dry = |to: [&'static str; 2]| {
        let line = ["restore", "latest", "--data-dir", "nowhere", "--dry-run"];
        orlop().arg("backup").args(line).args(to).args(place).output().unwrap()
    };
    assert!(dry(["--to-time", "2999-01-01T00:00:00Z"]).status.success());
    for to in [["--to-revision", "1000000"], ["--to-time", "2001-01-01T00:00:00Z"]] {
        let output = dry(to);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{to:?}: {said}");
    }
}
