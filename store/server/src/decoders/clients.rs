//! What clients send: JSON of the gateway, names of locks, tokens, certificates, ranges in pieces.

use std::path::Path;

use bytes::Bytes;
use proto::etcdserverpb::{RangeRequest, RangeResponse};
use store_state_machine::View;

use crate::{
    auth::{self, JwtOptions},
    gateway,
    rpc::{range_stream, session},
};

/// The JSON documents `text` of a request to the gateway's `path`, each of at most `limit` bytes, as
/// messages of gRPC.
///
/// # Errors
/// What the client is told.
pub fn gateway_request(path: &str, text: &[u8], limit: usize) -> Result<Vec<Vec<u8>>, String> {
    gateway::request(path, text, limit)
}

/// The JSON that answers a request at the gateway's `path` when the services answer the message
/// `wire`.
///
/// # Errors
/// When the message is not the one that the path's RPC answers.
pub fn gateway_answer(path: &str, wire: &[u8]) -> Result<Vec<u8>, String> {
    gateway::answer(path, wire)
}

/// A message of etcd's packages to JSON and back: `name` is such as `etcdserverpb.PutRequest`. Answers
/// the JSON and the message that was made of it.
///
/// # Errors
/// When `wire` is not that message.
pub fn gateway_round_trip(name: &str, wire: &[u8]) -> Result<(Vec<u8>, Vec<u8>), String> {
    gateway::round_trip(name, wire)
}

/// The paths of the gateway, with the messages that are asked and answered.
#[must_use]
pub fn gateway_paths() -> Vec<(&'static str, String, String)> {
    gateway::paths()
}

/// Whether `RangeStream` takes a request.
///
/// # Errors
/// What the client is told.
pub fn range_stream(request: &RangeRequest) -> Result<(), String> {
    range_stream::check(request).map_err(|status| status.message().to_owned())
}

/// All pieces that `RangeStream` answers, each of about `target` bytes.
///
/// # Errors
/// What the client is told, or a fault of the state.
pub fn range_pieces(
    view: View,
    request: RangeRequest,
    target: usize,
) -> Result<Vec<RangeResponse>, String> {
    range_stream::pieces(view, request, target).map_err(|error| error.to_string())
}

/// The key of a waiter for the lock or election `name`, and the range of all of them.
#[must_use]
pub fn waiter(name: &[u8], lease: i64) -> (Bytes, RangeRequest) {
    session::waiter(name, lease)
}

/// Where a simple token was made, as it says itself.
#[must_use]
pub fn simple_token(token: &str) -> Option<u64> {
    auth::made_at(token)
}

/// The token in the value of a header.
///
/// # Errors
/// When it is no text.
pub fn header(name: &'static str, value: &[u8]) -> Result<Option<String>, String> {
    auth::token_of(name, value)
}

/// The common name in a client's certificate.
#[must_use]
pub fn common_name(certificate: &[u8]) -> Option<String> {
    auth::CommonName::of(certificate).map(|name| name.text().to_owned())
}

/// Signs and checks JSON web tokens with one secret.
pub struct SignedTokens(auth::Jwt);

impl SignedTokens {
    /// `secret` is a file that holds it.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn new(secret: &Path) -> Result<Self, String> {
        let options = JwtOptions {
            method: "HS256".to_owned(),
            public_key: None,
            private_key: Some(secret.to_path_buf()),
            ttl: std::time::Duration::from_secs(300),
        };
        auth::Jwt::load(&options).map(Self).map_err(|error| error.to_string())
    }

    /// A token for a user, as of an auth revision.
    ///
    /// # Errors
    /// When it cannot be signed.
    pub fn sign(&self, user: &str, revision: u64) -> Result<String, String> {
        self.0.sign(user, revision).map_err(|error| format!("{error:?}"))
    }

    /// Whose token it is, and the auth revision that it was made at.
    #[must_use]
    pub fn check(&self, token: &str) -> Option<(String, u64)> {
        self.0.check(token)
    }
}

/// Reads the key file of a signed kind of token; answers whether a private and a public key was found.
#[must_use]
pub fn token_keys(method: &str, pem: &[u8]) -> (bool, bool) {
    auth::read_keys(method, pem)
}
