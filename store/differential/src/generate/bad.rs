//! What no client should send: empty keys, bytes that are no message, what is too large.

use bytes::Bytes;
use prost::Message;
use proto::etcdserverpb as pb;
use rand::Rng as _;

use super::Generator;
use crate::step::Step;
use crate::wire::method;

/// A proposal may have 1.5 MiB; gRPC lets half a MiB more in.
const PROPOSAL_BYTES_MAX: usize = 1_572_864;
const MESSAGE_BYTES_MAX: usize = PROPOSAL_BYTES_MAX + (512 << 10);

impl Generator {
    pub(super) fn bad(&mut self) -> Step {
        match self.rng.random_range(0..200) {
            0..40 => {
                let range = pb::RangeRequest { key: Bytes::new(), ..self.range_request() };
                Step::call("KV/Range", &range)
            }
            40..60 => {
                Step::call("KV/Put", &pb::PutRequest { key: Bytes::new(), ..self.put_request() })
            }
            60..80 => {
                let delete = pb::DeleteRangeRequest { key: Bytes::new(), ..self.delete_request() };
                Step::call("KV/DeleteRange", &delete)
            }
            80..130 => self.cut(),
            130..170 => self.scrambled(),
            198 if self.large => self.large(PROPOSAL_BYTES_MAX + 4096),
            199 if self.large => self.large(MESSAGE_BYTES_MAX + 1),
            _ => self.unknown_fields(),
        }
    }

    /// A message that ends too early.
    fn cut(&mut self) -> Step {
        let (name, whole) = match self.rng.random_range(0..3) {
            0 => ("KV/Range", self.range_request().encode_to_vec()),
            1 => ("KV/Put", self.put_request().encode_to_vec()),
            _ => ("KV/DeleteRange", self.delete_request().encode_to_vec()),
        };
        let keep = self.rng.random_range(0..=whole.len());
        raw(name, whole[..keep].to_vec())
    }

    /// Bytes that may mean anything.
    fn scrambled(&mut self) -> Step {
        let length = self.rng.random_range(1..12);
        // Field numbers and lengths are small.
        let bytes = (0..length).map(|_| match self.rng.random_range(0..4) {
            0 => self.rng.random::<u8>(),
            _ => self.rng.random_range(0..40),
        });
        let bytes = bytes.collect();
        // Only reads: where two decoders disagree, nothing must come of it.
        raw(["KV/Range", "Lease/LeaseTimeToLive"][self.rng.random_range(0..2)], bytes)
    }

    /// A right message, with fields of a later version after it.
    fn unknown_fields(&mut self) -> Step {
        let mut bytes =
            pb::RangeRequest { key: self.key(), ..pb::RangeRequest::default() }.encode_to_vec();
        // Field 200 in every form that takes bytes: number, eight bytes, a string, four bytes.
        match self.rng.random_range(0..4) {
            0 => bytes.extend([0xc0, 0x0c, 0x05]),
            1 => bytes.extend([0xc1, 0x0c, 1, 2, 3, 4, 5, 6, 7, 8]),
            2 => bytes.extend([0xc2, 0x0c, 0x02, b'h', b'i']),
            _ => bytes.extend([0xc5, 0x0c, 1, 2, 3, 4]),
        }
        raw("KV/Range", bytes)
    }

    fn large(&mut self, bytes: usize) -> Step {
        let put = pb::PutRequest {
            key: self.key(),
            value: Bytes::from(vec![b'x'; bytes]),
            ..pb::PutRequest::default()
        };
        Step::call("KV/Put", &put)
    }
}

fn raw(name: &str, bytes: Vec<u8>) -> Step {
    Step::Raw { method: method(name).expect("named in the source"), bytes: bytes.into() }
}
