//! Clusters under faults: real processes, clients that record everything, and checkers that judge.
//!
//! A run has three parts. A [`cluster`] of real binaries is started on loopback; a [`workload`]
//! runs against all members while a [`nemesis`] breaks things; then the [`history`] of what was
//! asked, answered and watched goes through every [`checker`]. The checkers are pure and do not
//! know which store it was: the same harness runs on real etcd, which keeps them honest.
//!
//! [`scenario`] ties the parts together (`orlop chaos`); [`mod@bench`] is the load generator for any
//! etcd v3 endpoint (`orlop bench store`).

pub mod bench;
pub mod checker;
pub mod client;
pub mod cluster;
pub mod disk;
pub mod history;
pub mod limits;
pub mod model;
pub mod nemesis;
pub mod report;
pub mod scenario;
pub mod workload;

pub use scenario::{Flags, run};
