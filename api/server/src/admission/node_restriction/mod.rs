//! NodeRestriction: a node agent writes only what is its own, and gives itself nothing by it.
//!
//! | Rule | What always holds |
//! |------|-------------------|
//! | R1 | Who is no node is not restricted here; a node that does not say which may do nothing. |
//! | R2 | A node makes only mirror pods of its own, which name nothing else in the API. |
//! | R3 | A node gets tokens only for pods that are bound to it, and for audiences that they name. |

mod chain;

use std::collections::{BTreeMap, BTreeSet};

use api_machinery::rbac::Action;
use api_machinery::status::Grouped;
use api_machinery::{Object, ResourceInfo, Status};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls_pki_types::CertificateSigningRequestDer;
use rustls_pki_types::pem::PemObject;
use serde_json::Value;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer;

use super::Operation;
use crate::authn::User;
use crate::authz;

pub(crate) use chain::admit;

const MIRROR: &str = "kubernetes.io/config.mirror";
const LEASES: &str = "kube-node-lease";
const SAME_NAME_LEASE: &str =
    "can only access node lease with the same name as the requesting node";
const SAME_NAME_CSI: &str = "can only access CSINode with the same name as the requesting node";
/// Labels that a node may give itself.
const LABELS: [&str; 11] = [
    "beta.kubernetes.io/arch",
    "beta.kubernetes.io/instance-type",
    "beta.kubernetes.io/os",
    "failure-domain.beta.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "kubernetes.io/arch",
    "kubernetes.io/hostname",
    "kubernetes.io/os",
    "node.kubernetes.io/instance-type",
    "topology.kubernetes.io/region",
    "topology.kubernetes.io/zone",
];
/// And the domains of labels that it may give itself.
const LABEL_DOMAINS: [&str; 2] = ["kubelet.kubernetes.io", "node.kubernetes.io"];
const RESTRICTED_DOMAIN: &str = "node-restriction.kubernetes.io";
/// Who serves the volumes that were in-tree once.
const DRIVERS: [(&str, &str); 7] = [
    ("awsElasticBlockStore", "ebs.csi.aws.com"),
    ("azureDisk", "disk.csi.azure.com"),
    ("azureFile", "file.csi.azure.com"),
    ("cinder", "cinder.csi.openstack.org"),
    ("gcePersistentDisk", "pd.csi.storage.gke.io"),
    ("portworxVolume", "pxd.portworx.com"),
    ("vsphereVolume", "csi.vsphere.vmware.com"),
];
/// Signers whose certificates speak for nodes.
const NODE_SIGNERS: [&str; 2] =
    ["kubernetes.io/kubelet-serving", "kubernetes.io/kube-apiserver-client-kubelet"];

fn word(operation: Operation) -> &'static str {
    match operation {
        Operation::Create => "CREATE",
        Operation::Update => "UPDATE",
        Operation::Delete => "DELETE",
    }
}

/// A write. For a subresource with a kind of its own (a token request, an eviction) `new` is of
/// that kind, and `kind` is the resource's.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Write<'a> {
    pub(crate) user: &'a User,
    pub(crate) operation: Operation,
    pub(crate) kind: &'static ResourceInfo,
    pub(crate) subresource: &'a str,
    pub(crate) namespace: &'a str,
    /// Of the request, or of the new object.
    pub(crate) name: &'a str,
    pub(crate) new: Option<&'a Object>,
    pub(crate) old: Option<&'a Object>,
}

/// What else has to be known.
#[derive(Clone, Copy)]
pub(crate) struct Knowledge<'a> {
    /// An object of a plural of the core group, or a CSI driver, by namespace and name.
    pub(crate) find: &'a dyn Fn(&str, &str, &str) -> Option<Object>,
    /// What the authorizers say about the user.
    pub(crate) may: &'a dyn Fn(&Action<'_>) -> bool,
}

