//! Requests, limits and claims: of a container, of a whole pod, and a pod's overhead.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use serde_json::{Map, Value};

use super::{Whole, given, invalid_each, items, names, text};
use crate::field::{Error, Path};
use crate::limits::{NAMES_SHOWN_MAX, PAIR_ERRORS_MAX};
use crate::quantity::Quantity;
pub(super) use crate::resource_names::quantity as read;
use crate::resource_names::{COUNTED, is_extended, is_huge_page, is_native, is_standard};
use crate::validate::NOT_NEGATIVE;

type NameRule = fn(&str, &Path, &mut Vec<Error>);

/// The names of the claims of a pod.
pub(super) fn claim_names(spec: &Value) -> BTreeSet<&str> {
    let names = items(spec, "resourceClaims").iter().map(|claim| text(claim, "name"));
    names.filter(|name| !name.is_empty()).collect()
}

pub(super) fn of_container(
    resources: &Value,
    claims: &BTreeSet<&str>,
    path: &Path,
    errors: &mut Vec<Error>,
) {
    requirements(resources, container_name, path, errors);
    self::claims(resources, claims, &path.child("claims"), errors);
}

pub(in crate::validate) fn overhead(overhead: &Value, path: &Path, errors: &mut Vec<Error>) {
    let limits = Value::Object(Map::from_iter([("limits".to_owned(), overhead.clone())]));
    requirements(&limits, container_name, path, errors);
}

pub(super) fn of_pod(whole: &Whole<'_>, path: &Path, errors: &mut Vec<Error>) {
    let Some(resources) = given(whole.spec, "resources") else { return };
    if whole.os() == Some("windows") {
        errors.push(Error::forbidden(path, "may not be set for a windows pod"));
        return;
    }
    if given(resources, "claims").is_some() {
        let why = "claims may not be set for Resources at pod-level";
        errors.push(Error::forbidden(&path.child("claims"), why));
    }
    requirements(resources, pod_name, path, errors);
    claims(resources, &whole.claims, &path.child("claims"), errors);
    consistent(whole.spec, resources, path, errors);
}

