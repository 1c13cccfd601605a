//! The API from outside, over HTTPS: on our own store always, and on etcd, the oracle, where
//! there is one. What fails on one of them only is the store's fault.
#![expect(clippy::unwrap_used, reason = "a failed helper is a failed test")]

mod support;

use api_machinery::protobuf;
use serde_json::{Value, json};
use support::{Cluster, Store};

/// Each story as one test on either store.
macro_rules! stories {
    ($($story:ident),+ $(,)?) => {
        mod own {
            $(
                #[tokio::test]
                async fn $story() {
                    super::$story(super::Cluster::on(super::Store::own(1)).await).await;
                }
            )+
        }

        mod etcd {
            $(
                #[tokio::test]
                async fn $story() {
                    let Some(store) = super::Store::etcd() else { return };
                    super::$story(super::Cluster::on(store).await).await;
                }
            )+
        }
    };
}

stories! {
    writes_follow_upstreams_rules_for_versions,
    watches_tell_every_change_once_and_in_order,
    lists_are_paged_at_one_revision,
    protobuf_goes_in_and_out,
    pods_are_bound_once_and_go_with_their_grace,
    finalizers_and_namespaces_hold_back_deletion,
    services_get_addresses_and_give_them_back,
    services_change_their_type_and_what_they_hold,
    what_is_asked_to_be_signed_is_the_askers_and_decided_apart,
    who_applies_owns_and_others_are_told,
    refusals_have_upstreams_words,
    tables_and_discovery_are_negotiated,
}

const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";
const PODS: &str = "/api/v1/namespaces/default/pods";

fn config_map(name: &str, label: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": name, "labels": {"l": label}}, "data": {"a": "b"},
    })
}

fn deployment(name: &str) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
        "spec": {
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "c", "image": "i"}]},
            },
        },
    })
}

async fn pod(cluster: &Cluster, name: &str) -> Value {
    cluster
        .post(
            "/api/v1/namespaces/default/serviceaccounts",
            &json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}),
        )
        .await;
    let tree = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
        "spec": {"containers": [{"name": "c", "image": "i"}]},
    });
    let created = cluster.post(PODS, &tree).await;
    assert_eq!(created.code, 201, "{}", created.message());
    created.json()
}

async fn writes_follow_upstreams_rules_for_versions(cluster: Cluster) {
    let created = cluster.post(DEPLOYMENTS, &deployment("web")).await;
    assert_eq!(created.code, 201, "{}", created.message());
    let first = created.json();
    assert_eq!(first["metadata"]["generation"], 1);
    assert_eq!(first["spec"]["replicas"], 1, "defaults are applied");
    let at = format!("{DEPLOYMENTS}/web");

    let again = cluster.post(DEPLOYMENTS, &deployment("web")).await;
    assert_eq!(again.message(), "deployments.apps \"web\" already exists");

    // A change of the spec counts; one of nothing writes nothing.
    let scaled = cluster.merge(&at, &json!({"spec": {"replicas": 3}})).await.json();
    assert_eq!(scaled["metadata"]["generation"], 2);
    let same = cluster.merge(&at, &json!({"spec": {"replicas": 3}})).await.json();
    assert_eq!(same["metadata"]["resourceVersion"], scaled["metadata"]["resourceVersion"]);

    // The first version is no longer the newest.
    let stale = cluster.put(&at, &first).await;
    assert_eq!((stale.code, stale.json()["reason"].clone()), (409, json!("Conflict")));
    assert_eq!(
        stale.message(),
        "Operation cannot be fulfilled on deployments.apps \"web\": the object has been modified; please apply your changes to the latest version and try again"
    );

    // The status has its own door, and does not change the spec.
    let status = json!({"spec": {"replicas": 9}, "status": {"replicas": 3}});
    let patched = cluster.merge(&format!("{at}/status"), &status).await.json();
    assert_eq!(
        (&patched["spec"]["replicas"], &patched["status"]["replicas"]),
        (&json!(3), &json!(3))
    );

    let scale =
        cluster.merge(&format!("{at}/scale"), &json!({"spec": {"replicas": 5}})).await.json();
    assert_eq!(scale["kind"], "Scale");
    assert_eq!(scale["status"], json!({"replicas": 3, "selector": "app=web"}));
    assert_eq!(cluster.get(&at).await.json()["spec"]["replicas"], 5);

    let dry = cluster.merge(&format!("{at}?dryRun=All"), &json!({"spec": {"replicas": 7}})).await;
    assert_eq!(dry.json()["spec"]["replicas"], 7);
    assert_eq!(cluster.get(&at).await.json()["spec"]["replicas"], 5, "a dry run keeps nothing");

    let gone = cluster.delete(&at).await.json();
    assert_eq!(
        (&gone["status"], &gone["details"]["kind"]),
        (&json!("Success"), &json!("deployments"))
    );
    assert_eq!(cluster.get(&at).await.code, 404);
}

