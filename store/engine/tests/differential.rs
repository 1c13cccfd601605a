//! Random histories on RocksDB and on the simulated engine at once: whatever can be read is the same.
#![expect(clippy::unwrap_used, reason = "a failed helper is a failed test")]

use std::path::Path;

use proptest::prelude::*;
use store_engine::{Batch, Cursor, DEFAULT, Db, Durability, Reading, StateOptions, sim};

const FAMILIES: [&str; 3] = ["live", "rev", "meta"];

#[derive(Clone, Debug)]
enum Change {
    Put(u8, Vec<u8>),
    Delete(u8),
    DeleteRange(u8, u8),
}

#[derive(Clone, Debug)]
enum Step {
    /// Changes, each in one of the families; synced at once where they are logged, or later.
    Write(Vec<(usize, Change)>, bool),
    Sync,
    Get(usize, u8),
    /// From a key on, so many keys forward or back, below an end.
    Walk {
        family: usize,
        from: u8,
        end: Option<u8>,
        count: usize,
        back: bool,
    },
    Flush,
    Reopen,
    /// A snapshot, read after this many more steps.
    Hold(usize),
    Checkpoint,
}

fn key(number: u8) -> Vec<u8> {
    // Of different lengths, some a prefix of others.
    vec![b'a' + number % 4; usize::from(number / 4)]
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        4 => (0..24_u8, prop::collection::vec(any::<u8>(), 0..200))
            .prop_map(|(key, value)| Change::Put(key, value)),
        2 => (0..24_u8).prop_map(Change::Delete),
        1 => (0..24_u8, 0..24_u8).prop_map(|(from, to)| Change::DeleteRange(from, to)),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let family = 0..FAMILIES.len();
    prop_oneof![
        8 => (prop::collection::vec((family.clone(), change()), 0..8), any::<bool>())
            .prop_map(|(changes, synced)| Step::Write(changes, synced)),
        1 => Just(Step::Sync),
        4 => (family.clone(), 0..24_u8).prop_map(|(family, key)| Step::Get(family, key)),
        4 => (family, 0..24_u8, prop::option::of(0..24_u8), 0..9_usize, any::<bool>()).prop_map(
            |(family, from, end, count, back)| Step::Walk { family, from, end, count, back }
        ),
        1 => Just(Step::Flush),
        1 => Just(Step::Reopen),
        2 => (0..6_usize).prop_map(Step::Hold),
        1 => Just(Step::Checkpoint),
    ]
}

fn fill(db: &Db, names: &[&str], changes: &[(usize, Change)]) -> Batch {
    let mut batch = db.batch();
    for (family, change) in changes {
        let family = db.family(names[*family % names.len()]);
        match change {
            Change::Put(number, value) => batch.put(family, key(*number), value),
            Change::Delete(number) => batch.delete(family, key(*number)),
            // RocksDB refuses an end that lies before its beginning.
            Change::DeleteRange(from, to) => {
                let (from, to) = (key(*from), key(*to));
                let (from, to) = (from.clone().min(to.clone()), from.max(to));
                batch.delete_range(family, from, to);
            }
        }
    }
    batch
}

type Pair = (Vec<u8>, Vec<u8>);

fn rest(mut cursor: Cursor<'_>, count: usize, back: bool) -> Vec<Pair> {
    let mut found = Vec::new();
    while let Some((key, value)) = cursor.item() {
        found.push((key.to_vec(), value.to_vec()));
        if found.len() == count {
            break;
        }
        if back { cursor.back() } else { cursor.next() }
    }
    cursor.status().unwrap();
    found
}

fn walk(
    db: &Db,
    family: &str,
    from: u8,
    end: Option<u8>,
    (count, back): (usize, bool),
) -> Vec<Pair> {
    let mut cursor = db.cursor(db.family(family), Reading::below(end.map(key)));
    if back {
        cursor.seek_back(&key(from))
    } else {
        cursor.seek(&key(from))
    }
    rest(cursor, count, back)
}

fn everything(db: &Db, names: &[&str]) -> Vec<Vec<Pair>> {
    let snapshot = db.snapshot();
    let all = |name: &&str| {
        let mut cursor = snapshot.cursor(db.family(name), Reading::below(None));
        cursor.seek(&[]);
        rest(cursor, usize::MAX, false)
    };
    names.iter().map(all).collect()
}

/// Both engines, opened in one way.
struct Twins<'a> {
    dir: &'a Path,
    logged: bool,
    both: Option<(Db, Db)>,
}