fn quantities<'a>(
    resources: &'a Value,
    list: &str,
) -> impl Iterator<Item = (&'a String, Quantity)> + use<'a> {
    let map = resources[list].as_object().into_iter().flatten();
    map.filter_map(|(name, value)| Some((name, read(value)?)))
}

/// Whether requests may be below the limits.
fn may_overcommit(name: &str) -> bool {
    is_native(name) && !is_huge_page(name)
}

/// Whether the name is wrong for any resource.
fn resource_name(name: &str, path: &Path, errors: &mut Vec<Error>) -> bool {
    let before = errors.len();
    invalid_each(path, name, names::qualified_name(name), errors);
    let is_standard =
        is_standard(name) || is_huge_page(name) || name.starts_with("requests.hugepages-");
    if errors.len() == before && !name.contains('/') && !is_standard {
        let why = "must be a standard resource type or fully qualified";
        errors.push(Error::invalid(path, name, why));
    }
    errors.len() > before
}

fn container_name(name: &str, path: &Path, errors: &mut Vec<Error>) {
    resource_name(name, path, errors);
    let is_standard = matches!(name, "cpu" | "memory" | "ephemeral-storage") || is_huge_page(name);
    if !name.contains('/') && !is_standard {
        errors.push(Error::invalid(path, name, "must be a standard resource for containers"));
    } else if !is_native(name) && !is_extended(name) {
        errors.push(Error::invalid(path, name, "doesn't follow extended resource name standard"));
    }
}

fn pod_name(name: &str, path: &Path, errors: &mut Vec<Error>) {
    if !resource_name(name, path, errors)
        && !matches!(name, "cpu" | "memory")
        && !is_huge_page(name)
    {
        errors.push(Error::not_supported(path, name, &["cpu", "hugepages-", "memory"]));
    }
}

/// One quantity: not negative, and whole for what comes in pieces.
pub(super) fn quantity(name: &str, quantity: Quantity, path: &Path, errors: &mut Vec<Error>) {
    if quantity.is_negative() {
        errors.push(Error::invalid(path, quantity.to_string(), NOT_NEGATIVE));
    }
    let comes_in_pieces = COUNTED.contains(&name) || is_extended(name);
    if comes_in_pieces && quantity.milli_value() % 1000 != 0 {
        errors.push(Error::invalid(path, quantity.to_string(), "must be an integer"));
    }
}

fn huge_pages(name: &str, quantity: Quantity, path: &Path, errors: &mut Vec<Error>) {
    let Some(size) = name.strip_prefix("hugepages-") else { return };
    let size = size
        .parse::<Quantity>()
        .ok()
        .filter(|size| !size.is_negative() && !size.is_zero() && size.milli_value() % 1000 == 0);
    if size.is_none_or(|size| quantity.value() % size.value() != 0) {
        let why = format!("{quantity} is not positive integer multiple of {name}");
        errors.push(Error::invalid(path, quantity.to_string(), why));
    }
}

fn requirements(resources: &Value, rule: NameRule, path: &Path, errors: &mut Vec<Error>) {
    let (limits_path, requests_path) = (path.child("limits"), path.child("requests"));
    let (mut has_compute, mut has_huge_pages) = (false, false);
    for (name, limit) in quantities(resources, "limits") {
        let path = limits_path.key(name);
        rule(name, &path, errors);
        quantity(name, limit, &path, errors);
        huge_pages(name, limit, &path, errors);
        has_huge_pages |= is_huge_page(name);
        has_compute |= matches!(name.as_str(), "cpu" | "memory");
    }
    for (name, request) in quantities(resources, "requests") {
        let path = requests_path.key(name);
        rule(name, &path, errors);
        quantity(name, request, &path, errors);
        match read(&resources["limits"][name]) {
            Some(limit) if request != limit && !may_overcommit(name) => {
                let why = format!("must be equal to {name} limit of {limit}");
                errors.push(Error::invalid(&requests_path, request.to_string(), why));
            }
            Some(limit) if request > limit => {
                let why = format!("must be less than or equal to {name} limit of {limit}");
                errors.push(Error::invalid(&requests_path, request.to_string(), why));
            }
            None if !may_overcommit(name) => {
                let why = "Limit must be set for non overcommitable resources";
                errors.push(Error::required(&limits_path, why));
            }
            _ => {}
        }
        huge_pages(name, request, &path, errors);
        has_huge_pages |= is_huge_page(name);
        has_compute |= matches!(name.as_str(), "cpu" | "memory");
    }
    if has_huge_pages && !has_compute {
        errors.push(Error::forbidden(path, "HugePages require cpu or memory"));
    }
}

/// The claims that a container uses are claims of the pod, each once.
fn claims(resources: &Value, of_pod: &BTreeSet<&str>, path: &Path, errors: &mut Vec<Error>) {
    let mut seen: HashSet<String> = HashSet::new();
    let (mut requests, mut told): (HashMap<&str, usize>, usize) = (HashMap::new(), 0);
    for (index, claim) in items(resources, "claims").iter().enumerate() {
        let path = path.index(index);
        let (name, request) = (text(claim, "name"), text(claim, "request"));
        if name.is_empty() {
            errors.push(Error::required(&path, ""));
            continue;
        }
        if seen.contains(name) {
            errors.push(Error::duplicate(&path, name));
        } else {
            let mut key = name.to_owned();
            if !request.is_empty() {
                let problems = names::label_1123(request);
                invalid_each(&path.child("request"), request, problems, errors);
                key = format!("{name}/{request}");
            }
            if seen.contains(&key) {
                errors.push(Error::duplicate(&path, key.as_str()));
            } else if request.is_empty() {
                let before = requests.get(name).copied().unwrap_or(0);
                for _ in 0..before.min(PAIR_ERRORS_MAX.saturating_sub(told)) {
                    errors.push(Error::duplicate(&path, name));
                    told += 1;
                }
            }
            if seen.insert(key) && !request.is_empty() {
                *requests.entry(name).or_default() += 1;
            }
        }
        if !of_pod.contains(name) {
            let mut error = Error::not_found(&path, name);
            error.detail = one_of_claims(of_pod);
            errors.push(error);
        }
    }
}

fn one_of_claims(of_pod: &BTreeSet<&str>) -> String {
    if of_pod.is_empty() {
        return "must be one of the names in pod.spec.resourceClaims which is empty".to_owned();
    }
    let shown: Vec<&str> = of_pod.iter().copied().take(NAMES_SHOWN_MAX).collect();
    format!("must be one of the names in pod.spec.resourceClaims: {}", shown.join(", "))
}

type Amounts = BTreeMap<String, Quantity>;

fn add(sum: &mut Amounts, one: &Amounts) {
    for (name, amount) in one {
        let total = sum.get(name).map_or(*amount, |sum| sum.plus(amount));
        sum.insert(name.clone(), total);
    }
}

/// What the containers of a pod need together: all that run side by side, or the init container
/// that needs most with the sidecars that were started before it.
pub(super) fn aggregate(spec: &Value, list: &str) -> Amounts {
    let of = |one: &Value| -> Amounts {
        quantities(&one["resources"], list).map(|(name, amount)| (name.clone(), amount)).collect()
    };
    let (mut sum, mut sidecars, mut most) = (Amounts::new(), Amounts::new(), Amounts::new());
    for one in items(spec, "containers") {
        add(&mut sum, &of(one));
    }
    for one in items(spec, "initContainers") {
        let mut needed = of(one);
        if one["restartPolicy"] == "Always" {
            add(&mut sum, &needed);
            add(&mut sidecars, &needed);
            needed = sidecars.clone();
        } else {
            add(&mut needed, &sidecars);
        }
        keep_most(&mut most, needed);
    }
    keep_most(&mut sum, most);
    sum
}

fn keep_most(most: &mut Amounts, one: Amounts) {
    for (name, amount) in one {
        if most.get(&name).is_none_or(|known| amount > *known) {
            most.insert(name, amount);
        }
    }
}

/// What a pod is given as a whole is enough for its containers.
fn consistent(spec: &Value, resources: &Value, path: &Path, errors: &mut Vec<Error>) {
    for list in ["requests", "limits"] {
        for (name, needed) in aggregate(spec, list) {
            let Some(of_pod) = read(&resources[list][&name]) else { continue };
            if needed > of_pod && (list == "requests" || is_huge_page(&name)) {
                let path = path.child(list).key(&name);
                let why = format!(
                    "must be greater than or equal to aggregate container {list} of {needed}"
                );
                errors.push(Error::invalid(&path, of_pod.to_string(), why));
            }
        }
    }
    for (index, one) in items(spec, "containers").iter().enumerate() {
        for (name, limit) in quantities(&one["resources"], "limits") {
            let Some(of_pod) = read(&resources["limits"][name]) else { continue };
            if limit > of_pod {
                // The path is upstream's.
                let path = path.child("containers").index(index).key(name).child("limits");
                let why = format!("must be less than or equal to pod limits of {of_pod}");
                errors.push(Error::invalid(&path, limit.to_string(), why));
            }
        }
    }
}
