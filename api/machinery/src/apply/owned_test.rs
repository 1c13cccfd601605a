//! A6: what is done to stored fields is what is done to sets, and the short ways lead where the
//! long ones do.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::apply_test::{set, tree};
use super::compare::compare;
use super::fields::reconcile;
use super::owned::Fields;
use super::target::Target;
use super::{NodeType, Set, field_set, new_object};
use crate::kinds;

fn deployment() -> NodeType {
    NodeType::Message(kinds::find_kind("apps/v1", "Deployment").unwrap().type_id())
}

/// What a comparison finds added or modified.
fn compared(empty: &Value, new: &Value, node: &NodeType) -> Set {
    let comparison = compare(empty, new, node);
    comparison.added.union(&comparison.modified)
}

fn check_new(target: &Target, new: &Value) {
    let empty = target.empty();
    let fields = new_object::fields(&empty.0, new.as_object().unwrap(), &target.node);
    let wanted = compared(&empty.into_value(), new, &target.node);
    let Some(fields) = fields else {
        let is_clear = matches!(&*target.kind, "ConfigMap" | "Deployment" | "Pod" | "Service");
        assert!(!is_clear, "there is nothing in a {} that is left to a set", target.kind);
        return;
    };
    assert_eq!(fields.to_set().paths(), wanted.paths(), "{new}");
    assert_eq!(fields.into_tree(), wanted.to_tree(), "{new}");
}

#[test]
fn what_real_objects_are_made_of_is_found_without_a_set() {
    for line in include_str!("golden.jsonl").lines() {
        let record: Value = serde_json::from_str(line).unwrap();
        let step = &record["step"];
        let [version, kind] = ["apiVersion", "kind"].map(|key| step[key].as_str().unwrap());
        let target = Target::of(kinds::find_kind(version, kind).unwrap(), "");
        for key in ["live", "new"] {
            let mut object = step[key].clone();
            if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
                metadata.remove("managedFields");
                check_new(&target, &object);
            }
        }
    }
}

#[test]
fn sets_that_are_written_in_another_way_are_read_and_written_anew() {
    for (fields, wanted) in [
        (json!({"f:a": {".": {}}}), json!({"f:a": {}})),
        (json!({".": {}, "f:a": {}}), json!({"f:a": {}})),
        (json!({"f:a": null}), json!({"f:a": {}})),
        (json!({"f:a": {".": {"f:b": {}}, "x:later": {}}}), json!({"f:a": {}})),
        (json!({"k:{\"b\":1,\"a\":\"x\"}": {}}), json!({"k:{\"a\":\"x\",\"b\":1}": {}})),
        (json!({"k:{\"a\": 1}": {}}), json!({"k:{\"a\":1}": {}})),
        (json!({"k:{\"a\":1.0}": {}}), json!({"k:{\"a\":1}": {}})),
        (json!({"v:1e2": {}}), json!({"v:100": {}})),
        (json!({"v:\"\\u0041\"": {}}), json!({"v:\"A\"": {}})),
        (json!({"v:\"<\"": {}}), json!({"v:\"\\u003c\"": {}})),
        (json!({"i:01": {}}), json!({"i:1": {}})),
    ] {
        let read = Fields::take(&mut fields.clone()).unwrap();
        assert_eq!(read.into_tree(), wanted, "{fields}");
        let kept = Fields::take(&mut wanted.clone()).unwrap();
        assert_eq!(kept.into_tree(), wanted);
    }
    let mut broken = json!({"f:a": {"k:{": {}}});
    let before = broken.clone();
    assert!(Fields::take(&mut broken).is_err());
    assert_eq!(broken, before, "an error shows it as it was");
}

/// Paths of a type, and some that it replaces as a whole.
fn typed_set() -> impl Strategy<Value = Set> {
    const NAMES: [&str; 7] =
        ["spec", "template", "nodeSelector", "containers", "selector", "matchLabels", "a"];
    let path = prop::collection::vec(prop::sample::select(&NAMES[..]), 1..5);
    let field = |name: &&str| super::PathElement::field(name);
    prop::collection::vec(path, 0..6).prop_map(move |paths| {
        let mut set = Set::default();
        for path in paths {
            set.insert(&path.iter().map(field).collect::<Vec<_>>());
        }
        set
    })
}

