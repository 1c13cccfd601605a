//! The objects of this workload: how they are written, and read from JSON wherever it comes from.
//!
//! Everything is in annotations, which every kind has: the list of appended tokens in one, and each
//! mark in one of its own.

use std::collections::BTreeSet;

use anyhow::Context as _;
use kube::api::ApiResource;
use kube::core::GroupVersionKind;
use serde::Serialize;
use serde_json::{Value, json};

use super::record::{Name, Object};

/// The annotation with the list.
const LIST: &str = "chaos.orlop/list";
/// Before the token of a mark.
const MARK: &str = "chaos.orlop/mark-";
/// The label of groups.
pub(super) const GROUP: &str = "chaos-group";

/// A kind of objects that is written and watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Kind {
    /// ConfigMaps.
    ConfigMap,
    /// Secrets.
    Secret,
}

impl Kind {
    /// All of them.
    pub(super) const ALL: [Self; 2] = [Self::ConfigMap, Self::Secret];

    /// As the client wants it.
    pub(super) fn resource(self) -> ApiResource {
        let (kind, plural) = self.names();
        ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk("", "v1", kind), plural)
    }

    /// Where its objects are in the store.
    pub(super) fn prefix(self) -> String {
        format!("/registry/{}/", self.names().1)
    }

    fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::ConfigMap => ("ConfigMap", "configmaps"),
            Self::Secret => ("Secret", "secrets"),
        }
    }
}

impl Name {
    /// The object that a key of the store holds; `None` when it holds no such kind.
    pub(super) fn of_key(key: &str) -> Option<Self> {
        Kind::ALL.into_iter().find_map(|kind| {
            let (namespace, name) = key.strip_prefix(&kind.prefix())?.split_once('/')?;
            Some(Self { kind, namespace: namespace.to_owned(), name: name.to_owned() })
        })
    }
}

impl Object {
    /// Reads an object of the API, whose metadata has its resourceVersion.
    pub(super) fn of_api(kind: Kind, value: &Value) -> anyhow::Result<Self> {
        let version = value["metadata"]["resourceVersion"].as_str().unwrap_or_default();
        let revision =
            version.parse().with_context(|| format!("resourceVersion {version:?} is no number"))?;
        Self::of_json(kind, value, revision)
    }

    /// Reads a value of the store.
    pub(super) fn of_store(kind: Kind, value: &str, revision: i64) -> anyhow::Result<Self> {
        let value = serde_json::from_str(value).context("a stored object is not JSON")?;
        Self::of_json(kind, &value, revision)
    }

    fn of_json(kind: Kind, value: &Value, revision: i64) -> anyhow::Result<Self> {
        let metadata = &value["metadata"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let name = Name {
            kind,
            namespace: text(&metadata["namespace"]),
            name: metadata["name"].as_str().context("an object has no name")?.to_owned(),
        };
        let annotations = metadata["annotations"].as_object();
        let list = annotations.and_then(|all| all.get(LIST)).map(text).unwrap_or_default();
        let marks = annotations.into_iter().flatten();
        Ok(Self {
            name,
            uid: text(&metadata["uid"]),
            revision,
            group: text(&metadata["labels"][GROUP]),
            list: list.split_whitespace().map(str::to_owned).collect(),
            marks: marks
                .filter_map(|(key, _)| Some(key.strip_prefix(MARK)?.to_owned()))
                .collect::<BTreeSet<_>>(),
        })
    }

    /// What a client sends to write this version; the resourceVersion, when there is one, is the
    /// version that it replaces.
    pub(super) fn written(&self) -> Value {
        let mut annotations = json!({ LIST: self.list.join(" ") });
        for token in &self.marks {
            annotations[format!("{MARK}{token}")] = json!("");
        }
        let (kind, _) = self.name.kind.names();
        let mut value = json!({
            "apiVersion": "v1",
            "kind": kind,
            "metadata": {
                "namespace": self.name.namespace,
                "name": self.name.name,
                "labels": { GROUP: self.group },
                "annotations": annotations,
            },
        });
        if !self.uid.is_empty() {
            value["metadata"]["uid"] = json!(self.uid);
            value["metadata"]["resourceVersion"] = json!(self.revision.to_string());
        }
        value
    }
}

/// A merge patch that adds one mark.
pub(super) fn marking(token: &str) -> Value {
    json!({ "metadata": { "annotations": { format!("{MARK}{token}"): "" } } })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object() -> Object {
        Object {
            name: Name { kind: Kind::Secret, namespace: "c-0".to_owned(), name: "o-1".to_owned() },
            uid: "u".to_owned(),
            revision: 7,
            group: "a".to_owned(),
            list: vec!["t1".to_owned(), "t2".to_owned()],
            marks: BTreeSet::from(["t3".to_owned()]),
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        let written = object().written();
        assert_eq!(Object::of_api(Kind::Secret, &written).unwrap(), object());
        let stored = Object::of_store(Kind::Secret, &written.to_string(), 9).unwrap();
        assert_eq!(stored, Object { revision: 9, ..object() });
    }

    #[test]
    fn a_patch_adds_its_mark_and_nothing_else() {
        let marked = Object::of_json(Kind::Secret, &marking("t9"), 1);
        assert!(marked.is_err(), "it names no object");
        let mut value = marking("t9");
        value["metadata"]["name"] = json!("o-1");
        let marked = Object::of_json(Kind::Secret, &value, 1).unwrap();
        assert_eq!((marked.list.len(), marked.marks), (0, BTreeSet::from(["t9".to_owned()])));
    }

    #[test]
    fn keys_of_other_kinds_are_nobodys() {
        let name = Name::of_key("/registry/configmaps/c-0/o-1").unwrap();
        assert_eq!((name.kind, name.namespace.as_str()), (Kind::ConfigMap, "c-0"));
        assert_eq!(Name::of_key("/registry/leases/c-0/o-1"), None);
        assert_eq!(Name::of_key("compact_rev_key"), None);
    }
}
