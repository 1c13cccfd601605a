//! What goes along with a write besides the object: its options, and annotations for the audit log.

use std::collections::BTreeMap;

use bytes::Bytes;
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::request::Query;

/// The notes of one request.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    /// As upstream's `CreateOptions`, `UpdateOptions` or `DeleteOptions`, without its kind.
    options: Value,
    annotations: Mutex<BTreeMap<String, String>>,
    /// What the store was given last, and the revision at which it took it.
    stored: Mutex<Option<(u64, Bytes)>>,
}

impl Notes {
    /// With the options of a query.
    pub(crate) fn of(query: &Query) -> Self {
        let mut options = json!({});
        let dry_run: Vec<&str> = query.all("dryRun").filter(|one| !one.is_empty()).collect();
        if !dry_run.is_empty() {
            options["dryRun"] = dry_run.into();
        }
        for key in ["fieldManager", "fieldValidation"] {
            if let Some(value) = query.non_empty(key) {
                options[key] = value.into();
            }
        }
        Self { options, ..Self::default() }
    }

    /// The options as an object of this kind.
    pub(super) fn options(&self, kind: &str) -> Value {
        let mut options = json!({"kind": kind, "apiVersion": "meta.k8s.io/v1"});
        for (key, value) in self.options.as_object().into_iter().flatten() {
            options[key.as_str()] = value.clone();
        }
        options
    }

    /// Keeps the JSON of an object as it was stored: the answer is made of it.
    pub(crate) fn keep_stored(&self, revision: u64, json: Bytes) {
        *self.stored.lock() = Some((revision, json));
    }

    /// The JSON that the store took at a revision.
    pub(crate) fn stored_at(&self, revision: &str) -> Option<(u64, Bytes)> {
        let (at, json) = self.stored.lock().clone()?;
        (at.to_string() == revision).then_some((at, json))
    }

    /// Keeps an annotation; the first value of a key stays.
    pub(super) fn annotate(&self, key: &str, value: &str) {
        self.annotations.lock().entry(key.to_owned()).or_insert_with(|| value.to_owned());
    }

    /// What the audit log is to say about the request.
    #[expect(dead_code, reason = "the audit log reads them")]
    pub(crate) fn annotations(&self) -> BTreeMap<String, String> {
        self.annotations.lock().clone()
    }
}
