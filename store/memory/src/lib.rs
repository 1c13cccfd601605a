//! A store in this process: the members' own state machine in memory, without Raft and without a disk.
//!
//! It is used through the same client as any store ([`Memory::client`]), and answers as a cluster of one
//! member would that never fails and forgets everything when it ends.
//!
//! | Rule | What always holds |
//! |------|-------------------|
//! | I1 | Every command goes through `StateMachine::apply`, one at a time: K1 to K5 hold as they do on a member. |
//! | I2 | A watch delivers whole revisions in order, each once, or ends as compacted. |
//! | I3 | A lease ends when the clock of the runtime has reached its end, and not before. |

mod door;
mod leases;
mod limits;
mod watch;

use std::sync::Arc;

use parking_lot::Mutex;
use proto::orlop::store::v1::{Command, command::Op};
use store_client::{Client, Code, Error};
use store_state_machine::{Entry, Fault, ReadError, Refusal, Reply, StateMachine, View};
use tokio::sync::watch as channel;

use leases::Leases;

/// A store in memory.
#[derive(Clone)]
pub struct Memory {
    shared: Arc<Shared>,
}

struct Shared {
    machine: Mutex<StateMachine>,
    view: View,
    /// The revision up to which everything can be read.
    published: channel::Sender<i64>,
    leases: Leases,
}

impl std::fmt::Debug for Memory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Memory").field("revision", &self.shared.view.revision()).finish()
    }
}

impl Memory {
    /// An empty store. Its leases run on the runtime that this is called on, until the last handle to
    /// it is dropped.
    ///
    /// # Errors
    /// When there is no state to be had: not known to happen.
    pub fn start() -> Result<Self, Error> {
        let machine = StateMachine::in_memory().map_err(|fault| failed(&fault))?;
        let view = machine.view();
        let published = channel::Sender::new(view.revision());
        let leases = Leases::default();
        let shared = Shared { machine: Mutex::new(machine), view, published, leases };
        let memory = Self { shared: Arc::new(shared) };
        tokio::spawn(leases::run(Arc::downgrade(&memory.shared)));
        Ok(memory)
    }

    /// A client of it.
    #[must_use]
    pub fn client(&self) -> Client {
        Client::local(Arc::new(self.clone()))
    }
}

impl Shared {
    /// I1
    fn apply(&self, op: Op) -> Result<Reply, Error> {
        let commands = vec![Command { op: Some(op), ..Command::default() }];
        let mut machine = self.machine.lock();
        let applied = machine.apply(vec![Entry { commands, ..Entry::default() }]);
        let applied = applied.map_err(|fault| failed(&fault))?.pop();
        let mut applied = applied.expect("one entry has one outcome");
        // Still under the lock, so that revisions are published in their order.
        self.published.send_if_modified(|known| {
            std::mem::replace(known, applied.revision) != applied.revision
        });
        drop(machine);
        let outcome = applied.outcomes.pop().expect("one command has one outcome");
        outcome.map_err(refused)
    }

    /// Removes what a compaction made unreachable, a little at a time.
    fn clear(&self) -> Result<(), Error> {
        loop {
            let step = self.machine.lock().compact_step(limits::COMPACTION_STEP);
            if step.map_err(|fault| failed(&fault))?.done {
                return Ok(());
            }
        }
    }
}

/// The state machine cannot go on. In memory there is no disk that could be the reason.
fn failed(fault: &Fault) -> Error {
    Error::Unavailable { message: fault.to_string() }
}

fn read_failed(error: ReadError) -> Error {
    match error {
        ReadError::Refused(refusal) => refused(refusal),
        ReadError::Failed(fault) => failed(&fault),
    }
}

/// As a member says it over the wire.
fn refused(refusal: Refusal) -> Error {
    let (code, mvcc) = match refusal {
        Refusal::Compacted => return Error::Compacted { compact_revision: 0 },
        Refusal::FutureRevision => (Code::OutOfRange, "mvcc: "),
        Refusal::NoSpace => (Code::ResourceExhausted, "mvcc: "),
        Refusal::LeaseTtlTooLarge => (Code::OutOfRange, ""),
        Refusal::LeaseNotFound => (Code::NotFound, ""),
        Refusal::LeaseExists => (Code::FailedPrecondition, ""),
        Refusal::UnknownCommand => (Code::Unimplemented, ""),
        // Of users, members and the like nothing reaches this store.
        _ => (Code::InvalidArgument, ""),
    };
    Error::Refused { code, message: format!("etcdserver: {mvcc}{refusal}") }
}

/// A reply of another kind than the command would be a bug of the state machine.
fn mismatch() -> Error {
    let message = "the outcome does not belong to the request".to_owned();
    Error::Refused { code: Code::Internal, message }
}
