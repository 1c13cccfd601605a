//! `Backup.Checkpoint`: the files of this member's state as of one revision. Most of them were in the
//! backup before, and need not be sent again.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Read as _},
    os::unix::fs::{FileExt as _, MetadataExt as _},
    path::Path,
    sync::Arc,
};

use parking_lot::Mutex;
use proto::orlop::backup::v1::{
    CheckpointChunk, CheckpointFile, CheckpointList, CheckpointRequest, CheckpointResponse,
    backup_server::Backup, checkpoint_request::Part as Asked, checkpoint_response::Part,
};
use sha2::{Digest as _, Sha256};
use tokio::{sync::mpsc, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::{Services, snapshot::IN_FLIGHT};
use crate::{error::Error, limits, raft::Checkpoint};

/// A file that has not changed: which one it is on the disk, its length, and when it was written.
type Unchanged = (u64, u64, i64, i64);

/// Checksums of files that were listed before. RocksDB never changes a file that is part of a
/// checkpoint, except its small ones, which show it by length and time.
static KNOWN: Mutex<BTreeMap<Unchanged, [u8; 32]>> = Mutex::new(BTreeMap::new());

fn checksum(file: &File) -> io::Result<(u64, [u8; 32])> {
    let about = file.metadata()?;
    let identity = (about.ino(), about.len(), about.mtime(), about.mtime_nsec());
    if let Some(known) = KNOWN.lock().get(&identity) {
        return Ok((about.len(), *known));
    }
    let mut digest = Sha256::new();
    let mut buffer = vec![0; limits::SNAPSHOT_CHUNK_BYTES];
    let mut reader = file;
    loop {
        match reader.read(&mut buffer)? {
            0 => break,
            count => digest.update(&buffer[..count]),
        }
    }
    let sum: [u8; 32] = digest.finalize().into();
    let mut known = KNOWN.lock();
    if known.len() >= limits::CHECKSUMS_KNOWN_MAX {
        known.clear();
    }
    known.insert(identity, sum);
    Ok((about.len(), sum))
}

/// The files of a checkpoint by name.
fn list(dir: &Path) -> io::Result<Vec<CheckpointFile>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            let (bytes, sha256) = checksum(&File::open(entry.path())?)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            files.push(CheckpointFile { name, bytes, sha256: sha256.to_vec().into() });
        }
    }
    files.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(files)
}

/// Off the async runtime: reading disks takes its time.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, Status> {
    let done = crate::exec::blocking(work).await;
    done.map_err(|error| Status::internal(error.to_string()))?
        .map_err(|error| Status::internal(format!("reading a checkpoint: {error}")))
}

type Answers = mpsc::Sender<Result<CheckpointResponse, Status>>;

async fn send(answers: &Answers, part: Part) -> Result<(), Status> {
    let response = CheckpointResponse { part: Some(part) };
    timeout(limits::SNAPSHOT_STALL_TIMEOUT, answers.send(Ok(response)))
        .await
        .map_err(|_| Status::deadline_exceeded("nothing was taken for too long"))?
        .map_err(|_| Status::cancelled("nobody listens"))
}

impl Services {
    async fn serve_checkpoint(
        &self,
        mut asked: Streaming<CheckpointRequest>,
        answers: &Answers,
    ) -> Result<(), Status> {
        let snapshot = self.raft.get_snapshot().await;
        let snapshot = snapshot.map_err(|error| Status::unavailable(error.to_string()))?;
        let nothing = || Status::failed_precondition("nothing was written yet");
        let checkpoint: Arc<Checkpoint> = snapshot.ok_or_else(nothing)?.snapshot;
        let listed = Arc::clone(&checkpoint);
        let (files, about) = blocking(move || {
            let about = store_state_machine::revisions(listed.path()).map_err(io::Error::other)?;
            Ok((list(listed.path())?, about))
        })
        .await?;
        let header = Some(self.headers.at(about.revision));
        let compact_revision = about.compacted;
        let listing = CheckpointList { header, compact_revision, files: files.clone() };
        send(answers, Part::List(listing)).await?;

        let wanted = loop {
            let message = timeout(limits::SNAPSHOT_STALL_TIMEOUT, asked.message()).await;
            let message =
                message.map_err(|_| Status::deadline_exceeded("no files were named"))??;
            match message.and_then(|message| message.part) {
                Some(Asked::Open(_)) => {}
                Some(Asked::Wanted(wanted)) => break wanted.files,
                None => return Ok(()),
            }
        };
        for number in wanted {
            let file = usize::try_from(number).ok().and_then(|index| files.get(index));
            let file = file.ok_or_else(|| Status::invalid_argument("no such file"))?;
            self.send_file(&checkpoint, (number, file), answers).await?;
        }
        Ok(())
    }

    async fn send_file(
        &self,
        checkpoint: &Arc<Checkpoint>,
        (number, file): (u32, &CheckpointFile),
        answers: &Answers,
    ) -> Result<(), Status> {
        let mut offset = 0;
        while offset < file.bytes {
            if self.stopping.is_cancelled() {
                return Err(Error::Stopped.into());
            }
            let path = checkpoint.path().join(&file.name);
            let left = file.bytes - offset;
            let length = left.min(limits::SNAPSHOT_CHUNK_BYTES as u64);
            let data = blocking(move || {
                let mut data = vec![0; usize::try_from(length).map_err(io::Error::other)?];
                File::open(path)?.read_exact_at(&mut data, offset)?;
                Ok(data)
            })
            .await?;
            let chunk = CheckpointChunk { file: number, offset, data: data.into() };
            send(answers, Part::Chunk(chunk)).await?;
            offset += length;
        }
        Ok(())
    }
}

#[tonic::async_trait]
impl Backup for Services {
    type CheckpointStream = ReceiverStream<Result<CheckpointResponse, Status>>;

    async fn checkpoint(
        &self,
        request: Request<Streaming<CheckpointRequest>>,
    ) -> Result<Response<Self::CheckpointStream>, Status> {
        let asked = self.only_root(request).await?;
        self.fence.check()?;
        let permit = IN_FLIGHT.try_acquire().map_err(|_| Error::TooManyRequests)?;
        let (answers, receiver) = mpsc::channel(limits::SNAPSHOT_QUEUE_CHUNKS);
        let services = self.clone();
        tokio::spawn(async move {
            let _permit = permit;
            if let Err(status) = services.serve_checkpoint(asked, &answers).await {
                tracing::warn!(%status, "a checkpoint was not sent to its end");
                // The end of the stream must not look like the end of the files.
                drop(answers.try_send(Err(status)));
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}
