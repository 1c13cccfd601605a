//! Who a client certificate speaks for: CN is the name, every O a group.

use std::fmt::Write as _;

use std::sync::Arc;

use rustls::server::danger::ClientCertVerifier;
use rustls_pki_types::{CertificateDer, UnixTime};
use sha2::{Digest, Sha256};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::User;

/// The attribute of a subject that holds a user's id.
const UID: &str = "1.3.6.1.4.1.57683.2";

/// Who checks client certificates.
#[derive(Debug, Clone, Default)]
pub(crate) struct Verifiers {
    /// Of clients that speak for themselves.
    pub(crate) clients: Option<Arc<dyn ClientCertVerifier>>,
    /// Of proxies that speak for others.
    pub(crate) proxies: Option<Arc<dyn ClientCertVerifier>>,
}

/// The certificate that a connection showed. One that is not good is no reason to hang up: the
/// requests are refused, as upstream does, unless they show something better.
#[derive(Debug)]
pub(crate) struct Certificate {
    /// `Ok(None)` when it names nobody.
    user: Result<Option<User>, String>,
    /// The name of a proxy.
    proxy: Result<String, String>,
    not_after_s: i64,
}

impl Certificate {
    /// Reads and checks a chain; `None` when the connection showed none, or nobody checks them.
    pub(crate) fn of(chain: &[CertificateDer<'_>], verifiers: &Verifiers) -> Option<Self> {
        let (first, intermediates) = chain.split_first()?;
        let Verifiers { clients, proxies } = verifiers;
        if clients.is_none() && proxies.is_none() {
            return None;
        }
        let Ok((_, certificate)) = X509Certificate::from_der(first) else {
            let why = || "it cannot be read".to_owned();
            return Some(Self { user: Err(why()), proxy: Err(why()), not_after_s: 0 });
        };
        let verified = |verifier: &Arc<dyn ClientCertVerifier>| {
            let verified = verifier.verify_client_cert(first, intermediates, UnixTime::now());
            verified.map_err(|error| error.to_string())
        };
        let user = match clients {
            Some(verifier) => verified(verifier).and_then(|_| user(first, &certificate)),
            None => Ok(None),
        };
        let proxy = match proxies {
            Some(verifier) => verified(verifier).map(|_| common_name(&certificate).to_owned()),
            None => Err("nobody checks proxies".to_owned()),
        };
        Some(Self { user, proxy, not_after_s: certificate.validity().not_after.timestamp() })
    }

    /// The user at this time; the error says why there is none.
    pub(super) fn user(&self, now_s: i64) -> Result<Option<&User>, &str> {
        let user = self.user.as_ref().map_err(String::as_str)?;
        if now_s > self.not_after_s { Err("it has expired") } else { Ok(user.as_ref()) }
    }

    /// The proxy's name at this time, may be empty; the error says why it is none.
    pub(super) fn proxy(&self, now_s: i64) -> Result<&str, &str> {
        let name = self.proxy.as_ref().map_err(String::as_str)?;
        if now_s > self.not_after_s { Err("it has expired") } else { Ok(name) }
    }
}

/// Of several names the last one counts, as upstream's library has it.
fn common_name<'a>(certificate: &'a X509Certificate<'_>) -> &'a str {
    let name = certificate.subject().iter_common_name().last();
    name.and_then(|name| name.as_str().ok()).unwrap_or_default()
}

fn user(der: &[u8], certificate: &X509Certificate<'_>) -> Result<Option<User>, String> {
    let subject = certificate.subject();
    let name = common_name(certificate);
    if name.is_empty() {
        return Ok(None);
    }
    let groups = subject
        .iter_organization()
        .filter_map(|organization| organization.as_str().ok())
        .map(str::to_owned)
        .collect();
    let uid =
        |one: &&x509_parser::x509::AttributeTypeAndValue<'_>| one.attr_type().to_id_string() == UID;
    let mut uids = subject.iter_attributes().filter(uid);
    let uid = match (uids.next(), uids.next()) {
        (None, _) => "",
        (Some(one), None) => one.as_str().map_err(|_| "its user id is no text".to_owned())?,
        (Some(_), Some(_)) => return Err("it has several user ids".to_owned()),
    };
    let mut user = User::authenticated(name.to_owned(), uid.to_owned(), groups);
    let mut id = "X509SHA256=".to_owned();
    for byte in Sha256::digest(der) {
        write!(id, "{byte:02x}").expect("writing to a String cannot fail");
    }
    user.extra.insert("authentication.kubernetes.io/credential-id".to_owned(), vec![id]);
    Ok(Some(user))
}
