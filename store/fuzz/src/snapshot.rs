//! Snapshot files of etcd: pages of bbolt, what their buckets hold, and the store that is made of it.
//!
//! The first byte says which laws are asked for and how large pages are. Then a file of zeros is
//! written over: places, and bytes for them. Checksums of heads are set right: a fuzzer cannot guess
//! them, and who writes a file can compute them.

use std::fs;

use bytes::Bytes;
use prost::Message as _;
use proto::mvccpb::KeyValue;
use store_backup::{
    Digest, Error, Snapshot,
    bbolt::Database,
    etcd::{Place, Record, Records, State, read_records, read_state},
    examine, plan, write,
};
use store_server::{NewCluster, Origin, Plan, read_folder, restore};
use testbed::fuzz::Input;

use crate::{laws, scratch};

const MAGIC: [u8; 4] = 0xED0C_DAED_u32.to_le_bytes();
const HEAD: std::ops::Range<usize> = 16..72;
const FILE_BYTES_MAX: usize = 1 << 18;
/// Makes a store of a file that is found good.
const RESTORE: u8 = 1;

/// Reads the file, and goes on with it as far as it is good.
pub fn snapshot(data: &[u8]) {
    let mut input = Input::new(data);
    let laws_wanted = input.byte();
    let file = file(input);
    let Some((state, records)) = read(file.clone()) else { return };
    let again = written(&state, &records);
    if let Ok(again) = &again {
        let (state, records) = read(again.clone()).expect("B1: what was written can be read");
        let twice = written(&state, &records).expect("B1: and written");
        assert!(*again == twice, "B1: and is the same");
    }
    let folder = scratch::folder();
    let path = folder.path().join("snapshot.db");
    fs::write(&path, &file).expect("a file can be written");
    let Ok(snapshot) = Snapshot::open(&path, Digest::IfPresent) else { return };
    let Ok((_, summary)) = examine(&snapshot) else { return };
    if laws_wanted & RESTORE == 0 {
        return;
    }
    let cluster = NewCluster::new("a=http://127.0.0.1:1", "fuzz", "fuzz").expect("it is one");
    let target = folder.path().join("member");
    let made = restore(
        &Plan::new(Origin::Snapshot(&snapshot), 0),
        &cluster,
        &[("a".to_owned(), target.clone())],
        &mut |_| {},
    );
    let made = made.expect("what is found good can be restored");
    let held = read_folder(&target).expect("and read");
    assert_eq!((made.revision, held.revision), (summary.revision, summary.revision));
    assert_eq!(held.compact_revision, summary.compact_revision);
    assert_eq!(held.keys, summary.keys, "all keys are there");
    // Bytes that etcd does not write mean the same, and are not kept.
    if records.0.iter().all(|(_, deleted, kv)| is_canonical(*deleted, kv)) {
        assert_eq!(held.hash_kv, summary.hash_kv, "the history is the same: {summary:?}");
    }
}

fn is_canonical(deleted: bool, kv: &[u8]) -> bool {
    let Ok(read) = KeyValue::decode(kv) else { return false };
    let only_key = KeyValue { key: read.key.clone(), ..KeyValue::default() };
    !read.key.is_empty() && (if deleted { only_key } else { read }).encode_to_vec() == kv
}

/// Zeros, written over.
fn file(mut input: Input<'_>) -> Vec<u8> {
    let mut file = vec![0; usize::from(input.byte()) << 10];
    loop {
        let place = usize::from(input.short()) << 2;
        let Some(piece) = input.piece() else { break };
        let end = (place + piece.len()).min(FILE_BYTES_MAX);
        if file.len() < end {
            file.resize(end, 0);
        }
        if place < end {
            file[place..end].copy_from_slice(&piece[..end - place]);
        }
    }
    set_right(&mut file, 0);
    let page_size = file.get(24..28).map_or(0, |size| {
        u32::from_le_bytes(size.try_into().expect("these are four bytes")) as usize
    });
    set_right(&mut file, page_size);
    file
}

/// The checksum of the head at `at`, if there is one.
fn set_right(file: &mut [u8], at: usize) {
    let Some(page) = at.checked_add(80).and_then(|end| file.get_mut(at..end)) else { return };
    if page[16..20] == MAGIC {
        let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        let sum = page[HEAD].iter().fold(0xcbf2_9ce4_8422_2325, step);
        page[72..80].copy_from_slice(&sum.to_le_bytes());
    }
}

struct Kept(Vec<(Place, bool, Vec<u8>)>);

impl Records<Error> for Kept {
    fn visit(&self, each: &mut dyn FnMut(Record<'_>) -> Result<(), Error>) -> Result<(), Error> {
        self.0.iter().try_for_each(|(place, deleted, kv)| {
            each(Record { place: *place, deleted: *deleted, kv })
        })
    }
}

fn read(file: Vec<u8>) -> Option<(State, Kept)> {
    let database = Database::open(file).ok()?;
    let state = read_state(&database).ok()?;
    let mut records = Vec::new();
    let all = read_records::<_, Error>(&database, &mut |record| {
        laws::message::<KeyValue>(record.kv);
        records.push((record.place, record.deleted, record.kv.to_vec()));
        Ok(())
    });
    all.ok()?;
    Some((state, Kept(records)))
}

/// Without the checksum at the end.
fn written(state: &State, records: &Kept) -> Result<Vec<u8>, Error> {
    let mut chunks: Vec<Bytes> = Vec::new();
    write::<_, Error>(&plan(state, records)?, &mut |chunk, _| {
        chunks.push(chunk);
        Ok(())
    })?;
    chunks.pop();
    Ok(chunks.concat())
}
