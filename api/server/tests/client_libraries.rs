//! Client libraries that others wrote, unmodified, against this server: kube of Rust, kubernetes
//! and kr8s of Python, and protobuf by the messages of k8s-pb.
#![expect(clippy::unwrap_used, reason = "a failed helper is a failed test")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use base64::Engine as _;
use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_pb::api::core::v1 as pb;
use kube::api::{
    ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams,
    WatchEvent, WatchParams,
};
use kube::core::{GroupVersionKind, Object};
use kube::discovery::{Discovery, Scope};
use kube::runtime::{WatchStreamExt as _, conditions, reflector, wait, watcher};
use kube::{Api, Client, ResourceExt as _};
use prost::Message as _;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use support::{ADMIN, Cluster, DEADLINE, Store};

/// One whole story of a client in Python.
const STORY_TIMEOUT: &str = "120";
const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";

fn client(cluster: &Cluster) -> Client {
    let server = format!("https://{}", cluster.running.address);
    let mut config = kube::Config::new(server.parse().unwrap());
    config.root_cert = Some(vec![cluster.certificate.clone()]);
    config.auth_info.token = Some(ADMIN.to_owned().into());
    Client::try_from(config).unwrap()
}

fn of<K: for<'a> Deserialize<'a>>(tree: Value) -> K {
    serde_json::from_value(tree).unwrap()
}

/// Whether an error is a refusal for this reason.
fn is_refused<T>(answer: Result<T, kube::Error>, reason: &str) -> bool {
    matches!(answer, Err(kube::Error::Api(status)) if status.reason == reason)
}

#[tokio::test(flavor = "multi_thread")]
async fn kube_writes_lists_watches_and_applies() {
    let cluster = Cluster::on(Store::own(1)).await;
    let client = client(&cluster);
    let api: Api<ConfigMap> = Api::default_namespaced(client.clone());
    let (reader, writer) = reflector::store();
    let config = watcher::Config::default().labels("app=kube").streaming_lists();
    let stream = watcher(api.clone(), config).default_backoff().reflect(writer);
    let follows = tokio::spawn(stream.applied_objects().try_for_each(|_| async { Ok(()) }));
    reader.wait_until_ready().await.unwrap();

    for number in 0..5 {
        let map = json!({"metadata": {"name": format!("map-{number}"), "labels": {"app": "kube"}},
            "data": {"number": number.to_string()}});
        let made = api.create(&PostParams::default(), &of(map.clone())).await.unwrap();
        assert!(made.uid().is_some() && made.resource_version().is_some());
        let again = api.create(&PostParams::default(), &of(map)).await;
        assert!(is_refused(again, "AlreadyExists"));
    }
    let page = api.list(&ListParams::default().labels("app=kube").limit(3)).await.unwrap();
    let token = page.metadata.continue_.unwrap();
    let rest = ListParams::default().labels("app=kube").limit(3).continue_token(&token);
    assert_eq!((page.items.len(), api.list(&rest).await.unwrap().items.len()), (3, 2));

    let mut held = api.get("map-0").await.unwrap();
    let stale = held.clone();
    held.data = Some([("number".to_owned(), "zero".to_owned())].into());
    api.replace("map-0", &PostParams::default(), &held).await.unwrap();
    let refused = api.replace("map-0", &PostParams::default(), &stale).await;
    assert!(is_refused(refused, "Conflict"));
    let merge = Patch::Merge(json!({"data": {"a": "b"}}));
    api.patch("map-0", &PatchParams::default(), &merge).await.unwrap();
    let mine = json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"a": "mine"}});
    let apply = Patch::Apply(mine);
    let refused = api.patch("map-0", &PatchParams::apply("story"), &apply).await;
    assert!(is_refused(refused, "Conflict"));
    let taken = api.patch("map-0", &PatchParams::apply("story").force(), &apply).await.unwrap();
    assert_eq!(taken.data.as_ref().unwrap()["a"], "mine");
    assert!(taken.managed_fields().iter().any(|of| of.manager.as_deref() == Some("story")));

    let version = taken.resource_version().unwrap();
    let mut events = api.watch(&WatchParams::default(), &version).await.unwrap().boxed();
    api.delete("map-0", &DeleteParams::default()).await.unwrap();
    let event = tokio::time::timeout(DEADLINE, events.try_next()).await.unwrap().unwrap();
    assert!(matches!(event, Some(WatchEvent::Deleted(map)) if map.name_any() == "map-0"));
    let some = ListParams::default().fields("metadata.name=map-1");
    api.delete_collection(&DeleteParams::default(), &some).await.unwrap();
    let all = || {
        let mut names: Vec<_> = reader.state().iter().map(|map| map.name_any()).collect();
        names.sort();
        names
    };
    eventually("the reflector saw it", || all() == ["map-2", "map-3", "map-4"]).await;
    let gone = wait::await_condition(api.clone(), "map-0", conditions::is_deleted("none"));
    tokio::time::timeout(DEADLINE, gone).await.unwrap().unwrap();
    follows.abort();
}

