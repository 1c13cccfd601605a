//! What every crate of fuzz targets has: how bytes are cut, what is replayed, how seeds are written.

mod input;
mod replay;

pub use input::{Input, push_piece, push_wide_piece};
pub use replay::{kept, write_seeds};

/// A target: its name, and what it does with bytes.
pub type Target = (&'static str, fn(&[u8]));
