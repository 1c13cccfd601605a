//! Checks of single values: lengths, patterns, formats, bounds, choices.

use serde_json::Value;

use super::check::{is_less, is_more};
use super::fault::{Fault, Outcome, Place};
use super::go_text::{Number, float, is_whole, quoted};
use super::schema::{Checks, Kind, Schema};
use super::{formats, pattern};

/// Checks a text or a number; anything else is fine.
pub(super) fn check(value: &Value, schema: &Schema, place: &Place<'_>, outcome: &mut Outcome) {
    if let Value::String(text) = value {
        let checks = schema.checks.as_deref();
        if let Some(fault) = checks.and_then(|checks| wrong_text(text, checks, place)) {
            outcome.add(fault);
        }
        outcome.matches += 1;
        let format = formats::of(schema);
        if let Some(fits) = formats::fits(format, text) {
            outcome.matches += 1;
            if !fits {
                outcome.add(Fault::kind(place, format, text));
            }
        }
    } else if let Some(number) = Number::of(value) {
        wrong_number(number, schema, place, outcome);
        outcome.matches += 2;
    }
}

/// Only the first thing that is wrong with a text is told.
fn wrong_text(text: &str, checks: &Checks, place: &Place<'_>) -> Option<Fault> {
    let length = text.chars().count();
    if let Some(max) = checks.length.max.filter(|max| is_more(length, *max)) {
        return Some(Fault::too_long(place, max));
    }
    if let Some(min) = checks.length.min.filter(|min| is_less(length, *min)) {
        let what = format!("should be at least {min} chars long");
        return Some(Fault::invalid(place, quoted(text), &what));
    }
    let pattern = checks.pattern.as_deref()?;
    let what = match pattern::matches(pattern, text) {
        Ok(true) => return None,
        Ok(false) => format!("should match '{pattern}'"),
        Err(why) => format!("should match '{pattern}, but pattern is invalid: {why}'"),
    };
    Some(Fault::invalid(place, quoted(text), &what))
}

fn wrong_number(number: Number, schema: &Schema, place: &Place<'_>, outcome: &mut Outcome) {
    let range = |number: Number, prefix: &str| out_of_range(number, schema, prefix, place);
    if let Some(fault) = range(number, "Checked") {
        outcome.add(fault);
    }
    let Some(checks) = schema.checks.as_deref() else { return };
    // A bound that is not of the type itself is told, and then applied as a general number.
    let bound = |bound: f64, prefix: &str, outcome: &mut Outcome| {
        let fault = range(Number::Float(bound), prefix);
        let is_native = fault.is_none();
        if let Some(fault) = fault {
            outcome.add(fault);
        }
        if is_native { number } else { Number::Float(number.as_float()) }
    };
    if let Some(factor) = checks.multiple_of {
        let number = bound(factor, "MultipleOf", outcome);
        if let Some(fault) = not_multiple(number, factor, place) {
            outcome.add(fault);
        }
    }
    if let Some(min) = checks.minimum {
        let number = bound(min, "Minimum boundary", outcome);
        let is_exclusive = checks.exclusive_minimum;
        let (order, text) = compare(number, min);
        if order.is_some_and(|order| order.is_lt() || (is_exclusive && order.is_eq())) {
            let or_equal = if is_exclusive { "" } else { " or equal to" };
            let what = format!("should be greater than{or_equal} {text}");
            outcome.add(Fault::invalid(place, number.text(), &what));
        }
    }
    if let Some(max) = checks.maximum {
        let number = bound(max, "Maximum boundary", outcome);
        let is_exclusive = checks.exclusive_maximum;
        let (order, text) = compare(number, max);
        if order.is_some_and(|order| order.is_gt() || (is_exclusive && order.is_eq())) {
            let or_equal = if is_exclusive { "" } else { " or equal to" };
            let what = format!("should be less than{or_equal} {text}");
            outcome.add(Fault::invalid(place, number.text(), &what));
        }
    }
}

/// Compares with a bound, which is cut to a whole number for integers. Gives the bound as told.
#[expect(clippy::cast_possible_truncation, reason = "upstream cuts so, too")]
fn compare(number: Number, bound: f64) -> (Option<std::cmp::Ordering>, String) {
    match number {
        Number::Int(number) => (Some(number.cmp(&(bound as i64))), (bound as i64).to_string()),
        Number::Float(number) => (number.partial_cmp(&bound), float(bound)),
    }
}

