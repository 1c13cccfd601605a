//! Judges of a history of informers: pure functions, each tested on histories that it must reject.
//!
//! | Rule | What always holds |
//! |------|-------------------|
//! | I0 | The run was worth judging: every kind of call was acknowledged, through every API server, |
//! |    | also after the last fault, and every informer was told something. |
//! | I1 | At the end each informer's cache, each API server's list and the store itself are equal, |
//! |    | by names and revisions, and are what the store's log leads to. |
//! | I2 | What one informer is told of an object never goes back to an older resourceVersion, and |
//! |    | neither do its lists; for lists of any version, on one API server. |
//! | I3 | A version adds one token to that before it and loses none; an acknowledged token is there |
//! |    | at the revision that was answered, a refused one never, and none twice; what was |
//! |    | acknowledged before another call began has the lower revision. |
//! | I4 | What was deleted does not come back under its uid, is deleted once, and nothing is that |
//! |    | nobody asked to delete. |
//! | I5 | A bookmark is not below an event told before it, nor ahead of one that was not told. |
//! | I6 | A watch tells every change of its scope, once, in order, as the store has it. |
//! | I7 | The pages of a list are of one revision, and together the store's state at it; so are the |
//! |    | objects that a watch begins with. |
//! | I8 | A consistent read shows all that was acknowledged before it was asked. |

mod bookkeeping;
mod converged;
mod reads;
mod streams;
mod timeline;
mod writes;

#[cfg(test)]
mod check_test;

use super::record::History;
use crate::checker::Verdict;

/// All checkers.
pub fn check_all(history: &History) -> Vec<Verdict> {
    let timeline = timeline::Timeline::of(history);
    vec![
        bookkeeping::check(history),
        converged::check(history, &timeline),
        writes::check(history, &timeline),
        streams::check(history, &timeline),
        reads::check(history, &timeline),
    ]
}

/// Whether caches, lists and store agree: I1 alone, for who waits until they do.
pub fn has_converged(history: &History) -> bool {
    converged::check(history, &timeline::Timeline::of(history)).passed()
}
