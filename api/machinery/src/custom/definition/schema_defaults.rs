//! Defaults in schemas have to be values that the schema takes.

use serde_json::Value;

use crate::custom::{Schema, check, prune, rules, walk};
use crate::field::{Error, Path};

/// Checks every default of a structural schema. Defaults inside of the metadata of embedded
/// resources are checked against their own level only.
pub(super) fn check(json: &Value, may_be_unpruned: bool, path: &Path, errors: &mut Vec<Error>) {
    if let Ok(schema) = Schema::parse(json) {
        level(&schema, may_be_unpruned, path, errors);
    }
}

/// The recursion is limited by the depth of a schema.
fn level(schema: &Schema, may_be_unpruned: bool, path: &Path, errors: &mut Vec<Error>) {
    if let Some(default) = &schema.default {
        let path = path.child("default");
        let mut pruned = Value::clone(default);
        let unknown = prune::prune(&mut pruned, schema, schema.embeds_resource);
        if !unknown.is_empty() && !may_be_unpruned {
            errors.push(Error::invalid(
                &path,
                Value::clone(default),
                "must not have unknown fields",
            ));
        }
        let wrong = check::default(default, schema, &path);
        if wrong.is_empty() {
            errors.extend(rules::check_default(default, schema, &path));
        }
        errors.extend(wrong);
    }
    if let Some(items) = &schema.items {
        level(items, may_be_unpruned, &path.child("items"), errors);
    }
    for (name, property) in schema.properties() {
        level(property, may_be_unpruned, &path.child("properties").key(name), errors);
    }
}

/// Whether a schema has a default with members that it does not know.
pub(super) fn has_unpruned(json: &Value) -> bool {
    walk::any(json, |level| {
        let Ok(schema) = Schema::parse(level) else { return false };
        let Some(default) = &schema.default else { return false };
        !prune::prune(&mut Value::clone(default), &schema, schema.embeds_resource).is_empty()
    })
}
