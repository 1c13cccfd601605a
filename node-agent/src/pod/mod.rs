//! One pod on this node: its worker, its probes, and what they tell the API.

pub(crate) mod api;
#[cfg(test)]
mod containerd_test;
#[cfg(test)]
mod features_test;
mod files;
mod grpc;
mod http;
pub(crate) mod probe;
mod services;
mod sources;
mod start;
mod stop;
pub(crate) mod worker;
#[cfg(test)]
mod worker_test;
