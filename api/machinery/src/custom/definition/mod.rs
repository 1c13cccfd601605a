//! CustomResourceDefinitions: their defaults, and whether one may be stored.
//!
//! | Rule | What always holds |
//! |------|-------------------|
//! | CD1 | What an old definition already had wrong does not keep an update from being stored. |
//! | CD2 | A definition without problems here can be parsed into a [`crate::custom::Schema`]. |

pub mod conditions;
mod conversion;
pub mod defaults;
pub(super) mod field_path;
mod names;
mod schema;
mod schema_defaults;
mod version;

pub use names::{Accepted, accept};

use serde_json::{Value, json};

use crate::Object;
use crate::custom::{structural, walk};
use crate::field::{Error, Path};
use crate::validate::names::subdomain_1123;
use crate::validate::repeated;

/// What an old definition excuses (CD1).
#[derive(Clone, Debug, Default)]
struct Excuses {
    established: bool,
    needs_no_schema: bool,
    any_schema: bool,
    any_review_version: bool,
    any_ca_bundle: bool,
    any_defaults: bool,
    any_list_keys: bool,
    /// Versions with the same schema as before.
    unchanged_schemas: Vec<String>,
    /// Versions with the same, too many selectable fields.
    many_fields: Vec<String>,
}

/// Checks a new definition, defaults applied.
#[must_use]
pub fn create(definition: &Object) -> Vec<Error> {
    let mut errors = metadata(definition);
    let excuses = Excuses { any_ca_bundle: true, ..Excuses::default() };
    let spec = definition.at(&["spec"]).unwrap_or(&Value::Null);
    check_spec(spec, &excuses, &mut errors);
    status(definition, &mut errors);
    stored_versions(definition, &mut errors);
    approval(definition, None, &mut errors);
    preserve_unknown_fields(definition, None, &mut errors);
    errors
}

/// Checks an update of a definition; its metadata has been checked as any object's.
#[must_use]
pub fn update(new: &Object, old: &Object) -> Vec<Error> {
    let mut errors = Vec::new();
    let null = Value::Null;
    let (spec, before) = (new.at(&["spec"]).unwrap_or(&null), old.at(&["spec"]).unwrap_or(&null));
    let excuses = excuses(spec, old);
    check_spec(spec, &excuses, &mut errors);
    let mut immutable = |names: &[&str]| {
        let (now, was) = (at(spec, names), at(before, names));
        if now != was {
            let path = names.iter().fold(Path::new("spec"), |path, name| path.child(name));
            errors.push(Error::invalid(&path, now.clone(), "field is immutable"));
        }
    };
    if excuses.established {
        immutable(&["scope"]);
        immutable(&["names", "kind"]);
    }
    immutable(&["group"]);
    immutable(&["names", "plural"]);
    status(new, &mut errors);
    stored_versions(new, &mut errors);
    approval(new, Some(old), &mut errors);
    preserve_unknown_fields(new, Some(old), &mut errors);
    errors
}

/// Checks an update through the subresource `status`; its metadata has been checked before.
#[must_use]
pub fn status_update(new: &Object) -> Vec<Error> {
    let mut errors = Vec::new();
    status(new, &mut errors);
    errors
}

fn at<'a>(value: &'a Value, names: &[&str]) -> &'a Value {
    names.iter().fold(value, |value, name| &value[*name])
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or("")
}

fn list<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value[name].as_array().map_or(&[], Vec::as_slice)
}

fn metadata(definition: &Object) -> Vec<Error> {
    let mut errors = Vec::new();
    let path = Path::new("metadata");
    let name = definition.name();
    let plural = definition.text(&["spec", "names", "plural"]);
    let group = definition.text(&["spec", "group"]);
    if name.is_empty() {
        let why = "name or generateName is required";
        errors.push(Error::required(&path.child("name"), why));
    } else {
        let mut problems = subdomain_1123(name);
        if name != format!("{plural}.{group}") {
            problems.push("must be spec.names.plural+\".\"+spec.group".to_owned());
        }
        let path = path.child("name");
        errors.extend(problems.into_iter().map(|why| Error::invalid(&path, name, why)));
    }
    let metadata = definition.at(&["metadata"]).unwrap_or(&Value::Null);
    crate::validate::metadata(metadata, &path, &mut errors);
    errors
}

