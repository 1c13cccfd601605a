//! Encryption at rest through the server: what lies in the store, what clients see, and how keys come
//! and go while the server runs.
#![expect(clippy::unwrap_used, reason = "a failed helper is a failed test")]

mod support;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use api_server::EncryptionConfig;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use store_client::{Client, rpc};
use support::{Cluster, DEADLINE, Store};
use tokio::time::Instant;

const SECRETS: &str = "/api/v1/namespaces/default/secrets";
const KEY: &str = "/registry/secrets/default/a";

/// Providers, each with the names and letters of its keys.
type Providers<'a> = &'a [(&'a str, &'a [(&'a str, u8)])];

/// A file for secrets, all of apps, and a custom kind.
fn file(providers: Providers<'_>, with_identity: bool) -> String {
    let mut text = "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\n\
         resources:\n- resources: [secrets, '*.apps', things.example.com]\n  providers:\n"
        .to_owned();
    for (provider, keys) in providers {
        text.push_str(&format!("  - {provider}:\n      keys:\n"));
        for (name, letter) in *keys {
            let secret = STANDARD.encode([*letter; 32]);
            text.push_str(&format!("      - {{name: {name}, secret: {secret}}}\n"));
        }
    }
    if with_identity {
        text.push_str("  - identity: {}\n");
    }
    text
}

/// A server with a file that it looks at often.
async fn with(store: &Arc<Store>, path: &Path) -> Cluster {
    let mut encryption = EncryptionConfig::load(path.to_owned(), true).unwrap();
    encryption.reload = Some(Duration::from_millis(50));
    Cluster::with(store, 0, |config| config.store.encryption = Some(encryption)).await
}

/// What lies in the store at a key, and at which revision. Some of it comes after the server is ready.
async fn lies(store: &Store, key: &str) -> (Vec<u8>, i64) {
    let config = store_client::Config::new(store.endpoints().to_vec());
    let client = Client::new(&config).unwrap();
    let request = rpc::RangeRequest { key: key.to_owned().into(), ..rpc::RangeRequest::default() };
    let until = Instant::now() + DEADLINE;
    loop {
        let response = client.range(request.clone()).await.unwrap();
        if let Some(found) = response.kvs.into_iter().next() {
            return (found.value.to_vec(), found.mod_revision);
        }
        assert!(Instant::now() < until, "nothing lies at {key}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn begins(store: &Store, key: &str, prefix: &str) {
    let (value, _) = lies(store, key).await;
    let value = String::from_utf8_lossy(&value).into_owned();
    assert!(value.starts_with(prefix), "{key} is not {prefix}: {value}");
    assert!(prefix == "{" || !value.contains("\"metadata\""), "{key} is not sealed: {value}");
}

/// Waits until a line of the metrics says so.
async fn until_told(cluster: &Cluster, wanted: &[&str]) {
    let until = Instant::now() + DEADLINE;
    loop {
        let answer = cluster.get("/metrics").await;
        let text = String::from_utf8(answer.bytes.to_vec()).unwrap();
        if text.lines().any(|line| wanted.iter().all(|part| line.contains(part))) {
            return;
        }
        assert!(Instant::now() < until, "no line of the metrics has {wanted:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn secret(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "data": {"x": "eA=="}})
}

#[tokio::test]
async fn values_are_sealed_in_the_store_and_plain_on_every_way_to_clients() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    std::fs::write(&path, file(&[("secretbox", &[("one", b'a')])], true)).unwrap();
    let store = Arc::new(Store::own(1));
    let cluster = with(&store, &path).await;
    let mut watch = cluster.watch(&format!("{SECRETS}?watch=1")).await;
    assert_eq!(cluster.post(SECRETS, &secret("a")).await.code, 201);
    begins(&store, KEY, "k8s:enc:secretbox:v1:one:").await;
    // What no rule is about, and what is no object.
    begins(&store, "/registry/namespaces/default", "{").await;
    begins(&store, "/registry/masterleases/127.0.0.1", "{").await;

    assert_eq!(watch.next().await.unwrap()["object"]["data"]["x"], "eA==");
    let one = cluster.get(&format!("{SECRETS}/a")).await.json();
    assert_eq!(one["data"]["x"], "eA==");
    let revision = one["metadata"]["resourceVersion"].as_str().unwrap();
    for query in [
        String::new(),
        "?resourceVersion=0".to_owned(),
        "?limit=1".to_owned(),
        format!("?resourceVersion={revision}&resourceVersionMatch=Exact"),
    ] {
        let list = cluster.get(&format!("{SECRETS}{query}")).await.json();
        assert_eq!(list["items"][0]["data"]["x"], "eA==", "{query}");
    }
    let merged = cluster.merge(&format!("{SECRETS}/a"), &json!({"data": {"y": "eQ=="}})).await;
    assert_eq!(merged.json()["data"], json!({"x": "eA==", "y": "eQ=="}));
    assert_eq!(watch.next().await.unwrap()["object"]["data"]["y"], "eQ==");
    assert_eq!(cluster.delete(&format!("{SECRETS}/a")).await.code, 200);
    assert_eq!(watch.told().await, "DELETED a");
    let sealed = ["transformation_operations_total{", "to_storage", "one:", "secrets", "OK"];
    until_told(&cluster, &sealed).await;
}

#[tokio::test]
async fn a_changed_file_is_in_force_without_a_restart_and_stale_values_are_written_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    std::fs::write(&path, file(&[], true)).unwrap();
    let store = Arc::new(Store::own(1));
    let cluster = with(&store, &path).await;
    cluster.post(SECRETS, &secret("a")).await;
    begins(&store, KEY, "{").await;

    let steps: [(Providers<'_>, bool, &str); 4] = [
        (&[("aescbc", &[("one", b'a')])], true, "k8s:enc:aescbc:v1:one:"),
        (&[("aescbc", &[("two", b'b'), ("one", b'a')])], false, "k8s:enc:aescbc:v1:two:"),
        (
            &[("aesgcm", &[("two", b'b')]), ("aescbc", &[("two", b'b')])],
            false,
            "k8s:enc:aesgcm:v1:two:",
        ),
        (&[("aesgcm", &[("two", b'b')])], true, "k8s:enc:aesgcm:v1:two:"),
    ];
    for (number, (providers, with_identity, prefix)) in steps.into_iter().enumerate() {
        let before = lies(&store, KEY).await;
        std::fs::write(&path, file(providers, with_identity)).unwrap();
        let times = format!(" {}", number + 1);
        until_told(&cluster, &["automatic_reloads_total{", "success", &times]).await;
        // Nothing is written by itself.
        assert_eq!(lies(&store, KEY).await, before);
        let same = cluster.get(&format!("{SECRETS}/a")).await.json();
        assert_eq!(cluster.put(&format!("{SECRETS}/a"), &same).await.code, 200);
        begins(&store, KEY, prefix).await;
        let now = lies(&store, KEY).await;
        assert_eq!(now.1 > before.1, number < 3, "{prefix}");
        // What is not stale is left alone.
        cluster.merge(&format!("{SECRETS}/a"), &json!({})).await;
        assert_eq!(lies(&store, KEY).await, now);
    }

    // A file that cannot be used changes nothing.
    std::fs::write(&path, "kind: Nothing\n").unwrap();
    until_told(&cluster, &["automatic_reloads_total{", "failure"]).await;
    assert_eq!(cluster.get(&format!("{SECRETS}/a")).await.code, 200);
    cluster.post(SECRETS, &secret("b")).await;
    begins(&store, "/registry/secrets/default/b", "k8s:enc:aesgcm:v1:two:").await;
}

#[tokio::test]
async fn what_no_key_opens_is_an_error_and_all_else_is_served() {
    let folder = tempfile::tempdir().unwrap();
    let (path, other) = (folder.path().join("file"), folder.path().join("other"));
    std::fs::write(&path, file(&[("aesgcm", &[("one", b'a')])], true)).unwrap();
    std::fs::write(&other, file(&[("aesgcm", &[("two", b'b')])], true)).unwrap();
    let store = Arc::new(Store::own(1));
    let first = with(&store, &path).await;
    first.post("/api/v1/namespaces", &json!({"metadata": {"name": "other"}})).await;
    let cluster = with(&store, &other).await;
    let elsewhere = "/api/v1/namespaces/other/secrets";
    assert_eq!(cluster.post(elsewhere, &secret("b")).await.code, 201);
    let list = cluster.get(SECRETS).await.json();
    let after = list["metadata"]["resourceVersion"].as_str().unwrap();
    let mut watch = cluster.watch(&format!("{SECRETS}?watch=1&resourceVersion={after}")).await;

    // One comes that this server has no key of: those who watch have to look again.
    assert_eq!(first.post(SECRETS, &secret("a")).await.code, 201);
    assert_eq!(watch.next().await, None);
    let why = "no matching key was found for the provided AES transformer";
    let one = format!("Internal error occurred: {why}");
    let of_list = format!("Internal error occurred: unable to transform key \"{KEY}\": {why}");
    for (method, path, wanted) in [
        ("GET", format!("{SECRETS}/a"), &one),
        ("GET", format!("{SECRETS}/a?resourceVersion=0"), &of_list),
        ("DELETE", format!("{SECRETS}/a"), &one),
        ("GET", SECRETS.to_owned(), &of_list),
        ("GET", "/api/v1/secrets".to_owned(), &of_list),
        ("GET", format!("{SECRETS}?limit=1"), &of_list),
        ("GET", format!("{SECRETS}?resourceVersion=0"), &of_list),
    ] {
        let answer = cluster.call(method, &path, &[], "").await;
        assert_eq!((answer.code, &answer.message()), (500, wanted), "{method} {path}");
    }
    let refused = cluster.put(&format!("{SECRETS}/a"), &secret("a")).await;
    assert_eq!((refused.code, &refused.message()), (500, &one));
    let mut watch = cluster.watch(&format!("{SECRETS}?watch=1")).await;
    assert_eq!(watch.next().await.unwrap()["object"]["message"], of_list.as_str());
    // All others are there.
    assert_eq!(cluster.get(elsewhere).await.json()["items"][0]["metadata"]["name"], "b");
    assert_eq!(cluster.get("/api/v1/namespaces/default/pods").await.code, 200);
    assert_eq!(cluster.get("/readyz").await.code, 200);

    // With the key it is there, and nothing was lost.
    std::fs::write(&other, file(&[("aesgcm", &[("two", b'b'), ("one", b'a')])], true)).unwrap();
    let list = cluster.until(SECRETS, |list| list["items"][0]["data"]["x"] == "eA==").await;
    assert_eq!(list["items"][0]["metadata"]["name"], "a");
    assert_eq!(cluster.get("/api/v1/secrets").await.code, 200);
}

#[tokio::test]
async fn custom_kinds_are_sealed_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    std::fs::write(&path, file(&[("aesgcm", &[("one", b'a')])], true)).unwrap();
    let store = Arc::new(Store::own(1));
    let cluster = with(&store, &path).await;
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "things.example.com"},
        "spec": {"group": "example.com", "scope": "Namespaced",
            "names": {"plural": "things", "singular": "thing", "kind": "Thing"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema":
                {"openAPIV3Schema": {"type": "object", "properties": {"a": {"type": "string"}}}}}]},
    });
    let definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    assert_eq!(cluster.post(definitions, &definition).await.code, 201);
    let things = "/apis/example.com/v1/namespaces/default/things";
    cluster.until(things, |list| list["kind"] == "ThingList").await;
    let thing = json!({"apiVersion": "example.com/v1", "kind": "Thing",
        "metadata": {"name": "t"}, "a": "b"});
    assert_eq!(cluster.post(things, &thing).await.code, 201);
    begins(&store, "/registry/example.com/things/default/t", "k8s:enc:aesgcm:v1:one:").await;
    let list = cluster.until(things, |list| list["items"][0]["a"] == "b").await;
    // A change of the keys is a change of what is stale here too.
    std::fs::write(
        &path,
        file(&[("secretbox", &[("x", b'x')]), ("aesgcm", &[("one", b'a')])], true),
    )
    .unwrap();
    until_told(&cluster, &["automatic_reloads_total{", "success"]).await;
    assert_eq!(cluster.put(&format!("{things}/t"), &list["items"][0]).await.code, 200);
    begins(&store, "/registry/example.com/things/default/t", "k8s:enc:secretbox:v1:x:").await;
}
