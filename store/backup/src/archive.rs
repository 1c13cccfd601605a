//! What was written between backups: whole revisions in order, with the time at which each was seen.
//!
//! A segment is a file: a magic line, then steps, each with its length (4 bytes, little-endian) before
//! it, then the SHA-256 of all before it. Segments are named by the cluster, the revision that they
//! follow, and their last one: together they are a chain that starts at a backup.

use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use prost::Message;
use proto::mvccpb::Event;
use proto::orlop::store::v1::LeaseRecord;
use sha2::{Digest as _, Sha256};

use crate::error::Error;
use crate::limits::SEGMENT_BYTES_MAX;
use crate::snapshot::hex;

const MAGIC: &[u8] = b"orlop-archive-1\n";
const DIGEST_BYTES: usize = 32;

/// One revision of the store.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Step {
    /// The revision that was written.
    #[prost(int64, tag = "1")]
    pub revision: i64,
    /// When the archiver saw it: milliseconds since 1970.
    #[prost(int64, tag = "2")]
    pub at_ms: i64,
    /// What was written, in order.
    #[prost(message, repeated, tag = "3")]
    pub events: Vec<Event>,
    /// Leases that appear here for the first time in this run of the archiver.
    #[prost(message, repeated, tag = "4")]
    pub leases: Vec<LeaseRecord>,
}

/// A segment in the making.
pub struct SegmentWriter {
    bytes: Vec<u8>,
    after: i64,
    last: i64,
}

impl SegmentWriter {
    /// An empty segment that follows the revision `after`.
    #[must_use]
    pub fn new(after: i64) -> Self {
        Self { bytes: MAGIC.to_vec(), after, last: after }
    }

    /// Adds the next revision.
    ///
    /// # Errors
    /// When it is not the next one: what lies between would be lost.
    pub fn push(&mut self, step: &Step) -> Result<(), Error> {
        if step.revision != self.last + 1 {
            let (found, expected) = (step.revision, self.last + 1);
            let problem = format!("revision {found} came where {expected} must come");
            return Err(Error::Repository(problem));
        }
        self.last = step.revision;
        let length = u32::try_from(step.encoded_len()).map_err(|_| {
            Error::Repository(format!("revision {} is too large to archive", step.revision))
        })?;
        self.bytes.extend(length.to_le_bytes());
        step.encode(&mut self.bytes).expect("a vector has room");
        Ok(())
    }

    /// Bytes so far.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// The revision that it follows, and its last one; equal while it is empty.
    #[must_use]
    pub fn range(&self) -> (i64, i64) {
        (self.after, self.last)
    }

    /// Writes it to `path`.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn save(mut self, path: &Path) -> Result<(), Error> {
        let digest = Sha256::digest(&self.bytes);
        self.bytes.extend_from_slice(&digest);
        fs::write(path, &self.bytes).map_err(Error::io("write", path))
    }
}

/// Reads a segment whole.
///
/// # Errors
/// What is damaged.
pub fn read_segment(path: &Path) -> Result<Vec<Step>, Error> {
    let bad = |problem: &str| Error::Repository(format!("{}: {problem}", path.display()));
    let length = fs::metadata(path).map_err(Error::io("read", path))?.len();
    if length > SEGMENT_BYTES_MAX {
        return Err(bad("it is too large for a segment"));
    }
    let bytes = fs::read(path).map_err(Error::io("read", path))?;
    decode_segment(&path.display().to_string(), &bytes)
}

/// Decodes the bytes of a segment; `name` is for the error.
///
/// # Errors
/// What is damaged.
pub fn decode_segment(name: &str, bytes: &[u8]) -> Result<Vec<Step>, Error> {
    let bad = |problem: &str| Error::Repository(format!("{name}: {problem}"));
    let body = bytes.len().checked_sub(DIGEST_BYTES).ok_or_else(|| bad("it is too short"))?;
    let (body, expected) = bytes.split_at(body);
    let found = Sha256::digest(body);
    if found.as_slice() != expected {
        return Err(Error::Digest { expected: hex(expected), found: hex(&found) });
    }
    let mut rest = body.strip_prefix(MAGIC).ok_or_else(|| bad("it is no segment"))?;
    let mut steps = Vec::new();
    while let Some((length, after)) = rest.split_first_chunk::<4>() {
        let length = usize::try_from(u32::from_le_bytes(*length)).map_err(|_| bad("a length"))?;
        let (step, after) = after.split_at_checked(length).ok_or_else(|| bad("it is torn"))?;
        let step = Step::decode(Bytes::copy_from_slice(step));
        steps.push(step.map_err(|error| bad(&error.to_string()))?);
        rest = after;
    }
    if rest.is_empty() { Ok(steps) } else { Err(bad("it is torn")) }
}

/// A segment in a repository.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Segment {
    /// The revision that it follows.
    pub after: i64,
    /// Its last revision.
    pub last: i64,
    /// Its object.
    pub name: String,
}

impl Segment {
    pub(crate) fn folder(cluster_id: &str) -> String {
        format!("archive/{cluster_id}/")
    }

    pub(crate) fn named(cluster_id: &str, (after, last): (i64, i64)) -> Self {
        // Padded, so that names sort as revisions do.
        let name = format!("{}{after:020}-{last:020}", Self::folder(cluster_id));
        Self { after, last, name }
    }

