//! Point-in-time restores of a store under load, compared with its history replayed.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod stores;

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use store_client::mvccpb::{Event, event::EventType};
use store_client::rpc::{DeleteRangeRequest, RangeRequest, TxnRequest};
use store_client::{Client, Config, WatchOptions, op};
use stores::{Running, client, everything, orlop, our_store, put, run, start};
use tokio::sync::{RwLock, mpsc, watch};
use tokio::task::JoinHandle;

type Content = BTreeMap<Vec<u8>, Vec<u8>>;

/// Writers that go on until the gate is closed for good; while it is held, nobody writes.
struct Load {
    gate: Arc<RwLock<bool>>,
    writers: Vec<JoinHandle<()>>,
}

impl Load {
    fn start(client: &Client) -> Self {
        let gate = Arc::new(RwLock::new(true));
        let writers =
            (0..4).map(|writer| tokio::spawn(write(client.clone(), gate.clone(), writer)));
        Self { writers: writers.collect(), gate }
    }

    async fn stop(self) {
        *self.gate.write().await = false;
        for writer in self.writers {
            writer.await.unwrap();
        }
    }
}

async fn write(client: Client, gate: Arc<RwLock<bool>>, writer: u64) {
    for number in 0u64.. {
        let open = gate.read().await;
        if !*open {
            return;
        }
        let key = format!("key-{:02}", (number * 13 + writer * 7) % 60);
        match (number + writer) % 6 {
            0 => {
                let range_end = format!("{key}\x7f").into();
                let range = DeleteRangeRequest { key: key.into(), range_end, ..Default::default() };
                client.delete_range(range).await.unwrap();
            }
            1 => {
                let several = ["x", "y", "z"]
                    .map(|end| op::put(format!("{key}{end}"), format!("{writer} {number}"), 0));
                let txn = TxnRequest { success: several.to_vec(), ..TxnRequest::default() };
                client.txn(txn).await.unwrap();
            }
            _ => put(&client, &key, &format!("{writer} {number}")).await,
        }
    }
}

/// The history as a client sees it, independent of the archive: all events, and the newest revision.
struct History {
    events: mpsc::Receiver<Event>,
    revision: watch::Receiver<i64>,
}

fn follow(client: &Client) -> History {
    let (key, range_end) = ("\0".into(), "\0".into());
    let from_start = WatchOptions { key, range_end, start_revision: 1, ..Default::default() };
    let mut events = client.watch(from_start);
    let (keep, kept) = mpsc::channel(1 << 20);
    let (tell, revision) = watch::channel(0);
    tokio::spawn(async move {
        while let Some(batch) = events.next().await {
            let batch = batch.unwrap();
            for event in batch.events {
                keep.try_send(event).unwrap();
            }
            tell.send_replace(batch.revision);
        }
    });
    History { events: kept, revision }
}

impl History {
    /// The revision once this many more are there.
    async fn after(&mut self, more: i64) -> i64 {
        let goal = *self.revision.borrow() + more;
        let wait = self.revision.wait_for(|revision| *revision >= goal);
        *tokio::time::timeout(Duration::from_secs(60), wait).await.expect("no load").unwrap()
    }

    /// What there was at each of these revisions.
    fn replayed(&mut self, revisions: &[i64]) -> Vec<Content> {
        let mut events: Vec<Event> = Vec::new();
        while let Ok(event) = self.events.try_recv() {
            events.push(event);
        }
        let at = |last: i64| {
            let mut content = Content::new();
            for event in &events {
                let kv = event.kv.as_ref().unwrap();
                if kv.mod_revision > last {
                    break;
                }
                if event.r#type == i32::from(EventType::Delete) {
                    content.remove(&kv.key[..]);
                } else {
                    content.insert(kv.key.to_vec(), kv.value.to_vec());
                }
            }
            content
        };
        revisions.iter().map(|last| at(*last)).collect()
    }
}

/// `orlop backup archive` beside the load.
struct Archive {
    _process: Running,
    archived: watch::Receiver<i64>,
}

impl Archive {
    fn start(url: &str, repository: &str) -> Self {
        let mut child = orlop()
            .args(["backup", "archive", "--every", "1", "--endpoints", url])
            .args(["--repository", repository])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        let (tell, archived) = watch::channel(0);
        std::thread::spawn(move || {
            // "archived revisions 2 to 301, 12 KiB".
            for line in lines.lines().map_while(Result::ok) {
                let last = line.split(" to ").nth(1).and_then(|rest| rest.split(',').next());
                if let Some(Ok(last)) = last.map(str::parse) {
                    tell.send_replace(last);
                }
            }
        });
        Self { _process: Running(child), archived }
    }

