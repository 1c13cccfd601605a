//! Amounts of resources: what a pod asks for, what a node has.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::{Container, Pod},
    apimachinery::pkg::api::resource::Quantity,
};

use crate::{limits, quantity};

/// CPU in millicores, everything else in whole units, by resource name.
pub type Amounts = BTreeMap<String, i64>;

/// Reads a resource list; what is not a quantity counts as nothing.
#[must_use]
pub fn amounts(list: Option<&BTreeMap<String, Quantity>>) -> Amounts {
    let value = |name: &str, quantity: &Quantity| {
        if name == "cpu" { quantity::milli(quantity) } else { quantity::whole(quantity) }
    };
    list.into_iter()
        .flatten()
        .filter_map(|(name, quantity)| Some((name.clone(), value(name, quantity)?)))
        .collect()
}

/// Adds `more` to `sum`.
pub fn add(sum: &mut Amounts, more: &Amounts) {
    for (name, amount) in more {
        let total = sum.entry(name.clone()).or_default();
        *total = total.saturating_add(*amount);
    }
}

/// Takes `less` from `sum`.
pub fn subtract(sum: &mut Amounts, less: &Amounts) {
    for (name, amount) in less {
        let total = sum.entry(name.clone()).or_default();
        *total = total.saturating_sub(*amount);
    }
}

fn raise(most: &mut Amounts, other: &Amounts) {
    for (name, amount) in other {
        let entry = most.entry(name.clone()).or_default();
        *entry = (*entry).max(*amount);
    }
}

fn request(container: &Container, scoring: bool) -> Amounts {
    let list = container.resources.as_ref().and_then(|resources| resources.requests.as_ref());
    let mut requests = amounts(list);
    if scoring {
        requests.entry("cpu".to_owned()).or_insert(limits::DEFAULT_CPU_MILLI);
        requests.entry("memory".to_owned()).or_insert(limits::DEFAULT_MEMORY_BYTES);
    }
    requests
}

/// What a pod asks for: its containers together, or its greatest init step if that is more; sidecars run beside
/// both; overhead on top; requests of the whole pod win. With `scoring`, containers that ask for nothing count
/// a little, so that they too are spread.
#[must_use]
pub fn requests(pod: &Pod, scoring: bool) -> Amounts {
    let Some(spec) = &pod.spec else { return Amounts::new() };
    let mut total = Amounts::new();
    for container in &spec.containers {
        add(&mut total, &request(container, scoring));
    }
    let (mut sidecars, mut init) = (Amounts::new(), Amounts::new());
    for container in spec.init_containers.iter().flatten() {
        let mut step = request(container, scoring);
        if container.restart_policy.as_deref() == Some("Always") {
            add(&mut sidecars, &step);
            step.clone_from(&sidecars);
        } else {
            add(&mut step, &sidecars);
        }
        raise(&mut init, &step);
    }
    add(&mut total, &sidecars);
    raise(&mut total, &init);
    let whole_pod = spec.resources.as_ref().and_then(|resources| resources.requests.as_ref());
    total.extend(amounts(whole_pod));
    add(&mut total, &amounts(spec.overhead.as_ref()));
    total
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn init_steps_and_sidecars_count_as_upstream_counts_them() {
        let container =
            |cpu: &str| serde_json::json!({"name": "c", "resources": {"requests": {"cpu": cpu}}});
        let mut sidecar = container("50m");
        sidecar["restartPolicy"] = "Always".into();
        let pod: Pod = serde_json::from_value(serde_json::json!({"spec": {
            "containers": [container("100m"), container("200m")],
            "initContainers": [sidecar, container("400m")],
            "overhead": {"cpu": "10m"},
        }}))
        .unwrap();
        assert_eq!(requests(&pod, false)["cpu"], 460, "init 400 + sidecar 50 + overhead 10");
        assert!(!requests(&pod, false).contains_key("memory"));
        assert!(requests(&pod, true)["memory"] > 0);
    }
}
