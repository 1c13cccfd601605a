//! PriorityClasses.

use serde_json::Value;

use crate::field::{Error, Path};
use crate::{Object, ResourceInfo};

const SYSTEM_PREFIX: &str = "system-";
const SYSTEM_CLASSES: [(&str, i64); 2] =
    [("system-node-critical", 2_000_001_000), ("system-cluster-critical", 2_000_000_000)];
const VALUE_MAX: i64 = 1_000_000_000;

pub(super) fn create(info: &ResourceInfo, object: &Object, errors: &mut Vec<Error>) {
    if info.kind == "PriorityClass" {
        priority_class(object, errors);
    }
}

pub(super) fn update(info: &ResourceInfo, new: &Object, old: &Object, errors: &mut Vec<Error>) {
    if info.kind != "PriorityClass" {
        return;
    }
    if value(new) != value(old) {
        errors.push(Error::forbidden(&Path::new("value"), "may not be changed in an update."));
    }
    let (now, before) = (new.at(&["preemptionPolicy"]), old.at(&["preemptionPolicy"]));
    if now != before {
        let shown = now.cloned().unwrap_or(Value::Null);
        let path = Path::new("preemptionPolicy");
        errors.push(Error::invalid(&path, shown, "field is immutable"));
    }
}

fn value(object: &Object) -> i64 {
    object.at(&["value"]).and_then(Value::as_i64).unwrap_or(0)
}

fn priority_class(object: &Object, errors: &mut Vec<Error>) {
    if object.name().starts_with(SYSTEM_PREFIX) {
        if let Err(why) = system_class(object) {
            let why = format!(
                "priority class names with '{SYSTEM_PREFIX}' prefix are reserved for system use only. error: {why}"
            );
            errors.push(Error::forbidden(&Path::new("metadata").child("name"), why));
        }
    } else if value(object) > VALUE_MAX {
        let why = format!("maximum allowed value of a user defined priority is {VALUE_MAX}");
        errors.push(Error::forbidden(&Path::new("value"), why));
    }
    let path = Path::new("preemptionPolicy");
    match object.at(&["preemptionPolicy"]).and_then(Value::as_str) {
        None | Some("PreemptLowerPriority" | "Never") => {}
        Some("") => errors.push(Error::required(&path, "")),
        Some(other) => {
            let supported = ["PreemptLowerPriority", "Never"];
            errors.push(Error::not_supported(&path, other, &supported));
        }
    }
}

/// Only the server's own classes have such a name, and only as it made them.
fn system_class(object: &Object) -> Result<(), String> {
    let name = object.name();
    let Some((_, want)) = SYSTEM_CLASSES.iter().find(|(known, _)| *known == name) else {
        return Err(format!("{name} is not a known system priority class"));
    };
    if value(object) != *want {
        return Err(format!("value of {name} PriorityClass must be {want}"));
    }
    if object.at(&["globalDefault"]) == Some(&Value::Bool(true)) {
        return Err(format!("globalDefault of {name} PriorityClass must be false"));
    }
    Ok(())
}
