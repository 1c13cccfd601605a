//! Claims: of storage, by the class of it, and of devices.

use serde_json::Value;

use super::{Amounts, amounts, raise};
use crate::Object;
use crate::quantity::Quantity;

const NUMBER: &str = "persistentvolumeclaims";
const STORAGE: &str = "requests.storage";
const OF_CLASS: &str = ".storageclass.storage.k8s.io/";
const BETA_CLASS: &str = "volume.beta.kubernetes.io/storage-class";
/// After the name of a class of devices.
pub(super) const DEVICES: &str = ".deviceclass.resource.k8s.io/devices";
/// What a request for all devices counts as: the most that one claim can get.
const DEVICES_MAX: i64 = 32;

pub(super) fn measures(name: &str) -> bool {
    [NUMBER, STORAGE].into_iter().any(|own| {
        name == own || name.strip_suffix(own).is_some_and(|class| class.ends_with(OF_CLASS))
    })
}

pub(super) fn usage(claim: &Object) -> Amounts {
    let beta = claim.annotations().get(BETA_CLASS).cloned();
    let class = beta.unwrap_or_else(|| claim.text(&["spec", "storageClassName"]).to_owned());
    let mut usage = Amounts::from([(NUMBER.to_owned(), Quantity::units(1))]);
    if let Some(storage) = storage(claim) {
        usage.insert(STORAGE.to_owned(), storage);
    }
    if !class.is_empty() {
        let of_class =
            |(name, amount): (&String, &Quantity)| (format!("{class}{OF_CLASS}{name}"), *amount);
        let by_class: Amounts = usage.iter().map(of_class).collect();
        usage.extend(by_class);
    }
    usage
}

/// What was asked for, or was given if that is more (while a volume shrinks back), in whole bytes.
fn storage(claim: &Object) -> Option<Quantity> {
    let asked = amounts(claim.at(&["spec", "resources", "requests"]));
    let given = amounts(claim.at(&["status", "allocatedResources"]));
    let asked = asked.get("storage")?.rounded_up();
    let given = given.get("storage").filter(|given| **given > asked);
    Some(given.map_or(asked, Quantity::rounded_up))
}

/// Devices by their class; of alternatives the greatest number of each class.
pub(super) fn devices(claim: &Object) -> Amounts {
    let mut usage = Amounts::new();
    let requests = claim.at(&["spec", "devices", "requests"]).and_then(Value::as_array);
    for request in requests.into_iter().flatten() {
        let mut most = Amounts::new();
        let alternatives = request["firstAvailable"].as_array().filter(|list| !list.is_empty());
        match alternatives {
            Some(list) => list.iter().for_each(|one| raise(&mut most, &number(one))),
            None if request["exactly"].is_object() => most = number(&request["exactly"]),
            None => {}
        }
        super::add(&mut usage, &most);
    }
    usage
}

fn number(request: &Value) -> Amounts {
    let number = match request["allocationMode"].as_str() {
        Some("ExactCount") => request["count"].as_i64().unwrap_or(0),
        Some("All") => DEVICES_MAX,
        _ => 0,
    };
    let class = request["deviceClassName"].as_str().unwrap_or_default();
    Amounts::from([(format!("{class}{DEVICES}"), Quantity::units(number))])
}
