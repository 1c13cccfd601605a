//! Whether a value fits its schema: OpenAPI's rules as upstream reads them, in upstream's words.
//!
//! | Rule | What always holds |
//! |------|-------------------|
//! | CC1 | What an update did not change is not refused, where old and new can be matched. |
//! | CC2 | A check visits each pair of a value's part and a schema's part at most once. |

use serde_json::{Map, Value};

use super::correlate::Old;
use super::fault::{Fault, Outcome, Place};
use super::go_text::{Number, is_whole};
use super::schema::{Additional, Checks, Kind, Schema};
use super::{formats, scalars};
use crate::field::{Error, Path};

/// Checks a new value. `base` is where it is, `None` for a whole object.
#[must_use]
pub fn create(value: &Value, schema: &Schema, base: Option<&Path>) -> Vec<Error> {
    Checker { is_default: false }.value(value, schema, &Place::ROOT, None).into_errors(base)
}

/// Checks a changed value: parts that are as they were are let be (CC1).
#[must_use]
pub fn update(new: &Value, old: &Value, schema: &Schema, base: Option<&Path>) -> Vec<Error> {
    let old = Old::root(new, old, schema);
    Checker { is_default: false }.value(new, schema, &Place::ROOT, Some(old)).into_errors(base)
}

/// Checks the default of a schema: upstream forgets there that int-or-string is a type.
#[must_use]
pub(super) fn default(value: &Value, schema: &Schema, base: &Path) -> Vec<Error> {
    Checker { is_default: true }.value(value, schema, &Place::ROOT, None).into_errors(Some(base))
}

#[derive(Clone, Copy)]
struct Checker {
    is_default: bool,
}

impl Checker {
    /// The recursion ends with the value or the schema, both of limited depth.
    fn value(
        self,
        value: &Value,
        schema: &Schema,
        place: &Place<'_>,
        old: Option<Old<'_>>,
    ) -> Outcome {
        let mut outcome = Outcome::default();
        self.kind(value, schema, place, &mut outcome);
        let checks = schema.checks.as_deref();
        if value.is_null() {
            scalars::choice(value, checks, place, &mut outcome);
        } else {
            outcome.merge(self.combinations(value, checks, place));
            outcome.matches += 1;
            scalars::check(value, schema, place, &mut outcome);
            if let Value::Array(items) = value {
                self.items(items, schema, place, old, &mut outcome);
                outcome.matches += 2;
            }
            scalars::choice(value, checks, place, &mut outcome);
            outcome.matches += 1;
            if let Value::Object(map) = value {
                self.object(map, schema, place, old, &mut outcome);
                outcome.matches += 1;
            }
            outcome.matches += 1;
        }
        // CC1
        if !outcome.is_valid() && old.is_some_and(|old| old.is_unchanged()) {
            outcome.forgive();
        }
        outcome
    }

    fn kind(self, value: &Value, schema: &Schema, place: &Place<'_>, outcome: &mut Outcome) {
        let (wanted, name) = match schema.kind {
            _ if schema.int_or_string && !self.is_default => {
                (&[Kind::Integer, Kind::String][..], "integer,string")
            }
            Kind::Any => (&[][..], ""),
            ref kind => (std::slice::from_ref(kind), kind.name()),
        };
        let format = formats::of(schema);
        if wanted.is_empty() && format.is_empty() {
            return;
        }
        match misfit(value, schema, (wanted, name), format) {
            Some((wanted, found)) => outcome.add(Fault::kind(place, &wanted, found)),
            None if value.is_null() => outcome.matches += 1,
            None => outcome.matches += 2,
        }
    }

    fn combinations(self, value: &Value, checks: Option<&Checks>, place: &Place<'_>) -> Outcome {
        let mut outcome = Outcome::default();
        outcome.matches = 1;
        let Some(checks) = checks else { return outcome };
        if !checks.any_of.is_empty() {
            self.any_of(value, checks, place, &mut outcome);
        }
        if !checks.one_of.is_empty() {
            self.one_of(value, checks, place, &mut outcome);
        }
        let mut valid = 0;
        for branch in &checks.all_of {
            let found = self.value(value, branch, place, None);
            valid += usize::from(found.is_valid());
            outcome.merge(found);
        }
        if valid != checks.all_of.len() {
            let none = if valid == 0 { ". None validated" } else { "" };
            let what = format!("validate all the schemas (allOf){none}");
            outcome.add(Fault::combination(place, &what));
        }
        if let Some(not) = &checks.not
            && self.value(value, not, place, None).is_valid()
        {
            outcome.add(Fault::combination(place, "not validate the schema (not)"));
        }
        outcome
    }

    fn any_of(self, value: &Value, checks: &Checks, place: &Place<'_>, outcome: &mut Outcome) {
        let mut best: Option<Outcome> = None;
        for branch in &checks.any_of {
            let found = self.value(value, branch, place, None);
            if found.is_valid() {
                outcome.merge(found);
                return;
            }
            if best.as_ref().is_none_or(|best| found.matches > best.matches) {
                best = Some(found);
            }
        }
        outcome.add(Fault::combination(place, "validate at least one schema (anyOf)"));
        outcome.merge(best.unwrap_or_default());
    }