async fn watches_tell_every_change_once_and_in_order(mut cluster: Cluster) {
    cluster.post(CONFIG_MAPS, &config_map("a", "red")).await;
    let mut all = cluster.watch(&format!("{CONFIG_MAPS}?watch=1")).await;
    let mut red = cluster
        .watch(&format!("{CONFIG_MAPS}?watch=1&labelSelector=l%3Dred&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"))
        .await;
    assert_eq!(all.told().await, "ADDED a");
    assert_eq!(red.told().await, "ADDED a");
    let mark = red.next().await.unwrap();
    assert_eq!(mark["type"], "BOOKMARK");
    assert_eq!(mark["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");

    let start = cluster.get(CONFIG_MAPS).await.json()["metadata"]["resourceVersion"].clone();
    cluster.post(CONFIG_MAPS, &config_map("b", "blue")).await;
    cluster
        .merge(&format!("{CONFIG_MAPS}/a"), &json!({"metadata": {"labels": {"l": "blue"}}}))
        .await;
    cluster
        .merge(&format!("{CONFIG_MAPS}/b"), &json!({"metadata": {"labels": {"l": "red"}}}))
        .await;
    cluster.delete(&format!("{CONFIG_MAPS}/b")).await;
    for wanted in ["ADDED b", "MODIFIED a", "MODIFIED b", "DELETED b"] {
        assert_eq!(all.told().await, wanted);
    }
    // What leaves the selection is deleted for the watcher, what enters it is new.
    for wanted in ["DELETED a", "ADDED b", "DELETED b"] {
        assert_eq!(red.told().await, wanted);
    }
    // A client that comes back gets what it missed, and a clean end at its timeout.
    let version = start.as_str().unwrap();
    let mut back = cluster
        .watch(&format!("{CONFIG_MAPS}?watch=1&resourceVersion={version}&timeoutSeconds=1"))
        .await;
    for wanted in ["ADDED b", "MODIFIED a", "MODIFIED b", "DELETED b"] {
        assert_eq!(back.told().await, wanted);
    }
    assert!(back.next().await.is_none());

    // A server that started later has no memory of what was before.
    cluster.restart().await;
    let mut old = cluster.watch(&format!("{CONFIG_MAPS}?watch=1&resourceVersion=1")).await;
    let error = old.next().await.unwrap();
    assert_eq!(error["type"], "ERROR");
    assert_eq!(
        (&error["object"]["code"], &error["object"]["reason"]),
        (&json!(410), &json!("Expired"))
    );
}

async fn lists_are_paged_at_one_revision(cluster: Cluster) {
    for name in ["a", "b", "c", "d", "e"] {
        cluster.post(CONFIG_MAPS, &config_map(name, "x")).await;
    }
    let names = |list: &Value| -> Vec<String> {
        let items = list["items"].as_array().unwrap();
        items.iter().map(|item| item["metadata"]["name"].as_str().unwrap().to_owned()).collect()
    };
    let first = cluster.get(&format!("{CONFIG_MAPS}?limit=2")).await.json();
    assert_eq!(names(&first), ["a", "b"]);
    assert_eq!(first["metadata"]["remainingItemCount"], 3);
    cluster.delete(&format!("{CONFIG_MAPS}/d")).await;
    let token = first["metadata"]["continue"].as_str().unwrap();
    let second = cluster.get(&format!("{CONFIG_MAPS}?limit=2&continue={token}")).await.json();
    assert_eq!(names(&second), ["c", "d"], "the second page is of the first one's revision");
    assert_eq!(second["metadata"]["resourceVersion"], first["metadata"]["resourceVersion"]);
    let token = second["metadata"]["continue"].as_str().unwrap();
    let last = cluster.get(&format!("{CONFIG_MAPS}?limit=2&continue={token}")).await.json();
    assert_eq!(names(&last), ["e"]);
    assert!(last["metadata"].get("continue").is_none());

    assert_eq!(names(&cluster.get(CONFIG_MAPS).await.json()), ["a", "b", "c", "e"]);
    let by_field = cluster.get(&format!("{CONFIG_MAPS}?fieldSelector=metadata.name%3Dc")).await;
    assert_eq!(names(&by_field.json()), ["c"]);
    let exact =
        cluster.get(&format!("{CONFIG_MAPS}?resourceVersionMatch=Exact&resourceVersion=0")).await;
    assert_eq!(exact.code, 422);
    let ahead = cluster.get(&format!("{CONFIG_MAPS}?resourceVersion=999999")).await;
    assert_eq!((ahead.code, ahead.json()["reason"].clone()), (504, json!("Timeout")));
}

async fn protobuf_goes_in_and_out(cluster: Cluster) {
    let body = protobuf::encode(&config_map("p", "x")).unwrap();
    let media = ("accept", "application/vnd.kubernetes.protobuf,application/json");
    let headers = [("content-type", protobuf::MEDIA_TYPE), media];
    let created = cluster.call("POST", CONFIG_MAPS, &headers, body).await;
    assert_eq!(created.code, 201);
    assert_eq!(created.headers["content-type"], protobuf::MEDIA_TYPE);
    let object = protobuf::decode(&created.bytes).unwrap();
    assert_eq!((object.name(), object.text(&["data", "a"])), ("p", "b"));

    let listed = cluster.call("GET", CONFIG_MAPS, &[media], "").await;
    let list = protobuf::decode(&listed.bytes).unwrap();
    assert_eq!(list.kind(), "ConfigMapList");
    let missing = cluster.call("GET", &format!("{CONFIG_MAPS}/nope"), &[media], "").await;
    assert_eq!(missing.code, 404);
    assert_eq!(protobuf::decode(&missing.bytes).unwrap().text(&["reason"]), "NotFound");
    let watched = format!("{CONFIG_MAPS}?watch=1&timeoutSeconds=1");
    let watch = cluster.call("GET", &watched, &[media], "").await;
    assert_eq!(watch.headers["content-type"], protobuf::WATCH_MEDIA_TYPE);
    let length = u32::from_be_bytes(watch.bytes[..4].try_into().unwrap());
    assert_eq!(length as usize, watch.bytes.len() - 4, "one frame of the length it names");
}

async fn pods_are_bound_once_and_go_with_their_grace(cluster: Cluster) {
    let made = pod(&cluster, "p").await;
    assert_eq!(made["spec"]["serviceAccountName"], "default");
    let at = format!("{PODS}/p");
    let binding = json!({
        "apiVersion": "v1", "kind": "Binding", "metadata": {"name": "p"},
        "target": {"apiVersion": "v1", "kind": "Node", "name": "n1"},
    });
    let bound = cluster.post(&format!("{at}/binding"), &binding).await;
    assert_eq!((bound.code, bound.json()["status"].clone()), (201, json!("Success")));
    let twice = cluster.post(&format!("{at}/binding"), &binding).await;
    assert_eq!(twice.code, 409, "{}", twice.message());

    let going = cluster.delete(&at).await.json();
    assert_eq!(going["metadata"]["deletionGracePeriodSeconds"], 30);
    assert_eq!(cluster.get(&at).await.code, 200);
    let wrong = json!({"kind": "DeleteOptions", "apiVersion": "v1", "gracePeriodSeconds": 0,
        "preconditions": {"uid": "other"}});
    let headers = [("content-type", "application/json")];
    let refused = cluster.call("DELETE", &at, &headers, wrong.to_string()).await;
    assert_eq!(refused.code, 409);
    assert_eq!(cluster.delete(&format!("{at}?gracePeriodSeconds=0")).await.code, 200);
    assert_eq!(cluster.get(&at).await.code, 404);

    // `kubectl drain` asks discovery whether pods can be evicted, and evicts.
    let resources = cluster.get("/api/v1").await.json();
    let resources = resources["resources"].as_array().unwrap();
    let eviction = resources.iter().find(|one| one["name"] == "pods/eviction").unwrap();
    assert_eq!(
        (&eviction["group"], &eviction["version"], &eviction["kind"]),
        (&json!("policy"), &json!("v1"), &json!("Eviction"))
    );
    pod(&cluster, "evicted").await;
    let at = format!("{PODS}/evicted");
    let mut binding = binding;
    binding["metadata"]["name"] = "evicted".into();
    assert_eq!(cluster.post(&format!("{at}/binding"), &binding).await.code, 201);
    let mut eviction = json!({
        "apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "evicted"},
        "deleteOptions": {"gracePeriodSeconds": 7, "preconditions": {"uid": "other"}},
    });
    assert_eq!(cluster.post(&format!("{at}/eviction"), &eviction).await.code, 409);
    eviction["deleteOptions"]["preconditions"] = Value::Null;
    let evicted = cluster.post(&format!("{at}/eviction"), &eviction).await;
    assert_eq!((evicted.code, evicted.json()["status"].clone()), (201, json!("Success")));
    let going = cluster.get(&at).await.json();
    assert_eq!(going["metadata"]["deletionGracePeriodSeconds"], 7);
    eviction["metadata"]["name"] = "nobody".into();
    assert_eq!(cluster.post(&format!("{PODS}/nobody/eviction"), &eviction).await.code, 404);

    pod(&cluster, "unbound").await;
    cluster.delete(&format!("{PODS}/unbound")).await;
    assert_eq!(cluster.get(&format!("{PODS}/unbound")).await.code, 404);
}

async fn finalizers_and_namespaces_hold_back_deletion(cluster: Cluster) {
    let mut held = config_map("held", "x");
    held["metadata"]["finalizers"] = json!(["example.com/wait"]);
    cluster.post(CONFIG_MAPS, &held).await;
    let at = format!("{CONFIG_MAPS}/held");
    assert!(cluster.delete(&at).await.json()["metadata"]["deletionTimestamp"].is_string());
    assert_eq!(cluster.get(&at).await.code, 200);
    cluster.merge(&at, &json!({"metadata": {"finalizers": null}})).await;
    assert_eq!(cluster.get(&at).await.code, 404, "the last finalizer was all that held it");

    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "n"}});
    assert_eq!(cluster.post("/api/v1/namespaces", &namespace).await.code, 201);
    let going = cluster.delete("/api/v1/namespaces/n").await.json();
    assert_eq!(going["status"]["phase"], "Terminating");
    let refused = cluster.post("/api/v1/namespaces/n/configmaps", &config_map("late", "x")).await;
    assert_eq!(refused.code, 403);
    assert_eq!(refused.json()["details"]["causes"][0]["reason"], "NamespaceTerminating");
    let mut done = going.clone();
    done["spec"]["finalizers"] = json!([]);
    assert_eq!(cluster.put("/api/v1/namespaces/n/finalize", &done).await.code, 200);
    assert_eq!(cluster.get("/api/v1/namespaces/n").await.code, 404);
    assert_eq!(cluster.delete("/api/v1/namespaces/default").await.code, 403);
}

