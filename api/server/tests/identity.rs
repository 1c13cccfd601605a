//! Who somebody is: certificates, tokens of machines that join, nodes; and what that lets them do.
#![expect(clippy::unwrap_used, reason = "a failed helper is a failed test")]

mod support;

use std::sync::Arc;

use api_server::{FrontProxyConfig, Mode, TokenUser};
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use support::{Answer, Cluster, Store};
use tokio_rustls::TlsConnector;

const PODS: &str = "/api/v1/namespaces/default/pods";
const SECRETS: &str = "/api/v1/namespaces/default/secrets";
const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";
const REVIEWS: &str = "/apis/authentication.k8s.io/v1/selfsubjectreviews";

async fn send(cluster: &Cluster, token: &str, method: &str, path: &str, body: &Value) -> Answer {
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
    let body = if body.is_null() { String::new() } else { body.to_string() };
    cluster.call(method, path, &headers, body).await
}

/// Asks until the answer has a code: what was written is seen by the authorizers soon.
async fn until(cluster: &Cluster, token: &str, path: &str, code: u16) -> Answer {
    for _ in 0..400 {
        let answer = send(cluster, token, "GET", path, &Value::Null).await;
        if answer.code == code {
            return answer;
        }
        tokio::time::sleep(std::time::Duration::from_millis(25)).await;
    }
    unreachable!("{path} never answers {code}")
}

fn node(name: &str) -> TokenUser {
    TokenUser {
        name: format!("system:node:{name}"),
        uid: String::new(),
        groups: vec!["system:nodes".to_owned()],
    }
}

async fn made(cluster: &Cluster, path: &str, tree: &Value) {
    let answer = cluster.post(path, tree).await;
    assert_eq!(answer.code, 201, "{}", answer.message());
}

#[tokio::test]
async fn a_node_sees_what_its_pods_need_as_long_as_they_are_there() {
    let store = Arc::new(Store::own(1));
    let cluster = Cluster::with(&store, 0, |config| {
        config.authorization = vec![Mode::Node, Mode::Rbac];
        config.tokens.insert("n1".to_owned(), node("n1"));
        config.tokens.insert("n2".to_owned(), node("n2"));
    })
    .await;
    let accounts = "/api/v1/namespaces/default/serviceaccounts";
    made(&cluster, accounts, &json!({"metadata": {"name": "default"}})).await;
    made(&cluster, SECRETS, &json!({"metadata": {"name": "s"}})).await;
    let secret = format!("{SECRETS}/s");
    let refused = send(&cluster, "n1", "GET", &secret, &Value::Null).await;
    assert_eq!(
        refused.message(),
        "secrets \"s\" is forbidden: User \"system:node:n1\" cannot get resource \"secrets\" in API group \"\" in the namespace \"default\": no relationship found between node 'n1' and this object"
    );
    let pod = json!({"metadata": {"name": "p"}, "spec": {"nodeName": "n1",
        "containers": [{"name": "c", "image": "i", "envFrom": [{"secretRef": {"name": "s"}}]}]}});
    made(&cluster, PODS, &pod).await;
    until(&cluster, "n1", &secret, 200).await;
    assert_eq!(send(&cluster, "n2", "GET", &secret, &Value::Null).await.code, 403);
    // One secret can be listed by its name, all cannot.
    let one = format!("{SECRETS}?fieldSelector=metadata.name%3Ds");
    assert_eq!(send(&cluster, "n1", "GET", &one, &Value::Null).await.code, 200);
    let refused = send(&cluster, "n1", "GET", SECRETS, &Value::Null).await;
    assert!(refused.message().ends_with("No Object name found"), "{}", refused.message());
    let own = "/api/v1/pods?fieldSelector=spec.nodeName%3Dn1";
    assert_eq!(send(&cluster, "n1", "GET", own, &Value::Null).await.code, 200);
    assert_eq!(send(&cluster, "n2", "GET", own, &Value::Null).await.code, 403);
    // A token for the pod's account.
    let request = json!({"spec": {}});
    let path = format!("{accounts}/default/token");
    assert_eq!(send(&cluster, "n1", "POST", &path, &request).await.code, 201);
    assert_eq!(send(&cluster, "n2", "POST", &path, &request).await.code, 403);
    // The others are asked, too: everybody may see the version.
    assert_eq!(send(&cluster, "n1", "GET", "/version", &Value::Null).await.code, 200);

    let review = json!({"spec": {"user": "system:node:n1", "groups": ["system:nodes"],
        "resourceAttributes": {"verb": "list", "resource": "pods", "fieldSelector":
            {"requirements": [{"key": "spec.nodeName", "operator": "In", "values": ["n1"]},
                {"key": "x", "operator": "Exists"}]}}}});
    let path = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
    let status = cluster.post(path, &review).await.json()["status"].clone();
    assert_eq!(
        status,
        json!({"allowed": true, "evaluationError":
            "spec.resourceAttributes.fieldSelector partially ignored due to parse error"})
    );
    let rules = json!({"spec": {"namespace": "default"}});
    let path = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews";
    let status = send(&cluster, "n1", "POST", path, &rules).await.json()["status"].clone();
    assert_eq!(
        (&status["incomplete"], &status["evaluationError"]),
        (&json!(true), &json!("node authorizer does not support user rule resolution"))
    );

    cluster.call("DELETE", &format!("{PODS}/p?gracePeriodSeconds=0"), &[], "").await;
    until(&cluster, "n1", &secret, 403).await;
}

