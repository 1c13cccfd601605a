//! Kinds that several versions share one stored object of: written in one, read in the other.
#![expect(clippy::unwrap_used, reason = "a failed helper is a failed test")]

mod support;

use serde_json::{Value, json};
use support::{Cluster, Store};

const NEW: &str = "/apis/events.k8s.io/v1/namespaces/default/events";
const CORE: &str = "/api/v1/namespaces/default/events";
const V1: &str = "/apis/autoscaling/v1/namespaces/default/horizontalpodautoscalers";
const V2: &str = "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers";
const SERVICES: &str = "/apis/apiregistration.k8s.io/v1/apiservices";

fn event(name: &str) -> Value {
    json!({"metadata": {"name": name, "labels": {"l": "x"}},
        "regarding": {"namespace": "default", "kind": "Pod", "name": "p"},
        "note": "hi", "reason": "R", "action": "A", "type": "Normal",
        "reportingController": "a.b/c", "reportingInstance": "i",
        "eventTime": "2026-01-01T00:00:00.000000Z"})
}

fn autoscaler(name: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {"maxReplicas": 3,
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}}})
}

/// Who manages which fields, without the times.
fn managers(object: &Value) -> Value {
    let entries = object["metadata"]["managedFields"].as_array().unwrap();
    let shown = |entry: &Value| json!([entry["manager"], entry["apiVersion"], entry["fieldsV1"]]);
    entries.iter().map(shown).collect()
}

#[tokio::test]
async fn an_event_is_one_object_with_two_names() {
    let cluster = Cluster::on(Store::own(1)).await;
    let mut news = cluster.watch(&format!("{NEW}?watch=1&fieldSelector=regarding.name=p")).await;
    let mut cores = cluster.watch(&format!("{CORE}?watch=1")).await;
    let created = cluster.post(&format!("{NEW}?fieldManager=m"), &event("e")).await;
    assert_eq!(created.code, 201, "{}", created.message());
    let created = created.json();
    assert_eq!(created["apiVersion"], "events.k8s.io/v1");
    assert_eq!(created["note"], "hi");
    let fields = json!({"f:action": {}, "f:eventTime": {}, "f:metadata": {"f:labels": {".": {},
        "f:l": {}}}, "f:note": {}, "f:reason": {}, "f:regarding": {},
        "f:reportingController": {}, "f:reportingInstance": {}, "f:type": {}});
    assert_eq!(managers(&created), json!([["m", "events.k8s.io/v1", fields]]));

    let core = cluster.get(&format!("{CORE}/e")).await.json();
    assert_eq!((&core["apiVersion"], &core["message"]), (&json!("v1"), &json!("hi")));
    assert_eq!(core["involvedObject"]["name"], "p");
    assert_eq!(core["reportingComponent"], "a.b/c");
    let told = news.next().await.unwrap();
    assert_eq!((&told["type"], &told["object"]), (&json!("ADDED"), &created));
    assert_eq!(cores.next().await.unwrap()["object"], core);

    for (path, count) in [
        (format!("{NEW}?fieldSelector=regarding.kind=Pod,reportingController=a.b/c"), 1),
        (format!("{NEW}?fieldSelector=regarding.kind=Node"), 0),
        (format!("{CORE}?fieldSelector=involvedObject.kind=Pod,source=a.b/c"), 1),
    ] {
        let list = cluster.get(&path).await.json();
        assert_eq!(list["items"].as_array().unwrap().len(), count, "{path}");
    }
    let list = cluster.get(NEW).await.json();
    assert_eq!(list["kind"], "EventList");
    assert_eq!((&list["items"][0]["note"], list["items"][0].get("kind")), (&json!("hi"), None));
    let refused = cluster.get(&format!("{NEW}?fieldSelector=involvedObject.kind=Pod")).await;
    assert_eq!(refused.message(), "field label not supported: involvedObject.kind");

    let patched = cluster.merge(&format!("{CORE}/e?fieldManager=n"), &json!({"count": 3})).await;
    assert_eq!(patched.json()["count"], 3);
    let shown = cluster.get(&format!("{NEW}/e")).await.json();
    assert_eq!(shown["deprecatedCount"], 3);
    assert_eq!(managers(&shown)[1], json!(["n", "v1", {"f:count": {}}]));
    assert_eq!(news.next().await.unwrap()["object"]["deprecatedCount"], 3);

    let deleted = cluster.delete(&format!("{CORE}?labelSelector=l=x")).await.json();
    assert_eq!(deleted["kind"], "EventList");
    assert_eq!(news.told().await, "DELETED e");
    assert_eq!(
        cluster.get(&format!("{NEW}/e")).await.message(),
        "events.events.k8s.io \"e\" not found"
    );
}

