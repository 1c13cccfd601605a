//! A leader whose disk does not answer: another one takes over, and the member says what is wrong.

use std::{
    io::{Read as _, Write as _},
    time::{Duration, Instant},
};

use clap::Parser as _;
use proto::{etcdserverpb::PutRequest, orlop::store::v1::command::Op};

use crate::{Flags, Member};

#[derive(clap::Parser)]
struct Line {
    #[command(flatten)]
    flags: Flags,
}

async fn three(dir: &std::path::Path) -> Vec<Member> {
    let urls: Vec<String> = (0..3).map(|_| testbed::free_url()).collect();
    let all: Vec<String> = urls.iter().zip(0..).map(|(url, n)| format!("m{n}={url}")).collect();
    let mut members = Vec::new();
    for (number, url) in urls.iter().enumerate() {
        let client = testbed::free_url();
        let line = Line::parse_from([
            "store".to_owned(),
            format!("--name=m{number}"),
            format!("--data-dir={}", dir.join(format!("m{number}")).display()),
            format!("--listen-client-urls={client}"),
            format!("--advertise-client-urls={client}"),
            format!("--listen-peer-urls={url}"),
            format!("--initial-advertise-peer-urls={url}"),
            format!("--initial-cluster={}", all.join(",")),
            "--heartbeat-interval=40".to_owned(),
            "--election-timeout=200".to_owned(),
        ]);
        members.push(Member::start(line.flags.into_config().unwrap()).await.unwrap());
    }
    members
}

async fn eventually<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(Instant::now() < deadline, "no {what} in time");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn put(value: &str) -> Op {
    let value = value.to_owned().into();
    Op::Put(PutRequest { key: "key".into(), value, ..PutRequest::default() })
}

async fn get(member: &Member, path: &'static str) -> String {
    let address = member.client_addresses()[0];
    let ask = move || {
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    };
    tokio::task::spawn_blocking(ask).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_whose_disk_is_stuck_is_replaced_and_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let members = three(dir.path()).await;
    let leader = eventually("leader", || {
        let known = members[0].leader()?;
        let agreed = members.iter().all(|member| member.leader() == Some(known));
        members.iter().position(|member| member.id() == known).filter(|_| agreed)
    })
    .await;
    let (stuck, other) = (&members[leader], &members[(leader + 1) % 3]);
    stuck.services.proposer.propose(None, put("before")).await.unwrap();
    assert!(!get(stuck, "/readyz/log_disk").await.contains("failed"));

    stuck.log.stick(true);
    // Something to be written.
    let write = stuck.services.proposer.propose(None, put("under way"));
    let write = tokio::time::timeout(Duration::from_millis(50), write);
    let _: Result<_, _> = write.await;
    let next = eventually("new leader", || other.leader().filter(|id| *id != stuck.id())).await;
    assert!(members.iter().any(|member| member.id() == next));
    other.services.proposer.propose(None, put("after")).await.unwrap();

    let ready = get(stuck, "/readyz/log_disk").await;
    let why = format!("[-]log_disk failed: the disk of {}", dir.path().display());
    assert!(ready.starts_with("HTTP/1.1 503") && ready.contains(&why), "{ready}");
    assert!(ready.contains("has not finished a write for"), "{ready}");
    let metrics = get(stuck, "/metrics").await;
    assert!(metrics.contains("orlop_store_disk_stuck 1"), "{metrics}");
    assert!(!metrics.contains("orlop_store_leaderships_given_up_total 0"), "{metrics}");

    stuck.log.stick(false);
    eventually("the disk's answer", || stuck.services.disk.problem().is_none().then_some(())).await;
    // It follows, with all that it missed.
    stuck.services.proposer.propose(None, put("again")).await.unwrap();
    for member in members {
        member.stop().await;
    }
}
