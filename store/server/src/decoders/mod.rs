//! What a member makes of bytes that clients, peers and disks gave it, as functions: the doors of
//! `store/fuzz`.
//!
//! Nothing here decodes by itself: each function calls the one that the member uses. Those with an
//! inverse answer what was understood in its bytes again, so that a law can be asked of them.

pub mod clients;
pub mod disk;
pub mod flags;
pub mod peers;
pub mod watch;