#[tokio::test]
async fn a_machine_that_joins_shows_its_token() {
    let cluster = Cluster::on(Store::own(1)).await;
    let token = "abcdef.0123456789abcdef";
    assert_eq!(send(&cluster, token, "POST", REVIEWS, &json!({})).await.code, 401);
    let secret = json!({"metadata": {"name": "bootstrap-token-abcdef"},
        "type": "bootstrap.kubernetes.io/token", "data": {
            "token-id": "YWJjZGVm", "token-secret": "MDEyMzQ1Njc4OWFiY2RlZg==",
            "usage-bootstrap-authentication": "dHJ1ZQ=="}});
    made(&cluster, "/api/v1/namespaces/kube-system/secrets", &secret).await;
    until(&cluster, token, "/version", 200).await;
    let who = send(&cluster, token, "POST", REVIEWS, &json!({})).await.json();
    assert_eq!(
        who["status"]["userInfo"],
        json!({"username": "system:bootstrap:abcdef",
            "groups": ["system:bootstrappers", "system:authenticated"]})
    );
    let path = "/api/v1/namespaces/kube-system/secrets/bootstrap-token-abcdef";
    // In the past.
    cluster.merge(path, &json!({"data": {"expiration": "MjAyMC0wMS0wMVQwMDowMDowMFo="}})).await;
    until(&cluster, token, "/version", 401).await;
}

#[tokio::test]
async fn only_who_may_for_the_signer_approves_and_signs() {
    let cluster = Cluster::on(Store::own(1)).await;
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "ann");
    let pem = params.serialize_request(&KeyPair::generate().unwrap()).unwrap().pem().unwrap();
    let request = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, pem);
    let requests = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
    let csr = json!({"metadata": {"name": "ann"}, "spec": {"request": request,
        "signerName": "example.com/people", "usages": ["client auth"]}});
    made(&cluster, requests, &csr).await;
    let group = "certificates.k8s.io";
    let role = json!({"metadata": {"name": "clerk"}, "rules": [
        {"verbs": ["get", "update"], "apiGroups": [group], "resources":
            ["certificatesigningrequests", "certificatesigningrequests/approval",
                "certificatesigningrequests/status"]}]});
    made(&cluster, &format!("{RBAC}/clusterroles"), &role).await;
    let binding = json!({"metadata": {"name": "clerk"}, "subjects": [{"kind": "User", "name": "jane"}],
        "roleRef": {"kind": "ClusterRole", "name": "clerk", "apiGroup": "rbac.authorization.k8s.io"}});
    made(&cluster, &format!("{RBAC}/clusterrolebindings"), &binding).await;
    let path = format!("{requests}/ann");
    let mut held = until(&cluster, "jane-token", &path, 200).await.json();
    held["status"] = json!({"conditions": [{"type": "Approved", "status": "True", "reason": "x"}]});
    let approval = format!("{path}/approval");
    let refused = send(&cluster, "jane-token", "PUT", &approval, &held).await;
    assert_eq!(
        (refused.code, refused.message().as_str()),
        (
            403,
            "certificatesigningrequests.certificates.k8s.io \"ann\" is forbidden: user not permitted to approve requests with signerName \"example.com/people\""
        )
    );
    // A signer can say that it failed, and nothing about the approval.
    let status = format!("{path}/status");
    let mut failed = held.clone();
    failed["status"]["conditions"][0]["type"] = "Failed".into();
    let refused = send(&cluster, "jane-token", "PUT", &status, &failed).await;
    assert!(refused.message().contains("user not permitted to sign requests"));
    // All signers of a domain are enough.
    let more = json!({"rules": [
        {"verbs": ["get", "update"], "apiGroups": [group], "resources":
            ["certificatesigningrequests", "certificatesigningrequests/approval"]},
        {"verbs": ["approve"], "apiGroups": [group], "resources": ["signers"],
            "resourceNames": ["example.com/*"]}]});
    cluster.merge(&format!("{RBAC}/clusterroles/clerk"), &more).await;
    for _ in 0..400 {
        let answer = send(&cluster, "jane-token", "PUT", &approval, &held).await;
        if answer.code == 200 {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(25)).await;
    }
    unreachable!("never approved");
}

