//! What the simulated engine keeps in files: tables, a log of batches, and which of them count.
//!
//! `CURRENT` names a generation N; `N.sst` holds all families as of its beginning, and `N.log`, where
//! writes are logged, the batches since then. Whatever else lies there is left over from a crash. The
//! names are those of RocksDB where others look at them.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use crate::Error;
use crate::memory::batch::{self, Change};

pub(super) const CURRENT: &str = "CURRENT";
/// How many bytes there are, the number of the record, their checksum, the payload's checksum.
const RECORD_HEADER: usize = 16;
const HEAD: &[u8] = b"orlop simulated tables 1\n";

pub(super) type Map = BTreeMap<Bytes, Bytes>;

/// All families. A copy shares them until one of the two is changed.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Tables {
    pub(super) families: Vec<Arc<Map>>,
    /// How many changes were ever made.
    pub(super) sequence: u64,
    /// Of all keys and values.
    pub(super) bytes: usize,
    /// Families that are not what was written: why not. As in RocksDB, only who reads them finds out.
    pub(super) damaged: BTreeMap<u32, String>,
}

impl Tables {
    pub(super) fn new(families: usize) -> Self {
        Self { families: vec![Arc::default(); families], ..Self::default() }
    }

    /// None if these are not the bytes of a batch for these families.
    pub(super) fn apply(&mut self, bytes: &Bytes) -> Option<()> {
        for (family, change) in batch::changes(bytes)? {
            let map = Arc::make_mut(self.families.get_mut(family as usize)?);
            self.sequence += 1;
            match change {
                Change::Put(key, value) => {
                    // A slice would keep the whole batch in memory.
                    let (key, value) =
                        (Bytes::copy_from_slice(&key), Bytes::copy_from_slice(&value));
                    self.bytes += key.len() + value.len();
                    if let Some(old) = map.insert(key.clone(), value) {
                        self.bytes -= key.len() + old.len();
                    }
                }
                Change::Delete(key) => {
                    if let Some(old) = map.remove(&key) {
                        self.bytes -= key.len() + old.len();
                    }
                }
                Change::DeleteRange(from, to) => {
                    if from < to {
                        let range = (Bound::Included(from), Bound::Excluded(to));
                        let inside: Vec<Bytes> =
                            map.range(range).map(|(key, _)| key.clone()).collect();
                        for key in inside {
                            let old = map.remove(&key).map_or(0, |old| old.len());
                            self.bytes -= key.len() + old;
                        }
                    }
                }
            }
        }
        Some(())
    }

    /// A header, and then each family by itself, each with its checksum.
    pub(super) fn encode(&self) -> Vec<u8> {
        let bodies: Vec<Vec<u8>> = self.families.iter().map(|family| body(family)).collect();
        let mut out = HEAD.to_vec();
        out.extend(self.sequence.to_le_bytes());
        out.extend((bodies.len() as u64).to_le_bytes());
        for body in &bodies {
            out.extend((body.len() as u64).to_le_bytes());
        }
        out.extend(crc32c::crc32c(&out).to_le_bytes());
        for body in bodies {
            out.extend(crc32c::crc32c(&body).to_le_bytes());
            out.extend(body);
        }
        out
    }

    /// Why the bytes are not those of tables. Whether each family is whole, `damaged` says.
    pub(super) fn decode(path: &Path, bytes: &[u8]) -> Result<Self, Error> {
        let shown = path.display();
        let damaged = |why: &str| Error::damaged(format!("{shown} is damaged: {why}"));
        let mut rest = bytes.strip_prefix(HEAD).ok_or_else(|| damaged("its first line"))?;
        let header = || -> Option<(u64, Vec<usize>)> {
            let sequence = number(&mut rest)?;
            let count = number(&mut rest)?;
            let mut lengths = Vec::new();
            for _ in 0..count {
                lengths.push(usize::try_from(number(&mut rest)?).ok()?);
            }
            Some((sequence, lengths))
        }();
        let read = bytes.len() - rest.len();
        let (sequence, lengths) = header.ok_or_else(|| damaged("its header"))?;
        if checksum(&mut rest) != Some(crc32c::crc32c(&bytes[..read])) {
            return Err(damaged("its header"));
        }
        let mut tables = Self { sequence, ..Self::default() };
        for (family, length) in (0..).zip(lengths) {
            let sum = checksum(&mut rest).ok_or_else(|| damaged("its end is missing"))?;
            let (body, after) =
                rest.split_at_checked(length).ok_or_else(|| damaged("its end is missing"))?;
            rest = after;
            let map = family_of(body).filter(|_| crc32c::crc32c(body) == sum);
            if map.is_none() {
                let what = format!("{shown} is damaged: checksum mismatch in family {family}");
                tables.damaged.insert(family, what);
            }
            let map = map.unwrap_or_default();
            tables.bytes += map.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>();
            tables.families.push(Arc::new(map));
        }
        if rest.is_empty() { Ok(tables) } else { Err(damaged("it is too long")) }
    }

    /// E5: no answer out of a family that is not what was written.
    pub(super) fn whole(&self, family: u32) -> Result<(), Error> {
        self.damaged.get(&family).map_or(Ok(()), |what| Err(Error::damaged(what.clone())))
    }
}

fn body(family: &Map) -> Vec<u8> {
    let mut out = Vec::new();
    for part in family.iter().flat_map(|(key, value)| [key, value]) {
        out.extend((part.len() as u64).to_le_bytes());
        out.extend_from_slice(part);
    }
    out
}

