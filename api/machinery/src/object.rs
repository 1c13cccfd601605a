//! An API object of any kind: a JSON object with typed access to its metadata.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// An API object of any kind.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Object(pub Map<String, Value>);

/// One entry of `metadata.ownerReferences`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OwnerReference {
    #[serde(default)]
    pub api_version: String,
    #[serde(default)]
    pub kind: String,
    #[serde(default)]
    pub name: String,
    #[serde(default)]
    pub uid: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub controller: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub block_owner_deletion: Option<bool>,
}

impl Object {
    /// Takes a JSON object; anything else is `None`.
    #[must_use]
    pub fn from_value(value: Value) -> Option<Self> {
        match value {
            Value::Object(map) => Some(Self(map)),
            _ => None,
        }
    }

    #[must_use]
    pub fn into_value(self) -> Value {
        Value::Object(self.0)
    }

    /// The object's JSON.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        /// Most objects are not much larger, and need not be moved while they are written.
        const USUAL_BYTES: usize = 4 * 1024;

        let mut json = Vec::with_capacity(USUAL_BYTES);
        serde_json::to_writer(&mut json, &self.0).expect("a JSON tree can always be written");
        json
    }

    /// The value at a path of object keys.
    #[must_use]
    pub fn at(&self, path: &[&str]) -> Option<&Value> {
        at(&self.0, path)
    }

    /// The text at a path, or `""`.
    #[must_use]
    pub fn text(&self, path: &[&str]) -> &str {
        self.at(path).and_then(Value::as_str).unwrap_or("")
    }

    /// Sets the value at a path, making the objects on the way.
    pub fn set(&mut self, path: &[&str], value: Value) {
        let Some((last, parents)) = path.split_last() else { return };
        let mut map = &mut self.0;
        for key in parents {
            let slot = map.entry(*key).or_insert_with(|| json!({}));
            if !slot.is_object() {
                *slot = json!({});
            }
            map = slot.as_object_mut().expect("it was just made an object");
        }
        map.insert((*last).to_owned(), value);
    }

    /// Removes the value at a path.
    pub fn remove(&mut self, path: &[&str]) -> Option<Value> {
        let (last, parents) = path.split_last()?;
        let mut map = &mut self.0;
        for key in parents {
            map = map.get_mut(*key)?.as_object_mut()?;
        }
        map.remove(*last)
    }

    #[must_use]
    pub fn api_version(&self) -> &str {
        self.text(&["apiVersion"])
    }

    #[must_use]
    pub fn kind(&self) -> &str {
        self.text(&["kind"])
    }

    #[must_use]
    pub fn name(&self) -> &str {
        self.text(&["metadata", "name"])
    }

    #[must_use]
    pub fn generate_name(&self) -> &str {
        self.text(&["metadata", "generateName"])
    }

    #[must_use]
    pub fn namespace(&self) -> &str {
        self.text(&["metadata", "namespace"])
    }

    #[must_use]
    pub fn uid(&self) -> &str {
        self.text(&["metadata", "uid"])
    }

    /// The revision as text, `""` when unset.
    #[must_use]
    pub fn resource_version(&self) -> &str {
        self.text(&["metadata", "resourceVersion"])
    }

    #[must_use]
    pub fn generation(&self) -> i64 {
        self.at(&["metadata", "generation"]).and_then(Value::as_i64).unwrap_or(0)
    }

    #[must_use]
    pub fn creation_timestamp(&self) -> &str {
        self.text(&["metadata", "creationTimestamp"])
    }

    #[must_use]
    pub fn deletion_timestamp(&self) -> Option<&str> {
        self.at(&["metadata", "deletionTimestamp"]).and_then(Value::as_str)
    }

    /// Seconds.
    #[must_use]
    pub fn deletion_grace_period_seconds(&self) -> Option<i64> {
        self.at(&["metadata", "deletionGracePeriodSeconds"]).and_then(Value::as_i64)
    }

    #[must_use]
    pub fn labels(&self) -> BTreeMap<String, String> {
        string_map(self.at(&["metadata", "labels"]))
    }

    #[must_use]
    pub fn annotations(&self) -> BTreeMap<String, String> {
        string_map(self.at(&["metadata", "annotations"]))
    }

    #[must_use]
    pub fn finalizers(&self) -> Vec<String> {
        let list = self.at(&["metadata", "finalizers"]).and_then(Value::as_array);
        list.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    }

    #[must_use]
    pub fn owner_references(&self) -> Vec<OwnerReference> {
        self.at(&["metadata", "ownerReferences"])
            .and_then(|value| serde_json::from_value(value.clone()).ok())
            .unwrap_or_default()
    }

    pub fn set_api_version_and_kind(&mut self, api_version: &str, kind: &str) {
        self.0.insert("apiVersion".to_owned(), api_version.into());
        self.0.insert("kind".to_owned(), kind.into());
    }

    pub fn set_name(&mut self, name: &str) {
        self.set(&["metadata", "name"], name.into());
    }

    pub fn set_namespace(&mut self, namespace: &str) {
        self.set(&["metadata", "namespace"], namespace.into());
    }

    pub fn set_uid(&mut self, uid: &str) {
        self.set(&["metadata", "uid"], uid.into());
    }

    pub fn set_resource_version(&mut self, revision: u64) {
        self.set(&["metadata", "resourceVersion"], revision.to_string().into());
    }

    pub fn set_generation(&mut self, generation: i64) {
        self.set(&["metadata", "generation"], generation.into());
    }

    /// RFC 3339 with seconds, UTC.
    pub fn set_creation_timestamp(&mut self, time: &str) {
        self.set(&["metadata", "creationTimestamp"], time.into());
    }

    /// Sets when the object is to go, and how long (seconds) its owner may take; `None` clears both.
    pub fn set_deletion(&mut self, deletion: Option<(&str, i64)>) {
        if let Some((time, grace_seconds)) = deletion {
            self.set(&["metadata", "deletionTimestamp"], time.into());
            self.set(&["metadata", "deletionGracePeriodSeconds"], grace_seconds.into());
        } else {
            self.remove(&["metadata", "deletionTimestamp"]);
            self.remove(&["metadata", "deletionGracePeriodSeconds"]);
        }
    }

    /// Sets the finalizers; an empty list removes the field.
    pub fn set_finalizers(&mut self, finalizers: &[String]) {
        if finalizers.is_empty() {
            self.remove(&["metadata", "finalizers"]);
        } else {
            self.set(&["metadata", "finalizers"], json!(finalizers));
        }
    }
}

/// The value at a path of object keys below a map.
#[must_use]
pub(crate) fn at<'a>(map: &'a Map<String, Value>, path: &[&str]) -> Option<&'a Value> {
    let (first, rest) = path.split_first()?;
    let mut value = map.get(*first)?;
    for key in rest {
        value = value.get(*key)?;
    }
    Some(value)
}

fn string_map(value: Option<&Value>) -> BTreeMap<String, String> {
    let map = value.and_then(Value::as_object);
    map.into_iter()
        .flatten()
        .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
        .collect()
}