async fn eventually(what: &str, holds: impl Fn() -> bool) {
    let until = tokio::time::Instant::now() + DEADLINE;
    while !holds() {
        assert!(tokio::time::Instant::now() < until, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
struct Size {
    size: i64,
    #[serde(default)]
    colour: String,
}

fn definition() -> Value {
    json!({"metadata": {"name": "crates.kube.example.com"}, "spec": {
        "group": "kube.example.com", "scope": "Namespaced",
        "names": {"plural": "crates", "singular": "crate", "kind": "Crate"},
        "versions": [{"name": "v1", "served": true, "storage": true,
            "subresources": {"status": {}, "scale": {
                "specReplicasPath": ".spec.size", "statusReplicasPath": ".status.size"}},
            "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                "spec": {"type": "object", "required": ["size"], "properties": {
                    "size": {"type": "integer", "minimum": 1},
                    "colour": {"type": "string", "default": "red"}}},
                "status": {"type": "object", "properties": {"size": {"type": "integer"}}}}}}}]}})
}

#[tokio::test(flavor = "multi_thread")]
async fn kube_finds_kinds_by_discovery_and_makes_its_own() {
    let cluster = Cluster::on(Store::own(1)).await;
    let client = client(&cluster);
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    definitions.create(&PostParams::default(), &of(definition())).await.unwrap();
    let made = conditions::is_crd_established();
    let made = wait::await_condition(definitions.clone(), "crates.kube.example.com", made);
    tokio::time::timeout(DEADLINE, made).await.unwrap().unwrap();

    let kind = GroupVersionKind::gvk("kube.example.com", "v1", "Crate");
    let found = Discovery::new(client.clone()).run_aggregated().await.unwrap();
    let (resource, capabilities) = found.resolve_gvk(&kind).unwrap();
    assert_eq!((resource.plural.as_str(), capabilities.scope), ("crates", Scope::Namespaced));
    assert_eq!(capabilities.subresources.len(), 2);
    let older = Discovery::new(client.clone()).run().await.unwrap();
    assert!(older.groups().any(|group| group.name() == "apps"));

    let crates: Api<Object<Size, Value>> = Api::default_namespaced_with(client.clone(), &resource);
    let mut one = Object::new("one", &resource, Size { size: 1, colour: String::new() });
    one.spec.colour = "blue".to_owned();
    let made = crates.create(&PostParams::default(), &one).await.unwrap();
    assert_eq!(made.spec, one.spec);
    let body = json!({"apiVersion": "kube.example.com/v1", "kind": "Crate", "spec": {"size": 3}});
    let applied = crates.patch("two", &PatchParams::apply("story"), &Patch::Apply(body)).await;
    assert_eq!(applied.unwrap().spec, Size { size: 3, colour: "red".to_owned() });
    one.metadata.name = Some("none".to_owned());
    one.spec.size = 0;
    assert!(is_refused(crates.create(&PostParams::default(), &one).await, "Invalid"));
    let status = Patch::Merge(json!({"status": {"size": 1}}));
    let patched = crates.patch_status("one", &PatchParams::default(), &status).await.unwrap();
    assert_eq!(patched.status, Some(json!({"size": 1})));
    let scale = Patch::Merge(json!({"spec": {"replicas": 7}}));
    crates.patch_scale("one", &PatchParams::default(), &scale).await.unwrap();
    assert_eq!(crates.get("one").await.unwrap().spec.size, 7);
    let metadata = crates.list_metadata(&ListParams::default()).await.unwrap();
    assert_eq!(metadata.items.iter().map(|one| one.name_any()).collect::<Vec<_>>(), ["one", "two"]);

    let scaled: Api<Deployment> = Api::default_namespaced(client.clone());
    let labels = json!({"app": "web"});
    let web = json!({"metadata": {"name": "web"}, "spec": {"replicas": 2,
        "selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels},
            "spec": {"containers": [{"name": "c", "image": "i"}]}}}});
    scaled.create(&PostParams::default(), &of(web)).await.unwrap();
    assert_eq!(scaled.get_scale("web").await.unwrap().spec.unwrap().replicas, Some(2));
    let resource = ApiResource::erase::<Namespace>(&());
    let spaces: Api<DynamicObject> = Api::all_with(client, &resource);
    let held = spaces.get("default").await.unwrap();
    assert_eq!(held.data["status"]["phase"], "Active");
}