impl Twins<'_> {
    fn names(&self) -> &'static [&'static str] {
        if self.logged { &[DEFAULT] } else { &FAMILIES }
    }

    fn open_one(&self, path: &Path, make: bool) -> Db {
        let small = StateOptions { block_cache_bytes: 1 << 20, ..StateOptions::default() };
        if self.logged {
            Db::open_log(path, make, 64 << 10).unwrap()
        } else {
            Db::open_state(path, make, &small, &FAMILIES).unwrap()
        }
    }

    fn open(&mut self, make: bool) {
        self.both = None;
        let rocks = self.open_one(&self.dir.join("rocks"), make);
        let simulated = self.open_one(&self.dir.join("sim"), make);
        self.both = Some((rocks, simulated));
    }

    fn durability(&self, synced: bool) -> Durability {
        match (self.logged, synced) {
            (false, _) => Durability::AtFlush,
            (true, false) => Durability::AtSync,
            (true, true) => Durability::Now,
        }
    }
}

fn same(dir: &Path, logged: bool, steps: &[Step]) {
    let mut twins = Twins { dir, logged, both: None };
    twins.open(true);
    let names = twins.names();
    let pick = |family: usize| names[family % names.len()];
    for (number, step) in steps.iter().enumerate() {
        let (rocks, simulated) = twins.both.as_ref().unwrap();
        match step {
            Step::Write(changes, synced) => {
                let durability = twins.durability(*synced);
                let (left, right) = (fill(rocks, names, changes), fill(simulated, names, changes));
                assert_eq!(left.data(), right.data(), "step {number}");
                assert_eq!(left.size_in_bytes(), right.size_in_bytes());
                rocks.write(left, durability).unwrap();
                simulated.write(right, durability).unwrap();
            }
            Step::Get(family, number) => {
                let get = |db: &Db| db.get(db.family(pick(*family)), &key(*number)).unwrap();
                assert_eq!(get(rocks), get(simulated));
                let cached = simulated.get_cached(simulated.family(pick(*family)), &key(*number));
                assert_eq!(cached.unwrap().map(|value| value.to_vec()), get(rocks));
            }
            Step::Walk { family, from, end, count, back } => {
                let walk = |db| walk(db, pick(*family), *from, *end, (*count, *back));
                assert_eq!(walk(rocks), walk(simulated), "step {number}: {step:?}");
            }
            Step::Sync => {
                rocks.sync().unwrap();
                simulated.sync().unwrap();
            }
            Step::Flush => {
                rocks.flush().unwrap();
                simulated.flush().unwrap();
            }
            Step::Reopen => twins.open(false),
            Step::Hold(later) => hold(&twins, &steps[number + 1..], *later),
            Step::Checkpoint => {
                for (db, name) in [(rocks, "rocks"), (simulated, "sim")] {
                    let to = dir.join(name).join(format!("copy-{number}"));
                    db.checkpoint(&to).unwrap();
                    let copy = twins.open_one(&to, false);
                    assert_eq!(everything(&copy, names), everything(rocks, names), "{name}");
                }
            }
        }
        let (rocks, simulated) = twins.both.as_ref().unwrap();
        assert_eq!(everything(rocks, names), everything(simulated, names), "step {number}");
    }
}

/// Writes of the next steps do not change what a snapshot shows.
fn hold(twins: &Twins<'_>, steps: &[Step], later: usize) {
    let (rocks, simulated) = twins.both.as_ref().unwrap();
    let names = twins.names();
    for db in [rocks, simulated] {
        let before = everything(db, names);
        let snapshot = db.snapshot();
        let all = |name: &&str| {
            let mut cursor = snapshot.cursor(db.family(name), Reading::below(None));
            cursor.seek(&[]);
            rest(cursor, usize::MAX, false)
        };
        for step in steps.iter().take(later) {
            if let Step::Write(changes, synced) = step {
                db.write(fill(db, names, changes), twins.durability(*synced)).unwrap();
            }
        }
        assert_eq!(names.iter().map(all).collect::<Vec<_>>(), before);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn the_two_engines_read_the_same(
        logged in any::<bool>(),
        steps in prop::collection::vec(step(), 1..40),
    ) {
        let dir = tempfile::tempdir().unwrap();
        sim::register(&dir.path().join("sim"), &sim::Disk::new());
        assert!(!store_engine::is_simulated(&dir.path().join("rocks")));
        same(dir.path(), logged, &steps);
        sim::unregister(&dir.path().join("sim"));
    }
}
