//! The audit log: what is written about requests, and when.
#![expect(clippy::unwrap_used, reason = "a failed helper is a failed test")]

mod support;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use api_server::{AuditConfig, AuditMode, AuditPolicy};
use serde_json::{Value, json};
use support::{Cluster, DEADLINE, Store};
use tokio::time::Instant;

const POLICY: &str = r#"
apiVersion: audit.k8s.io/v1
kind: Policy
omitManagedFields: true
rules:
- {level: None, nonResourceURLs: ["/readyz*"]}
- {level: Metadata, resources: [{group: "", resources: [secrets]}]}
- {level: Request, omitStages: [RequestReceived], resources: [{group: "", resources: [configmaps]}]}
- {level: RequestResponse}
"#;
const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const SECRETS: &str = "/api/v1/namespaces/default/secrets";
const SERVICES: &str = "/api/v1/namespaces/default/services";

/// A server that writes an audit log, and where it does.
async fn cluster(mode: AuditMode) -> (Cluster, PathBuf, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log");
    let audit = AuditConfig {
        policy: AuditPolicy::parse(POLICY.as_bytes()).unwrap(),
        path: path.display().to_string(),
        max_age_days: 1,
        max_backups: 1,
        max_bytes: 0,
        mode,
        buffer_events: 10_000,
    };
    let store = Arc::new(Store::own(1));
    let cluster = Cluster::with(&store, 0, |config| config.audit = Some(audit)).await;
    (cluster, path, dir)
}

/// The events of one request, by its id.
fn events(path: &Path, id: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    let all = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    all.filter(|event| event["auditID"] == id).collect()
}

fn stages(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["stage"].as_str().unwrap()).collect()
}

async fn send(cluster: &Cluster, id: &str, method: &str, path: &str, body: &Value) -> u16 {
    let headers = [("audit-id", id), ("content-type", "application/json")];
    let body = if body.is_null() { String::new() } else { body.to_string() };
    cluster.call(method, path, &headers, body).await.code
}

#[tokio::test]
async fn an_answer_is_never_before_its_event() {
    let (cluster, path, _dir) = cluster(AuditMode::Blocking).await;
    let service = json!({"metadata": {"generateName": "s-"}, "spec": {"ports": [{"port": 80}]}});
    assert_eq!(send(&cluster, "t1", "POST", SERVICES, &service).await, 201);
    let told = events(&path, "t1");
    assert_eq!(stages(&told), ["RequestReceived", "ResponseComplete"]);
    let [first, last] = told.as_slice() else { panic!("two stages") };
    assert_eq!(
        first["objectRef"],
        json!({"resource": "services", "namespace": "default", "apiVersion": "v1"})
    );
    assert!(first.get("requestObject").is_none() && first.get("annotations").is_none());
    assert_eq!(first["user"]["username"], "admin");
    assert_eq!(first["sourceIPs"], json!(["127.0.0.1"]));
    assert_eq!(first["stageTimestamp"], first["requestReceivedTimestamp"]);
    assert_eq!(last["requestObject"]["spec"]["ports"][0]["protocol"], "TCP");
    assert_eq!(last["responseObject"]["kind"], "Service");
    assert!(last["responseObject"]["metadata"].get("managedFields").is_none());
    assert_eq!(last["responseStatus"], json!({"metadata": {}, "code": 201}));
    assert_eq!(
        last["annotations"],
        json!({"authorization.k8s.io/decision": "allow", "authorization.k8s.io/reason": ""})
    );

    // Secrets are named and not shown; stages can be left out; a patch is what was sent.
    let secret = json!({"metadata": {"name": "s1"}, "data": {"password": "eA=="}});
    assert_eq!(send(&cluster, "t2", "POST", SECRETS, &secret).await, 201);
    let told = events(&path, "t2");
    assert_eq!(told[1]["objectRef"]["name"], "s1");
    assert!(!told[1].to_string().contains("eA=="));
    let map = json!({"metadata": {"name": "m"}, "data": {"a": "b"}});
    assert_eq!(send(&cluster, "t3", "POST", MAPS, &map).await, 201);
    let told = events(&path, "t3");
    assert_eq!(stages(&told), ["ResponseComplete"]);
    assert_eq!(told[0]["requestObject"]["data"], json!({"a": "b"}));
    assert!(told[0].get("responseObject").is_none());
    let gone = json!({"gracePeriodSeconds": 0});
    assert_eq!(send(&cluster, "t4", "DELETE", &format!("{MAPS}/m"), &gone).await, 200);
    let told = events(&path, "t4");
    assert_eq!(told[0]["responseStatus"]["status"], "Success");
    assert_eq!(told[0]["responseStatus"]["details"]["name"], "m");
    assert_eq!(told[0]["requestObject"]["apiVersion"], "meta.k8s.io/__internal");
    // What the policy does not want is not there.
    assert_eq!(send(&cluster, "t5", "GET", "/readyz", &Value::Null).await, 200);
    assert!(events(&path, "t5").is_empty());
}

