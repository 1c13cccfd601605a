//! Rules about the workspace that no compiler checks: who may depend on whom, how long a file may
//! be, and what may not be written down.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// Who may import whom, in code (not in tests). Changing a row is a decision about architecture.
const MAY_DEPEND: &[(&str, &[&str])] = &[
    ("proto", &[]),
    ("store-state-machine", &["proto"]),
    ("store-client", &["proto"]),
    // In store/histogram: it has the name of the crate whose place it takes.
    ("base2histogram", &[]),
    ("store-differential", &["proto"]),
    ("store-backup", &["proto"]),
    ("store-server", &["proto", "store-state-machine", "store-backup"]),
    ("store-fuzz", &["proto", "store-state-machine", "store-backup", "store-server"]),
    ("api-machinery", &[]),
    ("api-tables", &["api-machinery"]),
    ("api-client", &[]),
    ("api-server", &["api-machinery", "store-client"]),
    ("api-controllers", &["api-client"]),
    ("api-scheduler", &["api-client"]),
    ("node-agent", &["proto"]),
    ("chaos", &["proto", "store-client"]),
    (
        "cli",
        &[
            "store-server",
            "store-client",
            "store-backup",
            "api-server",
            "api-controllers",
            "api-scheduler",
            "node-agent",
            "chaos",
        ],
    ),
    ("tidy", &[]),
    ("testbed", &[]),
];

/// Crates from outside that only some of ours may use.
const ONLY_IN: &[(&str, &[&str])] = &[
    ("openraft", &["store-server"]),
    ("rocksdb", &["store-state-machine", "store-server"]),
    ("axum", &["store-server", "api-server", "node-agent"]),
    ("kube", &["api-client", "api-controllers", "api-scheduler", "node-agent", "chaos"]),
    ("fuser", &["chaos"]),
];

/// A file longer than this does not fit in a head: before its tests, and with them.
const LINES_MAX: usize = 600;
const LINES_WITH_TESTS_MAX: usize = 700;

fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).expect("tidy lies two folders deep").to_owned()
}

fn tracked(ending: &str) -> Vec<(String, String)> {
    let root = root();
    let output = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(&root)
        .output()
        .expect("git runs");
    assert!(output.status.success(), "git ls-files failed");
    let mut files = Vec::new();
    for name in String::from_utf8(output.stdout).expect("names are UTF-8").lines() {
        if !name.ends_with(ending) {
            continue;
        }
        // Not text, or removed and not yet committed: nothing to read.
        if let Ok(text) = std::fs::read_to_string(root.join(name)) {
            files.push((name.to_owned(), text));
        }
    }
    assert!(!files.is_empty(), "found no file ending in {ending:?}");
    files
}

fn report(broken: &[String]) {
    assert!(broken.is_empty(), "\n{}\n", broken.join("\n"));
}

/// The direct dependencies of each of our crates, those of tests left out.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--no-deps", "--offline"])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo prints JSON");
    let text = |value: &Value| value.as_str().expect("a name is text").to_owned();
    let packages = metadata["packages"].as_array().expect("packages are a list");
    packages
        .iter()
        .map(|package| {
            let listed = package["dependencies"].as_array().expect("dependencies are a list");
            let used = listed.iter().filter(|one| one["kind"] != "dev");
            (text(&package["name"]), used.map(|one| text(&one["name"])).collect())
        })
        .collect()
}

#[test]
fn dependencies_point_down() {
    let ours = dependencies();
    let allowed: BTreeMap<&str, &[&str]> = MAY_DEPEND.iter().copied().collect();
    let mut broken = Vec::new();
    for (name, used) in &ours {
        let Some(allowed) = allowed.get(name.as_str()) else {
            broken.push(format!("{name}: not in MAY_DEPEND"));
            continue;
        };
        for other in used.iter().filter(|other| ours.contains_key(*other)) {
            if !allowed.contains(&other.as_str()) {
                broken.push(format!("{name} -> {other}: not in MAY_DEPEND"));
            }
        }
    }
    report(&broken);
}

#[test]
fn crates_from_outside_stay_where_they_belong() {
    let mut broken = Vec::new();
    for (name, used) in &dependencies() {
        for (outside, homes) in ONLY_IN {
            if used.contains(*outside) && !homes.contains(&name.as_str()) {
                broken.push(format!("{name} -> {outside}: only in {}", homes.join(", ")));
            }
        }
    }
    report(&broken);
}

#[test]
fn files_fit_in_a_head() {
    let mut broken = Vec::new();
    for (name, text) in tracked(".rs") {
        // Written by a tool and read by none.
        if text.lines().take(3).any(|line| line.contains("@generated")) {
            continue;
        }
        let lines = text.lines().count();
        let own = text.lines().position(|line| line == "#[cfg(test)]").unwrap_or(lines);
        if own > LINES_MAX || lines > LINES_WITH_TESTS_MAX {
            broken.push(format!("{name}: {own} lines, {lines} with tests"));
        }
    }
    report(&broken);
}

#[test]
fn every_module_says_what_it_is() {
    let silent = |(name, text): (String, String)| {
        (!text.lines().next().is_some_and(|line| line.starts_with("//! "))).then_some(name)
    };
    report(&tracked(".rs").into_iter().filter_map(silent).collect::<Vec<_>>());
}

#[test]
fn a_test_that_skips_itself_is_counted() {
    // Put together here, so that this file does not find itself.
    let words = [["SKIP", "PED"].concat(), ["#[ig", "nore"].concat()];
    let mut broken = Vec::new();
    for (name, text) in tracked(".rs") {
        if name == ".ci/testbed/src/skip.rs" {
            continue;
        }
        for (number, line) in text.lines().enumerate() {
            if words.iter().any(|word| line.contains(word.as_str())) {
                broken
                    .push(format!("{name}:{}: use testbed::skip or testbed::program", number + 1));
            }
        }
    }
    report(&broken);
}

#[test]
fn nothing_of_one_machine_is_written_down() {
    // Put together here, so that this file does not find itself.
    let words = ["work", "farm", "root", "home"].map(|top| format!("/{top}/"));
    let mut broken = Vec::new();
    for (name, text) in tracked("") {
        if name.ends_with("Cargo.lock") {
            continue;
        }
        for (number, line) in text.lines().enumerate() {
            let starts_a_path = |word: &String| {
                line.match_indices(word.as_str()).any(|(at, _)| {
                    !line[..at].ends_with(|before: char| {
                        before.is_alphanumeric() || "}._-".contains(before)
                    })
                })
            };
            if words.iter().any(starts_a_path) {
                broken.push(format!("{name}:{}: {}", number + 1, line.trim()));
            }
        }
    }
    report(&broken);
}
