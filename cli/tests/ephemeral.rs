//! `orlop apiserver --ephemeral`: what it says, what it serves, and that nothing is left of it.
#![expect(clippy::unwrap_used, reason = "a failed helper is a failed test")]
#![expect(clippy::panic, reason = "a failed helper is a failed test")]

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

const DEADLINE: Duration = Duration::from_secs(60);

fn binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_orlop"))
}

/// A server, which ends with the test.
struct Server {
    child: Child,
    stdin: Option<ChildStdin>,
    said: Value,
}

impl Server {
    fn start(flags: &[&str]) -> Self {
        let mut child = Command::new(binary())
            .args(["apiserver", "--ephemeral", "--with-parent", "-o", "json"])
            .args(flags)
            .env_remove("RUST_LOG")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let said = serde_json::from_str(&line).unwrap_or_else(|_| panic!("it said {line:?}"));
        Self { stdin: child.stdin.take(), child, said }
    }

    fn kubeconfig(&self) -> &str {
        self.said["kubeconfig"].as_str().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !holds() {
        assert!(Instant::now() < end, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn run(program: &Path, arguments: &[&str], kubeconfig: &str) -> String {
    let mut command = Command::new(program);
    command.args(arguments).env("KUBECONFIG", kubeconfig).stdin(Stdio::null());
    let output = command.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn kubectl_works_on_it_and_it_ends_when_its_input_is_closed() {
    let Some(kubectl) = testbed::program("kubectl") else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config");
    let flag = format!("--kubeconfig={}", path.display());
    let mut server = Server::start(&[&flag]);
    let kubeconfig = server.kubeconfig().to_owned();
    assert_eq!(Path::new(&kubeconfig), path);
    let say = |arguments: &[&str]| run(&kubectl, arguments, &kubeconfig);
    assert_eq!(say(&["auth", "whoami", "-o", "jsonpath={.status.userInfo.username}"]), "admin");
    say(&["create", "namespace", "n"]);
    say(&["-n", "n", "run", "p", "--image=i"]);
    assert!(say(&["-n", "n", "get", "pods"]).contains("Pending"));
    say(&["delete", "namespace", "n", "--timeout=60s"]);
    assert!(say(&["get", "--raw", "/ephemeral/time"]).contains("\"aheadSeconds\":0"));

    drop(server.stdin.take());
    let mut status = None;
    until("it ends", || {
        status = server.child.try_wait().unwrap();
        status.is_some()
    });
    assert!(status.unwrap().success());
}

/// Z2, and the folder of temporary files stays as it was.
#[test]
fn a_killed_parent_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    // A shell stands between: the parent that is killed is not this test.
    let script = format!(
        "{} apiserver --ephemeral --with-parent -o json < /dev/null & wait",
        binary().display()
    );
    let mut parent = Command::new("sh")
        .args(["-c", &script])
        .env("TMPDIR", folder.path())
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(parent.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let said: Value = serde_json::from_str(&line).unwrap();
    let address = said["url"].as_str().unwrap().trim_start_matches("https://").to_owned();
    let kubeconfig = PathBuf::from(said["kubeconfig"].as_str().unwrap());
    assert!(std::fs::read_to_string(&kubeconfig).unwrap().contains("current-context"));
    parent.kill().unwrap();
    parent.wait().unwrap();
    // Whether somebody collects the process is not ours to say.
    until("the server ends", || !kubeconfig.exists());
    assert!(std::net::TcpStream::connect(address).is_err());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn many_start_at_once() {
    let servers: Vec<Server> = std::thread::scope(|scope| {
        let starting: Vec<_> = (0..6).map(|_| scope.spawn(|| Server::start(&[]))).collect();
        starting.into_iter().map(|one| one.join().unwrap()).collect()
    });
    let mut urls: Vec<&str> = servers.iter().map(|one| one.said["url"].as_str().unwrap()).collect();
    urls.sort_unstable();
    urls.dedup();
    assert_eq!(urls.len(), 6);
}

#[test]
fn flags_that_make_no_sense_together_are_refused() {
    for (flags, why) in [
        (&["--ephemeral", "--etcd-servers=http://127.0.0.1:1"][..], "--etcd-servers cannot be"),
        (&["--ephemeral", "--controllers=nonsense"], "unknown controller"),
        (&["--ephemeral", "--manifests=/nowhere/at/all"], "cannot read"),
        (&["--crd-dir=x"], "--ephemeral"),
        (&[], "--etcd-servers must be given"),
    ] {
        let mut command = Command::new(binary());
        let output = command.arg("apiserver").args(flags).output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && errors.contains(why), "{flags:?}: {errors}");
    }
}

/// The first block of a language in the page about it.
fn snippet(language: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/ephemeral.md");
    let text = std::fs::read_to_string(path).unwrap();
    let (_, rest) = text.split_once(&format!("```{language}\n")).unwrap();
    rest.split_once("```").unwrap().0.to_owned()
}

/// A program of this machine, or none and the test is skipped.
fn of_the_machine(name: &str) -> Option<PathBuf> {
    let places = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&places).map(|place| place.join(name)).find(|p| p.is_file());
    if found.is_none() {
        testbed::skip(&format!("there is no {name}"));
    }
    found
}

/// What the page says works, as it stands there.
fn follow(program: &str, arguments: &[&str], tools: &[&Path]) {
    let mut places: Vec<PathBuf> =
        tools.iter().map(|tool| tool.parent().unwrap().to_owned()).collect();
    places.push(binary().parent().unwrap().to_owned());
    places.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap()));
    let mut command = Command::new(program);
    command.args(arguments).env("PATH", std::env::join_paths(places).unwrap());
    let output = command.stdin(Stdio::null()).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{program}: {errors}\n{said}");
}

#[test]
fn the_page_s_shell_works() {
    let Some(kubectl) = testbed::program("kubectl") else { return };
    let Some(bash) = of_the_machine("bash") else { return };
    let script = format!("set -eu\n{}", snippet("sh"));
    follow(bash.to_str().unwrap(), &["-c", &script], &[&kubectl]);
}

#[test]
fn the_page_s_python_works() {
    let Some(python) = of_the_machine("python3") else { return };
    follow(python.to_str().unwrap(), &["-c", &snippet("python")], &[]);
}
