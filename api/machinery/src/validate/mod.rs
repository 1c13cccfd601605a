//! Whether an object may be stored: upstream's rules, field paths and texts.

mod admissionregistration;
mod apiregistration;
mod apps;
mod autoscaling;
mod batch;
mod certificates;
mod conditions;
mod coordination;
mod core;
mod endpoints;
mod events;
mod flowcontrol;
mod go_shape;
#[cfg(test)]
mod growth_test;
mod meta;
pub mod names;
mod networking;
mod node;
mod pod;
mod policy;
mod rbac;
mod resource;
mod scheduling;
mod selectors;
mod shown;
mod storage;

use std::collections::HashSet;
use std::hash::Hash;

use serde_json::Value;

use crate::custom::definition;
use crate::field::{Error, Path};
use crate::{Object, ResourceInfo, kinds};

/// Checks a new object, defaults applied. An empty list means that it is fine. `info` is the
/// version that was asked for, whose rules may be stricter; the object is in the one that is kept.
#[must_use]
pub fn create(info: &ResourceInfo, object: &Object) -> Vec<Error> {
    let mut errors = meta::create(info, object);
    let of_group = match info.group {
        "" => core::create,
        _ if info.is_custom() => return errors,
        "apps" => apps::create,
        "autoscaling" => autoscaling::create,
        "batch" => batch::create,
        "certificates.k8s.io" => certificates::create,
        "networking.k8s.io" => networking::create,
        "policy" => policy::create,
        "rbac.authorization.k8s.io" => rbac::create,
        "storage.k8s.io" => storage::create,
        "admissionregistration.k8s.io" => admissionregistration::create,
        "scheduling.k8s.io" => scheduling::create,
        "coordination.k8s.io" => coordination::create,
        "node.k8s.io" => node::create,
        "discovery.k8s.io" => endpoints::create_slice,
        "resource.k8s.io" => resource::create,
        "flowcontrol.apiserver.k8s.io" => flowcontrol::create,
        "events.k8s.io" => events::create,
        "apiregistration.k8s.io" => apiregistration::create,
        "apiextensions.k8s.io" => definition_create,
        _ => return errors,
    };
    of_group(info, object, &mut errors);
    errors
}

/// Checks an update of the main resource.
#[must_use]
pub fn update(info: &ResourceInfo, new: &Object, old: &Object) -> Vec<Error> {
    let mut errors = meta::update(info, new, old);
    let of_group = match info.group {
        "" => core::update,
        _ if info.is_custom() => return errors,
        "apps" => apps::update,
        "autoscaling" => autoscaling::update,
        "batch" => batch::update,
        "certificates.k8s.io" => certificates::update,
        "networking.k8s.io" => networking::update,
        "policy" => policy::update,
        "rbac.authorization.k8s.io" => rbac::update,
        "storage.k8s.io" => storage::update,
        "admissionregistration.k8s.io" => admissionregistration::update,
        "scheduling.k8s.io" => scheduling::update,
        "coordination.k8s.io" => coordination::update,
        "node.k8s.io" => node::update,
        "discovery.k8s.io" => endpoints::update_slice,
        "resource.k8s.io" => resource::update,
        "flowcontrol.apiserver.k8s.io" => flowcontrol::update,
        "events.k8s.io" => events::update,
        "apiregistration.k8s.io" => apiregistration::update,
        "apiextensions.k8s.io" => definition_update,
        _ => return errors,
    };
    of_group(info, new, old, &mut errors);
    errors
}

/// Checks an update through the subresource `status`.
#[must_use]
pub fn status_update(info: &ResourceInfo, new: &Object, old: &Object) -> Vec<Error> {
    let mut errors = meta::update(info, new, old);
    let of_group = match info.group {
        "" => core::status_update,
        _ if info.is_custom() => return errors,
        "apps" => apps::status_update,
        "autoscaling" => autoscaling::status_update,
        "batch" => batch::status_update,
        "certificates.k8s.io" => certificates::status_update,
        "networking.k8s.io" => networking::status_update,
        "policy" => policy::status_update,
        "storage.k8s.io" => storage::status_update,
        "admissionregistration.k8s.io" => admissionregistration::status_update,
        "resource.k8s.io" => resource::status_update,
        "flowcontrol.apiserver.k8s.io" => flowcontrol::status_update,
        "apiregistration.k8s.io" => apiregistration::status_update,
        "apiextensions.k8s.io" => definition_status_update,
        _ => return errors,
    };
    of_group(info, new, old, &mut errors);
    errors
}

/// A definition is checked as a whole, its name and the rest of its metadata included.
fn definition_create(_: &ResourceInfo, object: &Object, errors: &mut Vec<Error>) {
    *errors = definition::create(object);
}

fn definition_update(_: &ResourceInfo, new: &Object, old: &Object, errors: &mut Vec<Error>) {
    errors.extend(definition::update(new, old));
}

