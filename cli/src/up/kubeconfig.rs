//! Kubeconfig files: who one is, and where the API is.

use std::fs;
use std::path::Path;

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::pki::{Pair, write_private};

/// Writes a kubeconfig with everything in it, readable by its owner only: it holds a key.
pub(crate) fn write(
    path: &Path,
    server: &str,
    user: &str,
    ca: &Path,
    pair: &Pair,
) -> anyhow::Result<()> {
    let text =
        render(server, user, &encoded(ca)?, &encoded(&pair.certificate)?, &encoded(&pair.key)?);
    write_private(path, &text)
}

fn encoded(path: &Path) -> anyhow::Result<String> {
    let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(STANDARD.encode(bytes))
}

fn render(server: &str, user: &str, ca: &str, certificate: &str, key: &str) -> String {
    format!(
        "apiVersion: v1
kind: Config
clusters:
- name: orlop
  cluster:
    server: {server}
    certificate-authority-data: {ca}
users:
- name: {user}
  user:
    client-certificate-data: {certificate}
    client-key-data: {key}
contexts:
- name: orlop
  context:
    cluster: orlop
    user: {user}
current-context: orlop
"
    )
}
