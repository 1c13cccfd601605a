//! Whether the rules of a definition may be stored: they are programs, and cheap enough.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::Value;

use super::compile::{self, Compiled, Names};
use super::types::Types;
use crate::custom::schema::{Additional, Kind, ListType, Rule, Schema};
use crate::field::{Error, ErrorKind, Path};

/// What one rule may cost by the estimate.
const RULE_COST_MAX: u64 = 10_000_000;
/// What all rules of a schema may cost together.
const SCHEMA_COST_MAX: u64 = 100_000_000;
/// The most expensive rules that are told.
const EXPENSIVE_MAX: usize = 4;

/// Checks the rules of a structural schema. Levels at or below which `found` already has errors
/// are let be; `is_unchanged` excuses the costs of single rules.
#[must_use]
pub fn check(schema: &Schema, path: &Path, found: &[Error], is_unchanged: bool) -> Vec<Error> {
    if !schema.has_rules() {
        return Vec::new();
    }
    let (types, root) = Types::of(schema, true);
    let mut checker = Checker {
        types: Arc::new(types),
        wrong: found.iter().map(|error| error.field.as_str()).collect(),
        is_unchanged,
        total: 0,
        expensive: Vec::new(),
        errors: Vec::new(),
    };
    let at = At { level: root, count_max: Some(1), uncorrelated: None };
    checker.level(schema, path, at);
    checker.whole(path);
    checker.errors
}

/// What is known of a level from those above it.
#[derive(Clone, Copy)]
struct At<'a> {
    /// The number of its types; none when rules cannot have values of it.
    level: Option<usize>,
    /// How many values of it one object can have, where that is bounded.
    count_max: Option<u64>,
    /// The outermost list of which old and new items cannot be matched.
    uncorrelated: Option<&'a Path>,
}

struct Checker<'f> {
    types: Arc<Types>,
    /// Fields with errors.
    wrong: BTreeSet<&'f str>,
    is_unchanged: bool,
    total: u64,
    expensive: Vec<(u64, Path)>,
    errors: Vec<Error>,
}

impl Checker<'_> {
    /// The recursion is limited by the depth of a schema.
    fn level(&mut self, schema: &Schema, path: &Path, at: At<'_>) {
        if !schema.has_rules() {
            return;
        }
        let element = at.level.and_then(|level| self.types.element_of(level));
        let below = At { count_max: times(at.count_max, elements_max(schema)), ..at };
        if let Some(additional) = schema.additional_schema() {
            let at = At { level: element, ..below };
            self.level(additional, &path.child("additionalProperties"), at);
        }
        for (name, property) in schema.properties() {
            let level = at.level.and_then(|level| self.types.typed_member(level, name));
            let at = At { level, ..below };
            self.level(property, &path.child("properties").key(name), at);
        }
        if let Some(items) = &schema.items {
            let own = (schema.list_type() != ListType::Map).then_some(path);
            let uncorrelated = at.uncorrelated.or(own);
            let at = At { level: element, uncorrelated, ..below };
            self.level(items, &path.child("items"), at);
        }
        if !schema.rules.is_empty() && !self.is_wrong(path) {
            self.rules(schema, path, at);
        }
    }

    /// Whether there are errors at a path or below it.
    fn is_wrong(&self, path: &Path) -> bool {
        let path = path.to_string();
        ["", ".", "["].into_iter().any(|next| {
            let start = format!("{path}{next}");
            let first = self.wrong.range(start.as_str()..).next();
            first.is_some_and(|first| {
                if next.is_empty() { **first == *start } else { first.starts_with(&start) }
            })
        })
    }

    fn rules(&mut self, schema: &Schema, path: &Path, at: At<'_>) {
        let path = path.child("x-kubernetes-validations");
        let Some(level) = at.level else {
            let detail = "internal error: failed to construct type information for x-kubernetes-validations rules: unable to convert structural schema to CEL declarations";
            let field = path.to_string();
            let detail = detail.to_owned();
            self.errors.push(Error { kind: ErrorKind::Internal, field, value: None, detail });
            return;
        };
        let types = Arc::clone(&self.types);
        let names = Names::of(&types, level);
        let count_max = at.count_max.unwrap_or_else(|| types.cardinality_max(level));
        for (index, rule) in schema.rules.iter().enumerate() {
            let compiled = compile::rule(rule, schema, &names, (&types, level));
            self.rule(&compiled, &path.index(index), count_max, at.uncorrelated);
        }
    }

    fn rule(
        &mut self,
        compiled: &Compiled,
        path: &Path,
        count_max: u64,
        uncorrelated: Option<&Path>,
    ) {
        let rule = &compiled.rule;
        let rule_path = path.child("rule");
        let cost = compiled.cost_max.saturating_mul(count_max);
        self.cost("estimated rule cost", cost, &rule_path);
        if let Some(Err(why)) = &compiled.program {
            self.errors.push(refused(&rule_path, rule, why));
        }
        let message_path = path.child("messageExpression");
        match &compiled.message {
            Some(Err(why)) => {
                self.errors.push(refused(&message_path, rule, why));
            }
            Some(Ok(_)) => {
                let cost = compiled.message_cost_max;
                self.cost("estimated messageExpression cost", cost, &message_path);
            }
            None => {}
        }
        if compiled.uses_old_self {
            if let Some(list) = uncorrelated {
                let why = format!(
                    "oldSelf cannot be used on the uncorrelatable portion of the schema within {list}"
                );
                self.errors.push(Error::invalid(&rule_path, &*rule.rule, why));
            }
        } else if let Some(optional) = rule.optional_old_self {
            let why = "may not be set if oldSelf is not used in rule";
            self.errors.push(Error::invalid(&path.child("optionalOldSelf"), optional, why));
        }
    }

    fn cost(&mut self, name: &str, cost: u64, path: &Path) {
        if !self.is_unchanged && cost > RULE_COST_MAX {
            self.errors.push(Error::forbidden(path, too_expensive(name, cost, RULE_COST_MAX)));
        }
        self.total = self.total.saturating_add(cost);
        if cost >= SCHEMA_COST_MAX / 100 {
            self.expensive.push((cost, path.clone()));
            self.expensive.sort_by_key(|(cost, _)| std::cmp::Reverse(*cost));
            self.expensive.truncate(EXPENSIVE_MAX);
        }
    }

    fn whole(&mut self, path: &Path) {
        if self.total <= SCHEMA_COST_MAX {
            return;
        }
        for (_, path) in &self.expensive {
            let why = "contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema";
            self.errors.push(Error::forbidden(path, why));
        }
        let name = "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema";
        let why = too_expensive(name, self.total, SCHEMA_COST_MAX);
        self.errors.push(Error::forbidden(path, why));
    }
}

