//! The requests on keys, encoded by the generated types, and what their answers must say.

use std::sync::LazyLock;

use anyhow::ensure;
use bytes::Bytes;
use proto::etcdserverpb as pb;
use rand::rngs::StdRng;
use rand::{Rng as _, RngCore as _, SeedableRng as _};

use super::LoadFlags;
use super::wire::frame;
use super::wire::scan::{self, Fields, Value};
use crate::limits;

/// A kind of operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// One key written.
    Put,
    /// Keys read.
    Range {
        /// Without a round to the other members.
        serializable: bool,
        /// Which keys, and what of them.
        shape: Shape,
    },
    /// Several keys written in one transaction.
    Txn {
        /// How many.
        puts: usize,
    },
}

/// Which keys are read, and what of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// One key.
    Key,
    /// Keys with a prefix: the first so many, or all when it is zero.
    Prefix {
        /// How many at most.
        limit: u64,
        /// Without their values.
        keys_only: bool,
    },
    /// Only how many keys have a prefix.
    Count,
}

impl Kind {
    /// The name in reports.
    pub(super) fn name(self) -> String {
        match self {
            Self::Put => "put".to_owned(),
            Self::Txn { puts } => format!("txn-{puts}-puts"),
            Self::Range { serializable, shape } => {
                let shape = match shape {
                    Shape::Key => String::new(),
                    Shape::Count => "-count".to_owned(),
                    Shape::Prefix { limit, keys_only } => {
                        let limit = if limit > 0 { format!("-{limit}") } else { "-all".to_owned() };
                        limit + if keys_only { "-keys" } else { "" }
                    }
                };
                let level = if serializable { "serializable" } else { "linearizable" };
                format!("range{shape}-{level}")
            }
        }
    }

    /// The path of the call.
    pub(super) fn path(self) -> &'static str {
        match self {
            Self::Put => "/etcdserverpb.KV/Put",
            Self::Range { .. } => RANGE,
            Self::Txn { .. } => TXN,
        }
    }
}

pub(super) const RANGE: &str = "/etcdserverpb.KV/Range";
pub(super) const TXN: &str = "/etcdserverpb.KV/Txn";

/// Makes one client's requests, and judges the answers.
#[derive(Debug)]
pub(super) struct Maker {
    kind: Kind,
    prefix: String,
    key_size: usize,
    first_key: u64,
    key_space: u64,
    sequential: bool,
    value_size: usize,
    rng: StdRng,
}

/// What values are cut out of, each at a place of its own: a store that compresses gains nothing.
static NOISE: LazyLock<Bytes> = LazyLock::new(|| {
    let mut noise = vec![0; limits::BENCH_NOISE_BYTES];
    StdRng::seed_from_u64(1).fill_bytes(&mut noise);
    noise.into()
});

impl Maker {
    pub(super) fn new(kind: Kind, flags: &LoadFlags, client: usize) -> Self {
        let rng = StdRng::seed_from_u64(flags.pace.seed.wrapping_add(client as u64));
        Self {
            kind,
            prefix: flags.prefix.clone(),
            key_size: flags.key_size,
            first_key: flags.first_key,
            key_space: flags.key_space.max(1),
            sequential: flags.sequential_keys,
            value_size: flags.val_size,
            rng,
        }
    }

    /// The request of one turn, as one gRPC frame.
    pub(super) fn request(&mut self, turn: u64) -> Bytes {
        match self.kind {
            Kind::Put => frame(&self.put(turn)),
            Kind::Range { serializable, shape } => {
                let request = match shape {
                    Shape::Key => pb::RangeRequest { key: self.key(turn), ..Default::default() },
                    Shape::Prefix { limit, keys_only } => pb::RangeRequest {
                        limit: limit.cast_signed(),
                        keys_only,
                        ..whole(&self.prefix)
                    },
                    Shape::Count => pb::RangeRequest { count_only: true, ..whole(&self.prefix) },
                };
                frame(&pb::RangeRequest { serializable, ..request })
            }
            Kind::Txn { puts } => {
                let success = (0..puts as u64)
                    .map(|place| {
                        // Neighbours in order, so that no key is in a transaction twice.
                        let put = self.put(turn.wrapping_mul(puts as u64).wrapping_add(place));
                        request_op(pb::request_op::Request::RequestPut(put))
                    })
                    .collect();
                frame(&pb::TxnRequest { success, ..pb::TxnRequest::default() })
            }
        }
    }

    /// Whether an answer says what it must: an answer that is fast and wrong counts as an error.
    pub(super) fn judge(&self, answer: &[u8]) -> anyhow::Result<()> {
        scan::revision(answer)?;
        match self.kind {
            Kind::Put => Ok(()),
            Kind::Range { shape, .. } => {
                judge_range(shape, self.key_space, self.value_size, answer)
            }
            Kind::Txn { puts } => {
                ensure!(scan::number(answer, 2)? == 1, "a transaction did not succeed");
                let done = messages(answer, 3)?;
                ensure!(done == puts as u64, "a transaction of {puts} puts did {done}");
                Ok(())
            }
        }
    }

    fn put(&mut self, turn: u64) -> pb::PutRequest {
        let (key, value) = (self.key(turn), self.value());
        pb::PutRequest { key, value, ..pb::PutRequest::default() }
    }

    fn value(&mut self) -> Bytes {
        let size = self.value_size.min(NOISE.len());
        let place = self.rng.random_range(0..=NOISE.len() - size);
        NOISE.slice(place..place + size)
    }

