//! The file format of bbolt, in which etcd keeps its data: pages of a B+tree, read and written whole.
//!
//! A file is a row of pages of one size. Page 0 and page 1 are two versions of the head; the one with
//! the higher transaction number counts. It names the page of the root tree, whose leaves hold the
//! buckets: each has the page of its own tree, or, when it is small, the whole page as its value. All
//! numbers are little-endian.
//!
//! | Page | Bytes |
//! |------|-------|
//! | every one | number (8), kind (2), count of elements (2), count of further pages it goes on over (4) |
//! | head | magic (4), version (4), page size (4), flags (4), root page (8), sequence (8), page of the list of free pages (8), count of pages (8), transaction (8), FNV-1a of the 56 bytes before (8) |
//! | branch | elements: distance to the key (4), its length (4), child page (8); then the keys |
//! | leaf | elements: 1 for a bucket (4), distance to the key (4), its length (4), that of the value (4); then keys and values |
//! | free list | numbers of free pages (8 each) |
//!
//! Distances count from the start of the element itself.

mod read;
mod write;

pub use read::{Bytes, Database, FileBytes};
pub use write::{Content, Layout, measure, write};

/// Called with key and value of each pair.
pub type EachPair<'a, E> = dyn FnMut(&[u8], &[u8]) -> Result<(), E> + 'a;
/// Called with bucket, key and value of each pair.
pub type EachOfBucket<'a, E> = dyn FnMut(&[u8], &[u8], &[u8]) -> Result<(), E> + 'a;

pub(crate) const MAGIC: u32 = 0xED0C_DAED;
pub(crate) const VERSION: u32 = 2;
/// Bytes of a page before its elements.
pub(crate) const HEADER: usize = 16;
/// Bytes of an element of a leaf or a branch.
pub(crate) const ELEMENT: usize = 16;
/// Bytes of a head after its page header, without the checksum.
pub(crate) const HEAD: usize = 56;
/// Bytes before the page of a bucket that is stored inside its element: root page (zero), sequence.
pub(crate) const BUCKET: usize = 16;
/// In the flags of a leaf's element: the value is a bucket.
pub(crate) const IS_BUCKET: u32 = 1;
/// Stands for the page of the free list when there is none.
pub(crate) const NO_FREE_LIST: u64 = u64::MAX;

/// The kinds of page.
pub(crate) mod kind {
    pub(crate) const BRANCH: u16 = 0x01;
    pub(crate) const LEAF: u16 = 0x02;
    pub(crate) const HEAD: u16 = 0x04;
    pub(crate) const FREE_LIST: u16 = 0x10;
}

/// FNV-1a with 64 bits.
pub(crate) fn fnv(bytes: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, step)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_checksum_is_fnv_1a() {
        // From the published test vectors.
        assert_eq!(super::fnv(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(super::fnv(b"foobar"), 0x8594_4171_f739_67e8);
    }
}
