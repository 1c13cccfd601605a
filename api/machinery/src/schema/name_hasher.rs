//! A hash for names of fields: they are looked up for every member of every object, and are few.

use std::hash::Hasher;

/// Spreads the bits of what it is multiplied with.
const ODD: u64 = 0x9e37_79b9_7f4a_7c15;

/// Takes eight bytes at a time.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct NameHasher(u64);

impl NameHasher {
    fn take(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(ODD);
    }
}

impl Hasher for NameHasher {
    fn write(&mut self, bytes: &[u8]) {
        let (eights, rest) = bytes.as_chunks::<8>();
        for eight in eights {
            self.take(u64::from_le_bytes(*eight));
        }
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        self.take(u64::from_le_bytes(last) ^ ((bytes.len() as u64) << 56));
    }

    fn write_u8(&mut self, _end_of_text: u8) {
        // The length is in the hash already.
    }

    fn finish(&self) -> u64 {
        // The table takes the lowest bits for the place and the highest ones for a first look.
        self.0 ^ (self.0 >> 32)
    }
}
