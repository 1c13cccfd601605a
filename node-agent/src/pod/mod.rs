//! One pod on this node: its worker, its probes, and what they tell the API.

pub(crate) mod api;
#[cfg(test)]
mod containerd_test;
mod http;
pub(crate) mod probe;
mod sources;
mod start;
mod stop;
pub(crate) mod worker;
#[cfg(test)]
mod worker_test;
