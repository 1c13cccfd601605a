//! Two servers of one store: what a server's own cache does not know yet decides nothing.

mod support;

use std::sync::Arc;

use serde_json::{Value, json};
use support::{Answer, Cluster, Store};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const ONE: &str = "/api/v1/namespaces/default/configmaps/one";
/// Writes through either server, in turns: some come before the other's cache heard of the last.
const TURNS: u64 = 100;

async fn patched(server: &Cluster, operations: &Value) -> Answer {
    let headers = [("content-type", "application/json-patch+json")];
    server.call("PATCH", ONE, &headers, operations.to_string()).await
}

fn number(answer: &Answer) -> Value {
    assert_eq!(answer.code, 200, "{}", answer.message());
    answer.json()["data"]["n"].clone()
}

#[tokio::test]
async fn updates_see_what_was_written_through_another_server_a_moment_ago() {
    let store = Arc::new(Store::own(1));
    let servers = [Cluster::beside(&store, 0).await, Cluster::beside(&store, 0).await];
    let map = json!({"metadata": {"name": "one"}, "data": {"n": "0"}});
    assert_eq!(servers[0].post(MAPS, &map).await.code, 201);
    for turn in 1..=TURNS {
        let server = &servers[usize::from(turn % 2 == 1)];
        // It is refused when it is made on anything but the write before.
        let operations = json!([
            {"op": "test", "path": "/data/n", "value": (turn - 1).to_string()},
            {"op": "replace", "path": "/data/n", "value": turn.to_string()},
        ]);
        let answer = patched(server, &operations).await;
        assert_eq!(number(&answer), turn.to_string());
        let other = &servers[usize::from(turn % 2 == 0)];
        // What changes nothing in an old version is no reason to answer with that version.
        let same = json!({"data": {"n": turn.to_string()}});
        let answer = other.merge(ONE, &same).await;
        assert_eq!(number(&answer), turn.to_string());
        assert_eq!(number(&other.get(ONE).await), turn.to_string());
    }
}

#[tokio::test]
async fn a_replacement_of_the_newest_version_is_no_conflict_and_of_an_older_one_is() {
    let store = Arc::new(Store::own(1));
    let servers = [Cluster::beside(&store, 0).await, Cluster::beside(&store, 0).await];
    let map = json!({"metadata": {"name": "one"}, "data": {"n": "0"}});
    let mut newest = servers[0].post(MAPS, &map).await.json();
    for turn in 1..=TURNS {
        let server = &servers[usize::from(turn % 2 == 1)];
        let older = newest.clone();
        newest["data"]["n"] = turn.to_string().into();
        let answer = server.put(ONE, &newest).await;
        assert_eq!(number(&answer), turn.to_string());
        newest = answer.json();
        let answer = server.put(ONE, &older).await;
        assert_eq!(answer.code, 409, "{}", answer.message());
    }
}

#[tokio::test]
async fn what_was_deleted_through_another_server_is_not_found_by_an_update() {
    let store = Arc::new(Store::own(1));
    let servers = [Cluster::beside(&store, 0).await, Cluster::beside(&store, 0).await];
    for turn in 0..TURNS {
        let [one, other] = if turn % 2 == 0 { [0, 1] } else { [1, 0] };
        let map = json!({"metadata": {"name": "one"}, "data": {"n": "0"}});
        assert_eq!(servers[one].post(MAPS, &map).await.code, 201);
        assert_eq!(servers[one].delete(ONE).await.code, 200);
        let answer = servers[other].merge(ONE, &json!({"data": {"n": "1"}})).await;
        assert_eq!(answer.code, 404, "{}", answer.message());
    }
}

#[tokio::test]
async fn a_deletion_sees_what_was_written_through_another_server_a_moment_ago() {
    let store = Arc::new(Store::own(1));
    let servers = [Cluster::beside(&store, 0).await, Cluster::beside(&store, 0).await];
    let headers = [("content-type", "application/json")];
    for turn in 0..TURNS {
        let [one, other] = if turn % 2 == 0 { [0, 1] } else { [1, 0] };
        let map = json!({"metadata": {"name": "one"}, "data": {"n": "0"}});
        let older = servers[one].post(MAPS, &map).await.json();
        let held = json!({"metadata": {"finalizers": ["example.com/a"]}});
        let newer = servers[one].merge(ONE, &held).await.json();
        let options = |object: &Value| {
            let version = &object["metadata"]["resourceVersion"];
            json!({"kind": "DeleteOptions", "apiVersion": "v1",
                "preconditions": {"resourceVersion": version}})
        };
        let refused =
            servers[other].call("DELETE", ONE, &headers, options(&older).to_string()).await;
        assert_eq!(refused.code, 409, "{}", refused.message());
        let marked =
            servers[other].call("DELETE", ONE, &headers, options(&newer).to_string()).await;
        assert_eq!(marked.code, 200, "{}", marked.message());
        let going = servers[one].get(ONE).await.json();
        assert_eq!(going["metadata"]["finalizers"], held["metadata"]["finalizers"]);
        assert!(going["metadata"]["deletionTimestamp"].is_string(), "{going}");
        // Its last finalizer takes it away; the other server may not know yet that it was there.
        let free = json!({"metadata": {"finalizers": null}});
        assert_eq!(servers[one].merge(ONE, &free).await.code, 200);
        let gone = servers[other].delete(ONE).await;
        assert_eq!(gone.code, 404, "{}", gone.message());
    }
}