async fn services_get_addresses_and_give_them_back(cluster: Cluster) {
    let services = "/api/v1/namespaces/default/services";
    let service = |name: &str, ip: Option<&str>| {
        let mut tree = json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
            "spec": {"type": "NodePort", "ports": [{"port": 80}]},
        });
        if let Some(ip) = ip {
            tree["spec"]["clusterIP"] = ip.into();
        }
        tree
    };
    let made = cluster.post(services, &service("a", None)).await.json();
    let ip = made["spec"]["clusterIP"].as_str().unwrap().to_owned();
    assert!(ip.starts_with("10.96.0."));
    assert!(made["spec"]["ports"][0]["nodePort"].as_u64().is_some_and(|port| port >= 30000));
    let taken = cluster.post(services, &service("b", Some(&ip))).await;
    assert_eq!(taken.code, 422);
    assert!(taken.message().contains("provided IP is already allocated"), "{}", taken.message());
    // The first address is nobody's but Service kubernetes', be it there or not.
    let first = cluster.post(services, &service("c", Some("10.96.0.1"))).await;
    assert!(first.message().contains("provided IP is already allocated"), "{}", first.message());
    cluster.delete(&format!("{services}/a")).await;
    assert_eq!(cluster.post(services, &service("b", Some(&ip))).await.code, 201);
}