/// Checks a write.
pub(crate) fn check(write: &Write<'_>, known: &Knowledge<'_>) -> Result<(), Status> {
    // R1.
    let Some(node) = authz::node_identity(write.user) else { return Ok(()) };
    if node.is_empty() {
        let name = &write.user.name;
        return write.refuse(format!("could not determine node from user {name:?}"));
    }
    let request = Request { write, known, node };
    match (write.kind.group, write.kind.plural, write.subresource) {
        ("", "pods", "") => request.pod(),
        ("", "pods", "status") => request.pod_status(),
        ("", "pods", "eviction") => request.eviction(),
        ("", "pods", other) => write.refuse(format!(
            "unexpected pod subresource {other:?}, only 'status' and 'eviction' are allowed"
        )),
        ("", "nodes", _) => request.node(),
        ("", "persistentvolumeclaims", "status") => request.claim_status(),
        ("", "persistentvolumeclaims", _) => write.refuse("may only update PVC status"),
        ("", "serviceaccounts", "token") if write.operation == Operation::Create => request.token(),
        ("certificates.k8s.io", "podcertificaterequests", _) => {
            write.refuse("PodCertificateRequest feature gate is disabled")
        }
        ("certificates.k8s.io", "certificatesigningrequests", _) => request.certificate(),
        ("coordination.k8s.io", "leases", _) => request.lease(),
        ("storage.k8s.io", "csinodes", _) => write.unless(write.name == node, SAME_NAME_CSI),
        ("resource.k8s.io", "resourceslices", _) => request.slice(),
        _ => Ok(()),
    }
}

impl Write<'_> {
    fn refuse(&self, why: impl AsRef<str>) -> Result<(), Status> {
        let generated = self.new.map_or("", Object::generate_name);
        let name = [self.name, generated, "Unknown"].into_iter().find(|name| !name.is_empty());
        let resource = self.kind.group_resource();
        Err(Status::forbidden(&resource, name.unwrap_or_default(), why.as_ref()))
    }

    fn unless(&self, is_fine: bool, why: impl AsRef<str>) -> Result<(), Status> {
        if is_fine { Ok(()) } else { self.refuse(why) }
    }
}

struct Request<'a> {
    write: &'a Write<'a>,
    known: &'a Knowledge<'a>,
    node: &'a str,
}

fn node_of(pod: &Object) -> &str {
    pod.text(&["spec", "nodeName"])
}

/// A field as it counts: what is empty is as good as missing.
fn counted<'a>(object: &'a Object, path: &[&str]) -> Option<&'a Value> {
    object.at(path).filter(|value| match value {
        Value::Null => false,
        Value::Array(items) => !items.is_empty(),
        Value::Object(members) => !members.is_empty(),
        Value::String(text) => !text.is_empty(),
        Value::Bool(_) | Value::Number(_) => true,
    })
}

