//! The scheduler on a live API server, from outside: one of ours, or the one that
//! `ORLOP_TEST_KUBECONFIG` (of an administrator) names, of whatever make.
#![expect(clippy::unwrap_used, reason = "a failed helper is a failed test")]

use std::time::Duration;

use clap::Parser;
use k8s_openapi::api::core::v1::{Event, Namespace, Node, Pod, PodCondition, ServiceAccount};
use kube::{
    Api, Client, Resource,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use testbed::api::{ApiServer, eventually};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    flags: api_scheduler::Flags,
}

/// A running scheduler, and a namespace and nodes that only this test uses.
struct Live {
    /// The namespace, and the value of the label by which pods choose this test's nodes.
    name: String,
    client: Client,
    nodes: Api<Node>,
    pods: Api<Pod>,
    stop: CancellationToken,
    running: JoinHandle<anyhow::Result<()>>,
    _server: ApiServer,
}

async fn create<K>(api: &Api<K>, tree: Value)
where
    K: Resource + Clone + std::fmt::Debug + serde::Serialize + serde::de::DeserializeOwned,
{
    let object = serde_json::from_value(tree).unwrap();
    api.create(&PostParams::default(), &object).await.unwrap();
}

impl Live {
    async fn start(test: &str) -> Self {
        let server = ApiServer::start().await;
        let client = api_client::process::connect(server.kubeconfig()).await.unwrap();
        let name = format!("orlop-live-{test}-{}", std::process::id());
        create(&Api::<Namespace>::all(client.clone()), json!({"metadata": {"name": name}})).await;
        // Its controller may not run here, and upstream's admission lets no pod in without it.
        let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), &name);
        let account = serde_json::from_value(json!({"metadata": {"name": "default"}})).unwrap();
        match accounts.create(&PostParams::default(), &account).await {
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            made => drop(made.unwrap()),
        }
        let path = server.kubeconfig().to_str().unwrap();
        let flags = ["x", "--kubeconfig", path, "--secure-port", "0"];
        let election = ["--leader-elect-resource-name", &name];
        let flags = [&flags[..], &election[..]].concat();
        let config = Arguments::parse_from(flags).flags.into_config().unwrap();
        let stop = CancellationToken::new();
        Self {
            running: tokio::spawn(api_scheduler::run(config, stop.clone())),
            nodes: Api::all(client.clone()),
            pods: Api::namespaced(client.clone(), &name),
            client,
            stop,
            name,
            _server: server,
        }
    }

    fn node(&self, suffix: &str) -> String {
        format!("{}-{suffix}", self.name)
    }

    async fn add_node(&self, suffix: &str, cpu: &str, taints: Value) {
        let node = self.node(suffix);
        let meta = json!({"name": node, "labels": {"orlop-live": self.name}});
        create(&self.nodes, json!({"metadata": meta, "spec": {"taints": taints}})).await;
        // Upstream's admission taints new nodes until their agent is ready: there is none here.
        let spec = Patch::Merge(json!({"spec": {"taints": taints}}));
        self.nodes.patch(&node, &PatchParams::default(), &spec).await.unwrap();
        let room = json!({"status": {"allocatable": {"cpu": cpu, "memory": "1Gi", "pods": "5"}}});
        let room = Patch::Merge(room);
        self.nodes.patch_status(&node, &PatchParams::default(), &room).await.unwrap();
    }

    async fn add_pod(&self, name: &str, cpu: &str, tolerations: Value) {
        create(
            &self.pods,
            json!({"metadata": {"name": name}, "spec": {
                "nodeSelector": {"orlop-live": self.name}, "tolerations": tolerations,
                "containers": [{"name": "c", "image": "none",
                    "resources": {"requests": {"cpu": cpu}}}]}}),
        )
        .await;
    }

    async fn node_of(&self, pod: &str) -> Option<String> {
        self.pods.get(pod).await.unwrap().spec?.node_name
    }

    async fn bound_to(&self, pod: &str, suffix: &str) {
        let node = self.node(suffix);
        eventually(&format!("{pod} is bound to {node}"), || async {
            let found = self.node_of(pod).await;
            assert!(found.is_none() || found.as_ref() == Some(&node), "{pod} is on {found:?}");
            found.is_some()
        })
        .await;
    }

    /// Waits until the pod is told that it fits nowhere; answers why.
    async fn refusal(&self, pod: &str) -> String {
        let condition = || async {
            let status = self.pods.get(pod).await.unwrap().status.unwrap_or_default();
            let is_it = |one: &PodCondition| {
                one.type_ == "PodScheduled"
                    && one.status == "False"
                    && one.reason.as_deref() == Some("Unschedulable")
            };
            status.conditions.into_iter().flatten().find(is_it)
        };
        let what = format!("{pod} is told that it fits nowhere");
        eventually(&what, || async { condition().await.is_some() }).await;
        condition().await.and_then(|one| one.message).unwrap_or_default()
    }

    async fn end(self, nodes: &[&str]) {
        for suffix in nodes {
            self.nodes.delete(&self.node(suffix), &DeleteParams::default()).await.unwrap();
        }
        let everything = ListParams::default();
        let at_once = DeleteParams::default().grace_period(0);
        self.pods.delete_collection(&at_once, &everything).await.unwrap();
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        namespaces.delete(&self.name, &DeleteParams::default()).await.unwrap();
        self.stop.cancel();
        tokio::time::timeout(Duration::from_secs(10), self.running)
            .await
            .unwrap()
            .unwrap()
            .unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_fits_nowhere_is_told_why_and_bound_once_a_node_comes() {
    let live = Live::start("wait").await;
    live.add_node("small", "500m", json!([])).await;
    live.add_pod("p", "1", json!([{"operator": "Exists"}])).await;
    let why = live.refusal("p").await;
    assert!(why.contains("nodes are available: ") && why.contains("1 Insufficient cpu"), "{why}");

    live.add_node("late", "2", json!([])).await;
    live.bound_to("p", "late").await;
    let events: Api<Event> = Api::namespaced(live.client.clone(), &live.name);
    let about = ListParams::default().fields("involvedObject.name=p");
    eventually("both outcomes are events", || async {
        let found = events.list(&about).await.unwrap().items;
        let has = |reason: &str| found.iter().any(|event| event.reason.as_deref() == Some(reason));
        has("FailedScheduling") && has("Scheduled")
    })
    .await;
    live.end(&["small", "late"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_go_where_they_fit_and_are_let_in_and_room_given_back_is_used() {
    let live = Live::start("fit").await;
    live.add_node("open", "2", json!([])).await;
    let guarded = json!([{"key": "guard", "value": "on", "effect": "NoSchedule"}]);
    live.add_node("guarded", "4", guarded).await;

    // The larger node is closed to it.
    live.add_pod("first", "1500m", json!([])).await;
    live.bound_to("first", "open").await;
    // One is too full now, the other still closed: both objections are named, with upstream's words.
    live.add_pod("second", "1", json!([])).await;
    let why = live.refusal("second").await;
    assert!(why.contains("1 Insufficient cpu"), "{why}");
    assert!(why.contains("1 node(s) had untolerated taint"), "{why}");
    // Whoever may enter does, past the one that waits.
    let tolerant = json!([{"key": "guard", "operator": "Exists"}]);
    live.add_pod("third", "3", tolerant).await;
    live.bound_to("third", "guarded").await;
    assert_eq!(live.node_of("second").await, None);
    // Room that is given back goes to the pod that waits, without anybody asking again.
    live.pods.delete("first", &DeleteParams::default().grace_period(0)).await.unwrap();
    live.bound_to("second", "open").await;
    live.end(&["open", "guarded"]).await;
}