async fn services_change_their_type_and_what_they_hold(cluster: Cluster) {
    let services = "/api/v1/namespaces/default/services";
    let one = format!("{services}/s");
    let tree = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"},
        "spec": {"ports": [{"name": "a", "port": 80}, {"name": "b", "port": 81}]},
    });
    assert_eq!(cluster.post(services, &tree).await.code, 201);
    let outside = cluster.merge(&one, &json!({"spec": {"type": "NodePort"}})).await.json();
    let port = |service: &Value, index: usize| service["spec"]["ports"][index]["nodePort"].clone();
    let given = (port(&outside, 0), port(&outside, 1));
    assert!(given.0.is_u64() && given.1.is_u64() && given.0 != given.1, "{outside}");
    // A PUT that does not name them keeps them, in another order too.
    let mut again = tree.clone();
    again["spec"] = json!({"type": "NodePort",
        "ports": [{"name": "b", "port": 81}, {"name": "a", "port": 8080}]});
    let kept = cluster.put(&one, &again).await.json();
    assert_eq!((port(&kept, 1), port(&kept, 0)), given);
    assert_eq!(kept["spec"]["clusterIP"], outside["spec"]["clusterIP"]);
    let inside = cluster.merge(&one, &json!({"spec": {"type": "ClusterIP"}})).await.json();
    assert_eq!(port(&inside, 0), Value::Null, "{inside}");
    assert_eq!(inside["spec"]["externalTrafficPolicy"], Value::Null);
    // What it had is free for others, and not before.
    let other = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "other"},
        "spec": {"type": "NodePort", "ports": [{"port": 80, "nodePort": given.0}]},
    });
    assert_eq!(cluster.post(services, &other).await.code, 201);
    let wants = json!({"spec": {"type": "NodePort", "ports": [
        {"name": "a", "port": 80, "nodePort": given.0}]}});
    let refused = cluster.merge(&one, &wants).await;
    assert!(refused.message().contains("port is already allocated"), "{}", refused.message());
    let gone = json!({"spec": {"type": "ExternalName", "externalName": "example.com"}});
    let gone = cluster.merge(&one, &gone).await.json();
    assert_eq!(gone["spec"]["clusterIP"], Value::Null, "{gone}");
    let back = json!({"spec": {"type": "ClusterIP", "externalName": null}});
    let back = cluster.merge(&one, &back).await.json();
    assert!(back["spec"]["clusterIP"].as_str().is_some_and(|ip| ip.starts_with("10.96.0.")));
}