#[tokio::test]
async fn refusals_say_why() {
    let (cluster, path, _dir) = cluster(AuditMode::Blocking).await;
    let call = async |id: &str, more: &[(&str, &str)]| {
        let mut headers = vec![("audit-id", id)];
        headers.extend_from_slice(more);
        cluster.call("GET", SERVICES, &headers, "").await.code
    };
    assert_eq!(call("t1", &[("authorization", "Bearer nonsense")]).await, 401);
    let told = events(&path, "t1");
    assert_eq!(stages(&told), ["ResponseStarted"]);
    assert_eq!(told[0]["user"], json!({}));
    assert_eq!(
        told[0]["responseStatus"],
        json!({"metadata": {}, "status": "Failure", "message": "Unauthorized",
            "reason": "Unauthorized", "code": 401})
    );
    assert_eq!(call("t2", &[("authorization", "Bearer jane-token")]).await, 403);
    let told = events(&path, "t2");
    assert_eq!(told[1]["annotations"]["authorization.k8s.io/decision"], "forbid");
    assert_eq!(told[1]["responseStatus"]["reason"], "Forbidden");
    assert_eq!(told[1]["responseObject"]["kind"], "Status");
    assert_eq!(call("t3", &[("impersonate-user", "jane")]).await, 403);
    let told = events(&path, "t3");
    assert!(told[0].get("impersonatedUser").is_none());
    assert_eq!(told[1]["user"]["username"], "admin");
    assert_eq!(told[1]["impersonatedUser"]["username"], "jane");
}

#[tokio::test]
async fn a_watch_has_three_stages_and_a_list_its_items() {
    let (cluster, path, _dir) = cluster(AuditMode::Blocking).await;
    let watch = format!("{SERVICES}?watch=1&timeoutSeconds=1");
    assert_eq!(send(&cluster, "t1", "GET", &watch, &Value::Null).await, 200);
    let told = events(&path, "t1");
    assert_eq!(stages(&told), ["RequestReceived", "ResponseStarted", "ResponseComplete"]);
    assert!(told[2].get("responseObject").is_none());
    assert_eq!(send(&cluster, "t2", "GET", SERVICES, &Value::Null).await, 200);
    let told = events(&path, "t2");
    assert_eq!(told[1]["responseObject"]["items"][0]["metadata"]["name"], "kubernetes");
    // The same in another encoding, and compressed.
    let headers = [
        ("audit-id", "t3"),
        ("accept", "application/vnd.kubernetes.protobuf"),
        ("accept-encoding", "gzip"),
    ];
    assert_eq!(cluster.call("GET", SERVICES, &headers, "").await.code, 200);
    let told = events(&path, "t3");
    assert_eq!(told[1]["responseObject"]["kind"], "ServiceList");
    assert_eq!(told[1]["responseObject"]["items"][0]["metadata"]["name"], "kubernetes");
}

#[tokio::test]
async fn in_batch_mode_events_follow_and_none_is_lost_at_the_end() {
    let (mut cluster, path, _dir) = cluster(AuditMode::Batch).await;
    for number in 0..50 {
        let id = format!("t{number}");
        assert_eq!(send(&cluster, &id, "GET", SERVICES, &Value::Null).await, 200);
    }
    cluster.stop().await;
    let until = Instant::now() + DEADLINE;
    for number in 0..50 {
        let id = format!("t{number}");
        while stages(&events(&path, &id)).len() < 2 {
            assert!(Instant::now() < until, "{id} is not written");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

#[tokio::test]
async fn a_log_that_cannot_be_written_refuses_requests_only_when_it_is_strict() {
    // Every write to it fails: no space is left there, ever.
    let full = "/dev/full";
    for (mode, wanted) in [(AuditMode::Blocking, 200), (AuditMode::BlockingStrict, 500)] {
        let audit = AuditConfig {
            policy: AuditPolicy::parse(POLICY.as_bytes()).unwrap(),
            path: full.to_owned(),
            max_age_days: 0,
            max_backups: 0,
            max_bytes: 0,
            mode,
            buffer_events: 1,
        };
        let store = Arc::new(Store::own(1));
        let started = Cluster::with(&store, 0, |config| {
            // Readiness asks for a service, whose events could not be written either.
            config.audit = (mode == AuditMode::Blocking).then_some(audit.clone());
        });
        let mut cluster = started.await;
        if mode == AuditMode::BlockingStrict {
            cluster.config.audit = Some(audit);
            cluster.restart_unready().await;
        }
        let answer = cluster.get(SERVICES).await;
        assert_eq!(answer.code, wanted, "{mode:?}");
        if mode == AuditMode::Blocking {
            let metrics = cluster.get("/metrics").await;
            let text = String::from_utf8(metrics.bytes.to_vec()).unwrap();
            assert!(text.contains("apiserver_audit_error_total{plugin=\"log\"}"), "{text}");
        }
    }
}
