//! Rotation: the log of a running container that grew too long is moved aside, packed, and in the
//! end removed.
//!
//! | Rule | What always holds |
//! |------|-------------------|
//! | L1 | Only the log of a running container is rotated: nobody else writes. |
//! | L2 | The newest rotated file stays unpacked for one more round: readers may be in it. |
//! | L3 | A rotation that the runtime did not follow is undone: what is written is not lost. |

use std::fs::File;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use tracing::warn;

use crate::limits::LOG_ROTATE_PERIOD;
use crate::runtime::{Labels, Runtime, cri};

const PACKED: &str = ".gz";
const UNFINISHED: &str = ".tmp";

/// When a log is too long, and how many files of one log there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Policy {
    pub(crate) bytes_max: u64,
    /// The one that is written, and the rotated ones. At least 2.
    pub(crate) files_max: usize,
}

/// What to do with the rotated files of one log before the next one comes.
#[derive(Debug, PartialEq, Eq, Default)]
struct Chores {
    remove: Vec<String>,
    pack: Vec<String>,
}

/// Decides about rotated files by their names; times sort as text.
fn chores(mut names: Vec<String>, files_max: usize) -> Chores {
    names.sort();
    let is_left_over = |name: &String| {
        // Unfinished by an agent that died, or packed already.
        name.ends_with(UNFINISHED) || names.contains(&format!("{name}{PACKED}"))
    };
    let (mut remove, mut kept): (Vec<String>, Vec<String>) =
        names.iter().cloned().partition(is_left_over);
    // The log itself and the file that it becomes are still to come.
    let excess = kept.len().saturating_sub(files_max.saturating_sub(2));
    remove.extend(kept.drain(..excess));
    kept.retain(|name| !name.ends_with(PACKED));
    Chores { remove, pack: kept }
}

fn rotated(log: &Path) -> Vec<String> {
    let own = super::with_rotated(log).into_iter().filter(|path| path != log);
    own.filter_map(|path| path.file_name()?.to_str().map(str::to_owned)).collect()
}

/// Packs a file: the packed one appears complete, or not at all. Blocking.
fn pack(path: &Path) -> std::io::Result<()> {
    let named = |suffix: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        PathBuf::from(name)
    };
    let unfinished = named(UNFINISHED);
    let mut from = File::open(path)?;
    let mode = from.metadata()?.permissions().mode();
    let packed = (|| {
        let to = File::create(&unfinished)?;
        to.set_permissions(std::fs::Permissions::from_mode(mode))?;
        let mut writer = flate2::write::GzEncoder::new(to, flate2::Compression::default());
        std::io::copy(&mut from, &mut writer)?;
        writer.finish()?.sync_all()?;
        std::fs::rename(&unfinished, named(PACKED))
    })();
    if packed.is_err() {
        let _ = std::fs::remove_file(&unfinished);
    }
    packed?;
    std::fs::remove_file(path)
}

/// Makes room for another rotated file, and moves the log there. Blocking.
fn make_way(log: &Path, policy: Policy, now: Timestamp) -> std::io::Result<PathBuf> {
    let folder = log.parent().unwrap_or(Path::new("/"));
    let todo = chores(rotated(log), policy.files_max);
    for name in todo.remove {
        std::fs::remove_file(folder.join(name))?;
    }
    for name in todo.pack {
        pack(&folder.join(name))?;
    }
    let mut name = log.as_os_str().to_owned();
    name.push(now.strftime(".%Y%m%d-%H%M%S").to_string());
    let aside = PathBuf::from(name);
    std::fs::rename(log, &aside)?;
    Ok(aside)
}

/// Rotates the log of a running container when it is too long.
async fn look_at(runtime: &dyn Runtime, id: &str, policy: Policy) -> Result<(), String> {
    let status = runtime.container_status(id).await.map_err(|error| error.to_string())?;
    let log = PathBuf::from(&status.log_path);
    let length = match tokio::fs::metadata(&log).await {
        Ok(found) => found.len(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            // Somebody removed it: what is written now goes nowhere.
            return runtime.reopen_log(id).await.map_err(|error| error.to_string());
        }
        Err(error) => return Err(error.to_string()),
    };
    if length < policy.bytes_max {
        return Ok(());
    }
    let path = log.clone();
    let moved =
        tokio::task::spawn_blocking(move || make_way(&path, policy, Timestamp::now())).await;
    let aside = moved.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
    if let Err(error) = runtime.reopen_log(id).await {
        // L3
        let undone = tokio::fs::rename(&aside, &log).await;
        return Err(format!("the runtime did not reopen it: {error} (moved back: {undone:?})"));
    }
    Ok(())
}