    fn key(&mut self, turn: u64) -> Bytes {
        let in_order = self.sequential || matches!(self.kind, Kind::Txn { .. });
        let number =
            if in_order { turn % self.key_space } else { self.rng.random_range(0..self.key_space) };
        key(&self.prefix, self.first_key + number, self.key_size)
    }
}

fn judge_range(shape: Shape, keys: u64, value_size: usize, answer: &[u8]) -> anyhow::Result<()> {
    let (count, found) = (scan::number(answer, 4)?, messages(answer, 2)?);
    let (there, wanted, values) = match shape {
        Shape::Key => (1, 1, true),
        Shape::Count => (keys, 0, false),
        Shape::Prefix { limit: 0, keys_only } => (keys, keys, !keys_only),
        Shape::Prefix { limit, keys_only } => (keys, keys.min(limit), !keys_only),
    };
    ensure!(count == there, "a range counts {count} keys where {there} are");
    ensure!(found == wanted, "a range has {found} keys, not {wanted}");
    let more = wanted < there && wanted > 0;
    ensure!((scan::number(answer, 3)? == 1) == more, "a range says that there are more: {}", !more);
    if found > 0 {
        let length = scan::bytes(scan::bytes(answer, 2)?, 5)?.len();
        let expected = if values { value_size } else { 0 };
        ensure!(length == expected, "a value has {length} bytes, not {expected}");
    }
    Ok(())
}

/// How many messages a repeated field holds.
pub(super) fn messages(answer: &[u8], wanted: u64) -> anyhow::Result<u64> {
    let mut count = 0;
    for field in Fields::of(answer) {
        if let (number, Value::Bytes(_)) = field? {
            count += u64::from(number == wanted);
        }
    }
    Ok(count)
}

/// A request for all keys with a prefix, which is text and not empty.
pub(super) fn whole(prefix: &str) -> pb::RangeRequest {
    let key = Bytes::copy_from_slice(prefix.as_bytes());
    pb::RangeRequest { key, range_end: end_of(prefix), ..pb::RangeRequest::default() }
}

/// The first key behind all that have a prefix.
pub(super) fn end_of(prefix: &str) -> Bytes {
    let mut end = prefix.as_bytes().to_vec();
    // Text has no byte 255, so the last one can be raised; no prefix at all is every key.
    match end.last_mut() {
        Some(last) => *last += 1,
        None => end.push(0),
    }
    end.into()
}

pub(super) fn request_op(request: pb::request_op::Request) -> pb::RequestOp {
    pb::RequestOp { request: Some(request) }
}

/// The key with a number, in exactly `size` bytes (at least its prefix and 12 digits).
pub(super) fn key(prefix: &str, number: u64, size: usize) -> Bytes {
    let mut key = format!("{prefix}{number:012}").into_bytes();
    key.resize(size.max(key.len()), b'k');
    key.into()
}

#[cfg(test)]
mod tests {
    use prost::Message as _;
    use proto::mvccpb;

    use super::*;

    fn answer(found: usize, count: i64, more: bool, value: &'static str) -> Vec<u8> {
        let kv = mvccpb::KeyValue { value: value.into(), ..mvccpb::KeyValue::default() };
        pb::RangeResponse {
            header: Some(pb::ResponseHeader { revision: 1, ..pb::ResponseHeader::default() }),
            kvs: vec![kv; found],
            more,
            count,
        }
        .encode_to_vec()
    }

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        flags: LoadFlags,
    }

    /// A store that compresses would else be measured with data that nobody has.
    #[test]
    fn no_value_repeats_the_one_before() {
        let line = ["bench", "--endpoints", "http://127.0.0.1:1", "--val-size", "1000"];
        let flags = <Line as clap::Parser>::parse_from(line).flags;
        let mut maker = Maker::new(Kind::Put, &flags, 0);
        let (first, second) = (maker.put(0).value, maker.put(1).value);
        assert_eq!((first.len(), second.len()), (1000, 1000));
        assert!(first.windows(8).all(|part| !second.windows(8).any(|other| other == part)));
    }

    #[test]
    fn a_range_is_right_only_with_the_keys_that_are_there() {
        let judge = |shape, answer: Vec<u8>| judge_range(shape, 10, 3, &answer).is_ok();
        let prefix = |limit, keys_only| Shape::Prefix { limit, keys_only };
        assert!(judge(Shape::Key, answer(1, 1, false, "abc")));
        assert!(!judge(Shape::Key, answer(0, 0, false, "abc")), "no key");
        assert!(!judge(Shape::Key, answer(1, 1, false, "ab")), "another value");
        assert!(judge(prefix(0, false), answer(10, 10, false, "abc")));
        assert!(!judge(prefix(0, false), answer(9, 10, false, "abc")), "one is missing");
        assert!(judge(prefix(4, false), answer(4, 10, true, "abc")));
        assert!(!judge(prefix(4, false), answer(4, 4, false, "abc")), "the others are not counted");
        assert!(judge(prefix(20, true), answer(10, 10, false, "")));
        assert!(!judge(prefix(20, true), answer(10, 10, false, "abc")), "values");
        assert!(judge(Shape::Count, answer(0, 10, false, "")));
        assert!(!judge(Shape::Count, answer(0, 9, false, "")));
    }

    #[test]
    fn keys_have_their_size_and_lie_below_their_prefix() {
        assert_eq!(key("p/", 7, 20), "p/000000000007kkkkkk");
        assert_eq!(key("p/", 7, 1), "p/000000000007");
        assert!(key("p/", u64::from(u32::MAX), 20) < end_of("p/"));
        assert_eq!(end_of("p/"), "p0");
    }
}
