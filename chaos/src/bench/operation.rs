//! The requests, encoded by the generated types and framed for gRPC.

use bytes::{BufMut as _, Bytes, BytesMut};
use prost::Message;
use proto::etcdserverpb as pb;
use rand::Rng as _;
use rand::SeedableRng as _;
use rand::rngs::StdRng;

use super::LoadFlags;

/// A kind of operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One key written.
    Put,
    /// One key read.
    Range {
        /// Without a round to the other members.
        serializable: bool,
    },
    /// Several keys written in one transaction.
    Txn {
        /// How many.
        puts: usize,
    },
}

impl Kind {
    /// The name in reports.
    pub fn name(self) -> String {
        match self {
            Self::Put => "put".to_owned(),
            Self::Range { serializable: false } => "range-linearizable".to_owned(),
            Self::Range { serializable: true } => "range-serializable".to_owned(),
            Self::Txn { puts } => format!("txn-{puts}-puts"),
        }
    }

    /// The path of the call.
    pub(super) fn path(self) -> &'static str {
        match self {
            Self::Put => "/etcdserverpb.KV/Put",
            Self::Range { .. } => "/etcdserverpb.KV/Range",
            Self::Txn { .. } => "/etcdserverpb.KV/Txn",
        }
    }
}

/// Makes one client's requests.
#[derive(Debug)]
pub(super) struct Maker {
    kind: Kind,
    key_size: usize,
    key_space: u64,
    sequential: bool,
    value: Bytes,
    rng: StdRng,
}

impl Maker {
    pub(super) fn new(kind: Kind, flags: &LoadFlags, client: usize) -> Self {
        let mut rng = StdRng::seed_from_u64(flags.seed.wrapping_add(client as u64));
        let value: Vec<u8> = (0..flags.val_size).map(|_| rng.random()).collect();
        Self {
            kind,
            key_size: flags.key_size,
            key_space: flags.key_space.max(1),
            sequential: flags.sequential_keys,
            value: value.into(),
            rng,
        }
    }

    /// The request of one turn, as one gRPC frame.
    pub(super) fn request(&mut self, turn: u64) -> Bytes {
        match self.kind {
            Kind::Put => frame(&self.put(turn)),
            Kind::Range { serializable } => {
                let key = self.key(turn);
                frame(&pb::RangeRequest { key, serializable, ..pb::RangeRequest::default() })
            }
            Kind::Txn { puts } => {
                let success = (0..puts as u64)
                    .map(|place| {
                        // Neighbours in order, so that no key is in a transaction twice.
                        let put = self.put(turn.wrapping_mul(puts as u64).wrapping_add(place));
                        let request = pb::request_op::Request::RequestPut(put);
                        pb::RequestOp { request: Some(request) }
                    })
                    .collect();
                frame(&pb::TxnRequest { success, ..pb::TxnRequest::default() })
            }
        }
    }

    fn put(&mut self, turn: u64) -> pb::PutRequest {
        let key = self.key(turn);
        pb::PutRequest { key, value: self.value.clone(), ..pb::PutRequest::default() }
    }

    fn key(&mut self, turn: u64) -> Bytes {
        let in_order = self.sequential || matches!(self.kind, Kind::Txn { .. });
        let number =
            if in_order { turn % self.key_space } else { self.rng.random_range(0..self.key_space) };
        key(number, self.key_size)
    }
}

/// The key with a number, in exactly `size` bytes (at least its 12 digits).
pub(super) fn key(number: u64, size: usize) -> Bytes {
    let mut key = format!("{number:012}").into_bytes();
    key.resize(size.max(key.len()), b'k');
    key.into()
}

fn frame(message: &impl Message) -> Bytes {
    let length = message.encoded_len();
    let mut frame = BytesMut::with_capacity(length + 5);
    frame.put_u8(0);
    frame.put_u32(u32::try_from(length).expect("a request is far below 4 GiB"));
    message.encode(&mut frame).expect("the buffer grows");
    frame.freeze()
}
