//! What the command line says without a cluster: refusals in one line, help, completion, version.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[expect(dead_code, reason = "clusters are another test's")]
mod support;

use std::net::TcpListener;

use support::{orlop, run};

/// What a refused command says: one line, exit code 1, nothing else.
fn refusal(arguments: &[&str]) -> String {
    let output = run(orlop().args(arguments));
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.starts_with("error: "), "{said}");
    said
}

fn stdout(arguments: &[&str]) -> String {
    let output = run(orlop().args(arguments));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_member_set_that_is_not_odd_is_refused() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("c");
    for members in ["0", "2", "4", "7"] {
        let line = refusal(&["up", "--dir", dir.to_str().unwrap(), "--members", members]);
        assert!(line.contains("choose 1, 3 or 5"), "{line}");
        assert!(!dir.exists(), "a refused command made the folder");
    }
}

#[test]
fn a_busy_port_is_refused_with_its_holder() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("c");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let prefix = format!("--host-prefix={}", support::host_prefix());
    let flags = [prefix.as_str(), "--members=1", "--nodes=0", "--runtime=fake"];
    let line = refusal(
        &[&["up", "--dir", dir.to_str().unwrap(), "--api-port", &port], &flags[..]].concat(),
    );
    assert!(line.contains(&format!("127.0.0.1:{port}")), "{line}");
    assert!(line.contains(&format!("(pid {})", std::process::id())), "{line}");
    assert!(line.contains("--api-port"), "{line}");
    assert!(!dir.join("cluster.json").exists(), "the refused port is remembered");
}

#[test]
fn folders_that_cannot_be_used_are_refused() {
    let foreign = tempfile::tempdir().unwrap();
    std::fs::write(foreign.path().join("thesis.txt"), "mine").unwrap();
    let line = refusal(&["up", "--dir", foreign.path().to_str().unwrap()]);
    assert!(line.contains("thesis.txt") && line.contains("--dir"), "{line}");

    let line = refusal(&["status", "--dir", foreign.path().to_str().unwrap()]);
    assert!(line.contains("no cluster at"), "{line}");
    let line = refusal(&["down", "--dir", "/nowhere/at/all"]);
    assert!(line.contains("orlop up"), "{line}");
}

#[test]
fn version_names_the_levels_that_are_spoken() {
    let json: serde_json::Value =
        serde_json::from_str(&stdout(&["version", "-o", "json"])).unwrap();
    assert_eq!(json["etcd"], "3.6.0");
    assert_eq!(json["kubernetes"], "v1.36.2");
    assert!(!json["gitCommit"].as_str().unwrap().is_empty());
    assert!(stdout(&["version"]).contains("git commit"));
}

#[test]
fn completion_knows_every_command() {
    for shell in ["bash", "zsh", "fish"] {
        let script = stdout(&["completion", shell]);
        for command in ["up", "status", "down", "apiserver", "controller-manager", "image"] {
            assert!(script.contains(command), "{shell} does not know {command}");
        }
    }
}

#[test]
fn help_reads_as_it_did() {
    for (name, arguments) in [("orlop", &["--help"][..]), ("up", &["up", "--help"][..])] {
        insta::assert_snapshot!(format!("help_{name}"), stdout(arguments));
    }
    for part in ["store", "apiserver", "controller-manager", "scheduler", "node", "bench", "chaos"]
    {
        assert!(stdout(&[part, "--help"]).contains("Usage:"), "{part}");
    }
}
