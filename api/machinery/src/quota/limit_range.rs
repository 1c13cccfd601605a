//! Limit ranges: what they give to pods that do not say it, and what they do not let through.
//!
//! | Rule | What always holds |
//! |------|-------------------|
//! | L1 | A value that a container has is never changed. |
//! | L2 | What was given is told in an annotation, in upstream's words. |

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::pods::{Side, specified};
use super::{Amounts, amounts};
use crate::Object;
use crate::quantity::Quantity;

const ANNOTATION: &str = "kubernetes.io/limit-ranger";
/// Above this, amounts are compared in whole units.
const MILLI_MAX: i64 = i64::MAX / 1000;

fn limits<'a>(range: &'a Object, kind: &str) -> impl Iterator<Item = &'a Value> {
    let all = range.at(&["spec", "limits"]).and_then(Value::as_array).into_iter().flatten();
    all.filter(move |limit| limit["type"] == kind)
}

/// Gives the containers of a pod what the range has for them.
pub fn give_defaults(range: &Object, pod: &mut Object) {
    let (mut requests, mut most) = (BTreeMap::new(), BTreeMap::new());
    for limit in limits(range, "Container") {
        for (field, into) in [("defaultRequest", &mut requests), ("default", &mut most)] {
            let given = limit[field].as_object().into_iter().flatten();
            into.extend(given.map(|(name, value)| (name.clone(), value.clone())));
        }
    }
    let mut told = Vec::new();
    for (list, word) in [("containers", "container"), ("initContainers", "init container")] {
        let spec = pod.0.get_mut("spec").and_then(|spec| spec.get_mut(list));
        for container in spec.and_then(Value::as_array_mut).into_iter().flatten() {
            for (side, field, what) in
                [(&requests, "requests", "request"), (&most, "limits", "limit")]
            {
                let set = give(container, field, side);
                if !set.is_empty() {
                    let name = container["name"].as_str().unwrap_or_default();
                    told.push(format!("{} {what} for {word} {name}", set.join(", ")));
                }
            }
        }
    }
    if !told.is_empty() {
        let text = format!("LimitRanger plugin set: {}", told.join("; "));
        pod.set(&["metadata", "annotations", ANNOTATION], text.into());
    }
}

/// L1. Returns the names that were given.
fn give<'a>(
    container: &mut Value,
    field: &str,
    defaults: &'a BTreeMap<String, Value>,
) -> Vec<&'a str> {
    let Some(container) = container.as_object_mut() else { return Vec::new() };
    let held = container.get("resources").and_then(|resources| resources.get(field));
    let missing = |(name, _): &(&String, &Value)| held.is_none_or(|held| held[*name].is_null());
    let missing: Vec<_> = defaults.iter().filter(missing).collect();
    if missing.is_empty() {
        return Vec::new();
    }
    let resources = object_in(container, "resources");
    let values = object_in(resources, field);
    for (name, value) in &missing {
        values.insert((*name).clone(), (*value).clone());
    }
    missing.into_iter().map(|(name, _)| name.as_str()).collect()
}

/// The object under a key, made when there is none.
fn object_in<'a>(parent: &'a mut Map<String, Value>, key: &str) -> &'a mut Map<String, Value> {
    let value = parent.entry(key).or_insert(Value::Null);
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    value.as_object_mut().expect("it was just made one")
}

/// Why a range does not let an object through, in upstream's words.
#[must_use]
pub fn refusal(range: &Object, group: &str, resource: &str, object: &Object) -> Option<String> {
    let mut why = Vec::new();
    match (group, resource) {
        super::PODS => {
            for limit in limits(range, "Container") {
                for list in ["containers", "initContainers"] {
                    let all = object.at(&["spec", list]).and_then(Value::as_array);
                    for container in all.into_iter().flatten() {
                        let side = |side: Side| amounts(container["resources"].get(side.field()));
                        let (requests, most) = (side(Side::Requests), side(Side::Limits));
                        Checked { kind: "Container", requests, limits: most }.by(limit, &mut why);
                    }
                }
            }
            for limit in limits(range, "Pod") {
                let requests = specified(object, Side::Requests);
                let limits = specified(object, Side::Limits);
                Checked { kind: "Pod", requests, limits }.by(limit, &mut why);
            }
        }
        super::CLAIMS => {
            for limit in limits(range, "PersistentVolumeClaim") {
                let requests = amounts(object.at(&["spec", "resources", "requests"]));
                let kind = "PersistentVolumeClaim";
                Checked { kind, requests, limits: Amounts::new() }.claim(limit, &mut why);
            }
        }
        (_, _) => {}
    }
    aggregate(why)
}