fn is_established(definition: &Object) -> bool {
    let conditions = definition.at(&["status", "conditions"]).and_then(Value::as_array);
    let mut conditions = conditions.into_iter().flatten();
    conditions.any(|one| one["type"] == "Established" && one["status"] == "True")
}

fn schemas(spec: &Value) -> impl Iterator<Item = &Value> {
    let schemas = list(spec, "versions").iter().map(|one| &one["schema"]["openAPIV3Schema"]);
    schemas.filter(|schema| schema.is_object())
}

fn excuses(spec: &Value, old: &Object) -> Excuses {
    let null = Value::Null;
    let before = old.at(&["spec"]).unwrap_or(&null);
    let path = Path::default();
    let established = is_established(old);
    let review_versions = list(&before["conversion"]["webhook"], "conversionReviewVersions");
    let is_known = |version: &Value| version == "v1" || version == "v1beta1";
    let versions = list(before, "versions");
    let many_fields = versions.iter().filter(|was| {
        let fields = list(was, "selectableFields");
        let mut now = list(spec, "versions").iter();
        fields.len() > crate::limits::SELECTABLE_FIELDS_MAX
            && now.any(|now| now["name"] == was["name"] && list(now, "selectableFields") == fields)
    });
    let is_unchanged = |was: &&Value| {
        let mut now = list(spec, "versions").iter();
        now.any(|now| now["name"] == was["name"] && now["schema"] == was["schema"])
    };
    Excuses {
        established,
        unchanged_schemas: versions
            .iter()
            .filter(is_unchanged)
            .map(|one| text(one, "name").to_owned())
            .collect(),
        needs_no_schema: versions.iter().any(|one| one["schema"]["openAPIV3Schema"].is_null()),
        any_schema: schemas(before).any(|schema| {
            crate::custom::Schema::parse(schema).is_err()
                || !structural::violations(schema, &path).is_empty()
        }),
        any_review_version: !review_versions.is_empty() && !review_versions.iter().any(is_known),
        any_ca_bundle: !established,
        any_defaults: schemas(before).any(schema_defaults::has_unpruned),
        any_list_keys: schemas(before).any(|schema| {
            walk::any(schema, |level| {
                let mut errors = Vec::new();
                schema::keys_and_nulls(level, &path, &mut errors);
                !errors.is_empty()
            })
        }),
        many_fields: many_fields.map(|one| text(one, "name").to_owned()).collect(),
    }
}

fn check_spec(spec: &Value, excuses: &Excuses, errors: &mut Vec<Error>) {
    let path = Path::new("spec");
    let group = text(spec, "group");
    let group_path = path.child("group");
    let problems = subdomain_1123(group);
    if group.is_empty() {
        errors.push(Error::required(&group_path, ""));
    } else if !problems.is_empty() {
        errors.push(Error::invalid(&group_path, group, problems.join(",")));
    } else if !group.contains('.') {
        let why = "should be a domain with at least one dot";
        errors.push(Error::invalid(&group_path, group, why));
    }
    match text(spec, "scope") {
        "" => errors.push(Error::required(&path.child("scope"), "")),
        "Cluster" | "Namespaced" => {}
        other => {
            let choices = ["Cluster", "Namespaced"];
            errors.push(Error::not_supported(&path.child("scope"), other, &choices));
        }
    }
    version::check_all(spec, excuses, &path, errors);
    let names = &spec["names"];
    for name in ["plural", "singular", "kind", "listKind"] {
        if text(names, name).is_empty() {
            errors.push(Error::required(&path.child("names").child(name), ""));
        }
    }
    names::check(names, &path.child("names"), errors);
    conversion::check(&spec["conversion"], excuses, &path.child("conversion"), errors);
}

