//! Watches: one ring of recent events for all, and a cursor for each stream.
//!
//! | Rule | What always holds |
//! |------|-------------------|
//! | W1 | A watch gets its events in the order of their revisions. |
//! | W2 | It gets none of them twice. |
//! | W3 | The events of one revision arrive together. |
//! | W4 | There is no gap between its start revision and now. |
//! | W6 | A progress frame at a revision means that every event up to it was delivered. |
//! | W9 | A watch that starts below the compacted revision is cancelled, and told so. |

mod hub;
#[cfg(test)]
mod install_test;
mod stream;

pub(crate) use hub::Hub;
pub(crate) use stream::{Context, Permit, Watches};
