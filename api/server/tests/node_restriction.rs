//! What a node agent may write, word for word: what kube-apiserver said (`node_restriction.script`),
//! asked again here.
#![expect(clippy::panic, reason = "a script that cannot be read is a failed test")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use api_server::{Mode, Plugins, TokenUser};
use serde_json::Value;
use support::{ADMIN, Cluster, Store};
use tokio::time::Instant;

const SCRIPT: &str = include_str!("node_restriction.script");
/// What was written is seen by the authorizers soon.
const PATIENCE: Duration = Duration::from_secs(5);

struct Step<'a> {
    line: usize,
    token: &'a str,
    method: &'a str,
    path: &'a str,
    body: &'a str,
    wanted: &'a str,
}

fn steps() -> Vec<Step<'static>> {
    let mut steps = Vec::new();
    let mut lines = SCRIPT.lines().enumerate();
    while let Some((index, line)) = lines.next() {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let words: Vec<&str> = line.split(' ').collect();
        let [token, method, path] = words.as_slice() else { panic!("line {index}: {line}") };
        let body = lines.by_ref().map(|(_, line)| line).take_while(|line| *line != "---").last();
        let (_, wanted) = lines.next().unwrap_or_default();
        let (body, line) = (body.unwrap_or_default(), index + 1);
        steps.push(Step { line, token, method, path, body, wanted });
    }
    steps
}

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

async fn told(cluster: &Cluster, step: &Step<'_>) -> String {
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
        for (token, name, group) in [
            ("n1", "system:node:nr-n1", "system:nodes"),
            ("n2", "system:node:nr-n2", "system:nodes"),
            ("nobody", "system:node:", "system:nodes"),
            ("person", "system:node:nr-n3", ""),
        ] {
            let groups = [group].into_iter().filter(|group| !group.is_empty());
            let groups = groups.map(str::to_owned).collect();
            let user = TokenUser { name: name.to_owned(), uid: String::new(), groups };
            config.tokens.insert(token.to_owned(), user);
        }
    })
    .await
}

#[tokio::test]
async fn every_answer_to_a_node_is_upstreams() {
    let cluster = cluster(Plugins { node_restriction: true }).await;
    let steps = steps();
    assert!(steps.len() > 120, "the script is not read");
    let mut wrong = Vec::new();
    for step in &steps {
        let until = Instant::now() + PATIENCE;
        let mut answer = told(&cluster, step).await;
        while answer != step.wanted && Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(50)).await;
            answer = told(&cluster, step).await;
        }
        if answer != step.wanted {
            let Step { line, method, path, wanted, .. } = step;
            wrong.push(format!("line {line}: {method} {path}\n  not {wanted}\n  but {answer}"));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), steps.len(), wrong.join("\n"));
}

#[tokio::test]
async fn without_the_plugin_only_the_authorizer_restricts_a_node() {
    let cluster = cluster(Plugins::default()).await;
    let node = r#"{"metadata":{"name":"nr-n1","labels":{"node-role.kubernetes.io/x":"v"}}}"#;
    let headers = [("content-type", "application/json"), ("authorization", "Bearer n1")];
    let made = cluster.call("POST", "/api/v1/nodes", &headers, node.to_owned()).await;
    assert_eq!(made.code, 201, "{}", made.message());
}
