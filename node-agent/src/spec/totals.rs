//! The resources of a whole pod, as its status names them.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, PodSpec, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use crate::quantity::milli;

type Amounts = BTreeMap<String, Quantity>;

/// Requests and limits of all containers together; init containers run before the others, so
/// the largest of them counts. `None`: nobody asks for anything.
pub(crate) fn totals(spec: &PodSpec) -> Option<ResourceRequirements> {
    let of = |requests: bool| -> Option<Amounts> {
        let part = |container: &Container| -> Amounts {
            let resources = container.resources.clone().unwrap_or_default();
            if requests { resources.requests } else { resources.limits }.unwrap_or_default()
        };
        let mut sum = Amounts::new();
        spec.containers.iter().for_each(|c| merge(&mut sum, &part(c), |a, b| a + b));
        let mut first = Amounts::new();
        let mut sidecars = Amounts::new();
        for container in spec.init_containers.iter().flatten() {
            let mut own = part(container);
            if container.restart_policy.as_deref() == Some("Always") {
                merge(&mut sum, &own, |a, b| a + b);
                merge(&mut sidecars, &own, |a, b| a + b);
                own.clone_from(&sidecars);
            } else {
                merge(&mut own, &sidecars, |a, b| a + b);
            }
            merge(&mut first, &own, i128::max);
        }
        merge(&mut sum, &first, i128::max);
        (!sum.is_empty()).then_some(sum)
    };
    let (requests, limits) = (of(true), of(false));
    (requests.is_some() || limits.is_some()).then_some(ResourceRequirements {
        requests,
        limits,
        claims: None,
    })
}

fn merge(into: &mut Amounts, from: &Amounts, combine: impl Fn(i128, i128) -> i128) {
    for (name, amount) in from {
        match into.get_mut(name) {
            None => {
                into.insert(name.clone(), amount.clone());
            }
            Some(known) => {
                let (Ok(a), Ok(b)) = (milli(&known.0), milli(&amount.0)) else { continue };
                known.0 = written(combine(a, b), known.0.ends_with('i'));
            }
        }
    }
}

/// An amount (in thousandths) with the largest suffix that keeps it exact.
fn written(thousandths: i128, is_binary: bool) -> String {
    if thousandths % 1000 != 0 {
        return format!("{thousandths}m");
    }
    let (base, suffixes) = if is_binary {
        (1024, ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"])
    } else {
        (1000, ["", "k", "M", "G", "T", "P", "E"])
    };
    let (mut value, mut power) = (thousandths / 1000, 0);
    while value != 0 && value % base == 0 && power + 1 < suffixes.len() {
        value /= base;
        power += 1;
    }
    format!("{value}{}", suffixes[power])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containers_add_up_init_containers_only_count_when_larger() {
        let spec: PodSpec = serde_json::from_value(serde_json::json!({
            "initContainers": [
                {"name": "i", "resources": {"requests": {"cpu": "1", "memory": "1Mi"}}},
                {"name": "s", "restartPolicy": "Always", "resources": {"requests": {"cpu": "50m"}}},
                {"name": "j", "resources": {"requests": {"cpu": "1100m"}}}],
            "containers": [
                {"name": "a", "resources": {"requests": {"cpu": "100m", "memory": "16Mi"},
                    "limits": {"memory": "512Mi"}}},
                {"name": "b", "resources": {"requests": {"cpu": "900m", "memory": "8Mi"},
                    "limits": {"memory": "512Mi", "cpu": "2"}}}]}))
        .unwrap();
        let totals = totals(&spec).unwrap();
        let value = serde_json::to_value(totals).unwrap();
        // 1100m of `j` with the sidecar beside it beats 100m + 900m + 50m.
        let want = serde_json::json!({
            "requests": {"cpu": "1150m", "memory": "24Mi"},
            "limits": {"memory": "1Gi", "cpu": "2"}});
        assert_eq!(value, want);
        let nothing = serde_json::json!({"containers": [{"name": "a"}]});
        assert_eq!(super::totals(&serde_json::from_value(nothing).unwrap()), None);
    }
}
