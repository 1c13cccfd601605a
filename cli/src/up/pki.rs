//! The cluster's own certificates, laid out as kubeadm lays them out; made once, renewed at start.
//!
//! | Rule | What always holds |
//! |------|-------------------|
//! | P1 | A private key is readable by its owner only, from the moment that the file exists. |
//! | P2 | A CA is made once. A finished folder that has lost one is refused, never given another. |
//! | P3 | A leaf with less than 30 days left is made anew, key and all. |
//! | P4 | So is one that speaks for somebody else than it is to: rights that it had go with it. |

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, bail};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose,
};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const CA_LIFETIME: Duration = DAY.saturating_mul(3650);
const LEAF_LIFETIME: Duration = DAY.saturating_mul(365);
const RENEW_BELOW: Duration = DAY.saturating_mul(30);
/// Clocks of other programs on this machine may be a little behind.
const BACKDATE: Duration = Duration::from_secs(300);

/// What a certificate may be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Usage {
    Server,
    Client,
    Both,
}

/// A certificate to have: its subject, names and use.
#[derive(Debug, Clone)]
pub(crate) struct Leaf {
    pub(crate) common_name: String,
    /// Kubernetes reads these as groups. At most two: a subject here holds one entry per type name.
    pub(crate) organizations: Vec<&'static str>,
    /// DNS names and IP addresses.
    pub(crate) names: Vec<String>,
    pub(crate) usage: Usage,
}

/// A certificate and its key on disk.
#[derive(Debug, Clone)]
pub(crate) struct Pair {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

impl Pair {
    /// `<folder>/<stem>.crt` and `<folder>/<stem>.key`.
    pub(crate) fn at(folder: &Path, stem: &str) -> Self {
        Self {
            certificate: folder.join(format!("{stem}.crt")),
            key: folder.join(format!("{stem}.key")),
        }
    }
}

/// A certificate authority of this cluster, able to sign.
pub(crate) struct Authority {
    pub(crate) certificate: PathBuf,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// Reads the authority at `pair`, or makes it when `may_create` (P2).
    pub(crate) fn ensure(pair: &Pair, common_name: &str, may_create: bool) -> anyhow::Result<Self> {
        if !(pair.certificate.exists() && pair.key.exists()) {
            if !may_create {
                bail!(
                    "{} or its key is missing, and certificates signed by it are in use: \
                     restore both files, or start anew in an empty folder",
                    pair.certificate.display()
                );
            }
            make_authority(pair, common_name)?;
        }
        let certificate = read_text(&pair.certificate)?;
        let key = KeyPair::from_pem(&read_text(&pair.key)?)
            .with_context(|| format!("{} is not a private key", pair.key.display()))?;
        let issuer = Issuer::from_ca_cert_pem(&certificate, key)
            .with_context(|| format!("{} is not a CA certificate", pair.certificate.display()))?;
        Ok(Self { certificate: pair.certificate.clone(), issuer })
    }

