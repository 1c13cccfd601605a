//! How soon the suite finds each bug that `store/planted` can plant.
//!
//! A [`Bug`](store_planted::Bug) has a list of `trials`: a course of faults under load that the
//! general checkers judge (`course.rs`), or a short story that aims at what no load reaches
//! (`story.rs`). `suite.rs` runs them on members with the bug until a rule says what is wrong, and the
//! same ones on members without, which must pass.

mod compaction;
mod course;
mod damage;
mod lease;
mod limits;
mod rights;
mod story;
mod suite;
mod trials;
mod votes;
mod watchers;

pub use suite::{Flags, prove, run};
