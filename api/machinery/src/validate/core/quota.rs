//! Limit ranges, resource quotas, and the names of resources.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use serde_json::{Value, json};

use super::shown::Shown;
use crate::Object;
use crate::field::{Error, ErrorKind, Path};
use crate::limits::WHOLE_LIST_ERRORS_MAX;
use crate::quantity::Quantity;
pub(super) use crate::resource_names::quantity;
use crate::resource_names::{self, COUNTED, is_extended, is_huge_page, is_native};
use crate::validate::{invalid_each, items, names, text};

const NOT_NEGATIVE: &str = "must be greater than or equal to 0";

const COMPUTED: [&str; 6] =
    ["cpu", "memory", "limits.cpu", "limits.memory", "requests.cpu", "requests.memory"];

fn is_quota_huge_page(name: &str) -> bool {
    is_huge_page(name) || name.starts_with("requests.hugepages-")
}

fn is_standard(name: &str) -> bool {
    resource_names::is_standard(name) || is_quota_huge_page(name)
}

fn is_standard_for_quota(name: &str) -> bool {
    is_standard(name) && name != "storage"
}

/// An amount of a resource: not negative, and whole when the resource is counted.
pub(super) fn amount(name: &str, value: &Value, path: &Path, errors: &mut Vec<Error>) {
    let Some(quantity) = quantity(value) else { return };
    if quantity.is_negative() {
        errors.push(Error::invalid(path, quantity.to_string(), NOT_NEGATIVE));
    }
    let is_counted = COUNTED.contains(&name) || is_extended(name);
    if is_counted && quantity.milli_value() % 1000 != 0 {
        errors.push(Error::invalid(path, quantity.to_string(), "must be an integer"));
    }
}

/// Whether the name is one; tells what is wrong with it otherwise.
fn resource_name(name: &str, path: &Path, errors: &mut Vec<Error>) {
    let problems = names::qualified_name(name);
    if problems.is_empty() && !name.contains('/') && !is_standard(name) {
        let why = "must be a standard resource type or fully qualified";
        errors.push(Error::invalid(path, name, why));
    }
    invalid_each(path, name, problems, errors);
}

fn container_resource_name(name: &str, path: &Path, errors: &mut Vec<Error>) {
    resource_name(name, path, errors);
    let is_known = matches!(name, "cpu" | "memory" | "ephemeral-storage") || is_huge_page(name);
    if !name.contains('/') && !is_known {
        let why = "must be a standard resource for containers";
        errors.push(Error::invalid(path, name, why));
    } else if !is_native(name) && !is_extended(name) {
        let why = "doesn't follow extended resource name standard";
        errors.push(Error::invalid(path, name, why));
    }
}

fn amounts(map: &Value, path: &Path, errors: &mut Vec<Error>) {
    for (name, value) in map.as_object().into_iter().flatten() {
        let path = path.key(name);
        resource_name(name, &path, errors);
        if !name.contains('/') && !is_standard_for_quota(name) {
            let why = "must be a standard resource for quota";
            errors.push(Error::invalid(&path, name.as_str(), why));
        }
        amount(name, value, &path, errors);
    }
}

pub(super) fn quota(object: &Object, errors: &mut Vec<Error>) {
    quota_spec(object, errors);
    quota_status(object, errors);
}

pub(super) fn quota_status(object: &Object, errors: &mut Vec<Error>) {
    for field in ["hard", "used"] {
        let map = object.at(&["status", field]).unwrap_or(&Value::Null);
        amounts(map, &Path::new("status").child(field), errors);
    }
}

