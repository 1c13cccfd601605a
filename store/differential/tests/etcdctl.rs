//! A real etcdctl prints the same about our store as about etcd, command by command.
#![expect(clippy::unwrap_used, reason = "a failed helper is a failed test")]

mod common;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use common::ours;
use store_differential::{Launcher, Server, Side};

/// What a command did.
#[derive(Debug, PartialEq)]
struct Done {
    code: Option<i32>,
    out: String,
    err: String,
}

/// One server as etcdctl talks to it, and the ids that it gave.
struct Ctl {
    program: PathBuf,
    server: Server,
    lease: String,
    member: String,
    learner: String,
}

impl Ctl {
    async fn start(program: &Path, launcher: &Launcher) -> Self {
        let server = Server::start(launcher).unwrap();
        Side::connect(server.url()).await.unwrap();
        let unknown = || "0".to_owned();
        let (lease, member, learner) = (unknown(), unknown(), unknown());
        let mut ctl = Self { program: program.to_owned(), server, lease, member, learner };
        ctl.member = ctl.run(&["member".to_owned(), "list".to_owned()], "").out;
        ctl.member = ctl.member.split(',').next().unwrap().to_owned();
        ctl
    }

    fn run(&mut self, words: &[String], input: &str) -> Done {
        let words = words.iter().map(|word| {
            word.replace("$LEASE", &self.lease)
                .replace("$MEMBER", &self.member)
                .replace("$LEARNER", &self.learner)
        });
        let mut child = Command::new("timeout")
            .arg("20")
            .arg(&self.program)
            .arg(format!("--endpoints={}", self.server.url()))
            .args(words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // One that reads no input may have ended already.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        let output = child.wait_with_output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        if let Some(rest) = out.strip_prefix("lease ")
            && let Some((id, _)) = rest.split_once(" granted")
        {
            id.clone_into(&mut self.lease);
        }
        if let Some(rest) = out.strip_prefix("Member ")
            && let Some((id, _)) = rest.split_once(" added")
        {
            id.trim().clone_into(&mut self.learner);
        }
        Done { code: output.status.code(), out, err }
    }
}

struct Line {
    words: Vec<String>,
    input: String,
}

/// Words, some in quotes; lines of input follow with a bar.
fn script(name: &str) -> Vec<Line> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("etcdctl").join(name);
    let text = std::fs::read_to_string(path).unwrap();
    let mut lines: Vec<Line> = Vec::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        if let Some(input) = line.strip_prefix('|') {
            let last = lines.last_mut().unwrap();
            last.input.push_str(input.strip_prefix(' ').unwrap_or(input));
            last.input.push('\n');
            continue;
        }
        let mut words = vec![String::new()];
        let mut quoted = false;
        for letter in line.chars() {
            match letter {
                '"' => quoted = !quoted,
                ' ' if !quoted => words.push(String::new()),
                other => words.last_mut().unwrap().push(other),
            }
        }
        lines.push(Line { words, input: String::new() });
    }
    lines
}

/// Without what is any server's own: its ids and address, the time of day, sizes, its version.
fn tidy(text: &str, url: &str) -> String {
    let text = text.replace(url, "URL").replace(url.trim_start_matches("http://"), "ADDRESS");
    // Where etcdctl itself panics, it prints its own addresses.
    let text = match text.split_once('\n') {
        Some((first, _)) if text.starts_with("panic:") => first.to_owned(),
        _ => text,
    };
    let mut tidied = String::new();
    let mut word = String::new();
    for letter in text.chars().chain([' ']) {
        if letter.is_alphanumeric() || letter == '.' || letter == 'µ' {
            word.push(letter);
            continue;
        }
        tidied.push_str(&tidy_word(&word));
        word.clear();
        tidied.push(letter);
    }
    let lines: Vec<String> = tidied.lines().map(tidy_line).collect();
    lines.join("\n").trim_end().to_owned()
}

fn tidy_word(word: &str) -> String {
    let digits = word.bytes().filter(u8::is_ascii_digit).count();
    // An id is any 64 bits: one in a few hundred has no more than three decimal digits.
    let hex = word.len() >= 12 && word.bytes().all(|byte| byte.is_ascii_hexdigit()) && digits > 0;
    let time = ["s", "ms", "µs"]
        .iter()
        .any(|unit| word.strip_suffix(unit).is_some_and(|number| number.parse::<f64>().is_ok()));
    // The port of a listener of these servers; those in scripts are smaller.
    let port = word.len() == 5 && digits == 5;
    if port {
        "PORT".to_owned()
    } else if hex {
        "ID".to_owned()
    } else if time {
        "TIME".to_owned()
    } else {
        word.to_owned()
    }
}