/// The bare message in an envelope, as `runtime.Unknown` has it.
fn envelope(kind: &str, message: &impl prost::Message) -> Vec<u8> {
    #[derive(Clone, PartialEq, prost::Message)]
    struct TypeMeta {
        #[prost(string, tag = "1")]
        api_version: String,
        #[prost(string, tag = "2")]
        kind: String,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    struct Unknown {
        #[prost(message, optional, tag = "1")]
        type_meta: Option<TypeMeta>,
        #[prost(bytes = "vec", tag = "2")]
        raw: Vec<u8>,
    }
    let type_meta = Some(TypeMeta { api_version: "v1".to_owned(), kind: kind.to_owned() });
    let unknown = Unknown { type_meta, raw: message.encode_to_vec() };
    [b"k8s\0".as_slice(), &unknown.encode_to_vec()].concat()
}

/// What an envelope holds.
fn opened<M: prost::Message + Default>(bytes: &[u8]) -> M {
    #[derive(Clone, PartialEq, prost::Message)]
    struct Unknown {
        #[prost(bytes = "vec", tag = "2")]
        raw: Vec<u8>,
    }
    let unknown = Unknown::decode(bytes.strip_prefix(b"k8s\0").unwrap()).unwrap();
    M::decode(unknown.raw.as_slice()).unwrap()
}

fn config_map(name: &str, value: &str) -> pb::ConfigMap {
    let metadata = k8s_pb::apimachinery::pkg::apis::meta::v1::ObjectMeta {
        name: Some(name.to_owned()),
        ..Default::default()
    };
    pb::ConfigMap {
        metadata: Some(metadata),
        data: [("a".to_owned(), value.to_owned())].into(),
        ..Default::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn protobuf_is_spoken_both_ways() {
    let cluster = Cluster::on(Store::own(1)).await;
    let path = "/api/v1/namespaces/default/configmaps";
    let both = [("content-type", PROTOBUF), ("accept", PROTOBUF)];
    let watch = [("accept", "application/vnd.kubernetes.protobuf;stream=watch")];
    for name in ["one", "two"] {
        let body = envelope("ConfigMap", &config_map(name, "b"));
        let made = cluster.call("POST", path, &both, body).await;
        assert_eq!((made.code, made.headers["content-type"].to_str().unwrap()), (201, PROTOBUF));
        let made: pb::ConfigMap = opened(&made.bytes);
        assert_eq!(made.data["a"], "b");
        assert!(made.metadata.unwrap().creation_timestamp.unwrap().seconds() > 0);
    }
    let listed = cluster.call("GET", path, &both[1..], "").await;
    let listed: pb::ConfigMapList = opened(&listed.bytes);
    let names = listed.items.iter().map(|map| map.metadata.as_ref().unwrap().name().to_owned());
    assert_eq!(names.collect::<Vec<_>>(), ["one", "two"]);

    let one = format!("{path}/one");
    let mut held: pb::ConfigMap = opened(&cluster.call("GET", &one, &both[1..], "").await.bytes);
    held.data.insert("c".to_owned(), "d".to_owned());
    let put = cluster.call("PUT", &one, &both, envelope("ConfigMap", &held)).await;
    assert_eq!(put.code, 200);
    let conflict = cluster.call("PUT", &one, &both, envelope("ConfigMap", &held)).await;
    type Status = k8s_pb::apimachinery::pkg::apis::meta::v1::Status;
    let status: Status = opened(&conflict.bytes);
    assert_eq!((conflict.code, status.reason()), (409, "Conflict"));
    let patch = [("content-type", "application/merge-patch+json"), ("accept", PROTOBUF)];
    let patched = cluster.call("PATCH", &one, &patch, r#"{"data":{"c":null}}"#).await;
    assert_eq!(opened::<pb::ConfigMap>(&patched.bytes).data.len(), 1);
    assert_eq!(cluster.get(&one).await.json()["data"], json!({"a": "b"}));

    let query = format!("{path}?watch=1&timeoutSeconds=1&fieldSelector=metadata.name%3Dtwo");
    let frames = cluster.call("GET", &query, &watch, "").await.bytes;
    let length = u32::from_be_bytes(frames[..4].try_into().unwrap()) as usize;
    let event =
        k8s_pb::apimachinery::pkg::apis::meta::v1::WatchEvent::decode(&frames[4..4 + length]);
    let event = event.unwrap();
    let two: pb::ConfigMap = opened(event.object.as_ref().unwrap().raw());
    assert_eq!((event.r#type(), two.metadata.unwrap().name()), ("ADDED", "two"));
    assert_eq!(cluster.call("DELETE", &one, &both[1..], "").await.code, 200);
}

/// Lets Python tell a story to a server, and returns what it said.
async fn story(name: &str) {
    let Some(python) = testbed::program("python") else { return };
    let cluster = Cluster::on(Store::own(1)).await;
    let folder = tempfile::tempdir().unwrap();
    let kubeconfig = kubeconfig(&cluster, folder.path());
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(name);
    let said = tokio::task::spawn_blocking(move || {
        Command::new("timeout")
            .arg(STORY_TIMEOUT)
            .arg(python)
            .arg(script)
            .env("KUBECONFIG", kubeconfig)
            .env("HOME", folder.path())
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::null())
            .output()
            .unwrap()
    });
    let said = said.await.unwrap();
    let (out, error) =
        (String::from_utf8_lossy(&said.stdout), String::from_utf8_lossy(&said.stderr));
    assert!(said.status.success() && out.ends_with("ok end\n"), "{out}{error}");
}

fn kubeconfig(cluster: &Cluster, folder: &Path) -> PathBuf {
    let der = base64::engine::general_purpose::STANDARD.encode(&cluster.certificate);
    let pem = format!("-----BEGIN CERTIFICATE-----\n{der}\n-----END CERTIFICATE-----\n");
    let authority = base64::engine::general_purpose::STANDARD.encode(pem);
    let path = folder.join("kubeconfig");
    let server = format!("https://{}", cluster.running.address);
    let text = json!({"apiVersion": "v1", "kind": "Config", "current-context": "x",
        "clusters": [{"name": "c", "cluster":
            {"server": server, "certificate-authority-data": authority}}],
        "users": [{"name": "u", "user": {"token": ADMIN}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}]});
    fs::write(&path, text.to_string()).unwrap();
    path
}

#[tokio::test(flavor = "multi_thread")]
async fn pythons_kubernetes_tells_its_story() {
    story("kubernetes_story.py").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pythons_kr8s_tells_its_story() {
    story("kr8s_story.py").await;
}
