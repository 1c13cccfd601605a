//! What objects cost under a `ResourceQuota`, and which objects a quota is about.
//!
//! | Rule | What always holds |
//! |------|-------------------|
//! | W1 | `count/<resource>.<group>` counts every stored object of a kind, in whatever state it is. |
//! | W2 | A pod that ended, or that should have been gone by now, costs nothing but its count. |
//! | W3 | A quota with scopes is about an object only when all of its scopes match. |
//! | W4 | `status.used` has only names that `spec.hard` has; one that cannot be measured keeps its value. |

mod charge;
mod claims;
pub mod limit_range;
mod pods;
mod scopes;
mod services;

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Map, Value};

pub use charge::{Charge, Charged, set_used};
pub use scopes::matches as matches_scopes;

use crate::Object;
use crate::quantity::Quantity;
use crate::resource_names::quantity;

/// Quantities by the names that quotas have for them.
pub type Amounts = BTreeMap<String, Quantity>;

const PODS: (&str, &str) = ("", "pods");
const SERVICES: (&str, &str) = ("", "services");
const CLAIMS: (&str, &str) = ("", "persistentvolumeclaims");
const DEVICE_CLAIMS: (&str, &str) = ("resource.k8s.io", "resourceclaims");
/// Kinds whose number has a name of its own.
const ALIASES: [&str; 4] = ["configmaps", "resourcequotas", "replicationcontrollers", "secrets"];
/// Nothing that quotas count: they are not stored, or were never counted.
const IGNORED: [(&str, &str); 10] = [
    ("", "bindings"),
    ("", "componentstatuses"),
    ("authentication.k8s.io", "tokenreviews"),
    ("authentication.k8s.io", "selfsubjectreviews"),
    ("authorization.k8s.io", "subjectaccessreviews"),
    ("authorization.k8s.io", "selfsubjectaccessreviews"),
    ("authorization.k8s.io", "localsubjectaccessreviews"),
    ("authorization.k8s.io", "selfsubjectrulesreviews"),
    ("", "events"),
    ("events.k8s.io", "events"),
];

/// The name under which the objects of a kind are counted.
#[must_use]
pub fn count_name(group: &str, resource: &str) -> String {
    if group.is_empty() { format!("count/{resource}") } else { format!("count/{resource}.{group}") }
}

/// True when objects of this kind can cost something under `name`.
#[must_use]
pub fn is_measured_by(group: &str, resource: &str, name: &str) -> bool {
    if IGNORED.contains(&(group, resource)) {
        return false;
    }
    if name == count_name(group, resource) {
        return true;
    }
    match (group, resource) {
        PODS => pods::measures(name),
        SERVICES => services::NAMES.contains(&name),
        CLAIMS => claims::measures(name),
        DEVICE_CLAIMS => name.ends_with(claims::DEVICES),
        ("", other) => name == other && ALIASES.contains(&other),
        (_, _) => false,
    }
}

/// True for a kind of which more matters than how many there are.
#[must_use]
pub fn needs_objects(group: &str, resource: &str) -> bool {
    [PODS, SERVICES, CLAIMS, DEVICE_CLAIMS].contains(&(group, resource))
}

/// What `number` objects of a kind cost by their number alone.
#[must_use]
pub fn usage_by_number(group: &str, resource: &str, number: i64) -> Amounts {
    let mut amounts = Amounts::from([(count_name(group, resource), Quantity::units(number))]);
    if group.is_empty() && ALIASES.contains(&resource) {
        amounts.insert(resource.to_owned(), Quantity::units(number));
    }
    amounts
}

/// What one object costs.
#[must_use]
pub fn usage(group: &str, resource: &str, object: &Object, now: Timestamp) -> Amounts {
    let mut amounts = usage_by_number(group, resource, 1);
    match (group, resource) {
        PODS => amounts.extend(pods::usage(object, now)),
        SERVICES => amounts.extend(services::usage(object)),
        CLAIMS => amounts.extend(claims::usage(object)),
        DEVICE_CLAIMS => amounts.extend(claims::devices(object)),
        (_, _) => {}
    }
    amounts
}

/// Adds `more` to `sum`, name by name.
pub fn add(sum: &mut Amounts, more: &Amounts) {
    for (name, amount) in more {
        sum.entry(name.clone()).and_modify(|held| *held = held.plus(amount)).or_insert(*amount);
    }
}

/// Raises what is less in `most` than in `other`.
fn raise(most: &mut Amounts, other: &Amounts) {
    for (name, amount) in other {
        let held = most.entry(name.clone()).or_insert(*amount);
        if *amount > *held {
            *held = *amount;
        }
    }
}

/// Reads an object of quantities; what is none is left out.
#[must_use]
pub fn amounts(list: Option<&Value>) -> Amounts {
    let entries = list.and_then(Value::as_object).into_iter().flatten();
    let read = |(name, value): (&String, &Value)| Some((name.clone(), quantity(value)?));
    entries.filter_map(read).collect()
}

fn to_value(amounts: &Amounts) -> Value {
    let entries = amounts.iter().map(|(name, amount)| (name.clone(), amount.to_string().into()));
    Value::Object(entries.collect::<Map<String, Value>>())
}

/// The status that a quota should have by what was measured; none when it has it.
#[must_use]
pub fn status(quota: &Object, measured: &Amounts) -> Option<Value> {
    let hard = amounts(quota.at(&["spec", "hard"]));
    let held = amounts(quota.at(&["status", "used"]));
    let mut used = held.clone();
    used.extend(measured.iter().map(|(name, amount)| (name.clone(), *amount)));
    // W4
    used.retain(|name, _| hard.contains_key(name));
    if hard == amounts(quota.at(&["status", "hard"])) && used == held {
        return None;
    }
    Some(serde_json::json!({"hard": to_value(&hard), "used": to_value(&used)}))
}

#[cfg(test)]
mod tests;
