//! Batches of commands, as they come out of the raft log: from clients by way of any member.
//!
//! The first byte says which laws are asked for at the end, the pieces after it are encoded batches.

use std::path::Path;

use bytes::Bytes;
use prost::Message as _;
use proto::etcdserverpb::{RangeRequest, TxnRequest, request_op::Request};
use proto::orlop::store::v1::{Batch, Command, command::Op};
use store_server::decoders::peers;
use store_state_machine::{
    Applied, Entry, Refusal, Reply, StateMachine, check_delete_range, check_put, check_txn, limits,
};
use testbed::fuzz::Input;

use crate::{laws, scratch};

/// Opens the state again, and compares.
const REOPEN: u8 = 1;
/// Applies the same commands to another state, all in one entry.
const TWIN: u8 = 2;
/// Removes what compactions permit to remove, and compares.
const COMPACT: u8 = 4;
/// Asks for the ranges in the commands.
const RANGES: u8 = 8;

/// Applies the batches to an empty state.
pub fn apply(data: &[u8]) {
    let mut input = Input::new(data);
    let laws_wanted = input.byte();
    let mut batches = Vec::new();
    while let Some(piece) = input.piece() {
        if let Some(batch) = laws::message::<Batch>(piece) {
            batches.push(batch);
        }
    }
    if batches.is_empty() {
        return;
    }
    let folder = scratch::folder();
    let mut machine = scratch::state(&folder.path().join("state"));
    let mut all = Vec::new();
    for command in batches.into_iter().flat_map(|batch| batch.commands) {
        one(&mut machine, &command);
        all.push(command);
    }
    if laws_wanted & RANGES != 0 {
        for command in &all {
            ranges_of(command, &mut |range| laws::ranges(&machine.view(), range));
        }
    }
    if laws_wanted & TWIN != 0 {
        twin(&machine, &folder.path().join("twin"), &all);
    }
    if laws_wanted & COMPACT != 0 {
        let hash = |machine: &StateMachine| machine.view().hash_kv(0).expect("it can be hashed");
        let range = |machine: &StateMachine| machine.view().range(&laws::everything());
        let before = (hash(&machine), range(&machine).expect("it can be read"));
        laws::remove_compacted(&mut machine).expect("nothing is damaged");
        let after = (hash(&machine), range(&machine).expect("it can be read"));
        assert_eq!(before, after, "removing what nobody can see changes nothing");
    }
    if laws_wanted & REOPEN != 0 {
        let before = laws::everything_of(&machine.view()).expect("it can be read");
        machine.finish().expect("it can be closed");
        drop(machine);
        let machine = scratch::state(&folder.path().join("state"));
        let after = laws::everything_of(&machine.view()).expect("Z4: it can be read");
        assert_eq!(before, after, "Z4: it is the same after it was closed");
    }
}

pub(crate) fn entry(commands: Vec<Command>) -> Entry {
    Entry { log_id: Bytes::from_static(&[1; 24]), membership: None, commands }
}

fn one(machine: &mut StateMachine, command: &Command) {
    let before = laws::everything_of(&machine.view()).expect("it can be read");
    let revision = machine.view().revision();
    let applied = machine.apply(vec![entry(vec![command.clone()])]).expect("no fault");
    let [Applied { outcomes, events, revision: after, .. }] = applied.as_slice() else {
        panic!("one entry is applied as one");
    };
    let [outcome] = outcomes.as_slice() else { panic!("one command has one outcome") };
    let grown = i64::from(!events.is_empty());
    assert_eq!(*after, revision + grown, "a command that writes is one revision: {command:?}");
    assert_eq!(machine.view().revision(), *after);
    let wire = Reply::to_wire(outcome.clone());
    let again = laws::message(&wire.encode_to_vec()).expect("Z2: an outcome can be read");
    assert_eq!(Reply::from_wire(again).as_ref(), Some(outcome), "Z2: {command:?}");
    if outcome.is_err() {
        assert!(events.is_empty(), "Z3: {command:?} is refused and writes");
        let after = laws::everything_of(&machine.view()).expect("it can be read");
        assert_eq!(before, after, "Z3: {command:?} is refused, and changes something");
    }
    if let Some(refusal) = at_the_door(command) {
        // Who may not do it at all is told that first.
        let told = outcome.as_ref().expect_err("Z5: what the door refuses, apply refuses");
        let other = [
            Refusal::PermissionDenied,
            Refusal::UserEmpty,
            Refusal::AuthOldRevision,
            Refusal::UserNotFound,
            Refusal::Corrupt,
            Refusal::NoSpace,
        ];
        assert!(*told == refusal || other.contains(told), "Z5: {told:?} for {command:?}");
    }
}

/// What the services say before they propose.
fn at_the_door(command: &Command) -> Option<Refusal> {
    match command.op.as_ref()? {
        Op::Put(put) => check_put(put).err(),
        Op::DeleteRange(delete) => check_delete_range(delete).err(),
        // How many operations there may be is a setting of the member that is asked.
        Op::Txn(txn) => {
            check_txn(txn, limits::TXN_OPS_MAX).err().filter(|why| *why != Refusal::TooManyOps)
        }
        _ => None,
    }
}

fn twin(machine: &StateMachine, dir: &Path, commands: &[Command]) {
    let mut twin = scratch::state(dir);
    let batch = Batch { commands: commands.to_vec() };
    let batch = peers::batch(&batch.encode_to_vec().into()).expect("Z2: a batch can be read");
    twin.apply(vec![entry(batch.commands)]).expect("no fault");
    let (one, other) = (laws::everything_of(&machine.view()), laws::everything_of(&twin.view()));
    assert_eq!(
        one.expect("it can be read"),
        other.expect("it can be read"),
        "Z4: one entry or many"
    );
}

/// Calls `each` with every range in a command.
fn ranges_of(command: &Command, each: &mut dyn FnMut(&RangeRequest)) {
    if let Some(Op::Txn(txn)) = &command.op {
        ranges_in(txn, each);
    }
}

fn ranges_in(txn: &TxnRequest, each: &mut dyn FnMut(&RangeRequest)) {
    for op in txn.success.iter().chain(&txn.failure) {
        match &op.request {
            Some(Request::RequestRange(range)) => each(range),
            Some(Request::RequestTxn(inner)) => ranges_in(inner, each),
            Some(Request::RequestPut(_) | Request::RequestDeleteRange(_)) | None => {}
        }
    }
}
