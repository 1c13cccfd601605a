//! Reads the table of roles and bindings that every cluster starts with.
//!
//! The table is part of the binary, so a line that does not parse is a bug and panics at first use;
//! a test reads all of it.

use serde_json::{Map, Value, json};

use super::GROUP;
use crate::Object;

const TABLE: &str = include_str!("../tables/policy.txt");
/// All of them have this label.
pub const LABEL: (&str, &str) = ("kubernetes.io/bootstrapping", "rbac-defaults");
/// With this annotation set to `true`, what is missing is added again when a server starts.
pub const UPDATE: &str = "rbac.authorization.kubernetes.io/autoupdate";

/// The roles and bindings, in an order in which they can be created.
#[must_use]
pub fn policy() -> Vec<Object> {
    let mut objects: Vec<Object> = Vec::new();
    for line in TABLE.lines().filter(|line| !line.starts_with('#')) {
        match line.strip_prefix(' ') {
            None => objects.push(start(line)),
            Some(detail) => {
                let object = objects.last_mut().expect("a detail follows its object");
                add(object, detail);
            }
        }
    }
    objects
}

fn start(line: &str) -> Object {
    let mut words = line.split(' ');
    let (kind, name) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let mut object = Object::default();
    object.set_api_version_and_kind(&format!("{GROUP}/v1"), kind);
    match name.split_once('/') {
        Some((namespace, name)) => {
            object.set_namespace(namespace);
            object.set_name(name);
        }
        None => object.set_name(name),
    }
    object.set(&["metadata", "annotations"], json!({UPDATE: "true"}));
    object.set(&["metadata", "labels"], json!({LABEL.0: LABEL.1}));
    if kind.ends_with("Binding") {
        let (kind, name) = (words.next(), words.next());
        object.set(&["roleRef"], json!({"apiGroup": GROUP, "kind": kind, "name": name}));
        return object;
    }
    for (key, value) in words.filter_map(|word| word.split_once('=')) {
        object.set(&["metadata", "labels", key], value.into());
    }
    object.set(&["rules"], json!([]));
    object
}

fn add(object: &mut Object, detail: &str) {
    let words: Vec<&str> = detail.split(' ').collect();
    if let ["aggregates", label] = words.as_slice() {
        let (key, value) = label.split_once('=').unwrap_or((label, ""));
        let selector = json!({"matchLabels": {key: value}});
        // Its rules are those of the others, and nobody has put them together yet.
        object.set(&["rules"], Value::Null);
        push(object, &["aggregationRule", "clusterRoleSelectors"], selector);
        return;
    }
    if object.kind().ends_with("Binding") {
        push(object, &["subjects"], subject(&words));
        return;
    }
    let mut rule = Map::new();
    let mut set = |key: &str, text: &str| {
        let items: Vec<&str> = text.split(',').map(|item| item.trim_matches('"')).collect();
        rule.insert(key.to_owned(), json!(items));
    };
    match words.as_slice() {
        [verbs, "urls", urls] => {
            set("verbs", verbs);
            set("nonResourceURLs", urls);
        }
        [verbs, "on", groups, resources, names @ ..] if names.len() < 2 => {
            set("verbs", verbs);
            set("apiGroups", groups);
            set("resources", resources);
            if let [names] = names {
                set("resourceNames", names);
            }
        }
        _ => unreadable(detail),
    }
    push(object, &["rules"], Value::Object(rule));
}

fn subject(words: &[&str]) -> Value {
    match words {
        ["ServiceAccount", name] => {
            let (namespace, name) = name.split_once('/').unwrap_or(("", name));
            json!({"kind": "ServiceAccount", "name": name, "namespace": namespace})
        }
        [kind @ ("User" | "Group"), name] => {
            json!({"apiGroup": GROUP, "kind": kind, "name": name})
        }
        other => unreadable(&other.join(" ")),
    }
}

fn push(object: &mut Object, path: &[&str], item: Value) {
    let mut list = object.at(path).and_then(Value::as_array).cloned().unwrap_or_default();
    list.push(item);
    object.set(path, list.into());
}

#[expect(clippy::panic, reason = "the table is compiled in: a bad line cannot come from outside")]
fn unreadable(line: &str) -> ! {
    panic!("the policy table has a line that cannot be read: {line:?}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{kinds, validate};

    #[test]
    fn every_role_and_binding_is_a_good_object_of_its_kind() {
        let objects = policy();
        let find = |kind: &str, name: &str| {
            objects.iter().find(|one| one.kind() == kind && one.name() == name)
        };
        for object in &objects {
            let info = kinds::find_kind(object.api_version(), object.kind()).unwrap();
            assert_eq!(validate::create(info, object), vec![], "{}", object.name());
            let role = (object.text(&["roleRef", "kind"]), object.text(&["roleRef", "name"]));
            if info.kind.ends_with("Binding") {
                assert!(find(role.0, role.1).is_some(), "{} has no role", object.name());
            }
        }
        let admin = find("ClusterRole", "cluster-admin").unwrap();
        let rules: Vec<Value> =
            super::super::Rule::everything().iter().map(super::super::Rule::to_json).collect();
        assert_eq!(admin.at(&["rules"]), Some(&Value::Array(rules)));
        let view = find("ClusterRole", "view").unwrap();
        assert_eq!(view.at(&["rules"]), Some(&Value::Null));
        let reader = find("RoleBinding", "system::leader-locking-kube-scheduler").unwrap();
        assert_eq!(reader.namespace(), "kube-system");
    }
}
