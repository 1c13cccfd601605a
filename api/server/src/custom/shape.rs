//! A kind as requests see it, built-in or custom: the one place that tells them apart.

use std::borrow::Cow;
use std::sync::Arc;

use api_machinery::apply::Target;
use api_machinery::custom::kind::finalizer_warnings;
use api_machinery::decode::{self, Decoded, Encoding, Expected, FieldValidation};
use api_machinery::field::Error;
use api_machinery::status::Grouped;
use api_machinery::strategy::{self, Creation};
use api_machinery::table::{self, IncludeObject};
use api_machinery::{Object, ResourceInfo, Status, View, kinds, validate};
use jiff::Timestamp;
use serde_json::Value;

use super::Served;
use crate::admission::Notes;
use crate::state::Server;
use crate::storage::{self, Outcome, RawValue, Storage, Stored};
use crate::watch_cache::{Cache, Json, Version};
use crate::working::working;

/// A kind, with what its definition says of it when it is a custom one.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    pub(crate) info: &'static ResourceInfo,
    pub(crate) custom: Option<Served>,
}

impl Shape {
    /// A kind that is not a custom one.
    pub(crate) fn built_in(info: &'static ResourceInfo) -> Self {
        Self { info, custom: None }
    }

    /// The kind of a URL.
    pub(crate) fn find(server: &Server, group: &str, version: &str, plural: &str) -> Option<Self> {
        if let Some(info) = kinds::find(group, version, plural) {
            return Some(Self { info, custom: None });
        }
        let served = server.custom.find(group, version, plural)?;
        Some(Self { info: served.version.info, custom: Some(served) })
    }

    /// The kind of a row; 404 when it is served no more.
    pub(crate) fn of(server: &Server, info: &'static ResourceInfo) -> Result<Self, Status> {
        if !info.is_custom() {
            return Ok(Self { info, custom: None });
        }
        let served = server.custom.of(info).ok_or_else(Status::no_such_path)?;
        Ok(Self { info: served.version.info, custom: Some(served) })
    }

    pub(crate) fn list_kind(&self) -> Cow<'_, str> {
        match &self.custom {
            Some(served) => Cow::Borrowed(&*served.version.list_kind),
            None => Cow::Owned(self.info.list_kind()),
        }
    }

    /// What everybody who uses the version is told.
    pub(crate) fn warning(&self) -> Option<&str> {
        self.custom.as_ref()?.version.warning.as_deref()
    }

    /// What is said of finalizers that a write adds.
    pub(crate) fn warnings(&self, new: &Object, old: Option<&Object>) -> Vec<String> {
        self.custom.as_ref().map(|_| finalizer_warnings(new, old)).unwrap_or_default()
    }

    /// Refuses new objects of a kind that is going.
    pub(crate) fn check_new(&self, name: &str) -> Result<(), Status> {
        let Some(served) = &self.custom else { return Ok(()) };
        if !served.definition.is_terminating {
            return Ok(());
        }
        let why = "create not allowed while custom resource definition is terminating";
        Err(Status::forbidden(&self.info.group_resource(), name, why))
    }

    pub(crate) fn target(&self, subresource: &str) -> Target {
        match &self.custom {
            Some(served) => served.version.target(subresource),
            None => Target::of(self.info, subresource),
        }
    }
}

/// Bodies.
impl Shape {
    /// Decodes a body of the kind.
    pub(crate) fn decode(
        &self,
        body: &[u8],
        encoding: Encoding,
        validation: FieldValidation,
    ) -> Result<Decoded, Status> {
        if let Some(served) = &self.custom {
            return served.version.decode(body, encoding, validation);
        }
        let api_version = self.info.api_version();
        let expected = Expected { api_version: &api_version, kind: self.info.kind };
        decode::body(body, encoding, expected, validation)
    }

    /// Fits a patched tree to the kind.
    pub(crate) fn fit(&self, tree: Value, validation: FieldValidation) -> Result<Decoded, Status> {
        if let Some(served) = &self.custom {
            return served.version.fit(tree, validation);
        }
        let api_version = self.info.api_version();
        let expected = Expected { api_version: &api_version, kind: self.info.kind };
        decode::value(tree, expected, validation)
    }
}

/// Strategy and rules.
impl Shape {
    pub(crate) fn prepare_for_create(&self, object: &mut Object, creation: Creation<'_>) {
        strategy::prepare_for_create(self.info.kept(), object, creation);
        if let Some(served) = &self.custom {
            served.version.prepare_for_create(object);
        }
    }

    pub(crate) fn prepare_for_update(&self, new: &mut Object, old: &Object) {
        strategy::prepare_for_update(self.info.kept(), new, old);
        if let Some(served) = &self.custom {
            served.version.prepare_for_update(new, old);
        }
    }

    pub(crate) fn prepare_for_status_update(&self, new: &mut Object, old: &Object, now: &str) {
        match &self.custom {
            Some(served) => served.version.prepare_for_status_update(new, old),
            None => strategy::prepare_for_status_update(self.info.kept(), new, old, now),
        }
    }

    pub(crate) fn check_create(&self, object: &Object) -> Vec<Error> {
        match &self.custom {
            Some(served) => served.version.check_create(object),
            None => self.looking(|| validate::create(self.info, object)),
        }
    }

    pub(crate) fn check_update(&self, new: &Object, old: &Object) -> Vec<Error> {
        match &self.custom {
            Some(served) => served.version.check_update(new, old),
            None => self.looking(|| validate::update(self.info, new, old)),
        }
    }

    pub(crate) fn check_status_update(&self, new: &Object, old: &Object) -> Vec<Error> {
        match &self.custom {
            Some(served) => served.version.check_status_update(new, old),
            None => validate::status_update(self.info, new, old),
        }
    }

