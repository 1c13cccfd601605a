//! Damage to the files of a state: what was applied is read, or nothing is.
#![expect(clippy::unwrap_used, reason = "a failed helper is a failed test")]
#![expect(clippy::panic, reason = "a failed helper is a failed test")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use proto::mvccpb::KeyValue;
use proto::orlop::store::v1::command::Op;
use store_state_machine::{Fault, ReadError, StateMachine};
use support::{Store, everything, put, small};
use tempfile::TempDir;

/// A state in several files, closed in order.
fn closed() -> (TempDir, Answers) {
    let mut store = Store::new();
    for round in 0..3 {
        for number in 0..120 {
            let key = format!("key {number:03}");
            let value = format!("{round} {}", "value ".repeat(60));
            store.run(Op::Put(put(&key, &value))).0.unwrap();
        }
        store.get().flush().unwrap();
    }
    store.get().finish().unwrap();
    let answers = read(store.machine.as_ref().unwrap()).unwrap();
    assert_eq!(answers.0.len(), 120);
    drop(store.machine.take());
    (store.dir, answers)
}

type Answers = (Vec<KeyValue>, u32);

/// The newest of each key, and everything that the history holds.
fn read(machine: &StateMachine) -> Result<Answers, ReadError> {
    let view = machine.view();
    Ok((view.range(&everything())?.kvs, view.hash_kv(0)?.hash))
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for file in fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        let target = to.join(file.file_name());
        if file.file_type().unwrap().is_dir() {
            copy_folder(&file.path(), &target);
        } else {
            fs::copy(file.path(), target).unwrap();
        }
    }
}

/// The files that a state cannot do without.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut all = vec![PathBuf::from("CURRENT")];
    for file in fs::read_dir(dir.join("db-1")).unwrap() {
        let name = file.unwrap().file_name();
        let text = name.to_string_lossy();
        if text.ends_with(".sst") || text == "CURRENT" || text.starts_with("MANIFEST") {
            all.push(Path::new("db-1").join(&name));
        }
    }
    all.sort();
    all
}

/// Spoils a copy of the state; answers whether somebody noticed.
fn noticed(good: &Path, answers: &Answers, sealed: bool, spoil: impl FnOnce(&Path)) -> bool {
    let dir = tempfile::tempdir().unwrap();
    copy_folder(good, dir.path());
    if !sealed {
        fs::remove_file(dir.path().join("db-1/SEAL")).unwrap();
    }
    spoil(dir.path());
    let machine = match StateMachine::open(dir.path(), &small()) {
        Ok(machine) => machine,
        Err(Fault::Damaged(what) | Fault::File { context: what, .. }) => {
            assert!(what.contains(&dir.path().display().to_string()), "no file is named: {what}");
            return true;
        }
        Err(other) => panic!("not said to be damage: {other}"),
    };
    match read(&machine) {
        Ok(found) => {
            assert_eq!(&found, answers, "wrong data were read");
            false
        }
        Err(ReadError::Failed(fault)) => {
            let text = fault.to_string();
            assert!(text.contains(".sst"), "no file is named: {text}");
            true
        }
        Err(ReadError::Refused(refusal)) => panic!("refused: {refusal}"),
    }
}

#[test]
fn a_flipped_bit_is_never_read_as_data() {
    let (dir, answers) = closed();
    let files = files(dir.path());
    assert!(files.len() > 6, "{files:?}");
    let mut seen = 0;
    let mut tries = 0;
    for sealed in [true, false] {
        for name in &files {
            let length = fs::metadata(dir.path().join(name)).unwrap().len();
            for part in 0..5 {
                tries += 1;
                seen += usize::from(noticed(dir.path(), &answers, sealed, |copy| {
                    let path = copy.join(name);
                    let mut bytes = fs::read(&path).unwrap();
                    let at = usize::try_from(length * (2 * part + 1) / 10).unwrap();
                    bytes[at] ^= 1 << part;
                    fs::write(path, bytes).unwrap();
                }));
            }
        }
    }
    // What is left are bytes that say nothing about data.
    assert!(seen * 10 > tries * 8, "{seen} of {tries}");
}

#[test]
fn a_file_that_is_missing_or_short_is_named() {
    let (dir, answers) = closed();
    for name in files(dir.path()) {
        for sealed in [true, false] {
            let deleted = |copy: &Path| fs::remove_file(copy.join(&name)).unwrap();
            // The name of a state is only needed where there was another one before.
            if name != Path::new("CURRENT") {
                assert!(noticed(dir.path(), &answers, sealed, deleted), "{}", name.display());
            }
            // A manifest without its end is an older state: only the seal can tell.
            if sealed || !name.to_string_lossy().contains("MANIFEST") {
                let shortened = |copy: &Path| {
                    let bytes = fs::read(copy.join(&name)).unwrap();
                    fs::write(copy.join(&name), &bytes[..bytes.len() / 2]).unwrap();
                };
                assert!(noticed(dir.path(), &answers, sealed, shortened), "{}", name.display());
            }
        }
    }
    let gone = |copy: &Path| fs::remove_dir_all(copy.join("db-1")).unwrap();
    assert!(noticed(dir.path(), &answers, true, |copy| {
        // A state that lost its database is not an empty one.
        fs::copy(copy.join("db-1/SEAL"), copy.join("kept")).unwrap();
        gone(copy);
    }));
}

/// Once the name of a state was lost, the start took the folder of an older one, and removed the one
/// that counted.
#[test]
fn a_state_whose_name_is_lost_is_not_thrown_away() {
    let (dir, _) = closed();
    fs::rename(dir.path().join("db-1"), dir.path().join("db-2")).unwrap();
    fs::remove_file(dir.path().join("CURRENT")).unwrap();
    let error = StateMachine::open(dir.path(), &small()).err().unwrap().to_string();
    assert!(error.contains("CURRENT is missing"), "{error}");
    assert!(dir.path().join("db-2").exists());
}
