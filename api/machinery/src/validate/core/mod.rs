//! The core group but pods.

pub(super) mod address;
pub(super) mod claim;
mod data;
mod node;
mod quota;
pub(super) mod service;
mod service_addresses;
pub(super) mod shown;
pub(super) mod volume;
pub(super) mod volume_sources;

use serde_json::Value;

use super::{apps, endpoints, events, pod};
use crate::field::{Error, Path};
use crate::{Object, ResourceInfo};

pub(super) fn service_families(object: &Object, old: Option<&Object>) -> Vec<Error> {
    let mut errors = Vec::new();
    let spec = object.at(&["spec"]).unwrap_or(&Value::Null);
    service_addresses::cluster_ips(spec, old, &mut errors);
    errors
}

pub(super) fn create(info: &ResourceInfo, object: &Object, errors: &mut Vec<Error>) {
    match info.kind {
        "Pod" => pod::create(object, errors),
        "PodTemplate" => pod_template(object, errors),
        "ReplicationController" => apps::replication_controller(object, errors),
        "ConfigMap" => data::config_map(object, errors),
        "Secret" => data::secret(object, errors),
        "Service" => service::create(object, errors),
        "Node" => node::node(object, errors),
        "Namespace" => node::namespace(object, errors),
        "Event" => events::create(info, object, errors),
        "Endpoints" => endpoints::endpoints(object, errors),
        "LimitRange" => quota::limit_range(object, errors),
        "ResourceQuota" => quota::quota(object, errors),
        "PersistentVolume" => volume::volume(object, errors),
        "PersistentVolumeClaim" => claim::claim(object, None, errors),
        _ => {}
    }
}

pub(super) fn update(info: &ResourceInfo, new: &Object, old: &Object, errors: &mut Vec<Error>) {
    match info.kind {
        "Pod" => pod::update(new, old, errors),
        "PodTemplate" => pod_template(new, errors),
        "ReplicationController" => apps::replication_controller(new, errors),
        "ConfigMap" => data::config_map_update(new, old, errors),
        "Secret" => data::secret_update(new, old, errors),
        "Service" => service::service_update(new, old, errors),
        "Node" => node::node_update(new, old, errors),
        "Namespace" => node::namespace(new, errors),
        "Event" => events::update(info, new, old, errors),
        "Endpoints" => endpoints::endpoints_update(new, old, errors),
        "LimitRange" => quota::limit_range(new, errors),
        "ResourceQuota" => quota::quota_update(new, old, errors),
        "PersistentVolume" => volume::volume_update(new, old, errors),
        "PersistentVolumeClaim" => claim::claim_update(new, old, errors),
        _ => {}
    }
}

pub(super) fn status_update(
    info: &ResourceInfo,
    new: &Object,
    old: &Object,
    errors: &mut Vec<Error>,
) {
    match info.kind {
        "Pod" => pod::status_update(new, old, errors),
        "ReplicationController" => apps::replication_controller_status(new, old, errors),
        "Service" => service::service_status(new, old, errors),
        "Node" => node::node_status(new, old, errors),
        "Namespace" => node::namespace_status(new, errors),
        "ResourceQuota" => quota::quota_status(new, errors),
        "PersistentVolumeClaim" => claim::claim_status(new, errors),
        _ => {}
    }
}

fn pod_template(object: &Object, errors: &mut Vec<Error>) {
    let template = object.at(&["template"]).unwrap_or(&Value::Null);
    pod::template(template, &Path::new("template"), errors);
}

/// "field is immutable" when a path changed.
pub(super) fn unchanged(new: &Object, old: &Object, path: &[&str], errors: &mut Vec<Error>) {
    if new.at(path) != old.at(path) {
        let value = new.at(path).cloned().unwrap_or(Value::Null);
        errors.push(Error::invalid(&Path::new(&path.join(".")), value, "field is immutable"));
    }
}

#[cfg(test)]
#[path = "core_test.rs"]
mod tests;
