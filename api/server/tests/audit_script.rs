//! The audit log, event for event: requests, and what kube-apiserver wrote about them
//! (`audit.script`), sent again here.
#![expect(clippy::panic, reason = "a script that cannot be read is a failed test")]

mod support;

use std::sync::Arc;

use api_server::{AuditConfig, AuditMode, AuditPolicy, Mode};
use serde_json::Value;
use support::{Cluster, Store};

const SCRIPT: &str = include_str!("audit.script");
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
/// What is another one every time.
const VARIES: [&str; 10] = [
    "auditID",
    "clusterIP",
    "clusterIPs",
    "creationTimestamp",
    "managedFields",
    "requestReceivedTimestamp",
    "resourceVersion",
    "stageTimestamp",
    "uid",
    "userAgent",
];

fn bare(tree: &Value) -> Value {
    match tree {
        Value::Object(members) => members
            .iter()
            .filter(|(key, _)| !VARIES.contains(&key.as_str()))
            .map(|(key, value)| (key.clone(), bare(value)))
            .collect(),
        Value::Array(items) => items.iter().map(bare).collect(),
        other => other.clone(),
    }
}

/// Sends a request of the script.
async fn send(cluster: &Cluster, id: &str, request: &[&str]) {
    let words: Vec<&str> = request[0].split(' ').collect();
    let [token, method, path] = words.as_slice() else { panic!("{request:?}") };
    let bearer = if *token == "-" { String::new() } else { format!("Bearer {token}") };
    let (mut headers, mut body) = (vec![("audit-id", id), ("authorization", &*bearer)], "");
    for line in &request[1..] {
        match line.split_once(": ") {
            Some(header) if !line.starts_with('{') => headers.push(header),
            _ => body = line,
        }
    }
    cluster.call(method, path, &headers, body.to_owned()).await;
}

#[tokio::test]
async fn every_event_is_upstreams() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log");
    let store = Arc::new(Store::own(1));
    let cluster = Cluster::with(&store, 0, |config| {
        config.authorization = vec![Mode::Node, Mode::Rbac];
        let jane = config.tokens["jane-token"].clone();
        config.tokens.insert("jane".to_owned(), jane);
        config.audit = Some(AuditConfig {
            policy: AuditPolicy::parse(POLICY.as_bytes()).unwrap(),
            path: path.display().to_string(),
            max_age_days: 0,
            max_backups: 0,
            max_bytes: 0,
            mode: AuditMode::Blocking,
            buffer_events: 1,
        });
    })
    .await;
    let blocks: Vec<Vec<&str>> = SCRIPT
        .split("\n\n")
        .map(|block| block.lines().filter(|line| !line.starts_with('#')).collect())
        .filter(|block: &Vec<&str>| !block.is_empty())
        .collect();
    let split = |block: &[&'static str]| {
        let at = block.iter().position(|line| *line == "---").unwrap();
        (block[..at].to_vec(), block[at + 1..].to_vec())
    };
    for (number, block) in blocks.iter().enumerate() {
        send(&cluster, &format!("q{number}"), &split(block).0).await;
    }
    let log = std::fs::read_to_string(&path).unwrap();
    let events: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let (mut wrong, mut compared) = (Vec::new(), 0);
    for (number, block) in blocks.iter().enumerate() {
        let (request, wanted) = split(block);
        let id = format!("q{number}");
        let own = events.iter().filter(|event| event["auditID"] == id.as_str());
        let own: Vec<String> = own.map(|event| bare(event).to_string()).collect();
        compared += wanted.len();
        if own != wanted {
            let (own, wanted) = (own.join("\n  "), wanted.join("\n  "));
            wrong.push(format!("{}\n not\n  {wanted}\n but\n  {own}", request[0]));
        }
    }
    assert!(compared > 40, "the script is not read");
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), blocks.len(), wrong.join("\n"));
}