/// An authority, and certificates of it.
struct Authority(CertificateParams, KeyPair);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "authority");
        Self(params, KeyPair::generate().unwrap())
    }

    fn pem(&self) -> Vec<u8> {
        self.0.self_signed(&self.1).unwrap().pem().into_bytes()
    }

    fn issue(
        &self,
        name: &str,
        is_over: bool,
    ) -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.distinguished_name.push(DnType::OrganizationName, "dev");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        if is_over {
            params.not_after = rcgen::date_time_ymd(2020, 1, 1);
            params.not_before = rcgen::date_time_ymd(2019, 1, 1);
        }
        let key = KeyPair::generate().unwrap();
        let issuer = rcgen::Issuer::from_params(&self.0, &self.1);
        let certificate = params.signed_by(&key, &issuer).unwrap();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        (certificate.der().clone(), key)
    }
}

/// Who the server thinks this is.
async fn who(
    cluster: &Cluster,
    (certificate, key): (CertificateDer<'static>, PrivateKeyDer<'static>),
    token: &str,
) -> (u16, Value) {
    let token = format!("Bearer {token}");
    let headers = if token == "Bearer " { vec![] } else { vec![("authorization", token.as_str())] };
    whom(cluster, (certificate, key), &headers).await
}

/// The same by other headers.
async fn whom(
    cluster: &Cluster,
    (certificate, key): (CertificateDer<'static>, PrivateKeyDer<'static>),
    headers: &[(&str, &str)],
) -> (u16, Value) {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(cluster.certificate.clone())).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(vec![certificate], key)
        .unwrap();
    let stream = tokio::net::TcpStream::connect(cluster.running.address).await.unwrap();
    let name = rustls_pki_types::ServerName::try_from("127.0.0.1").unwrap();
    let stream = TlsConnector::from(Arc::new(tls)).connect(name, stream).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let mut request =
        Request::post(REVIEWS).header("host", "orlop").header("content-type", "application/json");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::new(Bytes::from("{}"))).unwrap();
    let response = sender.send_request(request).await.unwrap();
    let code = response.status().as_u16();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    let tree: Value = serde_json::from_slice(&bytes).unwrap();
    (code, tree["status"]["userInfo"].clone())
}

#[tokio::test]
async fn a_bad_certificate_is_a_401_and_not_a_broken_connection() {
    let authority = Authority::new();
    // Each signature is another one.
    let pem = authority.pem();
    let store = Arc::new(Store::own(1));
    let cluster = Cluster::with(&store, 0, |config| config.client_ca = Some(pem.clone())).await;
    let published = "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication";
    // Upstream's lines are shorter, and end as those of Unix.
    let letters = |pem: &str| pem.replace(['\r', '\n'], "");
    let pem = letters(std::str::from_utf8(&pem).unwrap());
    let is_there = |map: &Value| {
        map["data"]["client-ca-file"].as_str().is_some_and(|held| letters(held) == pem)
    };
    cluster.until(published, is_there).await;
    let (code, user) = who(&cluster, authority.issue("ann", false), "").await;
    assert_eq!((code, &user["username"]), (201, &json!("ann")));
    assert_eq!(user["groups"], json!(["dev", "system:authenticated"]));
    let id = user["extra"]["authentication.kubernetes.io/credential-id"][0].as_str().unwrap();
    assert!(id.starts_with("X509SHA256="), "{id}");
    assert_eq!(who(&cluster, authority.issue("ann", true), "").await.0, 401);
    let stranger = Authority::new();
    assert_eq!(who(&cluster, stranger.issue("admin", false), "").await.0, 401);
    // A token that is good is enough, whatever the certificate.
    let (code, user) = who(&cluster, stranger.issue("admin", false), "jane-token").await;
    assert_eq!((code, &user["username"]), (201, &json!("jane")));
    // A certificate goes before a token; one without a name is nobody's.
    let (_, user) = who(&cluster, authority.issue("ann", false), "jane-token").await;
    assert_eq!(user["username"], "ann");
    // Schemes that nobody knows are no credentials.
    let basic = [("authorization", "Basic eDp5")];
    let refused = cluster.call("GET", "/api/v1/nodes", &basic, "").await;
    assert_eq!(
        (refused.code, refused.message().as_str()),
        (
            403,
            "nodes is forbidden: User \"system:anonymous\" cannot list resource \"nodes\" in API group \"\" at the cluster scope"
        )
    );
}

