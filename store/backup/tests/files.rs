//! Snapshot files: what is written is what is read, real tools agree, and damage is refused.
#![expect(clippy::unwrap_used, reason = "a failed helper is a failed test")]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use bytes::Bytes;
use proptest::prelude::*;
use prost::Message as _;
use proto::authpb::{Permission, Role, User};
use proto::etcdserverpb::{AlarmMember, Member};
use proto::mvccpb::KeyValue;
use proto::orlop::store::v1::LeaseRecord;
use store_backup::bbolt::{self, Content, Database};
use store_backup::etcd::{Auth, Place, Record, Records, State};
use store_backup::{Digest, Error, Snapshot, examine};

type Tree = BTreeMap<Vec<u8>, Vec<u8>>;

/// Two buckets with anything in them.
struct Trees([Tree; 2]);

const NAMES: [&str; 2] = ["first", "second"];

impl Content<Error> for Trees {
    fn buckets(&self) -> &[&'static str] {
        &NAMES
    }

    fn pairs(&self, bucket: &str, each: &mut bbolt::EachPair<'_, Error>) -> Result<(), Error> {
        let tree = if bucket == NAMES[0] { &self.0[0] } else { &self.0[1] };
        tree.iter().try_for_each(|(key, value)| each(key, value))
    }
}

fn written(trees: &Trees) -> Vec<u8> {
    let layout = bbolt::measure::<Error>(trees).unwrap();
    let mut file = Vec::new();
    bbolt::write::<Error>(trees, &layout, &mut |page| {
        file.extend_from_slice(page);
        Ok(())
    })
    .unwrap();
    assert_eq!(file.len() as u64, layout.bytes(), "the size was known beforehand");
    file
}

fn read(file: Vec<u8>) -> Result<[Tree; 2], Error> {
    let mut trees = [Tree::new(), Tree::new()];
    Database::open(file)?.visit::<Error>(&|_| true, &mut |bucket, key, value| {
        trees[usize::from(bucket != NAMES[0].as_bytes())].insert(key.to_vec(), value.to_vec());
        Ok(())
    })?;
    Ok(trees)
}

/// Most values are small, some are larger than a page, and some trees have several levels.
fn tree() -> impl Strategy<Value = Tree> {
    let value = prop_oneof![
        20 => proptest::collection::vec(any::<u8>(), 0..60),
        1 => (1000usize..20_000).prop_map(|length| vec![7; length]),
    ];
    let random = proptest::collection::btree_map(
        proptest::collection::vec(any::<u8>(), 0..40),
        value,
        0..300,
    );
    let long = (0u32..30_000).prop_map(|count| {
        (0..count).map(|number| (number.to_be_bytes().to_vec(), vec![1; 3])).collect()
    });
    prop_oneof![3 => random, 1 => long]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    /// B1: pages of every fill and every number of levels.
    #[test]
    fn what_is_written_is_what_is_read(first in tree(), second in tree()) {
        let trees = Trees([first, second]);
        prop_assert_eq!(read(written(&trees)).unwrap(), trees.0);
    }

    /// B3: whatever is flipped, reading ends, with an error or a tree.
    #[test]
    fn flipped_bytes_end_in_an_error_or_a_tree(
        first in tree(),
        flips in proptest::collection::vec((any::<proptest::sample::Index>(), 1u8..), 1..8),
    ) {
        let mut file = written(&Trees([first, Tree::from([(vec![1], vec![2])])]));
        for (place, bits) in &flips {
            let at = place.index(file.len());
            file[at] ^= bits;
        }
        // A flip may lie in unused bytes or in a value; but no page is read twice.
        let elements_max = file.len() / 16;
        if let Ok(trees) = read(file) {
            prop_assert!(trees[0].len() + trees[1].len() <= elements_max);
        }
    }

    /// B3: the same for the numbers of page headers and elements, where it hurts most.
    #[test]
    fn torn_numbers_end_in_an_error_or_a_tree(
        first in tree(),
        page in any::<proptest::sample::Index>(),
        field in 0usize..64,
        value in prop_oneof![Just(0u8), Just(1), Just(0x7f), Just(0x80), Just(0xff), any::<u8>()],
    ) {
        let mut file = written(&Trees([first, Tree::new()]));
        let at = page.index(file.len() / 4096) * 4096 + field;
        file[at] = value;
        drop(read(file));
    }

    #[test]
    fn shortened_files_are_refused(first in tree(), length in any::<proptest::sample::Index>()) {
        let mut file = written(&Trees([first, Tree::new()]));
        file.truncate(length.index(file.len()));
        prop_assert!(matches!(read(file), Err(Error::NotDatabase(_))));
    }
}

