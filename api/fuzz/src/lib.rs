//! Fuzz targets: what clients give the API server, as functions of bytes.
//!
//! Each target takes any bytes. It makes of them what a client could send, gives that to the functions
//! that the server uses, and panics when a law does not hold. The programs of libFuzzer in
//! `cargo-fuzz/` call the targets; so does the test that replays `corpus/`.
//!
//! | Rule | What always holds, whatever the bytes are |
//! |------|-------------------------------------------|
//! | Y1 | What is not understood is refused; nothing panics, hangs, or grows beyond what its input pays for. |
//! | Y2 | What was understood is the same after it was written and read again, as JSON and as protobuf. |
//! | Y3 | The strict decoder refuses exactly what the lenient one drops and the warning one names. |
//! | Y4 | Defaults, pruning, merges and applies change nothing when they are done again. |
//! | Y5 | A patch made of a difference makes the one tree into the other. |
//! | Y6 | A selector is the same after it was written out, and chooses what its definition says. |
//! | Y7 | No evaluation costs more than its limit, and none is slow below it. |
//! | Y8 | No continue token leads out of the prefix that is listed. |
//! | Y9 | What is stored can be read: it is never nested deeper than a reader goes. |
#![expect(clippy::panic, reason = "a law that does not hold is a finding")]

mod applies;
mod custom;
mod documents;
mod expressions;
mod generate;
mod laws;
mod patches;
mod protobuf;
pub mod seeds;
mod selectors;
mod texts;
mod tokens;
mod yaml;

pub use applies::applies;
pub use custom::custom;
pub use documents::documents;
pub use expressions::expressions;
pub use patches::patches;
pub use protobuf::protobuf;
pub use selectors::selectors;
pub use texts::texts;
pub use tokens::tokens;
pub use yaml::yaml;

/// All of them.
pub const TARGETS: [testbed::fuzz::Target; 10] = [
    ("applies", applies),
    ("custom", custom),
    ("documents", documents),
    ("expressions", expressions),
    ("patches", patches),
    ("protobuf", protobuf),
    ("selectors", selectors),
    ("texts", texts),
    ("tokens", tokens),
    ("yaml", yaml),
];
