//! What a member does so that it never serves wrong data: it looks at its files when it starts and
//! while it runs, and its data and what it did are compared with those of its peers.

pub(crate) mod compare;
pub(crate) mod digest;
pub(crate) mod disk;
pub(crate) mod fence;
mod judge;
mod rebuild;
pub(crate) mod start;

/// What to do with a member whose files are damaged.
pub(crate) const ADVICE: &str = "this member cannot go on with these files: remove it from its \
     cluster (etcdctl member remove), move its data folder away, and add it anew (etcdctl member add, \
     --initial-cluster-state=existing); if no other member is left, restore a backup (orlop backup \
     restore)";