    /// Makes or renews the leaf at `pair`. Answers whether it was made now.
    pub(crate) fn ensure_leaf(&self, pair: &Pair, leaf: &Leaf) -> anyhow::Result<bool> {
        if pair.key.exists()
            && pair.certificate.exists()
            && is_good(&pair.certificate, leaf, RENEW_BELOW)?
        {
            return Ok(false);
        }
        let key = KeyPair::generate().context("cannot make a private key")?;
        let certificate = params(leaf)?
            .signed_by(&key, &self.issuer)
            .with_context(|| format!("cannot sign a certificate for {}", leaf.common_name))?;
        // The certificate comes last: a key alone is seen as "not there yet" at the next start.
        write_private(&pair.key, &key.serialize_pem())?;
        write_public(&pair.certificate, &certificate.pem())?;
        Ok(true)
    }
}

/// The key pair that signs service account tokens.
pub(crate) fn ensure_token_keys(key: &Path, public: &Path, may_create: bool) -> anyhow::Result<()> {
    if key.exists() && public.exists() {
        return Ok(());
    }
    if !key.exists() && !may_create {
        bail!(
            "{} is missing, and tokens signed by it are in use: restore it, or start anew in an \
             empty folder",
            key.display()
        );
    }
    let pair = if key.exists() {
        KeyPair::from_pem(&read_text(key)?)
            .with_context(|| format!("{} is not a private key", key.display()))?
    } else {
        let pair = KeyPair::generate().context("cannot make a private key")?;
        write_private(key, &pair.serialize_pem())?;
        pair
    };
    write_public(public, &pair.public_key_pem())
}

fn make_authority(pair: &Pair, common_name: &str) -> anyhow::Result<()> {
    let key = KeyPair::generate().context("cannot make a private key")?;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![
        KeyUsagePurpose::DigitalSignature,
        KeyUsagePurpose::KeyCertSign,
        KeyUsagePurpose::CrlSign,
    ];
    set_lifetime(&mut params, CA_LIFETIME);
    let certificate = params.self_signed(&key).context("cannot sign the CA certificate")?;
    write_private(&pair.key, &key.serialize_pem())?;
    write_public(&pair.certificate, &certificate.pem())
}

fn params(leaf: &Leaf) -> anyhow::Result<CertificateParams> {
    let mut params = CertificateParams::new(leaf.names.clone())
        .with_context(|| format!("bad names for {}: {:?}", leaf.common_name, leaf.names))?;
    params.distinguished_name = subject(leaf);
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = match leaf.usage {
        Usage::Server => vec![ExtendedKeyUsagePurpose::ServerAuth],
        Usage::Client => vec![ExtendedKeyUsagePurpose::ClientAuth],
        Usage::Both => {
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth]
        }
    };
    set_lifetime(&mut params, LEAF_LIFETIME);
    Ok(params)
}

fn subject(leaf: &Leaf) -> DistinguishedName {
    /// The object identifier of an organization name (X.520).
    const ORGANIZATION: [u64; 4] = [2, 5, 4, 10];

    let mut subject = DistinguishedName::new();
    for (index, organization) in leaf.organizations.iter().enumerate() {
        // A subject holds one entry per `DnType`; the second organization goes in by its number.
        let kind = match index {
            0 => DnType::OrganizationName,
            _ => DnType::CustomDnType(ORGANIZATION.to_vec()),
        };
        subject.push(kind, *organization);
    }
    subject.push(DnType::CommonName, leaf.common_name.as_str());
    subject
}

fn set_lifetime(params: &mut CertificateParams, lifetime: Duration) {
    let now = SystemTime::now();
    params.not_before = (now - BACKDATE).into();
    params.not_after = (now + lifetime).into();
}

/// P3, P4: whether a certificate is good for longer than this, and says who it is to speak for.
fn is_good(certificate: &Path, leaf: &Leaf, longer_than: Duration) -> anyhow::Result<bool> {
    let text = read_text(certificate)?;
    let (_, pem) = x509_parser::pem::parse_x509_pem(text.as_bytes())
        .with_context(|| format!("{} is not a PEM file", certificate.display()))?;
    let parsed =
        pem.parse_x509().with_context(|| format!("{} is damaged", certificate.display()))?;
    let until = parsed.validity().time_to_expiration();
    let left = until.and_then(|left| Duration::try_from(left).ok()).unwrap_or(Duration::ZERO);
    let subject = parsed.subject();
    let names: Vec<_> = subject.iter_common_name().filter_map(|name| name.as_str().ok()).collect();
    let groups: Vec<_> =
        subject.iter_organization().filter_map(|name| name.as_str().ok()).collect();
    let speaks_for_it = names == [leaf.common_name.as_str()] && groups == leaf.organizations;
    Ok(left > longer_than && speaks_for_it)
}

fn read_text(path: &Path) -> anyhow::Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

/// Writes a file that only its owner may read (P1), whole or not at all.
pub(crate) fn write_private(path: &Path, text: &str) -> anyhow::Result<()> {
    write(path, text, 0o600)
}

fn write_public(path: &Path, text: &str) -> anyhow::Result<()> {
    write(path, text, 0o644)
}

