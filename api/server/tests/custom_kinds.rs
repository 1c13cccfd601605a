//! Custom kinds, served: definitions, their conditions, and the objects of the kinds they define.

mod support;

use std::sync::Arc;

use api_machinery::protobuf;
use serde_json::{Value, json};
use support::{Cluster, Store};

const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

fn definition(group: &str) -> Value {
    let schema = json!({"type": "object", "properties": {
        "spec": {"type": "object", "required": ["color"], "properties": {
            "color": {"type": "string", "enum": ["red", "green"]},
            "size": {"type": "integer", "default": 3, "minimum": 1},
            "replicas": {"type": "integer"},
            "list": {"type": "array", "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["name"],
                "items": {"type": "object", "required": ["name"], "properties": {
                    "name": {"type": "string"}, "value": {"type": "string"}}}}}},
        "status": {"type": "object", "properties": {
            "replicas": {"type": "integer"}, "selector": {"type": "string"}}}}});
    let columns = json!([
        {"name": "Color", "type": "string", "jsonPath": ".spec.color"},
        {"name": "Replicas", "type": "integer", "jsonPath": ".spec.replicas"}]);
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("widgets.{group}")},
        "spec": {"group": group, "scope": "Namespaced",
            "names": {"plural": "widgets", "singular": "widget", "kind": "Widget",
                "shortNames": ["wd"], "categories": ["all", "toys"]},
            "versions": [
                {"name": "v1", "served": true, "storage": true,
                    "subresources": {"status": {}, "scale": {
                        "specReplicasPath": ".spec.replicas",
                        "statusReplicasPath": ".status.replicas",
                        "labelSelectorPath": ".status.selector"}},
                    "selectableFields": [{"jsonPath": ".spec.color"}],
                    "additionalPrinterColumns": columns,
                    "schema": {"openAPIV3Schema": schema}},
                {"name": "v1beta1", "served": true, "storage": false, "deprecated": true,
                    "schema": {"openAPIV3Schema": {"type": "object",
                        "x-kubernetes-preserve-unknown-fields": true}}}]},
    })
}

fn widget(group: &str, name: &str, color: &str) -> Value {
    json!({"apiVersion": format!("{group}/v1"), "kind": "Widget",
        "metadata": {"name": name}, "spec": {"color": color}})
}

fn condition<'a>(definition: &'a Value, kind: &str) -> &'a Value {
    let conditions = definition["status"]["conditions"].as_array();
    conditions.into_iter().flatten().find(|one| one["type"] == kind).unwrap_or(&Value::Null)
}

/// Makes a definition and waits until it is served; gives the path of its objects.
async fn define(cluster: &Cluster, group: &str) -> String {
    let made = cluster.post(DEFINITIONS, &definition(group)).await;
    assert_eq!(made.code, 201, "{}", made.message());
    established(cluster, group).await;
    format!("/apis/{group}/v1/namespaces/default/widgets")
}

async fn established(cluster: &Cluster, group: &str) -> Value {
    let path = format!("{DEFINITIONS}/widgets.{group}");
    cluster.until(&path, |found| condition(found, "Established")["status"] == "True").await
}

