//! etcd's methods by name, and a gRPC client that carries their messages as bytes.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use anyhow::Context as _;
use bytes::{Buf as _, BufMut as _, Bytes};
use http::uri::PathAndQuery;
use prost::Message;
use prost::encoding::decode_varint;
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor};
use tonic::Status;
use tonic::codec::{BufferSettings, Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};

/// One method of etcd's services.
#[derive(Clone, Debug)]
pub struct Method {
    /// As scripts name it: `KV/Range`.
    pub name: String,
    /// What the request line of HTTP/2 says.
    pub path: PathAndQuery,
    /// The request.
    pub input: MessageDescriptor,
    /// The answer.
    pub output: MessageDescriptor,
}

static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| {
    DescriptorPool::decode(proto::DESCRIPTORS).expect("the build wrote these descriptors")
});

static METHODS: LazyLock<BTreeMap<String, Method>> = LazyLock::new(|| {
    let mut methods = BTreeMap::new();
    for service in POOL.services() {
        if !["etcdserverpb", "v3lockpb", "v3electionpb"].contains(&service.package_name()) {
            continue;
        }
        for method in service.methods() {
            let name = format!("{}/{}", service.name(), method.name());
            let path = format!("/{}/{}", service.full_name(), method.name());
            let path = path.parse().expect("names of methods are plain");
            let (input, output) = (method.input(), method.output());
            methods.insert(name.clone(), Method { name, path, input, output });
        }
    }
    methods
});

/// The method of a name such as `KV/Range`.
///
/// # Errors
/// When etcd has none of that name.
pub(crate) fn method(name: &str) -> anyhow::Result<&'static Method> {
    METHODS.get(name).with_context(|| format!("etcd has no method {name}"))
}

/// A typed message as one that knows its fields' names.
pub(crate) fn dynamic(descriptor: &MessageDescriptor, message: &impl Message) -> DynamicMessage {
    DynamicMessage::decode(descriptor.clone(), message.encode_to_vec().as_slice())
        .expect("both come from the same descriptors")
}

/// A message as a type: the reverse.
pub(crate) fn typed<M: Message + Default>(message: &DynamicMessage) -> M {
    M::decode(message.encode_to_vec().as_slice()).expect("both come from the same descriptors")
}

/// Whether a group begins among the fields of a message, itself right or wrong.
pub(crate) fn has_group(mut message: &[u8]) -> bool {
    while let Ok(tag) = decode_varint(&mut message) {
        let length = match tag & 7 {
            0 if decode_varint(&mut message).is_ok() => 0,
            1 => 8,
            2 => match decode_varint(&mut message) {
                Ok(length) => length,
                Err(_) => return false,
            },
            3 => return true,
            5 => 4,
            _ => return false,
        };
        match usize::try_from(length).ok().and_then(|length| message.get(length..)) {
            Some(rest) => message = rest,
            None => return false,
        }
    }
    false
}

/// Messages are bytes to it, so that they can be wrong.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct BytesCodec;

impl Codec for BytesCodec {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for BytesCodec {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(item);
        Ok(())
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::default()
    }
}

impl Decoder for BytesCodec {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_seen_behind_every_other_field() {
        assert!(has_group(&[0x1b]));
        assert!(has_group(&[
            8, 1, 17, 1, 2, 3, 4, 5, 6, 7, 8, 0x1a, 1, b'x', 37, 1, 2, 3, 4, 0x1b
        ]));
        // Its tag as a value, in a string, after the message's end.
        assert!(!has_group(&[8, 0x1b, 0x1a, 1, 0x1b, 0x1a, 2, 0x1b]));
        assert!(!has_group(&[]));
    }
}
