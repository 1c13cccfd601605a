//! What runs on every node: registers it, runs its pods through a container runtime, reports.
//!
//! The decision is [`plan`](crate) with `status`: values in, values out. Workers carry it out.

mod agent;
mod config;
pub mod containerd;
#[cfg(test)]
mod golden_test;
mod image_gc;
mod labels;
mod limits;
mod logs;
mod manifests;
mod node;
mod plan;
#[cfg(test)]
mod plan_test;
mod pod;
mod quantity;
mod restart;
mod runtime;
mod serve;
mod spec;
mod status;
mod stop_all;
mod view;
mod volume;

pub use agent::run;
pub use config::{Config, ConfigError, Flags};
pub use stop_all::stop_all_pods;
pub use volume::unmount_pods;