#[tokio::test]
async fn each_version_of_an_event_has_its_own_rules() {
    let cluster = Cluster::on(Store::own(1)).await;
    let refused = cluster.post(NEW, &json!({"metadata": {"name": "bad"}})).await;
    assert_eq!(
        refused.message(),
        "Event \"bad\" is invalid: [eventTime: Required value, type: Invalid value: \"\": has invalid value: ]"
    );
    let created = cluster.post(CORE, &json!({"metadata": {"name": "old"}})).await;
    assert_eq!(created.code, 201, "{}", created.message());
    assert_eq!(cluster.post(NEW, &event("e")).await.code, 201);
    assert_eq!(
        cluster.post(NEW, &event("e")).await.message(),
        "events.events.k8s.io \"e\" already exists"
    );
    let changed = json!({"note": "else"});
    let refused = cluster.merge(&format!("{NEW}/e"), &changed).await;
    assert_eq!(
        refused.message(),
        "Event \"e\" is invalid: message: Invalid value: \"else\": field is immutable"
    );
    let series = json!({"series": {"count": 2, "lastObservedTime": "2026-01-01T00:00:01.000000Z"}});
    assert_eq!(cluster.merge(&format!("{NEW}/e"), &series).await.code, 200);
    let changed = cluster.merge(&format!("{CORE}/e"), &json!({"message": "else"})).await;
    assert_eq!(changed.code, 200, "{}", changed.message());
}

