//! Processes that stop in the middle of what they do, keep their sockets, and do not know that
//! time went by: an old leader that wakes up must not answer reads from its past.

use crate::cluster::Cluster;

/// SIGSTOP for each member.
pub(super) fn inject(cluster: &Cluster, members: &[usize]) -> anyhow::Result<()> {
    members.iter().try_for_each(|member| cluster.pause(*member))
}

/// SIGCONT for each member.
pub(super) fn heal(cluster: &Cluster, members: &[usize]) -> anyhow::Result<()> {
    members.iter().try_for_each(|member| cluster.resume(*member))
}
