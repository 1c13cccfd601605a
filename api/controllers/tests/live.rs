//! The controllers on a live API server, from outside: one of ours, or the one that
//! `ORLOP_TEST_KUBECONFIG` (of an administrator) names, of whatever make.
#![expect(clippy::unwrap_used, reason = "a failed helper is a failed test")]

use std::time::Duration;

use clap::Parser;
use k8s_openapi::api::{
    apps::v1::{Deployment, ReplicaSet},
    batch::v1::Job,
    coordination::v1::Lease,
    core::v1::{
        ConfigMap, Namespace, Node, PersistentVolume, PersistentVolumeClaim, Pod, ResourceQuota,
        Secret, Service, ServiceAccount,
    },
    networking::v1::ServiceCIDR,
    storage::v1::VolumeAttributesClass,
};
use kube::{
    Api, Client, Resource,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use testbed::api::{ApiServer, DEADLINE, eventually};
use tokio::{runtime, task::JoinHandle};
use tokio_util::sync::CancellationToken;

#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    flags: api_controllers::Flags,
}

/// A running controller manager.
struct Manager {
    stop: CancellationToken,
    running: JoinHandle<anyhow::Result<()>>,
}

impl Manager {
    /// Starts one on the runtime of `on`. It stands for election with the others of the same `test`.
    fn start(server: &ApiServer, on: &runtime::Handle, test: &str, more: &[&str]) -> Self {
        let path = server.kubeconfig().to_str().unwrap();
        let election = format!("orlop-live-{test}-{}", std::process::id());
        let flags = ["x", "--kubeconfig", path, "--secure-port", "0"];
        let election = ["--leader-elect-resource-name", &election];
        let flags = [&flags[..], &election[..], more].concat();
        let config = Arguments::parse_from(flags).flags.into_config().unwrap();
        let stop = CancellationToken::new();
        let running = on.spawn(api_controllers::run(config, stop.clone()));
        Self { stop, running }
    }

    async fn stop(self) {
        self.stop.cancel();
        tokio::time::timeout(Duration::from_secs(10), self.running)
            .await
            .unwrap()
            .unwrap()
            .unwrap();
    }
}

/// A runtime of its own: what runs there can end as a killed process does.
struct Machine(Option<runtime::Runtime>);

impl Machine {
    fn new() -> Self {
        Self(Some(runtime::Runtime::new().unwrap()))
    }

    fn handle(&self) -> &runtime::Handle {
        self.0.as_ref().unwrap().handle()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // Any other end would wait, which a runtime must not do inside of another.
        self.0.take().unwrap().shutdown_background();
    }
}

fn object<T: serde::de::DeserializeOwned>(tree: Value) -> T {
    serde_json::from_value(tree).unwrap()
}

async fn create<K>(api: &Api<K>, tree: Value)
where
    K: Resource + Clone + std::fmt::Debug + serde::Serialize + serde::de::DeserializeOwned,
{
    api.create(&PostParams::default(), &object(tree)).await.unwrap();
}

/// A namespace of the test's own, and its name.
async fn own_namespace(client: &Client, test: &str) -> String {
    let name = format!("orlop-live-{test}-{}", std::process::id());
    create(&Api::<Namespace>::all(client.clone()), json!({"metadata": {"name": name}})).await;
    name
}

/// Waits for the ServiceAccount without which no pod is let into a namespace.
async fn has_an_account(client: &Client, namespace: &str) {
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), namespace);
    eventually("the default ServiceAccount is made", || async {
        accounts.get_opt("default").await.unwrap().is_some()
    })
    .await;
}

/// Three pods that no node runs, whoever else is on this cluster.
fn web() -> Value {
    json!({"metadata": {"name": "web"}, "spec": {
        "replicas": 3, "selector": {"matchLabels": {"app": "web"}},
        "template": {"metadata": {"labels": {"app": "web"}}, "spec": {
            "nodeSelector": {"orlop-live": "nowhere"},
            "containers": [{"name": "c", "image": "none"}]}}}})
}

