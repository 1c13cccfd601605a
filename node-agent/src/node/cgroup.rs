//! The cgroups of pods: made with their limits before their sandboxes, removed after them.

use std::io;
use std::path::{Path, PathBuf};

use crate::spec::resources::{CPU_PERIOD_US, PodResources, Qos};

const ROOT: &str = "/sys/fs/cgroup";

/// How the kernel shows cgroups.
enum Trees {
    /// One folder for each controller.
    V1 { cpu: PathBuf, memory: PathBuf },
    /// One folder for all.
    V2(PathBuf),
}

fn trees(root: &Path) -> Trees {
    if root.join("cgroup.controllers").is_file() {
        Trees::V2(root.to_owned())
    } else {
        Trees::V1 { cpu: root.join("cpu"), memory: root.join("memory") }
    }
}

fn put(folder: &Path, file: &str, value: impl std::fmt::Display) -> io::Result<()> {
    let path = folder.join(file);
    std::fs::write(&path, value.to_string())
        .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
}

fn folder(path: &Path) -> io::Result<()> {
    std::fs::create_dir_all(path)
        .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
}

/// The weight (version 2) of shares (version 1), as runtimes convert it.
fn weight(shares: i64) -> i64 {
    1 + ((shares.clamp(2, 262_144) - 2) * 9999) / 262_142
}

/// Makes a folder of version 2 and lets everything on the way to it be limited.
fn make_v2(root: &Path, relative: &Path) -> io::Result<PathBuf> {
    let mut at = root.to_owned();
    for part in relative {
        let control = at.join("cgroup.subtree_control");
        let known = std::fs::read_to_string(&control).unwrap_or_default();
        for controller in ["cpu", "memory", "pids"] {
            if !known.split_whitespace().any(|on| on == controller) {
                // One that this kernel lacks limits nothing; the limit itself says so below.
                let _ = std::fs::write(&control, format!("+{controller}"));
            }
        }
        at.push(part);
        if !at.is_dir() {
            folder(&at)?;
        }
    }
    Ok(at)
}

/// Makes the cgroup of a pod, named as the runtime is told, with the limits of the whole pod.
/// Blocking. A slice of systemd is systemd's to make.
///
/// # Errors
/// When the kernel refuses.
pub(crate) fn make(parent: &str, limits: PodResources) -> io::Result<()> {
    make_under(Path::new(ROOT), parent, limits)
}

fn make_under(root: &Path, parent: &str, limits: PodResources) -> io::Result<()> {
    let Some(relative) = parent.strip_prefix('/') else { return Ok(()) };
    match trees(root) {
        Trees::V1 { cpu, memory } => {
            let (cpu, memory) = (cpu.join(relative), memory.join(relative));
            folder(&cpu)?;
            folder(&memory)?;
            put(&cpu, "cpu.shares", limits.cpu_shares)?;
            if limits.cpu_quota_us > 0 {
                put(&cpu, "cpu.cfs_period_us", CPU_PERIOD_US)?;
                put(&cpu, "cpu.cfs_quota_us", limits.cpu_quota_us)?;
            }
            if limits.memory_limit_bytes > 0 {
                put(&memory, "memory.limit_in_bytes", limits.memory_limit_bytes)?;
            }
        }
        Trees::V2(root) => {
            let own = make_v2(&root, Path::new(relative))?;
            put(&own, "cpu.weight", weight(limits.cpu_shares))?;
            if limits.cpu_quota_us > 0 {
                put(&own, "cpu.max", format!("{} {CPU_PERIOD_US}", limits.cpu_quota_us))?;
            }
            if limits.memory_limit_bytes > 0 {
                put(&own, "memory.max", limits.memory_limit_bytes)?;
            }
        }
    }
    Ok(())
}

/// Gives a whole class of pods its part of the CPU. Blocking. Classes without a folder of their
/// own have none to give.
///
/// # Errors
/// When the kernel refuses.
pub(crate) fn share(class: Qos, shares: i64) -> io::Result<()> {
    share_under(Path::new(ROOT), class, shares)
}

