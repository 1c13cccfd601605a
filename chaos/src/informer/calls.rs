//! Where writers write down their calls, and how an answer becomes an outcome.

use std::error::Error as _;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use parking_lot::Mutex;

use super::record::{Call, Name, Outcome, Verb};
use crate::history::Recorder;
use crate::limits;

/// The shared notebook.
#[derive(Clone, Debug)]
pub(super) struct Calls {
    clock: Recorder,
    all: Arc<Mutex<Vec<Call>>>,
    acknowledged: Arc<AtomicU64>,
    tokens: Arc<AtomicUsize>,
}

/// A call that is about to be sent.
#[derive(Clone, Debug)]
pub(super) struct Planned {
    /// Who.
    pub(super) writer: usize,
    /// Through which API server.
    pub(super) server: usize,
    /// What.
    pub(super) verb: Verb,
    /// Of which object.
    pub(super) name: Name,
    /// The token that it writes.
    pub(super) token: Option<String>,
    /// The life that it is for.
    pub(super) uid: Option<String>,
}

impl Calls {
    /// An empty notebook.
    pub(super) fn new(clock: &Recorder) -> Self {
        Self {
            clock: clock.clone(),
            all: Arc::default(),
            acknowledged: Arc::default(),
            tokens: Arc::default(),
        }
    }

    /// A token that nobody had before.
    pub(super) fn token(&self) -> String {
        format!("t{}", self.tokens.fetch_add(1, Ordering::Relaxed))
    }

    /// Writes down a call before it is sent; `None` when the history is full.
    pub(super) fn invoke(&self, planned: &Planned) -> Option<usize> {
        let mut all = self.all.lock();
        let index = all.len();
        if index >= limits::HISTORY_OPERATIONS_MAX {
            return None;
        }
        let Planned { writer, server, verb, name, token, uid } = planned.clone();
        all.push(Call {
            index,
            writer,
            server,
            invoked_ns: self.clock.now_ns(),
            completed_ns: u64::MAX,
            verb,
            name,
            token,
            uid,
            outcome: Outcome::Unknown("not answered".to_owned()),
        });
        Some(index)
    }

    /// Writes down how it ended.
    pub(super) fn complete(&self, index: usize, outcome: Outcome) {
        let mut all = self.all.lock();
        all[index].completed_ns = self.clock.now_ns();
        all[index].outcome = outcome;
        let is_write = all[index].is_ok() && all[index].verb != Verb::Get;
        drop(all);
        if is_write {
            self.acknowledged.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Writes acknowledged so far.
    pub(super) fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }

    /// All calls.
    pub(super) fn all(&self) -> Vec<Call> {
        self.all.lock().clone()
    }
}

/// What an error says about the call: refused only when the server said that it did nothing, or
/// when nobody listened.
pub(super) fn outcome_of(error: &kube::Error) -> Outcome {
    if let kube::Error::Api(status) = error {
        let text = format!("{}: {}", status.reason, status.message);
        return match status.code {
            code @ 400..500 => Outcome::Refused(code, text),
            code => Outcome::Unknown(format!("{code}: {text}")),
        };
    }
    let mut cause = error.source();
    while let Some(source) = cause {
        let refused = source.downcast_ref::<io::Error>().map(io::Error::kind);
        if refused == Some(io::ErrorKind::ConnectionRefused) {
            return Outcome::Refused(0, format!("{source}"));
        }
        cause = source.source();
    }
    Outcome::Unknown(format!("{error:#}"))
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;

    fn answered(code: u16) -> Outcome {
        outcome_of(&kube::Error::Api(Box::new(Status { code, ..Status::default() })))
    }

    #[test]
    fn only_a_refusal_is_one() {
        assert!(matches!(answered(409), Outcome::Refused(409, _)));
        assert!(matches!(answered(500), Outcome::Unknown(_)));
        assert!(matches!(answered(504), Outcome::Unknown(_)));
        let io = |kind| kube::Error::Service(Box::new(io::Error::from(kind)));
        let nobody = outcome_of(&io(io::ErrorKind::ConnectionRefused));
        assert!(matches!(nobody, Outcome::Refused(0, _)), "{nobody:?}");
        let cut = outcome_of(&io(io::ErrorKind::ConnectionReset));
        assert!(matches!(cut, Outcome::Unknown(_)), "{cut:?}");
    }
}
