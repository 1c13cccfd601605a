//! Steps that a real API server took, and laws of sets.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{PathElement, Set, Target, Writer, apply, extract, field_set, merge, remove, scale};
use super::{keep_times, manager_name, update};
use crate::decode::{self, Expected, FieldValidation};
use crate::{Object, defaults, kinds};

fn object(value: Value) -> Object {
    Object::from_value(value).unwrap()
}

fn writer(manager: &str) -> Writer<'_> {
    Writer { manager, now: "2030-01-01T00:00:00Z", force: false }
}

fn config_map(data: Value) -> Object {
    object(json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "a", "namespace": "b"}, "data": data,
    }))
}

fn config_maps() -> Target {
    Target::of(kinds::find_kind("v1", "ConfigMap").unwrap(), "")
}

/// Runs one recorded step; the outcome in the record's own form.
fn replay(step: &Value) -> Value {
    let text = |key: &str| step[key].as_str().unwrap_or_default();
    let info = kinds::find_kind(text("apiVersion"), text("kind")).unwrap();
    let target = Target::of(info, text("subresource"));
    let manager = text("manager");
    let force = step["force"] == true;
    let writer = Writer { manager, now: text("now"), force };
    let live = Object::from_value(step["live"].clone());
    let new = object(step["new"].clone());
    let mut out = if text("op") == "apply" {
        match apply(&target, live.as_ref(), &new, writer) {
            Ok(object) => object,
            Err(status) => {
                return json!({"code": status.code, "message": status.message});
            }
        }
    } else {
        let expected = Expected { api_version: text("apiVersion"), kind: text("kind") };
        let decoded = decode::value(new.into_value(), expected, FieldValidation::Ignore);
        let mut new = decoded.unwrap().object;
        defaults::apply(info, &mut new);
        update(&target, live.as_ref(), new, writer)
    };
    if let Some(live) = &live {
        keep_times(&mut out, live);
    }
    let entries = out.at(&["metadata", "managedFields"]).and_then(Value::as_array);
    let managers: Vec<Value> = entries
        .into_iter()
        .flatten()
        .map(|entry| {
            let fields = Set::from_json(&entry["fieldsV1"]).unwrap().to_json();
            let mut entry = entry.clone();
            entry["fieldsV1"] = fields.into();
            entry["time"] = entry.get("time").is_some().into();
            entry
        })
        .collect();
    // What admission adds to these, and allocates for them, is no matter of this module.
    if matches!(info.kind, "Pod" | "Secret" | "Service") {
        return json!({"managers": managers, "data": "-", "spec": "-"});
    }
    json!({"managers": managers, "data": out.at(&["data"]), "spec": out.at(&["spec"])})
}

#[test]
fn every_step_ends_as_on_a_real_server() {
    for (number, line) in include_str!("golden.jsonl").lines().enumerate() {
        let record: Value = serde_json::from_str(line).unwrap();
        let outcome = replay(&record["step"]);
        assert_eq!(outcome, record["outcome"], "line {}", number + 1);
    }
}

#[test]
fn sets_are_written_in_the_order_of_values_not_of_text() {
    let fields = json!({"f:ports": {
        "k:{\"port\":443,\"protocol\":\"TCP\"}": {".": {}, "f:port": {}},
        "k:{\"port\":80,\"protocol\":\"TCP\"}": {".": {}, "f:port": {}},
        "x:later": {},
    }});
    let text = r#"{"f:ports":{"k:{\"port\":80,\"protocol\":\"TCP\"}":{".":{},"f:port":{}},"k:{\"port\":443,\"protocol\":\"TCP\"}":{".":{},"f:port":{}}}}"#;
    assert_eq!(Set::from_json(&fields).unwrap().to_json(), text);
}

#[test]
fn broken_sets_are_refused_and_never_panic() {
    for fields in [
        json!([]),
        json!({"f": {}}),
        json!({"é": {}}),
        json!({"fé": {}}),
        json!({"k:[]": {}}),
        json!({"k:{": {}}),
        json!({"v:": {}}),
        json!({"i:x": {}}),
        json!({"f:a": 1}),
    ] {
        assert!(Set::from_json(&fields).is_err(), "{fields}");
    }
}

/// Upstream's pod strategies for it name fields that are reset, and its storage does not ask them.
#[test]
fn a_resize_owns_whatever_it_sends() {
    let info = kinds::find_kind("v1", "Pod").unwrap();
    let pod = |image: &str, labels: Value| {
        object(
            json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"uid": "u", "labels": labels},
            "spec": {"containers": [{"name": "c", "image": image}]}}),
        )
    };
    let made = update(&Target::of(info, ""), None, pod("one", json!({})), writer("maker"));
    let target = Target::of(info, "resize");
    let resized = update(&target, Some(&made), pod("two", json!({"a": "b"})), writer("resizer"));
    let entries = &resized.at(&["metadata", "managedFields"]).unwrap();
    assert_eq!(entries[1]["subresource"], "resize");
    let container = json!({"k:{\"name\":\"c\"}": {"f:image": {}}});
    let fields =
        json!({"f:metadata": {"f:labels": {"f:a": {}}}, "f:spec": {"f:containers": container}});
    assert_eq!(entries[1]["fieldsV1"], fields);
}

#[test]
fn a_write_without_a_change_keeps_the_times() {
    let target = config_maps();
    let mut live = update(&target, None, config_map(json!({"a": "1"})), writer("one"));
    live.set(&["metadata", "uid"], "u".into());
    let later = Writer { now: "2031-01-01T00:00:00Z", ..writer("one") };
    let mut same = update(&target, Some(&live), live.clone(), later);
    keep_times(&mut same, &live);
    assert_eq!(same, live);

    for (path, value) in [
        (&["data", "a"][..], json!("2")),
        (&["data", "b"], json!("1")),
        (&["kind"], json!("ConfigMaq")),
        (&["metadata", "labels"], json!({"a": "b"})),
        (&["metadata", "managedFields"], json!([])),
    ] {
        let mut other = update(&target, Some(&live), live.clone(), later);
        other.set(path, value);
        let before = other.clone();
        keep_times(&mut other, &live);
        assert_eq!(other, before, "{path:?}");
    }
}