async fn what_is_asked_to_be_signed_is_the_askers_and_decided_apart(cluster: Cluster) {
    let requests = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
    let key = rcgen::KeyPair::generate().unwrap();
    let asked = rcgen::CertificateParams::default().serialize_request(&key).unwrap();
    let pem =
        base64::Engine::encode(&base64::engine::general_purpose::STANDARD, asked.pem().unwrap());
    let tree = json!({
        "apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest",
        "metadata": {"name": "r"},
        "spec": {"request": pem, "signerName": "example.com/any", "usages": ["client auth"],
            "username": "somebody-else"},
        "status": {"certificate": "eA=="},
    });
    let made = cluster.post(requests, &tree).await;
    assert_eq!(made.code, 201, "{}", made.message());
    assert!(made.headers["warning"].to_str().unwrap().contains("no controller of this server"));
    let made = made.json();
    assert_ne!(made["spec"]["username"], "somebody-else");
    assert!(!made["spec"]["groups"].as_array().unwrap().is_empty());
    assert_eq!(made["status"], json!({}));
    let mut approved = made.clone();
    approved["spec"]["signerName"] = "example.com/other".into();
    approved["status"] = json!({"certificate": "eA==",
        "conditions": [{"type": "Approved", "status": "True", "reason": "fine"}]});
    let approved = cluster.put(&format!("{requests}/r/approval"), &approved).await;
    assert_eq!(approved.code, 200, "{}", approved.message());
    let approved = approved.json();
    assert_eq!(approved["spec"], made["spec"]);
    assert_eq!(approved["status"]["certificate"], Value::Null);
    let condition = &approved["status"]["conditions"][0];
    assert!(condition["type"] == "Approved" && condition["lastTransitionTime"].is_string());
    // A decision stays, whatever a status says.
    let mut status = approved.clone();
    status["status"]["conditions"] = json!([]);
    let refused = cluster.put(&format!("{requests}/r/status"), &status).await;
    assert_eq!(refused.code, 422, "{}", refused.message());
}

