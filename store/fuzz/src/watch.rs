//! A stream of watches beside writes.
//!
//! The first byte sets how large a message may be, the pieces after it are requests of the client and
//! batches that are applied, told apart by their first byte.

use std::collections::{BTreeMap, BTreeSet};

use proto::etcdserverpb::{
    WatchCreateRequest, WatchRequest, WatchResponse, watch_create_request::FilterType,
    watch_request::RequestUnion,
};
use proto::mvccpb::event::EventType;
use proto::orlop::store::v1::Batch;
use store_server::decoders::watch::{END, Served, Step, serve};
use store_state_machine::{Event, KeyRange};
use testbed::fuzz::Input;

use crate::{apply::entry, laws, scratch};

/// Serves the stream, and looks at what the client was told.
pub fn watch(data: &[u8]) {
    let mut input = Input::new(data);
    let fragment_bytes = 16 << (input.byte() % 12);
    let mut steps = Vec::new();
    while let Some(piece) = input.piece() {
        let Some((kind, message)) = piece.split_first() else { continue };
        if kind % 2 == 0 {
            let Some(request) = laws::message::<WatchRequest>(message) else { continue };
            if !takes_the_last_id(&request) {
                steps.push(Step::Ask(request));
            }
        } else if let Some(batch) = laws::message::<Batch>(message) {
            steps.push(Step::Apply(entry(batch.commands)));
        }
    }
    let asks = |step: &Step| matches!(step, Step::Ask(_));
    if !steps.iter().any(asks) || steps.len() > 100 {
        return;
    }
    let creates: Vec<WatchCreateRequest> = steps.iter().filter_map(created).collect();
    let folder = scratch::folder();
    let mut machine = scratch::state(folder.path());
    let served = serve(&mut machine, steps, fragment_bytes).expect("no fault");
    assert!(served.whole, "the stream is answered to its end");
    look(&served, &creates);
}

fn created(step: &Step) -> Option<WatchCreateRequest> {
    match step {
        Step::Ask(WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) }) => {
            Some(create.clone())
        }
        Step::Ask(_) | Step::Apply(_) | Step::Install(_) | Step::Await { .. } => None,
    }
}

/// The client may not end the stream in place of the target.
fn takes_the_last_id(request: &WatchRequest) -> bool {
    match &request.request_union {
        Some(RequestUnion::CreateRequest(create)) => create.watch_id == END,
        Some(RequestUnion::CancelRequest(cancel)) => cancel.watch_id == END,
        Some(RequestUnion::ProgressRequest(_)) | None => false,
    }
}

/// What a client knows of one of its watches.
struct Known {
    create: WatchCreateRequest,
    /// The revision when it was made.
    made_at: i64,
    /// The revision of the last event.
    last: i64,
    /// In the middle of a message in pieces.
    in_pieces: bool,
    events: Vec<(i64, bool, Vec<u8>)>,
    canceled_at: Option<i64>,
}

fn look(served: &Served, creates: &[WatchCreateRequest]) {
    let mut creates = creates.iter();
    let mut open: BTreeMap<i64, Known> = BTreeMap::new();
    let mut compacted = BTreeSet::new();
    let mut done = Vec::new();
    for frame in &served.frames {
        let revision = frame.header.map_or(0, |header| header.revision);
        if frame.created {
            let create = creates.next().expect("each creation is answered once");
            if !frame.canceled {
                let known = Known {
                    create: create.clone(),
                    made_at: revision,
                    last: 0,
                    in_pieces: false,
                    events: Vec::new(),
                    canceled_at: None,
                };
                let before = open.insert(frame.watch_id, known);
                assert!(before.is_none(), "an id belongs to one watch: {frame:?}");
            }
        } else if frame.canceled {
            let Some(mut known) = open.remove(&frame.watch_id) else {
                // Its id is taken until the client cancels it too.
                assert!(compacted.remove(&frame.watch_id), "only a watch is cancelled: {frame:?}");
                continue;
            };
            known.canceled_at = Some(revision);
            if frame.compact_revision != 0 {
                known.canceled_at = Some(0);
                compacted.insert(frame.watch_id);
            }
            done.push(known);
        } else if !frame.events.is_empty() {
            let known = open.get_mut(&frame.watch_id).expect("events belong to a watch");
            take(known, frame);
        }
    }
    assert!(creates.next().is_none(), "each creation is answered");
    done.extend(open.into_values());
    for known in &done {
        nothing_is_missing(known, served);
    }
}

/// W1, W2, W3.
fn take(known: &mut Known, frame: &WatchResponse) {
    let range = KeyRange::new(&first_key(&known.create), &known.create.range_end);
    let mut first = true;
    for event in &frame.events {
        let kv = event.kv.as_ref().expect("an event has a key");
        assert!(range.contains(&kv.key), "a watch gets its keys only");
        let follows = kv.mod_revision > known.last
            || kv.mod_revision == known.last && (known.in_pieces || !first);
        assert!(follows, "W1, W2, W3: {frame:?} after revision {}", known.last);
        first = false;
        assert!(known.create.start_revision <= kv.mod_revision, "not before it was asked for");
        known.last = kv.mod_revision;
        let deleted = event.r#type == i32::from(EventType::Delete);
        known.events.push((kv.mod_revision, deleted, kv.key.to_vec()));
    }
    assert!(!frame.fragment || known.create.fragment, "pieces are for those who asked");
    known.in_pieces = frame.fragment;
}

fn first_key(create: &WatchCreateRequest) -> bytes::Bytes {
    if create.key.is_empty() { bytes::Bytes::from_static(b"\0") } else { create.key.clone() }
}

/// W4: what a watch that began with its making was told is what happened, until it was cancelled.
fn nothing_is_missing(known: &Known, served: &Served) {
    let Known { create, made_at, events, canceled_at, .. } = known;
    // One that reads history is still at it when the stream ends.
    if create.start_revision != 0 && create.start_revision <= *made_at || *canceled_at == Some(0) {
        return;
    }
    let from = if create.start_revision == 0 { made_at + 1 } else { create.start_revision };
    let until = canceled_at.unwrap_or(i64::MAX);
    let range = KeyRange::new(&first_key(create), &create.range_end);
    let without = |kind: FilterType| create.filters.contains(&i32::from(kind));
    let (no_put, no_delete) = (without(FilterType::Noput), without(FilterType::Nodelete));
    let wanted = |event: &&Event| {
        (from..=until).contains(&event.revision.main)
            && range.contains(&event.kv.key)
            && !(if event.deleted { no_delete } else { no_put })
    };
    let all = served.applied.iter().flat_map(|applied| &applied.events);
    let happened: Vec<_> = all
        .flat_map(|revision| revision.events.iter().map(AsRef::as_ref))
        .filter(wanted)
        .map(|event| (event.revision.main, event.deleted, event.kv.key.to_vec()))
        .collect();
    assert_eq!(*events, happened, "W4: {create:?} made at {made_at}");
}
