//! OpenAPI as clients ask for it: version 2 and 3, in JSON and protobuf, with custom kinds in both.

mod support;

use std::time::Instant;

use serde_json::{Value, json};
use support::{Cluster, DEADLINE, Store};

const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";

fn definition(group: &str) -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("gadgets.{group}")},
        "spec": {"group": group, "scope": "Namespaced",
            "names": {"plural": "gadgets", "kind": "Gadget"},
            "versions": [{"name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                    "spec": {"type": "object", "properties": {
                        "maybe": {"type": "string", "nullable": true},
                        "color": {"type": "string", "description": "What it looks like."}}}}}}}]},
    })
}

#[tokio::test]
async fn version_2_is_served_as_clients_ask_for_it() {
    let cluster = Cluster::on(Store::own(1)).await;
    let plain = cluster.get("/openapi/v2").await;
    assert_eq!(plain.code, 200);
    assert_eq!(plain.headers["content-type"], "application/json");
    let document = plain.json();
    assert_eq!(document["swagger"], "2.0");
    let pod = &document["definitions"]["io.k8s.api.core.v1.Pod"];
    assert_eq!(
        pod["x-kubernetes-group-version-kind"],
        json!([{"group": "", "version": "v1", "kind": "Pod"}])
    );
    let tag = plain.headers["etag"].to_str().expect("a tag is a text").to_owned();

    let protobuf = cluster.call("GET", "/openapi/v2", &[("accept", PROTOBUF)], "").await;
    assert_eq!(
        protobuf.headers["content-type"],
        "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
    );
    assert_eq!(
        (&protobuf.bytes[..5], &protobuf.headers["etag"]),
        (&b"\x0a\x032.0"[..], &plain.headers["etag"])
    );
    let headers = [("accept-encoding", "gzip")];
    let packed = cluster.call("GET", "/openapi/v2", &headers, "").await;
    assert_eq!(packed.headers["content-encoding"], "gzip");
    assert!(packed.bytes.len() * 5 < plain.bytes.len());
    let headers = [("if-none-match", tag.as_str())];
    let held = cluster.call("GET", "/openapi/v2", &headers, "").await;
    assert_eq!((held.code, held.bytes.len()), (304, 0));
    let refused = cluster.call("GET", "/openapi/v2", &[("accept", "text/html")], "").await;
    assert_eq!((refused.code, refused.bytes.len()), (406, 0));
}

/// Held beside a real kube-apiserver 1.36.
#[tokio::test]
async fn a_document_of_version_3_is_kept_by_its_hash() {
    let cluster = Cluster::on(Store::own(1)).await;
    let index = cluster.get("/openapi/v3").await;
    assert_eq!(index.headers["content-type"], "text/plain; charset=utf-8");
    let place = "/openapi/v3/apis/apps/v1";
    let url = index.json()["paths"]["apis/apps/v1"]["serverRelativeURL"].clone();
    let url = url.as_str().expect("a URL is a text");
    let tag = format!("\"{}\"", url.strip_prefix(&format!("{place}?hash=")).expect("a hash"));
    let document = cluster.get(url).await;
    assert_eq!(document.code, 200);
    assert_eq!(document.headers["etag"], tag);
    assert_eq!(document.headers["vary"], "Accept");
    let held = cluster.call("GET", place, &[("if-none-match", &tag)], "").await;
    assert_eq!((held.code, held.bytes.len()), (304, 0));
    let moved = cluster.get(&format!("{place}?hash=ABC")).await;
    assert_eq!((moved.code, moved.bytes.len()), (301, 0));
    assert_eq!(moved.headers["location"], url);
    assert_eq!(moved.headers["etag"], tag);
    assert_eq!(cluster.get("/openapi/v3/apis/apps/v7").await.code, 404);
    let refused = cluster.call("GET", place, &[("accept", "text/html")], "").await;
    assert_eq!((refused.code, refused.bytes.len()), (406, 0));
}

