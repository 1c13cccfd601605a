//! Who a client certificate speaks for: CN is the name, every O a group.

use std::fmt::Write as _;

use rustls::server::danger::ClientCertVerifier;
use rustls_pki_types::{CertificateDer, UnixTime};
use sha2::{Digest, Sha256};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::User;

/// The attribute of a subject that holds a user's id.
const UID: &str = "1.3.6.1.4.1.57683.2";

/// The certificate that a connection showed. One that is not good is no reason to hang up: the
/// requests are refused, as upstream does, unless they show something better.
#[derive(Debug)]
pub(crate) struct Certificate {
    /// `Ok(None)` when it names nobody.
    user: Result<Option<User>, String>,
    not_after_s: i64,
}

impl Certificate {
    /// Reads and checks a chain; `None` when the connection showed none, or nobody checks them.
    pub(crate) fn of(
        chain: &[CertificateDer<'_>],
        verifier: Option<&dyn ClientCertVerifier>,
    ) -> Option<Self> {
        let ((first, intermediates), verifier) = (chain.split_first()?, verifier?);
        let verified = verifier.verify_client_cert(first, intermediates, UnixTime::now());
        let Ok((_, certificate)) = X509Certificate::from_der(first) else {
            return Some(Self { user: Err("it cannot be read".to_owned()), not_after_s: 0 });
        };
        let user = match verified {
            Ok(_) => user(first, &certificate),
            Err(error) => Err(error.to_string()),
        };
        Some(Self { user, not_after_s: certificate.validity().not_after.timestamp() })
    }

    /// The user at this time; the error says why there is none.
    pub(super) fn user(&self, now_s: i64) -> Result<Option<&User>, &str> {
        let user = self.user.as_ref().map_err(String::as_str)?;
        if now_s > self.not_after_s { Err("it has expired") } else { Ok(user.as_ref()) }
    }
}

fn user(der: &[u8], certificate: &X509Certificate<'_>) -> Result<Option<User>, String> {
    let subject = certificate.subject();
    // Of several names the last one counts, as upstream's library has it.
    let name = subject.iter_common_name().last().and_then(|name| name.as_str().ok());
    let Some(name) = name.filter(|name| !name.is_empty()) else { return Ok(None) };
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
