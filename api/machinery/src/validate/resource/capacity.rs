//! Capacities of devices, and which parts of them may be asked for.

use serde_json::Value;

use super::{at_most, no_repeats};
use crate::field::{Error, Path};
use crate::quantity::Quantity;
use crate::validate::items;

const VALID_VALUES_MAX: usize = 10;

fn quantity(value: &Value) -> Option<Quantity> {
    value.as_str()?.parse().ok()
}

/// Only a device that can be allocated more than once may have a policy.
pub(super) fn capacity(capacity: &Value, is_shared: bool, path: &Path, errors: &mut Vec<Error>) {
    let (policy, path) = (&capacity["requestPolicy"], path.child("requestPolicy"));
    if policy.is_null() {
        return;
    }
    if !is_shared {
        return errors.push(Error::forbidden(&path, "allowMultipleAllocations must be true"));
    }
    let Some(whole) = quantity(&capacity["value"]) else { return };
    let (values, range) = (items(policy, "validValues"), &policy["validRange"]);
    let default = quantity(&policy["default"]);
    let kind = match (values.is_empty(), range.is_null()) {
        (false, false) => {
            let why = "exactly one policy can be specified, cannot specify \"validValues\" and \"validRange\" at the same time";
            return errors.push(Error::forbidden(&path, why));
        }
        (true, true) => return,
        (false, true) => "validValues",
        (true, false) => "validRange",
    };
    let Some(default) = default else {
        let why = format!("required when {kind} is defined");
        return errors.push(Error::required(&path.child("default"), why));
    };
    if kind == "validValues" {
        valid_values(policy, &default, &whole, &path, errors);
    } else {
        valid_range(range, [&default, &whole], &path.child("validRange"), errors);
    }
}

fn valid_values(
    policy: &Value,
    default: &Quantity,
    whole: &Quantity,
    path: &Path,
    errors: &mut Vec<Error>,
) {
    let list_path = path.child("validValues");
    let values: Vec<_> = items(policy, "validValues").iter().map(quantity).collect();
    for (index, pair) in values.windows(2).enumerate() {
        if let [Some(one), Some(next)] = pair
            && one > next
        {
            let why = "values must be sorted in ascending order";
            errors.push(Error::invalid(&list_path.index(index + 1), next.to_string(), why));
        }
    }
    let list = at_most(policy, ("validValues", VALID_VALUES_MAX), path, errors);
    for (path, value) in &list {
        if let Some(value) = quantity(value).filter(|value| value > whole) {
            let why = format!("option is larger than capacity value: {whole}");
            errors.push(Error::invalid(path, value.to_string(), why));
        }
    }
    let key = |value: &Value| quantity(value).map_or(0, |one| one.value()).to_string().into();
    no_repeats(&list, key, errors);
    if !list.iter().any(|(_, value)| quantity(value).as_ref() == Some(default)) {
        let why = "default value is not valid according to the requestPolicy";
        errors.push(Error::invalid(&list_path, default.to_string(), why));
    }
}

fn valid_range(
    range: &Value,
    [default, whole]: [&Quantity; 2],
    path: &Path,
    errors: &mut Vec<Error>,
) {
    let [min, max, step] = ["min", "max", "step"].map(|key| quantity(&range[key]));
    let Some(min) = min else {
        let why = "required when validRange is defined";
        return errors.push(Error::required(&path.child("min"), why));
    };
    let mut larger = |key: &str, [one, other]: [&Quantity; 2], why: String| {
        if one > other {
            errors.push(Error::invalid(&path.child(key), why_value(&why, one, other), why));
        }
    };
    larger("min", [&min, whole], format!("min is larger than capacity value: {whole}"));
    larger("min", [&min, default], format!("default is less than min: {min}"));
    if let Some(max) = &max {
        larger("max", [&min, max], format!("min is larger than max: {max}"));
        larger("max", [max, whole], format!("max is larger than capacity value: {whole}"));
        larger("max", [default, max], format!("default is more than max: {max}"));
    }
    let Some(step) = step else { return };
    let path = path.child("step");
    let first = min.plus(&step);
    if first > *whole {
        let why = format!("one step {first} is larger than capacity value: {whole}");
        errors.push(Error::invalid(&path, step.to_string(), why));
    }
    for value in [Some(default), max.as_ref()].into_iter().flatten() {
        let above = value.value().wrapping_sub(min.value());
        // A step of nothing reaches nothing.
        if above.checked_rem(step.value()).is_some_and(|rest| rest != 0) {
            let why = format!("value is not a multiple of a given step ({step}) from ({min})");
            errors.push(Error::invalid(&path, value.to_string(), why));
        }
    }
}

/// The default is what is shown when it is too small; else it is what is too large.
fn why_value(why: &str, larger: &Quantity, smaller: &Quantity) -> String {
    if why.starts_with("default is less") { smaller.to_string() } else { larger.to_string() }
}