fn family_of(mut body: &[u8]) -> Option<Map> {
    let mut map = Map::new();
    while !body.is_empty() {
        let (key, value) = (text(&mut body)?, text(&mut body)?);
        map.insert(key, value);
    }
    Some(map)
}

fn checksum(rest: &mut &[u8]) -> Option<u32> {
    let (sum, after) = rest.split_first_chunk::<4>()?;
    *rest = after;
    Some(u32::from_le_bytes(*sum))
}

fn number(rest: &mut &[u8]) -> Option<u64> {
    let (number, after) = rest.split_first_chunk::<8>()?;
    *rest = after;
    Some(u64::from_le_bytes(*number))
}

fn text(rest: &mut &[u8]) -> Option<Bytes> {
    let length = usize::try_from(number(rest)?).ok()?;
    let (text, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some(Bytes::copy_from_slice(text))
}

/// A batch as it stands in the log of a generation.
pub(super) fn record(generation: u64, number: u32, batch: &[u8]) -> Vec<u8> {
    let length = u32::try_from(batch.len()).expect("a batch is far smaller");
    let mut out = Vec::with_capacity(RECORD_HEADER + batch.len());
    out.extend(length.to_le_bytes());
    out.extend(number.to_le_bytes());
    out.extend(header_sum(generation, &out).to_le_bytes());
    out.extend(crc32c::crc32c(batch).to_le_bytes());
    out.extend_from_slice(batch);
    out
}

fn header_sum(generation: u64, header: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&generation.to_le_bytes()), header)
}

/// What the log of a generation holds.
pub(super) struct Scan {
    pub(super) batches: Vec<Bytes>,
    /// Where the last whole record ends: what follows is the beginning of one that was never synced.
    pub(super) end: usize,
}

/// The records of a log; where one begins that was whole and is not what was written, if there is one.
pub(super) fn scan(generation: u64, bytes: &[u8]) -> Result<Scan, usize> {
    let (mut batches, mut end) = (Vec::new(), 0);
    while let Some((header, rest)) = bytes[end..].split_first_chunk::<RECORD_HEADER>() {
        let field = |at: usize| {
            u32::from_le_bytes(header[at..at + 4].try_into().expect("the slice is four bytes long"))
        };
        let number = u32::try_from(batches.len()).expect("a log is far shorter");
        if field(8) != header_sum(generation, &header[..8]) || field(4) != number {
            return Err(end);
        }
        let length = field(0) as usize;
        // The header is as it was written: only the end of the file can be missing.
        let Some(batch) = rest.get(..length) else { break };
        if field(12) != crc32c::crc32c(batch) {
            return Err(end);
        }
        batches.push(Bytes::copy_from_slice(batch));
        end += RECORD_HEADER + length;
    }
    Ok(Scan { batches, end })
}

pub(super) fn tables_path(dir: &Path, generation: u64) -> PathBuf {
    dir.join(format!("{generation:06}.sst"))
}

pub(super) fn log_path(dir: &Path, generation: u64) -> PathBuf {
    dir.join(format!("{generation:06}.log"))
}

/// The generation that counts; none when there is no database yet.
pub(super) fn current(dir: &Path) -> Result<Option<u64>, Error> {
    let path = dir.join(CURRENT);
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::file(path.display().to_string())(error)),
    };
    let found = str::from_utf8(&bytes).ok().and_then(|text| {
        let (generation, sum) = text.strip_suffix('\n')?.split_once(' ')?;
        let sum = u32::from_str_radix(sum, 16).ok()?;
        (current_text(generation) == text && crc32c::crc32c(generation.as_bytes()) == sum)
            .then_some(generation.parse().ok()?)
    });
    let unreadable = || Error::damaged(format!("{}: names no generation", path.display()));
    found.map(Some).ok_or_else(unreadable)
}

fn current_text(generation: &str) -> String {
    format!("{generation} {:08x}\n", crc32c::crc32c(generation.as_bytes()))
}

/// Makes a generation the one that counts.
pub(super) fn point_at(dir: &Path, generation: u64) -> Result<(), Error> {
    let temporary = dir.join("CURRENT.tmp");
    write(&temporary, current_text(&generation.to_string()).as_bytes())?;
    let target = dir.join(CURRENT);
    fs::rename(&temporary, &target).map_err(Error::file(format!("replace {}", target.display())))
}

pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    fs::write(path, bytes).map_err(Error::file(format!("write {}", path.display())))
}

/// A file that must be there.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, Error> {
    match fs::read(path) {
        Ok(bytes) => Ok(bytes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(Error::damaged(format!("{} is missing", path.display())))
        }
        Err(error) => Err(Error::file(path.display().to_string())(error)),
    }
}

/// The tables of a generation.
pub(super) fn tables(dir: &Path, generation: u64) -> Result<Tables, Error> {
    let path = tables_path(dir, generation);
    Tables::decode(&path, &read(&path)?)
}

/// Removes what a crash left: files that the current generation does not name.
pub(super) fn clear(dir: &Path, generation: u64) -> Result<(), Error> {
    let failed = || format!("list {}", dir.display());
    let keep = [dir.join(CURRENT), tables_path(dir, generation), log_path(dir, generation)];
    for entry in fs::read_dir(dir).map_err(Error::file(failed()))? {
        let path = entry.map_err(Error::file(failed()))?.path();
        let ours = path.extension().is_some_and(|end| end == "sst" || end == "log" || end == "tmp");
        if ours && !keep.contains(&path) {
            fs::remove_file(&path).map_err(Error::file(format!("remove {}", path.display())))?;
        }
    }
    Ok(())
}
