//! What decides about quotas: what objects cost together, and which changes are news.

use std::{collections::BTreeMap, sync::Arc};

use api_machinery::{
    Object,
    quota::{self, Amounts},
};
use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::{
        PersistentVolumeClaim, Pod, ResourceRequirements, Service, VolumeResourceRequirements,
    },
    apimachinery::pkg::api::resource::Quantity,
};
use serde_json::Value;

use crate::{object::is_terminal, protection::classes};

/// What the objects of one kind cost under the names of a quota; a name that nothing costs is
/// there with zero.
#[must_use]
pub(super) fn tally(
    spec: &Value,
    (group, resource): (&str, &str),
    objects: &[Object],
    now: Timestamp,
) -> Amounts {
    let names = spec["hard"].as_object().into_iter().flat_map(|hard| hard.keys());
    let names = names.filter(|name| quota::is_measured_by(group, resource, name));
    let zero = api_machinery::quantity::Quantity::units(0);
    let mut total: Amounts = names.map(|name| (name.clone(), zero)).collect();
    for object in objects {
        if quota::matches_scopes(spec, group, resource, object) {
            quota::add(&mut total, &quota::usage(group, resource, object, now));
        }
    }
    total.retain(|name, _| !spec["hard"][name].is_null());
    total
}

pub(super) fn has_scopes(spec: &Value) -> bool {
    let is_there = |list: &Value| list.as_array().is_some_and(|list| !list.is_empty());
    is_there(&spec["scopes"]) || is_there(&spec["scopeSelector"]["matchExpressions"])
}

/// True for an object that went, or costs something else than before. One that came was charged
/// when it was admitted.
pub fn differs<K, T: PartialEq>(
    price: fn(&K) -> T,
    before: Option<&Arc<K>>,
    after: Option<&Arc<K>>,
) -> bool {
    before.is_some_and(|before| Some(price(before)) != after.map(|after| price(after)))
}

/// What the price of a pod depends on.
pub fn of_pod(pod: &Pod) -> (bool, Option<i64>, Vec<Option<ResourceRequirements>>) {
    let (spec, status) = (pod.spec.as_ref(), pod.status.as_ref());
    let own = spec.into_iter().flat_map(|spec| {
        let init = spec.init_containers.iter().flatten();
        let all = spec.containers.iter().chain(init).map(|one| one.resources.clone());
        all.chain([spec.resources.clone()])
    });
    let given = status.into_iter().flat_map(|status| {
        let init = status.init_container_statuses.iter().flatten();
        let all = status.container_statuses.iter().flatten().chain(init);
        all.map(|one| one.resources.clone())
    });
    let deadline = spec.and_then(|spec| spec.active_deadline_seconds);
    (is_terminal(pod), deadline, own.chain(given).collect())
}

/// What the price of a service depends on.
pub fn of_service(service: &Service) -> (Option<String>, usize) {
    let spec = service.spec.as_ref();
    let ports = spec.and_then(|spec| spec.ports.as_ref()).map_or(0, Vec::len);
    (spec.and_then(|spec| spec.type_.clone()), ports)
}

/// What a claim asks for, was given, and the classes that it is of.
pub type ClaimPrice =
    (Option<VolumeResourceRequirements>, Option<BTreeMap<String, Quantity>>, Vec<String>);

/// What the price of a claim depends on.
#[must_use]
pub fn of_claim(claim: &PersistentVolumeClaim) -> ClaimPrice {
    let asked = claim.spec.as_ref().and_then(|spec| spec.resources.clone());
    let given = claim.status.as_ref().and_then(|status| status.allocated_resources.clone());
    (asked, given, classes::of_claim(claim))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_objects_in_scope_are_summed_and_names_without_any_are_zero() {
        let pod = |deadline: Value, cpu: &str| {
            let container = json!({"name": "c", "resources": {"requests": {"cpu": cpu}}});
            let spec = json!({"containers": [container], "activeDeadlineSeconds": deadline});
            Object::from_value(json!({"spec": spec})).unwrap()
        };
        let pods = [pod(json!(null), "1"), pod(json!(5), "500m"), pod(json!(5), "2")];
        let texts = |spec: Value| {
            let total = tally(&spec, ("", "pods"), &pods, Timestamp::now());
            let texts = total.iter().map(|(name, amount)| format!("{name}={amount}"));
            texts.collect::<Vec<_>>().join(" ")
        };
        let hard = json!({"requests.cpu": "9", "pods": "9", "limits.cpu": "9", "secrets": "9"});
        let all = json!({"hard": hard});
        assert_eq!(texts(all), "limits.cpu=0 pods=3 requests.cpu=3500m");
        let scoped = json!({"hard": hard, "scopes": ["Terminating"]});
        assert_eq!(texts(scoped), "limits.cpu=0 pods=2 requests.cpu=2500m");
    }

    #[test]
    fn the_price_of_a_pod_changes_with_its_end_its_deadline_and_its_resources() {
        let pod = |tree: Value| Arc::new(serde_json::from_value::<Pod>(tree).unwrap());
        let plain = pod(json!({"spec": {"containers": [{"name": "c"}]}}));
        let ready = pod(json!({"spec": {"containers": [{"name": "c"}]},
            "status": {"phase": "Running", "containerStatuses": []}}));
        assert!(!differs(of_pod, Some(&plain), Some(&ready)));
        assert!(!differs(of_pod, None, Some(&plain)), "admission charged it");
        assert!(differs(of_pod, Some(&plain), None));
        for changed in [
            json!({"spec": {"containers": [{"name": "c"}]}, "status": {"phase": "Failed"}}),
            json!({"spec": {"containers": [{"name": "c"}], "activeDeadlineSeconds": 1}}),
            json!({"spec": {"containers": [{"name": "c", "resources": {"limits": {"cpu": "1"}}}]}}),
        ] {
            assert!(differs(of_pod, Some(&plain), Some(&pod(changed.clone()))), "{changed}");
        }
    }
}
