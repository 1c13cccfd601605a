//! Lists, watches, selectors, forms and deletions, word for word: questions and what kube-apiserver told
//! (`lists.script`), asked again here.

#![expect(clippy::unwrap_used, reason = "a failed helper is a failed test")]

mod support;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use parking_lot::Mutex;
use regex::Regex;
use serde_json::Value;
use support::script::{self, Step};
use support::{Answer, Cluster, Store};

const SCRIPT: &str = include_str!("lists.script");

/// What later questions need of earlier answers.
type Known = Mutex<BTreeMap<&'static str, String>>;

fn text<'a>(tree: &'a Value, path: &str) -> &'a str {
    tree.pointer(path).and_then(Value::as_str).unwrap_or_default()
}

/// A message without what differs from run to run.
fn hidden(message: &str) -> String {
    let rules = [
        (r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "UID"),
        (r"(in record \()\d+", "${1}N"),
        (
            r"(too old resource version: |current: |Too large resource version: )\d+( \(\d+\))?",
            "${1}N",
        ),
    ];
    let told = rules.iter().fold(message.to_owned(), |told, (pattern, word)| {
        Regex::new(pattern).unwrap().replace_all(&told, *word).into_owned()
    });
    Value::from(told).to_string()
}

fn refusal(tree: &Value) -> String {
    let mut told =
        format!("{} {} {}", tree["code"], text(tree, "/reason"), hidden(text(tree, "/message")));
    let details = &tree["details"];
    // Upstream checks metadata twice and has some causes twice; here, and in the script, they are once.
    for cause in details["causes"].as_array().into_iter().flatten() {
        let (reason, field) = (text(cause, "/reason"), text(cause, "/field"));
        write!(told, " [{reason} {field} {}]", hidden(text(cause, "/message"))).unwrap();
    }
    if !details["retryAfterSeconds"].is_null() {
        write!(told, " retry={}", details["retryAfterSeconds"]).unwrap();
    }
    if !text(tree, "/metadata/continue").is_empty() {
        told.push_str(" continue");
    }
    told
}

fn name(object: &Value) -> String {
    if object["kind"] == "Table" {
        let rows = object["rows"].as_array().into_iter().flatten();
        let names: Vec<String> = rows.map(|row| name(&row["object"])).collect();
        let columns = if object["columnDefinitions"].is_array() { " columns" } else { "" };
        return format!("Table({}){columns}", names.join(","));
    }
    object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or("-").to_owned()
}

fn keys(tree: &Value) -> String {
    let names: Vec<&str> = tree.as_object().into_iter().flatten().map(|(key, _)| &**key).collect();
    names.join(",")
}

fn event(line: &[u8]) -> String {
    let event: Value = serde_json::from_slice(line).unwrap();
    let object = &event["object"];
    match text(&event, "/type") {
        "ERROR" => format!("ERROR {}", refusal(object)),
        kind => format!("{kind} {}", name(object)),
    }
}

/// What an answer says.
fn shown(known: &Known, method: &str, path: &str, answer: &Answer) -> String {
    let (code, bytes) = (answer.code, &answer.bytes);
    let form = answer.headers.get("content-type").map(|value| value.to_str().unwrap());
    let form = form.unwrap_or_default();
    let is_stream = bytes.is_empty() || bytes.starts_with(br#"{"type":"#);
    if code == 200 && is_stream && (path.contains("watch=") || path.contains("/watch/")) {
        let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let events: Vec<String> = lines.map(event).collect();
        return format!("200 {form}: {}", events.join("; ")).trim_end().to_owned();
    }
    let Ok(tree) = serde_json::from_slice::<Value>(bytes) else {
        return format!("{code} {form} {}", if bytes.is_empty() { "False" } else { "True" });
    };
    let mut known = known.lock();
    let token = text(&tree, "/metadata/continue");
    if !token.is_empty() {
        known.insert("continue", token.to_owned());
    }
    if tree["kind"] == "Status" && tree["status"] == "Failure" {
        return refusal(&tree);
    }
    if tree["kind"] == "Status" {
        return format!("{code} Status {} {}", text(&tree, "/status"), keys(&tree["details"]));
    }
    let metadata = &tree["metadata"];
    if tree["items"].is_array() || tree["kind"] == "Table" {
        known.insert("revision", text(&tree, "/metadata/resourceVersion").to_owned());
        let items = tree["items"].as_array().into_iter().flatten();
        let names: Vec<String> = items.map(name).collect();
        let what = match text(&tree, "/kind") {
            "Table" => name(&tree),
            kind => format!("{kind}({})", names.join(",")),
        };
        let mut told = format!("{code} {form} {what}");
        if !metadata["remainingItemCount"].is_null() {
            write!(told, " remaining={}", metadata["remainingItemCount"]).unwrap();
        }
        if !token.is_empty() {
            told.push_str(" continue");
        }
        return told;
    }
    if matches!(method, "POST" | "PUT" | "PATCH") {
        known.insert("created", text(&tree, "/metadata/resourceVersion").to_owned());
        known.insert("uid", text(&tree, "/metadata/uid").to_owned());
    }
    let mut told = format!("{code} {form} {} {}", text(&tree, "/kind"), name(&tree));
    if !metadata["deletionTimestamp"].is_null() {
        told.push_str(" going");
    }
    let finalizers = metadata["finalizers"].as_array().into_iter().flatten();
    let finalizers: Vec<&str> = finalizers.filter_map(Value::as_str).collect();
    if !finalizers.is_empty() {
        write!(told, " {}", finalizers.join(",")).unwrap();
    }
    told
}

fn filled(known: &Known, text: &str) -> String {
    known
        .lock()
        .iter()
        .fold(text.to_owned(), |text, (name, value)| text.replace(&format!("@{name}"), value))
}

/// Takes the history from the store, as it does itself after a while.
async fn compact(cluster: &Cluster) {
    let list = cluster.get("/api/v1/namespaces/default/configmaps").await.json();
    let revision = text(&list, "/metadata/resourceVersion").parse().unwrap();
    let endpoints = cluster.store.endpoints().to_vec();
    let client = store_client::Client::new(&store_client::Config::new(endpoints)).unwrap();
    client.compact(revision).await.unwrap();
}

async fn told(cluster: &Cluster, known: &Known, step: &Step) -> String {
    let bearer = format!("Bearer {}", support::ADMIN);
    let mut headers = step.headers.clone();
    headers.push(("authorization", &bearer));
    if !step.body.is_empty() && !headers.iter().any(|(name, _)| *name == "Content-Type") {
        headers.push(("content-type", "application/json"));
    }
    let (path, body) = (filled(known, step.path), filled(known, step.body));
    let answer = cluster.call(step.method, &path, &headers, body).await;
    shown(known, step.method, &path, &answer)
}

#[tokio::test]
async fn every_answer_is_upstreams() {
    let store = Arc::new(Store::own(1));
    let mut cluster = Cluster::beside(&store, 0).await;
    let known = Known::default();
    let mut wrong = Vec::new();
    for step in script::steps(SCRIPT, 140) {
        let said = match step.method {
            "COMPACT" => {
                compact(&cluster).await;
                "compacted".to_owned()
            }
            "RESTART" => {
                cluster.restart().await;
                "restarted".to_owned()
            }
            _ => told(&cluster, &known, &step).await,
        };
        if said != step.wanted {
            let Step { line, method, path, wanted, .. } = step;
            wrong.push(format!("line {line}: {method} {path}\n  not {wanted}\n  but {said}"));
        }
    }
    assert!(wrong.is_empty(), "{}:\n{}", wrong.len(), wrong.join("\n"));
}
