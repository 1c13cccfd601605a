//! Many clients at once: watchers that read nothing and lists all at the same time. The memory of the
//! process, with the store and the clients in it, stays within bounds, and others are served.
//!
//! `ORLOP_STORM=10000` makes the storm as large as that: so many watchers, as many objects in the
//! lists, and a fiftieth of it lists at once. Without it, it is a small one.
#![expect(clippy::unwrap_used, reason = "a failed helper is a failed test")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use api_server::Patience;
use bytes::Bytes;
use futures::future::join_all;
use serde_json::{Value, json};
use support::{ADMIN, Cluster, DEADLINE, Store};
use tokio::time::{Instant, timeout};

const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";
/// Streams of one connection, as many as the server lets it have.
const STREAMS: usize = 100;
/// Memory of the process that belongs to no client, in KiB: the window of events, what the allocator keeps,
/// and the store's own caches.
const BASE_KIB: u64 = 256 * 1024;
/// Memory of one watcher that reads nothing, on both ends, in KiB.
const WATCHER_KIB: u64 = 48;
/// Memory of one list that is being sent, on both ends, in KiB.
const LIST_KIB: u64 = 2 * 1024;

fn size(small: usize) -> usize {
    std::env::var("ORLOP_STORM").ok().and_then(|text| text.parse().ok()).unwrap_or(small)
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

async fn cluster(taking: Duration) -> Cluster {
    let store = Arc::new(Store::own(1));
    Cluster::with(&store, 0, |config| config.patience = Patience { taking, ..config.patience })
        .await
}

/// Streams of one connection over which something was asked, and nothing is read.
struct Unread {
    _answers: Vec<(http::Response<h2::RecvStream>, h2::SendStream<Bytes>)>,
    _sender: h2::client::SendRequest<Bytes>,
}

async fn unread(cluster: &Cluster, path: &str, count: usize) -> Unread {
    let stream = cluster.connect(&[b"h2"]).await;
    let (sender, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let mut sender = timeout(DEADLINE, sender.ready()).await.unwrap().unwrap();
    let mut asked = Vec::new();
    for _ in 0..count {
        let request = http::Request::get(format!("https://x{path}"))
            .header("authorization", format!("Bearer {ADMIN}"))
            .body(())
            .unwrap();
        asked.push(sender.send_request(request, true).unwrap());
        sender = timeout(DEADLINE, sender.ready()).await.unwrap().unwrap();
    }
    let mut answers = Vec::new();
    for (answer, stream) in asked {
        let answer = timeout(DEADLINE, answer).await.unwrap().unwrap();
        assert_eq!(answer.status(), 200);
        answers.push((answer, stream));
    }
    Unread { _answers: answers, _sender: sender }
}

fn config_map(name: &str, bytes: usize) -> Value {
    json!({"metadata": {"name": name}, "data": {"a": "x".repeat(bytes)}})
}

async fn made(cluster: &Cluster, count: usize) {
    let numbers: Vec<_> = (0..count).collect();
    for some in numbers.chunks(32) {
        let posts = some.iter().map(|number| async move {
            let map = config_map(&format!("m-{number:05}"), 1500);
            assert_eq!(cluster.post(CONFIG_MAPS, &map).await.code, 201);
        });
        join_all(posts).await;
    }
}

#[tokio::test]
async fn watchers_that_read_nothing_cost_little_and_hold_up_nobody() {
    let count = size(600);
    let cluster = cluster(Duration::from_secs(3)).await;
    assert_eq!(cluster.post(CONFIG_MAPS, &config_map("changing", 2000)).await.code, 201);
    let before = resident_kib();
    let path = format!("{CONFIG_MAPS}?watch=1&resourceVersion=0");
    let mut unread_streams = Vec::new();
    for _ in 0..count.div_ceil(STREAMS) {
        unread_streams.push(unread(&cluster, &path, STREAMS).await);
    }
    let mut healthy = cluster.watch(&path).await;
    assert_eq!(healthy.told().await, "ADDED changing");
    let began = Instant::now();
    let mut changes = 0;
    while changes < 400 && began.elapsed() < Duration::from_secs(60) {
        let label = json!({"metadata": {"labels": {"change": changes.to_string()}}});
        let at = format!("{CONFIG_MAPS}/changing");
        assert_eq!(cluster.merge(&at, &label).await.code, 200);
        assert_eq!(healthy.told().await, "MODIFIED changing");
        changes += 1;
    }
    let asked = Instant::now();
    assert_eq!(cluster.get(&format!("{CONFIG_MAPS}/changing")).await.code, 200);
    assert!(asked.elapsed() < Duration::from_secs(2), "others wait");
    let grown = resident_kib().saturating_sub(before);
    let bound = BASE_KIB + WATCHER_KIB * u64::try_from(count).unwrap();
    println!("{count} watchers, {changes} changes in {:?}: {grown} KiB more", began.elapsed());
    assert!(grown < bound, "{grown} KiB are more than {bound}");
    // They are ended when they have not taken anything for a while.
    let until = Instant::now() + DEADLINE;
    loop {
        let metrics = cluster.get("/metrics").await;
        let text = String::from_utf8_lossy(&metrics.bytes).into_owned();
        let left: f64 = text
            .lines()
            .filter(|line| line.contains("longrunning") && line.contains("configmaps"))
            .filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok())
            .sum();
        if left <= 2.0 {
            break;
        }
        assert!(Instant::now() < until, "{left} watchers are left:\n{text}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test]
async fn lists_all_at_once_are_sent_and_others_are_served() {
    let count = size(600);
    let cluster = cluster(Duration::from_secs(60)).await;
    made(&cluster, count).await;
    let before = resident_kib();
    let lists = (count / 50).max(40);
    // Some that nobody reads, of each kind, and some that are read to their end.
    let mut stuck = Vec::new();
    for query in ["", "?pretty=true"] {
        stuck.push(unread(&cluster, &format!("{CONFIG_MAPS}{query}"), 4).await);
    }
    let began = Instant::now();
    let read = (0..lists).map(|number| {
        let cluster = &cluster;
        async move {
            let accept = match number % 3 {
                0 => "application/json",
                1 => "application/vnd.kubernetes.protobuf",
                _ => "application/json;as=Table;v=v1;g=meta.k8s.io",
            };
            let answer = cluster.call("GET", CONFIG_MAPS, &[("accept", accept)], "").await;
            assert_eq!(answer.code, 200, "{}", String::from_utf8_lossy(&answer.bytes));
            answer.bytes.len()
        }
    });
    let other = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let asked = Instant::now();
        assert_eq!(cluster.get(&format!("{CONFIG_MAPS}/m-00001")).await.code, 200);
        asked.elapsed()
    };
    let (sizes, waited) = tokio::join!(join_all(read), other);
    let grown = resident_kib().saturating_sub(before);
    let sent: usize = sizes.iter().sum();
    println!(
        "{lists} lists, {sent} bytes in {:?}: {grown} KiB more; another waited {waited:?}",
        began.elapsed()
    );
    assert!(waited < Duration::from_secs(15), "another waited {waited:?}");
    // The clients hold what they have read.
    let lists = u64::try_from(lists).unwrap();
    let bound = BASE_KIB + LIST_KIB * lists + u64::try_from(sent / 1024).unwrap();
    assert!(grown < bound, "{grown} KiB are more than {bound}");
    drop(stuck);
}
