//! Plugins of volumes that are gone: of pods and of persistent volumes.

/// What a plugin is called in paths, and what became of it.
pub(super) fn fate(source: &str) -> Option<(&'static str, &'static str)> {
    Some(match source {
        "photonPersistentDisk" => {
            ("photonPersistentDisk", "deprecated in v1.11, non-functional in v1.16+")
        }
        "gitRepo" => ("gitRepo", "deprecated in v1.11, and disabled by default in v1.33+"),
        "scaleIO" => ("scaleIO", "deprecated in v1.16, non-functional in v1.22+"),
        "flocker" => ("flocker", "deprecated in v1.22, non-functional in v1.25+"),
        "storageos" => ("storageOS", "deprecated in v1.22, non-functional in v1.25+"),
        "quobyte" => ("quobyte", "deprecated in v1.22, non-functional in v1.25+"),
        "glusterfs" => ("glusterfs", "deprecated in v1.25, non-functional in v1.26+"),
        "cephfs" => ("cephfs", "deprecated in v1.28, non-functional in v1.31+"),
        "rbd" => ("rbd", "deprecated in v1.28, non-functional in v1.31+"),
        _ => return None,
    })
}
