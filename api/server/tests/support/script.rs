//! Scripts of requests and of what a real kube-apiserver said to them, asked again of ours.
//!
//! A step is `TOKEN METHOD PATH`, lines with headers, a line with the body, `---`, and the answer.

use std::time::Duration;

use api_server::{Config, TokenUser};
use tokio::time::Instant;

use super::Cluster;

/// What was written is seen by the authorizers soon.
const PATIENCE: Duration = Duration::from_secs(5);

/// One request and its answer.
pub(crate) struct Step {
    pub(crate) line: usize,
    /// Nobody's is empty.
    pub(crate) token: &'static str,
    pub(crate) method: &'static str,
    pub(crate) path: &'static str,
    pub(crate) headers: Vec<(&'static str, &'static str)>,
    pub(crate) body: &'static str,
    pub(crate) wanted: &'static str,
}

/// The steps of a script, of which there are `least` or more.
pub(crate) fn steps(script: &'static str, least: usize) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut lines = script.lines().enumerate();
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
    assert!(steps.len() >= least, "the script is not read");
    steps
}

/// Users with tokens: each a token, a name and a group, which may be empty.
pub(crate) fn know(config: &mut Config, users: &[(&str, &str, &str)]) {
    for (token, name, group) in users {
        let groups = [group].into_iter().filter(|group| !group.is_empty());
        let groups = groups.map(|group| (*group).to_owned()).collect();
        let user = TokenUser { name: (*name).to_owned(), uid: String::new(), groups };
        config.tokens.insert((*token).to_owned(), user);
    }
}

/// Takes all steps; `told` sends one and says what came. Fails with each that says something else.
pub(crate) async fn take(
    cluster: &Cluster,
    steps: &[Step],
    told: impl AsyncFn(&Cluster, &Step) -> String,
) {
    let mut wrong = Vec::new();
    for step in steps {
        let until = Instant::now() + PATIENCE;
        let mut answer = told(cluster, step).await;
        while answer != step.wanted && Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(50)).await;
            answer = told(cluster, step).await;
        }
        if answer != step.wanted {
            let Step { line, method, path, wanted, .. } = step;
            wrong.push(format!("line {line}: {method} {path}\n  not {wanted}\n  but {answer}"));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), steps.len(), wrong.join("\n"));
}
