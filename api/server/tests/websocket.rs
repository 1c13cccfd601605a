//! Watches over WebSocket, as kube-apiserver 1.36 answers them: its words are recorded here.
#![expect(clippy::unwrap_used, reason = "a failed helper is a failed test")]

mod support;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use support::{Cluster, DEADLINE, Store};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const VERSION: &str = "Sec-WebSocket-Version: 13\r\n";
const KEY: &str = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
const ORIGIN: &str = "Origin: http://x\r\n";

/// A connection whose request has been answered, and the head of the answer.
async fn ask(cluster: &Cluster, path: &str, headers: &[&str]) -> (TlsStream<TcpStream>, String) {
    let admin = format!("Authorization: Bearer {}\r\n", support::ADMIN);
    ask_as(cluster, path, &[&[admin.as_str()], headers].concat()).await
}

async fn ask_as(cluster: &Cluster, path: &str, headers: &[&str]) -> (TlsStream<TcpStream>, String) {
    let mut stream = cluster.connect(&[b"http/1.1"]).await;
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, Upgrade\r\nUpgrade: \
         websocket\r\n{}\r\n",
        headers.concat()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let byte = tokio::time::timeout(DEADLINE, stream.read_u8()).await.unwrap().unwrap();
        head.push(byte);
    }
    (stream, String::from_utf8(head).unwrap())
}

/// The next frame: what it is, and what it says.
async fn frame(stream: &mut TlsStream<TcpStream>) -> (u8, Vec<u8>) {
    let read = async {
        let (first, second) = (stream.read_u8().await.unwrap(), stream.read_u8().await.unwrap());
        assert!(second < 128, "a server does not mask");
        let length = match second {
            126 => u64::from(stream.read_u16().await.unwrap()),
            127 => stream.read_u64().await.unwrap(),
            short => u64::from(short),
        };
        let mut payload = vec![0; length.try_into().unwrap()];
        stream.read_exact(&mut payload).await.unwrap();
        (first, payload)
    };
    tokio::time::timeout(DEADLINE, read).await.unwrap()
}

async fn told(stream: &mut TlsStream<TcpStream>) -> String {
    let (kind, payload) = frame(stream).await;
    assert_eq!(kind, 0x81, "a text");
    assert!(payload.ends_with(b"}\n"));
    let event: Value = serde_json::from_slice(&payload).unwrap();
    let name = event.pointer("/object/metadata/name").and_then(Value::as_str).unwrap_or("-");
    format!("{} {name}", event["type"].as_str().unwrap())
}

#[tokio::test]
async fn each_event_is_a_message_and_the_end_is_told() {
    let cluster = Cluster::on(Store::own(1)).await;
    let map = |name: &str| json!({"metadata": {"name": name}, "data": {"k": "x".repeat(300)}});
    cluster.post(MAPS, &map("a")).await;
    let path = format!("{MAPS}?watch=1&timeoutSeconds=5");
    let protocol = "Sec-WebSocket-Protocol: mine\r\n";
    let (mut stream, head) = ask(&cluster, &path, &[VERSION, KEY, ORIGIN, protocol]).await;
    assert!(head.starts_with("HTTP/1.1 101 Switching Protocols\r\n"), "{head}");
    let head = head.to_lowercase();
    // The answer to this key in RFC 6455.
    assert!(head.contains("\r\nsec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=\r\n"), "{head}");
    assert!(head.contains("\r\nsec-websocket-protocol: mine\r\n"), "{head}");
    assert_eq!(told(&mut stream).await, "ADDED a");
    // A ping between events is answered, other words are not heeded.
    stream.write_all(b"\x81\x82\0\0\0\0hi\x89\x82\x01\x02\x03\x04ik").await.unwrap();
    assert_eq!(frame(&mut stream).await, (0x8a, b"hi".to_vec()));
    cluster.post(MAPS, &map("b")).await;
    cluster.delete(&format!("{MAPS}/a")).await;
    assert_eq!(told(&mut stream).await, "ADDED b");
    assert_eq!(told(&mut stream).await, "DELETED a");
    assert_eq!(frame(&mut stream).await, (0x88, 1000_u16.to_be_bytes().to_vec()));
    let mut rest = Vec::new();
    tokio::time::timeout(DEADLINE, stream.read_to_end(&mut rest)).await.unwrap().unwrap();
    assert!(rest.is_empty());
}

