//! The JSON gateway answers as a real etcd's: what one said is recorded in `gateway/recorded.txt`,
//! and where an etcd is at hand, it is asked again.
//!
//! To record anew: `ORLOP_ACCEPT=1 ORLOP_ETCD=... cargo test -p store-server --test gateway`.
#![expect(clippy::unwrap_used, reason = "a failed helper is a failed test")]

mod common;
mod http;

use std::{
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use common::Cluster;
use serde_json::Value;

const RECORDED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/gateway/recorded.txt");

/// The requests, one a line: a word, a path and a document. The words:
/// `POST`: the whole answer counts. `CODE`: only its status and code, because each version words it
/// differently. `LINES n`: the first `n` lines of a stream. `LOGIN`: a POST whose token is used from
/// then on, until `LOGOUT`. `3.6` before a word: older ones answer otherwise, and are not asked.
const SCRIPT: &str = include_str!("gateway/script.txt");

const NEW: &str = "3.6 ";

/// A transcript without what older versions are not asked.
fn without_new(transcript: &str) -> String {
    let mut old = true;
    let mut out = String::new();
    for line in transcript.lines() {
        old = if line.starts_with('=') { old } else { !line.starts_with(NEW) };
        if old {
            out.push_str(&format!("{line}\n"));
        }
    }
    out
}

/// Takes away what differs from cluster to cluster, and from one JSON library to the other.
fn settled(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for name in ["cluster_id", "member_id", "raft_term"] {
                fields.remove(name);
            }
            // Only older versions have it; it repeats the message.
            if fields.contains_key("message") && fields.get("error").is_some_and(Value::is_string) {
                fields.remove("error");
            }
            if let Some(token) = fields.get_mut("token") {
                *token = "...".into();
            }
            fields.values_mut().for_each(settled);
        }
        Value::Array(values) => values.iter_mut().for_each(settled),
        _ => {}
    }
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.trim_end().to_owned()))
}

fn settle(text: &str) -> String {
    let mut value = json(text);
    settled(&mut value);
    value.to_string()
}

/// Whether a store answers as etcd does since version 3.6.
fn is_new(address: &str) -> bool {
    let version = json(&http::get(address, "/version").body);
    let version = version["etcdserver"].as_str().unwrap();
    !version.starts_with("3.5.")
}

/// Plays the script, and writes down what was answered.
fn play(address: &str) -> String {
    let mut transcript = String::new();
    let mut token: Option<String> = None;
    let new = is_new(address);
    for line in SCRIPT.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if line.starts_with(NEW) && !new {
            continue;
        }
        transcript.push_str(&format!("{line}\n"));
        let line = line.trim_start_matches(NEW);
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        if word == "LOGOUT" {
            token = None;
            continue;
        }
        let (count, rest) = match word {
            "LINES" => rest.split_once(' ').map(|(n, rest)| (n.parse().unwrap(), rest)).unwrap(),
            _ => (0, rest),
        };
        let (path, body) = rest.split_once(' ').unwrap_or((rest, ""));
        let authorization: Vec<(&str, &str)> =
            token.iter().map(|token| ("Authorization", token.as_str())).collect();
        if count > 0 {
            let mut stream = http::open(address, "POST", path, &authorization, body);
            transcript.push_str(&format!("= {}\n", stream.head.status));
            for _ in 0..count {
                let line = stream.line().expect("the stream goes on");
                transcript.push_str(&format!("= {}\n", settle(&line)));
            }
            continue;
        }
        let answer = http::send(address, "POST", path, &authorization, body);
        let kind = answer.header("content-type").unwrap_or("none");
        if word == "CODE" {
            let code = json(&answer.body)["code"].clone();
            transcript.push_str(&format!("= {} {kind} code {code}\n", answer.status));
        } else {
            let body = settle(&answer.body);
            transcript.push_str(&format!("= {} {kind}\n= {body}\n", answer.status));
        }
        if word == "LOGIN" {
            token = json(&answer.body)["token"].as_str().map(str::to_owned);
        }
    }
    transcript
}

/// A real etcd; it ends with the test.
struct Etcd {
    child: Child,
    address: String,
    _dir: tempfile::TempDir,
}

