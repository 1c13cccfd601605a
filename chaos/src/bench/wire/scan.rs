//! Answers read field by field, without building what nobody looks at: decoding a list of ten
//! thousand keys would cost the load generator more than it costs the server to send it.

use anyhow::{Context as _, bail};

/// The value of one field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::bench) enum Value<'a> {
    /// A number or a boolean.
    Number(u64),
    /// A text, bytes, or a message.
    Bytes(&'a [u8]),
}

/// The fields of a message, in the order in which they were sent.
#[derive(Clone, Debug)]
pub(in crate::bench) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(in crate::bench) fn of(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        Some(head)
    }

    fn varint(&mut self) -> Option<u64> {
        let mut number = 0;
        for place in 0..10 {
            let byte = self.take(1)?[0];
            number |= u64::from(byte & 0x7f) << (7 * place);
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }

    fn field(&mut self) -> anyhow::Result<(u64, Value<'a>)> {
        const CUT: &str = "an answer ends within a field";
        let tag = self.varint().context(CUT)?;
        let value = match tag & 7 {
            0 => Value::Number(self.varint().context(CUT)?),
            1 => Value::Bytes(self.take(8).context(CUT)?),
            2 => {
                let length = usize::try_from(self.varint().context(CUT)?)?;
                Value::Bytes(self.take(length).context(CUT)?)
            }
            5 => Value::Bytes(self.take(4).context(CUT)?),
            kind => bail!("an answer has a field of kind {kind}"),
        };
        Ok((tag >> 3, value))
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = anyhow::Result<(u64, Value<'a>)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.rest = &[];
        }
        Some(field)
    }
}

/// A field that is a number; zero when it is not there.
pub(in crate::bench) fn number(message: &[u8], wanted: u64) -> anyhow::Result<u64> {
    let mut found = 0;
    for field in Fields::of(message) {
        if let (number, Value::Number(value)) = field?
            && number == wanted
        {
            found = value;
        }
    }
    Ok(found)
}

/// A field that is a signed number; zero when it is not there.
pub(in crate::bench) fn signed(message: &[u8], wanted: u64) -> anyhow::Result<i64> {
    number(message, wanted).map(u64::cast_signed)
}

/// The first field with a number that is a message; empty, as protobuf has it, when it is not there.
pub(in crate::bench) fn bytes(message: &[u8], wanted: u64) -> anyhow::Result<&[u8]> {
    for field in Fields::of(message) {
        if let (number, Value::Bytes(value)) = field?
            && number == wanted
        {
            return Ok(value);
        }
    }
    Ok(&[])
}

/// The revision in the header of any answer of etcd's.
pub(in crate::bench) fn revision(answer: &[u8]) -> anyhow::Result<i64> {
    let revision = signed(bytes(answer, 1)?, 3)?;
    anyhow::ensure!(revision > 0, "an answer has no revision");
    Ok(revision)
}

#[cfg(test)]
mod tests {
    use prost::Message as _;
    use proto::{etcdserverpb as pb, mvccpb};

    use super::*;

    #[test]
    fn the_fields_of_an_answer_are_those_that_were_encoded() {
        let kv = mvccpb::KeyValue {
            key: "a".into(),
            value: "bb".into(),
            mod_revision: 7,
            ..mvccpb::KeyValue::default()
        };
        let header = pb::ResponseHeader { revision: 300, ..pb::ResponseHeader::default() };
        let answer = pb::RangeResponse {
            header: Some(header),
            kvs: vec![kv; 3],
            more: true,
            count: 1 << 40,
        };
        let answer = answer.encode_to_vec();
        let kvs = Fields::of(&answer).filter(|field| matches!(field, Ok((2, Value::Bytes(_)))));
        assert_eq!(kvs.count(), 3);
        assert_eq!(number(&answer, 3).unwrap(), 1);
        assert_eq!(number(&answer, 4).unwrap(), 1 << 40);
        assert_eq!(revision(&answer).unwrap(), 300);
        assert_eq!(signed(bytes(&answer, 2).unwrap(), 3).unwrap(), 7);
        assert_eq!(bytes(bytes(&answer, 2).unwrap(), 5).unwrap(), b"bb");
        assert_eq!(number(&answer, 9).unwrap(), 0);
    }

    #[test]
    fn an_answer_that_is_cut_short_is_an_error_and_not_a_smaller_answer() {
        let answer = pb::RangeResponse {
            kvs: vec![mvccpb::KeyValue { key: "abc".into(), ..mvccpb::KeyValue::default() }],
            ..pb::RangeResponse::default()
        };
        let answer = answer.encode_to_vec();
        for length in 1..answer.len() {
            assert!(Fields::of(&answer[..length]).any(|field| field.is_err()), "{length} bytes");
        }
        assert!(revision(&answer).is_err());
    }
}