#[tokio::test]
async fn a_client_that_says_goodbye_or_too_much_is_let_go() {
    let cluster = Cluster::on(Store::own(1)).await;
    let path = format!("{MAPS}?watch=1");
    let cases: [(&[u8], u16); 3] = [
        (b"\x88\x82\0\0\0\0\x03\xe9", 1001),
        (b"\x82\xfe\xff\xff\0\0\0\0", 1009),
        (b"\x81\x02hi", 1002),
    ];
    for (said, answer) in cases {
        let (mut stream, _) = ask(&cluster, &path, &[VERSION, KEY, ORIGIN]).await;
        stream.write_all(said).await.unwrap();
        assert_eq!(frame(&mut stream).await, (0x88, answer.to_be_bytes().to_vec()));
    }
}

#[tokio::test]
async fn what_is_refused_is_told_over_http() {
    let cluster = Cluster::on(Store::own(1)).await;
    let watch = format!("{MAPS}?watch=1");
    let old = "Sec-WebSocket-Version: 8\r\n";
    let many = "Sec-WebSocket-Protocol: a, b\r\n";
    let selected = format!("{watch}&labelSelector=a%20b");
    let cases: [(&str, &[&str], &str); 7] = [
        (&watch, &[VERSION, KEY], "HTTP/1.1 403 Forbidden"),
        (&watch, &[VERSION, KEY, "Origin: nonsense\r\n"], "HTTP/1.1 403 Forbidden"),
        (&watch, &[VERSION, ORIGIN], "HTTP/1.1 400 Bad Request"),
        (&watch, &[old, KEY, ORIGIN], "HTTP/1.1 400 Bad Request"),
        (&watch, &[VERSION, KEY, ORIGIN, many], "HTTP/1.1 400 Bad Request"),
        (&selected, &[VERSION, KEY, ORIGIN], "HTTP/1.1 400 Bad Request"),
        (MAPS, &[VERSION, KEY, ORIGIN], "HTTP/1.1 200 OK"),
    ];
    for (path, headers, wanted) in cases {
        let (_, head) = ask(&cluster, path, headers).await;
        assert!(head.starts_with(wanted), "{path} {headers:?}: {head}");
    }
}

#[tokio::test]
async fn a_page_that_can_send_no_header_sends_its_token_as_a_protocol() {
    let cluster = Cluster::on(Store::own(1)).await;
    let path = format!("{MAPS}?watch=1");
    let with = |token: &str, other: &str| {
        let token = URL_SAFE_NO_PAD.encode(token);
        let name = "base64url.bearer.authorization.k8s.io";
        format!("Sec-WebSocket-Protocol: {name}.{token}{other}\r\n")
    };
    let admin = with(support::ADMIN, ", mine");
    let (_, head) = ask_as(&cluster, &path, &[VERSION, KEY, ORIGIN, &admin]).await;
    assert!(head.starts_with("HTTP/1.1 101 Switching Protocols"), "{head}");
    assert!(head.to_lowercase().contains("\r\nsec-websocket-protocol: mine\r\n"), "{head}");
    for refused in [with(support::ADMIN, ""), with("nobody's", ", mine")] {
        let (_, head) = ask_as(&cluster, &path, &[VERSION, KEY, ORIGIN, &refused]).await;
        assert!(head.starts_with("HTTP/1.1 401 Unauthorized"), "{head}");
    }
}