impl Etcd {
    fn start(program: &Path) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let free = || format!("127.0.0.1:{}", testbed::free_port());
        let (address, peer) = (free(), free());
        let child = Command::new(program)
            .arg(format!("--data-dir={}", dir.path().display()))
            .arg(format!("--listen-client-urls=http://{address}"))
            .arg(format!("--advertise-client-urls=http://{address}"))
            .arg(format!("--listen-peer-urls=http://{peer}"))
            .arg(format!("--initial-advertise-peer-urls=http://{peer}"))
            .arg(format!("--initial-cluster=default=http://{peer}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let etcd = Self { child, address, _dir: dir };
        let deadline = Instant::now() + Duration::from_secs(20);
        while std::net::TcpStream::connect(&etcd.address).is_err()
            || http::get(&etcd.address, "/health").status != 200
        {
            assert!(Instant::now() < deadline, "etcd did not become healthy");
            std::thread::sleep(Duration::from_millis(50));
        }
        etcd
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gateway_answers_as_etcds() {
    if let Some(program) = testbed::program("etcd") {
        let ask = move || {
            let etcd = Etcd::start(&program);
            (play(&etcd.address), is_new(&etcd.address))
        };
        let (theirs, new) = tokio::task::spawn_blocking(ask).await.unwrap();
        if std::env::var_os("ORLOP_ACCEPT").is_some() {
            assert!(new, "an etcd of version 3.6 is recorded");
            std::fs::write(RECORDED, &theirs).unwrap();
        }
        let recorded = std::fs::read_to_string(RECORDED).unwrap();
        let recorded = if new { recorded } else { without_new(&recorded) };
        assert_eq!(differences(&recorded, &theirs), "", "the record is not what etcd says");
    }
    let mut cluster = Cluster::start(1, &[]).await;
    cluster.leader().await;
    let address = cluster.endpoints().trim_start_matches("http://").to_owned();
    let ours = tokio::task::spawn_blocking(move || play(&address)).await.unwrap();
    let recorded = std::fs::read_to_string(RECORDED).unwrap();
    assert_eq!(differences(&recorded, &ours), "", "ours is not what etcd says");
    cluster.stop().await;
}

/// The lines in which two transcripts differ, each under its request.
fn differences(expected: &str, found: &str) -> String {
    let mut out = String::new();
    let mut request = "";
    let (expected, found): (Vec<_>, Vec<_>) = (expected.lines().collect(), found.lines().collect());
    for number in 0..expected.len().max(found.len()) {
        let (one, other) = (expected.get(number), found.get(number));
        if let Some(line) = one.filter(|line| !line.starts_with('=')) {
            request = line;
        }
        if one != other {
            let show =
                |line: Option<&&str>| line.map_or("nothing".to_owned(), |line| (*line).to_owned());
            out.push_str(&format!("{request}\n  etcd {}\n  ours {}\n", show(one), show(other)));
        }
    }
    out
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gateway_minds_its_doors() {
    let extra = ["--cors=http://good.example", "--host-whitelist=127.0.0.1,good.example"];
    let mut cluster = Cluster::start(1, &extra).await;
    cluster.leader().await;
    let address = cluster.endpoints().trim_start_matches("http://").to_owned();
    let talk = move || {
        let range = r#"{"key":"YQ=="}"#;
        let ask = |method: &str, headers: &[(&str, &str)]| {
            http::send(&address, method, "/v3/kv/range", headers, range)
        };
        assert_eq!(ask("POST", &[]).status, 200);
        // A page that reached us by DNS rebinding names its own host.
        assert_eq!(ask("POST", &[("Host", "evil.example:2379")]).status, 421);
        assert_eq!(ask("POST", &[("Host", "good.example:2379")]).status, 200);
        let allowed = ask("OPTIONS", &[("Origin", "http://good.example")]);
        assert_eq!(allowed.status, 200);
        let origin = allowed.header("access-control-allow-origin");
        assert_eq!(origin, Some("http://good.example"));
        let other = ask("POST", &[("Origin", "http://evil.example")]);
        assert_eq!(other.header("access-control-allow-origin"), None);
        assert_eq!(ask("GET", &[]).status, 501);
        // One request cannot make the member hold more than a request may have.
        let large = format!(r#"{{"key":"YQ==","value":"{}"}}"#, "A".repeat(4 << 20));
        let refused = http::post(&address, "/v3/kv/put", &large);
        assert_eq!(refused.status, 400, "{}", refused.body);
        assert!(refused.body.contains("request is too large"), "{}", refused.body);
    };
    tokio::task::spawn_blocking(talk).await.unwrap();
    cluster.stop().await;
}

/// A text frame of a client, as RFC 6455 has it; the mask is there, and changes nothing.
fn text_frame(text: &str) -> Vec<u8> {
    let length = u8::try_from(text.len()).unwrap();
    assert!(length < 126, "longer ones have another head");
    [&[0x81, 0x80 | length, 0, 0, 0, 0], text.as_bytes()].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_goes_over_a_websocket() {
    use std::io::{Read as _, Write as _};

    let mut cluster = Cluster::start(1, &[]).await;
    cluster.leader().await;
    let address = cluster.endpoints().trim_start_matches("http://").to_owned();
    let talk = move || {
        let mut stream = std::net::TcpStream::connect(&address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(15))).unwrap();
        write!(
            stream,
            "GET /v3/watch HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\n\
             Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        .unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap();
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        let next = |stream: &mut std::net::TcpStream| {
            let mut start = [0; 2];
            stream.read_exact(&mut start).unwrap();
            let mut length = u16::from(start[1]);
            if length == 126 {
                let mut long = [0; 2];
                stream.read_exact(&mut long).unwrap();
                length = u16::from_be_bytes(long);
            }
            let mut text = vec![0; usize::from(length)];
            stream.read_exact(&mut text).unwrap();
            json(&String::from_utf8(text).unwrap())
        };
        let create = r#"{"create_request":{"key":"YQ==","progress_notify":true}}"#;
        stream.write_all(&text_frame(create)).unwrap();
        assert_eq!(next(&mut stream)["result"]["created"], true);
        http::post(&address, "/v3/kv/put", r#"{"key":"YQ==","value":"MQ=="}"#);
        assert_eq!(next(&mut stream)["result"]["events"][0]["kv"]["value"], "MQ==");
        stream.write_all(&text_frame(r#"{"cancel_request":{"watch_id":"0"}}"#)).unwrap();
        assert_eq!(next(&mut stream)["result"]["canceled"], true);
    };
    tokio::task::spawn_blocking(talk).await.unwrap();
    cluster.stop().await;
}