#[tokio::test]
async fn a_definition_is_accepted_and_its_objects_are_served() {
    let store = Store::own(1);
    let cluster = Cluster::on(store).await;
    let group = "served.example.com";
    let objects = define(&cluster, group).await;
    let found = established(&cluster, group).await;
    assert_eq!(condition(&found, "NamesAccepted")["reason"], "NoConflicts");
    assert_eq!(condition(&found, "Established")["reason"], "InitialNamesAccepted");
    assert_eq!(found["status"]["storedVersions"], json!(["v1"]));
    assert_eq!(found["status"]["acceptedNames"]["listKind"], "WidgetList");

    let mut body = widget(group, "a", "red");
    body["spec"]["extra"] = 1.into();
    body["status"] = json!({"replicas": 1});
    let made = cluster.post(&objects, &body).await;
    assert_eq!(made.code, 201, "{}", made.message());
    assert_eq!(made.headers["warning"], r#"299 - "unknown field \"spec.extra\"""#);
    let made = made.json();
    assert_eq!(made["spec"], json!({"color": "red", "size": 3}));
    assert_eq!((&made["status"], &made["metadata"]["generation"]), (&Value::Null, &json!(1)));

    let refused = cluster.post(&objects, &widget(group, "b", "blue")).await;
    assert_eq!(
        refused.message(),
        "Widget.served.example.com \"b\" is invalid: spec.color: Unsupported value: \"blue\": supported values: \"red\", \"green\""
    );
    let path = format!("{objects}/a");
    let changed = cluster.merge(&path, &json!({"spec": {"color": "green"}})).await.json();
    assert_eq!(
        (&changed["spec"]["color"], &changed["metadata"]["generation"]),
        (&json!("green"), &json!(2))
    );
    let status = json!({"spec": {"color": "red"}, "status": {"replicas": 1, "selector": "a=b"}});
    let changed = cluster.merge(&format!("{path}/status"), &status).await.json();
    assert_eq!(changed["spec"]["color"], "green");
    assert_eq!(changed["status"], json!({"replicas": 1, "selector": "a=b"}));
    assert_eq!(changed["metadata"]["generation"], 2);
    let scale = cluster.merge(&format!("{path}/scale"), &json!({"spec": {"replicas": 7}})).await;
    assert_eq!(scale.json()["spec"]["replicas"], 7);
    assert_eq!(scale.json()["status"], json!({"replicas": 1, "selector": "a=b"}));
    let unconditional = cluster.put(&path, &widget(group, "a", "red")).await;
    assert_eq!(
        unconditional.message(),
        "widgets.served.example.com \"a\" is invalid: metadata.resourceVersion: Invalid value: 0: must be specified for an update"
    );
    let list = cluster.get(&format!("{objects}?fieldSelector=spec.color%3Dgreen")).await.json();
    assert_eq!((&list["kind"], list["items"].as_array().unwrap().len()), (&json!("WidgetList"), 1));
    assert_eq!(list["items"][0]["kind"], "Widget");
    let none = cluster.get(&format!("{objects}?fieldSelector=spec.color%3Dred")).await.json();
    assert_eq!(none["items"], json!([]));
    let gone = cluster.delete(&path).await.json();
    assert_eq!(gone["status"], "Success");
    assert_eq!(cluster.get(&path).await.code, 404);
}

#[tokio::test]
async fn kubectl_finds_and_prints_a_custom_kind() {
    let store = Store::own(1);
    let cluster = Cluster::on(store).await;
    let group = "printed.example.com";
    let objects = define(&cluster, group).await;
    cluster.post(&objects, &widget(group, "a", "red")).await;
    let groups = cluster.until("/apis", |found| found.to_string().contains(group)).await;
    let last = groups["groups"].as_array().unwrap().last().unwrap().clone();
    assert_eq!(last["preferredVersion"]["version"], "v1");
    let resources = cluster.get(&format!("/apis/{group}/v1")).await.json();
    let names: Vec<_> =
        resources["resources"].as_array().unwrap().iter().map(|one| one["name"].clone()).collect();
    assert_eq!(names, ["widgets", "widgets/status", "widgets/scale"]);
    assert_eq!(resources["resources"][0]["shortNames"], json!(["wd"]));

    let accept = [("accept", "application/json;as=Table;v=v1;g=meta.k8s.io")];
    let table = cluster.call("GET", &objects, &accept, "").await.json();
    let columns: Vec<_> = table["columnDefinitions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["name"].clone())
        .collect();
    assert_eq!(columns, ["Name", "Color", "Replicas"]);
    assert_eq!(table["rows"][0]["cells"], json!(["a", "red", null]));
    let protobuf = [("accept", "application/vnd.kubernetes.protobuf")];
    assert_eq!(cluster.call("GET", &objects, &protobuf, "").await.code, 406);
    let strategic = [("content-type", "application/strategic-merge-patch+json")];
    let refused = cluster.call("PATCH", &format!("{objects}/a"), &strategic, "{}").await;
    assert_eq!(refused.code, 415);
    let older = cluster.get(&format!("/apis/{group}/v1beta1/namespaces/default/widgets/a")).await;
    assert_eq!(older.json()["apiVersion"], format!("{group}/v1beta1"));
    assert_eq!(
        older.headers["warning"],
        format!("299 - \"{group}/v1beta1 Widget is deprecated; use {group}/v1 Widget\"")
    );
}

#[tokio::test]
async fn apply_merges_custom_lists_by_their_keys() {
    let store = Store::own(1);
    let cluster = Cluster::on(store).await;
    let group = "applied.example.com";
    let objects = define(&cluster, group).await;
    let with = |name: &str| {
        let mut tree = widget(group, "a", "red");
        tree["spec"]["list"] = json!([{"name": name, "value": "1"}]);
        tree
    };
    let path = format!("{objects}/a?fieldManager");
    let first = cluster.apply(&format!("{path}=m1"), &with("x")).await;
    assert_eq!(first.code, 201, "{}", first.message());
    let second = cluster.apply(&format!("{path}=m2"), &with("y")).await.json();
    let names: Vec<_> =
        second["spec"]["list"].as_array().unwrap().iter().map(|one| one["name"].clone()).collect();
    assert_eq!(names, ["x", "y"]);
    assert_eq!(second["spec"]["size"], 3);
    let mut other = with("x");
    other["spec"]["color"] = "green".into();
    let conflict = cluster.apply(&format!("{path}=m2"), &other).await;
    assert_eq!(conflict.code, 409, "{}", conflict.message());
    other["spec"] = json!({"foo": 1});
    let unknown = cluster.apply(&format!("{path}=m2"), &other).await;
    assert!(unknown.message().ends_with(".spec.foo: field not declared in schema"));
}

#[tokio::test]
async fn watches_of_a_custom_kind_see_every_change_and_end_with_it() {
    let store = Store::own(1);
    let cluster = Cluster::on(store).await;
    let group = "watched.example.com";
    let objects = define(&cluster, group).await;
    cluster.post(&objects, &widget(group, "before", "red")).await;
    let mut all = cluster.watch(&format!("{objects}?watch=1")).await;
    let mut older =
        cluster.watch(&format!("/apis/{group}/v1beta1/widgets?watch=1&fieldSelector=")).await;
    let mut red = cluster.watch(&format!("{objects}?watch=1&fieldSelector=spec.color%3Dred")).await;
    cluster.post(&objects, &widget(group, "a", "red")).await;
    cluster.merge(&format!("{objects}/a"), &json!({"spec": {"color": "green"}})).await;
    for wanted in ["ADDED before", "ADDED a", "MODIFIED a"] {
        assert_eq!(all.told().await, wanted);
    }
    for wanted in ["ADDED before", "ADDED a", "DELETED a"] {
        assert_eq!(red.told().await, wanted);
    }
    let shown = older.next().await.unwrap();
    assert_eq!(shown["object"]["apiVersion"], format!("{group}/v1beta1"));

    let gone = cluster.delete(&format!("{DEFINITIONS}/widgets.{group}")).await;
    assert_eq!(gone.code, 200, "{}", gone.message());
    let mut deleted = Vec::new();
    while let Some(event) = all.next().await {
        deleted.push(event["type"].clone());
    }
    assert_eq!(deleted, ["DELETED", "DELETED"]);
    let until = tokio::time::Instant::now() + support::DEADLINE;
    while cluster.get(&format!("{DEFINITIONS}/widgets.{group}")).await.code != 404 {
        assert!(tokio::time::Instant::now() < until, "the definition does not go");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    while cluster.get(&objects).await.code != 404 {
        assert!(tokio::time::Instant::now() < until, "the kind does not go");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn objects_that_nobody_can_ask_for_go_with_their_definition_unless_they_are_held() {
    let cluster = Cluster::on(Store::own(1)).await;
    let group = "unserved.example.com";
    let objects = define(&cluster, group).await;
    cluster.post(&objects, &widget(group, "free", "red")).await;
    let mut held = widget(group, "held", "red");
    held["metadata"]["finalizers"] = json!(["example.com/hold"]);
    assert_eq!(cluster.post(&objects, &held).await.code, 201);
    let path = format!("{DEFINITIONS}/widgets.{group}");
    let serve = |is_served: bool| {
        let mut versions = definition(group)["spec"]["versions"].clone();
        versions[0]["served"] = is_served.into();
        versions[1]["served"] = false.into();
        json!({"spec": {"versions": versions}})
    };
    assert_eq!(cluster.merge(&path, &serve(false)).await.code, 200);
    cluster.until_code(&objects, 404).await;
    assert_eq!(cluster.delete(&path).await.code, 200);
    let is_going =
        |found: &Value| condition(found, "Terminating")["reason"] == "InstanceDeletionInProgress";
    cluster.until(&path, is_going).await;

    // Served again, what is left can be asked for, and let go.
    assert_eq!(cluster.merge(&path, &serve(true)).await.code, 200);
    cluster.until_code(&objects, 200).await;
    let marked = |found: &Value| found["metadata"]["deletionTimestamp"].is_string();
    let held = cluster.until(&format!("{objects}/held"), marked).await;
    assert_eq!(held["metadata"]["generation"], 2);
    cluster.until_code(&format!("{objects}/free"), 404).await;
    let released = json!({"metadata": {"finalizers": null}});
    assert_eq!(cluster.merge(&format!("{objects}/held"), &released).await.code, 200);
    cluster.until_code(&path, 404).await;
}

#[tokio::test]
async fn names_that_others_have_are_refused_until_they_are_free() {
    let store = Store::own(1);
    let cluster = Cluster::on(store).await;
    let group = "names.example.com";
    define(&cluster, group).await;
    let mut other = definition(group);
    other["metadata"]["name"] = format!("gadgets.{group}").into();
    other["spec"]["names"] = json!({"plural": "gadgets", "kind": "Widget"});
    assert_eq!(cluster.post(DEFINITIONS, &other).await.code, 201);
    let path = format!("{DEFINITIONS}/gadgets.{group}");
    let refused =
        cluster.until(&path, |found| condition(found, "NamesAccepted")["status"] == "False").await;
    let names = condition(&refused, "NamesAccepted");
    assert_eq!(names["reason"], "ListKindConflict");
    assert_eq!(names["message"], "\"WidgetList\" is already in use");
    assert_eq!(condition(&refused, "Established")["reason"], "NotAccepted");
    cluster.delete(&format!("{DEFINITIONS}/widgets.{group}")).await;
    cluster.until(&path, |found| condition(found, "Established")["status"] == "True").await;
}

#[tokio::test]
async fn a_changed_schema_holds_for_what_is_stored_already() {
    let store = Store::own(1);
    let store = Arc::new(store);
    let cluster = Cluster::beside(&store, 0).await;
    let group = "changed.example.com";
    let objects = define(&cluster, group).await;
    cluster.post(&objects, &widget(group, "a", "red")).await;
    let path = format!("{DEFINITIONS}/widgets.{group}");
    let patch = json!([
        {"op": "add", "path": "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/tone",
            "value": {"type": "string", "default": "dark"}},
        {"op": "replace", "path": "/spec/versions/0/storage", "value": false},
        {"op": "replace", "path": "/spec/versions/1/storage", "value": true},
    ]);
    let headers = [("content-type", "application/json-patch+json")];
    let changed = cluster.call("PATCH", &path, &headers, patch.to_string()).await;
    assert_eq!(changed.code, 200, "{}", changed.message());
    assert_eq!(changed.json()["status"]["storedVersions"], json!(["v1", "v1beta1"]));
    let object = format!("{objects}/a");
    cluster.until(&object, |found| found["spec"]["tone"] == "dark").await;
    cluster.until(&objects, |found| found["items"][0]["spec"]["tone"] == "dark").await;
    // Another server on the same store serves the same.
    let other = Cluster::beside(&store, 0).await;
    let seen = other.get(&object).await.json();
    assert_eq!(seen["spec"]["tone"], "dark");
    let made = other.post(&objects, &widget(group, "b", "green")).await;
    assert_eq!((made.code, &made.json()["apiVersion"]), (201, &json!(format!("{group}/v1"))));
    let both = |found: &Value| found["items"].as_array().is_some_and(|items| items.len() == 2);
    cluster.until(&objects, both).await;
}

#[tokio::test]
async fn rules_in_cel_are_compiled_with_the_definition_and_run_with_every_write() {
    let store = Store::own(1);
    let cluster = Cluster::on(store).await;
    let group = "rules.example.com";
    let path = ["spec", "versions"];
    let ruled = |rules: Value| {
        let mut made = definition(group);
        let schema = &mut made[path[0]][path[1]][0]["schema"]["openAPIV3Schema"];
        schema["properties"]["spec"]["x-kubernetes-validations"] = rules;
        made
    };
    let broken = ruled(json!([{"rule": "self.nothing > 1"}]));
    let refused = cluster.post(DEFINITIONS, &broken).await;
    assert_eq!(refused.code, 422);
    assert!(refused.message().contains("undefined field 'nothing'"), "{}", refused.message());

    let rules = ruled(json!([
        {"rule": "self.size < 9", "message": "too large"},
        {"rule": "self.color == oldSelf.color", "message": "color stays", "fieldPath": ".color",
            "reason": "FieldValueForbidden"}]));
    let made = cluster.post(DEFINITIONS, &rules).await;
    assert_eq!(made.code, 201, "{}", made.message());
    established(&cluster, group).await;
    let objects = format!("/apis/{group}/v1/namespaces/default/widgets");
    let mut large = widget(group, "a", "red");
    large["spec"]["size"] = 10.into();
    let refused = cluster.post(&objects, &large).await;
    assert_eq!(
        refused.message(),
        "Widget.rules.example.com \"a\" is invalid: spec: Invalid value: too large"
    );
    assert_eq!(cluster.post(&objects, &widget(group, "a", "red")).await.code, 201);
    let changed = json!({"spec": {"color": "green"}});
    let refused = cluster.merge(&format!("{objects}/a"), &changed).await;
    assert_eq!(
        refused.message(),
        "Widget.rules.example.com \"a\" is invalid: spec.color: Forbidden: color stays"
    );

    let index = cluster.get("/openapi/v3").await.json();
    let url = index["paths"][format!("apis/{group}/v1")]["serverRelativeURL"].as_str().unwrap();
    let document = cluster.get(url).await;
    assert_eq!(document.code, 200, "{}", document.message());
    let schemas = &document.json()["components"]["schemas"];
    assert_eq!(schemas["com.example.rules.v1.Widget"]["type"], "object", "{schemas}");
}

#[tokio::test]
async fn what_is_not_carried_out_is_refused() {
    let store = Store::own(1);
    let cluster = Cluster::on(store).await;
    let mut webhook = definition("hook.example.com");
    webhook["spec"]["conversion"] = json!({"strategy": "Webhook", "webhook": {
        "conversionReviewVersions": ["v1"],
        "clientConfig": {"url": "https://hook.example.com/convert"}}});
    assert_eq!(cluster.post(DEFINITIONS, &webhook).await.code, 501);
}

#[tokio::test]
async fn a_definition_in_protobuf_is_the_one_in_json() {
    let store = Store::own(1);
    let cluster = Cluster::on(store).await;
    let group = "wire.example.com";
    let mut wanted = definition(group);
    wanted["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
        ["open"] = json!({"type": "object", "additionalProperties": {"type": "string"}});
    let body = protobuf::encode(&wanted).unwrap();
    let headers = [("content-type", protobuf::MEDIA_TYPE), ("accept", protobuf::MEDIA_TYPE)];
    let made = cluster.call("POST", DEFINITIONS, &headers, body).await;
    assert_eq!(made.code, 201, "{}", made.message());
    let found = established(&cluster, group).await;
    let schema = |of: &Value| of["spec"]["versions"][0]["schema"].clone();
    assert_eq!(schema(&found), schema(&wanted));
    assert_eq!(schema(&protobuf::decode(&made.bytes).unwrap().into_value()), schema(&wanted));
}
