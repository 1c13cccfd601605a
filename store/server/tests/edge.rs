//! What operators and their tools see: health, metrics, split ports, TLS between members, and real
//! etcdctl's locks.
#![expect(clippy::unwrap_used, reason = "a failed helper is a failed test")]

mod common;
mod http;

use std::{path::Path, process::Command, time::Duration};

use clap::Parser as _;
use common::Cluster;
use proto::etcdserverpb::{PutRequest, RangeRequest, kv_client::KvClient};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose,
};
use store_server::{Flags, Member};
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity};

fn free() -> String {
    format!("127.0.0.1:{}", testbed::free_port())
}

/// Names that dashboards and alerts for etcd are built on, and that this member must have too.
const METRICS: [&str; 32] = [
    "etcd_server_has_leader 1",
    "etcd_server_is_leader 1",
    "etcd_server_is_learner 0",
    "etcd_server_id{server_id=",
    "etcd_server_version{server_version=\"3.6",
    "etcd_cluster_version{cluster_version=\"3.6\"} 1",
    "etcd_server_leader_changes_seen_total ",
    "etcd_server_proposals_committed_total ",
    "etcd_server_proposals_applied_total ",
    "etcd_server_proposals_pending ",
    "etcd_server_quota_backend_bytes ",
    "etcd_server_health_success ",
    "etcd_server_client_requests_total{type=\"unary\",client_api_version=\"unknown\"} ",
    "etcd_disk_wal_fsync_duration_seconds_bucket{le=\"0.001\"} ",
    "etcd_disk_backend_commit_duration_seconds_count ",
    "etcd_server_feature_enabled{name=\"InitialCorruptCheck\",stage=\"ALPHA\"} 0",
    "etcd_server_apply_duration_seconds_count{version=\"v3\",op=\"Put\",success=\"true\"} 1",
    "etcd_disk_wal_write_bytes_total ",
    "etcd_mvcc_put_total 1",
    "etcd_debugging_mvcc_total_put_size_in_bytes 2",
    "promhttp_metric_handler_requests_in_flight 1",
    "etcd_mvcc_db_total_size_in_bytes ",
    "etcd_mvcc_db_total_size_in_use_in_bytes ",
    "etcd_debugging_mvcc_keys_total 1",
    "etcd_debugging_mvcc_current_revision 2",
    "etcd_network_client_grpc_received_bytes_total ",
    "grpc_server_started_total{grpc_type=\"unary\",grpc_service=\"etcdserverpb.KV\",\
     grpc_method=\"Put\"} 1",
    "grpc_server_handled_total{grpc_type=\"unary\",grpc_service=\"etcdserverpb.KV\",\
     grpc_method=\"Range\",grpc_code=\"InvalidArgument\"} 1",
    "grpc_server_handling_seconds_count{grpc_type=\"unary\",grpc_service=\"etcdserverpb.KV\",\
     grpc_method=\"Put\"} 1",
    "process_resident_memory_bytes ",
    "process_open_fds ",
    "process_start_time_seconds ",
];