#[test]
fn a_page_that_is_met_twice_is_refused() {
    let many = (0u32..1000).map(|number| (number.to_be_bytes().to_vec(), vec![0; 50])).collect();
    let mut file = written(&Trees([many, Tree::new()]));
    // The root of the tree is the last page: its second child becomes its first.
    let root = file.len() - 4096;
    let first_child = file[root + 24..root + 32].to_vec();
    file[root + 40..root + 48].copy_from_slice(&first_child);
    let error = read(file).unwrap_err().to_string();
    assert!(error.starts_with("page ") && error.ends_with("it is used twice"), "{error}");
}

/// A store's life in small: what `examine` and real tools must find in its snapshot.
struct Life(Vec<(Place, bool, Vec<u8>)>);

impl Records<Error> for Life {
    fn visit(&self, each: &mut dyn FnMut(Record<'_>) -> Result<(), Error>) -> Result<(), Error> {
        self.0.iter().try_for_each(|(place, deleted, kv)| {
            each(Record { place: *place, deleted: *deleted, kv })
        })
    }
}

fn put(main: i64, sub: i64, key: &str, created: i64, version: i64) -> (Place, bool, Vec<u8>) {
    let kv = KeyValue {
        key: key.to_owned().into(),
        create_revision: created,
        mod_revision: main,
        version,
        value: format!("{key} at {main}").into(),
        lease: if key == "leased" { 77 } else { 0 },
    };
    (Place { main, sub }, false, kv.encode_to_vec())
}

fn deletion(main: i64, sub: i64, key: &str) -> (Place, bool, Vec<u8>) {
    let kv = KeyValue { key: key.to_owned().into(), ..KeyValue::default() };
    (Place { main, sub }, true, kv.encode_to_vec())
}

fn life() -> (State, Life) {
    let mut records = vec![
        put(2, 0, "a", 2, 1),
        put(3, 0, "a", 2, 2),
        put(3, 1, "leased", 3, 1),
        deletion(4, 0, "a"),
        put(5, 0, "a", 5, 1),
    ];
    records.extend((6..2000).map(|main| put(main, 0, &format!("key-{main}"), main, 1)));
    let member = Member {
        id: 0xfff1,
        name: "m0".to_owned(),
        peer_urls: vec!["http://127.0.0.1:2380".to_owned()],
        client_urls: vec!["http://127.0.0.1:2379".to_owned()],
        is_learner: false,
    };
    let state = State {
        index: 5000,
        term: 7,
        voters: vec![0xfff1],
        learners: Vec::new(),
        compacted: 0,
        removed_below: 0,
        cluster_version: String::new(),
        storage_version: "3.6.0".to_owned(),
        leases: vec![
            LeaseRecord { id: 77, ttl: 60, remaining_ttl: 0 },
            LeaseRecord { id: -3, ttl: 90, remaining_ttl: 30 },
        ],
        members: vec![member],
        removed_members: vec![0xbad],
        alarms: vec![AlarmMember { member_id: 0xfff1, alarm: 1 }],
        auth: Auth {
            enabled: true,
            revision: 3,
            users: vec![User {
                name: Bytes::from_static(b"root"),
                password: Bytes::from_static(b"hash"),
                roles: vec!["root".to_owned()],
                options: None,
            }],
            roles: vec![Role {
                name: Bytes::from_static(b"root"),
                key_permission: vec![Permission::default()],
            }],
        },
    };
    (state, Life(records))
}

fn save(path: &Path, state: &State, records: &Life) {
    let plan = store_backup::plan::<_, Error>(state, records).unwrap();
    let mut file = Vec::new();
    let mut last_left = plan.bytes();
    store_backup::write::<_, Error>(&plan, &mut |chunk, left| {
        assert!(left <= last_left, "what is left only falls");
        last_left = left;
        file.extend_from_slice(&chunk);
        Ok(())
    })
    .unwrap();
    std::fs::write(path, file).unwrap();
}

#[test]
fn a_state_survives_its_snapshot() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("snapshot.db");
    let (state, records) = life();
    save(&path, &state, &records);