    fn one_of(self, value: &Value, checks: &Checks, place: &Place<'_>, outcome: &mut Outcome) {
        let (mut best, mut first, mut valid) = (None::<Outcome>, None, 0);
        for branch in &checks.one_of {
            let found = self.value(value, branch, place, None);
            if found.is_valid() {
                valid += 1;
                best = None;
                first.get_or_insert(found);
            } else if valid == 0 && best.as_ref().is_none_or(|best| found.matches > best.matches) {
                best = Some(found);
            }
        }
        if valid == 1 {
            outcome.merge(first.unwrap_or_default());
            return;
        }
        let why = match valid {
            0 => "Found none valid".to_owned(),
            _ => format!("Found {valid} valid alternatives"),
        };
        let what = format!("validate one and only one schema (oneOf). {why}");
        outcome.add(Fault::combination(place, &what));
        outcome.merge(best.unwrap_or_default());
    }

    fn items(
        self,
        items: &[Value],
        schema: &Schema,
        place: &Place<'_>,
        old: Option<Old<'_>>,
        outcome: &mut Outcome,
    ) {
        if let Some(below) = &schema.items {
            let olds = old.map(Old::items).unwrap_or_default();
            for (index, item) in items.iter().enumerate() {
                let old = olds.get(index).copied().flatten();
                outcome.merge(self.value(item, below, &place.index(index), old));
            }
        }
        let Some(checks) = schema.checks.as_deref() else { return };
        let size = items.len();
        if let Some(min) = checks.items.min.filter(|min| is_less(size, *min)) {
            let what = format!("should have at least {min} items");
            outcome.add(Fault::invalid(place, size.to_string(), &what));
        }
        if let Some(max) = checks.items.max.filter(|max| is_more(size, *max)) {
            outcome.add(Fault::too_many(place, size, max, "items"));
        }
        if checks.unique_items {
            let mut seen = std::collections::HashSet::new();
            if !items.iter().all(|item| seen.insert(item.to_string())) {
                outcome.add(Fault::invalid(place, "\"\"".into(), "shouldn't contain duplicates"));
            }
        }
    }

    fn object(
        self,
        map: &Map<String, Value>,
        schema: &Schema,
        place: &Place<'_>,
        old: Option<Old<'_>>,
        outcome: &mut Outcome,
    ) {
        let checks = schema.checks.as_deref();
        let bounds = checks.map(|checks| checks.properties).unwrap_or_default();
        if let Some(min) = bounds.min.filter(|min| is_less(map.len(), *min)) {
            let what = format!("should have at least {min} properties");
            outcome.add(Fault::invalid(place, map.len().to_string(), &what));
        }
        if let Some(max) = bounds.max.filter(|max| is_more(map.len(), *max)) {
            outcome.add(Fault::too_many(place, map.len(), max, "properties"));
        }
        for (name, member) in map {
            // The type of the object itself is checked even when it is as it was.
            let is_type = place.is_root() && (name == "kind" || name == "apiVersion");
            let old = old.filter(|_| !is_type).and_then(|old| old.member(name));
            if let Some(property) = schema.property(name) {
                outcome.merge(self.value(member, property, &place.property(name), old));
                continue;
            }
            match &schema.additional {
                Additional::Schema(additional) => {
                    outcome.merge(self.value(member, additional, &place.member(name), old));
                }
                Additional::Allowed(false) => outcome.add(Fault::forbidden_member(place, name)),
                Additional::Allowed(true) | Additional::Unsaid => {}
            }
        }
        let required = checks.map_or(&[][..], |checks| &checks.required);
        for name in required {
            if !map.contains_key(name.as_ref()) {
                outcome.add(Fault::required(&place.member(name)));
            }
        }
    }
}

pub(super) fn is_less(size: usize, min: i64) -> bool {
    i64::try_from(size).is_ok_and(|size| size < min)
}

pub(super) fn is_more(size: usize, max: i64) -> bool {
    i64::try_from(size).map_or(true, |size| size > max)
}

/// What was wanted and what was found, when a value is not of a type.
fn misfit(
    value: &Value,
    schema: &Schema,
    (wanted, name): (&[Kind], &str),
    format: &str,
) -> Option<(String, &'static str)> {
    let (found, native) = match (value, Number::of(value)) {
        (Value::Null, _) => {
            let fits = wanted.is_empty() || schema.nullable;
            return (!fits).then(|| (name.to_owned(), "null"));
        }
        (_, Some(Number::Int(_))) => (Kind::Integer, "int64"),
        (_, Some(Number::Float(_))) => (Kind::Number, "float64"),
        (Value::Bool(_), _) => (Kind::Boolean, ""),
        (Value::Array(_), _) => (Kind::Array, ""),
        (Value::Object(_), _) => (Kind::Object, ""),
        (Value::String(_) | Value::Number(_), _) => (Kind::String, ""),
    };
    let has = |kind: Kind| wanted.contains(&kind);
    let is_whole_float = found == Kind::Number
        && has(Kind::Integer)
        && Number::of(value).is_some_and(|number| is_whole(number.as_float()));
    let fits = has(found) || is_whole_float || (found == Kind::Integer && has(Kind::Number));
    let has_no_members = matches!(found, Kind::String | Kind::Array);
    if !has_no_members && !format.is_empty() && !fits && native != format {
        return Some((format.to_owned(), native));
    }
    if has_no_members && !format.is_empty() && !has(Kind::Number) && !has(Kind::Integer) {
        return None;
    }
    (!fits).then(|| (name.to_owned(), found.name()))
}