#[tokio::test]
async fn a_proxy_of_the_proxies_authority_says_who_asks_and_nobody_else_does() {
    let (clients, proxies) = (Authority::new(), Authority::new());
    let list = |items: &[&str]| items.iter().map(|item| (*item).to_owned()).collect();
    let front = FrontProxyConfig {
        ca: proxies.pem(),
        allowed_names: list(&["front"]),
        users: list(&["X-Remote-User"]),
        uids: list(&["X-Remote-Uid"]),
        groups: list(&["X-Remote-Group"]),
        extra_prefixes: list(&["X-Remote-Extra-"]),
    };
    let store = Arc::new(Store::own(1));
    let cluster = Cluster::with(&store, 0, |config| {
        config.client_ca = Some(clients.pem());
        config.front_proxy = Some(front);
    })
    .await;
    // Other servers of the cluster find here whom they may believe.
    let published = "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication";
    let is_there = |map: &Value| {
        let data = &map["data"];
        let says = |key: &str, text: &str| data[format!("requestheader-{key}")] == text;
        data["requestheader-client-ca-file"].as_str().is_some_and(|pem| pem.contains("CERTIFICATE"))
            && data["client-ca-file"] != data["requestheader-client-ca-file"]
            && says("allowed-names", "[\"front\"]")
            && says("username-headers", "[\"X-Remote-User\"]")
            && says("uid-headers", "[\"X-Remote-Uid\"]")
            && says("group-headers", "[\"X-Remote-Group\"]")
            && says("extra-headers-prefix", "[\"X-Remote-Extra-\"]")
    };
    cluster.until(published, is_there).await;

    let ann = [
        ("x-remote-user", "ann"),
        ("x-remote-uid", "7"),
        ("x-remote-group", "dev"),
        ("x-remote-group", "ops"),
        ("x-remote-extra-example.com%2fteam", "blue"),
    ];
    let (code, user) = whom(&cluster, proxies.issue("front", false), &ann).await;
    let known = json!({"username": "ann", "uid": "7",
        "groups": ["dev", "ops", "system:authenticated"], "extra": {"example.com/team": ["blue"]}});
    assert_eq!((code, user), (201, known));
    // A proxy is itself nobody.
    let (code, _) = whom(&cluster, proxies.issue("front", false), &[]).await;
    assert_eq!(code, 401);
    // Nor do those that are not in the list, or whose time is over.
    assert_eq!(whom(&cluster, proxies.issue("back", false), &ann).await.0, 401);
    assert_eq!(whom(&cluster, proxies.issue("front", true), &ann).await.0, 401);
    // Clients are who they are, whatever they say.
    let (code, user) = whom(&cluster, clients.issue("front", false), &ann).await;
    assert_eq!((code, &user["username"], &user["uid"]), (201, &json!("front"), &Value::Null));
    let jane = [("authorization", "Bearer jane-token"), ("x-remote-user", "ann")];
    let (_, user) = whom(&cluster, proxies.issue("back", false), &jane).await;
    assert_eq!(user["username"], "jane");
    let (_, user) = whom(&cluster, proxies.issue("front", false), &jane).await;
    assert_eq!(user["username"], "ann", "a proxy's word goes before a token");
    // Who acts as somebody else is asked for by the name that the proxy gave.
    let acting = [ann[0], ("impersonate-user", "bob")];
    let (code, _) = whom(&cluster, proxies.issue("front", false), &acting).await;
    assert_eq!(code, 403);
    let acting = [ann[0], ("x-remote-group", "system:masters"), ("impersonate-user", "bob")];
    let (code, user) = whom(&cluster, proxies.issue("front", false), &acting).await;
    assert_eq!((code, &user["username"]), (201, &json!("bob")));
}
