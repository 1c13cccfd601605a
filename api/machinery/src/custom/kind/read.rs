//! From the store and into it: every object is read through the schema of the version that it was
//! stored in, and shown in the version that is asked for (CK2, CK3).

use serde_json::Value;

use super::{CustomKind, CustomVersion, metadata};
use crate::Object;
use crate::custom::defaults;

impl CustomKind {
    /// A stored tree as an object of the storage version.
    pub fn read(&self, value: &mut Value) {
        let stored_as = value["apiVersion"].as_str().unwrap_or("").to_owned();
        let storage = self.storage();
        let version = self.version(&stored_as).unwrap_or(storage);
        if let Some(found) = value.get_mut("metadata") {
            let mut repaired = metadata::repair(found.take());
            if repaired["generation"].as_i64().unwrap_or(0) == 0 {
                repaired["generation"] = 1.into();
            }
            *found = repaired;
        }
        // What an embedded object has wrong has been let in before, and stays.
        let _ = version.prune(value);
        defaults::apply(value, &version.schema);
        if stored_as != storage.api_version() {
            storage.convert(value);
        }
    }

    /// An object as it is stored.
    #[must_use]
    pub fn stored(&self, object: &Object) -> Object {
        let storage = self.storage();
        if object.api_version() == storage.api_version() {
            return object.clone();
        }
        let mut value = Value::Object(object.0.clone());
        storage.convert(&mut value);
        Object::from_value(value).unwrap_or_default()
    }
}

impl CustomVersion {
    /// An object of another version as one of this version.
    pub fn convert(&self, value: &mut Value) {
        value["apiVersion"] = self.api_version().into();
        let _ = self.prune(value);
    }
}
