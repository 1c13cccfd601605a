//! Reads of the state machine, from any thread.

use store_state_machine::View;
use tokio::sync::watch;

/// A handle for reading; it stays valid when a snapshot replaces the state.
#[derive(Clone)]
pub(crate) struct State {
    view: View,
    /// The revision below which the physical compaction has finished.
    compacted: watch::Receiver<i64>,
}

impl State {
    pub(crate) fn new(view: View, compacted: watch::Receiver<i64>) -> Self {
        Self { view, compacted }
    }

    pub(crate) fn view(&self) -> View {
        self.view.clone()
    }

    /// Whether users and roles count: one atomic load.
    pub(crate) fn auth_enabled(&self) -> bool {
        self.view.auth_enabled()
    }

    /// Waits until what lies below `revision` is physically gone.
    pub(crate) async fn compacted(&self, revision: i64) {
        let mut compacted = self.compacted.clone();
        drop(compacted.wait_for(|done| *done >= revision).await);
    }
}