    /// The segment that an object with this name is; none when it is no segment.
    #[must_use]
    pub fn from_name(name: String) -> Option<Self> {
        let (after, last) = name.rsplit('/').next()?.split_once('-')?;
        Some(Self { after: after.parse().ok()?, last: last.parse().ok()?, name })
    }
}

/// The segments that lead on from `revision` without a gap, in order.
#[must_use]
pub fn chain(mut segments: Vec<Segment>, revision: i64) -> Vec<Segment> {
    segments.sort();
    let mut at = revision;
    let mut chosen = Vec::new();
    for segment in segments {
        // Two archivers may have seen the same revisions.
        if segment.after <= at && segment.last > at {
            at = segment.last;
            chosen.push(segment);
        }
    }
    chosen
}

/// How far to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// Up to this revision, which must be there.
    Revision(i64),
    /// Up to what was seen at this time: milliseconds since 1970.
    TimeMs(i64),
}

impl Until {
    /// A time as RFC 3339 has it, such as `2026-11-21T10:00:00Z`.
    ///
    /// # Errors
    /// When it is no time.
    pub fn time(text: &str) -> Result<Self, Error> {
        let time: jiff::Timestamp = text.parse().map_err(|error| {
            Error::Repository(format!("{text:?} is no time such as 2026-11-21T10:00:00Z: {error}"))
        })?;
        Ok(Self::TimeMs(time.as_millisecond()))
    }
}

/// Calls `each` with the steps that follow `revision`, as far as `until`. Answers the last revision.
///
/// # Errors
/// When a segment is damaged, a revision is missing, or the one asked for is not there; and those of
/// `each`.
pub fn replay<E: From<Error>>(
    segments: &[PathBuf],
    revision: i64,
    until: Until,
    each: &mut dyn FnMut(Step) -> Result<(), E>,
) -> Result<i64, E> {
    let mut at = revision;
    let goes_on = |at: i64| !matches!(until, Until::Revision(last) if at >= last);
    'segments: for path in segments {
        for step in read_segment(path)? {
            if step.revision <= at {
                continue;
            }
            if !goes_on(at) || matches!(until, Until::TimeMs(last) if step.at_ms > last) {
                break 'segments;
            }
            if step.revision != at + 1 {
                let problem = format!("revision {} is missing in the archive", at + 1);
                return Err(Error::Repository(problem).into());
            }
            at = step.revision;
            each(step)?;
        }
    }
    if let Until::Revision(last) = until
        && at != last
    {
        let problem = format!("the archive goes to revision {at}, not to {last}");
        return Err(Error::Repository(problem).into());
    }
    Ok(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(revision: i64) -> Step {
        Step { revision, at_ms: revision * 10, ..Step::default() }
    }

    fn saved(dir: &Path, after: i64, last: i64) -> PathBuf {
        let mut writer = SegmentWriter::new(after);
        for revision in after + 1..=last {
            writer.push(&step(revision)).unwrap();
        }
        assert!(writer.push(&step(last + 2)).is_err(), "a gap is refused");
        let path = dir.join(format!("{after}-{last}"));
        writer.save(&path).unwrap();
        path
    }

    #[test]
    fn a_chain_has_no_gap() {
        let segment = |range| Segment::named("c", range);
        let all = vec![segment((9, 12)), segment((3, 7)), segment((5, 9)), segment((14, 20))];
        assert_eq!(chain(all.clone(), 4), [segment((3, 7)), segment((5, 9)), segment((9, 12))]);
        assert_eq!(chain(all.clone(), 14), [segment((14, 20))]);
        assert_eq!(chain(all, 2), []);
        assert_eq!(Segment::from_name(segment((3, 7)).name), Some(segment((3, 7))));
    }

    #[test]
    fn a_replay_ends_where_it_was_told_to() {
        let dir = tempfile::tempdir().unwrap();
        let segments = [saved(dir.path(), 3, 7), saved(dir.path(), 5, 9)];
        let seen = |from: i64, until: Until| {
            let mut seen = Vec::new();
            let end = replay::<Error>(&segments, from, until, &mut |step| {
                seen.push(step.revision);
                Ok(())
            });
            end.map(|end| (end, seen)).map_err(|error| error.to_string())
        };
        assert_eq!(seen(4, Until::Revision(8)), Ok((8, vec![5, 6, 7, 8])));
        assert_eq!(seen(4, Until::TimeMs(65)), Ok((6, vec![5, 6])));
        assert_eq!(seen(4, Until::TimeMs(i64::MAX)), Ok((9, vec![5, 6, 7, 8, 9])));
        assert_eq!(seen(4, Until::Revision(4)), Ok((4, vec![])));
        assert!(seen(4, Until::Revision(10)).is_err(), "it goes to 9");
        assert!(seen(2, Until::Revision(8)).is_err(), "3 is missing");

        let mut bytes = fs::read(&segments[0]).unwrap();
        bytes[20] ^= 1;
        fs::write(&segments[0], bytes).unwrap();
        assert!(seen(4, Until::Revision(8)).unwrap_err().contains("sha-256"));
    }
}
