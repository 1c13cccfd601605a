//! What targets ask of states and messages.

use std::fmt::Debug;

use bytes::Bytes;
use prost::Message;
use proto::etcdserverpb::{RangeRequest, RangeResponse};
use store_state_machine::{Fault, ReadError, StateMachine, View};

/// Decodes a message. Z2: what was understood is the same when it is written and read again.
pub(crate) fn message<M: Message + Default + PartialEq + Debug>(bytes: &[u8]) -> Option<M> {
    let message = M::decode(Bytes::copy_from_slice(bytes)).ok()?;
    let written = message.encode_to_vec();
    assert_eq!(written.len(), message.encoded_len(), "Z2: its length is known beforehand");
    let again = M::decode(written.as_slice()).expect("Z2: what was written can be read");
    assert!(again == message, "Z2: {message:?} became {again:?}");
    Some(message)
}

/// All keys.
pub(crate) fn everything() -> RangeRequest {
    let zero = Bytes::from_static(b"\0");
    RangeRequest { key: zero.clone(), range_end: zero, ..RangeRequest::default() }
}

/// All that readers can see of a state and all that it has stored, as one comparable text.
pub(crate) fn everything_of(view: &View) -> Result<String, Fault> {
    let read = |error: ReadError| match error {
        ReadError::Failed(fault) => fault,
        ReadError::Refused(refusal) => Fault::Damaged(refusal.to_string()),
    };
    let hash = view.hash_kv(0).map_err(read)?;
    let keys = view.range(&everything()).map_err(read)?;
    let leases: Vec<_> = view.leases().iter().map(|lease| view.lease(lease.id)).collect();
    let mut records = 0;
    let mut facts = view.export(|export| {
        export.records::<Fault>(|_| {
            records += 1;
            Ok(())
        })?;
        Ok::<_, Fault>(export.facts.clone())
    })?;
    facts.applied = None;
    let fenced = view.fenced();
    Ok(format!("{hash:?} {keys:?} {leases:?} {facts:?} {fenced:?} {records}"))
}

/// Asks a state everything that a client can ask with a range; the answers must agree.
pub(crate) fn ranges(view: &View, request: &RangeRequest) {
    let whole = match view.range(request) {
        Ok(whole) => whole,
        Err(ReadError::Refused(refused)) => {
            let same = match view.range_now(request) {
                Some(Err(ReadError::Refused(other))) => other == refused,
                Some(_) => false,
                None => true,
            };
            assert!(same, "{request:?} is refused by one way and not by the other");
            return;
        }
        Err(ReadError::Failed(fault)) => panic!("{fault}: {request:?}"),
    };
    if let Some(now) = view.range_now(request) {
        let now = now.expect("what a read answers at once, it does not refuse");
        assert_eq!(now, whole, "the answer at once is the same: {request:?}");
    }
    if request.limit > 0 {
        let limit = usize::try_from(request.limit).unwrap_or(usize::MAX);
        assert!(whole.kvs.len() <= limit, "a limit holds: {request:?}");
    }
    if store_server::decoders::clients::range_stream(request).is_ok() && !request.count_only {
        pieces(view, request, &whole);
    }
}

fn pieces(view: &View, request: &RangeRequest, whole: &RangeResponse) {
    let pieces = store_server::decoders::clients::range_pieces(view.clone(), request.clone(), 64);
    let pieces = pieces.expect("what a range answers, its pieces do too");
    let kvs: Vec<_> = pieces.iter().flat_map(|piece| piece.kvs.iter()).collect();
    assert!(kvs.iter().copied().eq(&whole.kvs), "the pieces are the whole: {request:?}");
    let last = pieces.last().expect("there is a last piece");
    assert_eq!((last.more, last.count), (whole.more, whole.count), "{request:?}");
}

/// Removes everything that compactions permit to remove.
pub(crate) fn remove_compacted(machine: &mut StateMachine) -> Result<(), Fault> {
    while !machine.compact_step(3)?.done {}
    Ok(())
}
