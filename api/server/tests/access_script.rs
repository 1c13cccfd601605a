//! Who may do what, word for word: questions and the answers that kube-apiserver gave to them
//! (`access.script`), asked again here.

mod support;

use std::sync::Arc;

use api_server::Mode;
use serde_json::Value;
use support::script::{self, Step};
use support::{Cluster, Store};

const SCRIPT: &str = include_str!("access.script");

async fn told(cluster: &Cluster, step: &Step) -> String {
    let bearer =
        if step.token.is_empty() { String::new() } else { format!("Bearer {}", step.token) };
    let mut headers = vec![("content-type", "application/json")];
    headers.extend(&step.headers);
    if !step.headers.iter().any(|(name, _)| *name == "Authorization") {
        headers.push(("authorization", &bearer));
    } else if let Some(own) = headers.iter_mut().find(|(name, _)| *name == "Authorization") {
        own.0 = "authorization";
    }
    let answer = cluster.call(step.method, step.path, &headers, step.body.to_owned()).await;
    let tree = serde_json::from_slice::<Value>(&answer.bytes).unwrap_or_default();
    let is_review = tree["kind"].as_str().is_some_and(|kind| kind.ends_with("Review"));
    let told = if answer.code >= 400 {
        tree["message"].to_string()
    } else if is_review {
        tree["status"].to_string()
    } else {
        String::new()
    };
    format!("{} {told}", answer.code).trim_end().to_owned()
}

#[tokio::test]
async fn every_answer_is_upstreams() {
    let store = Arc::new(Store::own(1));
    let cluster = Cluster::with(&store, 0, |config| {
        config.authorization = vec![Mode::Node, Mode::Rbac];
        script::know(
            config,
            &[
                ("jane", "jane", ""),
                ("imp", "imp", ""),
                ("narrow", "narrow", ""),
                ("n1", "system:node:n1", "system:nodes"),
                ("nobody-node", "system:node:", "system:nodes"),
            ],
        );
    })
    .await;
    script::take(&cluster, &script::steps(SCRIPT, 70), told).await;
}