fn status(definition: &Object, errors: &mut Vec<Error>) {
    let names = definition.at(&["status", "acceptedNames"]).unwrap_or(&Value::Null);
    names::check(names, &Path::new("status").child("acceptedNames"), errors);
}

fn stored_versions(definition: &Object, errors: &mut Vec<Error>) {
    let path = Path::new("status").child("storedVersions");
    let null = Value::Null;
    let status = definition.at(&["status"]).unwrap_or(&null);
    let stored = list(status, "storedVersions");
    if stored.is_empty() {
        errors.push(Error::invalid(&path, Value::Null, "must have at least one stored version"));
        return;
    }
    let versions = list(definition.at(&["spec"]).unwrap_or(&null), "versions");
    // Of versions with the same name upstream finds the first one only.
    let again = repeated(versions, |version| version["name"].to_string());
    for (version, is_repeated) in versions.iter().zip(again) {
        if version["storage"] == true && (is_repeated || !stored.contains(&version["name"])) {
            let why = format!("must have the storage version {}", text(version, "name"));
            errors.push(Error::invalid(&path, json!(stored), why));
        }
    }
    for (index, name) in stored.iter().enumerate() {
        if !versions.iter().any(|version| version["name"] == *name) {
            let name = name.as_str().unwrap_or("");
            let why = format!(
                "missing from spec.versions; {name} was previously a storage version, and must remain in spec.versions until a storage migration ensures no data remains persisted in {name} and removes {name} from status.storedVersions"
            );
            errors.push(Error::invalid(&path.index(index), name, why));
        }
    }
}

const APPROVAL: &str = "api-approved.kubernetes.io";
const APPROVAL_PAGE: &str = "https://github.com/kubernetes/enhancements/pull/1111";

#[derive(PartialEq, Eq)]
enum Approval {
    Approved,
    Bypassed,
    Missing,
    Invalid,
}

fn approval_of(definition: &Object) -> Approval {
    let note = definition.text(&["metadata", "annotations", APPROVAL]);
    let host = note.split_once("://").map_or("", |(_, rest)| rest);
    if note.is_empty() {
        Approval::Missing
    } else if note.starts_with("unapproved") {
        Approval::Bypassed
    } else if crate::custom::formats::is_uri(note) && !host.is_empty() && !host.starts_with('/') {
        Approval::Approved
    } else {
        Approval::Invalid
    }
}

fn is_protected(group: &str) -> bool {
    ["k8s.io", "kubernetes.io"].iter().any(|owner| {
        group.strip_suffix(owner).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    })
}

/// Groups of the Kubernetes community want to be approved.
fn approval(new: &Object, old: Option<&Object>, errors: &mut Vec<Error>) {
    let group = new.text(&["spec", "group"]);
    let now = approval_of(new);
    if !is_protected(group) || old.is_some_and(|old| approval_of(old) == now) {
        return;
    }
    let path = Path::new("metadata").child("annotations").key(APPROVAL);
    let must = format!("protected groups must have approval annotation {APPROVAL:?}");
    match now {
        Approval::Approved | Approval::Bypassed => {}
        Approval::Missing => {
            errors.push(Error::required(&path, format!("{must}, see {APPROVAL_PAGE}")));
        }
        Approval::Invalid => {
            let note = new.text(&["metadata", "annotations", APPROVAL]);
            let why = format!(
                "{must} with either a URL or a reason starting with \"unapproved\", see {APPROVAL_PAGE}"
            );
            errors.push(Error::invalid(&path, note, why));
        }
    }
}

fn preserve_unknown_fields(new: &Object, old: Option<&Object>, errors: &mut Vec<Error>) {
    let preserves = |object: &Object| {
        object.at(&["spec", "preserveUnknownFields"]).is_some_and(|value| value == true)
    };
    if preserves(new) && !old.is_some_and(preserves) {
        let why = "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead";
        let path = Path::new("spec").child("preserveUnknownFields");
        errors.push(Error::invalid(&path, true, why));
    }
}
