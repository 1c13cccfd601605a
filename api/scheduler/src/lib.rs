//! The scheduler: gives each pod that waits for a node the best of those that can run it.
//!
//! [`schedule()`] is the decision, over a [`snapshot::Snapshot`]; `run` feeds it from watches and binds through the API.
//! Preemption, pod affinity, topology spread constraints, volumes and scheduler profiles are not done yet.

mod config;
pub mod filter;
pub mod limits;
pub mod quantity;
pub mod queue;
pub mod resources;
mod run;
mod schedule;
#[cfg(test)]
mod schedule_test;
pub mod score;
pub mod snapshot;

pub use config::{Config, ConfigError, Flags};
pub use run::{SCHEDULER_NAME, run, wants_node};
pub use schedule::{Decision, schedule};
