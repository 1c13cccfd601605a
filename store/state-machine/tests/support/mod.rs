//! A state machine in its own folder, and short ways to write commands.
#![expect(clippy::unwrap_used, reason = "a failed helper is a failed test")]
#![expect(dead_code, reason = "every test file uses a part of this one")]
#![expect(unreachable_pub, reason = "shared by several test crates")]

pub mod logs;

use bytes::Bytes;
use proto::etcdserverpb::{self as etcd, request_op::Request};
use proto::orlop::store::v1::{Caller, Command, command::Op};
use store_state_machine::{Applied, Entry, Options, Refusal, Reply, StateMachine};

pub struct Store {
    pub machine: Option<StateMachine>,
    pub dir: tempfile::TempDir,
    next_entry: u64,
}

pub fn small() -> Options {
    Options { block_cache_bytes: 1 << 20, write_buffer_bytes: 1 << 20, background_jobs: 2 }
}

impl Store {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let machine = StateMachine::open(dir.path(), &small()).unwrap();
        Self { machine: Some(machine), dir, next_entry: 1 }
    }

    pub fn get(&mut self) -> &mut StateMachine {
        self.machine.as_mut().unwrap()
    }

    pub fn reopen(&mut self) {
        self.machine = None;
        self.machine = Some(StateMachine::open(self.dir.path(), &small()).unwrap());
    }

    /// Applies one command as one entry.
    pub fn run(&mut self, op: Op) -> (Result<Reply, Refusal>, Applied) {
        self.run_by(None, op)
    }

    /// As `run`, for somebody.
    pub fn run_by(&mut self, caller: Option<Caller>, op: Op) -> (Result<Reply, Refusal>, Applied) {
        let mut entry = entry(self.next_entry, vec![op]);
        entry.commands[0].caller = caller;
        self.next_entry += 1;
        let mut applied = self.get().apply(vec![entry]).unwrap().remove(0);
        (applied.outcomes.remove(0), applied)
    }
}

pub fn entry(index: u64, ops: Vec<Op>) -> Entry {
    let commands =
        ops.into_iter().map(|op| Command { op: Some(op), ..Command::default() }).collect();
    Entry { log_id: Bytes::copy_from_slice(&index.to_be_bytes()), membership: None, commands }
}

pub fn put(key: &str, value: &str) -> etcd::PutRequest {
    etcd::PutRequest {
        key: Bytes::copy_from_slice(key.as_bytes()),
        value: Bytes::copy_from_slice(value.as_bytes()),
        ..Default::default()
    }
}

pub fn delete(key: &str, end: &str) -> etcd::DeleteRangeRequest {
    etcd::DeleteRangeRequest {
        key: Bytes::copy_from_slice(key.as_bytes()),
        range_end: Bytes::copy_from_slice(end.as_bytes()),
        ..Default::default()
    }
}

pub fn op(request: Request) -> etcd::RequestOp {
    etcd::RequestOp { request: Some(request) }
}

pub fn everything() -> etcd::RangeRequest {
    etcd::RangeRequest {
        key: Bytes::from_static(b"\0"),
        range_end: Bytes::from_static(b"\0"),
        ..Default::default()
    }
}

/// All that readers can see of a state, as one comparable text.
pub fn digest(machine: &mut StateMachine) -> String {
    while !machine.compact_step(7).unwrap().done {}
    let view = machine.view();
    let leases: Vec<_> = view.leases().iter().map(|lease| view.lease(lease.id).unwrap()).collect();
    format!(
        "{:?} {:?} {:?} {leases:?} {:?} {:?} {:?} {:?} {:?} {:?}",
        view.hash_kv(0).unwrap(),
        view.range(&everything()).unwrap(),
        machine.applied().0,
        view.digest(),
        view.cluster(),
        view.members(),
        view.alarms(),
        view.key_counts(),
        view.auth(),
    )
}
