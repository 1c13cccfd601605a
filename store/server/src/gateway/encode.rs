//! From the wire to JSON: as etcd's gateway writes it.
//!
//! 64-bit numbers are strings, bytes are base64, enums are names, and what is not on the wire is
//! left out.

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::schema::{Field, Kind, Message, SCHEMA};

/// The bytes are not the message they are said to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the answer cannot be read")]
pub(super) struct Unreadable;

/// A value as it lies on the wire.
enum Raw<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn varint(&mut self) -> Result<u64, Unreadable> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.rest.split_first().ok_or(Unreadable)?;
            self.rest = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Unreadable)
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Unreadable> {
        if length > self.rest.len() {
            return Err(Unreadable);
        }
        let (taken, rest) = self.rest.split_at(length);
        self.rest = rest;
        Ok(taken)
    }

    /// The next field's number and value; nothing at the end.
    fn next(&mut self) -> Result<Option<(u32, Raw<'a>)>, Unreadable> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let key = self.varint()?;
        let number = u32::try_from(key >> 3).map_err(|_| Unreadable)?;
        let raw = match key & 7 {
            0 => Raw::Number(self.varint()?),
            1 => Raw::Bytes(self.take(8)?),
            2 => {
                let length = usize::try_from(self.varint()?).map_err(|_| Unreadable)?;
                Raw::Bytes(self.take(length)?)
            }
            5 => Raw::Bytes(self.take(4)?),
            _ => return Err(Unreadable),
        };
        Ok(Some((number, raw)))
    }
}

/// Appends the JSON of the message `name`, whose bytes are `wire`.
pub(super) fn message(name: &str, wire: &[u8], out: &mut Vec<u8>) -> Result<(), Unreadable> {
    fields(SCHEMA.message(name), wire, out)
}

fn fields(message: &Message, wire: &[u8], out: &mut Vec<u8>) -> Result<(), Unreadable> {
    let mut reader = Reader { rest: wire };
    // The list that is being written; its elements follow each other on the wire.
    let mut open = None;
    let mut first = true;
    out.push(b'{');
    while let Some((number, raw)) = reader.next()? {
        let Some(field) = message.number(number) else { continue };
        if open == Some(number) {
            out.push(b',');
            elements(field, &raw, out)?;
            continue;
        }
        if open.take().is_some() {
            out.push(b']');
        }
        if !std::mem::take(&mut first) {
            out.push(b',');
        }
        text(&field.name, out);
        out.push(b':');
        if field.repeated {
            open = Some(number);
            out.push(b'[');
        }
        elements(field, &raw, out)?;
    }
    if open.is_some() {
        out.push(b']');
    }
    out.push(b'}');
    Ok(())
}

/// One value; or several, where a list of numbers is packed into one field.
fn elements(field: &Field, raw: &Raw<'_>, out: &mut Vec<u8>) -> Result<(), Unreadable> {
    let number = !matches!(field.kind, Kind::Text | Kind::Bytes | Kind::Message(_));
    if let (true, true, Raw::Bytes(packed)) = (field.repeated, number, raw) {
        let mut reader = Reader { rest: packed };
        let mut first = true;
        while !reader.rest.is_empty() {
            if !std::mem::take(&mut first) {
                out.push(b',');
            }
            value(field, &Raw::Number(reader.varint()?), out)?;
        }
        return Ok(());
    }
    value(field, raw, out)
}

fn value(field: &Field, raw: &Raw<'_>, out: &mut Vec<u8>) -> Result<(), Unreadable> {
    match (&field.kind, raw) {
        (Kind::Int32, Raw::Number(number)) => digits(number.cast_signed(), false, out),
        (Kind::Uint32, Raw::Number(number)) => digits(number, false, out),
        (Kind::Int64, Raw::Number(number)) => digits(number.cast_signed(), true, out),
        (Kind::Uint64, Raw::Number(number)) => digits(number, true, out),
        (Kind::Bool, Raw::Number(number)) => {
            out.extend_from_slice(if *number == 0 { b"false" } else { b"true" });
        }
        (Kind::Enum(name), Raw::Number(number)) => {
            // Enums are 32 bits, sign-extended on the wire.
            let number = i32::try_from(number.cast_signed()).map_err(|_| Unreadable)?;
            match SCHEMA.one_enum(name).name(number) {
                Some(known) => text(known, out),
                None => digits(number, false, out),
            }
        }
        (Kind::Text, Raw::Bytes(bytes)) => {
            text(std::str::from_utf8(bytes).map_err(|_| Unreadable)?, out);
        }
        (Kind::Bytes, Raw::Bytes(bytes)) => {
            out.push(b'"');
            let start = out.len();
            out.resize(start + bytes.len().div_ceil(3) * 4, 0);
            let written = STANDARD.encode_slice(bytes, &mut out[start..]);
            out.truncate(start + written.expect("the space was computed above"));
            out.push(b'"');
        }
        (Kind::Message(name), Raw::Bytes(bytes)) => {
            fields(SCHEMA.message(name), bytes, out)?;
        }
        _ => return Err(Unreadable),
    }
    Ok(())
}

