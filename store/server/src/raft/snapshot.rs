//! A checkpoint of the state as files: made on demand, sent file by file, and removed after use.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, Read, Write},
    path::{Path, PathBuf},
    time::Instant,
};

use proto::orlop::peer::v1 as peer;

use crate::{limits, metrics::Histogram};

/// A directory of snapshot files, removed when the last user drops it.
#[derive(Debug)]
pub(crate) struct Checkpoint {
    path: PathBuf,
}

impl Checkpoint {
    /// Takes over a directory.
    #[must_use]
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// The directory.
    #[must_use]
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Checkpoint {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.path)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(path = %self.path.display(), %error, "cannot remove a checkpoint");
        }
    }
}

/// The files of a checkpoint with their sizes and checksums, in a fixed order.
pub(crate) fn manifest(dir: &Path) -> io::Result<Vec<peer::SnapshotFile>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if !entry.file_type()?.is_file() {
            continue;
        }
        let mut file = File::open(entry.path())?;
        let (mut size, mut sum) = (0, 0);
        let mut buffer = vec![0; limits::SNAPSHOT_CHUNK_BYTES];
        loop {
            let count = file.read(&mut buffer)?;
            if count == 0 {
                break;
            }
            size += count as u64;
            sum = crc32c::crc32c_append(sum, &buffer[..count]);
        }
        let name = entry.file_name().to_string_lossy().into_owned();
        files.push(peer::SnapshotFile { name, size, crc32c: sum });
    }
    files.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(files)
}

/// Reads a checkpoint's files as chunks, until `send` says that nobody listens any more.
pub(crate) fn read_chunks(
    dir: &Path,
    files: &[peer::SnapshotFile],
    mut send: impl FnMut(peer::SnapshotChunk) -> bool,
) -> io::Result<()> {
    for (number, listed) in (0u32..).zip(files) {
        let mut file = File::open(dir.join(&listed.name))?;
        let mut offset = 0;
        loop {
            let mut buffer = vec![0; limits::SNAPSHOT_CHUNK_BYTES];
            let count = file.read(&mut buffer)?;
            if count == 0 {
                break;
            }
            buffer.truncate(count);
            if !send(peer::SnapshotChunk { file: number, offset, data: buffer.into() }) {
                return Ok(());
            }
            offset += count as u64;
        }
    }
    Ok(())
}

/// Receives the chunks of one snapshot into a directory.
pub(crate) struct Receiver {
    checkpoint: Checkpoint,
    files: Vec<peer::SnapshotFile>,
    at: usize,
    offset: u64,
    sum: u32,
    open: Option<File>,
    /// Told how long it took until a file was on disk.
    pub(crate) fsyncs: Option<Histogram>,
}

fn bad(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.into())
}

impl Receiver {
    pub(crate) fn new(dir: PathBuf, files: Vec<peer::SnapshotFile>) -> io::Result<Self> {
        // A name comes from the network: it must not lead out of the directory.
        if let Some(file) = files.iter().find(|f| f.name.contains('/') || f.name.starts_with(".."))
        {
            return Err(bad(format!("snapshot file name {:?} is not allowed", file.name)));
        }
        // The second one of a name would replace the first.
        let names: BTreeSet<&str> = files.iter().map(|file| file.name.as_str()).collect();
        if names.len() < files.len() {
            return Err(bad("a snapshot lists a file twice"));
        }
        fs::create_dir_all(&dir)?;
        let checkpoint = Checkpoint::new(dir);
        Ok(Self { checkpoint, files, at: 0, offset: 0, sum: 0, open: None, fsyncs: None })
    }

    pub(crate) fn write(&mut self, chunk: &peer::SnapshotChunk) -> io::Result<()> {
        while self.at < chunk.file as usize {
            self.finish_file()?;
        }
        let expected = (self.at as u64, self.offset);
        if (u64::from(chunk.file), chunk.offset) != expected || self.at >= self.files.len() {
            return Err(bad("a snapshot chunk is out of order"));
        }
        if self.open.is_none() {
            let path = self.checkpoint.path().join(&self.files[self.at].name);
            self.open = Some(File::create(path)?);
        }
        if let Some(file) = &mut self.open {
            file.write_all(&chunk.data)?;
        }
        self.offset += chunk.data.len() as u64;
        self.sum = crc32c::crc32c_append(self.sum, &chunk.data);
        Ok(())
    }

    fn finish_file(&mut self) -> io::Result<()> {
        let listed = self.files.get(self.at).ok_or_else(|| bad("more files than listed"))?;
        let file = match self.open.take() {
            Some(file) => file,
            None => File::create(self.checkpoint.path().join(&listed.name))?,
        };
        let began = Instant::now();
        store_engine::before_sync(self.checkpoint.path())?;
        file.sync_all()?;
        if let Some(fsyncs) = &self.fsyncs {
            fsyncs.observe(began.elapsed());
        }
        if (self.offset, self.sum) != (listed.size, listed.crc32c) {
            return Err(bad(format!("snapshot file {:?} arrived damaged", listed.name)));
        }
        (self.at, self.offset, self.sum) = (self.at + 1, 0, 0);
        Ok(())
    }

    /// Checks that every file arrived whole, and makes them durable.
    pub(crate) fn finish(mut self) -> io::Result<Checkpoint> {
        while self.at < self.files.len() {
            self.finish_file()?;
        }
        store_engine::before_sync(self.checkpoint.path())?;
        File::open(self.checkpoint.path())?.sync_all()?;
        Ok(self.checkpoint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damaged_files_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let from = dir.path().join("from");
        fs::create_dir(&from).unwrap();
        fs::write(from.join("a"), vec![7; 3 << 20]).unwrap();
        fs::write(from.join("empty"), b"").unwrap();
        let files = manifest(&from).unwrap();

        let mut whole = Receiver::new(dir.path().join("whole"), files.clone()).unwrap();
        read_chunks(&from, &files, |chunk| whole.write(&chunk).is_ok()).unwrap();
        let whole = whole.finish().unwrap();
        assert_eq!(manifest(whole.path()).unwrap(), files);

        let mut torn = Receiver::new(dir.path().join("torn"), files.clone()).unwrap();
        read_chunks(&from, &files, |chunk| {
            let mut data = chunk.data.to_vec();
            data[0] ^= 1;
            torn.write(&peer::SnapshotChunk { data: data.into(), ..chunk }).is_ok()
        })
        .unwrap();
        assert!(torn.finish().is_err());
    }
}
