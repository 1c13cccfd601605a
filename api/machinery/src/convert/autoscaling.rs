//! HorizontalPodAutoscalers: `autoscaling/v2` keeps them; `autoscaling/v1` knows one metric only,
//! and carries the others, the behaviour and the conditions in annotations.

use serde_json::{Map, Value, json};

use super::go_json;
use crate::decode::{self, Expected, FieldValidation};
use crate::{Object, kinds};

const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
const BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";
const CURRENT_METRICS: &str = "autoscaling.alpha.kubernetes.io/current-metrics";
const CONDITIONS: &str = "autoscaling.alpha.kubernetes.io/conditions";
const CARRIERS: [&str; 6] = [
    METRICS,
    BEHAVIOR,
    "autoscaling.alpha.kubernetes.io/scale-down-tolerance",
    "autoscaling.alpha.kubernetes.io/scale-up-tolerance",
    CURRENT_METRICS,
    CONDITIONS,
];

const DEFAULT_CPU_PERCENT: i64 = 80;

/// A source of metrics: the fields that `v1` has, and where they are in `v2`.
type Source = (&'static str, &'static [(&'static str, &'static [&'static str])]);

const WANTED: [Source; 5] = [
    (
        "object",
        &[
            ("target", &["describedObject"]),
            ("metricName", &["metric", "name"]),
            ("targetValue", &["target", "value"]),
            ("selector", &["metric", "selector"]),
            ("averageValue", &["target", "averageValue"]),
        ],
    ),
    (
        "pods",
        &[
            ("metricName", &["metric", "name"]),
            ("targetAverageValue", &["target", "averageValue"]),
            ("selector", &["metric", "selector"]),
        ],
    ),
    (
        "resource",
        &[
            ("name", &["name"]),
            ("targetAverageUtilization", &["target", "averageUtilization"]),
            ("targetAverageValue", &["target", "averageValue"]),
        ],
    ),
    (
        "containerResource",
        &[
            ("name", &["name"]),
            ("targetAverageUtilization", &["target", "averageUtilization"]),
            ("targetAverageValue", &["target", "averageValue"]),
            ("container", &["container"]),
        ],
    ),
    (
        "external",
        &[
            ("metricName", &["metric", "name"]),
            ("metricSelector", &["metric", "selector"]),
            ("targetValue", &["target", "value"]),
            ("targetAverageValue", &["target", "averageValue"]),
        ],
    ),
];

const SEEN: [Source; 5] = [
    (
        "object",
        &[
            ("target", &["describedObject"]),
            ("metricName", &["metric", "name"]),
            ("currentValue", &["current", "value"]),
            ("selector", &["metric", "selector"]),
            ("averageValue", &["current", "averageValue"]),
        ],
    ),
    (
        "pods",
        &[
            ("metricName", &["metric", "name"]),
            ("currentAverageValue", &["current", "averageValue"]),
            ("selector", &["metric", "selector"]),
        ],
    ),
    (
        "resource",
        &[
            ("name", &["name"]),
            ("currentAverageUtilization", &["current", "averageUtilization"]),
            ("currentAverageValue", &["current", "averageValue"]),
        ],
    ),
    (
        "containerResource",
        &[
            ("name", &["name"]),
            ("currentAverageUtilization", &["current", "averageUtilization"]),
            ("currentAverageValue", &["current", "averageValue"]),
            ("container", &["container"]),
        ],
    ),
    (
        "external",
        &[
            ("metricName", &["metric", "name"]),
            ("metricSelector", &["metric", "selector"]),
            ("currentValue", &["current", "value"]),
            ("currentAverageValue", &["current", "averageValue"]),
        ],
    ),
];

pub(super) fn to_v1(object: &mut Object) {
    drop_carriers(object);
    let metrics = take_list(object, &["spec", "metrics"]);
    let percent = metrics.iter().find_map(cpu_percent);
    set_some(object, &["spec", "targetCPUUtilizationPercentage"], percent);
    let others: Vec<Value> = metrics
        .iter()
        .filter(|metric| cpu_percent(metric).is_none())
        .map(|metric| older(metric, &WANTED))
        .collect();
    carry(object, METRICS, "MetricSpec", &others);

    let seen = take_list(object, &["status", "currentMetrics"]);
    let percent = seen
        .iter()
        .filter(|metric| metric["type"] == "Resource" && metric["resource"]["name"] == "cpu")
        .filter_map(|metric| metric["resource"]["current"]["averageUtilization"].as_i64())
        .next_back();
    set_some(object, &["status", "currentCPUUtilizationPercentage"], percent);
    let seen: Vec<Value> = seen.iter().map(|metric| older(metric, &SEEN)).collect();
    carry(object, CURRENT_METRICS, "MetricStatus", &seen);

    if let Some(behavior @ Value::Object(_)) = object.remove(&["spec", "behavior"]) {
        let part = |key: &str| rules_text(&behavior[key]);
        let text =
            format!(r#"{{"ScaleUp":{},"ScaleDown":{}}}"#, part("scaleUp"), part("scaleDown"));
        object.set(&["metadata", "annotations", BEHAVIOR], text.into());
    }
    let conditions = take_list(object, &["status", "conditions"]);
    carry(object, CONDITIONS, "HorizontalPodAutoscalerCondition", &conditions);
}

pub(super) fn to_v2(object: &mut Object) {
    let percent = object.remove(&["spec", "targetCPUUtilizationPercentage"]);
    let mut metrics = Vec::new();
    if let Some(carried) = carried(object, METRICS, "MetricSpec") {
        metrics.extend(carried.iter().map(newer_wanted));
    }
    let percent = percent.filter(|percent| !percent.is_null());
    // An older controller looked at the processor when there was nothing else to look at.
    let default = metrics.is_empty().then(|| DEFAULT_CPU_PERCENT.into());
    if let Some(percent) = percent.or(default) {
        metrics.push(json!({"type": "Resource", "resource": {"name": "cpu",
            "target": {"type": "Utilization", "averageUtilization": percent}}}));
    }
    object.set(&["spec", "metrics"], metrics.into());

    let percent = object.remove(&["status", "currentCPUUtilizationPercentage"]);
    let mut seen = Vec::new();
    if let Some(percent) = percent.filter(|percent| !percent.is_null()) {
        seen.push(json!({"type": "Resource", "resource": {"name": "cpu",
            "current": {"averageUtilization": percent}}}));
    }
    if let Some(carried) = carried(object, CURRENT_METRICS, "MetricStatus") {
        seen = carried.iter().map(|metric| newer(metric, &SEEN)).collect();
    }
    object.set(&["status", "currentMetrics"], seen.into());

    if let Some(behavior) = carried_behavior(object) {
        object.set(&["spec", "behavior"], behavior);
    }
    if let Some(conditions) = carried(object, CONDITIONS, "HorizontalPodAutoscalerCondition") {
        object.set(&["status", "conditions"], conditions.into());
    }
    drop_carriers(object);
}

/// What `v1` has a field for.
fn cpu_percent(metric: &Value) -> Option<i64> {
    let is_cpu = metric["type"] == "Resource" && metric["resource"]["name"] == "cpu";
    let percent = metric["resource"]["target"]["averageUtilization"].as_i64();
    percent.filter(|_| is_cpu)
}

fn older(metric: &Value, sources: &[Source]) -> Value {
    let mut out = json!({"type": metric["type"]});
    for (name, fields) in sources {
        let Some(source @ Value::Object(_)) = metric.get(name) else { continue };
        let mut made = Map::new();
        for (field, path) in *fields {
            let found = path.iter().try_fold(source, |value, key| value.get(key));
            if let Some(value) = found.filter(|value| !value.is_null()) {
                made.insert((*field).to_owned(), value.clone());
            }
        }
        out[name] = made.into();
    }
    out
}

fn newer(metric: &Value, sources: &[Source]) -> Value {
    let mut out = json!({"type": metric["type"]});
    for (name, fields) in sources {
        let Some(source @ Value::Object(_)) = metric.get(name) else { continue };
        let mut made = Object::default();
        for (field, path) in *fields {
            if let Some(value) = source.get(field).filter(|value| !value.is_null()) {
                made.set(path, value.clone());
            }
        }
        out[name] = made.into_value();
    }
    out
}

/// What is wanted has a type in `v2`, which the fields that are set in `v1` tell.
fn newer_wanted(metric: &Value) -> Value {
    let mut out = newer(metric, &WANTED);
    for (name, _) in WANTED {
        let Some(Value::Object(source)) = out.get_mut(name) else { continue };
        let target = source.entry("target").or_insert_with(|| json!({}));
        let has = |key: &str| !target[key].is_null();
        let kind = match name {
            "resource" | "containerResource" if has("averageUtilization") => "Utilization",
            "object" if !has("averageValue") => "Value",
            "external" if has("value") => "Value",
            _ => "AverageValue",
        };
        // `v1` cannot leave the value of an object's metric out.
        if name == "object" && kind == "AverageValue" && target["value"] == "0" {
            target["value"] = Value::Null;
        }
        target["type"] = kind.into();
    }
    out
}

fn take_list(object: &mut Object, path: &[&str]) -> Vec<Value> {
    match object.remove(path) {
        Some(Value::Array(items)) => items,
        _ => Vec::new(),
    }
}

fn set_some(object: &mut Object, path: &[&str], value: Option<i64>) {
    if let Some(value) = value {
        object.set(path, value.into());
    }
}

fn drop_carriers(object: &mut Object) {
    for name in CARRIERS {
        object.remove(&["metadata", "annotations", name]);
    }
    let annotations = object.at(&["metadata", "annotations"]).and_then(Value::as_object);
    if annotations.is_some_and(Map::is_empty) {
        object.remove(&["metadata", "annotations"]);
    }
}

/// Puts a list into an annotation, unless it is empty.
fn carry(object: &mut Object, annotation: &str, kind: &str, items: &[Value]) {
    let Some(id) = kinds::type_of("autoscaling/v1", kind) else { return };
    if items.is_empty() {
        return;
    }
    let items: Vec<Value> =
        items.iter().filter_map(|item| fitted("autoscaling/v1", kind, item.clone())).collect();
    let text = go_json::list(id, &items);
    object.set(&["metadata", "annotations", annotation], text.into());
}

/// The list in an annotation. One that does not fit is none, as upstream has it.
fn carried(object: &Object, annotation: &str, kind: &str) -> Option<Vec<Value>> {
    let text = object.at(&["metadata", "annotations", annotation])?.as_str()?;
    let items: Option<Vec<Value>> = serde_json::from_str(text).ok()?;
    let items = items.unwrap_or_default();
    items.into_iter().map(|item| fitted("autoscaling/v1", kind, item)).collect()
}

/// A part of an object with its zero values, when it is of its type.
fn fitted(api_version: &str, kind: &str, value: Value) -> Option<Value> {
    let expected = Expected { api_version, kind };
    let mut object = decode::value(value, expected, FieldValidation::Ignore).ok()?.object;
    for key in ["apiVersion", "kind"] {
        object.0.remove(key);
    }
    Some(object.into_value())
}

/// Upstream carries the behaviour as a type without JSON names: as Go calls the fields.
fn rules_text(rules: &Value) -> String {
    if !rules.is_object() {
        return "null".to_owned();
    }
    let or_null = |value: &Value| match value {
        Value::String(text) => go_json::text(text),
        other => other.to_string(),
    };
    let policies = rules["policies"].as_array().map_or("null".to_owned(), |policies| {
        let policies: Vec<String> = policies
            .iter()
            .map(|policy| {
                format!(
                    r#"{{"Type":{},"Value":{},"PeriodSeconds":{}}}"#,
                    or_null(&policy["type"]),
                    policy["value"],
                    policy["periodSeconds"]
                )
            })
            .collect();
        format!("[{}]", policies.join(","))
    });
    format!(
        r#"{{"StabilizationWindowSeconds":{},"SelectPolicy":{},"Policies":{policies},"Tolerance":{}}}"#,
        rules["stabilizationWindowSeconds"],
        or_null(&rules["selectPolicy"]),
        or_null(&rules["tolerance"])
    )
}

fn carried_behavior(object: &Object) -> Option<Value> {
    let text = object.at(&["metadata", "annotations", BEHAVIOR])?.as_str()?;
    let carried: Value = serde_json::from_str(text).ok()?;
    let mut out = Map::new();
    for key in ["scaleUp", "scaleDown"] {
        let rules = member(&carried, key);
        if rules.is_null() {
            continue;
        }
        let mut made = Map::new();
        for field in ["stabilizationWindowSeconds", "selectPolicy", "tolerance"] {
            made.insert(field.to_owned(), member(rules, field).clone());
        }
        let policies = match member(rules, "policies") {
            Value::Array(policies) => policies.iter().map(policy).collect(),
            other => other.clone(),
        };
        made.insert("policies".to_owned(), policies);
        out.insert(key.to_owned(), made.into());
    }
    if out.is_empty() {
        return None;
    }
    fitted("autoscaling/v2", "HorizontalPodAutoscalerBehavior", out.into())
}

fn policy(carried: &Value) -> Value {
    let mut out = Map::new();
    for field in ["type", "value", "periodSeconds"] {
        out.insert(field.to_owned(), member(carried, field).clone());
    }
    out.into()
}

/// A member whose name Go finds, whatever the case of its letters.
fn member<'a>(value: &'a Value, name: &str) -> &'a Value {
    let mut members = value.as_object().into_iter().flatten();
    let found = members.rfind(|(key, _)| key.eq_ignore_ascii_case(name));
    found.map_or(&Value::Null, |(_, value)| value)
}