#[tokio::test]
async fn custom_kinds_come_and_go_in_both_versions() {
    let cluster = Cluster::on(Store::own(1)).await;
    let before = cluster.get("/openapi/v2").await.headers["etag"].clone();
    let group = "openapi.example.com";
    let made = cluster.post(DEFINITIONS, &definition(group)).await;
    assert_eq!(made.code, 201, "{}", made.message());
    let name = "com.example.openapi.v1.Gadget";
    let found =
        cluster.until("/openapi/v2", |document| document["definitions"][name].is_object()).await;
    let spec = &found["definitions"][name]["properties"]["spec"]["properties"];
    assert_eq!(spec["maybe"], json!({}));
    assert_eq!(spec["color"]["description"], "What it looks like.");
    let path = format!("/apis/{group}/v1/namespaces/{{namespace}}/gadgets");
    assert_eq!(found["paths"][path]["get"]["x-kubernetes-action"], "list");
    assert_ne!(cluster.get("/openapi/v2").await.headers["etag"], before);

    let place = format!("apis/{group}/v1");
    let url = |index: &Value| index["paths"][&place]["serverRelativeURL"].clone();
    let index = cluster.until("/openapi/v3", |index| url(index).is_string()).await;
    let first = url(&index);
    let document = cluster.get(first.as_str().expect("a URL is a text")).await;
    assert_eq!(document.headers["cache-control"], "public, immutable");
    let schema = &document.json()["components"]["schemas"][name];
    assert_eq!(schema["properties"]["spec"]["properties"]["maybe"]["nullable"], true);
    let protobuf = "application/com.github.proto-openapi.spec.v3@v1.0+protobuf";
    let place = format!("/openapi/v3/{place}");
    let answer = cluster.call("GET", &place, &[("accept", protobuf)], "").await;
    assert_eq!(&answer.bytes[..7], b"\x0a\x053.0.0");

    let other = json!({"spec": {"versions": [{"name": "v1", "served": true, "storage": true,
        "schema": {"openAPIV3Schema": {"type": "object"}}}]}});
    let changed = cluster.merge(&format!("{DEFINITIONS}/gadgets.{group}"), &other).await;
    assert_eq!(changed.code, 200, "{}", changed.message());
    cluster.until("/openapi/v3", |index| url(index) != first).await;
    cluster.delete(&format!("{DEFINITIONS}/gadgets.{group}")).await;
    cluster.until("/openapi/v2", |document| document["definitions"][name].is_null()).await;
}

/// Kilobytes that this process has in memory.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// `ORLOP_DEFINITIONS=2000` makes so many of them.
#[tokio::test(flavor = "multi_thread")]
async fn many_definitions_stay_cheap() {
    let count = std::env::var("ORLOP_DEFINITIONS").ok().and_then(|text| text.parse().ok());
    let count: usize = count.unwrap_or(40);
    let cluster = Cluster::on(Store::own(1)).await;
    cluster.get("/openapi/v2").await;
    let before = resident();
    let begun = Instant::now();
    let mut usable_after = Vec::new();
    for number in 0..count {
        let group = format!("g{number}.example.com");
        let begun = Instant::now();
        assert_eq!(cluster.post(DEFINITIONS, &definition(&group)).await.code, 201);
        let objects = format!("/apis/{group}/v1/namespaces/default/gadgets");
        while cluster.get(&objects).await.code != 200 {
            assert!(begun.elapsed() < DEADLINE, "{group} is not served");
        }
        usable_after.push(begun.elapsed());
    }
    usable_after.sort_unstable();
    let (median, longest) = (usable_after[count / 2], usable_after[count - 1]);
    println!("{count} in {:?}; usable after {median:?}, at most {longest:?}", begun.elapsed());
    for path in ["/openapi/v3", "/openapi/v3", "/openapi/v2", "/openapi/v2", "/apis"] {
        let begun = Instant::now();
        let answer = cluster.get(path).await;
        println!("{path}: {} bytes in {:?}", answer.bytes.len(), begun.elapsed());
    }
    let each = resident().saturating_sub(before) / count;
    println!("{each} KiB for each, with the store's part of it");
    assert!(each < 1024, "{each} KiB for each definition");
}
