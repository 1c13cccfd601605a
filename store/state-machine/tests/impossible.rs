//! What no store can have written is refused, whether a disk or a backup holds it.
#![expect(clippy::unwrap_used, reason = "a failed helper is a failed test")]

mod support;

use bytes::Bytes;
use proto::etcdserverpb::RangeRequest;
use proto::mvccpb::KeyValue;
use proto::orlop::store::v1::{AuthRecord, Record, StateRecord};
use store_state_machine::decoders::{Family, plant};
use store_state_machine::{Fault, Importer, ReadError, Revision, StateMachine};
use support::{everything, small};

fn stored(message: &impl prost::Message) -> Vec<u8> {
    [&[1], message.encode_to_vec().as_slice()].concat()
}

fn position(revision: i64, compact_revision: i64) -> Vec<u8> {
    let format = 1;
    stored(&StateRecord { format, revision, compact_revision, ..StateRecord::default() })
}

fn kv(revision: i64, version: i64) -> KeyValue {
    KeyValue {
        key: Bytes::from_static(b"k"),
        create_revision: 1,
        mod_revision: revision,
        version,
        ..KeyValue::default()
    }
}

fn opened(pairs: &[(Family, &[u8], &[u8])]) -> Result<StateMachine, Fault> {
    let dir = tempfile::tempdir().unwrap();
    plant(dir.path(), &small(), pairs).unwrap();
    StateMachine::open(dir.path(), &small())
}

/// Counting on from there would overflow, and a revision would come twice.
#[test]
fn a_state_that_cannot_go_on_is_not_opened() {
    for (revision, compacted) in [(i64::MAX, 0), (0, 0), (-1, 0), (5, 6), (5, -1)] {
        let pairs = [(Family::Meta, &b"state"[..], &position(revision, compacted)[..])];
        assert!(opened(&pairs).is_err(), "revision {revision}, compacted {compacted}");
    }
    let auth = stored(&AuthRecord { enabled: false, revision: u64::MAX });
    assert!(opened(&[(Family::Meta, b"auth", &auth)]).is_err());
    for (revision, version) in [(9, 1), (3, i64::MAX), (3, -1), (3, 0), (0, 1)] {
        let record = stored(&Record { kv: Some(kv(revision, version)), ..Record::default() });
        let state = position(5, 0);
        let pairs = [(Family::Meta, &b"state"[..], &state[..]), (Family::Live, b"k", &record)];
        assert!(opened(&pairs).is_err(), "a record of revision {revision}, version {version}");
    }
}

/// A read at an older revision went from the record to itself, for ever.
#[test]
fn a_record_that_replaces_itself_is_damage() {
    let record = stored(&Record { kv: Some(kv(4, 1)), previous_main: 4, ..Record::default() });
    let place = [&4_i64.to_be_bytes()[..], &[0; 4]].concat();
    let state = position(5, 0);
    let machine = opened(&[
        (Family::Meta, b"state", &state),
        (Family::Live, b"k", &record),
        (Family::Rev, &place, &record),
    ]);
    let machine = machine.unwrap();
    let before = RangeRequest { revision: 2, ..everything() };
    let read = machine.view().range(&before);
    assert!(matches!(read, Err(ReadError::Failed(Fault::Damaged(_)))), "{read:?}");
    // A watch that asks for what was before goes the same way.
    let events = machine.view().events(1, 5, 10).unwrap();
    let before = machine.view().previous_kv(&events[0].events[0]);
    assert!(matches!(before, Err(Fault::Damaged(_))), "{before:?}");
}

#[test]
fn a_backup_that_cannot_be_gone_on_from_is_refused() {
    for (main, version) in [(i64::MAX, 1), (0, 1), (2, i64::MAX), (2, 0)] {
        let dir = tempfile::tempdir().unwrap();
        let mut importer = Importer::create(dir.path(), &small()).unwrap();
        let taken = importer.record(Revision { main, sub: 0 }, false, kv(main, version));
        assert!(taken.is_err(), "revision {main}, version {version}");
    }
}
