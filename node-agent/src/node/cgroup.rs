//! Removal of the cgroup folders that pods leave behind.

use std::path::Path;

/// Removes the empty cgroup of a pod in every hierarchy. Blocking. One that is in use stays.
pub(crate) fn remove(parent: &str) {
    let Some(relative) = parent.strip_prefix('/') else { return };
    let root = Path::new("/sys/fs/cgroup");
    let mut trees = vec![root.to_owned()];
    trees.extend(std::fs::read_dir(root).into_iter().flatten().flatten().map(|e| e.path()));
    for tree in trees {
        // The kernel refuses to remove what still has processes or children.
        let _ = std::fs::remove_dir(tree.join(relative));
    }
}

/// Removes what a pod whose definition is lost left behind, whatever its class was. Blocking.
pub(crate) fn remove_of_uid(uid: &str) {
    if uid.is_empty() || uid.contains(['/', '.']) {
        return;
    }
    for class in ["", "burstable/", "besteffort/"] {
        remove(&format!("/kubepods/{class}pod{uid}"));
    }
}
