//! Every bound of backups, with its reason.

/// Bytes of one page with its overflow: a value is at most a request of some MiB, and a torn length
/// must not ask for all memory.
pub(crate) const PAGE_BYTES_MAX: u64 = 256 << 20;
/// The highest revision or version of a key that a store goes on from: half of what there is.
pub(crate) const REVISION_MAX: i64 = i64::MAX / 2;
/// Levels of a tree: four already hold more pages than any disk.
pub(crate) const DEPTH_MAX: usize = 32;
/// Bytes handed on at once while a snapshot is written.
pub const CHUNK_BYTES: usize = 256 << 10;
/// Bytes read at once while a file is hashed or copied.
pub(crate) const BUFFER_BYTES: usize = 1 << 20;
/// Bytes of a segment of the archive, which is read whole: an archiver ends it far earlier.
pub(crate) const SEGMENT_BYTES_MAX: u64 = 1 << 30;
/// Bytes after which an archiver ends a segment.
pub const SEGMENT_BYTES: usize = 32 << 20;
/// Bytes of a manifest: tens of thousands of files.
pub(crate) const MANIFEST_BYTES_MAX: u64 = 64 << 20;
