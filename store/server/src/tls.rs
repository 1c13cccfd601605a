//! TLS towards clients and between members; files are read again when they change.

use std::{fs, io, sync::Arc};

use parking_lot::Mutex;
use rustls::{
    ClientConfig, RootCertStore, ServerConfig, crypto::ring::default_provider,
    server::WebPkiClientVerifier,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};

use crate::config::TlsFiles;

fn invalid(path: &std::path::Path, what: impl std::fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{}: {what}", path.display()))
}

fn certificates(path: &std::path::Path) -> io::Result<Vec<CertificateDer<'static>>> {
    let found = CertificateDer::pem_slice_iter(&fs::read(path).map_err(|e| invalid(path, e))?)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| invalid(path, error))?;
    if found.is_empty() { Err(invalid(path, "has no certificate")) } else { Ok(found) }
}

fn roots(path: &std::path::Path) -> io::Result<RootCertStore> {
    let mut store = RootCertStore::empty();
    for certificate in certificates(path)? {
        store.add(certificate).map_err(|error| invalid(path, error))?;
    }
    Ok(store)
}

fn key(path: &std::path::Path) -> io::Result<PrivateKeyDer<'static>> {
    PrivateKeyDer::from_pem_slice(&fs::read(path).map_err(|e| invalid(path, e))?)
        .map_err(|error| invalid(path, error))
}

fn build_server(files: &TlsFiles, alpn: &[&[u8]]) -> io::Result<ServerConfig> {
    let (Some(cert), Some(key_path)) = (&files.cert, &files.key) else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "no certificate is configured"));
    };
    let provider = Arc::new(default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?;
    let builder = match &files.ca {
        Some(ca) => {
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots(ca)?), provider);
            let verifier =
                if files.require_client_cert { verifier } else { verifier.allow_unauthenticated() };
            builder.with_client_cert_verifier(verifier.build().map_err(|e| invalid(ca, e))?)
        }
        None => builder.with_no_client_auth(),
    };
    let mut config = builder
        .with_single_cert(certificates(cert)?, key(key_path)?)
        .map_err(|error| invalid(cert, error))?;
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    Ok(config)
}

/// A server side whose certificate can be replaced on disk while it runs.
pub(crate) struct Server {
    files: TlsFiles,
    alpn: &'static [&'static [u8]],
    current: Mutex<(Vec<Option<std::time::SystemTime>>, Arc<ServerConfig>)>,
}

impl Server {
    pub(crate) fn new(files: &TlsFiles, alpn: &'static [&'static [u8]]) -> io::Result<Self> {
        let config = Arc::new(build_server(files, alpn)?);
        let current = Mutex::new((stamps(files), config));
        Ok(Self { files: files.clone(), alpn, current })
    }

    /// The configuration for the next handshake.
    pub(crate) fn config(&self) -> Arc<ServerConfig> {
        let now = stamps(&self.files);
        let mut current = self.current.lock();
        if current.0 != now {
            match build_server(&self.files, self.alpn) {
                Ok(config) => *current = (now, Arc::new(config)),
                Err(error) => tracing::warn!(%error, "cannot read changed certificates"),
            }
        }
        current.1.clone()
    }
}

fn stamps(files: &TlsFiles) -> Vec<Option<std::time::SystemTime>> {
    [&files.cert, &files.key, &files.ca]
        .into_iter()
        .map(|path| fs::metadata(path.as_ref()?).ok()?.modified().ok())
        .collect()
}

/// The client side towards peers.
pub(crate) fn client(files: &TlsFiles) -> io::Result<ClientConfig> {
    let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?;
    let builder = builder.with_root_certificates(match &files.ca {
        Some(ca) => roots(ca)?,
        None => RootCertStore::empty(),
    });
    let mut config = match (&files.cert, &files.key) {
        (Some(cert), Some(key_path)) => builder
            .with_client_auth_cert(certificates(cert)?, key(key_path)?)
            .map_err(|error| invalid(cert, error))?,
        _ => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}
