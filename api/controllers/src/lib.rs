//! The controllers: loops that make the cluster be what its objects say.
//!
//! Each controller is a decision over values (`reconcile`, `judge`, `fate`) and a thin shell (`sync`, `run`) that
//! reads caches and writes through the API. They use the kube client alone, and run on any Kubernetes API server.
//!
//! | Controller | File |
//! |---|---|
//! | Deployment | [`deployment`] |
//! | ReplicaSet | [`replica_set`] |
//! | Namespace | [`namespace`] |
//! | ServiceAccount and root CA | [`service_account`] |
//! | Garbage collector by owner | [`garbage_collector`] |
//! | Node lifecycle and taint eviction | [`node_lifecycle`] |
//! | Pod garbage collector | [`pod_gc`] |
//! | Protection of claims, volumes and their classes in use | [`protection`] |
//! | Time to live of finished Jobs | [`ttl_after_finished`] |
//! | Usage of quotas | [`resource_quota`] |
//! | Ranges of Service addresses | [`service_cidrs`] |

mod config;
pub mod context;
pub mod deployment;
pub mod discovery;
pub mod garbage_collector;
mod identities;
pub mod limits;
pub mod namespace;
pub mod node_lifecycle;
pub mod object;
pub mod pod_gc;
pub mod protection;
pub mod replica_set;
pub mod resource_quota;
mod run;
pub mod service_account;
pub mod service_cidrs;
pub mod ttl_after_finished;
mod watches;
pub mod world;

pub use config::{CONTROLLERS, Config, ConfigError, Flags, Workers};
pub use run::{run, run_with};