    /// Definitions of custom kinds and policies have expressions that are compiled to be checked.
    fn looking<T>(&self, look: impl FnOnce() -> T) -> T {
        match self.info.group {
            "apiextensions.k8s.io" | "admissionregistration.k8s.io" => working(look),
            _ => look(),
        }
    }

    /// Runs what rules in CEL a custom kind has, off the threads that serve others; warnings come
    /// back.
    pub(crate) fn run_rules(
        &self,
        new: &Object,
        old: Option<&Object>,
        errors: &mut Vec<Error>,
    ) -> Vec<String> {
        match &self.custom {
            Some(served) if served.version.has_rules() => {
                working(|| served.version.run_rules(new, old, errors))
            }
            Some(_) | None => Vec::new(),
        }
    }

    /// The kind that a refused object says it is of.
    pub(crate) fn told_kind(&self, object: &Object) -> Grouped {
        match &self.custom {
            Some(_) => Grouped::new(self.info.group, object.kind()),
            None => self.info.kept().group_kind(),
        }
    }
}

/// The store and the cache.
impl Shape {
    /// The cache of the kind.
    pub(crate) fn cache<'a>(&'a self, server: &'a Server) -> &'a Arc<Cache> {
        match &self.custom {
            Some(served) => &served.definition.cache,
            None => server.caches.of(self.info.kept()),
        }
    }

    /// Reads one object, linearizably, as the version that was asked for.
    pub(crate) async fn get(
        &self,
        storage: &Storage,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Stored>, Status> {
        let raw = storage.get_raw(&storage.key(self.info, namespace, name)).await?;
        raw.map(|raw| self.stored(&raw)).transpose()
    }

    /// A stored value as the version that was asked for.
    pub(crate) fn stored(&self, raw: &RawValue) -> Result<Stored, Status> {
        let mut found = storage::stored(raw)?;
        if let Some(served) = &self.custom {
            let before = found.object.clone();
            let mut tree = Value::Object(found.object.0);
            served.definition.kind.read(&mut tree);
            found.is_stale |= tree != Value::Object(before.0);
            served.show(&mut tree);
            found.object = Object::from_value(tree).unwrap_or_default();
        }
        Ok(found)
    }

    /// Writes an object in the version that is stored; T1. The JSON of one that is shown as it is
    /// stored is noted.
    pub(crate) async fn put(
        &self,
        storage: &Storage,
        object: &mut Object,
        expected: u64,
        notes: Option<&Notes>,
    ) -> Result<Outcome, Status> {
        let Some(served) = &self.custom else {
            let (outcome, json) = storage.put_json(self.info.kept(), object, expected).await?;
            if let (Outcome::Done(revision), Some(notes)) = (&outcome, notes) {
                notes.keep_stored(*revision, json);
            }
            return Ok(outcome);
        };
        let mut stored = served.definition.kind.stored(object);
        let outcome = storage.put(self.info, &mut stored, expected).await?;
        if let Outcome::Done(revision) = outcome {
            object.set_resource_version(revision);
        }
        Ok(outcome)
    }

    /// A value of the store as caches hold it.
    pub(crate) fn version_of(&self, raw: &RawValue) -> Result<Version, Status> {
        match &self.custom {
            Some(served) => Version::of_custom(&served.definition.kind, raw),
            None => Version::of(self.info.kept(), raw),
        }
    }

    /// Whether what a cache holds is what clients of the version see.
    pub(crate) fn is_shown_as_stored(&self) -> bool {
        self.custom.as_ref().is_none_or(Served::is_storage)
    }

    /// The object of a cache as JSON of the version that was asked for.
    pub(crate) fn json_of(&self, version: &Version) -> Json {
        match &self.custom {
            Some(served) if !served.is_storage() => {
                // The bytes were JSON when they came into the cache.
                let mut tree: Value = serde_json::from_slice(&version.json()).unwrap_or_default();
                served.show(&mut tree);
                Json::new(tree.to_string().into_bytes())
            }
            Some(_) | None => version.json(),
        }
    }

    /// The object of a cache as a tree of the version that was asked for.
    pub(crate) fn object_of(&self, version: &Version) -> Result<Object, Status> {
        storage::parse(&self.json_of(version))
    }
}

/// Tables.
impl Shape {
    pub(crate) fn write_table_start(&self, meta: &Value, with_columns: bool, out: &mut Vec<u8>) {
        match &self.custom {
            Some(served) => served.version.write_table_start(meta, with_columns, out),
            None => table::write_start(self.info, meta, with_columns, out),
        }
    }

    /// The row of an object as a cache holds it.
    pub(crate) fn write_table_row_of(
        &self,
        version: &Version,
        include: IncludeObject,
        now: Timestamp,
        out: &mut Vec<u8>,
    ) {
        if self.custom.is_some() {
            let json = self.json_of(version);
            return self.write_table_row(View::new(&json), include, now, out);
        }
        let json = version.json();
        let of = (self.info, View::new(&json), version.header.parts);
        table::write_row_of(of, include, now, out);
    }

    pub(crate) fn write_table_row(
        &self,
        object: View<'_>,
        include: IncludeObject,
        now: Timestamp,
        out: &mut Vec<u8>,
    ) {
        match &self.custom {
            Some(served) => served.version.write_table_row(object, include, now, out),
            None => table::write_row(self.info, object, include, now, out),
        }
    }
}

impl Served {
    fn is_storage(&self) -> bool {
        Arc::ptr_eq(&self.version, self.definition.kind.storage())
    }

    /// An object of the storage version as one of this version.
    fn show(&self, tree: &mut Value) {
        if !self.is_storage() {
            self.version.convert(tree);
        }
    }
}