#[tokio::test]
async fn an_autoscaler_is_kept_in_the_newer_version() {
    let cluster = Cluster::on(Store::own(1)).await;
    let created = cluster.post(&format!("{V1}?fieldManager=m"), &autoscaler("h")).await;
    assert_eq!(created.code, 201, "{}", created.message());
    let created = created.json();
    assert_eq!(created["spec"]["targetCPUUtilizationPercentage"], 80);
    let fields = json!({"f:spec": {"f:maxReplicas": {}, "f:minReplicas": {},
        "f:scaleTargetRef": {}, "f:targetCPUUtilizationPercentage": {}}});
    assert_eq!(managers(&created), json!([["m", "autoscaling/v1", fields]]));

    let newer = cluster.get(&format!("{V2}/h")).await.json();
    assert_eq!(newer["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"], 80);
    // Who takes a field in one version takes it in the other.
    let metrics = json!({"spec": {"metrics": [{"type": "Resource", "resource": {"name": "cpu",
        "target": {"type": "Utilization", "averageUtilization": 50}}}]}});
    let changed = cluster.merge(&format!("{V2}/h?fieldManager=n"), &metrics).await.json();
    let kept = json!({"f:spec": {"f:maxReplicas": {}, "f:minReplicas": {},
        "f:scaleTargetRef": {}}});
    assert_eq!(
        managers(&changed),
        json!([["m", "autoscaling/v1", kept], ["n", "autoscaling/v2", {"f:spec": {"f:metrics": {}}}]])
    );
    let older = cluster.get(&format!("{V1}/h")).await.json();
    assert_eq!(older["spec"]["targetCPUUtilizationPercentage"], 50);

    let status = json!({"status": {"currentReplicas": 1, "desiredReplicas": 2,
        "currentCPUUtilizationPercentage": 7}});
    let changed = cluster.merge(&format!("{V1}/h/status"), &status).await;
    assert_eq!(changed.code, 200, "{}", changed.message());
    let newer = cluster.get(&format!("{V2}/h")).await.json();
    assert_eq!(
        newer["status"]["currentMetrics"][0]["resource"]["current"]["averageUtilization"],
        7
    );
    let metrics = "autoscaling.alpha.kubernetes.io/current-metrics";
    let older = cluster.get(&format!("{V1}/h")).await.json();
    assert!(older["metadata"]["annotations"][metrics].is_string(), "{older}");

    let refused = json!({"metadata": {"name": "x"}, "spec": {"maxReplicas": 1,
        "targetCPUUtilizationPercentage": 0,
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}}});
    assert_eq!(
        cluster.post(V1, &refused).await.message(),
        "HorizontalPodAutoscaler.autoscaling \"x\" is invalid: spec.metrics[0].resource.target.averageUtilization: Invalid value: 0: must be greater than 0"
    );

    let mut applied = autoscaler("h");
    applied["apiVersion"] = "autoscaling/v1".into();
    applied["kind"] = "HorizontalPodAutoscaler".into();
    applied["spec"]["targetCPUUtilizationPercentage"] = 60.into();
    let conflict = cluster.apply(&format!("{V1}/h?fieldManager=a"), &applied).await;
    assert_eq!(
        conflict.message(),
        "Apply failed with 1 conflict: conflict with \"n\" using autoscaling/v2: .spec.metrics"
    );
    let forced = cluster.apply(&format!("{V1}/h?fieldManager=a&force=true"), &applied).await;
    assert_eq!(forced.code, 200, "{}", forced.message());
    let newer = cluster.get(&format!("{V2}/h")).await.json();
    assert_eq!(newer["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"], 60);
    // What the applier no longer names goes, and the default comes back.
    applied["spec"].as_object_mut().unwrap().remove("targetCPUUtilizationPercentage");
    let less = cluster.apply(&format!("{V1}/h?fieldManager=a&force=true"), &applied).await;
    assert_eq!(less.json()["spec"]["targetCPUUtilizationPercentage"], 80, "{}", less.message());
}

#[tokio::test]
async fn api_services_of_this_server_are_there_and_others_wait() {
    let cluster = Cluster::on(Store::own(1)).await;
    let is_local = |service: &Value| {
        service["status"]["conditions"][0]["message"] == "Local APIServices are always available"
    };
    for name in ["v1.", "v1.apps", "v2.autoscaling", "v1.events.k8s.io"] {
        cluster.until(&format!("{SERVICES}/{name}"), is_local).await;
    }
    let remote = json!({"metadata": {"name": "v1.x.example"}, "spec": {"group": "x.example",
        "version": "v1", "groupPriorityMinimum": 1, "versionPriority": 1,
        "service": {"namespace": "n", "name": "s"}}});
    let created = cluster.post(SERVICES, &remote).await;
    assert_eq!(created.code, 201, "{}", created.message());
    assert!(created.headers.contains_key("warning"));
    assert_eq!(created.json()["spec"]["service"]["port"], 443);
    let is_waiting = |service: &Value| service["status"]["conditions"][0]["status"] == "False";
    cluster.until(&format!("{SERVICES}/v1.x.example"), is_waiting).await;
}

#[tokio::test]
async fn components_are_asked_when_somebody_asks() {
    let cluster = Cluster::on(Store::own(1)).await;
    let answer = cluster.get("/api/v1/componentstatuses").await;
    assert_eq!(answer.headers["warning"], "299 - \"v1 ComponentStatus is deprecated in v1.19+\"");
    let list = answer.json();
    assert_eq!(list["kind"], "ComponentStatusList");
    let names: Vec<_> =
        list["items"].as_array().unwrap().iter().map(|i| &i["metadata"]["name"]).collect();
    assert_eq!(names, ["scheduler", "controller-manager", "etcd-0"]);
    let store = cluster.get("/api/v1/componentstatuses/etcd-0").await.json();
    assert_eq!(
        store["conditions"],
        json!([{"type": "Healthy", "status": "True", "message": "ok"}])
    );
    assert_eq!(
        cluster.get("/api/v1/componentstatuses/x").await.message(),
        "componentstatus \"x\" not found"
    );
}

