//! Clients that are slow, broken or hostile below the API: they end at their own cost, and the others
//! are served meanwhile.
#![expect(clippy::unwrap_used, reason = "a failed helper is a failed test")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use api_server::Patience;
use serde_json::json;
use support::{Cluster, DEADLINE, Store};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// What a test of one client may add to the memory of this process, in KiB.
const GROWTH_KIB_MAX: u64 = 96 * 1024;

async fn cluster() -> Cluster {
    let store = Arc::new(Store::own(1));
    let second = Duration::from_secs(1);
    Cluster::with(&store, 0, |config| {
        config.patience = Patience { asking: second, taking: second };
    })
    .await
}

/// A frame of HTTP/2.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Somebody else asks something, and has an answer soon.
async fn others_are_served(cluster: &Cluster) {
    let began = Instant::now();
    assert_eq!(cluster.get(CONFIG_MAPS).await.code, 200);
    assert!(began.elapsed() < Duration::from_secs(5), "others wait");
}

/// Reads until the server closes; false if it does not.
async fn is_closed(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> bool {
    let mut rest = Vec::new();
    timeout(DEADLINE, stream.read_to_end(&mut rest)).await.is_ok()
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[tokio::test]
async fn connections_that_ask_nothing_are_closed() {
    let cluster = cluster().await;
    let mut quiet = Vec::new();
    for protocols in [&[b"h2".as_slice()][..], &[b"http/1.1"], &[]] {
        quiet.push(cluster.connect(protocols).await);
    }
    // A preface and no request after it.
    let mut greeted = cluster.connect(&[b"h2"]).await;
    greeted.write_all(PREFACE).await.unwrap();
    greeted.write_all(&frame(4, 0, 0, &[])).await.unwrap();
    quiet.push(greeted);
    // Headers, a few at a time.
    let mut slow = cluster.connect(&[b"http/1.1"]).await;
    let dripping = tokio::spawn(async move {
        let began = Instant::now();
        slow.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
        while slow.write_all(b"x-a: b\r\n").await.is_ok() && slow.flush().await.is_ok() {
            assert!(began.elapsed() < DEADLINE, "it goes on for ever");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    // Half of a handshake.
    let mut half = TcpStream::connect(cluster.running.address).await.unwrap();
    half.write_all(&[22, 3, 1, 2, 0, 1]).await.unwrap();
    others_are_served(&cluster).await;
    for stream in &mut quiet {
        assert!(is_closed(stream).await);
    }
    assert!(is_closed(&mut half).await);
    timeout(DEADLINE, dripping).await.unwrap().unwrap();
    others_are_served(&cluster).await;
}

#[tokio::test]
async fn a_body_that_never_comes_is_given_up_in_time() {
    let cluster = cluster().await;
    let head = format!(
        "POST {CONFIG_MAPS}?timeout=1s HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{{",
        support::ADMIN
    );
    let began = Instant::now();
    let answer = support::raw(&cluster, &head).await;
    assert!(answer.starts_with("HTTP/1.1 504"), "{answer}");
    assert!(answer.contains("request did not complete within the allotted timeout"), "{answer}");
    assert!(began.elapsed() < Duration::from_secs(10));
    others_are_served(&cluster).await;
}

#[tokio::test]
async fn streams_that_are_reset_at_once_end_their_connection() {
    let cluster = cluster().await;
    let stream = cluster.connect(&[b"h2"]).await;
    let (sender, connection) = h2::client::handshake(stream).await.unwrap();
    let connection = tokio::spawn(connection);
    let began = Instant::now();
    let mut sent = 0;
    while sent < 20_000 && began.elapsed() < Duration::from_secs(20) {
        let ready = timeout(DEADLINE, sender.clone().ready()).await.unwrap();
        let Ok(mut ready) = ready else { break };
        let request = http::Request::get(format!("https://x{CONFIG_MAPS}"));
        let request = request.header("authorization", format!("Bearer {}", support::ADMIN));
        let Ok((_answer, mut body)) = ready.send_request(request.body(()).unwrap(), false) else {
            break;
        };
        body.send_reset(h2::Reason::CANCEL);
        sent += 1;
    }
    others_are_served(&cluster).await;
    drop(sender);
    // Ended by the server, or by the end of all streams: nothing of it is left.
    let _ = timeout(DEADLINE, connection).await.unwrap().unwrap();
    others_are_served(&cluster).await;
}

/// Sends the same bytes again and again without reading, until the server takes no more.
async fn flood(cluster: &Cluster, start: &[u8], again: &[u8]) {
    let before = resident_kib();
    let mut stream = cluster.connect(&[b"h2"]).await;
    stream.write_all(PREFACE).await.unwrap();
    stream.write_all(&frame(4, 0, 0, &[])).await.unwrap();
    stream.write_all(start).await.unwrap();
    let chunk = again.repeat(64 * 1024 / again.len());
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(5) {
        match timeout(Duration::from_secs(2), stream.write_all(&chunk)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) | Err(_) => break,
        }
    }
    others_are_served(cluster).await;
    let grown = resident_kib().saturating_sub(before);
    assert!(grown < GROWTH_KIB_MAX, "a flood took {grown} KiB");
}

#[tokio::test]
async fn floods_of_frames_are_no_more_than_their_connection() {
    let cluster = cluster().await;
    // Settings and pings want answers that nobody reads; headers that never end; windows; data of none.
    flood(&cluster, &[], &frame(4, 0, 0, &[0, 3, 0, 0, 0, 100])).await;
    flood(&cluster, &[], &frame(6, 0, 0, b"12345678")).await;
    flood(&cluster, &frame(1, 0, 1, &[0x82]), &frame(9, 0, 1, &[b'a'; 1000])).await;
    flood(&cluster, &frame(1, 0, 1, &[0x82]), &frame(9, 0, 1, &[])).await;
    flood(&cluster, &[], &frame(3, 0, 1, &8_u32.to_be_bytes())).await;
}

#[tokio::test]
async fn whoever_takes_nothing_of_a_long_answer_is_closed() {
    let cluster = cluster().await;
    for number in 0..40 {
        let map = json!({"metadata": {"name": format!("long-{number}")},
            "data": {"a": "x".repeat(500_000)}});
        assert_eq!(cluster.post(CONFIG_MAPS, &map).await.code, 201);
    }
    let head = |path: &str| {
        format!(
            "GET {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\n\r\n",
            support::ADMIN
        )
    };
    let mut stuck = Vec::new();
    let watch = format!("{CONFIG_MAPS}?watch=1&resourceVersion=0");
    for path in [CONFIG_MAPS, &format!("{CONFIG_MAPS}?pretty=true"), &watch] {
        let mut stream = cluster.connect(&[b"http/1.1"]).await;
        stream.write_all(head(path).as_bytes()).await.unwrap();
        stuck.push(stream);
    }
    // What has been given up ends short of what it should have been.
    tokio::time::sleep(Duration::from_secs(4)).await;
    others_are_served(&cluster).await;
    for stream in &mut stuck {
        let mut answer = Vec::new();
        let _ = timeout(DEADLINE, stream.read_to_end(&mut answer)).await.unwrap();
        assert!(answer.len() < 20_000_000, "all {} bytes came", answer.len());
    }
}