/// Log lines of etcdctl have the time and its own source lines.
fn tidy_line(line: &str) -> String {
    if line.starts_with(['+', '|']) {
        // The columns of a table are as wide as the ids.
        return line.chars().filter(|letter| !"- ".contains(*letter)).collect();
    }
    // Ids are printed with blanks before them.
    let line = line.split(' ').filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
    match line.find("\"error\":\"") {
        Some(at) if line.starts_with('{') => line[at..].to_owned(),
        _ => line,
    }
}

/// Fields that are the server's own business: sizes, versions, what raft counts.
fn own_fields(text: &str) -> String {
    const OWN: [&str; 12] = [
        "version",
        "raft",
        "size",
        "leader",
        "term",
        "MemberID",
        "ClusterID",
        "member_id",
        "cluster_id",
        "\"ID\"",
        "PeerURL",
        "\"ttl\"",
    ];
    let kept = text.lines().map(|line| {
        if OWN.iter().any(|own| line.to_lowercase().contains(&own.to_lowercase())) {
            line.split(" : ").next().unwrap_or_default().to_owned()
        } else {
            line.to_owned()
        }
    });
    kept.collect::<Vec<_>>().join("\n")
}

/// JSON with the same fields taken out.
fn own_json(text: &str) -> Option<String> {
    let mut value: serde_json::Value = serde_json::from_str(text.trim()).ok()?;
    strip(&mut value);
    Some(value.to_string())
}

fn strip(value: &mut serde_json::Value) {
    const OWN: [&str; 19] = [
        "cluster_id",
        "member_id",
        "raft_term",
        "raftTerm",
        "raftIndex",
        "raftAppliedIndex",
        "dbSize",
        "dbSizeInUse",
        "leader",
        "version",
        "ID",
        "id",
        "peerURLs",
        "took",
        "lease",
        "hash_revision",
        "ttl",
        "storageVersion",
        "dbSizeQuota",
    ];
    match value {
        serde_json::Value::Object(fields) => {
            fields.retain(|name, _| !OWN.contains(&name.as_str()));
            fields.values_mut().for_each(strip);
        }
        serde_json::Value::Array(values) => {
            values.iter_mut().for_each(strip);
            // Members come in the order of their ids.
            if values
                .iter()
                .all(|value| value.get("clientURLs").or(value.get("isLearner")).is_some())
            {
                values.sort_by_key(ToString::to_string);
            }
        }
        _ => {}
    }
}

fn comparable(done: &Done, words: &[String], url: &str) -> Done {
    let wants = |format: &str| words.iter().any(|word| word == format);
    let mut out = match own_json(&done.out) {
        Some(json) if wants("json") => tidy(&json, url),
        _ => tidy(&done.out, url),
    };
    if wants("fields") {
        out = own_fields(&out);
    }
    if words.iter().any(|word| word == "protobuf") {
        // The header is in it; what it means is compared in the other formats.
        out = String::new();
    }
    if words.iter().any(|word| word == "status") && !wants("fields") && !wants("json") {
        // A row of numbers that are the server's own.
        out = format!("{} columns", out.lines().last().unwrap_or_default().split(", ").count());
    }
    if words.iter().any(|word| word == "member") {
        // The same, within a line and of the lines.
        let sorted = |text: &str, by: char| {
            let mut parts: Vec<String> = text.split(by).map(str::to_owned).collect();
            parts.sort();
            parts.join(&by.to_string())
        };
        let lines: Vec<String> = out
            .lines()
            .map(|line| match line.split_once("CLUSTER=") {
                Some((name, list)) => format!("{name} {}", sorted(list.trim_matches('"'), ',')),
                None => line.to_owned(),
            })
            .collect();
        out = sorted(&lines.join("\n"), '\n');
    }
    Done { code: done.code, out, err: tidy(&done.err, url) }
}

