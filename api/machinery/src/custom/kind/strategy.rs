//! What the server changes in a custom object before it is stored, and whether it may be.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{CustomVersion, embedded};
use crate::custom::rules::not_run_because_of;
use crate::custom::{check, lists};
use crate::field::{Error, Path};
use crate::validate::names::qualified_name;
use crate::{Object, validate};

impl CustomVersion {
    /// Prepares a new object whose metadata has been prepared as any object's.
    pub fn prepare_for_create(&self, object: &mut Object) {
        if self.has_status {
            object.remove(&["status"]);
        }
        object.set_generation(1);
    }

    /// Prepares an update: the generation counts every change outside of the metadata.
    pub fn prepare_for_update(&self, new: &mut Object, old: &Object) {
        if self.has_status {
            match old.at(&["status"]) {
                Some(status) => new.set(&["status"], status.clone()),
                None => drop(new.remove(&["status"])),
            }
        }
        let rest = |object: &Object| {
            let mut rest = object.0.clone();
            rest.remove("metadata");
            rest
        };
        if rest(new) == rest(old) {
            new.set_generation(old.generation());
        } else {
            new.set_generation(old.generation() + 1);
        }
    }

    /// Prepares an update of the status: nothing else changes.
    pub fn prepare_for_status_update(&self, new: &mut Object, old: &Object) {
        let status = new.remove(&["status"]);
        let fields = new.remove(&["metadata", "managedFields"]);
        let version = new.at(&["metadata", "resourceVersion"]).cloned();
        *new = old.clone();
        for (path, value) in
            [(&["status"][..], status), (&["metadata", "managedFields"][..], fields)]
        {
            match value {
                Some(value) => new.set(path, value),
                None => drop(new.remove(path)),
            }
        }
        if let Some(version) = version {
            new.set(&["metadata", "resourceVersion"], version);
        }
    }

    /// Checks a new object.
    #[must_use]
    pub fn check_create(&self, object: &Object) -> Vec<Error> {
        let mut errors = self.check_type(object);
        if !errors.is_empty() {
            return errors;
        }
        errors = validate::create(self.info, object);
        let value = Value::Object(object.0.clone());
        errors.extend(check::create(&value, &self.schema, None));
        self.check_scale(object, true, &mut errors);
        embedded::check(&value, &self.schema, (&Path::default(), true), &mut errors);
        lists::check(&value, &self.schema, &Path::default(), &mut errors);
        errors
    }

    /// Checks an update.
    #[must_use]
    pub fn check_update(&self, new: &Object, old: &Object) -> Vec<Error> {
        let mut errors = self.check_type(new);
        if !errors.is_empty() {
            return errors;
        }
        errors = validate::update(self.info, new, old);
        let (value, before) = (Value::Object(new.0.clone()), Value::Object(old.0.clone()));
        errors.extend(check::update(&value, &before, &self.schema, None));
        self.check_scale(new, true, &mut errors);
        embedded::check(&value, &self.schema, (&Path::default(), true), &mut errors);
        self.check_lists(&value, &before, &mut errors);
        errors
    }

    /// Checks an update of the status.
    #[must_use]
    pub fn check_status_update(&self, new: &Object, old: &Object) -> Vec<Error> {
        let mut errors = self.check_type(new);
        if !errors.is_empty() {
            return errors;
        }
        errors = validate::update(self.info, new, old);
        if let (Some(status), Some(schema)) = (new.at(&["status"]), self.schema.property("status"))
        {
            let before = old.at(&["status"]).unwrap_or(&Value::Null);
            errors.extend(check::update(status, before, schema, Some(&Path::new("status"))));
        }
        self.check_scale(new, false, &mut errors);
        let (value, before) = (Value::Object(new.0.clone()), Value::Object(old.0.clone()));
        self.check_lists(&value, &before, &mut errors);
        errors
    }

    /// Whether there are rules in CEL to be run.
    #[must_use]
    pub fn has_rules(&self) -> bool {
        self.rules.is_some()
    }

    /// Runs the rules in CEL after the checks, whose `errors` may forbid it, and returns warnings.
    /// May take a second of a processor: not for a thread that serves others.
    #[must_use]
    pub fn run_rules(
        &self,
        new: &Object,
        old: Option<&Object>,
        errors: &mut Vec<Error>,
    ) -> Vec<String> {
        let Some(rules) = &self.rules else { return Vec::new() };
        if let Some(error) = not_run_because_of(errors) {
            errors.push(error);
            return Vec::new();
        }
        let value = |object: &Object| Value::Object(object.0.clone());
        let verdict = match old {
            Some(old) => rules.update(&value(new), &value(old)),
            None => rules.create(&value(new)),
        };
        errors.extend(verdict.errors);
        verdict.warnings
    }

    fn check_type(&self, object: &Object) -> Vec<Error> {
        let mut errors = Vec::new();
        for (field, found, wanted) in [
            ("kind", object.kind(), self.info.kind),
            ("apiVersion", object.api_version(), self.api_version()),
        ] {
            if found != wanted {
                let why = format!("must be {wanted}");
                errors.push(Error::invalid(&Path::new(field), found, why));
            }
        }
        errors
    }

    /// Items that were there twice before may stay.
    fn check_lists(&self, new: &Value, old: &Value, errors: &mut Vec<Error>) {
        let mut before = Vec::new();
        lists::check(old, &self.schema, &Path::default(), &mut before);
        if before.is_empty() {
            lists::check(new, &self.schema, &Path::default(), errors);
        }
    }
}

const STANDARD_FINALIZERS: [&str; 3] = ["orphan", "foregroundDeletion", "kubernetes"];

/// What is said of finalizers that a write adds.
#[must_use]
pub fn finalizer_warnings(new: &Object, old: Option<&Object>) -> Vec<String> {
    let before = old.map(Object::finalizers).unwrap_or_default();
    let added: BTreeSet<String> =
        new.finalizers().into_iter().filter(|one| !before.contains(one)).collect();
    let mut warnings = Vec::new();
    for name in added {
        let path = "metadata.finalizers";
        warnings.extend(
            qualified_name(&name).into_iter().map(|why| format!("{path}: {name:?}: {why}")),
        );
        if name.contains('/') || STANDARD_FINALIZERS.contains(&name.as_str()) {
            continue;
        }
        let part = if name.contains('.') { " including a path (/)" } else { "" };
        warnings.push(format!(
            "{path}: {name:?}: prefer a domain-qualified finalizer name{part} to avoid accidental conflicts with other finalizer writers"
        ));
    }
    warnings
}