fn definition_status_update(_: &ResourceInfo, new: &Object, _: &Object, errors: &mut Vec<Error>) {
    errors.extend(definition::status_update(new));
}

/// Checks a decision about a certificate signing request (`approval`).
#[must_use]
pub fn approval_update(info: &ResourceInfo, new: &Object, old: &Object) -> Vec<Error> {
    let mut errors = meta::update(info, new, old);
    certificates::approval_update(new, old, &mut errors);
    errors
}

/// Checks a Scale that is written to a workload of this kind.
#[must_use]
pub fn scale(workload: &ResourceInfo, scale: &Object) -> Vec<Error> {
    let mut errors = meta::create(workload, scale);
    let replicas = scale.at(&["spec", "replicas"]).unwrap_or(&Value::Null);
    not_negative(&Path::new("spec").child("replicas"), replicas, &mut errors);
    errors
}

/// Checks an update of a pod through the subresource `ephemeralcontainers`.
#[must_use]
pub fn ephemeral_containers_update(new: &Object, old: &Object) -> Vec<Error> {
    of_pod(new, old, pod::ephemeral_containers_update)
}

/// Checks the addresses of a service and their families: what is looked at before the rest.
pub(crate) fn service_families(object: &Object, old: Option<&Object>) -> Vec<Error> {
    core::service_families(object, old)
}

/// Checks an update of a pod through the subresource `resize`.
#[must_use]
pub fn resize_update(new: &Object, old: &Object) -> Vec<Error> {
    of_pod(new, old, pod::resize_update)
}

fn of_pod(new: &Object, old: &Object, check: fn(&Object, &Object, &mut Vec<Error>)) -> Vec<Error> {
    let info = kinds::find("", "v1", "pods").expect("pods are a kind of their own");
    let mut errors = meta::update(info, new, old);
    check(new, old, &mut errors);
    errors
}

/// Checks labels, annotations, owners and finalizers of objects that are not in the table of kinds.
pub(crate) fn metadata(metadata: &Value, path: &Path, errors: &mut Vec<Error>) {
    meta::any(metadata, path, errors);
}

pub(crate) fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or("")
}

pub(crate) fn items<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key].as_array().map_or(&[], Vec::as_slice)
}

/// For each item of a list whether one before it has the same `key`, in one look at each.
pub(crate) fn repeated<'a, K: Hash + Eq>(
    list: &'a [Value],
    key: impl Fn(&'a Value) -> K,
) -> Vec<bool> {
    let mut seen = HashSet::new();
    list.iter().map(|one| !seen.insert(key(one))).collect()
}

/// Each problem becomes an "Invalid value".
fn invalid_each(path: &Path, value: &str, problems: Vec<String>, errors: &mut Vec<Error>) {
    errors.extend(problems.into_iter().map(|why| Error::invalid(path, value, why)));
}

/// A text that must be one of a few; `required` says what an empty one is.
fn one_of(path: &Path, value: &str, allowed: &[&str], required: bool, errors: &mut Vec<Error>) {
    if value.is_empty() && required {
        errors.push(Error::required(path, ""));
    } else if !allowed.contains(&value) && !value.is_empty() {
        errors.push(Error::not_supported(path, value, allowed));
    }
}

const NOT_NEGATIVE: &str = "must be greater than or equal to 0";

