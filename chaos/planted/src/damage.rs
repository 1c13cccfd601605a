//! A bit flips in the log of a member that is alone: it must say so, or have lost nothing.
//!
//! | Rule | What always holds |
//! |------|-------------------|
//! | X1 | A member that starts on a damaged log has everything that it acknowledged. |

use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use chaos::cluster::Cluster;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use crate::limits;
use crate::story::{Judge, Judged, Member, Store};

const WRITES: usize = 120;

/// Tells the story.
pub(crate) async fn run(store: &Store, seed: u64) -> anyhow::Result<Judged> {
    let mut cluster = Cluster::start(store.launcher(&[]), 1).await?;
    let mut judge = Judge::new("damage");
    let mut rng = StdRng::seed_from_u64(seed);
    let mut client = Member::of(&cluster, 0)?;
    for number in 0..WRITES {
        judge.operations += 1;
        client.put(&format!("x/{number}"), "value", 0).await?;
    }
    cluster.kill(0)?;
    let file = log_file(cluster.dir())?;
    flip(&file, &mut rng)?;
    cluster.spawn(0)?;
    match cluster.wait_serving(0, limits::STORY).await {
        Ok(()) => {
            let found = Member::of(&cluster, 0)?.list("x/", false).await?.count;
            judge.must("X1", usize::try_from(found)? == WRITES, || {
                format!("it serves, with {found} of {WRITES} acknowledged writes")
            });
        }
        Err(error) => {
            let why = format!("{error:#}");
            ensure!(why.contains("ended"), "it neither serves nor ends: {why}");
            judge.must("X1", true, String::new);
        }
    }
    Ok(judge.done())
}

/// The log's newest file: ours or etcd's.
fn log_file(dir: &Path) -> anyhow::Result<PathBuf> {
    let mut folders = vec![dir.to_path_buf()];
    let mut found: Vec<(u64, PathBuf)> = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder)? {
            let path = entry?.path();
            let name = path.to_string_lossy().into_owned();
            if path.is_dir() {
                folders.push(path);
            } else if name.ends_with(".wal") || (name.contains("/log/") && name.ends_with(".log")) {
                found.push((last_byte(&path)?, path));
            }
        }
    }
    found.sort();
    found.pop().map(|(_, path)| path).context("a member has no log")
}

/// Where a file's bytes end: what comes after was only reserved.
fn last_byte(path: &Path) -> anyhow::Result<u64> {
    let bytes = std::fs::read(path)?;
    let at = bytes.iter().rposition(|byte| *byte != 0).unwrap_or(0);
    Ok(u64::try_from(at)?)
}

fn flip(path: &Path, rng: &mut StdRng) -> anyhow::Result<()> {
    let mut bytes = std::fs::read(path)?;
    let end = usize::try_from(last_byte(path)?)?;
    let at = rng.random_range(end / 2..end * 3 / 4);
    bytes[at] ^= 1 << rng.random_range(0..8);
    Ok(std::fs::write(path, bytes)?)
}
