//! Looks at the write-ahead files of the raft log before RocksDB opens them: what was never synced is
//! cut off, and anything else that is wrong stops the member.
//!
//! RocksDB replays such files up to the first record that it cannot read, whatever follows. After a
//! power loss that is right: the last write was torn. But a bit that flipped further up would silently
//! take all later entries away, and these were acknowledged.
//!
//! | Rule | What always holds |
//! |------|-------------------|
//! | W1 | A record is written when the one before it was synced: whatever a record follows was durable. |
//! | W2 | Only what follows the last readable record of the newest file is ever cut off. |
//! | W3 | A record that a single bit makes readable was not torn. |

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use store_planted::{self as planted, Bug};

const BLOCK: usize = 32 << 10;
/// Checksum, length, type.
const HEADER: usize = 7;
/// And, since files are used again, the number of the file that the record belongs to.
const NUMBERED_HEADER: usize = 11;
/// The sequence number of a batch's first record, and how many there are.
const BATCH_HEADER: usize = 12;
/// Names the number of a file that must be there, or a later one.
const NEWEST: &str = "NEWEST";

const FULL: u8 = 1;
const FIRST: u8 = 2;
const MIDDLE: u8 = 3;
const LAST: u8 = 4;
/// The types above, in files that are used again.
const NUMBERED: u8 = 4;

/// A record's part within one block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Fragment {
    /// One of `FULL` to `LAST`; none for what RocksDB writes for itself.
    kind: Option<u8>,
    /// Its first payload byte, and the byte after its last, in the file.
    payload: (usize, usize),
}

/// Why there is no fragment at an offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Nothing {
    /// The file ends here, or what follows was never written: zeros, or an earlier use of the file.
    End,
    /// Bytes that mean nothing.
    Bad,
}

fn unmasked(stored: u32) -> u32 {
    stored.wrapping_sub(0xa282_ead8).rotate_left(15)
}

fn read_u32(bytes: &[u8]) -> u32 {
    u32::from_le_bytes(bytes[..4].try_into().expect("the slice is four bytes long"))
}

/// The fragment at `at`. Bytes beyond the block do not belong to it.
fn fragment(file: &[u8], at: usize, number: u32) -> Result<Fragment, Nothing> {
    let block_end = (at / BLOCK + 1) * BLOCK;
    let rest = &file[at.min(file.len())..block_end.min(file.len())];
    let fragment = parse(rest, number)?;
    Ok(Fragment { payload: (at + fragment.payload.0, at + fragment.payload.1), ..fragment })
}

fn parse(rest: &[u8], number: u32) -> Result<Fragment, Nothing> {
    if rest.len() < HEADER {
        return Err(if rest.iter().all(|byte| *byte == 0) { Nothing::End } else { Nothing::Bad });
    }
    let length = usize::from(u16::from_le_bytes([rest[4], rest[5]]));
    let kind = rest[6];
    let (kind, numbered) = match kind {
        0 if length == 0 => return Err(Nothing::End),
        FULL..=LAST => (Some(kind), false),
        5..=8 => (Some(kind - NUMBERED), true),
        9 | 10 | 130 => (None, false),
        11 | 131 => (None, true),
        _ => return Err(Nothing::Bad),
    };
    let header = if numbered { NUMBERED_HEADER } else { HEADER };
    let end = header + length;
    if rest.len() < end {
        return Err(Nothing::Bad);
    }
    let sum = crc32c::crc32c_append(crc32c::crc32c(&rest[6..7]), &rest[HEADER..end]);
    if sum != unmasked(read_u32(rest)) {
        return Err(Nothing::Bad);
    }
    if numbered && read_u32(&rest[HEADER..]) != number {
        return Err(Nothing::End);
    }
    Ok(Fragment { kind, payload: (header, end) })
}

/// What a file holds.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Scan {
    /// The sequence number after the last record's; zero when there is none.
    pub(crate) next_sequence: u64,
    /// Where the last whole record ends.
    pub(crate) end: usize,
    /// What follows it.
    pub(crate) tail: Tail,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Tail {
    /// Nothing.
    Clean,
    /// Bytes that mean nothing: a write that was never synced, or what the file held before.
    Leftover,
    /// The beginning of a write that was never synced.
    Torn,
    /// What was synced, and can no longer be read.
    Damaged,
}

