//! The client side towards peers.

use std::{io, path::Path, sync::Arc};

use parking_lot::Mutex;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::{
        ResolvesClientCert, WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    sign::CertifiedKey,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::{Stamp, pair, roots, stamps, suites};
use crate::config::TlsFiles;

/// Where systems keep the authorities that everybody trusts.
const SYSTEM_ROOTS: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// The configuration for connections to peers; it follows changed files by itself.
///
/// # Errors
/// If the files cannot be used now.
pub(crate) fn client(files: &TlsFiles) -> io::Result<ClientConfig> {
    let provider = Arc::new(suites::provider(&files.cipher_suites));
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&suites::versions(files.versions))
        .map_err(io::Error::other)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Authorities::new(files, provider.clone())?));
    let mut config = match Own::new(files, provider)? {
        Some(own) => builder.with_client_cert_resolver(Arc::new(own)),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

/// What was made of files, with their state then.
type Kept<T> = Mutex<(Vec<Stamp>, T)>;

/// Makes it again if the files changed; keeps the old one if they cannot be used.
fn refresh<T: Clone>(kept: &Kept<T>, now: Vec<Stamp>, make: impl FnOnce() -> io::Result<T>) -> T {
    let mut kept = kept.lock();
    if kept.0 != now {
        match make() {
            Ok(made) => kept.1 = made,
            Err(error) => tracing::warn!(%error, "cannot use changed certificates"),
        }
        kept.0 = now;
    }
    kept.1.clone()
}

/// This member's certificate as a client.
#[derive(Debug)]
struct Own {
    files: TlsFiles,
    provider: Arc<CryptoProvider>,
    kept: Kept<Arc<CertifiedKey>>,
}

impl Own {
    fn new(files: &TlsFiles, provider: Arc<CryptoProvider>) -> io::Result<Option<Self>> {
        if files.cert.is_none() && files.client_cert.is_none() {
            return Ok(None);
        }
        let now = Self::stamps(files);
        let made = Self::make(files, &provider)?;
        Ok(Some(Self { files: files.clone(), provider, kept: Mutex::new((now, made)) }))
    }

    fn stamps(files: &TlsFiles) -> Vec<Stamp> {
        stamps([&files.cert, &files.key, &files.client_cert, &files.client_key])
    }

    fn make(files: &TlsFiles, provider: &CryptoProvider) -> io::Result<Arc<CertifiedKey>> {
        let cert = files.client_cert.as_ref().or(files.cert.as_ref());
        let key = files.client_key.as_ref().or(files.key.as_ref());
        match (cert, key) {
            (Some(cert), Some(key)) => pair(cert, key, provider).map(Arc::new),
            _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "a certificate without its key")),
        }
    }
}

impl ResolvesClientCert for Own {
    fn resolve(
        &self,
        _root_hint_subjects: &[&[u8]],
        _schemes: &[SignatureScheme],
    ) -> Option<Arc<CertifiedKey>> {
        let make = || Self::make(&self.files, &self.provider);
        Some(refresh(&self.kept, Self::stamps(&self.files), make))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// Who may sign the certificates of peers.
#[derive(Debug)]
struct Authorities {
    files: TlsFiles,
    provider: Arc<CryptoProvider>,
    /// None where members make their own certificates: then nobody can vouch for them.
    kept: Option<Kept<Arc<WebPkiServerVerifier>>>,
}

fn system_roots() -> io::Result<RootCertStore> {
    match SYSTEM_ROOTS.into_iter().map(Path::new).find(|path| path.exists()) {
        Some(path) => roots(path),
        None => Ok(RootCertStore::empty()),
    }
}

impl Authorities {
    fn new(files: &TlsFiles, provider: Arc<CryptoProvider>) -> io::Result<Self> {
        let now = stamps([&files.ca]);
        let trusting = files.self_signed_years.is_some() && files.ca.is_none();
        let plain = files.cert.is_none() && files.ca.is_none();
        let kept = if trusting || plain {
            None
        } else {
            Some(Mutex::new((now, Self::make(files, &provider)?)))
        };
        Ok(Self { files: files.clone(), provider, kept })
    }

    fn make(
        files: &TlsFiles,
        provider: &Arc<CryptoProvider>,
    ) -> io::Result<Arc<WebPkiServerVerifier>> {
        let roots = match &files.ca {
            Some(ca) => roots(ca)?,
            None => system_roots()?,
        };
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone())
            .build()
            .map_err(io::Error::other)
    }
}

impl ServerCertVerifier for Authorities {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(kept) = &self.kept else {
            // As etcd with --peer-auto-tls: the link is encrypted, and nobody is known by it.
            return if self.files.self_signed_years.is_some() {
                Ok(ServerCertVerified::assertion())
            } else {
                Err(CertificateError::UnknownIssuer.into())
            };
        };
        let make = || Self::make(&self.files, &self.provider);
        let verifier = refresh(kept, stamps([&self.files.ca]), make);
        verifier.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
