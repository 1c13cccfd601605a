//! The store beside a real etcd: random operations on both, and everything that a client can see
//! compared: answers, errors, headers, events.
//!
//! * A *script* is a list of [`Step`]s, text that can be replayed. It counts revisions from its own
//!   beginning, so that it means the same after any other.
//! * [`Generator`] writes scripts from a seed. [`Pair`] runs one on two servers and compares;
//!   [`shrink()`] makes a failing one short.
//! * [`Recording`] is a script with what etcd answered; it is replayed on our store alone, where
//!   there is no etcd.
//! * [`differences`] are those that are known and accepted, each with its reason.
//!
//! By hand, with a real etcd and our binary (`ORLOP_ETCD` and `ORLOP_BIN` name them as well):
//!
//! ```text
//! differential="cargo run -p store-differential --example differential -- --etcd ETCD --orlop ORLOP"
//! $differential explore --seed 7 --operations 10000           # look for differences
//! $differential replay SCRIPT                                 # a failure's script, step by step
//! $differential record --seed 9 store/differential/corpus/random-09.txt
//! $differential record --script SCRIPT store/differential/corpus/NAME.txt
//! $differential only etcd store/differential/killers/NAME.txt  # see it die
//! ```

mod answer;
pub mod differences;
mod generate;
mod limits;
mod origin;
mod recording;
mod run;
mod server;
mod shrink;
mod side;
mod step;
mod stream;
mod watcher;
mod watching;
mod wire;

pub use answer::Answer;
pub use generate::Generator;
pub use recording::Recording;
pub use run::{Difference, Outcome, Pair, Report, compare};
pub use server::{Launcher, Server};
pub use shrink::shrink;
pub use side::Side;
pub use step::Step;
