//! What is asked of the other side's certificate beside its signature: not revoked, an allowed
//! name, the address it comes from.

use std::{collections::HashSet, io, net::IpAddr, sync::Arc};

use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    server::danger::{ClientCertVerified, ClientCertVerifier},
};
use rustls_pki_types::{CertificateDer, UnixTime};
use x509_parser::{
    extensions::GeneralName,
    prelude::{FromDer as _, X509Certificate},
    revocation_list::CertificateRevocationList,
};

use super::{invalid, read};
use crate::config::TlsFiles;

/// Why a certificate of the right authority is refused all the same.
#[derive(Debug, thiserror::Error)]
enum Why {
    #[error("certificate serial {0:x?} revoked")]
    Revoked(Vec<u8>),
    #[error("client certificate authentication failed: its names are not allowed")]
    Name,
}

fn refuse(why: Why) -> Error {
    CertificateError::Other(OtherError(Arc::new(why))).into()
}

/// rustls' own check of a client's certificate, and ours after it.
#[derive(Debug)]
pub(super) struct Checked {
    inner: Arc<dyn ClientCertVerifier>,
    revoked: HashSet<Vec<u8>>,
    allowed_cn: Vec<String>,
    allowed_hostname: Vec<String>,
}

/// The serials in a list of revoked certificates. As etcd: whoever signed it, and for each
/// certificate of the chain.
fn revoked(files: &TlsFiles) -> io::Result<HashSet<Vec<u8>>> {
    let Some(path) = &files.crl else { return Ok(HashSet::new()) };
    let content = read(path)?;
    let der = if content.starts_with(b"-----BEGIN") {
        let (_, pem) =
            x509_parser::pem::parse_x509_pem(&content).map_err(|error| invalid(path, error))?;
        pem.contents
    } else {
        content
    };
    let (_, list) =
        CertificateRevocationList::from_der(&der).map_err(|error| invalid(path, error))?;
    let serials = list.iter_revoked_certificates();
    Ok(serials.map(|revoked| serial(revoked.raw_serial())).collect())
}

/// Without the zeros that keep a number positive.
fn serial(raw: &[u8]) -> Vec<u8> {
    let zeros = raw.iter().take_while(|byte| **byte == 0).count();
    raw[zeros..].to_vec()
}

fn parse<'a>(certificate: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, Error> {
    X509Certificate::from_der(certificate)
        .map(|(_, parsed)| parsed)
        .map_err(|_| CertificateError::BadEncoding.into())
}

impl Checked {
    pub(super) fn new(inner: Arc<dyn ClientCertVerifier>, files: &TlsFiles) -> io::Result<Self> {
        Ok(Self {
            inner,
            revoked: revoked(files)?,
            allowed_cn: files.allowed_cn.clone(),
            allowed_hostname: files.allowed_hostname.clone(),
        })
    }

    fn check_names(&self, leaf: &X509Certificate<'_>) -> Result<(), Error> {
        if !self.allowed_cn.is_empty() {
            let mut names = leaf.subject().iter_common_name().filter_map(|name| name.as_str().ok());
            if !names.any(|name| self.allowed_cn.iter().any(|allowed| allowed == name)) {
                return Err(refuse(Why::Name));
            }
        }
        if !self.allowed_hostname.is_empty() {
            let names = Names::of(leaf);
            if !self.allowed_hostname.iter().any(|host| names.cover(host)) {
                return Err(refuse(Why::Name));
            }
        }
        Ok(())
    }
}

impl ClientCertVerifier for Checked {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.inner.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.inner.verify_client_cert(end_entity, intermediates, now)?;
        if !self.revoked.is_empty() {
            for certificate in std::iter::once(end_entity).chain(intermediates) {
                let serial = serial(parse(certificate)?.raw_serial());
                if self.revoked.contains(&serial) {
                    return Err(refuse(Why::Revoked(serial)));
                }
            }
        }
        self.check_names(&parse(end_entity)?)?;
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

/// The alternative names of a certificate.
struct Names {
    addresses: Vec<IpAddr>,
    hosts: Vec<String>,
}

impl Names {
    fn of(certificate: &X509Certificate<'_>) -> Self {
        let mut names = Self { addresses: Vec::new(), hosts: Vec::new() };
        let Ok(Some(found)) = certificate.subject_alternative_name() else { return names };
        for name in &found.value.general_names {
            match name {
                GeneralName::DNSName(host) => names.hosts.push(host.to_lowercase()),
                GeneralName::IPAddress(bytes) => names.addresses.extend(address_of(bytes)),
                _ => {}
            }
        }
        names
    }

    /// Whether `host`, a name or an address, is one of them.
    fn cover(&self, host: &str) -> bool {
        if let Ok(address) = host.trim_matches(['[', ']']).parse::<IpAddr>() {
            return self.addresses.contains(&address);
        }
        let host = host.trim_end_matches('.').to_lowercase();
        self.hosts.iter().any(|name| {
            *name == host
                || name.strip_prefix("*.").is_some_and(|parent| {
                    host.split_once('.').is_some_and(|(_, rest)| rest == parent)
                })
        })
    }
}

fn address_of(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
        16 => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
        _ => None,
    }
}

/// Whether a certificate may come from `from`: it names the address, or a host that has it; or it
/// names none at all. A host of a wildcard cannot be looked up, so such a certificate is let pass.
pub(super) async fn address(leaf: &CertificateDer<'_>, from: IpAddr) -> Result<(), String> {
    let names = Names::of(&parse(leaf).map_err(|error| error.to_string())?);
    let from = from.to_canonical();
    if names.addresses.is_empty() && names.hosts.is_empty() {
        return Ok(());
    }
    if names.addresses.contains(&from) || names.hosts.iter().any(|host| host.starts_with("*.")) {
        return Ok(());
    }
    for host in &names.hosts {
        let found = tokio::net::lookup_host((host.as_str(), 0));
        let found = tokio::time::timeout(crate::limits::HANDSHAKE_TIMEOUT, found).await;
        if let Ok(Ok(mut found)) = found
            && found.any(|address| address.ip().to_canonical() == from)
        {
            return Ok(());
        }
    }
    let Names { addresses, hosts } = names;
    Err(format!("{from} matches none of the addresses {addresses:?} and hosts {hosts:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_match_as_in_go() {
        let names = Names {
            addresses: vec!["10.0.0.1".parse().unwrap()],
            hosts: vec!["a.example".to_owned(), "*.b.example".to_owned()],
        };
        for good in ["10.0.0.1", "a.example", "A.example.", "x.b.example"] {
            assert!(names.cover(good), "{good}");
        }
        for bad in ["10.0.0.2", "b.example", "x.y.b.example", "example", ""] {
            assert!(!names.cover(bad), "{bad}");
        }
    }

    #[test]
    fn serials_are_compared_as_numbers() {
        assert_eq!(serial(&[0, 0x80, 1]), [0x80, 1]);
        assert_eq!(serial(&[7]), [7]);
    }
}