/// The managers of an object: name, operation, subresource.
fn managers(object: &Value) -> Vec<(String, String, String)> {
    let text = |entry: &Value, key: &str| entry[key].as_str().unwrap_or_default().to_owned();
    let entries = object["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
    let of = |entry: &Value| {
        (text(entry, "manager"), text(entry, "operation"), text(entry, "subresource"))
    };
    entries.iter().map(of).collect()
}

async fn who_applies_owns_and_others_are_told(cluster: Cluster) {
    let one = format!("{DEPLOYMENTS}/d");
    let mut tree = deployment("d");
    tree["spec"]["replicas"] = 3.into();
    let first = cluster.apply(&format!("{one}?fieldManager=one"), &tree).await;
    assert_eq!(first.code, 201, "{}", first.message());
    let first = first.json();
    let by = |name: &str, what: &str| (name.to_owned(), what.to_owned(), String::new());
    assert_eq!(managers(&first), [by("one", "Apply")]);
    // The same again changes nothing, not even the version.
    let again = cluster.apply(&format!("{one}?fieldManager=one"), &tree).await.json();
    assert_eq!(again["metadata"]["resourceVersion"], first["metadata"]["resourceVersion"]);

    let other = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"},
        "spec": {"replicas": 5}});
    let refused = cluster.apply(&format!("{one}?fieldManager=two"), &other).await;
    assert_eq!(refused.code, 409);
    assert_eq!(
        refused.message(),
        "Apply failed with 1 conflict: conflict with \"one\": .spec.replicas"
    );
    assert_eq!(refused.json()["details"]["causes"][0]["reason"], "FieldManagerConflict");
    let forced = cluster.apply(&format!("{one}?fieldManager=two&force=true"), &other).await;
    assert_eq!(forced.json()["spec"]["replicas"], 5);
    // What its owner does not name any more, and nobody else owns, goes back to the default.
    let less = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}});
    let given_up = cluster.apply(&format!("{one}?fieldManager=two"), &less).await.json();
    assert_eq!(given_up["spec"]["replicas"], 1, "{given_up}");

    // Other writes own what they change, the status and the scale apart.
    let two = json!({"spec": {"replicas": 2}});
    assert_eq!(cluster.merge(&format!("{one}/scale?fieldManager=s"), &two).await.code, 200);
    let status = json!({"status": {"replicas": 1}});
    let after = cluster.merge(&format!("{one}/status?fieldManager=c"), &status).await.json();
    let found = managers(&after);
    for (name, subresource) in [("s", "scale"), ("c", "status")] {
        let wanted = (name.to_owned(), "Update".to_owned(), subresource.to_owned());
        assert!(found.contains(&wanted), "{found:?}");
    }
    let nameless = cluster.apply(&one, &less).await;
    assert_eq!(nameless.code, 422);
    assert!(nameless.message().contains("fieldManager: Required value: is required for apply"));
    let unknown = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"},
        "spec": {"nope": 1}});
    let unknown = cluster.apply(&format!("{one}?fieldManager=two"), &unknown).await;
    assert!(unknown.message().contains(".spec.nope: field not declared in schema"));
}