pub(crate) fn scan(file: &[u8], number: u32) -> Scan {
    let (mut at, mut end, mut next_sequence) = (0, 0, 0);
    // The first bytes of the record that was begun: they may lie in more than one part of it.
    let mut begun: Option<Vec<u8>> = None;
    let stopped = loop {
        // Too little for a header is filled with zeros; which header, the record before says.
        let left = BLOCK - at % BLOCK;
        if left < HEADER || (left < NUMBERED_HEADER && at < file.len() && parse_end(file, at)) {
            at += left;
        }
        let found = match fragment(file, at, number) {
            Ok(found) => found,
            Err(nothing) => break nothing,
        };
        let payload = &file[found.payload.0..found.payload.1];
        match (found.kind, &mut begun) {
            (Some(FULL | FIRST), None) => begun = Some(head(payload, 0)),
            (Some(MIDDLE | LAST), Some(begun)) => begun.extend(head(payload, begun.len())),
            (None, None) => {}
            // A part is missing, though both its neighbours can be read.
            (Some(_), _) | (None, Some(_)) => {
                return Scan { next_sequence, end, tail: Tail::Damaged };
            }
        }
        at = found.payload.1;
        if matches!(found.kind, Some(FULL | LAST))
            && let Some(head) = begun.take()
        {
            if head.len() < BATCH_HEADER {
                return Scan { next_sequence, end, tail: Tail::Damaged };
            }
            let sequence = head[..8].try_into().expect("the slice is eight bytes long");
            let count = u64::from(read_u32(&head[8..]));
            next_sequence = u64::from_le_bytes(sequence).saturating_add(count);
        }
        if begun.is_none() {
            end = at;
        }
    };
    let tail = if at >= file.len() && begun.is_none() {
        Tail::Clean
    } else if record_after(file, at, number) || one_bit_off(file, at, number) {
        Tail::Damaged
    } else if stopped == Nothing::End && begun.is_none() {
        Tail::Clean
    } else if begun.is_none() {
        Tail::Leftover
    } else {
        Tail::Torn
    };
    Scan { next_sequence, end, tail }
}

/// What is still missing of a batch's header, of which `have` bytes are known.
fn head(payload: &[u8], have: usize) -> Vec<u8> {
    payload[..payload.len().min(BATCH_HEADER - have)].to_vec()
}

/// Whether the few bytes before the end of a block are filling.
fn parse_end(file: &[u8], at: usize) -> bool {
    let end = ((at / BLOCK + 1) * BLOCK).min(file.len());
    file[at..end].iter().all(|byte| *byte == 0)
}

/// W1: whether a record of this file begins somewhere behind `at`.
fn record_after(file: &[u8], at: usize, number: u32) -> bool {
    let begins = |at: usize| {
        matches!(fragment(file, at, number), Ok(Fragment { kind: Some(FULL | FIRST), .. }))
    };
    let next_block = (at / BLOCK + 1) * BLOCK;
    // Where the next record of this block begins is not known for sure. Its number is, in files that
    // have them; in others its type.
    let near = (at + 1..next_block.min(file.len().saturating_sub(HEADER))).any(|at| {
        let kind = file[at + 6];
        (kind == FULL || kind == FIRST || kind == FULL + NUMBERED || kind == FIRST + NUMBERED)
            && begins(at)
    });
    near || (next_block..file.len()).step_by(BLOCK).any(|block| {
        let mut at = block;
        while let Ok(found) = fragment(file, at, number) {
            if matches!(found.kind, Some(FULL | FIRST)) {
                return true;
            }
            at = found.payload.1;
            if at % BLOCK == 0 {
                return false;
            }
        }
        false
    })
}

