//! TLS set-up: our certificate, optional client certificates, and connections to node agents.

use std::sync::Arc;

use anyhow::Context;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, ring};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    ClientConfig, DigitallySignedStruct, DistinguishedName, RootCertStore, ServerConfig,
    SignatureScheme,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};

use crate::authn::Verifiers;
use crate::config::{Config, Identity, KubeletConfig};

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn certificates(pem: &[u8]) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let found = found.context("not PEM")?;
    anyhow::ensure!(!found.is_empty(), "no certificate in the file");
    Ok(found)
}

/// Whether a certificate is in both bundles. What cannot be read is in none.
pub(crate) fn have_one_in_common(one: &[u8], other: &[u8]) -> bool {
    let (one, other) = (certificates(one).unwrap_or_default(), certificates(other));
    other.unwrap_or_default().iter().any(|certificate| one.contains(certificate))
}

fn key(pem: &[u8]) -> anyhow::Result<PrivateKeyDer<'static>> {
    PrivateKeyDer::from_pem_slice(pem).context("no private key in the file")
}

fn roots(pem: &[u8]) -> anyhow::Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(pem)? {
        roots.add(certificate)?;
    }
    Ok(roots)
}

/// The server's side of TLS.
#[derive(Clone, Debug)]
pub(crate) struct Door {
    pub(crate) config: Arc<ServerConfig>,
    pub(crate) verifiers: Verifiers,
}

/// Checks client certificates of these authorities.
fn verifier(pem: &[u8], flag: &'static str) -> anyhow::Result<Arc<dyn ClientCertVerifier>> {
    let roots = Arc::new(roots(pem).context(flag)?);
    let builder = WebPkiClientVerifier::builder_with_provider(roots, provider());
    builder.allow_unauthenticated().build().context(flag)
}

/// h2 and HTTP/1.1, client certificates asked for and never required.
pub(crate) fn server(config: &Config) -> anyhow::Result<Door> {
    let chain = certificates(&config.serving.certificate).context("--tls-cert-file")?;
    let private = key(&config.serving.key).context("--tls-private-key-file")?;
    let builder =
        ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
    let clients = config.client_ca.as_deref().map(|pem| verifier(pem, "--client-ca-file"));
    let proxies = config.front_proxy.as_ref().map(|proxy| &proxy.ca);
    let proxies = proxies.map(|pem| verifier(pem, "--requestheader-client-ca-file"));
    let verifiers = Verifiers { clients: clients.transpose()?, proxies: proxies.transpose()? };
    let builder = match Asked::of(&verifiers) {
        Some(asked) => builder.with_client_cert_verifier(Arc::new(asked)),
        None => builder.with_no_client_auth(),
    };
    let mut tls = builder.with_single_cert(chain, private).context("--tls-cert-file")?;
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Door { config: Arc::new(tls), verifiers })
}

/// Takes any client certificate whose key the client has. Whether it is good is asked for each
/// request: a bad one is a 401 that says so, and no broken connection.
#[derive(Debug)]
struct Asked {
    /// Any of them: of it only how signatures are checked is used.
    verifier: Arc<dyn ClientCertVerifier>,
    /// Whose certificates clients are asked for.
    authorities: Vec<DistinguishedName>,
}

impl Asked {
    fn of(verifiers: &Verifiers) -> Option<Self> {
        let all = [&verifiers.clients, &verifiers.proxies].into_iter().flatten();
        let authorities = all.clone().flat_map(|one| one.root_hint_subjects()).cloned().collect();
        Some(Self { verifier: all.clone().next()?.clone(), authorities })
    }
}

impl ClientCertVerifier for Asked {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.authorities
    }

    fn verify_client_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}

/// The client's side of TLS towards node agents.
pub(crate) fn kubelet_client(config: &KubeletConfig) -> anyhow::Result<ClientConfig> {
    let builder =
        ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
    let builder = match &config.ca {
        Some(pem) => {
            builder.with_root_certificates(roots(pem).context("--kubelet-certificate-authority")?)
        }
        None => builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyServer(
            ring::default_provider().signature_verification_algorithms,
        ))),
    };
    Ok(match &config.identity {
        Some(Identity { certificate, key: private }) => builder
            .with_client_auth_cert(
                certificates(certificate).context("--kubelet-client-certificate")?,
                key(private).context("--kubelet-client-key")?,
            )
            .context("--kubelet-client-certificate")?,
        None => builder.with_no_client_auth(),
    })
}

/// Accepts any serving certificate: upstream's behaviour without a kubelet CA.
#[derive(Debug)]
struct AnyServer(WebPkiSupportedAlgorithms);

impl ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, certificate, signed, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signed, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}
