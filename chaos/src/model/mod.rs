//! What the system should do, one operation after the other.

pub mod kv;
pub mod list;