fn share_under(root: &Path, class: Qos, shares: i64) -> io::Result<()> {
    let relative = match class {
        Qos::Guaranteed => return Ok(()),
        Qos::Burstable => "kubepods/burstable",
        Qos::BestEffort => "kubepods/besteffort",
    };
    match trees(root) {
        Trees::V1 { cpu, .. } => {
            let own = cpu.join(relative);
            folder(&own)?;
            put(&own, "cpu.shares", shares)
        }
        Trees::V2(root) => {
            let own = make_v2(&root, Path::new(relative))?;
            put(&own, "cpu.weight", weight(shares))
        }
    }
}

/// Removes the empty cgroup of a pod in every hierarchy. Blocking. One that is in use stays.
pub(crate) fn remove(parent: &str) {
    let Some(relative) = parent.strip_prefix('/') else { return };
    let root = Path::new(ROOT);
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

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: PodResources =
        PodResources { cpu_shares: 102, cpu_quota_us: 20_000, memory_limit_bytes: 64 << 20 };
    const NONE: PodResources =
        PodResources { cpu_shares: 2, cpu_quota_us: 0, memory_limit_bytes: 0 };

    fn read(root: &Path, path: &str) -> String {
        std::fs::read_to_string(root.join(path)).unwrap_or_else(|_| "absent".to_owned())
    }

    #[test]
    fn a_pod_is_limited_in_version_1() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        make_under(root, "/kubepods/burstable/podu", LIMITS).unwrap();
        make_under(root, "/kubepods/besteffort/podv", NONE).unwrap();
        share_under(root, Qos::BestEffort, 2).unwrap();
        for (path, want) in [
            ("cpu/kubepods/burstable/podu/cpu.shares", "102"),
            ("cpu/kubepods/burstable/podu/cpu.cfs_quota_us", "20000"),
            ("cpu/kubepods/burstable/podu/cpu.cfs_period_us", "100000"),
            ("memory/kubepods/burstable/podu/memory.limit_in_bytes", "67108864"),
            ("cpu/kubepods/besteffort/podv/cpu.shares", "2"),
            ("cpu/kubepods/besteffort/podv/cpu.cfs_quota_us", "absent"),
            ("memory/kubepods/besteffort/podv/memory.limit_in_bytes", "absent"),
            ("cpu/kubepods/besteffort/cpu.shares", "2"),
        ] {
            assert_eq!(read(root, path), want, "{path}");
        }
    }

    #[test]
    fn a_pod_is_limited_in_version_2_on_the_whole_way_down() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        std::fs::write(root.join("cgroup.controllers"), "cpu memory").unwrap();
        std::fs::write(root.join("cgroup.subtree_control"), "cpu pids memory").unwrap();
        make_under(root, "/kubepods/burstable/podu", LIMITS).unwrap();
        share_under(root, Qos::Burstable, 1024).unwrap();
        for (path, want) in [
            ("cgroup.subtree_control", "cpu pids memory"),
            ("kubepods/burstable/podu/cpu.weight", "4"),
            ("kubepods/burstable/podu/cpu.max", "20000 100000"),
            ("kubepods/burstable/podu/memory.max", "67108864"),
            ("kubepods/burstable/cpu.weight", "39"),
        ] {
            assert_eq!(read(root, path), want, "{path}");
        }
        let control = read(root, "kubepods/burstable/cgroup.subtree_control");
        assert!(control.starts_with('+'), "{control}");
    }

    #[test]
    fn a_slice_is_left_to_systemd_and_a_refusal_names_the_file() {
        make_under(Path::new("/nowhere"), "kubepods-podu.slice", LIMITS).unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = make_under(file.path(), "/kubepods/podu", LIMITS).unwrap_err().to_string();
        assert!(error.contains("cpu/kubepods/podu: "), "{error}");
    }
}