impl Request<'_> {
    fn new_object(&self) -> Result<&Object, Status> {
        let missing = || Status::internal("admission: a write without its object");
        self.write.new.ok_or_else(missing)
    }

    fn old_object(&self) -> Result<&Object, Status> {
        let missing = || Status::internal("admission: a change without what it changes");
        self.write.old.ok_or_else(missing)
    }

    fn existing_pod(&self, name: &str) -> Result<Object, Status> {
        let found = (self.known.find)("pods", self.write.namespace, name);
        found.ok_or_else(|| Status::not_found(&Grouped::new("", "pod"), name))
    }

    fn pod(&self) -> Result<(), Status> {
        let (write, node) = (self.write, self.node);
        match write.operation {
            Operation::Create => self.new_pod(self.new_object()?),
            Operation::Delete => {
                let pod = self.existing_pod(write.name)?;
                let why =
                    format!("node {node:?} can only delete pods with spec.nodeName set to itself");
                write.unless(node_of(&pod) == node, why)
            }
            Operation::Update => write.refuse(format!(
                "unexpected operation {:?}, node {node:?} can only create and delete mirror pods",
                word(write.operation)
            )),
        }
    }

    /// R2.
    fn new_pod(&self, pod: &Object) -> Result<(), Status> {
        let (write, node) = (self.write, self.node);
        let why = format!(
            "pod does not have {MIRROR:?} annotation, node {node:?} can only create mirror pods"
        );
        write.unless(pod.annotations().contains_key(MIRROR), why)?;
        let why = format!("node {node:?} can only create pods with spec.nodeName set to itself");
        write.unless(node_of(pod) == node, why)?;
        let owners = pod.owner_references();
        let why = format!(
            "node {node:?} can only create pods with a single owner reference set to itself"
        );
        write.unless(owners.len() < 2, why)?;
        let why =
            format!("node {node:?} can only create pods with an owner reference set to itself");
        let is_own = |one: &&api_machinery::OwnerReference| {
            one.api_version == "v1" && one.kind == "Node" && one.name == node
        };
        let Some(owner) = owners.first().filter(is_own) else { return write.refuse(why) };
        let why = format!(
            "node {node:?} can only create pods with a controller owner reference set to itself"
        );
        write.unless(owner.controller == Some(true), why)?;
        let why = format!("node {node:?} must not set blockOwnerDeletion on an owner reference");
        write.unless(owner.block_owner_deletion != Some(true), why)?;
        let found = (self.known.find)("nodes", "", node);
        let found = found.ok_or_else(|| Status::not_found(&Grouped::new("", "node"), node))?;
        let why = format!("node {node} UID mismatch: expected {} got {}", owner.uid, found.uid());
        write.unless(owner.uid == found.uid(), why)?;
        match referenced(pod) {
            None => Ok(()),
            Some(what) => {
                write.refuse(format!("node {node:?} can not create pods that reference {what}"))
            }
        }
    }

    fn pod_status(&self) -> Result<(), Status> {
        let (write, node) = (self.write, self.node);
        if write.operation != Operation::Update {
            return write.refuse(format!("unexpected operation {:?}", word(write.operation)));
        }
        let (new, old) = (self.new_object()?, self.old_object()?);
        let why = format!(
            "node {node:?} can only update pod status for pods with spec.nodeName set to itself"
        );
        write.unless(node_of(old) == node, why)?;
        let why = format!("node {node:?} cannot update labels through pod status");
        write.unless(new.labels() == old.labels(), why)?;
        let same =
            |field: &str| counted(new, &["status", field]) == counted(old, &["status", field]);
        let why = format!("node {node:?} cannot update resource claim statues");
        write.unless(same("resourceClaimStatuses"), why)?;
        let why = format!("node {node:?} cannot update extended resource claim status");
        write.unless(same("extendedResourceClaimStatus"), why)
    }

    fn eviction(&self) -> Result<(), Status> {
        let (write, node) = (self.write, self.node);
        if write.operation != Operation::Create {
            return write.refuse(format!("unexpected operation {}", word(write.operation)));
        }
        let pod = self.existing_pod(write.name)?;
        let why = format!("node {node} can only evict pods with spec.nodeName set to itself");
        write.unless(node_of(&pod) == node, why)
    }

    fn claim_status(&self) -> Result<(), Status> {
        let (write, node) = (self.write, self.node);
        if write.operation != Operation::Update {
            return write.refuse(format!("unexpected operation {:?}", word(write.operation)));
        }
        let bare = |claim: &Object| {
            let mut claim = claim.clone();
            for field in ["resourceVersion", "managedFields"] {
                claim.remove(&["metadata", field]);
            }
            for field in
                ["capacity", "conditions", "allocatedResourceStatuses", "allocatedResources"]
            {
                claim.remove(&["status", field]);
            }
            claim
        };
        let why = format!(
            "node {node:?} is not allowed to update fields other than status.quantity and status.conditions"
        );
        write.unless(bare(self.new_object()?) == bare(self.old_object()?), why)
    }

    fn node(&self) -> Result<(), Status> {
        let (write, node) = (self.write, self.node);
        let why = format!("node {node:?} is not allowed to modify node {:?}", write.name);
        write.unless(write.name == node, why)?;
        match write.operation {
            Operation::Create => {
                let new = self.new_object()?;
                let why = format!(
                    "node {node:?} is not allowed to create pods with a non-nil configSource"
                );
                let source = new.at(&["spec", "configSource"]);
                write.unless(source.is_none_or(Value::is_null), why)?;
                let forbidden = forbidden_labels(&new.labels(), &BTreeMap::new());
                let why = format!(
                    "node {node:?} is not allowed to set the following labels: {forbidden}"
                );
                write.unless(forbidden.is_empty(), why)
            }
            Operation::Update => self.changed_node(),
            Operation::Delete => Ok(()),
        }
    }

    fn changed_node(&self) -> Result<(), Status> {
        let (write, node) = (self.write, self.node);
        let (new, old) = (self.new_object()?, self.old_object()?);
        let same = |path: &[&str]| counted(new, path) == counted(old, path);
        let source = ["spec", "configSource"];
        let why = format!(
            "node {node:?} is not allowed to update configSource to a new non-nil configSource"
        );
        write.unless(new.at(&source).is_none_or(Value::is_null) || same(&source), why)?;
        let why = format!("node {node:?} is not allowed to modify taints");
        write.unless(same(&["spec", "taints"]), why)?;
        let why = format!("node {node:?} is not allowed to modify ownerReferences");
        write.unless(same(&["metadata", "ownerReferences"]), why)?;
        let forbidden = forbidden_labels(&new.labels(), &old.labels());
        let why = format!("is not allowed to modify labels: {forbidden}");
        write.unless(forbidden.is_empty(), why)
    }

    /// R3.
    fn token(&self) -> Result<(), Status> {
        let (write, request) = (self.write, self.new_object()?);
        let bound = |key: &str| request.text(&["spec", "boundObjectRef", key]);
        let is_pod = bound("apiVersion") == "v1" && bound("kind") == "Pod";
        let names_pod = is_pod && !bound("name").is_empty();
        write.unless(names_pod, "node requested token not bound to a pod")?;
        let uid = bound("uid");
        let why = "node requested token with a pod binding without a uid";
        write.unless(!uid.is_empty(), why)?;
        let pod = self.existing_pod(bound("name"))?;
        let why = format!(
            "the UID in the bound object reference ({uid}) does not match the UID in record. The object might have been deleted and then recreated"
        );
        write.unless(uid == pod.uid(), why)?;
        let why = "node requested token bound to a pod scheduled on a different node";
        write.unless(node_of(&pod) == self.node, why)?;
        let audiences = request.at(&["spec", "audiences"]).and_then(Value::as_array);
        let audience = match audiences.map(Vec::as_slice).unwrap_or_default() {
            [] => "",
            [one] => one.as_str().unwrap_or_default(),
            _ => return write.refuse("node may only request 0 or 1 audiences"),
        };
        self.audience(&pod, audience)
    }

    fn audience(&self, pod: &Object, audience: &str) -> Result<(), Status> {
        let write = self.write;
        let mut trouble = Vec::new();
        for volume in list(pod.at(&["spec", "volumes"])) {
            match self.names_audience(pod, volume, audience) {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(why) => trouble.push(why),
            }
        }
        if !trouble.is_empty() {
            let why = match trouble.as_slice() {
                [one] => one.clone(),
                many => format!("[{}]", many.join(", ")),
            };
            return write.refuse(format!("error validating audience {audience:?}: {why}"));
        }
        let action = Action {
            verb: "request-serviceaccounts-token-audience",
            is_resource: true,
            resource: audience,
            namespace: write.namespace,
            name: write.name,
            ..Action::default()
        };
        let why = format!(
            "audience {audience:?} not found in pod spec volume, {} is not authorized to request tokens for this audience",
            write.user.name
        );
        write.unless((self.known.may)(&action), why)
    }

    /// Whether a volume of the pod, or the driver behind it, asks for tokens for the audience.
    fn names_audience(&self, pod: &Object, volume: &Value, audience: &str) -> Result<bool, String> {
        let is_it = |one: &Value| one["audience"].as_str().unwrap_or_default() == audience;
        let mut sources = list(volume.pointer("/projected/sources"))
            .filter_map(|source| source.get("serviceAccountToken"));
        if sources.any(is_it) {
            return Ok(true);
        }
        let claim = if volume["ephemeral"]["volumeClaimTemplate"].is_object() {
            let name = volume["name"].as_str().unwrap_or_default();
            Some(format!("{}-{name}", pod.name()))
        } else {
            let name = volume.pointer("/persistentVolumeClaim/claimName");
            name.and_then(Value::as_str).map(str::to_owned)
        };
        let driver = match claim {
            Some(claim) => self.driver_behind(pod.namespace(), &claim)?,
            None => driver_of(volume),
        };
        let Some(driver) = driver else { return Ok(false) };
        let found = (self.known.find)("csidrivers", "", &driver)
            .ok_or_else(|| format!("csidriver.storage.k8s.io {driver:?} not found"))?;
        Ok(list(found.at(&["spec", "tokenRequests"])).any(is_it))
    }

    fn driver_behind(&self, namespace: &str, claim: &str) -> Result<Option<String>, String> {
        let claim = (self.known.find)("persistentvolumeclaims", namespace, claim)
            .ok_or_else(|| format!("persistentvolumeclaim {claim:?} not found"))?;
        let name = claim.text(&["spec", "volumeName"]);
        let volume = (self.known.find)("persistentvolumes", "", name)
            .ok_or_else(|| format!("persistentvolume {name:?} not found"))?;
        Ok(volume.at(&["spec"]).and_then(driver_of))
    }

    fn lease(&self) -> Result<(), Status> {
        let write = self.write;
        let why = format!("can only access leases in the {LEASES:?} system namespace");
        write.unless(write.namespace == LEASES, why)?;
        write.unless(write.name == self.node, SAME_NAME_LEASE)
    }

    fn slice(&self) -> Result<(), Status> {
        let (word, slice) = match self.write.operation {
            Operation::Create => ("create", self.new_object()?),
            Operation::Delete => ("delete", self.old_object()?),
            Operation::Update => return Ok(()),
        };
        let why =
            format!("can only {word} ResourceSlice with the same NodeName as the requesting node");
        self.write.unless(node_of(slice) == self.node, why)
    }

    fn certificate(&self) -> Result<(), Status> {
        if self.write.operation != Operation::Create {
            return Ok(());
        }
        let request = self.new_object()?;
        if !NODE_SIGNERS.contains(&request.text(&["spec", "signerName"])) {
            return Ok(());
        }
        let Some(name) = common_name(request.text(&["spec", "request"])) else {
            return self
                .write
                .refuse("unable to parse csr: PEM block type must be CERTIFICATE REQUEST");
        };
        let wanted = format!("system:node:{}", self.node);
        let why = format!("can only create a node CSR with CN={wanted}");
        self.write.unless(name == wanted, why)
    }
}