pub(super) fn quota_update(new: &Object, old: &Object, errors: &mut Vec<Error>) {
    quota_spec(new, errors);
    let scopes = |object: &Object| -> BTreeSet<String> {
        let list = object.at(&["spec", "scopes"]).and_then(Value::as_array);
        list.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    if scopes(new) != scopes(old) {
        let shown = new.at(&["spec", "scopes"]).cloned().unwrap_or_default();
        let path = Path::new("spec").child("scopes");
        errors.push(Error::invalid(&path, shown, "field is immutable"));
    }
}

fn quota_spec(object: &Object, errors: &mut Vec<Error>) {
    let spec = object.at(&["spec"]).unwrap_or(&Value::Null);
    amounts(&spec["hard"], &Path::new("spec").child("hard"), errors);
    scopes(spec, errors);
    scope_selector(spec, errors);
}

const EXISTENCE_SCOPES: [&str; 5] =
    ["Terminating", "NotTerminating", "BestEffort", "NotBestEffort", "CrossNamespacePodAffinity"];

fn is_scope(scope: &str) -> bool {
    EXISTENCE_SCOPES.contains(&scope) || matches!(scope, "PriorityClass" | "VolumeAttributesClass")
}

/// [`out_of_scope`] of each scope, looked for once; only so many of them are told in all.
struct OutOfScope<'a> {
    spec: &'a Value,
    known: BTreeMap<&'a str, usize>,
    left: usize,
}

impl<'a> OutOfScope<'a> {
    fn of(spec: &'a Value) -> Self {
        Self { spec, known: BTreeMap::new(), left: WHOLE_LIST_ERRORS_MAX }
    }

    fn next(&mut self, scope: &'a str) -> usize {
        if !is_scope(scope) {
            return 0;
        }
        let spec = self.spec;
        let count = *self.known.entry(scope).or_insert_with(|| out_of_scope(spec, scope));
        let told = count.min(self.left);
        self.left -= told;
        told
    }
}

/// How many of the limits are of resources that the scope says nothing about.
fn out_of_scope(spec: &Value, scope: &str) -> usize {
    let hard = spec["hard"].as_object();
    let names = hard.into_iter().flat_map(|map| map.keys()).map(String::as_str);
    let is_out = |name: &&str| {
        is_standard_for_quota(name)
            && match scope {
                "BestEffort" => *name != "pods",
                "VolumeAttributesClass" => {
                    !matches!(*name, "persistentvolumeclaims" | "requests.storage")
                }
                _ => is_scope(scope) && *name != "pods" && !COMPUTED.contains(name),
            }
    };
    names.filter(is_out).count()
}

fn conflicting(spec: &Value, scopes: &[&str], path: &Path, errors: &mut Vec<Error>) {
    for pair in [["BestEffort", "NotBestEffort"], ["Terminating", "NotTerminating"]] {
        if pair.iter().all(|scope| scopes.contains(scope)) {
            errors.push(Error::invalid(path, spec["scopes"].clone(), "conflicting scopes"));
        }
    }
}

fn scopes(spec: &Value, errors: &mut Vec<Error>) {
    let path = Path::new("spec").child("scopes");
    let scopes: Vec<&str> = items(spec, "scopes").iter().filter_map(Value::as_str).collect();
    let mut out = OutOfScope::of(spec);
    let mut unsupported = 0;
    for scope in &scopes {
        if !is_scope(scope) && unsupported < WHOLE_LIST_ERRORS_MAX {
            unsupported += 1;
            errors.push(Error::invalid(&path, spec["scopes"].clone(), "unsupported scope"));
        }
        for _ in 0..out.next(scope) {
            let why = "unsupported scope applied to resource";
            errors.push(Error::invalid(&path, spec["scopes"].clone(), why));
        }
    }
    conflicting(spec, &scopes, &path, errors);
}