/// One message as it is, several in brackets, each once.
fn aggregate(messages: Vec<String>) -> Option<String> {
    let mut seen = std::collections::BTreeSet::new();
    let mut kept: Vec<String> =
        messages.into_iter().filter(|message| seen.insert(message.clone())).collect();
    match kept.len() {
        0 => None,
        1 => kept.pop(),
        _ => Some(format!("[{}]", kept.join(", "))),
    }
}

/// What is held against a limit.
struct Checked {
    kind: &'static str,
    requests: Amounts,
    limits: Amounts,
}

impl Checked {
    fn by(&self, limit: &Value, why: &mut Vec<String>) {
        for (name, bound) in amounts(limit.get("min")) {
            why.extend(self.min(&name, &bound));
        }
        for (name, bound) in amounts(limit.get("max")) {
            why.extend(self.max(&name, &bound));
        }
        for (name, bound) in amounts(limit.get("maxLimitRequestRatio")) {
            why.extend(self.ratio(&name, &bound));
        }
    }

    fn claim(&self, limit: &Value, why: &mut Vec<String>) {
        for (name, bound) in amounts(limit.get("min")) {
            why.extend(self.min(&name, &bound));
        }
        for (name, bound) in amounts(limit.get("max")) {
            why.extend(self.max_request(&name, &bound));
        }
    }

    /// Request, limit and bound at one precision; what is not there is zero.
    fn common(&self, name: &str, bound: &Quantity) -> (i64, i64, i64) {
        let zero = Quantity::units(0);
        let all = [
            self.requests.get(name).unwrap_or(&zero),
            self.limits.get(name).unwrap_or(&zero),
            bound,
        ];
        let [request, limit, bound] = if all.iter().all(|one| one.value() <= MILLI_MAX) {
            all.map(Quantity::milli_value)
        } else {
            all.map(Quantity::value)
        };
        (request, limit, bound)
    }

    fn min(&self, name: &str, bound: &Quantity) -> Option<String> {
        let (requested, limited, least) = self.common(name, bound);
        let text = format!("minimum {name} usage per {} is {bound}", self.kind);
        let Some(request) = self.requests.get(name) else {
            return Some(format!("{text}.  No request is specified"));
        };
        if requested < least {
            return Some(format!("{text}, but request is {request}"));
        }
        let limit = self.limits.get(name).filter(|_| limited < least);
        limit.map(|limit| format!("{text}, but limit is {limit}"))
    }

    fn max(&self, name: &str, bound: &Quantity) -> Option<String> {
        let (requested, limited, most) = self.common(name, bound);
        let text = format!("maximum {name} usage per {} is {bound}", self.kind);
        let Some(limit) = self.limits.get(name) else {
            return Some(format!("{text}.  No limit is specified"));
        };
        if limited > most {
            return Some(format!("{text}, but limit is {limit}"));
        }
        let request = self.requests.get(name).filter(|_| requested > most);
        request.map(|request| format!("{text}, but request is {request}"))
    }

    /// For claims, which have no limits.
    fn max_request(&self, name: &str, bound: &Quantity) -> Option<String> {
        let (requested, _, most) = self.common(name, bound);
        let text = format!("maximum {name} usage per {} is {bound}", self.kind);
        let Some(request) = self.requests.get(name) else {
            return Some(format!("{text}.  No request is specified"));
        };
        (requested > most).then(|| format!("{text}, but request is {request}"))
    }

    #[expect(clippy::cast_precision_loss, reason = "upstream compares ratios as floats")]
    fn ratio(&self, name: &str, bound: &Quantity) -> Option<String> {
        let (requested, limited, _) = self.common(name, bound);
        let text = format!("{name} max limit to request ratio per {} is {bound}", self.kind);
        if requested == 0 {
            return Some(format!("{text}, but no request is specified or request is 0"));
        }
        if limited == 0 {
            return Some(format!("{text}, but no limit is specified or limit is 0"));
        }
        let ratio = limited as f64 / requested as f64;
        let is_above = if bound.value() <= MILLI_MAX {
            ratio * 1000.0 > bound.milli_value() as f64
        } else {
            ratio > bound.value() as f64
        };
        is_above.then(|| format!("{text}, but provided ratio is {ratio:.6}"))
    }
}