#[expect(clippy::cast_possible_truncation, reason = "upstream cuts so, too")]
fn not_multiple(number: Number, factor: f64, place: &Place<'_>) -> Option<Fault> {
    let fits = match number {
        Number::Int(_) if factor as i64 <= 0 => return Some(bad_factor(factor.trunc(), place)),
        Number::Int(number) => number % (factor as i64) == 0,
        Number::Float(_) if factor <= 0.0 => return Some(bad_factor(factor, place)),
        Number::Float(number) if factor < 1.0 => is_whole(1.0 / factor * number),
        Number::Float(number) => is_whole(number / factor),
    };
    let text = match number {
        Number::Int(_) => (factor as i64).to_string(),
        Number::Float(_) => float(factor),
    };
    let what = format!("should be a multiple of {text}");
    (!fits).then(|| Fault::invalid(place, number.text(), &what))
}

fn bad_factor(factor: f64, place: &Place<'_>) -> Fault {
    let (text, factor) = (place.text(), float(factor));
    Fault::with_message(
        place,
        factor.clone(),
        format!("factor MultipleOf declared for {text} must be positive: {factor}"),
    )
}

/// Told when a number is not of the type and format of its schema.
fn out_of_range(number: Number, schema: &Schema, prefix: &str, place: &Place<'_>) -> Option<Fault> {
    // Int-or-string has two types: upstream then checks no range.
    let kind = if schema.int_or_string { Kind::Any } else { schema.kind };
    let format = formats::of(schema);
    let is_whole_text = match number {
        Number::Int(_) => true,
        // Upstream writes the float without an exponent and reads it as an integer.
        Number::Float(number) => number.fract() == 0.0 && number.abs() < 9.3e18,
    };
    let (fits, format) = match (kind, format) {
        (Kind::Integer, "int32") => {
            let whole = number.as_float();
            (is_whole_text && whole >= f64::from(i32::MIN) && whole <= f64::from(i32::MAX), "int32")
        }
        (Kind::Integer, "int64") => (is_whole_text, "int64"),
        (Kind::Integer, _) => (is_whole_text, ""),
        (Kind::Number, "float") => (number.as_float().abs() <= f64::from(f32::MAX), "float"),
        _ => return None,
    };
    if fits {
        return None;
    }
    let format = match format {
        "" => "(default format)".to_owned(),
        format => format!("with format {format}"),
    };
    let (kind, place) = (kind.name(), place.text());
    let message = format!("{prefix} value must be of type {kind} {format} in {place}");
    Some(Fault::without_place(message))
}

/// Told when there are choices and the value is none of them.
pub(super) fn choice(
    value: &Value,
    checks: Option<&Checks>,
    place: &Place<'_>,
    outcome: &mut Outcome,
) {
    let choices = checks.map_or(&[][..], |checks| &checks.choices);
    if !choices.is_empty() && !choices.iter().any(|choice| is_choice(value, choice)) {
        outcome.add(Fault::choice(place, value, choices));
    }
}

/// Upstream converts the value to the type of the choice before it compares: floats are cut to
/// integers, and integers become characters.
#[expect(clippy::cast_possible_truncation, reason = "upstream cuts so, too")]
#[expect(clippy::float_cmp, reason = "a choice is an exact value")]
fn is_choice(value: &Value, choice: &Value) -> bool {
    match (Number::of(value), Number::of(choice), choice) {
        _ if choice.is_null() => false,
        (Some(Number::Float(value)), Some(Number::Int(choice)), _) => value as i64 == choice,
        (Some(Number::Int(value)), Some(Number::Int(choice)), _) => value == choice,
        (Some(value), Some(Number::Float(choice)), _) => value.as_float() == choice,
        (Some(Number::Int(value)), None, Value::String(choice)) => {
            let letter = u32::try_from(value).ok().and_then(char::from_u32);
            let letter = letter.unwrap_or(char::REPLACEMENT_CHARACTER);
            let mut letters = choice.chars();
            letters.next() == Some(letter) && letters.next().is_none()
        }
        _ => value == choice,
    }
}