/// Looks at all running containers once.
pub(crate) async fn rotate_all(runtime: &dyn Runtime, policy: Policy) {
    let Ok(containers) = runtime.list_containers(Labels::new()).await else { return };
    for container in containers {
        // L1
        if container.state() != cri::ContainerState::ContainerRunning {
            continue;
        }
        if let Err(why) = look_at(runtime, &container.id, policy).await {
            warn!(container = container.id, why, "a container's log could not be rotated");
        }
    }
}

/// Keeps the logs of this node's containers short until it is dropped.
pub(crate) async fn keep(runtime: Arc<dyn Runtime>, policy: Policy) {
    let mut tick = tokio::time::interval(LOG_ROTATE_PERIOD);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        rotate_all(&*runtime, policy).await;
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;
    use crate::runtime::Fake;

    fn owned(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn old_files_are_removed_and_the_others_packed_except_what_is_left_over() {
        let names = owned(&["0.log.3", "0.log.1.gz", "0.log.2.gz", "0.log.2", "0.log.3.tmp"]);
        // Five files: three rotated ones may stay beside the log and the one that it becomes.
        let want = Chores { remove: owned(&["0.log.2", "0.log.3.tmp"]), pack: owned(&["0.log.3"]) };
        assert_eq!(chores(names.clone(), 5), want);
        let want = Chores {
            remove: owned(&["0.log.2", "0.log.3.tmp", "0.log.1.gz", "0.log.2.gz"]),
            pack: owned(&["0.log.3"]),
        };
        assert_eq!(chores(names.clone(), 3), want);
        assert_eq!(chores(names, 2).pack, owned(&[]));
        assert_eq!(chores(Vec::new(), 5), Chores::default());
    }

    /// A running container of the fake runtime with this much in its log.
    async fn writer(folder: &Path, bytes: usize) -> (Fake, PathBuf) {
        let runtime = Fake::new("10.9.8.0/24").unwrap();
        let sandbox = cri::PodSandboxConfig {
            log_directory: folder.to_string_lossy().into_owned(),
            ..Default::default()
        };
        let sandbox_id = runtime.run_sandbox(sandbox.clone()).await.unwrap();
        let config = cri::ContainerConfig { log_path: "c/0.log".into(), ..Default::default() };
        let id = runtime.create_container(&sandbox_id, config, sandbox).await.unwrap();
        runtime.start_container(&id).await.unwrap();
        let log = folder.join("c/0.log");
        std::fs::write(&log, vec![b'x'; bytes]).unwrap();
        (runtime, log)
    }

    #[tokio::test]
    async fn a_long_log_is_moved_aside_and_packed_at_the_next_rotation() {
        let folder = tempfile::tempdir().unwrap();
        let (runtime, log) = writer(folder.path(), 99).await;
        let policy = Policy { bytes_max: 100, files_max: 3 };
        rotate_all(&runtime, policy).await;
        let files = super::super::with_rotated(&log);
        assert_eq!(files, std::slice::from_ref(&log), "it is short enough");

        std::fs::write(&log, vec![b'y'; 100]).unwrap();
        rotate_all(&runtime, policy).await;
        let first = rotated(&log);
        assert_eq!(first.len(), 1, "L2: {first:?}");
        assert!(!first[0].ends_with(PACKED), "L2: {first:?}");
        assert_eq!(std::fs::metadata(&log).unwrap().len(), 0, "the runtime writes a new file");

        let now = Timestamp::now() + jiff::SignedDuration::from_secs(2);
        make_way(&log, policy, now).unwrap();
        let packed = log.parent().unwrap().join(format!("{}{PACKED}", first[0]));
        let mut text = Vec::new();
        flate2::read::GzDecoder::new(File::open(packed).unwrap()).read_to_end(&mut text).unwrap();
        assert_eq!(text, [b'y'; 100], "nothing of it is lost");
    }

    #[tokio::test]
    async fn a_log_that_the_runtime_does_not_reopen_stays_where_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let (runtime, log) = writer(folder.path(), 100).await;
        runtime.refuse_to_reopen_logs();
        rotate_all(&runtime, Policy { bytes_max: 100, files_max: 5 }).await;
        assert_eq!(std::fs::metadata(&log).unwrap().len(), 100, "L3");
        assert!(rotated(&log).is_empty(), "L3");
    }

    #[tokio::test]
    async fn the_log_of_a_container_that_ended_stays_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let (runtime, log) = writer(folder.path(), 1000).await;
        let id = runtime.list_containers(Labels::new()).await.unwrap().remove(0).id;
        runtime.stop_container(&id, 0).await.unwrap();
        rotate_all(&runtime, Policy { bytes_max: 100, files_max: 5 }).await;
        assert!(rotated(&log).is_empty(), "L1");
    }
}