    let snapshot = Snapshot::open(&path, Digest::Required).unwrap();
    let (read, summary) = examine(&snapshot).unwrap();
    assert_eq!(read, state);
    let mut found = Vec::new();
    snapshot
        .records::<Error>(&mut |record| {
            found.push((record.place, record.deleted, record.kv.to_vec()));
            Ok(())
        })
        .unwrap();
    assert_eq!(found, records.0);
    assert_eq!((summary.revision, summary.keys, summary.records), (1999, 1996, 1999));
    assert_eq!((summary.leases, summary.keys_without_their_lease, summary.users), (2, 0, 1));
}

#[test]
fn one_flipped_bit_is_found_by_the_checksum() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("snapshot.db");
    let (state, records) = life();
    save(&path, &state, &records);
    let mut file = std::fs::read(&path).unwrap();
    let middle = file.len() / 2;
    file[middle] ^= 1;
    std::fs::write(&path, &file).unwrap();
    assert!(matches!(Snapshot::open(&path, Digest::Required), Err(Error::Digest { .. })));
    // Without its checksum it is taken only on demand, as etcdutl does.
    file.truncate(file.len() - 32);
    std::fs::write(&path, &file).unwrap();
    assert!(matches!(Snapshot::open(&path, Digest::Required), Err(Error::NotDatabase(_))));
    Snapshot::open(&path, Digest::IfPresent).unwrap();
}

#[test]
fn a_history_that_cannot_be_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("snapshot.db");
    let refused = |records: Vec<(Place, bool, Vec<u8>)>, compacted: i64| {
        let state = State { compacted, ..State::default() };
        save(&path, &state, &Life(records));
        let snapshot = Snapshot::open(&path, Digest::Required).unwrap();
        examine(&snapshot).err().map(|error| error.to_string())
    };
    // A version is missing, and so is the one that a deletion ends.
    assert!(refused(vec![put(2, 0, "a", 2, 1), put(4, 0, "a", 2, 3)], 0).is_some());
    assert!(refused(vec![put(3, 0, "a", 2, 2)], 0).is_some());
    assert!(
        refused(vec![put(2, 0, "a", 2, 1), deletion(3, 0, "a"), put(4, 0, "a", 2, 2)], 0).is_some()
    );
    // What is not there cannot be deleted: a restored store would not have this record.
    assert!(refused(vec![put(2, 0, "a", 2, 1), deletion(3, 0, "b")], 0).is_some());
    assert!(refused(vec![put(2, 0, "a", 2, 1), deletion(5, 0, "b")], 3).is_some());
    assert_eq!(refused(vec![put(2, 0, "a", 2, 1), deletion(3, 0, "b")], 3), None);
    // A compaction explains what is missing before it.
    assert_eq!(refused(vec![put(3, 0, "a", 2, 2)], 3), None);
    assert_eq!(refused(vec![put(3, 0, "a", 2, 2), put(9, 0, "a", 2, 3)], 5), None);
    // A value that says it belongs elsewhere.
    let (_, deleted, kv) = put(7, 0, "a", 7, 1);
    assert!(refused(vec![(Place { main: 8, sub: 0 }, deleted, kv)], 0).is_some());
}

/// B1: the judge is etcd's own tool, which checks every page, every reference and every order.
#[test]
fn etcdutl_finds_our_snapshots_sound() {
    let Some(etcdutl) = testbed::program("etcdutl") else { return };
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("snapshot.db");
    let (state, mut records) = life();
    // Values over several pages, and enough keys for three levels.
    records.0.extend((2000..30_000).map(|main| put(main, 0, &format!("key-{main:09}"), main, 1)));
    let large = KeyValue {
        key: Bytes::from_static(b"large"),
        create_revision: 30_000,
        mod_revision: 30_000,
        version: 1,
        value: vec![9; 1_400_000].into(),
        lease: 0,
    };
    records.0.push((Place { main: 30_000, sub: 0 }, false, large.encode_to_vec()));
    save(&path, &state, &records);
    let output = Command::new(etcdutl)
        .args(["snapshot", "status", "-w", "json"])
        .arg(&path)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("\"revision\":30000"), "{text}");

    // And an empty store's.
    save(&path, &State::default(), &Life(Vec::new()));
    let snapshot = Snapshot::open(&path, Digest::Required).unwrap();
    assert_eq!(examine(&snapshot).unwrap().1.revision, 1);
}
