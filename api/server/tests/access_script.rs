//! Who may do what, word for word: questions and the answers that kube-apiserver gave to them
//! (`access.script`), asked again here.
#![expect(clippy::panic, reason = "a script that cannot be read is a failed test")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use api_server::{Mode, TokenUser};
use serde_json::Value;
use support::{Cluster, Store};
use tokio::time::Instant;

const SCRIPT: &str = include_str!("access.script");
/// What was written is seen by the authorizers soon.
const PATIENCE: Duration = Duration::from_secs(5);

struct Step<'a> {
    line: usize,
    token: &'a str,
    method: &'a str,
    path: &'a str,
    headers: Vec<(&'a str, &'a str)>,
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
        let (mut headers, mut body) = (Vec::new(), "");
        for (_, line) in lines.by_ref().take_while(|(_, line)| *line != "---") {
            match line.split_once(": ") {
                Some(header) if !line.starts_with('{') => headers.push(header),
                _ => body = line,
            }
        }
        let (_, wanted) = lines.next().unwrap_or_default();
        let token = if *token == "-" { "" } else { token };
        steps.push(Step { line: index + 1, token, method, path, headers, body, wanted });
    }
    steps
}

async fn told(cluster: &Cluster, step: &Step<'_>) -> String {
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
        for (token, name, group) in [
            ("jane", "jane", ""),
            ("imp", "imp", ""),
            ("narrow", "narrow", ""),
            ("n1", "system:node:n1", "system:nodes"),
            ("nobody-node", "system:node:", "system:nodes"),
        ] {
            let groups = [group].into_iter().filter(|group| !group.is_empty());
            let groups = groups.map(str::to_owned).collect();
            let user = TokenUser { name: name.to_owned(), uid: String::new(), groups };
            config.tokens.insert(token.to_owned(), user);
        }
    })
    .await;
    let mut wrong = Vec::new();
    let steps = steps();
    assert!(steps.len() > 70, "the script is not read");
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