async fn compare(name: &'static str) {
    let Some(program) = testbed::program("etcdctl") else { return };
    let Some(etcd) = testbed::program("etcd") else { return };
    let mut etcd = Ctl::start(&program, &Launcher::etcd(&etcd)).await;
    let mut ours = Ctl::start(&program, &ours()).await;
    let mut broken = Vec::new();
    let all = tokio::task::spawn_blocking(move || {
        for Line { words, input } in script(name) {
            let theirs = etcd.run(&words, &input);
            let our = ours.run(&words, &input);
            let theirs = comparable(&theirs, &words, etcd.server.url());
            let our = comparable(&our, &words, ours.server.url());
            if theirs != our {
                broken.push(format!(
                    "etcdctl {}\n  etcd: {theirs:?}\n  ours: {our:?}",
                    words.join(" ")
                ));
            }
        }
        broken
    });
    let broken = all.await.unwrap();
    assert!(broken.is_empty(), "\n{}", broken.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_and_transactions() {
    compare("keys.txt").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn leases() {
    compare("leases.txt").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_member_and_its_cluster() {
    compare("cluster.txt").await;
}

/// Watches run until they are ended, so each gets a few seconds; all at once.
#[tokio::test(flavor = "multi_thread")]
async fn watches() {
    let Some(program) = testbed::program("etcdctl") else { return };
    let Some(etcd) = testbed::program("etcd") else { return };
    let mut etcd = Ctl::start(&program, &Launcher::etcd(&etcd)).await;
    let mut ours = Ctl::start(&program, &ours()).await;
    let all = tokio::task::spawn_blocking(move || {
        let changes = ["put a 1", "put a 2", "put ab x", "del a", "put b 1", "put a 3"];
        for ctl in [&mut etcd, &mut ours] {
            for change in changes {
                let words: Vec<String> = change.split(' ').map(str::to_owned).collect();
                assert_eq!(ctl.run(&words, "").code, Some(0), "{change}");
            }
        }
        let watches = [
            ("watch a --rev=1", ""),
            ("watch a --prefix --rev=1 --prev-kv", ""),
            ("watch a b --rev=3 -w json", ""),
            ("watch a --prefix --rev=1 -w fields --prev-kv", ""),
            ("watch a --rev=1 --progress-notify --hex", ""),
            ("watch a --rev=1 -- sh -c env|grep^ETCD_WATCH|sort", ""),
            ("watch -i", "watch a --rev=1\nwatch ab --rev=1\nwatch nothing\nprogress\n"),
        ];
        let watch = |ctl: &Ctl, line: &str, input: &str| {
            let words = line.split(' ').map(|word| word.replace("|grep^", "|grep ^"));
            let mut child = Command::new("timeout")
                .arg("4")
                .arg(&ctl.program)
                .arg(format!("--endpoints={}", ctl.server.url()))
                .args(words)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            child.stdin.as_mut().unwrap().write_all(input.as_bytes()).unwrap();
            (child, ctl.server.url().to_owned())
        };
        let both =
            |(line, input): &(&str, &str)| (watch(&etcd, line, input), watch(&ours, line, input));
        let running: Vec<_> = watches.iter().map(both).collect();
        for ((line, _), (etcd, ours)) in watches.iter().zip(running) {
            let told = |(mut child, url): (std::process::Child, String)| {
                // Held open until now: an interactive watch ends with its input.
                let input = child.stdin.take();
                let output = child.wait_with_output().unwrap();
                drop(input);
                let out = String::from_utf8_lossy(&output.stdout).into_owned();
                let one = |line: &str| own_json(line).unwrap_or_else(|| tidy(line, &url));
                let out: Vec<String> = out.lines().map(one).collect();
                let mut lines: Vec<String> =
                    own_fields(&out.join("\n")).lines().map(str::to_owned).collect();
                if line.contains("-i") {
                    // Of two watches either may be told first.
                    lines.sort();
                }
                lines
            };
            let (etcd, ours) = (told(etcd), told(ours));
            assert!(!etcd.is_empty(), "etcd told nothing to {line}");
            assert_eq!(etcd, ours, "etcdctl {line}");
        }
    });
    all.await.unwrap();
}

/// Ends with the test, however that ends.
struct Running(std::process::Child);

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// What is mirrored from one arrives at the other, in both directions.
#[tokio::test(flavor = "multi_thread")]
async fn mirrors() {
    let Some(program) = testbed::program("etcdctl") else { return };
    let Some(etcd) = testbed::program("etcd") else { return };
    let mut etcd = Ctl::start(&program, &Launcher::etcd(&etcd)).await;
    let mut ours = Ctl::start(&program, &ours()).await;
    let all = tokio::task::spawn_blocking(move || {
        let mirror = |from: &mut Ctl, to: &mut Ctl| {
            let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<String>>();
            from.run(&words("put m/1 one"), "");
            let child = Command::new(&from.program)
                .arg(format!("--endpoints={}", from.server.url()))
                .args(["make-mirror", "--prefix=m/", "--dest-prefix=copy/"])
                .arg(to.server.url())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            let _running = Running(child);
            let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
            let wait_for = |to: &mut Ctl, wanted: &str| loop {
                let found = to.run(&words("get copy/ --prefix"), "").out;
                if found == wanted {
                    break;
                }
                assert!(std::time::Instant::now() < deadline, "not mirrored: {found:?}");
            };
            // What was there, then what comes.
            wait_for(to, "copy/1\none\n");
            from.run(&words("put m/2 two"), "");
            from.run(&words("del m/1"), "");
            wait_for(to, "copy/2\ntwo\n");
        };
        mirror(&mut etcd, &mut ours);
        mirror(&mut ours, &mut etcd);
    });
    all.await.unwrap();
}

#[test]
fn any_id_is_put_aside_and_words_are_not() {
    assert_eq!(tidy_word("8e9e05c52164694d"), "ID");
    // An etcd took this for its own id once: three decimal digits.
    assert_eq!(tidy_word("4ddee40fbdddcbef"), "ID");
    assert_eq!(tidy_word("deadbeefcafe"), "deadbeefcafe");
    assert_eq!(tidy_word("unstarted"), "unstarted");
}
