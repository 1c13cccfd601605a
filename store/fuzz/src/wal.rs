//! Write-ahead files of the raft log, as a crash, a flipped bit or anything else leaves them.
//!
//! The first byte chooses: any bytes; whole records, of which something was then lost; parts of
//! records in any order, each with a right checksum; or a folder of files.

use std::{fs, ops::Range};

use store_server::decoders::disk::{Log, Tail, log, prepare};
use testbed::fuzz::Input;

use crate::scratch;

const BLOCK: usize = 32 << 10;
const NUMBER: u32 = 7;
const FULL: u8 = 1;
const FIRST: u8 = 2;
const MIDDLE: u8 = 3;
const LAST: u8 = 4;

/// Looks at files.
pub fn wal(data: &[u8]) {
    let mut input = Input::new(data);
    match input.byte() % 4 {
        0 => drop(looked_at(input.rest())),
        1 => lost(input),
        2 => drop(looked_at(&parts(input))),
        _ => folder(input),
    }
}

/// Every file: what is cut off leaves the same records, and nothing more to cut off.
fn looked_at(file: &[u8]) -> Log {
    let found = log(file, NUMBER);
    assert!(found.end <= file.len(), "what is kept lies in the file");
    if matches!(found.tail, Tail::Torn | Tail::Leftover) {
        let kept = log(&file[..found.end], NUMBER);
        let expected = Log { tail: Tail::Clean, ..found };
        assert_eq!(kept, expected, "what is left after cutting is whole");
    }
    found
}

/// One part of a record: checksum, length, type, and perhaps the file's number.
fn push_part(out: &mut Vec<u8>, kind: u8, numbered: bool, payload: &[u8]) {
    let kind = if numbered && (FULL..=LAST).contains(&kind) { kind + 4 } else { kind };
    let mut body = vec![kind];
    if numbered {
        body.extend(NUMBER.to_le_bytes());
    }
    body.extend_from_slice(payload);
    let masked = crc32c::crc32c(&body).rotate_right(15).wrapping_add(0xa282_ead8);
    out.extend(masked.to_le_bytes());
    out.extend(u16::try_from(payload.len()).expect("a part fits in its block").to_le_bytes());
    out.extend(body);
}

/// A record, cut where blocks end. Answers the zeros that fill blocks before its parts.
fn push_record(out: &mut Vec<u8>, numbered: bool, mut record: &[u8]) -> Vec<Range<usize>> {
    let mut filling = Vec::new();
    let header = if numbered { 11 } else { 7 };
    let mut first = true;
    loop {
        let left = BLOCK - out.len() % BLOCK;
        if left < header {
            filling.push(out.len()..out.len() + left);
            out.resize(out.len() + left, 0);
            continue;
        }
        let (now, later) = record.split_at(record.len().min(left - header));
        let kind = match (first, later.is_empty()) {
            (true, true) => FULL,
            (true, false) => FIRST,
            (false, true) => LAST,
            (false, false) => MIDDLE,
        };
        push_part(out, kind, numbered, now);
        if later.is_empty() {
            return filling;
        }
        (record, first) = (later, false);
    }
}

/// Whole records, then a loss: what was synced before it is kept, or missed aloud.
fn lost(mut input: Input<'_>) {
    let numbered = input.byte() % 2 == 1;
    let (how, place) = (input.byte(), input.long());
    let mut file = Vec::new();
    // Where each record ends, and the sequence number after it.
    let mut records = Vec::new();
    let mut filling = Vec::new();
    let mut sequence = 1_u64;
    while let Some(piece) = input.piece() {
        if records.len() == 64 {
            break;
        }
        let mut record = sequence.to_le_bytes().to_vec();
        record.extend(1_u32.to_le_bytes());
        record.extend_from_slice(piece);
        // Long ones go on over several blocks.
        record.resize(record.len() + usize::from(input.short()), 0x5a);
        filling.extend(push_record(&mut file, numbered, &record));
        sequence += 1;
        records.push((file.len(), sequence));
    }
    let (length, before) = (file.len(), sequence);
    let found = looked_at(&file);
    let next_sequence = if records.is_empty() { 0 } else { before };
    assert_eq!(found, Log { next_sequence, end: length, tail: Tail::Clean }, "all of it is there");
    if length == 0 {
        return;
    }
    let at = usize::try_from(place % length as u64).expect("it is an offset of the file");
    if how % 2 == 0 {
        // A write that was under way: what came before it is there, and nothing of it counts.
        let found = looked_at(&file[..at]);
        let whole = records.iter().take_while(|(end, _)| *end <= at).last();
        let (end, next) = whole.copied().unwrap_or_default();
        assert_ne!(found.tail, Tail::Damaged, "a torn write is no damage: {at} of {length}");
        assert_eq!(found.next_sequence, next, "what was synced is kept: {at} of {length}");
        assert_eq!(found.end, end, "and nothing else: {at} of {length}");
        return;
    }
    // A bit that flipped in what was synced. Zeros that fill a block are no part of a record.
    if filling.iter().any(|zeros| zeros.contains(&at)) {
        return;
    }
    file[at] ^= 1 << ((how >> 1) % 8);
    let found = looked_at(&file);
    assert_eq!(found.tail, Tail::Damaged, "a bit that flipped is felt: {at} of {length}");
}

/// Parts of records in any order, each with a right checksum.
fn parts(mut input: Input<'_>) -> Vec<u8> {
    let mut file = Vec::new();
    while let Some(piece) = input.piece() {
        let (kind, filler) = (input.byte(), usize::from(input.short()));
        let numbered = kind & 0x80 != 0;
        let mut payload = piece.to_vec();
        let left = BLOCK - file.len() % BLOCK;
        let header = if numbered { 11 } else { 7 };
        if left < header {
            file.resize(file.len() + left, 0);
            continue;
        }
        payload.resize((payload.len() + filler).min(left - header), 0);
        push_part(&mut file, kind & 0x7f, numbered, &payload);
        if file.len() > 4 * BLOCK {
            break;
        }
    }
    file
}

/// A folder: what the start of a member makes of it, it makes of it again.
fn folder(mut input: Input<'_>) {
    let folder = scratch::folder();
    let newest = input.take(3);
    if !newest.is_empty() && newest[0] != 0 {
        fs::write(folder.path().join("NEWEST"), newest).expect("a file can be written");
    }
    while let Some(piece) = input.piece() {
        let number = input.byte() % 8;
        let numbered = input.byte() % 2 == 1;
        let mut file = Vec::new();
        if numbered {
            drop(push_record(&mut file, false, piece));
            file.extend_from_slice(input.take(3));
        } else {
            file.extend_from_slice(piece);
        }
        let name = folder.path().join(format!("{number:06}.log"));
        fs::write(name, file).expect("a file can be written");
    }
    if let Ok(reached) = prepare(folder.path()) {
        let again = prepare(folder.path()).expect("what was fit to be opened stays so");
        assert_eq!(again, reached, "and holds the same");
    }
}
