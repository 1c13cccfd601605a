//! How targets cut their bytes: a selector, and pieces with their lengths before them.

/// What is left of the bytes.
pub(crate) struct Input<'a> {
    rest: &'a [u8],
}

impl<'a> Input<'a> {
    pub(crate) fn new(data: &'a [u8]) -> Self {
        Self { rest: data }
    }

    /// One byte; zero at the end.
    pub(crate) fn byte(&mut self) -> u8 {
        match self.rest.split_first() {
            Some((byte, rest)) => {
                self.rest = rest;
                *byte
            }
            None => 0,
        }
    }

    /// Two bytes, little-endian.
    pub(crate) fn short(&mut self) -> u16 {
        u16::from_le_bytes([self.byte(), self.byte()])
    }

    /// Eight bytes, little-endian.
    pub(crate) fn long(&mut self) -> u64 {
        u64::from_le_bytes(std::array::from_fn(|_| self.byte()))
    }

    /// So many bytes, or what there is.
    pub(crate) fn take(&mut self, length: usize) -> &'a [u8] {
        let (taken, rest) = self.rest.split_at(length.min(self.rest.len()));
        self.rest = rest;
        taken
    }

    /// A piece with its length before it: one byte, or 255 and two more. None at the end.
    pub(crate) fn piece(&mut self) -> Option<&'a [u8]> {
        if self.rest.is_empty() {
            return None;
        }
        let length = match self.byte() {
            255 => usize::from(self.short()),
            short => usize::from(short),
        };
        Some(self.take(length))
    }

    /// Everything that is left.
    pub(crate) fn rest(self) -> &'a [u8] {
        self.rest
    }
}

/// Appends a piece as [`Input::piece`] reads it.
pub(crate) fn push_piece(out: &mut Vec<u8>, piece: &[u8]) {
    match u8::try_from(piece.len()) {
        Ok(short) if short < 255 => out.push(short),
        _ => {
            out.push(255);
            out.extend(u16::try_from(piece.len()).expect("a seed is short").to_le_bytes());
        }
    }
    out.extend_from_slice(piece);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_read_as_they_were_written() {
        let pieces = [vec![], vec![7; 254], vec![8; 255], vec![9; 1000]];
        let mut bytes = Vec::new();
        for piece in &pieces {
            push_piece(&mut bytes, piece);
        }
        let mut input = Input::new(&bytes);
        for piece in &pieces {
            assert_eq!(input.piece(), Some(piece.as_slice()));
        }
        assert_eq!(input.piece(), None);
    }
}
