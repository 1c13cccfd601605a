//! This machine as a Node of the cluster: its object, its lease, its facts.

pub(crate) mod cgroup;
pub(crate) mod object;
