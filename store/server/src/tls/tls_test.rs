//! Handshakes with real certificates: who is let in, and what happens when files change.

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams,
    SerialNumber,
};
use rustls_pki_types::ServerName;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::*;
use crate::config::{ListenUrl, TlsVersion};

/// An authority, and a folder for what it signs.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    dir: tempfile::TempDir,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "test authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let authority = Self { issuer, dir: tempfile::tempdir().unwrap() };
        fs::write(authority.path("ca.pem"), authority.issuer.pem()).unwrap();
        authority
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Signs `name`.pem and `name`.key for a common name, its host and 127.0.0.1.
    fn sign(&self, name: &str, serial: u64) -> TlsFiles {
        let names = vec![format!("{name}.example"), "127.0.0.1".to_owned()];
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.serial_number = Some(SerialNumber::from(serial));
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().unwrap();
        let signed = params.signed_by(&key, &self.issuer).unwrap();
        let (cert, key_path) =
            (self.path(&format!("{name}.pem")), self.path(&format!("{name}.key")));
        fs::write(&key_path, key.serialize_pem()).unwrap();
        fs::write(&cert, signed.pem()).unwrap();
        TlsFiles {
            cert: Some(cert),
            key: Some(key_path),
            ca: Some(self.path("ca.pem")),
            require_client_cert: true,
            ..TlsFiles::default()
        }
    }

    /// Writes a list of revoked certificates.
    fn revoke(&self, path: &Path, serials: &[u64], pem: bool) {
        let now = std::time::SystemTime::now();
        let list = CertificateRevocationListParams {
            this_update: now.into(),
            next_update: (now + std::time::Duration::from_secs(3600)).into(),
            crl_number: SerialNumber::from(1u64),
            issuing_distribution_point: None,
            revoked_certs: serials
                .iter()
                .map(|serial| RevokedCertParams {
                    serial_number: SerialNumber::from(*serial),
                    revocation_time: now.into(),
                    reason_code: None,
                    invalidity_date: None,
                })
                .collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let list = list.signed_by(&self.issuer).unwrap();
        if pem {
            fs::write(path, list.pem().unwrap()).unwrap();
        } else {
            fs::write(path, list.der()).unwrap();
        }
    }
}

const H2: &[&[u8]] = &[b"h2"];

/// One handshake, and a byte each way: in TLS 1.3 a refusal comes after the client's handshake.
/// Answers the common name of the server.
async fn shake(server: &Server, client: &TlsFiles) -> io::Result<String> {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    let config = Arc::new(super::client(client)?);
    let (near, far) = tokio::io::duplex(1 << 16);
    let acceptor = TlsAcceptor::from(server.config());
    let serving = async {
        let mut stream = acceptor.accept(far).await?;
        stream.write_all(b"!").await?;
        stream.flush().await?;
        // Until the client has read it.
        let mut end = [0];
        drop(stream.read(&mut end).await);
        Ok::<(), io::Error>(())
    };
    let asking = async {
        let name = ServerName::try_from("127.0.0.1").unwrap();
        let mut stream = TlsConnector::from(config).connect(name, near).await?;
        let mut byte = [0];
        stream.read_exact(&mut byte).await?;
        let leaf = stream.get_ref().1.peer_certificates().unwrap()[0].clone();
        Ok::<_, io::Error>(leaf)
    };
    let (served, leaf) = tokio::join!(serving, asking);
    let leaf = leaf?;
    served?;
    let (_, parsed) = x509_parser::parse_x509_certificate(&leaf).unwrap();
    let name = parsed.subject().iter_common_name().next().map(|name| name.as_str().unwrap());
    Ok(name.unwrap_or_default().to_owned())
}

#[tokio::test]
async fn a_member_without_a_certificate_of_the_authority_stays_outside() {
    let (ours, other) = (Authority::new(), Authority::new());
    let server = Server::new(&ours.sign("server", 1), H2).unwrap();
    assert_eq!(shake(&server, &ours.sign("peer", 2)).await.unwrap(), "server");

    let foreign = TlsFiles { ca: Some(ours.path("ca.pem")), ..other.sign("peer", 2) };
    shake(&server, &foreign).await.unwrap_err();
    let none = TlsFiles { ca: Some(ours.path("ca.pem")), ..TlsFiles::default() };
    shake(&server, &none).await.unwrap_err();
    // As etcd: naming an authority is enough to demand a certificate.
    let files = TlsFiles { require_client_cert: false, ..ours.sign("server", 1) };
    shake(&Server::new(&files, H2).unwrap(), &none).await.unwrap_err();
    // And a member trusts no server of another authority.
    let theirs = Server::new(&other.sign("server", 1), H2).unwrap();
    shake(&theirs, &ours.sign("peer", 2)).await.unwrap_err();
}

