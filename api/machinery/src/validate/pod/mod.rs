//! Pods and pod templates.
//!
//! The rules are upstream's with the feature gates of 1.36 at their defaults. Privileged containers
//! are allowed, as in every cluster that runs its own networking.

mod affinity;
mod annotations;
mod claim_template;
mod container_resources;
mod containers;
mod environment;
mod handlers;
mod mounts;
mod network;
#[cfg(test)]
mod pod_test;
mod projected;
mod restart;
mod scheduling;
mod security;
mod status;
mod subresources;
mod update;
mod volume_sources;
mod volumes;
mod windows;

use std::collections::{BTreeSet, HashMap};

use serde_json::Value;

use super::{invalid_each, items, meta, names, one_of, text};
use crate::Object;
use crate::field::{Error, Path};

pub(super) use container_resources::overhead;
pub(super) use scheduling::tolerations;
pub(super) use status::status_update;
pub(super) use subresources::{ephemeral_containers_update, resize_update};
pub(super) use update::update;

/// What the check of one part must know of the whole pod.
struct Whole<'a> {
    spec: &'a Value,
    /// Null for a template.
    metadata: &'a Value,
    /// The volumes that are right in themselves.
    volumes: HashMap<&'a str, &'a Value>,
    /// The names of its resource claims.
    claims: BTreeSet<&'a str>,
}

impl<'a> Whole<'a> {
    fn new(spec: &'a Value, metadata: &'a Value) -> Self {
        let claims = container_resources::claim_names(spec);
        Self { spec, metadata, volumes: HashMap::new(), claims }
    }

    fn is_pod(&self) -> bool {
        !self.metadata.is_null()
    }

    fn os(&self) -> Option<&'a str> {
        given(self.spec, "os").map(|os| text(os, "name"))
    }

    fn has_host_users(&self) -> bool {
        self.spec["hostUsers"] != false
    }

    fn volume(&self, name: &str) -> Option<&'a Value> {
        self.volumes.get(name).copied()
    }
}

/// The path of the object itself, as upstream writes an empty one.
const WHOLE_OBJECT: &str = "[]";

/// A field that is there and not null.
fn given<'a>(value: &'a Value, key: &str) -> Option<&'a Value> {
    value.get(key).filter(|field| !field.is_null())
}

fn number(value: &Value, key: &str) -> i64 {
    value[key].as_i64().unwrap_or(0)
}

/// The problems of a name.
type NameRule = fn(&str) -> Vec<String>;

/// A text that is not empty must follow a name rule.
fn named(value: &Value, path: &Path, rule: (&str, NameRule), errors: &mut Vec<Error>) {
    let (field, problems) = rule;
    let name = text(value, field);
    if !name.is_empty() {
        invalid_each(&path.child(field), name, problems(name), errors);
    }
}

/// Every container of the spec with its path, in the order upstream visits them.
fn all_containers<'a>(spec: &'a Value, path: &Path) -> Vec<(&'a Value, Path)> {
    let mut out = Vec::new();
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        for (index, one) in items(spec, list).iter().enumerate() {
            out.push((one, path.child(list).index(index)));
        }
    }
    out
}

/// A new pod, but the metadata that every kind has.
pub(super) fn create(object: &Object, errors: &mut Vec<Error>) {
    metadata_and_spec(object, errors);
    let spec = object.at(&["spec"]).unwrap_or(&Value::Null);
    let path = Path::new("spec");
    if !items(spec, "ephemeralContainers").is_empty() {
        let why = "cannot be set on create";
        errors.push(Error::forbidden(&path.child("ephemeralContainers"), why));
    }
    if !text(spec, "nodeName").is_empty() && !items(spec, "schedulingGates").is_empty() {
        let why = "cannot be set until all schedulingGates have been cleared";
        errors.push(Error::forbidden(&path.child("nodeName"), why));
    }
    let annotations = object.at(&["metadata", "annotations"]).unwrap_or(&Value::Null);
    annotations::match_fields(annotations, spec, &path, errors);
}

/// What holds for a pod at every write of its spec.
fn metadata_and_spec(object: &Object, errors: &mut Vec<Error>) {
    let null = Value::Null;
    let (metadata, spec) =
        (object.at(&["metadata"]).unwrap_or(&null), object.at(&["spec"]).unwrap_or(&null));
    let path = Path::new("spec");
    let annotations_path = Path::new("metadata").child("annotations");
    annotations::annotations(&metadata["annotations"], spec, &annotations_path, errors);
    whole(&mut Whole::new(spec, metadata), &path, errors);
    if text(spec, "serviceAccountName").is_empty() {
        tokens_without_account(spec, &path, errors);
    }
    for list in ["containers", "initContainers"] {
        for (index, one) in items(spec, list).iter().enumerate() {
            containers::image_whitespace(one, &path.child(list).index(index), errors);
        }
    }
}