fn times(count: Option<u64>, elements: Option<u64>) -> Option<u64> {
    Some(count?.saturating_mul(elements?))
}

/// How many values a level has below it, where that is bounded.
fn elements_max(schema: &Schema) -> Option<u64> {
    let checks = schema.checks.as_deref();
    let max = match schema.kind {
        Kind::Object if !matches!(schema.additional, Additional::Unsaid) => {
            checks.and_then(|checks| checks.properties.max)
        }
        Kind::Array => checks.and_then(|checks| checks.items.max),
        Kind::Any | Kind::Object | Kind::String | Kind::Integer | Kind::Number | Kind::Boolean => {
            Some(1)
        }
    };
    max.map(|max| u64::try_from(max).unwrap_or(0))
}

fn too_expensive(name: &str, cost: u64, max: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "upstream counts in doubles too")]
    let factor = cost as f64 / max as f64;
    let factor = if factor > 100.0 {
        "more than 100x".to_owned()
    } else if factor < 1.5 {
        format!("{factor:.6}x")
    } else {
        format!("{factor:.1}x")
    };
    format!(
        "{name} exceeds budget by factor of {factor} (try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared)"
    )
}

/// A refused rule, which upstream shows as its internal type.
fn refused(path: &Path, rule: &Rule, why: &str) -> Error {
    let quoted = |text: &str| {
        let quoted = Value::from(text).to_string();
        quoted.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
    };
    let reason = if rule.reason.is_empty() { "null".to_owned() } else { quoted(&rule.reason) };
    let optional =
        rule.optional_old_self.map_or("null".to_owned(), |optional| optional.to_string());
    let detail = format!(
        "{{\"Rule\":{},\"Message\":{},\"MessageExpression\":{},\"Reason\":{reason},\"FieldPath\":{},\"OptionalOldSelf\":{optional}}}: {why}",
        quoted(&rule.rule),
        quoted(&rule.message),
        quoted(&rule.message_expression),
        quoted(&rule.field_path),
    );
    Error { kind: ErrorKind::Invalid, field: path.to_string(), value: None, detail }
}
