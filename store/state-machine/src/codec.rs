//! Stored values: one version byte, then the encoded value.
//!
//! Records that must outlive a version of the program are protobuf. Bincode is only for what this
//! member can make again, such as the progress of the physical compaction.

use bytes::{BufMut, Bytes};
use prost::Message;
use serde::{Serialize, de::DeserializeOwned};

use crate::error::Fault;

/// Says how to read the bytes that follow it.
const VERSION: u8 = 1;

/// Of the layout as a whole: stands in the state record.
pub(crate) const FORMAT: u32 = 1;

pub(crate) fn encode(message: &impl Message) -> Vec<u8> {
    let mut out = Vec::with_capacity(1 + message.encoded_len());
    out.put_u8(VERSION);
    message.encode(&mut out).expect("a vector has room");
    out
}

/// Byte fields of the result share the one allocation made here.
pub(crate) fn decode<M: Message + Default>(stored: &[u8]) -> Result<M, Fault> {
    let body = body(stored)?;
    M::decode(Bytes::copy_from_slice(body)).map_err(|error| Fault::damaged(error.to_string()))
}

pub(crate) fn encode_local(value: &impl Serialize) -> Vec<u8> {
    let mut out = vec![VERSION];
    let config = bincode::config::standard();
    bincode::serde::encode_into_std_write(value, &mut out, config).expect("a vector has room");
    out
}

pub(crate) fn decode_local<T: DeserializeOwned>(stored: &[u8]) -> Result<T, Fault> {
    let config = bincode::config::standard().with_limit::<4096>();
    bincode::serde::decode_from_slice(body(stored)?, config)
        .map(|(value, _)| value)
        .map_err(|error| Fault::damaged(error.to_string()))
}

pub(crate) fn body(stored: &[u8]) -> Result<&[u8], Fault> {
    match stored.split_first() {
        Some((&VERSION, body)) => Ok(body),
        Some((other, _)) => Err(Fault::damaged(format!("stored value of version {other}"))),
        None => Err(Fault::damaged("stored value without a version")),
    }
}
