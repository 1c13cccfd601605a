//! What a simulated crash leaves: laws E1 to E5, for any history, any faults and any dice.

use std::path::{Path, PathBuf};

use proptest::prelude::*;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use tempfile::TempDir;

use super::{Disk, Failure, Operation, Times, register, unregister};
use crate::{DEFAULT, Db, Durability, Error, Reading, StateOptions};

struct Host {
    _dir: TempDir,
    path: PathBuf,
    disk: Disk,
    logged: bool,
}

impl Drop for Host {
    fn drop(&mut self) {
        unregister(&self.path);
    }
}

impl Host {
    fn new(logged: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (path, disk) = (dir.path().join("host"), Disk::new());
        register(&path, &disk);
        Self { _dir: dir, path, disk, logged }
    }

    fn open(&self) -> Result<Db, Error> {
        let path = self.path.join("db");
        let make = !path.join("CURRENT").exists();
        if self.logged {
            // Small: a new generation is begun now and then.
            Db::open_log(&path, make, 2_000)
        } else {
            let options = StateOptions { write_buffer_bytes: 4_000, ..StateOptions::default() };
            Db::open_state(&path, make, &options, &["live"])
        }
    }

    fn family(&self) -> &'static str {
        if self.logged { DEFAULT } else { "live" }
    }

    /// Write number `number`: a key of its own, and one that each write replaces.
    fn write(&self, db: &Db, number: u64, durability: Durability) -> Result<(), Error> {
        let family = db.family(self.family());
        let mut batch = db.batch();
        batch.put(family, number.to_be_bytes(), vec![number as u8; (number * 37 % 300) as usize]);
        batch.put(family, b"z", number.to_be_bytes());
        db.write(batch, durability)
    }

    /// How many writes are there. E1, E2: exactly the first ones, each whole.
    fn found(&self, db: &Db) -> u64 {
        self.read(db).unwrap()
    }

    fn read(&self, db: &Db) -> Result<u64, Error> {
        let mut cursor = db.cursor(db.family(self.family()), Reading::below(None));
        cursor.seek(&[]);
        let mut count = 0_u64;
        while let Some((key, value)) = cursor.item() {
            if key == b"z" {
                assert_eq!(value, (count - 1).to_be_bytes(), "the last write is not whole");
            } else {
                assert_eq!(key, count.to_be_bytes(), "a write is missing");
                assert_eq!(value, vec![count as u8; (count * 37 % 300) as usize]);
                count += 1;
            }
            cursor.next();
        }
        cursor.status().map(|()| count)
    }
}

#[derive(Clone, Debug)]
enum Step {
    Write(Durability),
    Sync,
    Flush,
    Reopen,
    Fail(Operation, Failure),
    CrashAfter(u64),
    Crash,
    Kill,
}

fn step() -> impl Strategy<Value = Step> {
    let operation = prop_oneof![Just(Operation::Write), Just(Operation::Sync)];
    let failure = prop_oneof![Just(Failure::Eio), Just(Failure::Enospc)];
    prop_oneof![
        12 => prop_oneof![Just(Durability::AtSync), Just(Durability::Now)].prop_map(Step::Write),
        2 => Just(Step::Sync),
        1 => Just(Step::Flush),
        1 => Just(Step::Reopen),
        1 => (operation, failure).prop_map(|(operation, failure)| Step::Fail(operation, failure)),
        1 => (0..12_u64).prop_map(Step::CrashAfter),
        2 => Just(Step::Crash),
        1 => Just(Step::Kill),
    ]
}

