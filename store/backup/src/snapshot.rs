//! A snapshot file: etcd's database, and at its end the SHA-256 of it.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use bytes::{Bytes, BytesMut};
use sha2::{Digest as _, Sha256};

use crate::bbolt::{self, Database, FileBytes, Layout};
use crate::error::{Error, Failure};
use crate::etcd::{Contents, Record, Records, State, read_records, read_state};
use crate::limits::{BUFFER_BYTES, CHUNK_BYTES};

/// Bytes of the checksum at the end.
const DIGEST_BYTES: u64 = 32;
/// A database's size is a multiple of this, so that the rest tells whether a checksum follows.
const SECTOR_BYTES: u64 = 512;

/// A snapshot whose size is known, and that is not written yet.
pub struct Plan<'a, R> {
    contents: Contents<'a, R>,
    layout: Layout,
}

impl<R> Plan<'_, R> {
    /// Bytes of the database, without the checksum.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.layout.bytes()
    }
}

/// Goes through the content once, to know how large it is.
///
/// # Errors
/// Those of the records.
pub fn plan<'a, R: Records<E>, E: Failure>(
    state: &State,
    records: &'a R,
) -> Result<Plan<'a, R>, E> {
    let contents = Contents::new(state, records);
    let layout = bbolt::measure::<E>(&contents)?;
    Ok(Plan { contents, layout })
}

/// Writes the snapshot in chunks of at most [`CHUNK_BYTES`]; `out` is also told how many bytes of the
/// database come after the chunk. The last chunk is the checksum.
///
/// # Errors
/// Those of the records and of `out`.
pub fn write<R: Records<E>, E: Failure>(
    plan: &Plan<'_, R>,
    out: &mut dyn FnMut(Bytes, u64) -> Result<(), E>,
) -> Result<(), E> {
    let mut digest = Sha256::new();
    let mut left = plan.bytes();
    let mut chunk = BytesMut::with_capacity(CHUNK_BYTES);
    let mut send = |chunk: Bytes| {
        digest.update(&chunk);
        left -= chunk.len() as u64;
        out(chunk, left)
    };
    bbolt::write::<E>(&plan.contents, &plan.layout, &mut |mut page| {
        while !page.is_empty() {
            let (now, later) = page.split_at(page.len().min(CHUNK_BYTES - chunk.len()));
            chunk.extend_from_slice(now);
            page = later;
            if chunk.len() == CHUNK_BYTES {
                send(chunk.split().freeze())?;
                chunk.reserve(CHUNK_BYTES);
            }
        }
        Ok(())
    })?;
    if !chunk.is_empty() {
        send(chunk.freeze())?;
    }
    out(Bytes::copy_from_slice(&digest.finalize()), 0)
}

/// What to do with the checksum at the end of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Digest {
    /// It must be there and be right.
    Required,
    /// It need not be there, as in a file copied from a data folder; when it is, it must be right.
    IfPresent,
}

/// An opened snapshot file.
#[derive(Debug)]
pub struct Snapshot {
    database: Database<FileBytes>,
    bytes: u64,
}

impl Snapshot {
    /// Opens the file and checks its checksum, for which all of it is read.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub fn open(path: &Path, digest: Digest) -> Result<Self, Error> {
        let mut file = File::open(path).map_err(Error::io("open", path))?;
        let bytes = file.metadata().map_err(Error::io("read", path))?.len();
        let has_digest = bytes % SECTOR_BYTES == DIGEST_BYTES;
        let length = if has_digest { bytes - DIGEST_BYTES } else { bytes };
        if has_digest {
            check_digest(&mut file, length, path)?;
        } else if digest == Digest::Required {
            let problem = "it has no checksum at its end, as a snapshot has; a file copied from a \
                           data folder needs --skip-hash-check";
            return Err(Error::NotDatabase(problem.to_owned()));
        }
        Ok(Self { database: Database::open(FileBytes::new(file, length))?, bytes })
    }

    /// Bytes of the file.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Everything but the records.
    ///
    /// # Errors
    /// What is damaged.
    pub fn state(&self) -> Result<State, Error> {
        read_state(&self.database)
    }

    /// Calls `each` with every record, in order.
    ///
    /// # Errors
    /// What is damaged, and those of `each`.
    pub fn records<E: Failure>(
        &self,
        each: &mut dyn FnMut(Record<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        read_records(&self.database, each)
    }
}

fn check_digest(file: &mut File, length: u64, path: &Path) -> Result<(), Error> {
    let mut digest = Sha256::new();
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut body = (&*file).take(length);
    loop {
        match body.read(&mut buffer).map_err(Error::io("read", path))? {
            0 => break,
            count => digest.update(&buffer[..count]),
        }
    }
    let mut expected = [0; DIGEST_BYTES as usize];
    file.read_exact(&mut expected).map_err(Error::io("read", path))?;
    let found = digest.finalize();
    if found.as_slice() != expected {
        return Err(Error::Digest { expected: hex(&expected), found: hex(&found) });
    }
    Ok(())
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string has room");
        text
    })
}