#[tokio::test]
async fn names_and_revocations_are_checked() {
    let ca = Authority::new();
    let by_name = TlsFiles { allowed_cn: vec!["good".into()], ..ca.sign("server", 1) };
    let server = Server::new(&by_name, H2).unwrap();
    shake(&server, &ca.sign("good", 2)).await.unwrap();
    shake(&server, &ca.sign("bad", 3)).await.unwrap_err();

    let by_host = TlsFiles { allowed_hostname: vec!["good.example".into()], ..by_name.clone() };
    let by_host = TlsFiles { allowed_cn: Vec::new(), ..by_host };
    let server = Server::new(&by_host, H2).unwrap();
    shake(&server, &ca.sign("good", 2)).await.unwrap();
    shake(&server, &ca.sign("bad", 3)).await.unwrap_err();

    let list = ca.path("revoked.crl");
    ca.revoke(&list, &[77], false);
    let files = TlsFiles { crl: Some(list.clone()), ..ca.sign("server", 1) };
    let server = Server::new(&files, H2).unwrap();
    shake(&server, &ca.sign("good", 2)).await.unwrap();
    // The list is read again when it changes, in either format.
    ca.revoke(&list, &[77, 2], true);
    shake(&server, &ca.sign("good", 2)).await.unwrap_err();
    shake(&server, &ca.sign("other", 300)).await.unwrap();
}

#[tokio::test]
async fn replaced_certificates_are_used_and_broken_ones_are_not() {
    let ca = Authority::new();
    let files = ca.sign("first", 1);
    let peer = ca.sign("peer", 9);
    let server = Server::new(&files, H2).unwrap();
    assert_eq!(shake(&server, &peer).await.unwrap(), "first");

    let second = ca.sign("second", 2);
    let replace = |from: &Option<PathBuf>, to: &Option<PathBuf>| {
        fs::copy(from.as_ref().unwrap(), to.as_ref().unwrap()).unwrap();
    };
    // The certificate has no key yet: the old pair serves on.
    replace(&second.cert, &files.cert);
    assert_eq!(shake(&server, &peer).await.unwrap(), "first");
    replace(&second.key, &files.key);
    assert_eq!(shake(&server, &peer).await.unwrap(), "second");
    fs::write(files.cert.as_ref().unwrap(), "nonsense").unwrap();
    assert_eq!(shake(&server, &peer).await.unwrap(), "second");
    fs::remove_file(files.cert.as_ref().unwrap()).unwrap();
    assert_eq!(shake(&server, &peer).await.unwrap(), "second");
}

#[tokio::test]
async fn versions_can_be_bounded() {
    let ca = Authority::new();
    let only = |version, files| TlsFiles { versions: (version, version), ..files };
    let server = Server::new(&only(TlsVersion::V1_3, ca.sign("server", 1)), H2).unwrap();
    shake(&server, &only(TlsVersion::V1_3, ca.sign("peer", 2))).await.unwrap();
    shake(&server, &only(TlsVersion::V1_2, ca.sign("peer", 2))).await.unwrap_err();
    let suites = vec!["TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256".to_owned()];
    let old = TlsFiles { cipher_suites: suites, ..ca.sign("server", 1) };
    let server = Server::new(&only(TlsVersion::V1_2, old), H2).unwrap();
    shake(&server, &ca.sign("peer", 2)).await.unwrap();
}

#[tokio::test]
async fn members_make_certificates_for_themselves() {
    let dir = tempfile::tempdir().unwrap();
    let listen = [ListenUrl { address: "127.0.0.1:2380".parse().unwrap(), secure: true }];
    let asked = TlsFiles { self_signed_years: Some(1), ..TlsFiles::default() };
    let files = complete(&asked, dir.path(), &listen).unwrap();
    let server = Server::new(&files, H2).unwrap();
    shake(&server, &files).await.unwrap();
    // The next start finds them.
    let before = fs::read(files.cert.as_ref().unwrap()).unwrap();
    let again = complete(&asked, dir.path(), &listen).unwrap();
    assert_eq!(fs::read(again.cert.as_ref().unwrap()).unwrap(), before);
    // Who names an authority does not trust them.
    let ca = Authority::new();
    shake(&server, &ca.sign("peer", 2)).await.unwrap_err();
}

#[tokio::test]
async fn a_peer_comes_from_an_address_that_its_certificate_names() {
    let ca = Authority::new();
    let files = TlsFiles { check_address: true, ..ca.sign("server", 1) };
    let server = Server::new(&files, H2).unwrap();
    let peer = certificates(ca.sign("peer", 2).cert.as_ref().unwrap()).unwrap();
    let from = |address: &str| format!("{address}:1").parse::<SocketAddr>().unwrap();
    server.check_address(Some(&peer), from("127.0.0.1")).await.unwrap();
    server.check_address(Some(&peer), from("10.9.9.9")).await.unwrap_err();
    server.check_address(None, from("10.9.9.9")).await.unwrap();
    let lax = Server::new(&ca.sign("server", 1), H2).unwrap();
    lax.check_address(Some(&peer), from("10.9.9.9")).await.unwrap();
}
