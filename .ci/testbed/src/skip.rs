//! The one form in which a test skips itself: said, counted, and never by accident on CI.
#![expect(clippy::print_stderr, reason = "a skipped test says so")]
#![expect(clippy::panic, reason = "on CI, what `make test` provides is there")]

use std::env;
use std::fmt::Display;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::PathBuf;

/// Names the file that counts the skipped: a line `TEST: REASON` each. `scripts/test.sh` reads it.
const COUNTED: &str = "ORLOP_SKIPS";

/// Says that this test skips itself, because the machine cannot do what it needs; the caller then
/// returns. The runner calls a skipped test passed, so the count is kept apart: `scripts/test.sh`
/// shows it, and fails on CI when the machine could have done it.
///
/// # Panics
/// When the skip cannot be counted: nobody would hear of it.
pub fn skip(reason: &dyn Display) {
    let line = format!("{}: {reason}", test()).replace('\n', " ");
    eprintln!("SKIPPED: {line}");
    let Some(file) = env::var_os(COUNTED) else { return };
    let counted = OpenOptions::new()
        .create(true)
        .append(true)
        .open(&file)
        // One write, so that lines of tests that run at the same time do not mix.
        .and_then(|mut file| file.write_all(format!("{line}\n").as_bytes()));
    if let Err(error) = counted {
        panic!("{COUNTED} names {}, which cannot be written: {error}", file.display());
    }
}

/// A program that `make test` provides, such as `etcd`: the file that `ORLOP_ETCD` names, or that of
/// its name in the folder `ORLOP_PEERS`. Without either the test skips itself: `None`, counted.
///
/// # Panics
/// On CI (`CI` is set), which must not skip, and when a variable names a file that is not there.
#[must_use]
pub fn program(name: &str) -> Option<PathBuf> {
    let variable = format!("ORLOP_{}", name.to_uppercase());
    if let Some(path) = env::var_os(&variable).map(PathBuf::from) {
        assert!(path.is_file(), "{variable} names {}, which is not a file", path.display());
        return Some(path);
    }
    let folder = env::var_os("ORLOP_PEERS").map(PathBuf::from);
    if let Some(path) = folder.map(|folder| folder.join(name)).filter(|path| path.is_file()) {
        return Some(path);
    }
    assert!(
        env::var_os("CI").is_none(),
        "{name} is missing, and CI must not skip: run through `make test`"
    );
    skip(&format!(
        "there is no {name}; `make test` gets it ({variable} or ORLOP_PEERS says where)"
    ));
    None
}

/// The test that runs on this thread: `package::program::module::name`.
fn test() -> String {
    // Cargo and nextest tell whose test it is.
    let package = env::var("CARGO_PKG_NAME").unwrap_or_else(|_| "?".to_owned());
    let program = env::current_exe().ok();
    let stem = program.as_deref().and_then(|path| path.file_stem()).unwrap_or_default();
    let stem = stem.to_string_lossy();
    // Cargo puts a hash after the name.
    let name = stem.rsplit_once('-').map_or(&*stem, |(name, _)| name);
    let thread = std::thread::current();
    format!("{package}::{name}::{}", thread.name().unwrap_or("?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_skip_names_its_test() {
        assert_eq!(test(), "testbed::testbed::skip::tests::a_skip_names_its_test");
    }
}
