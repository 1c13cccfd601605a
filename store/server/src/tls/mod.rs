//! TLS towards clients and between members; files are read again when they change.
//!
//! | Rule | What always holds |
//! |------|-------------------|
//! | T1 | A handshake uses the files as they are: what was replaced is read again before it. |
//! | T2 | Files that cannot be used do not replace those that could; the log says so. |
//! | T3 | Naming authorities means that the other side must have a certificate of theirs. |

mod check;
mod client;
mod self_signed;
mod suites;

use std::{
    fs, io,
    net::SocketAddr,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use parking_lot::Mutex;
use rustls::{
    RootCertStore, ServerConfig, crypto::CryptoProvider, server::WebPkiClientVerifier,
    sign::CertifiedKey,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};

use crate::config::TlsFiles;
use check::Checked;
pub(crate) use client::client;
pub(crate) use self_signed::complete;
pub(crate) use suites::check_suites;

fn invalid(path: &Path, what: impl std::fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{}: {what}", path.display()))
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    fs::read(path).map_err(|error| invalid(path, error))
}

fn certificates(path: &Path) -> io::Result<Vec<CertificateDer<'static>>> {
    let found = CertificateDer::pem_slice_iter(&read(path)?)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| invalid(path, error))?;
    if found.is_empty() { Err(invalid(path, "has no certificate")) } else { Ok(found) }
}

fn roots(path: &Path) -> io::Result<RootCertStore> {
    let mut store = RootCertStore::empty();
    for certificate in certificates(path)? {
        store.add(certificate).map_err(|error| invalid(path, error))?;
    }
    Ok(store)
}

/// A certificate chain with its key; an error if they do not belong together.
fn pair(cert: &Path, key: &Path, provider: &CryptoProvider) -> io::Result<CertifiedKey> {
    let private =
        PrivateKeyDer::from_pem_slice(&read(key)?).map_err(|error| invalid(key, error))?;
    CertifiedKey::from_der(certificates(cert)?, private, provider)
        .map_err(|error| invalid(cert, error))
}

/// How a file looks from outside: a change of it shows that it must be read again.
type Stamp = Option<(i64, i64, u64, u64)>;

fn stamps<'a>(paths: impl IntoIterator<Item = &'a Option<PathBuf>>) -> Vec<Stamp> {
    paths
        .into_iter()
        .map(|path| {
            let data = fs::metadata(path.as_ref()?).ok()?;
            Some((data.mtime(), data.mtime_nsec(), data.size(), data.ino()))
        })
        .collect()
}

fn build(files: &TlsFiles, alpn: &[&[u8]]) -> io::Result<ServerConfig> {
    let (Some(cert), Some(key)) = (&files.cert, &files.key) else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "no certificate is configured"));
    };
    let provider = Arc::new(suites::provider(&files.cipher_suites));
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&suites::versions(files.versions))
        .map_err(io::Error::other)?;
    let builder = match &files.ca {
        // T3
        Some(ca) => {
            let roots = Arc::new(roots(ca)?);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider.clone());
            let verifier = verifier.build().map_err(|error| invalid(ca, error))?;
            builder.with_client_cert_verifier(Arc::new(Checked::new(verifier, files)?))
        }
        None => builder.with_no_client_auth(),
    };
    let pair = Arc::new(pair(cert, key, &provider)?);
    let mut config =
        builder.with_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(pair)));
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    Ok(config)
}

/// A server side whose certificate can be replaced on disk while it runs.
pub(crate) struct Server {
    files: TlsFiles,
    alpn: &'static [&'static [u8]],
    current: Mutex<(Vec<Stamp>, Arc<ServerConfig>)>,
}

impl Server {
    pub(crate) fn new(files: &TlsFiles, alpn: &'static [&'static [u8]]) -> io::Result<Self> {
        let now = server_stamps(files);
        let config = Arc::new(build(files, alpn)?);
        Ok(Self { files: files.clone(), alpn, current: Mutex::new((now, config)) })
    }

    /// The configuration for the next handshake. Reads files: a few system calls if none changed.
    pub(crate) fn config(&self) -> Arc<ServerConfig> {
        let now = server_stamps(&self.files);
        let mut current = self.current.lock();
        if current.0 != now {
            match build(&self.files, self.alpn) {
                Ok(config) => {
                    tracing::info!(cert = ?self.files.cert, "certificates were read again");
                    current.1 = Arc::new(config);
                }
                // T2
                Err(error) => tracing::warn!(%error, "cannot use changed certificates"),
            }
            current.0 = now;
        }
        current.1.clone()
    }

    /// Whether a certificate may come from this address.
    ///
    /// # Errors
    /// Says what the certificate names instead.
    pub(crate) async fn check_address(
        &self,
        certificates: Option<&[CertificateDer<'_>]>,
        from: SocketAddr,
    ) -> Result<(), String> {
        match certificates.and_then(<[_]>::first) {
            Some(leaf) if self.files.check_address => check::address(leaf, from.ip()).await,
            _ => Ok(()),
        }
    }
}

fn server_stamps(files: &TlsFiles) -> Vec<Stamp> {
    stamps([&files.cert, &files.key, &files.ca, &files.crl])
}

#[cfg(test)]
#[path = "tls_test.rs"]
mod tls_test;
