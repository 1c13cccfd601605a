//! A real etcdctl says the same of our users and roles as of a real etcd's, word for word.
#![expect(clippy::unwrap_used, reason = "a failed helper is a failed test")]

mod common;
mod real_etcd;

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use common::Cluster;
use real_etcd::Etcd;

/// What a person at the terminal sees: what is printed, the errors, and the exit code.
#[derive(Debug, PartialEq)]
struct Seen {
    printed: String,
    errors: Vec<String>,
    code: Option<i32>,
}

struct Ctl<'a> {
    program: &'a Path,
    endpoint: String,
}

impl Ctl<'_> {
    fn run(&self, line: &str) -> Seen {
        let words = line.split(' ').map(|word| word.replace("''", ""));
        let output = Command::new("timeout")
            .arg("20")
            .arg(self.program)
            .args(["--endpoints", &self.endpoint, "--command-timeout=10s"])
            .args(words)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        // Log lines have times and addresses; their error has the code that was sent.
        let plain = |line: &str| match line.split_once("\"error\":\"") {
            Some((_, error)) => error.trim_end_matches(['"', '}']).to_owned(),
            None => line.to_owned(),
        };
        Seen {
            printed: text(&output.stdout),
            errors: text(&output.stderr).lines().map(plain).collect(),
            code: output.status.code(),
        }
    }

    fn wait(&self) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while self.run("endpoint health").code != Some(0) {
            assert!(Instant::now() < deadline, "{} is not healthy in time", self.endpoint);
        }
    }
}

/// Runs the lines on both, and finds the first that differs.
fn compare(lines: &str, theirs: &Ctl<'_>, ours: &Ctl<'_>) {
    for line in lines.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (wanted, got) = (theirs.run(line), ours.run(line));
        assert_eq!(got, wanted, "{line}");
    }
}

const SETUP: &str = "
    auth status
    auth enable
    auth disable
    user add root:pw
    user add root:pw
    user add '':pw --interactive=false
    user add alice:pw
    user add carol --no-password
    user list
    role add some
    role add some
    role add ''
    role list
    role grant-permission some readwrite a c
    role grant-permission some read d
    role grant-permission some write k --prefix
    role grant-permission some read x --from-key
    role grant-permission nothing read a
    role get some
    role get nothing
    role grant-permission some write d
    role revoke-permission some k --prefix
    role revoke-permission some k --prefix
    role revoke-permission nothing a
    role get some
    user grant-role alice some
    user grant-role alice some
    user grant-role alice nothing
    user grant-role nobody some
    user get alice
    user get alice --detail
    user get nobody
    user revoke-role alice nothing
    user revoke-role nobody some
    role add gone
    user grant-role carol gone
    user get carol
    role delete gone
    role delete gone
    user get carol
    user delete nobody
    put a 1
    put z 1
    auth status
    auth enable
";

const ENABLED: &str = "
    auth status
    user list
    role list
    put a 1
    get a
    del a
    --user root:pw auth status
    --user root:pw user list
    --user root:pw role list
    --user root:pw user get root
    --user root:pw get z
    --user root:pw user delete root
    --user root:pw user revoke-role root root
    --user root:pw role delete root
    --user root:wrong put a 1
    --user nobody:pw put a 1
    --user alice:pw put a 2
    --user alice:pw get a
    --user alice:pw get a c
    --user alice:pw get a d
    --user alice:pw get a --from-key
    --user alice:pw get z
    --user alice:pw get zz --prefix
    --user alice:pw watch e
    --user alice:pw put z 2
    --user alice:pw put d 2
    --user alice:pw put d 2 --prev-kv
    --user alice:pw get d
    --user alice:pw del a c
    --user alice:pw del a d
    --user alice:pw user get alice
    --user alice:pw user get root
    --user alice:pw user list
    --user alice:pw user add bob:pw
    --user alice:pw user delete alice
    --user alice:pw role get some
    --user alice:pw role get root
    --user alice:pw role list
    --user alice:pw role add other
    --user alice:pw role delete some
    --user alice:pw role grant-permission some read a
    --user alice:pw auth status
    --user alice:pw auth disable
    --user alice:pw auth enable
    --user alice:pw member remove 1
    --user alice:pw lease revoke 1234
    --user root:pw lease revoke 1234
    --user root:pw role revoke-permission some d
    --user root:pw user revoke-role alice some
    --user alice:pw get a
    --user root:pw user delete alice
    --user alice:pw get a
    --user root:pw user delete carol
    --user root:pw role delete some
    --user root:pw user list
    --user root:pw role list
    --user root:pw auth status
    --user root:pw auth disable
    auth status
    user delete root
    auth enable
    get z
";

/// Runs both scripts, on a real etcd and on us, with the same kind of tokens.
async fn side_by_side(extra: Vec<String>) {
    let (Some(etcd), Some(etcdctl)) = (testbed::program("etcd"), testbed::program("etcdctl"))
    else {
        return;
    };
    let flags: Vec<&str> =
        std::iter::once("--bcrypt-cost=4").chain(extra.iter().map(String::as_str)).collect();
    let mut cluster = Cluster::start(1, &flags).await;
    cluster.leader().await;
    let endpoint = cluster.endpoints();
    let talk = move || {
        let etcd = Etcd::start(&etcd, &extra);
        let theirs = Ctl { program: &etcdctl, endpoint: etcd.client_url.clone() };
        let ours = Ctl { program: &etcdctl, endpoint };
        theirs.wait();
        ours.wait();
        compare(SETUP, &theirs, &ours);
        compare(ENABLED, &theirs, &ours);
    };
    tokio::task::spawn_blocking(talk).await.unwrap();
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn users_and_roles_are_etcds_to_etcdctl() {
    side_by_side(Vec::new()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_signed_tokens_too() {
    let dir = tempfile::tempdir().unwrap();
    let secret = dir.path().join("secret");
    fs::write(&secret, "not to be guessed").unwrap();
    let jwt = format!("--auth-token=jwt,sign-method=HS256,priv-key={}", secret.display());
    side_by_side(vec![jwt]).await;
}