#[tokio::test]
async fn who_applies_a_scale_owns_the_replicas_of_the_workload() {
    const AT: &str = "/apis/apps/v1/namespaces/default/deployments";
    let cluster = Cluster::on(Store::own(1)).await;
    let workload = json!({"metadata": {"name": "d"}, "spec": {"replicas": 0,
        "selector": {"matchLabels": {"a": "b"}}, "template": {"metadata": {"labels": {"a": "b"}},
        "spec": {"containers": [{"name": "c", "image": "i"}]}}}});
    let created = cluster.post(&format!("{AT}?fieldManager=m"), &workload).await;
    assert_eq!(created.code, 201, "{}", created.message());
    let scale = json!({"apiVersion": "autoscaling/v1", "kind": "Scale",
        "metadata": {"name": "d", "namespace": "default"}, "spec": {"replicas": 2}});
    let conflict = cluster.apply(&format!("{AT}/d/scale?fieldManager=a"), &scale).await;
    assert_eq!(
        conflict.message(),
        "Apply failed with 1 conflict: conflict with \"m\" using autoscaling/v1: .spec.replicas"
    );
    let forced = cluster.apply(&format!("{AT}/d/scale?fieldManager=a&force=true"), &scale).await;
    assert_eq!(forced.code, 200, "{}", forced.message());
    let forced = forced.json();
    assert_eq!((&forced["kind"], &forced["spec"]["replicas"]), (&json!("Scale"), &json!(2)));
    assert_eq!(forced["metadata"].get("managedFields"), None);

    let owned = cluster.get(&format!("{AT}/d")).await.json();
    assert_eq!(owned["spec"]["replicas"], 2);
    let entries = owned["metadata"]["managedFields"].as_array().unwrap();
    let shown: Vec<Value> = entries
        .iter()
        .map(|entry| {
            let replicas = &entry["fieldsV1"]["f:spec"]["f:replicas"];
            json!([entry["manager"], entry["apiVersion"], entry["subresource"], replicas])
        })
        .collect();
    assert_eq!(shown, [json!(["a", "apps/v1", "scale", {}]), json!(["m", "apps/v1", null, null])]);
    // Who owns it may change it.
    let mut more = scale;
    more["spec"]["replicas"] = 3.into();
    assert_eq!(cluster.apply(&format!("{AT}/d/scale?fieldManager=a"), &more).await.code, 200);
}

#[tokio::test]
async fn managers_are_forgotten_when_a_client_asks() {
    const AT: &str = "/api/v1/namespaces/default/configmaps";
    let cluster = Cluster::on(Store::own(1)).await;
    for (name, entries) in [("list", json!([])), ("entry", json!([{}]))] {
        let map = json!({"metadata": {"name": name}, "data": {"a": "b"}});
        let created = cluster.post(&format!("{AT}?fieldManager=m"), &map).await.json();
        assert_eq!(created["metadata"]["managedFields"][0]["manager"], "m");
        let reset = json!({"metadata": {"managedFields": entries}, "data": {"x": "y"}});
        let at = format!("{AT}/{name}?fieldManager=n");
        let forgotten = cluster.merge(&at, &reset).await.json();
        assert_eq!(forgotten["metadata"].get("managedFields"), None, "{name}");
        let config = json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"q": "r"}});
        let applied = cluster.apply(&format!("{AT}/{name}?fieldManager=k"), &config).await.json();
        let fields = json!({"f:data": {".": {}, "f:a": {}, "f:x": {}}});
        assert_eq!(
            managers(&applied),
            json!([["k", "v1", {"f:data": {"f:q": {}}}], ["before-first-apply", "v1", fields]])
        );
        // What is no list of managers is passed over.
        let broken = json!({"metadata": {"managedFields": [{"manager": "x", "operation": "O"}]}});
        let kept = cluster.merge(&at, &broken).await.json();
        assert_eq!(managers(&kept), managers(&applied), "{name}");
    }
}