fn not_negative(path: &Path, value: &Value, errors: &mut Vec<Error>) {
    if let Some(number) = value.as_i64().filter(|number| *number < 0) {
        errors.push(Error::invalid(path, number, NOT_NEGATIVE));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn errors_of(value: Value) -> Vec<String> {
        let info = kinds::find_kind(
            value["apiVersion"].as_str().unwrap(),
            value["kind"].as_str().unwrap(),
        )
        .unwrap();
        let mut object = Object::from_value(value).unwrap();
        object.set_namespace("default");
        crate::defaults::apply(info, &mut object);
        create(info, &object).iter().map(ToString::to_string).collect()
    }

    fn deployment(spec: Value) -> Value {
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": spec})
    }

    #[test]
    fn a_leader_may_give_its_lease_back() {
        let lease = |spec: Value| json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "l"}, "spec": spec});
        let given_back = lease(json!({"holderIdentity": "", "leaseDurationSeconds": 1}));
        assert!(errors_of(given_back).is_empty());
        let told = errors_of(lease(json!({"leaseDurationSeconds": 0, "preferredHolder": "p"})));
        assert_eq!(
            told,
            [
                "spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0",
                "spec.preferredHolder: Forbidden: may only be specified if `strategy` is defined",
            ]
        );
    }

    #[test]
    fn common_mistakes_are_told_in_upstreams_words() {
        let container = json!({"name": "c", "image": "i"});
        let template =
            json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [container]}});
        for (object, want) in [
            (
                json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": []}}),
                vec!["spec.containers: Required value"],
            ),
            (
                json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"},
                    "spec": {"restartPolicy": "Sometimes", "containers": [{"name": "", "image": "i"}, {"name": "b"}]}}),
                vec![
                    "spec.containers[0].name: Required value",
                    "spec.containers[1].image: Required value",
                    "spec.restartPolicy: Unsupported value: \"Sometimes\": supported values: \"Always\", \"OnFailure\", \"Never\"",
                ],
            ),
            (
                deployment(
                    json!({"replicas": -1, "selector": {"matchLabels": {"a": "b"}}, "template": template}),
                ),
                vec!["spec.replicas: Invalid value: -1: must be greater than or equal to 0"],
            ),
            (
                deployment(json!({"selector": {"matchLabels": {"a": "x"}}, "template": template})),
                vec![
                    "spec.template.metadata.labels: Invalid value: {\"a\":\"b\"}: `selector` does not match template `labels`",
                ],
            ),
            (
                json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"a/b": ""}}),
                vec![
                    "data[a/b]: Invalid value: \"a/b\": a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')",
                ],
            ),
        ] {
            assert_eq!(errors_of(object), want);
        }
    }

    #[test]
    fn good_objects_pass() {
        let container = json!({"name": "c", "image": "i", "ports": [{"containerPort": 80}],
            "resources": {"limits": {"cpu": "1", "memory": "1Gi"}}});
        let template =
            json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [container]}});
        for object in [
            deployment(json!({"selector": {"matchLabels": {"a": "b"}}, "template": template})),
            json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"},
                "spec": {"ports": [{"port": 80}], "selector": {"a": "b"}}}),
        ] {
            assert_eq!(errors_of(object), Vec::<String>::new());
        }
    }

    #[test]
    fn bindings_and_endpoints_are_told_in_upstreams_words() {
        let group = "rbac.authorization.k8s.io";
        for (object, want) in [
            (
                json!({"apiVersion": format!("{group}/v1"), "kind": "RoleBinding",
                    "metadata": {"name": "system:a"},
                    "roleRef": {"kind": "Roll", "name": "a/b"},
                    "subjects": [{"kind": "User", "name": "ann"}, {"kind": "Robot", "name": "r"}]}),
                vec![
                    "roleRef.kind: Unsupported value: \"Roll\": supported values: \"Role\", \"ClusterRole\"",
                    "roleRef.name: Invalid value: \"a/b\": may not contain '/'",
                    "subjects[1].kind: Unsupported value: \"Robot\": supported values: \"ServiceAccount\", \"User\", \"Group\"",
                ],
            ),
            (
                json!({"apiVersion": format!("{group}/v1"), "kind": "Role", "metadata": {"name": "r"},
                    "rules": [{"verbs": [], "apiGroups": [""], "resources": ["pods"]},
                        {"verbs": ["get"], "nonResourceURLs": ["/x"]}]}),
                vec![
                    "rules[0].verbs: Required value: verbs must contain at least one value",
                    "rules[1].nonResourceURLs: Invalid value: [\"/x\"]: namespaced rules cannot apply to non-resource URLs",
                ],
            ),
            (
                json!({"apiVersion": "v1", "kind": "Endpoints", "metadata": {"name": "e"},
                    "subsets": [{"addresses": [{"ip": "127.0.0.1"}], "ports": [{"port": 80}]}, {}]}),
                vec![
                    "subsets[0].addresses[0].ip: Invalid value: \"127.0.0.1\": may not be in the loopback range (127.0.0.0/8, ::1/128)",
                    "subsets[1]: Required value: must specify `addresses` or `notReadyAddresses`",
                ],
            ),
            (
                json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
                    "metadata": {"name": "s"}, "addressType": "IPv4", "ports": [{"port": 80}, {}],
                    "endpoints": [{"addresses": []}, {"addresses": ["10.0.0.1", "2001:db8::1"]}]}),
                vec![
                    "ports[1].name: Duplicate value: \"\"",
                    "endpoints[0].addresses: Required value: must contain at least 1 address",
                    "endpoints[1].addresses: Invalid value: \"2001:db8::1\": must be an IPv4 address",
                ],
            ),
        ] {
            assert_eq!(errors_of(object), want);
        }
    }

    #[test]
    fn only_a_few_fields_of_a_pod_may_change() {
        let info = kinds::find("", "v1", "pods").unwrap();
        let mut old = Object::from_value(json!({"metadata": {"name": "p", "resourceVersion": "1"},
            "spec": {"containers": [{"name": "c", "image": "i"}], "nodeName": "n"}}))
        .unwrap();
        crate::defaults::apply(info, &mut old);
        let mut image = old.clone();
        image.0["spec"]["containers"][0]["image"] = "j".into();
        assert_eq!(update(info, &image, &old), vec![]);
        let mut moved = old.clone();
        moved.set(&["spec", "nodeName"], "other".into());
        let refused = update(info, &moved, &old);
        assert_eq!(refused.len(), 1);
        assert!(
            refused[0]
                .to_string()
                .starts_with("spec: Forbidden: pod updates may not change fields other than")
        );
    }
}
