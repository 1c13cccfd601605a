//! The rules in CEL of a custom kind: `x-kubernetes-validations`, compiled once and run often.
//!
//! | Rule | What always holds |
//! |------|-------------------|
//! | CR1 | The rules of one object cost at most `CUSTOM_RULES_COST_MAX` together. |
//! | CR2 | Of values that an update did not change a failed rule is a warning and no error. |

mod compile;
mod definition;
mod evaluate;
#[cfg(test)]
mod rules_test;
mod types;

use std::sync::Arc;

use serde_json::Value;

use compile::{Compiled, Names};
use types::Types;

pub use definition::check as check_definition;

use crate::custom::schema::{Kind, List, Schema};
use crate::field::{Error, ErrorKind, Path};

/// The compiled rules of a custom kind.
pub struct Rules {
    types: Arc<Types>,
    root: Node,
    schema: Arc<Schema>,
}

impl std::fmt::Debug for Rules {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rules").finish_non_exhaustive()
    }
}

/// What rules say of an object.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Verdict {
    pub errors: Vec<Error>,
    /// What is wrong with parts that the update did not change (CR2).
    pub warnings: Vec<String>,
}

/// One level of a schema with rules at it or below it.
struct Node {
    /// The number of its types.
    level: usize,
    kind: Kind,
    rules: Vec<Compiled>,
    uses_old_self: bool,
    list: Option<Box<List>>,
    items: Option<Box<Node>>,
    additional: Option<Box<Node>>,
    /// By name.
    properties: Vec<(Box<str>, Node)>,
    all_of: Vec<Node>,
}

impl Rules {
    /// Compiles the rules of a kind's schema; none when it has none.
    ///
    /// A rule that is none any more refuses every object, as upstream does it.
    #[must_use]
    pub fn compile(schema: &Arc<Schema>) -> Option<Self> {
        Self::of(schema, true)
    }

    fn of(schema: &Arc<Schema>, is_resource: bool) -> Option<Self> {
        if !schema.has_rules() {
            return None;
        }
        let (types, root) = Types::of(schema, is_resource);
        let types = Arc::new(types);
        let root = node(schema, schema, &types, root?)?;
        Some(Self { types, root, schema: Arc::clone(schema) })
    }

    /// Runs the rules on a new object.
    #[must_use]
    pub fn create(&self, object: &Value) -> Verdict {
        evaluate::run(self, object, None, "")
    }

    /// Runs the rules on a changed object, also when only its status changed.
    #[must_use]
    pub fn update(&self, new: &Value, old: &Value) -> Verdict {
        evaluate::run(self, new, Some(old), "")
    }
}

/// Runs the rules of a level on its default: on one that stays, and on one that is new.
#[must_use]
pub(super) fn check_default(default: &Value, schema: &Schema, base: &Path) -> Vec<Error> {
    let schema = Arc::new(schema.clone());
    let Some(rules) = Rules::of(&schema, schema.embeds_resource) else { return Vec::new() };
    let base = base.to_string();
    let kept = evaluate::run(&rules, default, Some(default), &base).errors;
    if kept.is_empty() { evaluate::run(&rules, default, None, &base).errors } else { kept }
}

/// Upstream does not run rules on what the schema refuses by its shape: the error that says so,
/// when one of `errors` is such a refusal.
#[must_use]
pub fn not_run_because_of(errors: &[Error]) -> Option<Error> {
    let blocks = |kind| {
        matches!(
            kind,
            ErrorKind::NotSupported
                | ErrorKind::Required
                | ErrorKind::TooLong
                | ErrorKind::TooMany
                | ErrorKind::TypeInvalid
        )
    };
    let detail = "some validation rules were not checked because the object was invalid; correct the existing errors to complete validation";
    errors.iter().any(|error| blocks(error.kind)).then(|| Error {
        kind: ErrorKind::Invalid,
        field: NO_PATH.to_owned(),
        value: Some(Value::Null),
        detail: detail.to_owned(),
    })
}

/// How upstream writes a path that is not there.
const NO_PATH: &str = "<nil>";

/// The rules that `validation` has for values of `schema`, which are the same but within allOf.
///
/// The recursion is limited by the depth of a schema.
fn node(validation: &Schema, schema: &Schema, types: &Arc<Types>, level: usize) -> Option<Node> {
    let names = (!validation.rules.is_empty()).then(|| Names::of(types, level));
    let compiled = |names| {
        let rules = validation.rules.iter();
        rules.map(|rule| compile::rule(rule, schema, names, (types, level))).collect()
    };
    let rules: Vec<Compiled> = names.as_ref().map(compiled).unwrap_or_default();
    let element = types.element_of(level);
    let below = |validation: Option<&Schema>, schema: Option<&Schema>| {
        node(validation?, schema?, types, element?).map(Box::new)
    };
    let mut properties = Vec::new();
    for (name, property) in validation.properties() {
        let member = types.typed_member(level, name);
        if let (Some(member), Some(schema)) = (member, schema.property(name))
            && let Some(node) = node(property, schema, types, member)
        {
            properties.push((name.into(), node));
        }
    }
    let branches = validation.checks.as_deref().map_or(&[][..], |checks| &checks.all_of);
    let node = Node {
        level,
        kind: schema.kind,
        uses_old_self: rules.iter().any(|rule| rule.uses_old_self),
        rules,
        list: schema.list.clone(),
        items: below(validation.items.as_deref(), schema.items.as_deref()),
        additional: below(validation.additional_schema(), schema.additional_schema()),
        properties,
        all_of: branches.iter().filter_map(|one| node(one, schema, types, level)).collect(),
    };
    let is_empty = node.rules.is_empty()
        && node.items.is_none()
        && node.additional.is_none()
        && node.properties.is_empty()
        && node.all_of.is_empty();
    (!is_empty).then_some(node)
}
