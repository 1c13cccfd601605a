//! Takes a member's data over the wire, to files in a scratch folder and from there into a repository.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail};
use store_backup::{Digest, FileEntry, Repository, Snapshot, Summary};
use store_client::{CheckpointStream, Operator, backup};

use super::progress;
use super::source::is_plain;
use crate::limits;

/// What was put into the repository.
pub(super) struct Received {
    pub(super) revision: i64,
    pub(super) compact_revision: i64,
    /// Counted of a snapshot, not of a checkpoint.
    pub(super) summary: Option<Summary>,
    pub(super) files: Vec<FileEntry>,
    /// Bytes that travelled.
    pub(super) transferred: u64,
}

/// A file that is written away from the async runtime.
struct Sink {
    path: PathBuf,
    file: Arc<File>,
}

impl Sink {
    fn create(path: PathBuf) -> anyhow::Result<Self> {
        let file =
            File::create(&path).with_context(|| format!("cannot create {}", path.display()))?;
        Ok(Self { path, file: Arc::new(file) })
    }

    async fn write(&self, data: impl AsRef<[u8]> + Send + 'static) -> anyhow::Result<()> {
        let file = Arc::clone(&self.file);
        let written = tokio::task::spawn_blocking(move || (&*file).write_all(data.as_ref())).await;
        let written = written.context("writing broke")?;
        written.with_context(|| format!("cannot write {}", self.path.display()))
    }
}

async fn aside<T: Send + 'static>(
    work: impl FnOnce() -> anyhow::Result<T> + Send + 'static,
) -> anyhow::Result<T> {
    tokio::task::spawn_blocking(work).await.context("a step broke")?
}

/// Takes etcd's snapshot, checks it whole, and stores it.
pub(super) async fn snapshot(
    member: &Operator,
    repository: &Arc<Repository>,
    scratch: &Path,
) -> anyhow::Result<Received> {
    let path = scratch.join("snapshot.db");
    let sink = Sink::create(path.clone())?;
    let mut stream = member.snapshot().await?;
    let mut bar = None;
    let mut bytes = 0;
    while let Some(piece) = stream.next().await? {
        bytes += piece.blob.len() as u64;
        let total = bytes + piece.remaining_bytes;
        sink.write(piece.blob).await?;
        bar.get_or_insert_with(|| progress("receiving", Some(total), true)).set_position(bytes);
    }
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    let repository = Arc::clone(repository);
    aside(move || {
        let bar = progress("checking", None, false);
        let summary = examine(&path).context("what was received is not sound, and not kept")?;
        bar.finish_and_clear();
        let (bytes, sha256) = store_backup::hash_file(&path)?;
        let file = FileEntry { name: "snapshot.db".to_owned(), bytes, sha256 };
        repository.add(&file, &path)?;
        Ok(Received {
            revision: summary.revision,
            compact_revision: summary.compact_revision,
            summary: Some(summary),
            files: vec![file],
            transferred: bytes,
        })
    })
    .await
}

fn examine(path: &Path) -> anyhow::Result<Summary> {
    Ok(store_backup::examine(&Snapshot::open(path, Digest::Required)?)?.1)
}

/// Takes the files of the member's state that the repository does not have; none when the member has
/// no such call, as a real etcd. `newest` is a revision that must be in it.
pub(super) async fn checkpoint(
    member: &Operator,
    repository: &Arc<Repository>,
    scratch: &Path,
    newest: i64,
) -> anyhow::Result<Option<Received>> {
    let deadline = tokio::time::Instant::now() + limits::CHECKPOINT_FRESH_DEADLINE;
    let (list, stream) = loop {
        let (list, stream) = match member.checkpoint().await? {
            Some(opened) => opened,
            None => return Ok(None),
        };
        let revision = list.header.as_ref().map_or(0, |header| header.revision);
        if revision >= newest {
            break (list, stream);
        }
        // Members share a checkpoint that another member asked for a moment ago.
        if tokio::time::Instant::now() > deadline {
            bail!("{} gives only revision {revision} of {newest}", member.endpoint());
        }
        tokio::time::sleep(limits::CHECKPOINT_ASK_AGAIN).await;
    };
    let files = list.files.iter().map(entry).collect::<anyhow::Result<Vec<_>>>()?;
    let asked = (Arc::clone(repository), files.clone());
    let wanted = aside(move || {
        let (repository, files) = asked;
        let mut wanted = Vec::new();
        for (number, file) in (0u32..).zip(&files) {
            if !repository.has(file)? {
                wanted.push(number);
            }
        }
        Ok(wanted)
    })
    .await?;
    stream.want(wanted.clone());
    let transferred = receive(stream, repository, (&files, &wanted), scratch).await?;
    Ok(Some(Received {
        revision: list.header.map_or(0, |header| header.revision),
        compact_revision: list.compact_revision,
        summary: None,
        files,
        transferred,
    }))
}

fn entry(listed: &backup::CheckpointFile) -> anyhow::Result<FileEntry> {
    if !is_plain(&listed.name) || listed.sha256.len() != 32 {
        bail!("the member lists a file {:?} that cannot be", listed.name);
    }
    let sha256 = listed.sha256.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(FileEntry { name: listed.name.clone(), bytes: listed.bytes, sha256 })
}

/// The files come one after the other, each from its first byte to its last.
async fn receive(
    mut stream: CheckpointStream,
    repository: &Arc<Repository>,
    (files, wanted): (&[FileEntry], &[u32]),
    scratch: &Path,
) -> anyhow::Result<u64> {
    let missing = wanted.iter().filter_map(|number| files.get(*number as usize));
    let total = missing.map(|file| file.bytes).sum();
    let bar = progress("receiving", Some(total), true);
    for number in wanted {
        let file = files.get(*number as usize).context("a file that was not listed")?;
        let path = scratch.join(&file.name);
        let sink = Sink::create(path.clone())?;
        let mut offset = 0;
        while offset < file.bytes {
            let chunk = stream.next().await?;
            let chunk = chunk.context("the member ended before all was sent")?;
            if (chunk.file, chunk.offset) != (*number, offset) {
                bail!("a piece of {} is out of place", file.name);
            }
            offset += chunk.data.len() as u64;
            bar.inc(chunk.data.len() as u64);
            sink.write(chunk.data).await?;
        }
        let (repository, file) = (Arc::clone(repository), file.clone());
        // It has the checksum that the member listed, or is not stored.
        aside(move || Ok(repository.add(&file, &path)?)).await?;
    }
    bar.finish_and_clear();
    Ok(total)
}