#[test]
fn the_manager_is_the_start_of_the_user_agent() {
    for (asked, agent, name) in [
        ("", "kubectl/v1.36.0 (linux/amd64)", "kubectl"),
        ("me", "kubectl/v1.36.0", "me"),
        ("", "a\tb\u{7f}c/1", "abc"),
        ("", "", ""),
    ] {
        assert_eq!(manager_name(asked, agent), name);
    }
    assert_eq!(manager_name("", &"é".repeat(100)).len(), 128);
}

#[test]
fn whoever_scales_owns_the_replicas_of_the_object() {
    let entry = |manager: &str, operation: &str, version: &str, fields: Value| {
        json!({"manager": manager, "operation": operation, "apiVersion": version,
               "fieldsType": "FieldsV1", "fieldsV1": fields})
    };
    let replicas = json!({"f:spec": {"f:replicas": {}}});
    let parent = json!([
        entry("a", "Apply", "apps/v1", json!({"f:spec": {"f:replicas": {}, "f:selector": {}}})),
        entry("b", "Update", "apps/v1", json!({"f:spec": {"f:paused": {}}})),
    ]);
    let path = ["spec", "replicas"];
    let of_scale = scale::to_scale(Some(&parent), &path).unwrap();
    assert_eq!(of_scale, [entry("a", "Apply", "autoscaling/v1", replicas.clone())]);

    let taken = json!([entry("c", "Update", "autoscaling/v1", replicas.clone())]);
    let after = scale::to_parent(Some(&parent), Some(&taken), "apps/v1", &path).unwrap();
    assert_eq!(
        after,
        [
            entry("a", "Apply", "apps/v1", json!({"f:spec": {"f:selector": {}}})),
            entry("b", "Update", "apps/v1", json!({"f:spec": {"f:paused": {}}})),
            entry("c", "Update", "apps/v1", replicas),
        ]
    );
}

fn element() -> impl Strategy<Value = PathElement> {
    prop_oneof![
        "[a-c]{1,2}".prop_map(PathElement::Field),
        (0..200_i64).prop_map(|port| PathElement::Key(vec![("port".to_owned(), port.into())])),
        "[a-c<\"é]{0,2}".prop_map(|text| PathElement::Value(text.into())),
        (0..20_i64).prop_map(PathElement::Index),
    ]
}

prop_compose! {
    pub(super) fn set()(paths in prop::collection::vec(prop::collection::vec(element(), 1..4), 0..8)) -> Set {
        let mut set = Set::default();
        for path in paths {
            set.insert(&path);
        }
        set
    }
}

pub(super) fn tree() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (0..3_i64).prop_map(Value::from),
        "[ab]{0,2}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::btree_map("[a-c]", inner, 0..3)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn a_set_reads_back_as_it_was_written(set in set()) {
        let read = Set::from_json(&serde_json::from_str(&set.to_json()).unwrap()).unwrap();
        prop_assert_eq!(read.paths(), set.paths());
        let tree: Value = serde_json::from_str(&set.to_json()).unwrap();
        prop_assert_eq!(set.to_tree(), tree);
    }

    #[test]
    fn sets_obey_the_laws_of_sets(left in set(), right in set()) {
        let both = left.intersection(&right);
        let rest = left.difference(&right);
        prop_assert_eq!(both.union(&rest).paths(), left.paths());
        prop_assert!(rest.intersection(&right).is_empty());
        prop_assert_eq!(left.union(&right).paths(), right.union(&left).paths());
        let changed = |change: &dyn Fn(&mut Set)| {
            let mut set = left.clone();
            change(&mut set);
            set
        };
        let (less, least) = (left.difference(&right), left.recursive_difference(&right));
        prop_assert_eq!(changed(&|set| set.subtract(&right, false)), less);
        prop_assert_eq!(changed(&|set| set.subtract(&right, true)), least);
        prop_assert_eq!(changed(&|set| set.absorb(right.clone())), left.union(&right));
        for path in left.recursive_difference(&right).paths() {
            prop_assert!((1..=path.len()).all(|length| !right.has(&path[..length])));
        }
    }

    #[test]
    fn walks_take_any_tree_of_any_type(live in tree(), config in tree(), set in set()) {
        let deployment = kinds::find_kind("apps/v1", "Deployment").unwrap();
        for node in [super::NodeType::Deduced, super::NodeType::Message(deployment.type_id())] {
            let wrapped = |value: &Value| json!({"spec": {"template": {"spec": {
                "containers": value, "nodeSelector": value}}}, "metadata": value});
            let pairs = [(live.clone(), config.clone()), (wrapped(&live), wrapped(&config))];
            for (live, config) in pairs {
                let _ = merge(&live, &config, &node);
                let fields = field_set(&live, &node);
                let _ = remove(&live, &fields, &node);
                let _ = extract(&live, &set, &node);
                prop_assert_eq!(super::compare(&live, &live, &node), super::Comparison::default());
            }
        }
    }

    #[test]
    fn applying_twice_changes_nothing(data in prop::collection::btree_map("[a-c]", "[xy]", 0..4)) {
        let target = config_maps();
        let config = config_map(json!(data));
        let once = apply(&target, None, &config, writer("one")).unwrap();
        let twice = apply(&target, Some(&once), &config, writer("one")).unwrap();
        prop_assert_eq!(once, twice);
    }
}