#[tokio::test(flavor = "multi_thread")]
async fn health_and_metrics_are_told_where_they_are_asked() {
    let (http_only, metrics) = (free(), free());
    let extra = [
        format!("--listen-client-http-urls=http://{http_only}"),
        format!("--listen-metrics-urls=http://{metrics}"),
        "--metrics=extensive".to_owned(),
    ];
    let extra: Vec<&str> = extra.iter().map(String::as_str).collect();
    let mut cluster = Cluster::start(1, &extra).await;
    cluster.leader().await;
    common::put(&mut cluster.kv(0), "a", "1").await;
    cluster.kv(0).range(RangeRequest::default()).await.unwrap_err();
    // A member serves before its cluster has agreed on a version.
    common::eventually("version of the cluster", || async {
        let version = http::get(&http_only, "/version").body;
        (!version.contains("not_decided")).then_some(())
    })
    .await;
    let grpc = cluster.endpoints().trim_start_matches("http://").to_owned();
    let talk = move || {
        let ask = |path: &str| http::get(&http_only, path);
        let good = ask("/health");
        assert_eq!((good.status, good.body.as_str()), (200, r#"{"health":"true","reason":""}"#));
        assert_eq!(ask("/health?exclude=NOSPACE&serializable=true").status, 200);
        assert_eq!(ask("/livez").body, "ok\n");
        assert_eq!(ask("/livez?verbose").body, "[+]serializable_read ok\nok\n");
        let ready = "[+]data_corruption ok\n[+]linearizable_read ok\n[+]non_learner ok\n\
                     [+]log_disk ok\nok\n";
        assert_eq!(ask("/readyz?exclude=serializable_read&verbose=x").body, ready);
        assert_eq!(ask("/readyz/non_learner?verbose").body, "[+]non_learner ok\nok\n");
        for nothing in ["/readyz/nothing", "/livez/non_learner", "/nothing"] {
            let answer = ask(nothing);
            assert_eq!((answer.status, answer.body.as_str()), (404, "404 page not found\n"));
        }
        let refused = http::post(&http_only, "/health", "");
        assert_eq!((refused.status, refused.header("allow")), (405, Some("GET")));
        assert!(ask("/debug/vars").body.contains("\"raft.status\""));
        assert!(ask("/version").body.contains("\"etcdcluster\":\"3.6.0\""));

        let text = http::get(&metrics, "/metrics");
        assert_eq!(text.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
        for name in METRICS {
            let found = text.body.lines().any(|line| line.starts_with(name));
            assert!(found, "{name} is missing:\n{}", text.body);
        }
        assert!(text.body.contains("# TYPE grpc_server_started_total counter\n"));
        // The port of metrics has nothing else, and that of gRPC no HTTP.
        assert_eq!(http::get(&metrics, "/health").status, 200);
        assert_eq!(http::get(&metrics, "/version").status, 404);
        assert_eq!(http::post(&metrics, "/v3/kv/range", "{}").status, 404);
        assert_eq!(http::get(&grpc, "/health").header("grpc-status"), Some("12"));
    };
    tokio::task::spawn_blocking(talk).await.unwrap();
    cluster.stop().await;
}

/// Signs `name`.pem and `name`.key.
fn sign(dir: &Path, authority: &CertifiedIssuer<'_, KeyPair>, name: &str) {
    let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    let key = KeyPair::generate().unwrap();
    let signed = params.signed_by(&key, authority).unwrap();
    std::fs::write(dir.join(format!("{name}.pem")), signed.pem()).unwrap();
    std::fs::write(dir.join(format!("{name}.key")), key.serialize_pem()).unwrap();
}

#[derive(clap::Parser)]
struct Line {
    #[command(flatten)]
    flags: Flags,
}

#[tokio::test(flavor = "multi_thread")]
async fn members_know_each_other_by_their_certificates() {
    let dir = tempfile::tempdir().unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let path = |name: &str| dir.path().join(name).display().to_string();
    std::fs::write(path("ca.pem"), authority.pem()).unwrap();
    sign(dir.path(), &authority, "member");
    sign(dir.path(), &authority, "stranger");

    let peers: Vec<String> = (0..3).map(|_| free()).collect();
    let clients: Vec<String> = (0..3).map(|_| free()).collect();
    let all: Vec<String> =
        peers.iter().enumerate().map(|(n, peer)| format!("m{n}=https://{peer}")).collect();
    let mut members = Vec::new();
    for number in 0..3 {
        // The third one comes with a certificate of the same authority, and a name that is not one
        // of the members'.
        let own = if number == 2 { "stranger" } else { "member" };
        let line = [
            "store".to_owned(),
            format!("--name=m{number}"),
            format!("--data-dir={}", path(&format!("m{number}"))),
            format!("--listen-client-urls=https://{}", clients[number]),
            format!("--advertise-client-urls=https://{}", clients[number]),
            format!("--listen-peer-urls=https://{}", peers[number]),
            format!("--initial-advertise-peer-urls=https://{}", peers[number]),
            format!("--initial-cluster={}", all.join(",")),
            format!("--cert-file={}", path("member.pem")),
            format!("--key-file={}", path("member.key")),
            format!("--trusted-ca-file={}", path("ca.pem")),
            "--client-cert-auth".to_owned(),
            format!("--peer-cert-file={}", path(&format!("{own}.pem"))),
            format!("--peer-key-file={}", path(&format!("{own}.key"))),
            format!("--peer-trusted-ca-file={}", path("ca.pem")),
            "--peer-client-cert-auth".to_owned(),
            "--peer-cert-allowed-cn=member".to_owned(),
            "--heartbeat-interval=50".to_owned(),
            "--election-timeout=300".to_owned(),
        ];
        let config = Line::parse_from(line).flags.into_config().unwrap();
        members.push(Member::start(config).await.unwrap());
    }
    let pem = |name: &str| std::fs::read_to_string(path(name)).unwrap();
    let tls = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(pem("ca.pem")))
        .identity(Identity::from_pem(pem("stranger.pem"), pem("stranger.key")))
        .domain_name("127.0.0.1");
    let kv = |number: usize, tls: Option<ClientTlsConfig>| {
        let endpoint = Endpoint::from_shared(format!("https://{}", clients[number])).unwrap();
        let tls = tls.unwrap_or_else(|| {
            let ca = Certificate::from_pem(pem("ca.pem"));
            ClientTlsConfig::new().ca_certificate(ca).domain_name("127.0.0.1")
        });
        KvClient::new(endpoint.tls_config(tls).unwrap().connect_lazy())
    };
    let put = || PutRequest { key: "a".into(), ..PutRequest::default() };
    // Two of three are enough; clients may have any name.
    for number in 0..2 {
        let mut kv = kv(number, Some(tls.clone()));
        common::eventually("a leader", || {
            let mut kv = kv.clone();
            async move { kv.put(put()).await.ok() }
        })
        .await;
        let told = tokio::time::timeout(Duration::from_secs(10), kv.put(put())).await;
        told.unwrap().unwrap();
    }
    // The stranger hears its leader, and is not heard: nothing that it asks for happens.
    let refused = kv(2, Some(tls)).put(put()).await.unwrap_err();
    assert!(refused.message().starts_with("etcdserver: request timed out"), "{refused}");
    assert!(members.iter().all(|member| member.leader() != Some(members[2].id())));
    // A client without a certificate is not served at all.
    kv(0, None).put(put()).await.unwrap_err();
    for member in members {
        member.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn etcdctl_locks_and_elects() {
    let Some(program) = testbed::program("etcdctl") else { return };
    let mut cluster = Cluster::start(3, &[]).await;
    cluster.leader().await;
    let endpoints = cluster.endpoints();
    let talk = move || {
        let ctl = |arguments: &[&str]| {
            let mut command = Command::new("timeout");
            command.arg("20").arg(&program).args(["--endpoints", &endpoints]).args(arguments);
            command
        };
        let held = ctl(&["lock", "l", "echo", "held"]).output().unwrap();
        assert_eq!(String::from_utf8(held.stdout).unwrap(), "held\n");
        // Without `timeout`, which would leave its child behind when it is killed.
        let stay = |arguments: &[&str]| {
            let mut command = Command::new(&program);
            command.args(["--endpoints", &endpoints]).args(arguments);
            command
        };
        let mut leading = stay(&["elect", "e", "me"])
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        // It prints the leader as soon as there is one, and then waits for the next.
        let mut watching = stay(&["elect", "--listen", "e"])
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let mut lines =
            std::io::BufRead::lines(std::io::BufReader::new(watching.stdout.take().unwrap()));
        let key = lines.next().unwrap().unwrap();
        let value = lines.next().unwrap().unwrap();
        assert!(key.starts_with("e/") && value == "me", "{key} {value}");
        for child in [&mut leading, &mut watching] {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    };
    tokio::task::spawn_blocking(talk).await.unwrap();
    cluster.stop().await;
}

/// An API server gives up many calls at once when its own clients do; the end of the connection would
/// be the end of its watch.
#[tokio::test]
async fn calls_that_are_given_up_do_not_end_their_connection() {
    let mut cluster = Cluster::start(1, &[]).await;
    let endpoints = cluster.endpoints();
    let address = endpoints.trim_start_matches("http://").to_owned();
    let kept = tokio::task::spawn_blocking(move || {
        use std::io::{Read as _, Write as _};
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream.write_all(&testbed::http2::calls_given_up(500)).unwrap();
        let (mut answer, mut buffer) = (Vec::new(), [0; 4096]);
        loop {
            let read = stream.read(&mut buffer).unwrap();
            answer.extend_from_slice(&buffer[..read]);
            match testbed::http2::is_kept(&answer) {
                Some(kept) => return kept,
                None => assert!(read > 0, "the connection ended without a word"),
            }
        }
    });
    assert!(kept.await.unwrap());
    cluster.stop().await;
}
