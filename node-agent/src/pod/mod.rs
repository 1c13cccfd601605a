//! One pod on this node: its worker, its probes, and what they tell the API.

pub(crate) mod api;
pub(crate) mod probe;
pub(crate) mod worker;
#[cfg(test)]
mod worker_test;