/// Runs a history; answers what was left, and the counts.
fn live(host: &Host, steps: &[Step], seed: u64) -> (u64, super::Counts) {
    let mut dice = StdRng::seed_from_u64(seed);
    let mut db = Some(host.open().unwrap());
    // E3: so many writes must be there whatever happens; and so many could be.
    let (mut durable, mut written, mut failed) = (0, 0, false);
    for step in steps {
        let open = db.as_ref().unwrap();
        let mut ended = false;
        match step {
            Step::Write(durability) => {
                let durability = if host.logged { *durability } else { Durability::AtFlush };
                let done = host.write(open, written, durability);
                // E4.
                assert!(!(failed && done.is_ok()), "written after a failure");
                failed |= done.is_err();
                if done.is_ok() {
                    written += 1;
                    if durability == Durability::Now {
                        durable = written;
                    }
                }
            }
            Step::Sync if !host.logged => {}
            Step::Sync | Step::Flush => {
                let done = if matches!(step, Step::Sync) { open.sync() } else { open.flush() };
                failed |= done.is_err();
                if done.is_ok() {
                    durable = written;
                }
            }
            Step::Fail(operation, failure) => host.disk.fail(*operation, *failure, Times::Next(1)),
            Step::CrashAfter(more) => host.disk.crash_after(*more),
            Step::Reopen => ended = !failed && !host.disk.is_down(),
            Step::Crash => {
                host.disk.crash(&mut dice).unwrap();
                (ended, failed) = (true, true);
            }
            Step::Kill => {
                host.disk.kill().unwrap();
                (ended, failed) = (true, true);
            }
        }
        if host.disk.is_down() {
            host.disk.crash(&mut dice).unwrap();
            (ended, failed) = (true, true);
        }
        if ended {
            if failed {
                // Whatever the dead still do, the files do not feel it.
                assert!(host.write(open, written + 7, Durability::Now).is_err());
                assert!(open.flush().is_err());
            }
            host.disk.heal();
            db = None;
            db = db.or_else(|| Some(host.open().unwrap()));
            let found = host.found(db.as_ref().unwrap());
            assert!(durable <= found, "{durable} writes were durable, and {found} are there");
            // The one that failed may be there: nobody was told that it is not.
            assert!(found <= written + 1, "{written} writes were made, and {found} are there");
            (durable, written, failed) = (found, found, false);
        }
    }
    host.disk.crash(&mut dice).unwrap();
    host.disk.heal();
    let again = host.open().unwrap();
    let found = host.found(&again);
    assert!((durable..=written + 1).contains(&found));
    (found, host.disk.counts())
}

fn bytes_of(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| {
            (entry.file_name().to_string_lossy().into_owned(), std::fs::read(entry.path()).unwrap())
        })
        .collect();
    files.sort();
    files
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn what_is_left_is_a_prefix_with_all_that_was_durable(
        logged in any::<bool>(),
        steps in prop::collection::vec(step(), 1..80),
        seed in any::<u64>(),
    ) {
        let hosts = [Host::new(logged), Host::new(logged)];
        let [one, other] = hosts.each_ref().map(|host| live(host, &steps, seed));
        // The same calls with the same dice leave the same bytes.
        prop_assert_eq!(one, other);
        let [one, other] = hosts.each_ref().map(|host| bytes_of(&host.path.join("db")));
        prop_assert_eq!(one, other);
    }

    #[test]
    fn a_flipped_bit_is_found_or_harmless(
        logged in any::<bool>(),
        writes in 1..40_u64,
        unsynced in 0..3_u64,
        seed in any::<u64>(),
    ) {
        let host = Host::new(logged);
        let mut dice = StdRng::seed_from_u64(seed);
        let db = host.open().unwrap();
        for number in 0..writes {
            let durability = if logged { Durability::Now } else { Durability::AtFlush };
            host.write(&db, number, durability).unwrap();
        }
        if !logged {
            db.flush().unwrap();
        }
        for number in writes..writes + unsynced {
            let durability = if logged { Durability::AtSync } else { Durability::AtFlush };
            host.write(&db, number, durability).unwrap();
        }
        host.disk.crash(&mut dice).unwrap();
        drop(db);
        let flip = host.disk.flip(|_| true, &mut dice).unwrap().unwrap();
        let found = host.open().and_then(|db| {
            let found = host.read(&db);
            if found.is_err() {
                assert!(host.write(&db, 0, Durability::AtFlush).is_err() || db.flush().is_err());
            }
            found
        });
        match found {
            // E5: the file is named.
            Err(Error::Damaged(what)) => {
                let name = flip.path.file_name().unwrap().to_str().unwrap();
                prop_assert!(what.contains(name), "{flip:?}: {what}");
                let counts = host.disk.counts();
                prop_assert!(counts.refused + counts.damage > 0);
            }
            Err(other) => prop_assert!(false, "{other}"),
            Ok(found) => prop_assert!(found >= writes, "{:?}", flip),
        }
    }
}

