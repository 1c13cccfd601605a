//! Backups and a migration of a store that speaks TLS alone, asks for certificates, and has users.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod stores;

use std::fs;
use std::path::Path;

use proto::etcdserverpb::auth_client::AuthClient;
use proto::etcdserverpb::{
    AuthEnableRequest, AuthRoleAddRequest, AuthUserAddRequest, AuthUserGrantRoleRequest,
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use store_client::{Client, Config, Tls, User};
use stores::{client, everything, our_store, put, run, start};
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity};

/// An authority, and what it signed: `ca.pem`, `server.pem`, `client.pem` and their keys.
fn certificates(dir: &Path) {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    fs::write(dir.join("ca.pem"), authority.pem()).unwrap();
    for name in ["server", "client"] {
        let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        // Also of the client: without a token nobody is let in under this name.
        params.distinguished_name.push(DnType::CommonName, "a host");
        let key = KeyPair::generate().unwrap();
        let signed = params.signed_by(&key, &authority).unwrap();
        fs::write(dir.join(format!("{name}.pem")), signed.pem()).unwrap();
        fs::write(dir.join(format!("{name}.key")), key.serialize_pem()).unwrap();
    }
}

/// Switches authentication on, with root and its password.
async fn users(url: &str, dir: &Path) {
    let read = |name: &str| fs::read_to_string(dir.join(name)).unwrap();
    let tls = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(read("ca.pem")))
        .identity(Identity::from_pem(read("client.pem"), read("client.key")));
    let channel = Endpoint::from_shared(url.to_owned()).unwrap().tls_config(tls).unwrap();
    let mut auth = AuthClient::new(channel.connect_lazy());
    let (name, password) = ("root".to_owned(), "pass:word".to_owned());
    let user = AuthUserAddRequest { name: name.clone(), password, ..Default::default() };
    auth.user_add(user).await.unwrap();
    auth.role_add(AuthRoleAddRequest { name: name.clone() }).await.unwrap();
    let grant = AuthUserGrantRoleRequest { user: name.clone(), role: name };
    auth.user_grant_role(grant).await.unwrap();
    auth.auth_enable(AuthEnableRequest {}).await.unwrap();
}

async fn ok(arguments: &[&[&str]]) -> String {
    let (done, said) = run(&arguments.concat()).await;
    assert!(done, "{arguments:?}: {said}");
    said
}

async fn refused(arguments: &[&[&str]], why: &str) {
    let (done, said) = run(&arguments.concat()).await;
    assert!(!done && said.contains(why), "{arguments:?}: {said}");
}

fn root() -> User {
    User { name: "root".to_owned(), password: "pass:word".to_owned() }
}

async fn secure_store(dir: &Path) -> (stores::Running, String, Client) {
    certificates(dir);
    let file = |name: &str| dir.join(name).to_str().unwrap().to_owned();
    let mut command = our_store();
    command
        .args(["--bcrypt-cost=4", "--client-cert-auth", "--cert-file", &file("server.pem")])
        .args(["--key-file", &file("server.key"), "--trusted-ca-file", &file("ca.pem")]);
    let (member, url) = start(command, &dir.join("one"), "https");
    let read = |name: &str| fs::read(dir.join(name)).unwrap();
    let identity = Some((read("client.pem"), read("client.key")));
    let config = Config::new([url.clone()]).with_tls(Tls { ca: read("ca.pem"), identity });
    // As a user from the start: without users nobody is asked for a token.
    let connected = client(&config.with_user(root())).await;
    users(&url, dir).await;
    (member, url, connected)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_with_tls_and_users_is_backed_up_archived_restored_and_left() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let (member, url, store) = secure_store(dir.path()).await;
    put(&store, "a", "1").await;

    let (ca, cert, key, repository) =
        (file("ca.pem"), file("client.pem"), file("client.key"), file("repository"));
    let place = ["--repository", repository.as_str()];
    let endpoints = ["--endpoints", url.as_str()];
    let tls = ["--cacert", &ca, "--cert", &cert, "--key", &key];
    let user = ["--user", "root:pass:word"];
    let create = ["backup", "create"];
    refused(&[&create, &place, &endpoints], "--cacert is needed for https").await;
    refused(&[&create, &place, &endpoints, &["--cacert", &ca]], "no member").await;
    refused(&[&create, &place, &endpoints, &tls], "permission denied").await;
    let wrong = ["--user", "root:word"];
    refused(&[&create, &place, &endpoints, &tls, &wrong], "authentication failed").await;
    for kind in ["snapshot", "checkpoint"] {
        ok(&[&create, &place, &endpoints, &tls, &user, &["--kind", kind]]).await;
    }
    let backed_up = everything(&store).await;

    put(&store, "b", "2").await;
    let archive = ["backup", "archive", "--once"];
    refused(&[&archive, &place, &endpoints, &tls], "permission denied").await;
    let said = ok(&[&archive, &place, &endpoints, &tls, &user]).await;
    assert!(said.contains("archived revisions"), "{said}");
    let archived = everything(&store).await;

    // To an open store, whose own users are not touched.
    let (_two, open_url) = start(our_store(), &dir.path().join("two"), "http");
    let open = client(&Config::new([open_url.clone()])).await;
    let to = ["store", "migrate", "--to", &open_url, "--from", &url, "--hand-over", "--quiet", "1"];
    let from_tls = ["--from-cacert", &ca, "--from-cert", &cert, "--from-key", &key];
    refused(&[&to, &from_tls], "permission denied").await;
    let said = ok(&[&to, &from_tls, &["--from-user", "root:pass:word"]]).await;
    assert!(said.contains("handed over"), "{said}");
    assert_eq!(everything(&open).await, archived);
    drop(member);

    let list = ok(&[&["backup", "list"], &place]).await;
    let ids: Vec<&str> = list.lines().skip(1).filter_map(|line| line.split(' ').next()).collect();
    for id in &ids {
        let said = ok(&[&["backup", "verify", id], &place]).await;
        assert!(said.contains("is sound") && said.contains("1 users"), "{said}");
    }
    for (id, to, expected) in [
        (ids[0], &[][..], &backed_up),
        ("latest", &["--to-time", "2999-01-01T00:00:00Z"][..], &archived),
    ] {
        let target = file(&format!("restored-{}", to.len()));
        let peer = stores::free_url("http");
        let members = format!("one={peer}");
        let into = ["backup", "restore", id, "--data-dir", &target, "--initial-cluster", &members];
        ok(&[&into, to, &place]).await;
        let restored = our_store();
        let (_member, url) =
            stores::start_at(restored, &Path::new(&target).join("one"), "http", &peer);
        // The users came with it.
        let restored = client(&Config::new([url]).with_user(root())).await;
        assert_eq!(&everything(&restored).await, expected);
    }
}
