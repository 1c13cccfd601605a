//! A certificate authority for one server, and what it signs: nobody else trusts it.

use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose,
};

use crate::limits::CERTIFICATE_LIFE;

/// Clocks of other programs may be a little behind.
const BACKDATE: Duration = Duration::from_secs(300);

/// A certificate and its key, PEM.
#[derive(Clone, Debug)]
pub(crate) struct Pair {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

/// Signs; its key is kept nowhere.
pub(crate) struct Authority {
    /// PEM.
    pub(crate) certificate: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// ECDSA on P-256: its keys are made in less than a millisecond, those of RSA in a hundred.
    pub(crate) fn new() -> anyhow::Result<Self> {
        let key = KeyPair::generate().context("cannot make a private key")?;
        let mut params = CertificateParams::default();
        params.distinguished_name = name("orlop-ephemeral", None);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyCertSign];
        set_life(&mut params);
        let certificate = params.self_signed(&key).context("cannot sign the CA certificate")?;
        Ok(Self { certificate: certificate.pem(), issuer: Issuer::new(params, key) })
    }

    /// A serving certificate for these DNS names and addresses.
    pub(crate) fn serving(&self, names: Vec<String>) -> anyhow::Result<Pair> {
        let params = CertificateParams::new(names).context("bad names for a certificate")?;
        self.sign(params, name("kube-apiserver", None), ExtendedKeyUsagePurpose::ServerAuth)
    }

    /// A client certificate: the user and one group.
    pub(crate) fn client(&self, user: &str, group: &str) -> anyhow::Result<Pair> {
        let subject = name(user, Some(group));
        self.sign(CertificateParams::default(), subject, ExtendedKeyUsagePurpose::ClientAuth)
    }

    fn sign(
        &self,
        mut params: CertificateParams,
        subject: DistinguishedName,
        usage: ExtendedKeyUsagePurpose,
    ) -> anyhow::Result<Pair> {
        let key = KeyPair::generate().context("cannot make a private key")?;
        params.distinguished_name = subject;
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![usage];
        set_life(&mut params);
        let signed = params.signed_by(&key, &self.issuer).context("cannot sign a certificate")?;
        Ok(Pair { certificate: signed.pem(), key: key.serialize_pem() })
    }
}

fn name(common: &str, organization: Option<&str>) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    if let Some(organization) = organization {
        name.push(DnType::OrganizationName, organization);
    }
    name.push(DnType::CommonName, common);
    name
}

fn set_life(params: &mut CertificateParams) {
    let now = SystemTime::now();
    params.not_before = (now - BACKDATE).into();
    params.not_after = (now + CERTIFICATE_LIFE).into();
}