fn write(path: &Path, text: &str, mode: u32) -> anyhow::Result<()> {
    let say = || format!("cannot write {}", path.display());
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(say)?;
    }
    let unfinished = path.with_extension("tmp");
    // A leftover could have other rights than asked for here.
    if unfinished.exists() {
        fs::remove_file(&unfinished).with_context(say)?;
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&unfinished)
        .with_context(say)?;
    file.write_all(text.as_bytes()).with_context(say)?;
    file.sync_all().with_context(say)?;
    fs::rename(&unfinished, path).with_context(say)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn leaf() -> Leaf {
        Leaf {
            common_name: "system:node:node-1".to_owned(),
            organizations: vec!["system:masters", "system:nodes"],
            names: vec!["127.0.0.21".to_owned(), "node-1".to_owned()],
            usage: Usage::Both,
        }
    }

    #[test]
    fn keys_are_for_their_owner_only() {
        let folder = tempfile::tempdir().unwrap();
        let ca = Pair::at(folder.path(), "ca");
        let authority = Authority::ensure(&ca, "kubernetes", true).unwrap();
        let pair = Pair::at(&folder.path().join("deeper"), "kubelet");
        assert!(authority.ensure_leaf(&pair, &leaf()).unwrap());
        let (key, public) = (folder.path().join("sa.key"), folder.path().join("sa.pub"));
        ensure_token_keys(&key, &public, true).unwrap();
        for key in [&ca.key, &pair.key, &key] {
            let mode = fs::metadata(key).unwrap().permissions().mode() & 0o777;
            assert_eq!(mode, 0o600, "{}", key.display());
        }
    }

    #[test]
    fn a_node_certificate_carries_both_groups_its_names_and_the_issuer() {
        let folder = tempfile::tempdir().unwrap();
        let ca = Pair::at(folder.path(), "ca");
        let authority = Authority::ensure(&ca, "kubernetes", true).unwrap();
        let pair = Pair::at(folder.path(), "kubelet");
        authority.ensure_leaf(&pair, &leaf()).unwrap();

        let text = fs::read_to_string(&pair.certificate).unwrap();
        let (_, pem) = x509_parser::pem::parse_x509_pem(text.as_bytes()).unwrap();
        let parsed = pem.parse_x509().unwrap();
        let groups: Vec<&str> =
            parsed.subject().iter_organization().map(|o| o.as_str().unwrap()).collect();
        assert_eq!(groups, ["system:masters", "system:nodes"]);
        assert_eq!(parsed.subject().iter_common_name().count(), 1);
        assert_eq!(parsed.issuer().to_string(), "CN=kubernetes");
        let names = &parsed.subject_alternative_name().unwrap().unwrap().value.general_names;
        assert_eq!(names.len(), 2);
    }

    #[test]
    fn a_second_start_keeps_everything_and_a_lost_ca_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let ca = Pair::at(folder.path(), "ca");
        let pair = Pair::at(folder.path(), "leaf");
        let first = Authority::ensure(&ca, "kubernetes", true).unwrap();
        assert!(first.ensure_leaf(&pair, &leaf()).unwrap());
        let before = fs::read_to_string(&ca.certificate).unwrap();

        let second = Authority::ensure(&ca, "kubernetes", true).unwrap();
        assert!(!second.ensure_leaf(&pair, &leaf()).unwrap());
        assert_eq!(fs::read_to_string(&ca.certificate).unwrap(), before);

        fs::remove_file(&ca.key).unwrap();
        let refusal = Authority::ensure(&ca, "kubernetes", false).err().unwrap().to_string();
        assert!(refusal.contains("restore both files"), "{refusal}");
    }

    #[test]
    fn a_leaf_close_to_its_end_is_renewed() {
        let folder = tempfile::tempdir().unwrap();
        let authority =
            Authority::ensure(&Pair::at(folder.path(), "ca"), "kubernetes", true).unwrap();
        let pair = Pair::at(folder.path(), "leaf");
        let key = KeyPair::generate().unwrap();
        let mut short = params(&leaf()).unwrap();
        set_lifetime(&mut short, DAY * 29);
        let old = short.signed_by(&key, &authority.issuer).unwrap().pem();
        write_private(&pair.key, &key.serialize_pem()).unwrap();
        write_public(&pair.certificate, &old).unwrap();

        assert!(authority.ensure_leaf(&pair, &leaf()).unwrap());
        assert!(is_good(&pair.certificate, &leaf(), DAY * 364).unwrap());
        assert!(!authority.ensure_leaf(&pair, &leaf()).unwrap());
    }
}