fn tokens_without_account(spec: &Value, path: &Path, errors: &mut Vec<Error>) {
    for (index, volume) in items(spec, "volumes").iter().enumerate() {
        let path = path.child("volumes").index(index).child("projected").child("sources");
        for (index, source) in items(&volume["projected"], "sources").iter().enumerate() {
            if given(source, "serviceAccountToken").is_some() {
                let why = "must not be specified when serviceAccountName is not set";
                let path = path.index(index).child("serviceAccountToken");
                errors.push(Error::forbidden(&path, why));
            }
        }
    }
}

/// The template of a `PodTemplate` or of a workload: its labels, annotations and spec.
pub(super) fn template(template: &Value, path: &Path, errors: &mut Vec<Error>) {
    // Upstream leaves `metadata` out of these paths.
    let metadata = &template["metadata"];
    meta::labels(&metadata["labels"], &path.child("labels"), errors);
    let annotations_path = path.child("annotations");
    meta::annotations(&metadata["annotations"], &annotations_path, errors);
    let (template_spec, spec_path) = (&template["spec"], path.child("spec"));
    annotations::annotations(&metadata["annotations"], template_spec, &annotations_path, errors);
    spec(template_spec, &spec_path, errors);
    annotations::match_fields(&metadata["annotations"], template_spec, &spec_path, errors);
    if !items(template_spec, "ephemeralContainers").is_empty() {
        let why = "ephemeral containers not allowed in pod template";
        errors.push(Error::forbidden(&spec_path.child("ephemeralContainers"), why));
    }
}

/// The spec of a template.
pub(super) fn spec(spec: &Value, path: &Path, errors: &mut Vec<Error>) {
    whole(&mut Whole::new(spec, &Value::Null), path, errors);
}

fn whole(whole: &mut Whole<'_>, path: &Path, errors: &mut Vec<Error>) {
    let spec = whole.spec;
    if given(spec, "terminationGracePeriodSeconds").is_none() {
        errors.push(Error::required(&path.child("terminationGracePeriodSeconds"), ""));
    }
    whole.volumes = volumes::volumes(whole, &path.child("volumes"), errors);
    scheduling::resource_claims(whole, &path.child("resourceClaims"), errors);
    containers::containers(whole, &path.child("containers"), errors);
    containers::init_containers(whole, &path.child("initContainers"), errors);
    containers::ephemeral_containers(whole, &path.child("ephemeralContainers"), errors);
    container_resources::of_pod(whole, &path.child("resources"), errors);
    network::host_network_ports(whole, &path.child("containers"), errors);
    let policies = ["Always", "OnFailure", "Never"];
    one_of(&path.child("restartPolicy"), text(spec, "restartPolicy"), &policies, true, errors);
    let policies = ["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"];
    one_of(&path.child("dnsPolicy"), text(spec, "dnsPolicy"), &policies, true, errors);
    meta::labels(&spec["nodeSelector"], &path.child("nodeSelector"), errors);
    security::of_pod(spec, &path.child("securityContext"), errors);
    affinity::affinity(&spec["affinity"], &path.child("affinity"), errors);
    network::dns_config(spec, &path.child("dnsConfig"), errors);
    scheduling::gates(spec, path, errors);
    scheduling::topology_spread(spec, &path.child("topologySpreadConstraints"), errors);
    windows::host_process(spec, path, errors);
    security::host_users(whole, path, errors);
    network::host_name_override(spec, path, errors);
    named(spec, path, ("serviceAccountName", names::subdomain_1123), errors);
    named(spec, path, ("nodeName", names::subdomain_1123), errors);
    if let Some(seconds) = spec["activeDeadlineSeconds"].as_i64()
        && !(1..=i64::from(i32::MAX)).contains(&seconds)
    {
        let why = "must be between 1 and 2147483647, inclusive";
        errors.push(Error::invalid(&path.child("activeDeadlineSeconds"), seconds, why));
    }
    named(spec, path, ("hostname", names::label_1123), errors);
    named(spec, path, ("subdomain", names::label_1123), errors);
    tolerations(items(spec, "tolerations"), &path.child("tolerations"), errors);
    network::host_aliases(spec, &path.child("hostAliases"), errors);
    named(spec, path, ("priorityClassName", names::subdomain_1123), errors);
    if let Some(class) = spec["runtimeClassName"].as_str() {
        let path = path.child("runtimeClassName");
        invalid_each(&path, class, names::subdomain_1123(class), errors);
    }
    if let Some(policy) = spec["preemptionPolicy"].as_str() {
        let allowed = ["PreemptLowerPriority", "Never"];
        one_of(&path.child("preemptionPolicy"), policy, &allowed, true, errors);
    }
    if let Some(overhead) = given(spec, "overhead") {
        self::overhead(overhead, &path.child("overhead"), errors);
    }
    windows::operating_system(spec, path, errors);
    environment::file_volumes(spec, path, errors);
}
