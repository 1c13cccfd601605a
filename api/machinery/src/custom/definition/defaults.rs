//! Defaults of CustomResourceDefinitions, and what is set before one is stored.

use serde_json::{Value, json};

use crate::Object;

/// Sets the defaults.
pub fn apply(definition: &mut Object) {
    let kind = definition.text(&["spec", "names", "kind"]).to_owned();
    if definition.text(&["spec", "names", "singular"]).is_empty() && !kind.is_empty() {
        definition.set(&["spec", "names", "singular"], kind.to_lowercase().into());
    }
    if definition.text(&["spec", "names", "listKind"]).is_empty() && !kind.is_empty() {
        definition.set(&["spec", "names", "listKind"], format!("{kind}List").into());
    }
    let conversion = definition.at(&["spec", "conversion"]);
    if conversion.is_none_or(Value::is_null) {
        definition.set(&["spec", "conversion"], json!({"strategy": "None"}));
    }
    let service = ["spec", "conversion", "webhook", "clientConfig", "service"];
    if definition.at(&service).is_some_and(|service| service["port"].is_null()) {
        definition.set(&[&service[..], &["port"]].concat(), 443.into());
    }
    let stored = definition.at(&["status", "storedVersions"]).and_then(Value::as_array);
    if stored.is_none_or(Vec::is_empty) {
        store_version(definition);
    }
}

/// The version that is stored now is one of those that were ever stored.
fn store_version(definition: &mut Object) {
    let versions = definition.at(&["spec", "versions"]).and_then(Value::as_array);
    let storage = versions.into_iter().flatten().find(|version| version["storage"] == true);
    let Some(name) = storage.map(|version| version["name"].clone()) else { return };
    let stored = definition.at(&["status", "storedVersions"]).and_then(Value::as_array);
    let mut stored = stored.cloned().unwrap_or_default();
    if !stored.contains(&name) {
        stored.push(name);
        definition.set(&["status", "storedVersions"], Value::Array(stored));
    }
}

/// Before a new definition is stored: only the server writes its status.
pub fn prepare_for_create(definition: &mut Object) {
    let names = json!({"kind": "", "plural": ""});
    let status = json!({"acceptedNames": names, "conditions": null, "storedVersions": []});
    definition.set(&["status"], status);
    definition.set_generation(1);
    store_version(definition);
}

/// Before an update is stored.
pub fn prepare_for_update(new: &mut Object, old: &Object) {
    match old.at(&["status"]) {
        Some(status) => new.set(&["status"], status.clone()),
        None => drop(new.remove(&["status"])),
    }
    let is_changed = new.at(&["spec"]) != old.at(&["spec"]);
    new.set_generation(old.generation() + i64::from(is_changed));
    store_version(new);
}

/// Before an update through the subresource `status` is stored.
pub fn prepare_for_status_update(new: &mut Object, old: &Object) {
    if let Some(spec) = old.at(&["spec"]) {
        new.set(&["spec"], spec.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_definition_gets_its_names_conversion_and_stored_version() {
        let given = json!({"spec": {"names": {"kind": "CronTab", "plural": "crontabs"},
            "versions": [{"name": "v1", "storage": true}]}});
        let mut definition = Object::from_value(given).unwrap();
        apply(&mut definition);
        assert_eq!(
            definition.into_value(),
            json!({"spec": {"names": {"kind": "CronTab", "plural": "crontabs",
                "singular": "crontab", "listKind": "CronTabList"},
                "conversion": {"strategy": "None"},
                "versions": [{"name": "v1", "storage": true}]},
                "status": {"storedVersions": ["v1"]}})
        );
    }
}