/// The driver of a volume, also of the kinds that were in-tree once.
fn driver_of(volume: &Value) -> Option<String> {
    let driver = volume.pointer("/csi/driver").and_then(Value::as_str);
    let moved = || DRIVERS.iter().find(|(kind, _)| volume[*kind].is_object());
    let driver = driver.or_else(|| moved().map(|(_, driver)| *driver))?;
    (!driver.is_empty()).then(|| driver.to_owned())
}

fn list(value: Option<&Value>) -> impl Iterator<Item = &Value> {
    value.and_then(Value::as_array).into_iter().flatten()
}

/// The name that a certificate is asked for.
fn common_name(request: &str) -> Option<String> {
    let pem = STANDARD.decode(request).ok()?;
    let der = CertificateSigningRequestDer::from_pem_slice(&pem).ok()?;
    let (_, parsed) = X509CertificationRequest::from_der(&der).ok()?;
    let subject = &parsed.certification_request_info.subject;
    let name = subject.iter_common_name().last().and_then(|name| name.as_str().ok());
    Some(name.unwrap_or_default().to_owned())
}

/// Labels that differ and are not a node's to write, sorted, as one line.
fn forbidden_labels(new: &BTreeMap<String, String>, old: &BTreeMap<String, String>) -> String {
    let keys: BTreeSet<&String> = new.keys().chain(old.keys()).collect();
    let is_forbidden = |key: &&&String| new.get(**key) != old.get(**key) && !is_free_label(key);
    let found: Vec<&str> = keys.iter().filter(is_forbidden).map(|key| key.as_str()).collect();
    found.join(", ")
}

