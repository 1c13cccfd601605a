//! The gateway without a connection: what it makes of bytes that are all there.

use axum::body::Body;
use prost::bytes::Bytes;
use serde_json::Value;

use super::{
    Documents, decode, encode, line,
    paths::{self, PATHS},
    schema::{Method, SCHEMA},
};

fn method(path: &str) -> Result<&'static Method, String> {
    let rpc = paths::rpc(path).ok_or("Not Found")?;
    Ok(SCHEMA.method(rpc).expect("a test looks up every path"))
}

/// The messages of a request; those before the first document that cannot be read are lost.
pub(crate) fn request(path: &str, text: &[u8], limit: usize) -> Result<Vec<Vec<u8>>, String> {
    let body = Body::from(Bytes::copy_from_slice(text));
    let mut documents = Documents { body, buffer: Vec::new(), method: method(path)?, limit };
    let mut messages = Vec::new();
    // Nothing to wait for: the body is in memory.
    while let Some(next) = futures::executor::block_on(documents.next()) {
        messages.push(next.map_err(|error| error.to_string())?);
    }
    Ok(messages)
}

/// One line of JSON for an answer.
pub(crate) fn answer(path: &str, wire: &[u8]) -> Result<Vec<u8>, String> {
    let line = line(wire, method(path)?).map_err(|status| status.message().to_owned())?;
    Ok(line.to_vec())
}

/// The JSON of a message, and the message that is made of it again.
pub(crate) fn round_trip(name: &str, wire: &[u8]) -> Result<(Vec<u8>, Vec<u8>), String> {
    let mut json = Vec::new();
    encode::message(name, wire, &mut json).map_err(|error| error.to_string())?;
    let value: Value = serde_json::from_slice(&json).map_err(|error| error.to_string())?;
    let message = decode::message(name, &value).map_err(|error| error.to_string())?;
    Ok((json, message))
}

/// Every path, with the names of the messages that are asked and answered.
pub(crate) fn paths() -> Vec<(&'static str, String, String)> {
    let named = |path: &'static str| {
        let method = method(path).expect("a test looks up every path");
        (path, method.input.clone(), method.output.clone())
    };
    PATHS.iter().map(|(path, _)| named(path)).collect()
}
