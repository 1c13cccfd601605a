//! Who may do everything on a server, and how a client proves to be that one.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

use crate::certificates::Pair;

/// The administrator of a server: by a client certificate, or by a token.
pub(crate) struct Identity {
    pub(crate) url: String,
    /// PEM.
    pub(crate) ca: String,
    pub(crate) client: Pair,
    pub(crate) token: String,
}

/// A token that nobody guesses.
pub(crate) fn token() -> String {
    URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>())
}

impl Identity {
    /// A kubeconfig with everything in it; its text is its own YAML.
    pub(crate) fn kubeconfig(&self) -> String {
        let Self { url, ca, client, .. } = self;
        let (ca, certificate, key) = (
            STANDARD.encode(ca),
            STANDARD.encode(&client.certificate),
            STANDARD.encode(&client.key),
        );
        format!(
            "apiVersion: v1
kind: Config
clusters:
- name: ephemeral
  cluster:
    server: {url}
    certificate-authority-data: {ca}
users:
- name: admin
  user:
    client-certificate-data: {certificate}
    client-key-data: {key}
contexts:
- name: ephemeral
  context:
    cluster: ephemeral
    user: admin
current-context: ephemeral
"
        )
    }
}
