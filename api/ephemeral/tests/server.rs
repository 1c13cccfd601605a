//! Servers for tests: isolated from each other, complete, and with a time that can be moved.
#![expect(clippy::unwrap_used, reason = "a failed helper is a failed test")]

use std::future::Future;
use std::time::Duration;

use api_ephemeral::{Options, Server};
use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, Event, Namespace, Pod, ServiceAccount};
use kube::api::{
    Api, ApiResource, DeleteParams, DynamicObject, GroupVersionKind, ListParams, Patch,
    PatchParams, PostParams,
};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config, ResourceExt as _};
use serde_json::{Value, json};
use tokio::time::Instant;

const DEADLINE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

async fn config(server: &Server) -> Config {
    let kubeconfig = Kubeconfig::from_yaml(server.kubeconfig()).unwrap();
    Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap()
}

async fn client(server: &Server) -> Client {
    Client::try_from(config(server).await).unwrap()
}

async fn until<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let end = Instant::now() + DEADLINE;
    while !holds().await {
        assert!(Instant::now() < end, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn read<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_servers_share_nothing() {
    let starting = (0..8).map(|_| Server::start(Options::default()));
    let servers: Vec<Server> = futures::future::try_join_all(starting).await.unwrap();
    for (number, server) in servers.iter().enumerate() {
        let maps: Api<ConfigMap> = Api::default_namespaced(client(server).await);
        let map = json!({"metadata": {"name": format!("only-{number}")}});
        maps.create(&PostParams::default(), &read(map)).await.unwrap();
    }
    servers[0].advance(HOUR).unwrap();
    for (number, server) in servers.iter().enumerate() {
        let maps: Api<ConfigMap> = Api::default_namespaced(client(server).await);
        let names: Vec<String> = maps
            .list(&ListParams::default())
            .await
            .unwrap()
            .into_iter()
            .map(|map| map.name_any())
            .filter(|name| name.starts_with("only-"))
            .collect();
        assert_eq!(names, [format!("only-{number}")]);
        let is_ahead = server.now() > servers[1].now() + HOUR / 2;
        assert_eq!(is_ahead, number == 0, "the time of server {number}");
        // The keys of one open no other.
        let mut other = config(server).await;
        other.auth_info.client_certificate_data = None;
        other.auth_info.client_key_data = None;
        other.auth_info.token = Some(servers[(number + 1) % 8].token().to_owned().into());
        let refused = Client::try_from(other).unwrap().list_core_api_versions().await;
        let code = refused.map_err(|error| match error {
            kube::Error::Api(status) => status.code,
            other => panic!("{other}"),
        });
        assert_eq!(code.err(), Some(401));
    }
    let url = servers[3].url().to_owned();
    for server in servers {
        server.stop().await;
    }
    let address = url.trim_start_matches("https://");
    assert!(tokio::net::TcpStream::connect(address).await.is_err(), "it still listens");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_is_ready_for_pods_and_namespaces_end() {
    let server = Server::start(Options::default()).await.unwrap();
    let client = client(&server).await;
    // At once: the ServiceAccount is there.
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    let pod =
        json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let pod = pods.create(&PostParams::default(), &read(pod)).await.unwrap();
    assert_eq!(pod.spec.unwrap().service_account_name.as_deref(), Some("default"));

    let namespaces: Api<Namespace> = Api::all(client.clone());
    let namespace = read(json!({"metadata": {"name": "brief"}}));
    namespaces.create(&PostParams::default(), &namespace).await.unwrap();
    let maps: Api<ConfigMap> = Api::namespaced(client, "brief");
    let owner = maps
        .create(&PostParams::default(), &read(json!({"metadata": {"name": "owner"}})))
        .await
        .unwrap();
    let owned = json!({"metadata": {"name": "owned", "ownerReferences": [
        {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner.uid().unwrap()}]}});
    maps.create(&PostParams::default(), &read(owned)).await.unwrap();
    maps.delete("owner", &DeleteParams::default()).await.unwrap();
    until("what lost its owner goes", || async { maps.get_opt("owned").await.unwrap().is_none() })
        .await;
    namespaces.delete("brief", &DeleteParams::default()).await.unwrap();
    until("the namespace goes", || async { namespaces.get_opt("brief").await.unwrap().is_none() })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn time_ends_tokens_events_and_finished_jobs() {
    let server = Server::start(Options::default()).await.unwrap();
    let client = client(&server).await;
    let events: Api<Event> = Api::default_namespaced(client.clone());
    let event = json!({"metadata": {"name": "e"}, "reason": "Tested",
        "involvedObject": {"kind": "Pod", "namespace": "default", "name": "p"}});
    events.create(&PostParams::default(), &read(event)).await.unwrap();

    let accounts: Api<ServiceAccount> = Api::default_namespaced(client.clone());
    let wanted: TokenRequest = read(json!({"spec": {"audiences": [], "expirationSeconds": 1800}}));
    let token =
        accounts.create_token_request("default", &PostParams::default(), &wanted).await.unwrap();
    let mut bearer = config(&server).await;
    bearer.auth_info.client_certificate_data = None;
    bearer.auth_info.client_key_data = None;
    bearer.auth_info.token = token.status.unwrap().token.map(Into::into);
    let bearer = Client::try_from(bearer).unwrap();
    bearer.list_core_api_versions().await.unwrap();

    let jobs: Api<Job> = Api::default_namespaced(client.clone());
    let job = json!({"metadata": {"name": "j"}, "spec": {"ttlSecondsAfterFinished": 3600,
        "template": {"spec": {"restartPolicy": "Never",
            "containers": [{"name": "c", "image": "i"}]}}}});
    jobs.create(&PostParams::default(), &read(job)).await.unwrap();
    let now = server.now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let condition = |kind: &str| json!({"type": kind, "status": "True", "lastTransitionTime": now, "lastProbeTime": now});
    let status = json!({"status": {"startTime": now, "completionTime": now, "succeeded": 1,
        "conditions": [condition("SuccessCriteriaMet"), condition("Complete")]}});
    let how = PatchParams::default();
    jobs.patch_status("j", &how, &Patch::Merge(status)).await.unwrap();

    server.advance(Duration::from_secs(60)).unwrap();
    bearer.list_core_api_versions().await.unwrap();
    assert!(events.get_opt("e").await.unwrap().is_some());
    assert!(jobs.get_opt("j").await.unwrap().is_some());

    server.advance(2 * HOUR).unwrap();
    let refused = bearer.list_core_api_versions().await.unwrap_err();
    assert!(matches!(&refused, kube::Error::Api(status) if status.code == 401), "{refused}");
    until("the event goes", || async { events.get_opt("e").await.unwrap().is_none() }).await;
    until("the job goes", || async { jobs.get_opt("j").await.unwrap().is_none() }).await;
    // What is made from now on lives from now on.
    let event = json!({"metadata": {"name": "later"}, "reason": "Tested",
        "involvedObject": {"kind": "Pod", "namespace": "default", "name": "p"}});
    let later = events.create(&PostParams::default(), &read(event)).await.unwrap();
    let created = later.metadata.creation_timestamp.unwrap().0;
    assert!(created > jiff::Timestamp::now() + HOUR, "{created}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn custom_kinds_and_objects_are_there_from_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("README.md", "not a manifest");
    write(
        "crd.yaml",
        "apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: wheels.example.com}
spec:
  group: example.com
  names: {plural: wheels, singular: wheel, kind: Wheel, listKind: WheelList}
  scope: Namespaced
  versions:
  - name: v1
    served: true
    storage: true
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec: {type: object, properties: {spokes: {type: integer, minimum: 3}}}
",
    );
    let objects = tempfile::tempdir().unwrap();
    let text = "{apiVersion: example.com/v1, kind: Wheel, metadata: {name: front, namespace: bike},
  spec: {spokes: 32}}
---
{apiVersion: v1, kind: Namespace, metadata: {name: bike}}
";
    std::fs::write(objects.path().join("a.yaml"), text).unwrap();
    let options = Options {
        definitions: vec![folder.path().to_owned()],
        manifests: vec![objects.path().to_owned()],
        ..Options::default()
    };
    let server = Server::start(options).await.unwrap();
    let kind = ApiResource::from_gvk_with_plural(
        &GroupVersionKind::gvk("example.com", "v1", "Wheel"),
        "wheels",
    );
    let wheels: Api<DynamicObject> = Api::namespaced_with(client(&server).await, "bike", &kind);
    assert_eq!(wheels.get("front").await.unwrap().data["spec"]["spokes"], 32);
    let flat = json!({"apiVersion": "example.com/v1", "kind": "Wheel",
        "metadata": {"name": "flat"}, "spec": {"spokes": 1}});
    let refused = wheels.create(&PostParams::default(), &read(flat)).await.unwrap_err();
    assert!(refused.to_string().contains("greater than or equal to 3"), "{refused}");

    std::fs::write(objects.path().join("b.yaml"), "{apiVersion: v1, kind: Nonsense}").unwrap();
    let options = Options { manifests: vec![objects.path().join("b.yaml")], ..Options::default() };
    let refused = Server::start(options).await.unwrap_err();
    assert!(format!("{refused:#}").contains("Nonsense"), "{refused:#}");
}
