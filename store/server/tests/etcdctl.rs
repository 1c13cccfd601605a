//! A real etcdctl against three members.
#![expect(clippy::unwrap_used, reason = "a failed helper is a failed test")]

mod common;

use std::path::PathBuf;
use std::process::Command;

use common::Cluster;

struct Ctl {
    program: PathBuf,
    endpoints: String,
}

impl Ctl {
    fn run(&self, arguments: &[&str], input: &str) -> String {
        use std::io::Write as _;
        let mut child = Command::new("timeout")
            .arg("20")
            .arg(&self.program)
            .args(["--endpoints", &self.endpoints])
            .args(arguments)
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        assert!(output.status.success(), "{arguments:?}: {}", text(output.stderr));
        text(output.stdout)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn etcdctl_gets_the_answers_it_knows() {
    let Some(program) = testbed::program("etcdctl") else { return };
    let mut cluster = Cluster::start(3, &[]).await;
    cluster.leader().await;
    let ctl = Ctl { program, endpoints: cluster.endpoints() };
    let talk = move || {
        assert_eq!(ctl.run(&["put", "a", "1"], ""), "OK\n");
        assert_eq!(ctl.run(&["put", "ab", "2"], ""), "OK\n");
        assert_eq!(ctl.run(&["get", "a", "--prefix"], ""), "a\n1\nab\n2\n");
        assert_eq!(ctl.run(&["put", "a", "3"], ""), "OK\n");
        assert_eq!(ctl.run(&["get", "a", "--rev", "2"], ""), "a\n1\n");
        assert_eq!(ctl.run(&["del", "ab"], ""), "1\n");
        let txn = "mod(\"a\") > \"0\"\n\nput t yes\nget a\n\nput t no\n\n";
        assert_eq!(ctl.run(&["txn"], txn), "SUCCESS\n\nOK\n\na\n3\n");
        let lease = ctl.run(&["lease", "grant", "60"], "");
        let id = lease.split(' ').nth(1).unwrap().to_owned();
        assert_eq!(ctl.run(&["put", "leased", "v", "--lease", &id], ""), "OK\n");
        let left = ctl.run(&["lease", "timetolive", &id, "--keys"], "");
        assert!(left.contains("granted with TTL(60s)") && left.contains("leased"), "{left}");
        let alive = ctl.run(&["lease", "keep-alive", "--once", &id], "");
        assert!(alive.contains("keepalived with TTL(60)"), "{alive}");
        ctl.run(&["lease", "revoke", &id], "");
        assert_eq!(ctl.run(&["get", "leased"], ""), "");
        assert_eq!(ctl.run(&["member", "list"], "").matches("started").count(), 3);
        assert_eq!(ctl.run(&["endpoint", "status"], "").lines().count(), 3);
        ctl.run(&["endpoint", "health"], "");
        let hashes = ctl.run(&["endpoint", "hashkv"], "");
        let mut hashes: Vec<_> = hashes.lines().filter_map(|l| l.split(", ").nth(1)).collect();
        hashes.dedup();
        assert_eq!(hashes.len(), 1, "members disagree: {hashes:?}");
    };
    tokio::task::spawn_blocking(talk).await.unwrap();
    cluster.stop().await;
}