fn digits(number: impl std::fmt::Display, quoted: bool, out: &mut Vec<u8>) {
    use std::io::Write as _;
    let written = if quoted { write!(out, "\"{number}\"") } else { write!(out, "{number}") };
    written.expect("a vector takes everything");
}

/// Appends a JSON string.
pub(super) fn text(text: &str, out: &mut Vec<u8>) {
    serde_json::to_writer(out, text).expect("a vector takes everything");
}

#[cfg(test)]
mod tests {
    use prost::Message as _;
    use proto::{
        etcdserverpb::{
            Member, MemberListResponse, RangeResponse, ResponseHeader, ResponseOp, TxnResponse,
            response_op::Response,
        },
        mvccpb::{Event, KeyValue, event::EventType},
    };

    use super::*;

    fn json(name: &str, message: &impl prost::Message) -> String {
        let mut out = Vec::new();
        super::message(name, &message.encode_to_vec(), &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn numbers_bytes_and_lists_are_written_as_etcd_writes_them() {
        let header = ResponseHeader {
            cluster_id: u64::MAX,
            member_id: 1,
            revision: -1,
            ..ResponseHeader::default()
        };
        let kv = |key: &'static str| KeyValue { key: key.into(), lease: 7, ..KeyValue::default() };
        let range = RangeResponse {
            header: Some(header),
            kvs: vec![kv("a"), kv("bc")],
            ..Default::default()
        };
        assert_eq!(
            json("etcdserverpb.RangeResponse", &range),
            r#"{"header":{"cluster_id":"18446744073709551615","member_id":"1","revision":"-1"},"#
                .to_owned()
                + r#""kvs":[{"key":"YQ==","lease":"7"},{"key":"YmM=","lease":"7"}]}"#
        );
        let list = MemberListResponse {
            members: vec![Member {
                name: "a\"\n".into(),
                peer_urls: vec!["http://x".into(), "http://y".into()],
                is_learner: true,
                ..Member::default()
            }],
            ..Default::default()
        };
        assert_eq!(
            json("etcdserverpb.MemberListResponse", &list),
            r#"{"members":[{"name":"a\"\n","peerURLs":["http://x","http://y"],"isLearner":true}]}"#
        );
    }

    #[test]
    fn an_empty_answer_of_a_choice_is_still_told() {
        let response = Some(Response::ResponseRange(RangeResponse::default()));
        let txn = TxnResponse { responses: vec![ResponseOp { response }], ..Default::default() };
        let text = json("etcdserverpb.TxnResponse", &txn);
        assert_eq!(text, r#"{"responses":[{"response_range":{}}]}"#);
    }

    #[test]
    fn enums_are_names_and_unknown_ones_numbers() {
        let event = |kind| Event { r#type: kind, ..Event::default() };
        let delete = event(i32::from(EventType::Delete));
        assert_eq!(json("mvccpb.Event", &delete), r#"{"type":"DELETE"}"#);
        assert_eq!(json("mvccpb.Event", &event(-9)), r#"{"type":-9}"#);
    }

    #[test]
    fn cut_bytes_are_refused() {
        let wire = RangeResponse { kvs: vec![KeyValue::default()], ..Default::default() };
        let mut wire = wire.encode_to_vec();
        wire.push(0x0a);
        assert_eq!(message("etcdserverpb.RangeResponse", &wire, &mut Vec::new()), Err(Unreadable));
    }
}
