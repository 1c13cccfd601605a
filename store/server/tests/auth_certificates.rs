//! Clients that show a certificate are the users that it names.
#![expect(clippy::unwrap_used, reason = "a failed helper is a failed test")]

mod common;
mod session;

use std::{fs, path::PathBuf};

use clap::Parser;
use proto::etcdserverpb::{AuthenticateRequest, PutRequest, RangeRequest, kv_client::KvClient};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use session::{Session, code, users};
use store_server::{Flags, Member};
use tonic::{
    Code, Request,
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity},
};

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    flags: Flags,
}

struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    dir: tempfile::TempDir,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let authority = Self { issuer, dir: tempfile::tempdir().unwrap() };
        fs::write(authority.path("ca.pem"), authority.issuer.pem()).unwrap();
        authority
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A certificate and its key, for a common name if there is to be one.
    fn sign(&self, name: Option<&str>) -> (String, String) {
        let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        if let Some(name) = name {
            params.distinguished_name.push(DnType::CommonName, name);
        }
        let key = KeyPair::generate().unwrap();
        let signed = params.signed_by(&key, &self.issuer).unwrap();
        (signed.pem(), key.serialize_pem())
    }

    fn client(&self, member: &Member, name: Option<&str>) -> Channel {
        let (certificate, key) = self.sign(name);
        let tls = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(self.issuer.pem()))
            .identity(Identity::from_pem(certificate, key));
        let url = format!("https://{}", member.client_addresses()[0]);
        Endpoint::from_shared(url).unwrap().tls_config(tls).unwrap().connect_lazy()
    }

    async fn member(&self) -> Member {
        let (certificate, key) = self.sign(Some("server"));
        fs::write(self.path("server.pem"), certificate).unwrap();
        fs::write(self.path("server.key"), key).unwrap();
        let peer = testbed::free_url();
        let file = |name: &str| self.path(name).display().to_string();
        let line = [
            "store".to_owned(),
            "--bcrypt-cost=4".to_owned(),
            "--listen-client-urls=https://127.0.0.1:0".to_owned(),
            "--advertise-client-urls=https://127.0.0.1:1".to_owned(),
            format!("--listen-peer-urls={peer}"),
            format!("--initial-advertise-peer-urls={peer}"),
            format!("--data-dir={}", file("data")),
            format!("--cert-file={}", file("server.pem")),
            format!("--key-file={}", file("server.key")),
            format!("--trusted-ca-file={}", file("ca.pem")),
            "--client-cert-auth".to_owned(),
        ];
        Member::start(Line::parse_from(line).flags.into_config().unwrap()).await.unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_names_its_user_and_a_token_wins_over_it() {
    let authority = Authority::new();
    let member = authority.member().await;
    common::eventually("a leader", || async { member.leader() }).await;
    let over = |name: Option<&str>| Session::over(&authority.client(&member, name), None);
    let put = |key: &str| PutRequest { key: key.to_owned().into(), ..PutRequest::default() };
    users(&mut over(Some("anybody"))).await;

    let mut root = over(Some("root"));
    root.kv.put(put("z")).await.unwrap();
    root.change_password("alice", "pw").await.unwrap();
    let mut alice = over(Some("alice"));
    alice.kv.put(put("a")).await.unwrap();
    let denied = (Code::PermissionDenied, "etcdserver: permission denied");
    assert_eq!(code(&alice.kv.put(put("z")).await.unwrap_err()), denied);
    // One that is no user is known by name, and may do nothing.
    let mut other = over(Some("mallory"));
    assert_eq!(code(&other.kv.put(put("a")).await.unwrap_err()), denied);
    let empty = (Code::InvalidArgument, "etcdserver: user name is empty");
    assert_eq!(code(&over(None).kv.put(put("a")).await.unwrap_err()), empty);

    // A token counts more than the certificate, also if that is more powerful.
    let request = AuthenticateRequest { name: "alice".into(), password: "pw".into() };
    let token = over(None).auth.authenticate(request).await.unwrap().into_inner().token;
    let channel = authority.client(&member, Some("root"));
    let mut as_alice = Session::over(&channel, Some(("token", token)));
    as_alice.kv.put(put("a")).await.unwrap();
    assert_eq!(code(&as_alice.kv.put(put("z")).await.unwrap_err()), denied);
    let mut wrong = Session::over(&channel, Some(("token", "x".to_owned())));
    let error = wrong.kv.put(put("a")).await.unwrap_err();
    assert_eq!(code(&error), (Code::Unauthenticated, "etcdserver: invalid auth token"));

    // The gateway has a certificate of its own: it is not the client's.
    let range = RangeRequest { key: "a".into(), ..RangeRequest::default() };
    let mut by_gateway = Request::new(range);
    by_gateway.metadata_mut().insert("grpcgateway-accept", "*/*".parse().unwrap());
    let error = KvClient::new(channel).range(by_gateway).await.unwrap_err();
    assert_eq!(code(&error), empty);
    member.stop().await;
}