/// Each fault can be told by its number to have had an effect.
#[test]
fn faults_are_counted() {
    let host = Host::new(true);
    let mut dice = StdRng::seed_from_u64(1);
    let (mut cut, mut kept) = (false, false);
    for _ in 0..64 {
        let db = host.open().unwrap();
        let first = host.found(&db);
        host.write(&db, first, Durability::AtSync).unwrap();
        host.write(&db, first + 1, Durability::AtSync).unwrap();
        // Later ones may have begun a new generation.
        assert!(host.disk.pending() == 2 || first > 0);
        host.disk.crash(&mut dice).unwrap();
        assert!(host.write(&db, first + 2, Durability::Now).is_err());
        drop(db);
        cut |= host.disk.counts().cut > 0;
        kept |= host.disk.counts().kept > 0;
    }
    let counts = host.disk.counts();
    assert!(cut && kept && counts.torn > 0 && counts.lost > 0, "{counts:?}");
    assert_eq!(counts.crashes, 64);

    let db = host.open().unwrap();
    host.disk.fail(Operation::Sync, Failure::Enospc, Times::Next(1));
    let first = host.found(&db);
    let error = host.write(&db, first, Durability::Now).unwrap_err().to_string();
    assert!(error.contains("No space left on device"), "{error}");
    assert_eq!(db.background_errors().unwrap(), 1);
    assert!(host.write(&db, first, Durability::Now).is_err(), "E4");
    host.disk.fail(Operation::Read, Failure::Eio, Times::All);
    assert!(db.get(db.family(DEFAULT), b"z").is_err());
    let mut cursor = db.cursor(db.family(DEFAULT), Reading::below(None));
    cursor.seek(&[]);
    assert!(cursor.item().is_none() && cursor.status().is_err());
    let counts = host.disk.counts();
    assert_eq!((counts.sync_errors, counts.read_errors), (1, 2));
}

/// A flush in the background fails, nobody notices, and the database is closed and opened again: what
/// it still had is gone, and a crash later on does not bring it back into the files of its successor.
#[test]
fn one_that_failed_unnoticed_has_no_part_in_a_later_crash() {
    let some = |count: usize, durability| vec![Step::Write(durability); count];
    let steps = [
        some(20, Durability::AtSync),
        vec![Step::Sync, Step::Fail(Operation::Sync, Failure::Eio)],
        some(1, Durability::AtSync),
        vec![Step::Reopen],
        some(40, Durability::Now),
    ];
    for seed in 0..16 {
        let host = Host::new(true);
        let (found, counts) = live(&host, &steps.concat(), seed);
        assert_eq!((found, counts.sync_errors, counts.lost), (60, 1, 1));
    }
}

/// A seal says that a database was closed in order: one that lost its power was not.
#[test]
fn the_dead_seal_nothing() {
    let host = Host::new(true);
    let db = host.open().unwrap();
    db.seal_when_closed(true);
    host.disk.crash(&mut StdRng::seed_from_u64(1)).unwrap();
    drop(db);
    assert!(!host.path.join("db/SEAL").exists());
    let db = host.open().unwrap();
    db.seal_when_closed(true);
    drop(db);
    assert!(host.path.join("db/SEAL").exists());
    crate::seal::break_open(&host.path.join("db")).unwrap();
}