fn scope_selector(spec: &Value, errors: &mut Vec<Error>) {
    let selector = &spec["scopeSelector"];
    let path = Path::new("spec").child("scopeSelector").child("matchExpressions");
    let mut scopes = Vec::new();
    let mut out = OutOfScope::of(spec);
    for one in items(selector, "matchExpressions") {
        let (scope, operator) = (text(one, "scopeName"), text(one, "operator"));
        scopes.push(scope);
        if !is_scope(scope) {
            errors.push(Error::invalid(&path.child("scopeName"), scope, "unsupported scope"));
        }
        for _ in 0..out.next(scope) {
            let why = "unsupported scope applied to resource";
            errors.push(shown_selector(selector).error(ErrorKind::Invalid, &path, why));
        }
        if EXISTENCE_SCOPES.contains(&scope) && operator != "Exists" {
            let why = "must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity";
            errors.push(Error::invalid(&path.child("operator"), operator, why));
        }
        let has_values = !items(one, "values").is_empty();
        match operator {
            "In" | "NotIn" if !has_values => {
                let why = "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector";
                errors.push(Error::required(&path.child("values"), why));
            }
            "Exists" | "DoesNotExist" if has_values => {
                let why = "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector";
                errors.push(Error::invalid(&path.child("values"), one["values"].clone(), why));
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            _ => {
                let why = "not a valid selector operator";
                errors.push(Error::invalid(&path.child("operator"), operator, why));
            }
        }
    }
    conflicting(spec, &scopes, &path, errors);
}

fn shown_selector(selector: &Value) -> Shown {
    let names = [("ScopeName", "scopeName"), ("Operator", "operator"), ("Values", "values")];
    let each: Vec<String> = items(selector, "matchExpressions")
        .iter()
        .map(|one| Shown::members(one, &names).compact())
        .collect();
    let list = format!("[{}]", each.join(","));
    Shown::Fields(vec![("MatchExpressions", Shown::Text(list))])
}

const LIMIT_FIELDS: [&str; 5] = ["max", "min", "default", "defaultRequest", "maxLimitRequestRatio"];

pub(super) fn limit_range(object: &Object, errors: &mut Vec<Error>) {
    let spec = object.at(&["spec"]).unwrap_or(&Value::Null);
    let mut seen = HashSet::new();
    for (index, limit) in items(spec, "limits").iter().enumerate() {
        let path = Path::new("spec").child("limits").index(index);
        let kind = text(limit, "type");
        let problems = names::qualified_name(kind);
        let is_known = matches!(kind, "Pod" | "Container" | "PersistentVolumeClaim");
        if problems.is_empty() && !kind.contains('/') && !is_known {
            let why = "must be a standard limit type or fully qualified";
            errors.push(Error::invalid(&path.child("type"), kind, why));
        }
        invalid_each(&path.child("type"), kind, problems, errors);
        if seen.contains(&kind) {
            errors.push(Error::duplicate(&path.child("type"), kind));
        }
        seen.insert(kind);
        limit_names(limit, kind, &path, errors);
        let keys: BTreeSet<&str> = LIMIT_FIELDS
            .iter()
            .filter(|field| kind != "Pod" || !field.starts_with("default"))
            .filter_map(|field| limit[field].as_object())
            .flat_map(|map| map.keys().map(String::as_str))
            .collect();
        for key in keys {
            Bounds::of(limit, key, kind).check(key, &path, errors);
        }
    }
}

fn limit_names(limit: &Value, kind: &str, path: &Path, errors: &mut Vec<Error>) {
    let check = |field: &str, errors: &mut Vec<Error>| {
        for name in limit[field].as_object().into_iter().flat_map(|map| map.keys()) {
            let path = path.child(field).key(name);
            match kind {
                "Pod" | "Container" => container_resource_name(name, &path, errors),
                _ => resource_name(name, &path, errors),
            }
        }
    };
    check("max", errors);
    check("min", errors);
    for field in ["default", "defaultRequest"] {
        if kind != "Pod" {
            check(field, errors);
        } else if limit[field].as_object().is_some_and(|map| !map.is_empty()) {
            let why = "may not be specified when `type` is 'Pod'";
            errors.push(Error::forbidden(&path.child(field), why));
        }
    }
    let has_storage = |field: &str| !limit[field]["storage"].is_null();
    if kind == "PersistentVolumeClaim" && !has_storage("min") && !has_storage("max") {
        let why = "either minimum or maximum storage value is required, but neither was provided";
        errors.push(Error::required(&path.child("limits"), why));
    }
    check("maxLimitRequestRatio", errors);
}

/// The bounds of one resource.
struct Bounds {
    min: Option<Quantity>,
    max: Option<Quantity>,
    default: Option<Quantity>,
    request: Option<Quantity>,
    ratio: Option<Quantity>,
}

impl Bounds {
    fn of(limit: &Value, key: &str, kind: &str) -> Self {
        let get = |field: &str| quantity(&limit[field][key]);
        let has_defaults = kind != "Pod";
        Self {
            min: get("min"),
            max: get("max"),
            default: get("default").filter(|_| has_defaults),
            request: get("defaultRequest").filter(|_| has_defaults),
            ratio: get("maxLimitRequestRatio"),
        }
    }

    fn check(&self, key: &str, path: &Path, errors: &mut Vec<Error>) {
        let Self { min, max, default, request, ratio } = self;
        // (low, its name, high, its name, where, whether the low one is shown)
        for (low, low_name, high, high_name, field, shows_low) in [
            (min, "min", max, "max", "min", true),
            (min, "min", request, "default request", "defaultRequest", false),
            (request, "default request", max, "max", "defaultRequest", true),
            (request, "default request", default, "default limit", "defaultRequest", true),
            (min, "min", default, "default", "default", true),
            (default, "default", max, "max", "default", false),
        ] {
            if let (Some(low), Some(high)) = (low, high)
                && low > high
            {
                let shown = if shows_low { low } else { high }.to_string();
                let why =
                    format!("{low_name} value {low} is greater than {high_name} value {high}");
                errors.push(Error::invalid(&path.child(field).key(key), shown, why));
            }
        }
        if let Some(ratio) = ratio {
            self.ratio(*ratio, &path.child("maxLimitRequestRatio").key(key), errors);
        }
        let may_overcommit = is_native(key) && !is_huge_page(key);
        if let (Some(default), Some(request)) = (default, request)
            && !may_overcommit
            && default != request
        {
            let why = format!(
                "default value {default} must equal to defaultRequest value {request} in {key}"
            );
            let path = path.child("defaultRequest").key(key);
            errors.push(Error::invalid(&path, request.to_string(), why));
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "upstream compares ratios as floats")]
    fn ratio(&self, ratio: Quantity, path: &Path, errors: &mut Vec<Error>) {
        if ratio < Quantity::units(1) {
            let why = format!("ratio {ratio} is less than 1");
            errors.push(Error::invalid(path, ratio.to_string(), why));
        }
        let (Some(min), Some(max)) = (self.min, self.max) else { return };
        let bound = i64::MAX / 1000;
        let is_small = [ratio, min, max].iter().all(|one| one.value() < bound);
        let (value, limit) = if is_small {
            (
                ratio.milli_value() as f64 / 1000.0,
                max.milli_value() as f64 / min.milli_value() as f64,
            )
        } else {
            (ratio.value() as f64, max.value() as f64 / min.value() as f64)
        };
        if value > limit {
            let why = format!("ratio {ratio} is greater than max/min = {limit:.6}");
            errors.push(Error::invalid(path, ratio.to_string(), why));
        }
    }
}

/// A claim's or a volume's capacity, by name.
pub(super) fn positive(value: Quantity, path: &Path, errors: &mut Vec<Error>) {
    if value.is_negative() || value.is_zero() {
        errors.push(Error::invalid(path, value.to_string(), "must be greater than zero"));
    }
}

/// An amount that is only not negative, as [`Quantity::value`] sees it.
pub(super) fn basic(value: Quantity, path: &Path, errors: &mut Vec<Error>) {
    if value.value() < 0 {
        let why = "must be a valid resource quantity";
        errors.push(Error::invalid(path, json!(value.value()), why));
    }
}

/// Whether a resource's name may stand in the status of a claim.
pub(super) fn claim_resource(name: &str, path: &Path, errors: &mut Vec<Error>) {
    let problems = names::qualified_name(name);
    if problems.is_empty() && is_native(name) && name != "storage" {
        errors.push(Error::not_supported(path, name, &["storage"]));
    }
    invalid_each(path, name, problems, errors);
}
