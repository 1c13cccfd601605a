//! Pairs of the state, as a disk that lies may give them back.
//!
//! The first byte chooses what is done with the state, the rest are pairs: raw ones, or records whose
//! parts are numbers of the input.

use bytes::Bytes;
use prost::Message as _;
use proto::etcdserverpb::{CompactionRequest, DeleteRangeRequest, PutRequest, RangeRequest};
use proto::mvccpb::KeyValue;
use proto::orlop::store::v1::{Command, Record, StateRecord, command::Op};
use store_state_machine::{
    Fault, StateMachine,
    decoders::{Family, plant},
};
use testbed::fuzz::Input;

use crate::{apply::entry, laws, scratch};

type Pair = (Family, Vec<u8>, Vec<u8>);

/// Opens a state that holds these pairs, reads it, and goes on with it.
pub fn state(data: &[u8]) {
    let mut input = Input::new(data);
    let revision = i64::from(input.byte());
    let mut pairs = Vec::new();
    while let Some(piece) = input.piece() {
        if pairs.len() > 200 {
            break;
        }
        match input.byte() % 8 {
            0 => pairs.push((Family::Live, piece.to_vec(), stored(&mut input))),
            1 => pairs.push((Family::Rev, piece.to_vec(), stored(&mut input))),
            2 => pairs.push((Family::Meta, piece.to_vec(), stored(&mut input))),
            _ => record(piece, &mut input, &mut pairs),
        }
    }
    let state = StateRecord { format: 1, revision, ..StateRecord::default() };
    let folder = scratch::folder();
    let mut all = vec![(Family::Meta, b"state".to_vec(), versioned(&state.encode_to_vec()))];
    // Those of the input come later, and replace it.
    all.extend(pairs);
    let borrowed: Vec<_> =
        all.iter().map(|(family, key, value)| (*family, &key[..], &value[..])).collect();
    let options = scratch::options();
    plant(folder.path(), &options, &borrowed).expect("the disk itself works");
    // A state that is damaged is refused, when it is opened or when it is read.
    let Ok(machine) = StateMachine::open(folder.path(), &options) else { return };
    drop(go_on(machine));
}

fn versioned(message: &[u8]) -> Vec<u8> {
    [&[1], message].concat()
}

fn stored(input: &mut Input<'_>) -> Vec<u8> {
    versioned(input.piece().unwrap_or_default())
}

/// A record in both of its places.
fn record(key: &[u8], input: &mut Input<'_>, pairs: &mut Vec<Pair>) {
    let (main, sub) = (i64::from(input.byte()), u32::from(input.byte()));
    let flags = input.byte();
    let kv = KeyValue {
        key: Bytes::copy_from_slice(key),
        create_revision: i64::from(input.byte()),
        mod_revision: main,
        version: i64::from(input.byte()),
        value: Bytes::from_static(b"v"),
        lease: i64::from(flags >> 4),
    };
    let record = Record {
        kv: Some(kv),
        sub,
        previous_main: i64::from(input.byte()),
        previous_sub: u32::from(flags >> 1) % 8,
        deleted: flags % 2 == 1,
    };
    let stored = versioned(&record.encode_to_vec());
    let place = [&main.to_be_bytes()[..], &sub.to_be_bytes()[..]].concat();
    pairs.push((Family::Live, key.to_vec(), stored.clone()));
    pairs.push((Family::Rev, place, stored));
}

fn go_on(mut machine: StateMachine) -> Result<(), Fault> {
    let view = machine.view();
    for revision in [0, 1, 2, view.revision() / 2, view.revision() - 1] {
        let request = RangeRequest { revision, ..laws::everything() };
        drop(view.range(&request));
    }
    drop(laws::everything_of(&view));
    if let Ok(events) = view.events(1, view.revision(), 1000) {
        for event in events.iter().flat_map(|events| &events.events) {
            drop(view.previous_kv(event));
        }
    }
    let key = Bytes::from_static(b"k");
    let range_end = Bytes::from_static(b"\0");
    let put = PutRequest { key: key.clone(), prev_kv: true, ..PutRequest::default() };
    let delete = DeleteRangeRequest { key, range_end, prev_kv: true };
    let compact = CompactionRequest { revision: view.revision(), physical: false };
    for op in [Op::Put(put), Op::DeleteRange(delete), Op::Compact(compact)] {
        machine.apply(vec![entry(vec![Command { op: Some(op), ..Command::default() }])])?;
    }
    laws::remove_compacted(&mut machine)?;
    drop(laws::everything_of(&view));
    machine.finish()
}
