//! A client of etcd's v3 interface: several endpoints, honest errors, watches that resume.
//!
//! It speaks to Orlop's store and to any etcd. Requests and answers are the wire messages of
//! [`proto::etcdserverpb`]; this crate adds what a program needs around them.
//!
//! | Rule | What always holds |
//! |------|-------------------|
//! | S1 | Every error of a write answers whether it happened: no, or unknown ([`Error::happened`]). |
//! | S2 | A write is sent again only when it surely did not reach a member. |
//! | S3 | A watch delivers every event once and in order over any number of reconnects, or ends. |
//! | S4 | Every call has a deadline; only a watch waits for ever. |

mod channel;
mod config;
mod error;
mod kv;
mod lease;
mod limits;
mod local;
mod login;
mod maintenance;
mod request;
mod watch;

pub use channel::Client;
pub use config::{Config, Tls, User};
pub use error::{Error, Happened};
pub use local::{Local, WatchSource};
pub use maintenance::{CheckpointStream, Operator, SnapshotStream};
pub use proto::{etcdserverpb as rpc, mvccpb, orlop::backup::v1 as backup};
pub use request::{compare, op, prefix_end, range_prefix};
pub use tonic::Code;
pub use watch::{Batch, Watch, WatchOptions};