proptest! {
    #[test]
    fn stored_fields_change_as_sets_do(left in set(), right in set(), deep in any::<bool>()) {
        let fields = Fields::of(&left);
        let mut tree = left.to_tree();
        prop_assert_eq!(&Fields::take(&mut tree).unwrap(), &fields);
        prop_assert_eq!(tree, json!({}), "what stands as it should is taken as it is");
        let (mut less, mut more) = (fields.clone(), fields.clone());
        less.subtract(&right, deep);
        let mut wanted = left.clone();
        wanted.subtract(&right, deep);
        prop_assert_eq!(less.is_empty(), wanted.is_empty());
        prop_assert_eq!(less.into_tree(), wanted.to_tree());
        more.absorb(&right);
        prop_assert_eq!(more.into_tree(), left.union(&right).to_tree());
        let both = left.intersection(&right);
        prop_assert_eq!(fields.intersection(&right).paths(), both.paths());
        for path in left.paths().iter().chain(&right.paths()) {
            prop_assert_eq!(fields.has(path), left.has(path));
        }
        let within = right.paths().iter().all(|path| left.has(path));
        prop_assert_eq!(right.is_within(&left), within);
    }

    #[test]
    fn what_is_replaced_as_a_whole_is_seen_in_stored_fields(set in typed_set()) {
        let node = deployment();
        prop_assert_eq!(Fields::of(&set).has_atoms(&node), reconcile(&set, &node).is_some());
    }

    #[test]
    fn what_an_object_is_made_of_is_found_without_a_set(one in tree(), other in tree()) {
        let target = Target::of(kinds::find_kind("apps/v1", "Deployment").unwrap(), "");
        for new in [
            json!({"spec": {"template": {"spec": {"containers": one, "nodeSelector": other}}}}),
            json!({"metadata": {"labels": one, "finalizers": other}, "spec": {"selector": other}}),
            json!({"spec": one, "metadata": other, "status": one}),
            json!({"spec": {"template": {"spec": {"containers": [
                {"name": one, "env": [{"name": "a", "value": other}, {"name": "a"}],
                    "ports": [{"containerPort": 80, "protocol": one}, {"containerPort": 80}]},
                {"name": "<b>", "image": other},
            ]}}}}),
        ] {
            check_new(&target, &new);
        }
    }

    #[test]
    fn what_a_write_cannot_set_need_not_be_compared(one in tree(), other in tree()) {
        let info = kinds::find_kind("v1", "Pod").unwrap();
        for subresource in ["", "status", "resize"] {
            let target = Target::of(info, subresource);
            let of = |one: &Value, other: &Value| json!({"apiVersion": "v1", "kind": "Pod",
                "metadata": {"labels": one, "name": other}, "status": {"phase": other},
                "spec": {"nodeSelector": one, "containers": [{"name": "a", "resources": other}]}});
            let [old, new] = [of(&one, &other), of(&other, &one)];
            let fields = |tree: &Value| tree.as_object().unwrap().clone();
            let short = super::compare::compare_objects(&fields(&old), &fields(&new), &target);
            let long = compare(&old, &new, &target.node);
            for (short, long) in [
                (short.added, long.added),
                (short.modified, long.modified),
                (short.removed, long.removed),
            ] {
                let [short, long] = [short, long].map(|set| target.settable(set));
                prop_assert_eq!(short.paths(), long.paths());
            }
        }
    }

    #[test]
    fn who_gives_nothing_up_loses_nothing(live in tree(), config in tree(), last in tree()) {
        let target = Target::of(kinds::find_kind("apps/v1", "Deployment").unwrap(), "");
        let of = |value: &Value| json!({"metadata": {"name": "x", "labels": value},
            "spec": {"replicas": 1, "template": {"metadata": value, "spec": {
                "containers": [{"name": "a", "env": [{"name": value}]}], "nodeSelector": value}}}});
        let [live, config] = [of(&live), of(&config)];
        let Ok(Some(merged)) = super::merge(&live, &config, &target.node) else { return Ok(()) };
        let set = field_set(&config, &target.node);
        let last = field_set(&of(&last), &target.node).intersection(&set);
        prop_assert!(last.is_within(&set));
        let pruned = super::updater::pruned_for_test(&target, merged.clone(), &last, &set);
        prop_assert_eq!(pruned, merged);
    }
}

#[test]
fn an_empty_object_owns_nothing() {
    let target = Target::of(kinds::find_kind("v1", "ConfigMap").unwrap(), "");
    let empty = target.empty();
    let fields = new_object::fields(&empty.0, &empty.0, &target.node).unwrap();
    assert!(fields.is_empty());
    assert_eq!(fields.into_tree(), Value::Object(Map::new()));
}
