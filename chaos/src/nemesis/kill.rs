//! Processes that end without a chance to say goodbye, and start again on the same data.

use crate::cluster::Cluster;

/// SIGKILL for each member. What the kernel already has stays; what only the process had is gone.
pub(super) fn inject(cluster: &mut Cluster, members: &[usize]) -> anyhow::Result<()> {
    members.iter().try_for_each(|member| cluster.kill(*member))
}

/// Starts each member on the data that it left.
pub(super) fn heal(cluster: &mut Cluster, members: &[usize]) -> anyhow::Result<()> {
    members.iter().try_for_each(|member| cluster.spawn(*member))
}
