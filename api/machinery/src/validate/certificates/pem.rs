//! Blocks of PEM, found as upstream finds them.

use base64::Engine;
use base64::alphabet;
use base64::engine::{GeneralPurpose, GeneralPurposeConfig};

/// Bits that the last character has too many are not looked at.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true),
);
const BEGIN: &[u8] = b"\n-----BEGIN ";
const END: &[u8] = b"\n-----END ";
const DASHES: &[u8] = b"-----";

pub(super) struct Block<'a> {
    pub kind: &'a [u8],
    pub has_headers: bool,
    pub bytes: Vec<u8>,
    /// What follows the block.
    pub rest: &'a [u8],
}

/// The first whole block; what looks like one and is none is passed over.
pub(super) fn first(text: &[u8]) -> Option<Block<'_>> {
    let mut rest = text;
    loop {
        rest = match rest.strip_prefix(&BEGIN[1..]) {
            Some(after) => after,
            None => &rest[find(rest, BEGIN)? + BEGIN.len()..],
        };
        let (line, after) = line(rest);
        rest = after;
        let Some(kind) = line.strip_suffix(DASHES) else { continue };
        let (has_headers, body) = without_headers(rest)?;
        rest = body;
        if let Some((bytes, rest)) = body_and_rest(body, kind, has_headers) {
            return Some(Block { kind, has_headers, bytes, rest });
        }
    }
}

fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    text.windows(part.len()).position(|window| window == part)
}

/// A line without the white space at its end, and what follows.
fn line(text: &[u8]) -> (&[u8], &[u8]) {
    let (line, rest) = match text.iter().position(|c| *c == b'\n') {
        Some(end) => (text[..end].strip_suffix(b"\r").unwrap_or(&text[..end]), &text[end + 1..]),
        None => (text, &[][..]),
    };
    let end = line.iter().rposition(|c| !matches!(c, b' ' | b'\t')).map_or(0, |last| last + 1);
    (&line[..end], rest)
}

/// Whether there were headers; nothing when the text ends before the body.
fn without_headers(text: &[u8]) -> Option<(bool, &[u8])> {
    let (mut rest, mut has_headers) = (text, false);
    while !rest.is_empty() {
        let (line, after) = line(rest);
        if !line.contains(&b':') {
            return Some((has_headers, rest));
        }
        (rest, has_headers) = (after, true);
    }
    None
}

fn body_and_rest<'a>(
    text: &'a [u8],
    kind: &[u8],
    has_headers: bool,
) -> Option<(Vec<u8>, &'a [u8])> {
    // An empty body has no line of its own.
    let (end, after) = if !has_headers && text.starts_with(&END[1..]) {
        (0, &text[END.len() - 1..])
    } else {
        let end = find(text, END)?;
        (end, &text[end + END.len()..])
    };
    let after = after.strip_prefix(kind)?.strip_prefix(DASHES)?;
    let (trailing, rest) = line(after);
    if !trailing.is_empty() {
        return None;
    }
    let is_space = |c: &u8| matches!(c, b' ' | b'\t' | b'\r' | b'\n');
    let body: Vec<u8> = text[..end].iter().copied().filter(|c| !is_space(c)).collect();
    Some((BASE64.decode(body).ok()?, rest))
}
