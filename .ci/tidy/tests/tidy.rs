//! Rules about the workspace that no compiler checks: who may depend on whom, how long a file may
//! be, and what may not be written down.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// Who may import whom, in code (not in tests). Changing a row is a decision about architecture.
const MAY_DEPEND: &[(&str, &[&str])] = &[
    ("proto", &[]),
    ("clock", &[]),
    ("cork", &[]),
    ("store-engine", &[]),
    ("store-planted", &[]),
    ("store-state-machine", &["proto", "store-engine", "store-planted"]),
    ("store-client", &["proto"]),
    ("store-memory", &["clock", "proto", "store-client", "store-state-machine"]),
    // In store/histogram: it has the name of the crate whose place it takes.
    ("base2histogram", &[]),
    ("store-differential", &["proto"]),
    ("store-backup", &["proto"]),
    (
        "store-server",
        &["cork", "proto", "store-engine", "store-planted", "store-state-machine", "store-backup"],
    ),
    ("store-fuzz", &["proto", "store-state-machine", "store-backup", "store-server", "testbed"]),
    ("api-machinery", &["api-cel"]),
    ("api-cel", &[]),
    ("api-tables", &["api-machinery"]),
    ("api-client", &["clock"]),
    ("api-server", &["clock", "cork", "api-machinery", "store-client"]),
    ("api-fuzz", &["api-machinery", "api-cel", "testbed"]),
    ("api-controllers", &["clock", "api-client", "api-machinery"]),
    ("api-ephemeral", &["clock", "store-memory", "api-server", "api-controllers"]),
    ("api-scheduler", &["api-client"]),
    ("node-agent", &["proto"]),
    ("chaos", &["proto", "store-client"]),
    ("chaos-planted", &["proto", "chaos", "store-planted", "store-server"]),
    ("chaos-sim", &["proto", "store-engine", "store-server", "chaos"]),
    (
        "cli",
        &[
            "store-server",
            "store-client",
            "store-backup",
            "api-server",
            "api-controllers",
            "api-ephemeral",
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
    ("rocksdb", &["store-engine"]),
    ("axum", &["store-server", "api-server", "node-agent"]),
    (
        "kube",
        &["api-client", "api-controllers", "api-ephemeral", "api-scheduler", "node-agent", "chaos"],
    ),
    ("turmoil", &["store-server", "chaos-sim"]),
    ("mad-turmoil", &["chaos-sim"]),
    ("fuser", &["chaos"]),
    ("tun-rs", &["chaos"]),
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

/// What cargo says of each of our crates.
fn packages() -> Vec<Value> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--no-deps", "--offline"])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo prints JSON");
    metadata["packages"].as_array().expect("packages are a list").clone()
}

fn text(value: &Value) -> String {
    value.as_str().expect("a name is text").to_owned()
}

/// The entries of a crate's dependencies, those of tests left out.
fn used(package: &Value) -> impl Iterator<Item = &Value> {
    let listed = package["dependencies"].as_array().expect("dependencies are a list");
    listed.iter().filter(|one| one["kind"] != "dev")
}

/// The direct dependencies of each of our crates.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let names = |package: &Value| used(package).map(|one| text(&one["name"])).collect();
    packages().iter().map(|package| (text(&package["name"]), names(package))).collect()
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

/// What only a simulation needs, such as an engine that loses data, is in no binary that people run.
#[test]
fn the_binary_has_no_simulated_parts() {
    let ours: BTreeMap<String, Value> =
        packages().into_iter().map(|package| (text(&package["name"]), package)).collect();
    let (mut broken, mut seen) = (Vec::new(), BTreeSet::new());
    let mut queue = vec!["cli".to_owned()];
    while let Some(name) = queue.pop() {
        let Some(package) = ours.get(&name).filter(|_| seen.insert(name.clone())) else { continue };
        for one in used(package) {
            if one["features"].as_array().is_some_and(|all| all.iter().any(|name| name == "sim")) {
                broken.push(format!("{name} -> {} with the feature sim", text(&one["name"])));
            }
            queue.push(text(&one["name"]));
        }
        if package["features"]["default"].as_array().is_some_and(|all| !all.is_empty()) {
            broken.push(format!("{name}: features that are on by default"));
        }
    }
    assert!(seen.contains("store-engine"), "the binary is made of other crates than this looks at");
    report(&broken);
}

/// Bugs on purpose are in what is built when somebody asks for them by name, and in nothing else.
#[test]
fn nobody_gets_a_planted_bug_who_does_not_ask_for_one() {
    let feature = "planted";
    let asks = |value: &Value| value.as_str().is_some_and(|text| text.ends_with(feature));
    let asked = |list: &Value| list.as_array().is_some_and(|list| list.iter().any(asks));
    let mut broken = Vec::new();
    for package in packages() {
        let name = package["name"].as_str().expect("a name is text");
        let features = package["features"].as_object().expect("features are a table");
        // Only the feature of this name may lead to it.
        for (leading, _) in features.iter().filter(|(key, to)| *key != feature && asked(to)) {
            broken.push(format!("{name}: feature {leading} plants bugs"));
        }
        let used = package["dependencies"].as_array().expect("dependencies are a list");
        for other in used.iter().filter(|other| asked(&other["features"])) {
            broken.push(format!("{name} -> {}: always with planted bugs", other["name"]));
        }
        for target in package["targets"].as_array().expect("targets are a list") {
            let is_planted = asks(&target["name"]) && target["kind"][0] == "bin";
            if is_planted && !asked(&target["required-features"]) {
                broken.push(format!("{name}: {} is built unasked", target["name"]));
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
