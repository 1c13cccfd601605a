//! What a stream tells while its member takes the leader's state.

use bytes::Bytes;
use proto::etcdserverpb::{
    CompactionRequest, PutRequest, WatchCreateRequest, WatchRequest, watch_request::RequestUnion,
};
use proto::orlop::store::v1::{Command, command::Op};
use store_state_machine::{Entry, Options, StateMachine};

use crate::decoders::watch::{Served, Step, serve};

fn entry(op: Op) -> Entry {
    let commands = vec![Command { op: Some(op), ..Command::default() }];
    Entry { log_id: Bytes::from_static(&[1; 24]), membership: None, commands }
}

fn put() -> Entry {
    let (key, value) = (Bytes::from_static(b"key"), Bytes::from_static(b"value"));
    entry(Op::Put(PutRequest { key, value, ..PutRequest::default() }))
}

fn compact(revision: i64) -> Entry {
    entry(Op::Compact(CompactionRequest { revision, physical: false }))
}

fn from(start_revision: i64) -> Step {
    let key = Bytes::from_static(b"key");
    let watch_id = start_revision;
    let create = WatchCreateRequest { key, start_revision, watch_id, ..Default::default() };
    Step::Ask(WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) })
}

/// The revisions that a watch was told, and the compacted revision if it was cancelled.
fn told(served: &Served, watch_id: i64) -> (Vec<i64>, Option<i64>) {
    let frames = || served.frames.iter().filter(|frame| frame.watch_id == watch_id);
    let events = frames().flat_map(|frame| &frame.events);
    let revisions = events.map(|event| event.kv.as_ref().unwrap().mod_revision).collect();
    (revisions, frames().find(|frame| frame.canceled).map(|frame| frame.compact_revision))
}

/// A member that was just added knows nothing yet, and its clients come with revisions from its
/// predecessor. When the leader's state arrives, compacted at an earlier revision, whoever asked only
/// for what comes later was told "compacted", and listed everything again for nothing.
#[test]
fn a_watch_above_the_compacted_revision_outlives_an_install() {
    let dir = tempfile::tempdir().unwrap();
    let mut machine = StateMachine::open(dir.path(), &Options::default()).unwrap();
    let mut elsewhere: Vec<Entry> = (2..=30).map(|_| put()).collect();
    elsewhere.push(compact(10));
    let steps = vec![from(5), from(10), from(20), from(32), Step::Install(elsewhere)];
    let later = (31..=33).map(|_| Step::Apply(put()));
    let read = [Step::Await { watch_id: 20, revision: 33 }];
    let steps = steps.into_iter().chain(later).chain(read).collect();
    let served = serve(&mut machine, steps, 1 << 20).unwrap();
    assert!(served.whole);

    assert_eq!(told(&served, 5), (vec![], Some(10)));
    // What was written at that revision can still be read.
    assert_eq!(told(&served, 10), ((10..=33).collect(), None));
    assert_eq!(told(&served, 20), ((20..=33).collect(), None));
    assert_eq!(told(&served, 32), (vec![32, 33], None));
}