fn is_free_label(key: &str) -> bool {
    let domain = key.split_once('/').map_or("", |(domain, _)| domain);
    let below = |parent: &str| {
        domain == parent || domain.strip_suffix(parent).is_some_and(|sub| sub.ends_with('.'))
    };
    if below(RESTRICTED_DOMAIN) {
        return false;
    }
    let is_ours = below("kubernetes.io") || below("k8s.io");
    !is_ours || LABELS.contains(&key) || LABEL_DOMAINS.into_iter().any(below)
}

/// What else in the API a pod refers to, in the words of the refusal.
fn referenced(pod: &Object) -> Option<&'static str> {
    if !pod.text(&["spec", "serviceAccountName"]).is_empty() {
        return Some("serviceaccounts");
    }
    let is_named =
        |value: Option<&Value>| value.and_then(Value::as_str).is_some_and(|name| !name.is_empty());
    let containers = || {
        let lists = ["initContainers", "containers", "ephemeralContainers"];
        lists.into_iter().flat_map(|name| list(pod.at(&["spec", name])))
    };
    let volumes = || list(pod.at(&["spec", "volumes"]));
    let projected = || volumes().flat_map(|volume| list(volume.pointer("/projected/sources")));
    let from_containers = |all: &str, one: &str| {
        containers().any(|container| {
            list(container.get("envFrom")).any(|source| is_named(source.pointer(all)))
                || list(container.get("env")).any(|variable| is_named(variable.pointer(one)))
        })
    };
    let opened = ["azureFile/secretName", "secret/secretName", "csi/nodePublishSecretRef/name"];
    let with_secret = ["cephfs", "cinder", "flexVolume", "rbd", "scaleIO", "iscsi", "storageos"];
    let names_secret = |volume: &Value| {
        opened.iter().any(|path| is_named(volume.pointer(&format!("/{path}"))))
            || with_secret
                .iter()
                .any(|kind| is_named(volume.pointer(&format!("/{kind}/secretRef/name"))))
    };
    if list(pod.at(&["spec", "imagePullSecrets"])).any(|one| is_named(one.get("name")))
        || from_containers("/secretRef/name", "/valueFrom/secretKeyRef/name")
        || volumes().any(names_secret)
        || projected().any(|source| is_named(source.pointer("/secret/name")))
    {
        return Some("secrets");
    }
    if from_containers("/configMapRef/name", "/valueFrom/configMapKeyRef/name")
        || volumes().any(|volume| is_named(volume.pointer("/configMap/name")))
        || projected().any(|source| is_named(source.pointer("/configMap/name")))
    {
        return Some("configmaps");
    }
    if list(pod.at(&["spec", "resourceClaims"])).next().is_some() {
        return Some("resourceclaims");
    }
    volumes().find_map(referenced_by_volume)
}

fn referenced_by_volume(volume: &Value) -> Option<&'static str> {
    let kinds = [
        ("configMap", "configmaps (via configmap volumes)"),
        ("secret", "secrets (via secret volumes)"),
        ("csi", "csidrivers (via CSI volumes)"),
        ("glusterfs", "endpoints (via glusterFS volumes)"),
        ("persistentVolumeClaim", "persistentvolumeclaims"),
        ("ephemeral", "persistentvolumeclaims (via ephemeral volumes)"),
        ("azureFile", "secrets (via azureFile volumes)"),
    ];
    let projected = [
        ("configMap", "configmaps (via projected volumes)"),
        ("secret", "secrets (via projected volumes)"),
        ("serviceAccountToken", "serviceaccounts (via projected volumes)"),
        ("clusterTrustBundle", "clustertrustbundles"),
        ("podCertificate", "podcertificates"),
    ];
    let of = |value: &Value, kinds: &[(&str, &'static str)]| {
        kinds.iter().find(|(key, _)| value[*key].is_object()).map(|(_, what)| *what)
    };
    of(volume, &kinds).or_else(|| {
        list(volume.pointer("/projected/sources")).find_map(|source| of(source, &projected))
    })
}

#[cfg(test)]
mod tests;
