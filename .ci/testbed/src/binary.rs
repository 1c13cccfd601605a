//! The built `orlop`, for tests that start it as a user would.
#![expect(clippy::panic, reason = "a test without its binary fails")]

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

const REMEDY: &str = "build it: cargo build -p cli";

/// The binary that `ORLOP_BIN` names, or that of this build, beside or above the running test.
///
/// A binary of yesterday proves nothing about the code of today, so the second must be newer than
/// every source below `areas`, which are folders of the workspace such as `store`.
///
/// # Panics
/// When there is none, or it is older than its sources, or was built from another clone.
#[must_use]
pub fn orlop(areas: &[&str]) -> PathBuf {
    if let Some(path) = env::var_os("ORLOP_BIN").map(PathBuf::from) {
        assert!(path.is_file(), "ORLOP_BIN names {}, which is not a file", path.display());
        return path;
    }
    let running = env::current_exe().expect("the running test has a path");
    let mut beside = running.ancestors().skip(1).take(3).map(|folder| folder.join("orlop"));
    let Some(path) = beside.find(|path| path.is_file()) else {
        panic!("no orlop binary beside {}; {REMEDY}", running.display());
    };
    if let Err(why) = is_fresh(&path, areas) {
        panic!("{}: {why}; {REMEDY}", path.display());
    }
    path
}

/// Cargo lists the sources of a binary beside it.
fn is_fresh(binary: &Path, areas: &[&str]) -> Result<(), String> {
    let listed = fs::read_to_string(binary.with_extension("d"))
        .map_err(|error| format!("cannot read the list of its sources: {error}"))?;
    let age = |path: &Path| fs::metadata(path).and_then(|data| data.modified());
    let built = age(binary).map_err(|error| error.to_string())?;
    // The workspace is two folders above this crate.
    let workspace =
        Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap_or(Path::new("/"));
    let areas: Vec<PathBuf> = areas.iter().map(|area| workspace.join(area)).collect();
    // "binary: source source ...".
    let mut ours = listed
        .split_whitespace()
        .map(Path::new)
        .filter(|source| areas.iter().any(|area| source.starts_with(area)))
        .peekable();
    // Clones may share a target folder: the last one that built it owns the binary.
    if ours.peek().is_none() {
        return Err("it was built from another clone".to_owned());
    }
    // One that was removed since has been replaced by others.
    match ours.find(|source| age(source).is_ok_and(|changed| changed > built)) {
        Some(newer) => Err(format!("it is older than {}", newer.display())),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_binary_of_another_clone_and_one_older_than_its_sources_are_told() {
        let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/binary.rs");
        let folder = env::temp_dir().join(format!("orlop-testbed-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let binary = folder.join("orlop");
        let list = |source: &Path| {
            fs::write(binary.with_extension("d"), format!("orlop: {}\n", source.display()))
                .unwrap();
        };
        fs::write(&binary, "").unwrap();
        list(&own);
        let new = is_fresh(&binary, &[".ci"]);
        list(Path::new("/elsewhere/.ci/x.rs"));
        let foreign = is_fresh(&binary, &[".ci"]).unwrap_err();
        list(&own);
        let past = std::time::SystemTime::UNIX_EPOCH;
        fs::File::options().write(true).open(&binary).unwrap().set_modified(past).unwrap();
        let old = is_fresh(&binary, &[".ci"]).unwrap_err();
        fs::remove_dir_all(&folder).unwrap();
        assert_eq!(new, Ok(()));
        assert!(foreign.contains("another clone"), "{foreign}");
        assert!(old.contains("older than") && old.contains("binary.rs"), "{old}");
    }
}