    async fn reach(&mut self, revision: i64) {
        let wait = self.archived.wait_for(|last| *last >= revision);
        tokio::time::timeout(Duration::from_secs(60), wait).await.expect("not archived").unwrap();
    }
}

async fn revision_of(client: &Client) -> i64 {
    let request = RangeRequest { key: "x".into(), ..RangeRequest::default() };
    client.range(request).await.unwrap().header.unwrap().revision
}

/// A time after which the clock has gone on.
async fn moment() -> String {
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
    let ms = now();
    while now() <= ms {
        tokio::task::yield_now().await;
    }
    let run = std::process::Command::new("date")
        .args(["-u", "+%Y-%m-%dT%H:%M:%S", "-d", &format!("@{}", ms / 1000)])
        .output()
        .unwrap();
    format!("{}.{:03}Z", String::from_utf8(run.stdout).unwrap().trim(), ms % 1000)
}

#[tokio::test(flavor = "multi_thread")]
async fn restores_under_load_are_what_the_history_was() {
    let dir = tempfile::tempdir().unwrap();
    let repository = dir.path().join("repository").to_str().unwrap().to_owned();
    let place = ["--repository", repository.as_str()];
    let (member, url) = start(our_store(), &dir.path().join("one"), "http");
    let store = client(&Config::new([url.clone()])).await;
    let mut history = follow(&store);
    let load = Load::start(&store);
    let create = ["backup", "create", "--endpoints", &url];
    let backup = |kind: &'static str| {
        let line = [&create[..], &["--kind", kind], &place].concat();
        async move {
            let (done, said) = run(&line).await;
            assert!(done, "{said}");
        }
    };
    history.after(100).await;
    backup("snapshot").await;
    let mut archive = Archive::start(&url, &repository);

    // Three revisions in the midst of the load, and three times between its writes.
    let (mut revisions, mut moments) = (Vec::new(), Vec::new());
    for round in 0..3 {
        revisions.push(history.after(150).await);
        if round == 1 {
            backup("checkpoint").await;
        }
        let held = load.gate.write().await;
        let revision = revision_of(&store).await;
        archive.reach(revision).await;
        moments.push((revision, moment().await));
        drop(held);
    }
    let last = history.after(50).await;
    load.stop().await;
    archive.reach(last).await;
    drop((archive, member));

    let bump = 1_000_000_000;
    for (revision, time) in &moments {
        let line = ["backup", "restore", "latest", "--data-dir", "nowhere", "--dry-run"];
        let (done, said) = run(&[&line[..], &["--to-time", time], &place].concat()).await;
        let expected = format!("revision {}, compacted", revision + bump);
        assert!(done && said.contains(&expected), "{time}: {revision}: {said}");
    }
    // One from the snapshot, one from the checkpoint, one from whichever is nearest.
    let goals = [
        ("--to-revision", revisions[0], revisions[0].to_string()),
        ("--to-time", moments[1].0, moments[1].1.clone()),
        ("--to-revision", revisions[2], revisions[2].to_string()),
    ];
    let replayed = history.replayed(&goals.each_ref().map(|(_, revision, _)| *revision));
    for ((flag, revision, goal), expected) in goals.iter().zip(replayed) {
        assert!(!expected.is_empty());
        let target = dir.path().join(format!("at-{revision}"));
        let peer = stores::free_url("http");
        let members = format!("one={peer}");
        let line = ["backup", "restore", "latest", flag, goal, "--initial-cluster", &members];
        let into = ["--data-dir", target.to_str().unwrap()];
        let (done, said) = run(&[&line[..], &into, &place].concat()).await;
        assert!(done, "{said}");
        let one = Path::new(&target).join("one");
        let (_member, url) = stores::start_at(our_store(), &one, "http", &peer);
        let restored = client(&Config::new([url])).await;
        assert_eq!(revision_of(&restored).await, revision + bump);
        let content = everything(&restored).await;
        let content: Content = content.into_iter().map(|(key, value, _)| (key, value)).collect();
        assert_eq!(content, expected, "at revision {revision}");
    }
}