async fn refusals_have_upstreams_words(cluster: Cluster) {
    let jane = ("authorization", "Bearer jane-token");
    let refused = cluster.call("GET", PODS, &[jane], "").await;
    assert_eq!(refused.code, 403);
    assert_eq!(
        refused.message(),
        "pods is forbidden: User \"jane\" cannot list resource \"pods\" in API group \"\" in the namespace \"default\""
    );
    let unknown = cluster.call("GET", PODS, &[("authorization", "Bearer wrong")], "").await;
    assert_eq!(unknown.code, 401);
    let nobody = ("authorization", "");
    assert_eq!(cluster.call("GET", PODS, &[nobody], "").await.code, 403);
    assert_eq!(cluster.call("GET", "/readyz", &[nobody], "").await.code, 200);

    let html = cluster.call("GET", PODS, &[("accept", "text/html")], "").await;
    assert_eq!(html.code, 406);
    let text = [("content-type", "text/plain")];
    assert_eq!(cluster.call("POST", CONFIG_MAPS, &text, "x").await.code, 415);
    let kindless = cluster.apply(&format!("{CONFIG_MAPS}/x?fieldManager=m"), &json!({})).await;
    assert_eq!((kindless.code, kindless.message()), (400, "invalid object type: /, Kind=".into()));
    let json_type = [("content-type", "application/json")];
    let large =
        cluster.call("POST", CONFIG_MAPS, &json_type, vec![b' '; 3 * 1024 * 1024 + 1]).await;
    assert_eq!(
        (large.code, large.message()),
        (413, "Request entity too large: limit is 3145728".into())
    );
    assert_eq!(cluster.get("/api/v1/nonsense").await.code, 404);
    assert_eq!(
        cluster.post("/api/v1/namespaces/none/configmaps", &config_map("x", "y")).await.message(),
        "namespaces \"none\" not found"
    );

    let mut misspelt = config_map("w", "x");
    misspelt["dataa"] = json!({});
    let warned = cluster.post(CONFIG_MAPS, &misspelt).await;
    assert_eq!(warned.headers["warning"], "299 - \"unknown field \\\"dataa\\\"\"");
    let strict = cluster.post(&format!("{CONFIG_MAPS}?fieldValidation=Strict"), &misspelt).await;
    assert_eq!(strict.code, 400);
    assert!(strict.message().ends_with("strict decoding error: unknown field \"dataa\""));
}

async fn tables_and_discovery_are_negotiated(cluster: Cluster) {
    pod(&cluster, "p").await;
    let table = ("accept", "application/json;as=Table;v=v1;g=meta.k8s.io,application/json");
    let tree = cluster.call("GET", PODS, &[table], "").await.json();
    assert_eq!(tree["kind"], "Table");
    assert_eq!(tree["rows"][0]["cells"][0], "p");
    assert_eq!(tree["rows"][0]["object"]["kind"], "PartialObjectMetadata");
    let partial = ("accept", "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io");
    let tree = cluster.call("GET", PODS, &[partial], "").await.json();
    assert_eq!(tree["kind"], "PartialObjectMetadataList");

    let v2 = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
    let aggregated = cluster.call("GET", "/apis", &[("accept", v2)], "").await;
    assert_eq!(aggregated.headers["content-type"], v2);
    let tag = aggregated.headers["etag"].to_str().unwrap();
    let held = [("accept", v2), ("if-none-match", tag)];
    assert_eq!(cluster.call("GET", "/apis", &held, "").await.code, 304);
    for path in ["/apis", "/apis/", "/apis/apps", "/apis/apps/", "/apis/apps/v1", "/api/v1"] {
        assert_eq!(cluster.get(path).await.code, 200, "{path}");
    }
    let index = cluster.get("/openapi/v3").await.json();
    let url = index["paths"]["apis/apps/v1"]["serverRelativeURL"].as_str().unwrap().to_owned();
    let document = cluster.get(&url).await;
    assert_eq!(document.headers["cache-control"], "public, immutable");
    assert_eq!(cluster.get("/openapi/v3/apis/apps/v1?hash=other").await.code, 301);
}
