//! Puts the git commit that this binary is built from into `ORLOP_GIT_COMMIT`.

use std::path::Path;
use std::process::Command;

fn main() {
    // A rebuild is needed when HEAD moves; without these lines cargo would ask for one on every
    // change of any file in the package.
    for path in ["../.git/HEAD", "../.git/logs/HEAD"] {
        if Path::new(path).exists() {
            println!("cargo:rerun-if-changed={path}");
        }
    }
    println!("cargo:rerun-if-changed=build.rs");
    stay_where_it_is_linked();
    println!("cargo:rerun-if-env-changed=ORLOP_GIT_COMMIT");

    let given = std::env::var("ORLOP_GIT_COMMIT").ok().filter(|commit| !commit.is_empty());
    let commit = given.or_else(commit_of_this_tree).unwrap_or_else(|| "unknown".to_owned());
    println!("cargo:rustc-env=ORLOP_GIT_COMMIT={commit}");
}

/// A program that can be loaded anywhere is full of addresses that are put right at its start, and every page
/// with one is then a process's own: some megabytes of each of the dozen that a control plane has. One that
/// lies at a fixed place, as etcd and kube-apiserver do, shares them and starts sooner. What varies from
/// start to start all the same: the heap, the stacks, the libraries.
fn stay_where_it_is_linked() {
    // Elsewhere another linker has other words for it, and musl links statically.
    let is = |name: &str, wanted: &str| std::env::var(name).is_ok_and(|value| value == wanted);
    if is("CARGO_CFG_TARGET_OS", "linux") && is("CARGO_CFG_TARGET_ENV", "gnu") {
        println!("cargo:rustc-link-arg-bins=-no-pie");
    }
}

/// A source archive has no repository, and a machine may have no git: neither stops the build.
fn commit_of_this_tree() -> Option<String> {
    let output = Command::new("git").args(["rev-parse", "--short=12", "HEAD"]).output().ok()?;
    let commit = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && !commit.is_empty()).then_some(commit)
}