/// W3: whether a fragment of this file could be read at `at` if one bit were another.
fn one_bit_off(file: &[u8], at: usize, number: u32) -> bool {
    let block_end = (at / BLOCK + 1) * BLOCK;
    let rest = &file[at.min(file.len())..block_end.min(file.len())];
    if rest.len() < HEADER || rest.iter().all(|byte| *byte == 0) {
        return false;
    }
    // The length, the type, the number: whatever is read next depends on them.
    let mut changed = rest.to_vec();
    for bit in 0..8 * NUMBERED_HEADER.min(rest.len()) {
        changed[bit / 8] ^= 1 << (bit % 8);
        if parse(&changed, number).is_ok_and(|found| found.payload.0 < found.payload.1) {
            return true;
        }
        changed[bit / 8] ^= 1 << (bit % 8);
    }
    // The payload: a flipped bit changes the checksum by a value that depends on its place alone.
    let length = usize::from(u16::from_le_bytes([rest[4], rest[5]]));
    let numbered = matches!(rest[6], 5..=8);
    let header = if numbered { NUMBERED_HEADER } else { HEADER };
    let end = header + length;
    if !matches!(rest[6], FULL..=8) || rest.len() < end {
        return false;
    }
    if numbered && read_u32(&rest[HEADER..]) != number {
        return false;
    }
    let sum = crc32c::crc32c_append(crc32c::crc32c(&rest[6..7]), &rest[HEADER..end]);
    let wanted = sum ^ unmasked(read_u32(rest));
    let mut effect = 1_u32;
    (0..8 * length).any(|_| {
        effect = (effect >> 1) ^ if effect & 1 == 1 { 0x82f6_3b78 } else { 0 };
        effect == wanted
    })
}

fn failed(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

fn damaged(path: &Path, why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{} {why}", path.display()))
}

/// The write-ahead files in `dir`, by number.
fn files(dir: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(|error| failed(dir, &error))? {
        let path = entry?.path();
        if path.extension().is_some_and(|end| end == "log")
            && let Some(number) = path.file_stem().and_then(|stem| stem.to_str()?.parse().ok())
        {
            found.push((number, path));
        }
    }
    found.sort();
    Ok(found)
}

/// Makes the files fit to be opened: cuts off what was never synced. Answers the sequence number that
/// RocksDB must have reached when it has opened them.
///
/// # Errors
/// `InvalidData`, with the name of the file, for what was synced and is not readable any more; else
/// what the file system says.
pub(crate) fn prepare(dir: &Path) -> io::Result<u64> {
    let files = files(dir)?;
    let newest = files.last().map_or(0, |(number, _)| *number);
    let known = match fs::read_to_string(dir.join(NEWEST)) {
        Ok(text) => text.trim().parse().unwrap_or(u64::MAX),
        Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
        Err(error) => return Err(failed(&dir.join(NEWEST), &error)),
    };
    if newest < known || files.is_empty() {
        let name = if known == u64::MAX { NEWEST.to_owned() } else { format!("{known:06}.log") };
        return Err(damaged(&dir.join(name), "or what came after it is missing or unreadable"));
    }
    let mut reached = 0;
    for (number, path) in files {
        let bytes = fs::read(&path).map_err(|error| failed(&path, &error))?;
        // As RocksDB: the lower half of the number is written.
        let number_low = u32::try_from(number & u64::from(u32::MAX)).expect("it was masked");
        let Scan { next_sequence, end, mut tail } = scan(&bytes, number_low);
        if tail == Tail::Damaged && planted::is(Bug::LogCutAtFlip) {
            tail = Tail::Torn;
        }
        drop(bytes);
        match tail {
            Tail::Clean => {}
            // W2: earlier files were complete before the next one was begun.
            Tail::Leftover if number != newest => {}
            Tail::Leftover | Tail::Torn if number == newest => {
                let file = File::options().write(true).open(&path);
                let cut = file.and_then(|file| file.set_len(end as u64).and(file.sync_all()));
                cut.map_err(|error| failed(&path, &error))?;
                let path = path.display();
                tracing::warn!(%path, end, "cut off what the last write left unfinished");
            }
            Tail::Leftover | Tail::Torn | Tail::Damaged => {
                let why = format!("is damaged at byte {end}: what follows was acknowledged");
                return Err(damaged(&path, &why));
            }
        }
        reached = reached.max(next_sequence.saturating_sub(1));
    }
    Ok(reached)
}

/// Makes every later start refuse: RocksDB could not replay all, and has forgotten the rest by now.
pub(super) fn condemn(dir: &Path) -> io::Result<()> {
    fs::write(dir.join(NEWEST), "lost")?;
    File::open(dir.join(NEWEST))?.sync_all()
}

/// Remembers the newest file that is there now, durably.
pub(super) fn remember(dir: &Path) -> io::Result<()> {
    let newest = files(dir)?.last().map_or(0, |(number, _)| *number);
    let temporary = dir.join("NEWEST.tmp");
    fs::write(&temporary, newest.to_string())?;
    File::open(&temporary)?.sync_all()?;
    fs::rename(&temporary, dir.join(NEWEST))?;
    File::open(dir)?.sync_all()
}

#[cfg(test)]
#[path = "wal_test.rs"]
mod wal_test;