/// Pods that are not on their way out.
async fn live_pods(pods: &Api<Pod>) -> usize {
    let all = pods.list(&ListParams::default()).await.unwrap().items;
    all.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_lives_and_a_namespace_ends_on_a_live_server() {
    let server = ApiServer::start().await;
    // Each controller may do what upstream's role for it lets it do, and that is enough.
    let own = ["--use-service-account-credentials"];
    let manager = Manager::start(&server, &runtime::Handle::current(), "life", &own);
    let client = api_client::process::connect(server.kubeconfig()).await.unwrap();
    let name = own_namespace(&client, "life").await;

    has_an_account(&client, &name).await;

    let deployments: Api<Deployment> = Api::namespaced(client.clone(), &name);
    create(&deployments, web()).await;
    let pods: Api<Pod> = Api::namespaced(client.clone(), &name);
    eventually("three pods", || async { live_pods(&pods).await == 3 }).await;
    eventually("the status says three", || async {
        let status = deployments.get("web").await.unwrap().status.unwrap_or_default();
        status.replicas == Some(3) && status.observed_generation == Some(1)
    })
    .await;

    let scale = Patch::Merge(json!({"spec": {"replicas": 1}}));
    deployments.patch("web", &PatchParams::default(), &scale).await.unwrap();
    eventually("one pod after scaling down", || async { live_pods(&pods).await == 1 }).await;

    deployments.delete("web", &DeleteParams::foreground()).await.unwrap();
    let sets: Api<ReplicaSet> = Api::namespaced(client.clone(), &name);
    eventually("nothing is left of a foreground deletion", || async {
        deployments.get_opt("web").await.unwrap().is_none()
            && sets.list(&ListParams::default()).await.unwrap().items.is_empty()
            && live_pods(&pods).await == 0
    })
    .await;

    let namespaces: Api<Namespace> = Api::all(client);
    namespaces.delete(&name, &DeleteParams::default()).await.unwrap();
    eventually("the namespace is gone", || async {
        namespaces.get_opt(&name).await.unwrap().is_none()
    })
    .await;
    manager.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_manager_takes_over_when_the_leader_is_gone_without_a_word() {
    const QUICK: [&str; 6] = [
        "--leader-elect-lease-duration=4s",
        "--leader-elect-renew-deadline=3s",
        "--leader-elect-retry-period=500ms",
        "--controllers=deployment-controller",
        "--controllers=replicaset-controller",
        "--controllers=serviceaccount-controller",
    ];
    let server = ApiServer::start().await;
    let client = api_client::process::connect(server.kubeconfig()).await.unwrap();
    let name = own_namespace(&client, "lead").await;
    let lease = format!("orlop-live-lead-{}", std::process::id());
    let leases: Api<Lease> = Api::namespaced(client.clone(), "kube-system");
    let holder = || async {
        let lease = leases.get_opt(&lease).await.unwrap();
        lease.and_then(|lease| lease.spec?.holder_identity).filter(|name| !name.is_empty())
    };

    let first = Machine::new();
    Manager::start(&server, first.handle(), "lead", &QUICK);
    eventually("the first leads", || async { holder().await.is_some() }).await;
    let before = holder().await;
    let second = Manager::start(&server, &runtime::Handle::current(), "lead", &QUICK);
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), &name);
    let pods: Api<Pod> = Api::namespaced(client.clone(), &name);
    create(&deployments, web()).await;
    eventually("three pods by the first", || async { live_pods(&pods).await == 3 }).await;
    assert_eq!(holder().await, before, "nobody else took over from a leader that lives");

    drop(first);
    eventually("the second leads", || async {
        let now = holder().await;
        now.is_some() && now != before
    })
    .await;
    let scale = Patch::Merge(json!({"spec": {"replicas": 5}}));
    deployments.patch("web", &PatchParams::default(), &scale).await.unwrap();
    eventually("five pods by the second", || async { live_pods(&pods).await == 5 }).await;

    Api::<Namespace>::all(client).delete(&name, &DeleteParams::default()).await.unwrap();
    second.stop().await;
    // One that stops in order leaves no wait to the next.
    eventually("the lease is given back", || async { holder().await.is_none() }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_node_is_tainted_and_loses_its_pods() {
    let server = ApiServer::start().await;
    if !server.is_own() {
        testbed::skip(&"the named server may have nodes that would count as silent here");
        return;
    }
    let quick = ["--node-monitor-grace-period=3s", "--node-monitor-period=500ms"];
    let client = api_client::process::connect(server.kubeconfig()).await.unwrap();
    let name = own_namespace(&client, "node").await;
    let nodes: Api<Node> = Api::all(client.clone());
    let leases: Api<Lease> = Api::namespaced(client.clone(), "kube-node-lease");
    let pods: Api<Pod> = Api::namespaced(client.clone(), &name);
    let now = || jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string();
    let manager = Manager::start(&server, &runtime::Handle::current(), "node", &quick);
    has_an_account(&client, &name).await;
    // With its only node silent a cluster evicts nobody: the fault would be its own.
    for node in ["lively", "silent"] {
        create(&nodes, json!({"metadata": {"name": node}})).await;
        let ready = json!({"type": "Ready", "status": "True", "reason": "R", "message": "",
            "lastHeartbeatTime": now()[..19].to_owned() + "Z"});
        let status = Patch::Merge(json!({"status": {"conditions": [ready]}}));
        nodes.patch_status(node, &PatchParams::default(), &status).await.unwrap();
        let spec = json!({"holderIdentity": node, "leaseDurationSeconds": 40, "renewTime": now()});
        create(&leases, json!({"metadata": {"name": node}, "spec": spec})).await;
        // Upstream's admission gives pods five minutes: these ask for none.
        let spec = json!({"nodeName": node, "containers": [{"name": "c", "image": "none"}],
            "tolerations": [{"key": "node.kubernetes.io/unreachable", "operator": "Exists",
                "effect": "NoExecute", "tolerationSeconds": 0}]});
        create(&pods, json!({"metadata": {"name": node}, "spec": spec})).await;
    }
    let renewing = tokio::spawn(async move {
        loop {
            let renewed = Patch::Merge(json!({"spec": {"renewTime": now()}}));
            leases.patch("lively", &PatchParams::default(), &renewed).await.unwrap();
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    });

    let ready = |node: &Node| -> Option<String> {
        let status = node.status.clone()?;
        let found = status.conditions?.into_iter().find(|one| one.type_ == "Ready")?;
        Some(found.status)
    };
    let unreachable = |node: &Node, effect: &str| {
        let taints = node.spec.clone().unwrap_or_default().taints.unwrap_or_default();
        let is_it = |key: &str, by: &str| key == "node.kubernetes.io/unreachable" && by == effect;
        taints.iter().any(|taint| is_it(&taint.key, &taint.effect))
    };
    eventually("the silent node's readiness is unknown, and it is tainted", || async {
        let node = nodes.get("silent").await.unwrap();
        ready(&node).as_deref() == Some("Unknown")
            && unreachable(&node, "NoSchedule")
            && unreachable(&node, "NoExecute")
    })
    .await;
    eventually("its pod is deleted", || async {
        let pod = pods.get_opt("silent").await.unwrap();
        pod.is_none_or(|pod| pod.metadata.deletion_timestamp.is_some())
    })
    .await;
    let node = nodes.get("lively").await.unwrap();
    assert_eq!(ready(&node).as_deref(), Some("True"));
    assert!(!unreachable(&node, "NoExecute"));
    assert!(pods.get("lively").await.unwrap().metadata.deletion_timestamp.is_none());
    assert!(!renewing.is_finished(), "the lively node's agent failed");
    renewing.abort();
    tokio::time::timeout(DEADLINE, manager.stop()).await.unwrap();
}

/// True when the object is on its way out and something keeps it.
async fn is_kept<K>(api: &Api<K>, name: &str) -> bool
where
    K: Resource + Clone + std::fmt::Debug + serde::de::DeserializeOwned,
{
    let found = api.get_opt(name).await.unwrap();
    found.is_some_and(|object| object.meta().deletion_timestamp.is_some())
}

#[tokio::test(flavor = "multi_thread")]
async fn storage_in_use_outlives_its_deletion_until_it_is_not_used() {
    const ONLY: [&str; 4] = [
        "--controllers=persistentvolumeclaim-protection-controller",
        "--controllers=persistentvolume-protection-controller",
        "--controllers=volumeattributesclass-protection-controller",
        "--controllers=serviceaccount-controller",
    ];
    let server = ApiServer::start().await;
    let client = api_client::process::connect(server.kubeconfig()).await.unwrap();
    let name = own_namespace(&client, "storage").await;
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), &name);
    let volumes: Api<PersistentVolume> = Api::all(client.clone());
    let classes: Api<VolumeAttributesClass> = Api::all(client.clone());
    let pods: Api<Pod> = Api::namespaced(client.clone(), &name);
    create(
        &classes,
        json!({"metadata": {"name": name}, "driverName": "d.example",
        "parameters": {"a": "b"}}),
    )
    .await;
    create(
        &volumes,
        json!({"metadata": {"name": name}, "spec": {
        "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"],
        "hostPath": {"path": "/nowhere"}, "storageClassName": "none"}}),
    )
    .await;
    create(
        &claims,
        json!({"metadata": {"name": "data"}, "spec": {
        "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}},
        "storageClassName": "none", "volumeAttributesClassName": name}}),
    )
    .await;
    let made = (
        claims.get("data").await.unwrap().metadata.finalizers.unwrap(),
        volumes.get(&name).await.unwrap().metadata.finalizers.unwrap(),
        classes.get(&name).await.unwrap().metadata.finalizers.unwrap(),
    );
    assert_eq!(made.0, ["kubernetes.io/pvc-protection"], "the server adds it");
    assert_eq!(made.1, ["kubernetes.io/pv-protection"]);
    assert_eq!(made.2, ["kubernetes.io/vac-protection"]);
    let phase = |phase: &str| Patch::Merge(json!({"status": {"phase": phase}}));
    volumes.patch_status(&name, &PatchParams::default(), &phase("Bound")).await.unwrap();

    let manager = Manager::start(&server, &runtime::Handle::current(), "storage", &ONLY);
    has_an_account(&client, &name).await;
    create(
        &pods,
        json!({"metadata": {"name": "user"}, "spec": {
        "nodeName": "nowhere", "containers": [{"name": "c", "image": "none"}],
        "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}]}}),
    )
    .await;
    let none = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    claims.patch("data", &PatchParams::default(), &none).await.unwrap();
    eventually("a finalizer that was taken away is put back", || async {
        claims.get("data").await.unwrap().metadata.finalizers.is_some()
    })
    .await;

    claims.delete("data", &DeleteParams::default()).await.unwrap();
    volumes.delete(&name, &DeleteParams::default()).await.unwrap();
    classes.delete(&name, &DeleteParams::default()).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(is_kept(&claims, "data").await, "a pod uses the claim");
    assert!(is_kept(&volumes, &name).await, "the volume is bound");
    assert!(is_kept(&classes, &name).await, "the claim names the class");

    pods.delete("user", &DeleteParams::default().grace_period(0)).await.unwrap();
    volumes.patch_status(&name, &PatchParams::default(), &phase("Released")).await.unwrap();
    eventually("all three are gone", || async {
        claims.get_opt("data").await.unwrap().is_none()
            && volumes.get_opt(&name).await.unwrap().is_none()
            && classes.get_opt(&name).await.unwrap().is_none()
    })
    .await;
    Api::<Namespace>::all(client).delete(&name, &DeleteParams::default()).await.unwrap();
    manager.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_finished_job_goes_when_its_time_to_live_is_over() {
    const ONLY: [&str; 1] = ["--controllers=ttl-after-finished-controller"];
    let server = ApiServer::start().await;
    let client = api_client::process::connect(server.kubeconfig()).await.unwrap();
    let name = own_namespace(&client, "ttl").await;
    let jobs: Api<Job> = Api::namespaced(client.clone(), &name);
    let manager = Manager::start(&server, &runtime::Handle::current(), "ttl", &ONLY);
    for (job, seconds) in [("soon", json!(2)), ("late", json!(3600)), ("never", json!(null))] {
        create(
            &jobs,
            json!({"metadata": {"name": job}, "spec": {
            "ttlSecondsAfterFinished": seconds, "template": {"spec": {"restartPolicy": "Never",
                "containers": [{"name": "c", "image": "none"}]}}}}),
        )
        .await;
        let now = api_client::api_time(jiff::Timestamp::now());
        let condition = |kind: &str| {
            json!({"type": kind, "status": "True",
            "lastTransitionTime": now, "lastProbeTime": now})
        };
        let conditions = [condition("SuccessCriteriaMet"), condition("Complete")];
        let status = json!({"status": {"startTime": now, "completionTime": now,
            "conditions": conditions}});
        jobs.patch_status(job, &PatchParams::default(), &Patch::Merge(status)).await.unwrap();
    }
    assert!(!is_kept(&jobs, "soon").await, "its time is not over yet");
    // Without a garbage collector beside it the foreground deletion does not end.
    eventually("the job is gone, or going", || async {
        let job = jobs.get_opt("soon").await.unwrap();
        job.is_none_or(|job| job.metadata.deletion_timestamp.is_some())
    })
    .await;
    for stays in ["late", "never"] {
        assert!(jobs.get(stays).await.unwrap().metadata.deletion_timestamp.is_none(), "{stays}");
    }
    Api::<Namespace>::all(client).delete(&name, &DeleteParams::default()).await.unwrap();
    manager.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_root_certificate_is_in_every_namespace_and_is_put_back() {
    const PEM: &str = "-----BEGIN CERTIFICATE-----\nnot one\n-----END CERTIFICATE-----\n";
    const NAME: &str = "kube-root-ca.crt";
    let server = ApiServer::start().await;
    if !server.is_own() {
        testbed::skip(&"the named server's namespaces must not get a false certificate");
        return;
    }
    let file = std::env::temp_dir().join(format!("orlop-live-root-{}.pem", std::process::id()));
    std::fs::write(&file, PEM).unwrap();
    let flags = [
        "--controllers=root-ca-certificate-publisher-controller",
        "--root-ca-file",
        file.to_str().unwrap(),
    ];
    let client = api_client::process::connect(server.kubeconfig()).await.unwrap();
    let name = own_namespace(&client, "root").await;
    let manager = Manager::start(&server, &runtime::Handle::current(), "root", &flags);
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), &name);
    let is_right = || async {
        let Some(map) = maps.get_opt(NAME).await.unwrap() else { return false };
        let about = map.metadata.annotations.unwrap_or_default();
        map.data == Some([("ca.crt".to_owned(), PEM.to_owned())].into())
            && about.contains_key("kubernetes.io/description")
    };
    eventually("it is published", is_right).await;
    let wrong = Patch::Merge(json!({"data": {"ca.crt": "wrong", "more": "x"}}));
    maps.patch(NAME, &PatchParams::default(), &wrong).await.unwrap();
    eventually("what was changed is put right", is_right).await;
    maps.delete(NAME, &DeleteParams::default()).await.unwrap();
    eventually("what was deleted is made again", is_right).await;
    manager.stop().await;
    std::fs::remove_file(&file).unwrap();
}

/// What a quota's status says is used, as one line.
async fn used(quotas: &Api<ResourceQuota>, name: &str) -> String {
    let status = quotas.get(name).await.unwrap().status.unwrap_or_default();
    let used = status.used.unwrap_or_default();
    let each: Vec<String> =
        used.iter().map(|(name, amount)| format!("{name}={}", amount.0)).collect();
    each.join(" ")
}

async fn becomes(quotas: &Api<ResourceQuota>, name: &str, expected: &str) {
    eventually(expected, || async { used(quotas, name).await == expected }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn quotas_say_what_is_there_and_give_back_what_went_or_ended() {
    let server = ApiServer::start().await;
    let flags = ["--controllers=resourcequota-controller", "--resource-quota-sync-period", "2s"];
    let manager = Manager::start(&server, &runtime::Handle::current(), "quota", &flags);
    let client = api_client::process::connect(server.kubeconfig()).await.unwrap();
    let name = own_namespace(&client, "quota").await;
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), &name);
    if accounts.get_opt("default").await.unwrap().is_none() {
        create(&accounts, json!({"metadata": {"name": "default"}})).await;
    }
    let secrets: Api<Secret> = Api::namespaced(client.clone(), &name);
    create(&secrets, json!({"metadata": {"name": "before"}})).await;

    let quotas: Api<ResourceQuota> = Api::namespaced(client.clone(), &name);
    let hard = json!({"pods": "2", "count/pods": "9", "requests.cpu": "2", "secrets": "5",
        "services.nodeports": "2", "count/deployments.apps": "3"});
    create(&quotas, json!({"metadata": {"name": "all"}, "spec": {"hard": hard}})).await;
    let scoped = json!({"hard": {"pods": "3"}, "scopes": ["Terminating"]});
    create(&quotas, json!({"metadata": {"name": "scoped"}, "spec": scoped})).await;
    let text = |pods: [&str; 3], ports: &str, secrets: &str| {
        let [all, alive, cpu] = pods;
        format!(
            "count/deployments.apps=0 count/pods={all} pods={alive} requests.cpu={cpu} \
             secrets={secrets} services.nodeports={ports}"
        )
    };
    becomes(&quotas, "all", &text(["0", "0", "0"], "0", "1")).await;
    becomes(&quotas, "scoped", "pods=0").await;

    let pods: Api<Pod> = Api::namespaced(client.clone(), &name);
    let pod = |name: &str, deadline: Value| {
        let container = json!({"name": "c", "image": "none",
            "resources": {"requests": {"cpu": "500m"}}});
        json!({"metadata": {"name": name}, "spec": {"containers": [container],
            "nodeSelector": {"orlop-live": "nowhere"}, "activeDeadlineSeconds": deadline}})
    };
    create(&pods, pod("one", json!(null))).await;
    create(&pods, pod("two", json!(600))).await;
    let services: Api<Service> = Api::namespaced(client.clone(), &name);
    create(
        &services,
        json!({"metadata": {"name": "s"}, "spec": {"type": "NodePort", "ports": [{"port": 80}]}}),
    )
    .await;
    becomes(&quotas, "all", &text(["2", "2", "1"], "1", "1")).await;
    becomes(&quotas, "scoped", "pods=1").await;

    let ended = Patch::Merge(json!({"status": {"phase": "Succeeded"}}));
    pods.patch_status("two", &PatchParams::default(), &ended).await.unwrap();
    becomes(&quotas, "all", &text(["2", "1", "500m"], "1", "1")).await;
    becomes(&quotas, "scoped", "pods=0").await;
    let inner = Patch::Merge(json!({"spec": {"type": "ClusterIP"}}));
    services.patch("s", &PatchParams::default(), &inner).await.unwrap();
    pods.delete("one", &DeleteParams::default().grace_period(0)).await.unwrap();
    secrets.delete("before", &DeleteParams::default()).await.unwrap();
    becomes(&quotas, "all", &text(["1", "0", "0"], "0", "0")).await;

    let more = Patch::Merge(json!({"spec": {"hard": {"pods": null, "secrets": "7"}}}));
    quotas.patch("all", &PatchParams::default(), &more).await.unwrap();
    eventually("the status follows the specification", || async {
        let status = quotas.get("all").await.unwrap().status.unwrap_or_default();
        let hard = status.hard.unwrap_or_default();
        hard.get("secrets").is_some_and(|most| most.0 == "7") && !hard.contains_key("pods")
    })
    .await;
    let wrong = Patch::Merge(json!({"status": {"used": {"pods": "3"}}}));
    quotas.patch_status("scoped", &PatchParams::default(), &wrong).await.unwrap();
    becomes(&quotas, "scoped", "pods=0").await;
    Api::<Namespace>::all(client).delete(&name, &DeleteParams::default()).await.unwrap();
    manager.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_range_of_addresses_stays_until_its_last_service_is_gone() {
    let server = ApiServer::start().await;
    let flags = ["--controllers=service-cidr-controller", "--use-service-account-credentials"];
    let manager = Manager::start(&server, &runtime::Handle::current(), "cidr", &flags);
    let client = api_client::process::connect(server.kubeconfig()).await.unwrap();
    let name = own_namespace(&client, "cidr").await;
    let ranges: Api<ServiceCIDR> = Api::all(client.clone());
    let services: Api<Service> = Api::namespaced(client.clone(), &name);
    let said = async || -> Option<(String, String)> {
        let range = ranges.get_opt(&name).await.unwrap()?;
        let finalizers = range.metadata.finalizers.unwrap_or_default();
        assert!(finalizers.len() < 2, "{finalizers:?}");
        let condition = range.status?.conditions?.into_iter().next()?;
        Some((condition.status, condition.reason))
    };
    let is = |status: &str, reason: &str| Some((status.to_owned(), reason.to_owned()));

    let spec = json!({"cidrs": ["10.217.3.0/28"]});
    create(&ranges, json!({"metadata": {"name": name}, "spec": spec})).await;
    eventually("it is ready", || async { said().await == is("True", "") }).await;
    let spec = json!({"clusterIP": "10.217.3.5", "ports": [{"port": 80}]});
    create(&services, json!({"metadata": {"name": "s"}, "spec": spec})).await;
    ranges.delete(&name, &DeleteParams::default()).await.unwrap();
    eventually("the address holds it", || async { said().await == is("False", "Terminating") })
        .await;
    services.delete("s", &DeleteParams::default()).await.unwrap();
    eventually("it goes", || async { ranges.get_opt(&name).await.unwrap().is_none() }).await;
    manager.stop().await;
    Api::<Namespace>::all(client).delete(&name, &DeleteParams::default()).await.unwrap();
}
