//! A batch in memory, in RocksDB's own bytes: what is digested of it is the same.

use bytes::Bytes;

/// A sequence number, and how many changes follow.
const HEADER: usize = 12;

const DELETE: u8 = 0x0;
const PUT: u8 = 0x1;
const DELETE_RANGE: u8 = 0xf;
const FAMILY_DELETE: u8 = 0x4;
const FAMILY_PUT: u8 = 0x5;
const FAMILY_DELETE_RANGE: u8 = 0xe;

#[derive(Clone, Debug)]
pub(crate) struct Batch {
    bytes: Vec<u8>,
}

impl Default for Batch {
    fn default() -> Self {
        Self { bytes: vec![0; HEADER] }
    }
}

/// One change of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Put(Bytes, Bytes),
    Delete(Bytes),
    DeleteRange(Bytes, Bytes),
}

impl Batch {
    pub(crate) fn put(&mut self, family: u32, key: &[u8], value: &[u8]) {
        self.begin(family, PUT, FAMILY_PUT);
        self.text(key);
        self.text(value);
    }

    pub(crate) fn delete(&mut self, family: u32, key: &[u8]) {
        self.begin(family, DELETE, FAMILY_DELETE);
        self.text(key);
    }

    pub(crate) fn delete_range(&mut self, family: u32, from: &[u8], to: &[u8]) {
        self.begin(family, DELETE_RANGE, FAMILY_DELETE_RANGE);
        self.text(from);
        self.text(to);
    }

    pub(crate) fn data(&self) -> &[u8] {
        &self.bytes
    }

    pub(crate) fn into_data(self) -> Vec<u8> {
        self.bytes
    }

    fn count(&self) -> u32 {
        u32::from_le_bytes(self.bytes[8..HEADER].try_into().expect("the slice is four bytes long"))
    }

    fn begin(&mut self, family: u32, plain: u8, named: u8) {
        let count = self.count() + 1;
        self.bytes[8..HEADER].copy_from_slice(&count.to_le_bytes());
        if family == 0 {
            self.bytes.push(plain);
        } else {
            self.bytes.push(named);
            self.number(family);
        }
    }

    fn text(&mut self, text: &[u8]) {
        self.number(u32::try_from(text.len()).expect("keys and values are far smaller"));
        self.bytes.extend_from_slice(text);
    }

    /// Seven bits a byte, the lowest first.
    fn number(&mut self, mut number: u32) {
        while number >= 0x80 {
            self.bytes.push((number & 0x7f) as u8 | 0x80);
            number >>= 7;
        }
        self.bytes.push((number & 0x7f) as u8);
    }
}

/// The changes of a batch's bytes, each with its family; none if they are not those of a batch.
pub(crate) fn changes(batch: &Bytes) -> Option<Vec<(u32, Change)>> {
    let mut at = HEADER;
    let mut changes = Vec::new();
    while at < batch.len() {
        let kind = batch[at];
        at += 1;
        let named = matches!(kind, FAMILY_PUT | FAMILY_DELETE | FAMILY_DELETE_RANGE);
        let family = if named { number(batch, &mut at)? } else { 0 };
        let key = text(batch, &mut at)?;
        changes.push((
            family,
            match kind {
                PUT | FAMILY_PUT => Change::Put(key, text(batch, &mut at)?),
                DELETE | FAMILY_DELETE => Change::Delete(key),
                DELETE_RANGE | FAMILY_DELETE_RANGE => {
                    Change::DeleteRange(key, text(batch, &mut at)?)
                }
                _ => return None,
            },
        ));
    }
    Some(changes)
}

fn number(bytes: &[u8], at: &mut usize) -> Option<u32> {
    let mut number = 0_u32;
    for shift in (0..32).step_by(7) {
        let byte = *bytes.get(*at)?;
        *at += 1;
        number |= u32::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

fn text(bytes: &Bytes, at: &mut usize) -> Option<Bytes> {
    let length = number(bytes, at)? as usize;
    let end = at.checked_add(length).filter(|end| *end <= bytes.len())?;
    let text = bytes.slice(*at..end);
    *at = end;
    Some(text)
}
