//! Clusters under faults: real processes, clients that record everything, and checkers that judge.
//!
//! A run has three parts. A [`cluster`] of real binaries is started on loopback; a [`workload`]
//! runs against all members while a [`nemesis`] breaks things; then the [`history`] of what was
//! asked, answered and watched goes through every [`checker`]. The checkers are pure and do not
//! know which store it was: the same harness runs on real etcd, which keeps them honest.
//!
//! [`mod@run`] is a seeded schedule of overlapping faults on hosts and disks of their own
//! (`orlop chaos run`), [`soak`] hours of them (`orlop chaos soak`), [`scenario`] one kind of fault
//! at a time (`orlop chaos leader-kill`), [`informer`] a workload through API servers;
//! [`mod@bench`] is the load generator for any etcd v3 endpoint (`orlop bench store`).

pub mod bench;
pub mod checker;
pub mod client;
pub mod cluster;
pub mod disk;
pub mod history;
pub mod informer;
pub mod limits;
pub mod model;
pub mod nemesis;
pub mod report;
pub mod run;
pub mod scenario;
pub mod sim;
pub mod soak;
pub mod topo;
pub mod workload;

mod command;
mod tested;

pub use command::{Command, run};
pub use tested::{Asking, Kept, Tested};
