//! Label and field selectors, and the labels that they choose.

use std::collections::BTreeMap;

use api_machinery::selector::{FieldRequirement, Fields, Labels, Operator, Requirement};
use testbed::fuzz::Input;

use crate::laws;

/// Reads a selector and asks it.
pub fn selectors(data: &[u8]) {
    let mut input = Input::new(data);
    let is_field = input.byte() & 1 == 1;
    let text = String::from_utf8_lossy(input.wide_piece()).into_owned();
    let mut pairs = BTreeMap::new();
    while !input.is_empty() && pairs.len() < 16 {
        let key = String::from_utf8_lossy(input.wide_piece()).into_owned();
        pairs.insert(key, String::from_utf8_lossy(input.wide_piece()).into_owned());
    }
    if is_field { fields(&text, &pairs) } else { labels(&text, &pairs) }
}

fn labels(text: &str, pairs: &BTreeMap<String, String>) {
    let Ok(selector) = laws::timed("a label selector", || Labels::parse(text)) else { return };
    let written = selector.0.iter().map(shown).collect::<Vec<_>>().join(",");
    let again = Labels::parse(&written).expect("Y6: what is written can be read");
    assert_eq!(again, selector, "Y6: {text} is {written}");
    let wanted = selector.0.iter().all(|one| holds(one, pairs.get(&one.key)));
    assert_eq!(selector.matches_map(pairs), wanted, "Y6: {text} of {pairs:?}");
    assert!(selector.is_empty() == selector.0.is_empty());
}

fn shown(one: &Requirement) -> String {
    let key = &one.key;
    match &one.operator {
        Operator::Exists => key.clone(),
        Operator::DoesNotExist => format!("!{key}"),
        Operator::In(values) => format!("{key} in ({})", values.join(",")),
        Operator::NotIn(values) => format!("{key} notin ({})", values.join(",")),
        Operator::GreaterThan(than) => format!("{key}>{than}"),
        Operator::LessThan(than) => format!("{key}<{than}"),
    }
}

/// The definition of each operator, in words of the documentation.
fn holds(one: &Requirement, value: Option<&String>) -> bool {
    let number = value.and_then(|value| value.parse::<i64>().ok());
    match &one.operator {
        Operator::Exists => value.is_some(),
        Operator::DoesNotExist => value.is_none(),
        Operator::In(values) => value.is_some_and(|value| values.contains(value)),
        Operator::NotIn(values) => !value.is_some_and(|value| values.contains(value)),
        Operator::GreaterThan(than) => number.is_some_and(|number| number > *than),
        Operator::LessThan(than) => number.is_some_and(|number| number < *than),
    }
}

fn fields(text: &str, pairs: &BTreeMap<String, String>) {
    let unknown = |field: &str| format!("no {field}");
    drop(laws::timed("a field selector", || Fields::parse(text, &["spec.nodeName"], unknown)));
    let Ok(selector) = Fields::parse_any(text) else { return };
    let written = selector.0.iter().map(field_shown).collect::<Vec<_>>().join(",");
    // Names are not escaped upstream either: those that have signs in them are nobody's.
    let is_plain = |one: &FieldRequirement| {
        !one.field.is_empty() && !one.field.contains(['\\', ',', '=', '!'])
    };
    if selector.0.iter().all(is_plain) {
        let again = Fields::parse_any(&written).expect("Y6: what is written can be read");
        assert_eq!(again, selector, "Y6: {text} is {written}");
    }
    let get = |field: &str| pairs.get(field).map(String::as_str);
    let wanted =
        selector.0.iter().all(|one| (get(&one.field).unwrap_or("") != one.value) == one.negated);
    assert_eq!(selector.matches(get), wanted, "Y6: {text}");
    for one in &selector.0 {
        if let Some(exact) = selector.exact(&one.field) {
            let is_asked = |other: &FieldRequirement| {
                !other.negated && other.field == one.field && other.value == exact
            };
            assert!(selector.0.iter().any(is_asked), "Y6: nobody asked for {exact}");
        }
    }
}

fn field_shown(one: &FieldRequirement) -> String {
    let mut value = String::new();
    for letter in one.value.chars() {
        if matches!(letter, '\\' | ',' | '=') {
            value.push('\\');
        }
        value.push(letter);
    }
    format!("{}{}{value}", one.field, if one.negated { "!=" } else { "=" })
}
