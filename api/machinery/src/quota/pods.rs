//! Pods: what they ask for and what they may use, as the scheduler counts it.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::{Amounts, add, amounts, raise};
use crate::Object;
use crate::quantity::Quantity;
use crate::resource_names::{COMPUTE, HUGE_PAGES, is_extended, is_huge_page, is_native};

const REQUESTS: &str = "requests.";
const LIMITS: &str = "limits.";
const HUGE_PAGE_REQUESTS: &str = "requests.hugepages-";
const DEVICE_CLASS: &str = "deviceclass.resource.kubernetes.io/";
/// Resources whose requests have a name with a prefix and one without.
const NATIVE: [&str; 3] = ["cpu", "memory", "ephemeral-storage"];
/// What every container must say when a quota counts it (upstream's list, which stays as it is).
const MANDATORY: [&str; 6] =
    ["cpu", "memory", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory"];

pub(super) fn measures(name: &str) -> bool {
    let is_of_devices =
        name.strip_prefix(REQUESTS).is_some_and(|rest| rest.starts_with(DEVICE_CLASS));
    COMPUTE.contains(&name)
        || name == "pods"
        || name.starts_with(HUGE_PAGES)
        || name.starts_with(HUGE_PAGE_REQUESTS)
        || name.starts_with(REQUESTS) && (is_of_devices || !is_native(name))
}

/// Nothing for a pod that ended or is overdue.
pub(super) fn usage(pod: &Object, now: Timestamp) -> Amounts {
    if !is_charged(pod, now) {
        return Amounts::new();
    }
    let mut usage = named(&total(pod, Side::Requests), &total(pod, Side::Limits));
    usage.insert("pods".to_owned(), Quantity::units(1));
    usage
}

/// Requests and limits by the names that quotas have for them.
fn named(requests: &Amounts, limits: &Amounts) -> Amounts {
    let mut named = Amounts::new();
    for (name, amount) in requests {
        if NATIVE.contains(&name.as_str()) || is_huge_page(name) {
            named.insert(name.clone(), *amount);
            named.insert(format!("{REQUESTS}{name}"), *amount);
        } else if is_extended(name) || name.starts_with(DEVICE_CLASS) {
            named.insert(format!("{REQUESTS}{name}"), *amount);
        }
    }
    for name in NATIVE {
        if let Some(amount) = limits.get(name) {
            named.insert(format!("{LIMITS}{name}"), *amount);
        }
    }
    named
}

/// What a pod does not say although these names are counted, in upstream's words.
pub(super) fn missing(required: &[&str], pod: &Object) -> Option<String> {
    if has_own_resources(pod) {
        return None;
    }
    let mut missing: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for container in list(pod, "containers").chain(list(pod, "initContainers")) {
        let side = |side: Side| amounts(container["resources"].get(side.field()));
        let said = named(&side(Side::Requests), &side(Side::Limits));
        for name in required.iter().filter(|name| MANDATORY.contains(name)) {
            if !said.contains_key(*name) {
                let container = container["name"].as_str().unwrap_or_default();
                missing.entry(name).or_default().insert(container);
            }
        }
    }
    let each = |(name, of): (&&str, &BTreeSet<&str>)| {
        let containers: Vec<&str> = of.iter().copied().collect();
        format!("{name} for: {}", containers.join(","))
    };
    let all: Vec<String> = missing.iter().map(each).collect();
    (!all.is_empty()).then(|| format!("must specify {}", all.join("; ")))
}

/// W2: a node that is lost must not keep its pods' users from starting others.
fn is_charged(pod: &Object, now: Timestamp) -> bool {
    if matches!(pod.text(&["status", "phase"]), "Failed" | "Succeeded") {
        return false;
    }
    let going = pod.deletion_timestamp().and_then(|time| time.parse::<Timestamp>().ok());
    let (Some(going), Some(grace)) = (going, pod.deletion_grace_period_seconds()) else {
        return true;
    };
    let end = going.checked_add(SignedDuration::from_secs(grace));
    end.is_ok_and(|end| now <= end)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Requests,
    Limits,
}

impl Side {
    pub(super) fn field(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Limits => "limits",
        }
    }
}

fn list<'a>(pod: &'a Object, name: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    pod.at(&["spec", name]).and_then(Value::as_array).into_iter().flatten()
}

