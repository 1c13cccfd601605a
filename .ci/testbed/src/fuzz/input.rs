//! How targets cut their bytes: choices, numbers, and pieces with their lengths before them.

/// What is left of the bytes. At the end it gives zeros and empty pieces.
pub struct Input<'a> {
    rest: &'a [u8],
}

impl<'a> Input<'a> {
    /// All of the bytes.
    #[must_use]
    pub fn new(data: &'a [u8]) -> Self {
        Self { rest: data }
    }

    /// One byte.
    pub fn byte(&mut self) -> u8 {
        match self.rest.split_first() {
            Some((byte, rest)) => {
                self.rest = rest;
                *byte
            }
            None => 0,
        }
    }

    /// Two bytes, little-endian.
    pub fn short(&mut self) -> u16 {
        u16::from_le_bytes([self.byte(), self.byte()])
    }

    /// Eight bytes, little-endian.
    pub fn long(&mut self) -> u64 {
        u64::from_le_bytes(std::array::from_fn(|_| self.byte()))
    }

    /// One of so many things, by two bytes.
    pub fn choice(&mut self, count: usize) -> usize {
        usize::from(self.short()) % count.max(1)
    }

    /// So many bytes, or what there is.
    pub fn take(&mut self, length: usize) -> &'a [u8] {
        let (taken, rest) = self.rest.split_at(length.min(self.rest.len()));
        self.rest = rest;
        taken
    }

    /// A piece with its length before it: one byte, or 255 and two more. None at the end.
    pub fn piece(&mut self) -> Option<&'a [u8]> {
        if self.rest.is_empty() {
            return None;
        }
        let length = match self.byte() {
            255 => usize::from(self.short()),
            short => usize::from(short),
        };
        Some(self.take(length))
    }

    /// A piece with its length before it, always in two bytes.
    pub fn wide_piece(&mut self) -> &'a [u8] {
        let length = usize::from(self.short());
        self.take(length)
    }

    /// Whether all was read.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Everything that is left.
    #[must_use]
    pub fn rest(self) -> &'a [u8] {
        self.rest
    }
}

/// Appends a piece as [`Input::piece`] reads it.
///
/// # Panics
/// When the piece is longer than 65,535 bytes.
pub fn push_piece(out: &mut Vec<u8>, piece: &[u8]) {
    match u8::try_from(piece.len()) {
        Ok(short) if short < 255 => {
            out.push(short);
            out.extend_from_slice(piece);
        }
        _ => {
            out.push(255);
            push_wide_piece(out, piece);
        }
    }
}

/// Appends a piece as [`Input::wide_piece`] reads it.
///
/// # Panics
/// When the piece is longer than 65,535 bytes.
pub fn push_wide_piece(out: &mut Vec<u8>, piece: &[u8]) {
    let length = u16::try_from(piece.len()).expect("a seed is short");
    out.extend(length.to_le_bytes());
    out.extend_from_slice(piece);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces() -> [Vec<u8>; 4] {
        [vec![], vec![7; 254], vec![8; 255], vec![9; 1000]]
    }

    #[test]
    fn pieces_are_read_as_they_were_written() {
        let mut bytes = Vec::new();
        for piece in pieces() {
            push_piece(&mut bytes, &piece);
        }
        let mut input = Input::new(&bytes);
        for piece in pieces() {
            assert_eq!(input.piece(), Some(piece.as_slice()));
        }
        assert_eq!(input.piece(), None);
    }

    #[test]
    fn wide_pieces_are_read_as_they_were_written_and_the_end_gives_empty_ones() {
        let mut bytes = Vec::new();
        for piece in pieces() {
            push_wide_piece(&mut bytes, &piece);
        }
        let mut input = Input::new(&bytes);
        for piece in pieces() {
            assert_eq!(input.wide_piece(), piece);
        }
        assert!(input.is_empty());
        assert_eq!(input.wide_piece(), b"");
        assert_eq!((input.byte(), input.short(), input.long(), input.choice(0)), (0, 0, 0, 0));
    }
}
