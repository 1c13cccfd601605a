//! Damage to files of a member that is down: flipped bits and torn ends of what was durable.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use super::kind::Kind;
use super::strike::{Blow, Effect};

/// Takes the member down, damages it, and starts it again. What it makes of that is in the notes.
pub(super) async fn damage(blow: &Blow) -> anyhow::Result<Effect> {
    let mut words = Vec::new();
    for member in &blow.members {
        blow.world.take_down(*member).await?;
        words.push(inflict(blow, *member));
    }
    blow.hold().await;
    blow.members.iter().for_each(|member| blow.world.let_up(*member));
    let words = words.into_iter().collect::<anyhow::Result<Vec<_>>>()?;
    Ok(Effect::Took(words.join("; ")))
}

fn inflict(blow: &Blow, member: usize) -> anyhow::Result<String> {
    let data = blow.world.cluster.lock().data_dir(member);
    let mut rng = StdRng::seed_from_u64(blow.event.seed);
    let is_log = blow.event.fault != Kind::BitFlipState;
    let files = candidates(&data, is_log)?;
    let shown = |path: &Path| path.strip_prefix(&data).unwrap_or(path).display().to_string();
    if blow.event.fault == Kind::TornTail {
        let (path, used) = newest(&files)?;
        let bytes = blow.event.amount.unsigned_abs().min(used);
        let file = OpenOptions::new().write(true).open(&path)?;
        blow.world.damage(member);
        file.set_len(used - bytes)?;
        file.sync_all()?;
        return Ok(format!("{bytes} of {used} bytes of {} cut off", shown(&path)));
    }
    let total: u64 = files.iter().map(|(_, used)| used).sum();
    ensure!(total > 0, "there is no file to damage");
    // From here on, even if it does not get to its end: a first bit may be flipped, and a second one not.
    blow.world.damage(member);
    let mut words = Vec::new();
    for _ in 0..blow.event.amount.max(1) {
        let mut at = rng.random_range(0..total);
        let bit: u32 = rng.random_range(0..8);
        for (path, used) in &files {
            if at < *used {
                flip(path, at, bit)?;
                words.push(format!("bit {bit} of byte {at} of {} flipped", shown(path)));
                break;
            }
            at -= used;
        }
    }
    Ok(words.join(", "))
}

fn flip(path: &Path, at: u64, bit: u32) -> anyhow::Result<()> {
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    let mut byte = [0];
    file.read_exact_at(&mut byte, at)?;
    let flipped = [byte[0] ^ (1 << bit)];
    file.write_all_at(&flipped, at)?;
    file.sync_all()?;
    file.read_exact_at(&mut byte, at)?;
    ensure!(byte == flipped, "the flipped byte is not there");
    Ok(())
}

/// The newest file that has anything in it.
fn newest(files: &[(PathBuf, u64)]) -> anyhow::Result<(PathBuf, u64)> {
    let age = |path: &Path| fs::metadata(path).and_then(|data| data.modified()).ok();
    let used = files.iter().filter(|(path, used)| *used > 0 && !is_table(path));
    used.max_by_key(|(path, _)| age(path)).cloned().context("there is no log file")
}

fn is_table(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending == "sst")
}

/// Files of the log or the state, of our layout and of etcd's, with how much of each was written.
fn candidates(data: &Path, is_log: bool) -> anyhow::Result<Vec<(PathBuf, u64)>> {
    let folders = if is_log { ["log", "member/wal"] } else { ["state", "member/snap"] };
    let mut files = Vec::new();
    for folder in folders {
        collect(&data.join(folder), &mut files)?;
    }
    // In an order that does not depend on the file system.
    files.sort();
    Ok(files)
}

fn collect(folder: &Path, files: &mut Vec<(PathBuf, u64)>) -> anyhow::Result<()> {
    if !folder.is_dir() {
        return Ok(());
    }
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
            continue;
        }
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        // Not what a store writes for people, or for its locks.
        let is_data = name == "db"
            || name == "CURRENT"
            || name.starts_with("MANIFEST")
            || [".log", ".sst", ".wal", ".snap"].iter().any(|ending| name.ends_with(ending));
        if is_data {
            let used = used(&path)?;
            files.push((path, used));
        }
    }
    Ok(())
}

/// Bytes up to the last one that is not zero: what comes after was set aside and never written.
fn used(path: &Path) -> anyhow::Result<u64> {
    let file = File::open(path)?;
    let mut end = file.metadata()?.len();
    let mut buffer = vec![0; 64 << 10];
    while end > 0 {
        let length = end.min(buffer.len() as u64);
        let part = &mut buffer[..usize::try_from(length)?];
        file.read_exact_at(part, end - length)?;
        if let Some(last) = part.iter().rposition(|byte| *byte != 0) {
            return Ok(end - length + last as u64 + 1);
        }
        end -= length;
    }
    Ok(0)
}