fn is_sidecar(container: &Value) -> bool {
    container["restartPolicy"] == "Always"
}

/// Whether amounts may be said for the pod as a whole.
fn is_of_whole_pods(name: &str) -> bool {
    matches!(name, "cpu" | "memory") || is_huge_page(name)
}

fn has_own_resources(pod: &Object) -> bool {
    [Side::Requests, Side::Limits].into_iter().any(|side| {
        let own = pod.at(&["spec", "resources", side.field()]).and_then(Value::as_object);
        own.is_some_and(|own| own.keys().any(|name| is_of_whole_pods(name)))
    })
}

/// What the specification alone says, without overhead: what limit ranges look at.
pub(super) fn specified(pod: &Object, side: Side) -> Amounts {
    let of = |container: &Value| amounts(container["resources"].get(side.field()));
    let mut total = together(pod, of, of);
    let whole = amounts(pod.at(&["spec", "resources", side.field()]));
    // Upstream's limit ranges do not know huge pages of whole pods.
    total.extend(whole.into_iter().filter(|(name, _)| matches!(name.as_str(), "cpu" | "memory")));
    total
}

/// With what a resize has given already; values of the whole pod win; overhead on top, for limits
/// only where there is one.
fn total(pod: &Object, side: Side) -> Amounts {
    let statuses = statuses(pod);
    let is_infeasible = is_resize_infeasible(pod);
    let step = |container: &Value| amounts(container["resources"].get(side.field()));
    let running = |container: &Value| {
        let status = statuses.get(container["name"].as_str().unwrap_or_default());
        match status.filter(|status| status["resources"].is_object()) {
            Some(status) => resized(step(container), status, side, is_infeasible),
            None => step(container),
        }
    };
    let mut total = together(pod, running, step);
    let whole = amounts(pod.at(&["spec", "resources", side.field()]));
    total.extend(whole.into_iter().filter(|(name, _)| is_of_whole_pods(name)));
    for (name, amount) in amounts(pod.at(&["spec", "overhead"])) {
        let held = total.get(&name).copied();
        if side == Side::Requests || held.is_some_and(|held| !held.is_zero()) {
            total.insert(name, held.map_or(amount, |held| held.plus(&amount)));
        }
    }
    total
}

/// The containers together, or the greatest init step if that is more; sidecars run beside both.
fn together(
    pod: &Object,
    running: impl Fn(&Value) -> Amounts,
    step: impl Fn(&Value) -> Amounts,
) -> Amounts {
    let mut total = Amounts::new();
    for container in list(pod, "containers") {
        add(&mut total, &running(container));
    }
    let (mut sidecars, mut init) = (Amounts::new(), Amounts::new());
    for container in list(pod, "initContainers") {
        if is_sidecar(container) {
            let amounts = running(container);
            add(&mut total, &amounts);
            add(&mut sidecars, &amounts);
            raise(&mut init, &sidecars);
        } else {
            let mut amounts = step(container);
            add(&mut amounts, &sidecars);
            raise(&mut init, &amounts);
        }
    }
    raise(&mut total, &init);
    total
}

fn statuses(pod: &Object) -> BTreeMap<&str, &Value> {
    let lists = ["containerStatuses", "initContainerStatuses"].into_iter();
    let all = lists.filter_map(|name| pod.at(&["status", name]).and_then(Value::as_array));
    all.flatten().filter_map(|status| Some((status["name"].as_str()?, status))).collect()
}

fn is_resize_infeasible(pod: &Object) -> bool {
    let conditions = pod.at(&["status", "conditions"]).and_then(Value::as_array);
    let pending = conditions.into_iter().flatten().find(|one| one["type"] == "PodResizePending");
    pending.is_some_and(|one| one["reason"] == "Infeasible")
}

/// A container under a resize costs the most of what it has and what it asks for.
fn resized(spec: Amounts, status: &Value, side: Side, is_infeasible: bool) -> Amounts {
    let mut most = if is_infeasible { Amounts::new() } else { spec };
    raise(&mut most, &amounts(status["resources"].get(side.field())));
    if side == Side::Requests {
        raise(&mut most, &amounts(status.get("allocatedResources")));
    }
    most
}
