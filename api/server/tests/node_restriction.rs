//! What a node agent may write, word for word: what kube-apiserver said (`node_restriction.script`),
//! asked again here.

mod support;

use std::sync::Arc;

use api_server::{Mode, Plugins};
use serde_json::Value;
use support::script::{self, Step};
use support::{ADMIN, Cluster, Store};

const SCRIPT: &str = include_str!("node_restriction.script");

/// The paths of the objects whose uids a text is about, each as `${PATH}`, and the uids.
async fn uids(cluster: &Cluster, text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for part in text.split("${").skip(1) {
        let path = part.split_once('}').map_or(part, |(path, _)| path);
        let object = cluster.get(path).await.json();
        let uid = object["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
        found.push((format!("${{{path}}}"), uid));
    }
    found
}

async fn told(cluster: &Cluster, step: &Step) -> String {
    let token = if step.token == "A" { ADMIN } else { step.token };
    let bearer = format!("Bearer {token}");
    let content = match step.method {
        "PATCH" => "application/merge-patch+json",
        _ => "application/json",
    };
    let mut body = step.body.to_owned();
    for (name, uid) in uids(cluster, step.body).await {
        body = body.replace(&name, &uid);
    }
    let headers = [("content-type", content), ("authorization", bearer.as_str())];
    let answer = cluster.call(step.method, step.path, &headers, body).await;
    if answer.code < 400 {
        return answer.code.to_string();
    }
    let tree = serde_json::from_slice::<Value>(&answer.bytes).unwrap_or_default();
    let mut told = tree["message"].to_string();
    for (name, uid) in uids(cluster, step.wanted).await {
        told = told.replace(&uid, &name);
    }
    format!("{} {told}", answer.code)
}

async fn cluster(admission: Plugins) -> Cluster {
    Cluster::with(&Arc::new(Store::own(1)), 0, |config| {
        config.authorization = vec![Mode::Node, Mode::Rbac];
        config.admission = admission;
        script::know(
            config,
            &[
                ("n1", "system:node:nr-n1", "system:nodes"),
                ("n2", "system:node:nr-n2", "system:nodes"),
                ("nobody", "system:node:", "system:nodes"),
                ("person", "system:node:nr-n3", ""),
            ],
        );
    })
    .await
}

#[tokio::test]
async fn every_answer_to_a_node_is_upstreams() {
    let cluster = cluster(Plugins { node_restriction: true }).await;
    script::take(&cluster, &script::steps(SCRIPT, 120), told).await;
}

#[tokio::test]
async fn without_the_plugin_only_the_authorizer_restricts_a_node() {
    let cluster = cluster(Plugins::default()).await;
    let node = r#"{"metadata":{"name":"nr-n1","labels":{"node-role.kubernetes.io/x":"v"}}}"#;
    let headers = [("content-type", "application/json"), ("authorization", "Bearer n1")];
    let made = cluster.call("POST", "/api/v1/nodes", &headers, node.to_owned()).await;
    assert_eq!(made.code, 201, "{}", made.message());
}
