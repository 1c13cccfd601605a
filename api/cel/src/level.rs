//! JSON trees that a schema says how to read: times, maps with named fields, lists that are sets.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use serde_json::Value as Json;

use crate::escape::{escape, unescape};
use crate::types::Type;
use crate::value::{Key, List, Map, Text, Value};

/// Knows a schema by its levels, which have numbers.
pub trait Reader: Send + Sync {
    /// What values of a level are, where they are no lists, maps and objects.
    fn scalar(&self, level: usize) -> &Type;
    /// The level of a list's items, or of a map's values.
    fn element(&self, level: usize) -> Option<usize>;
    /// Whether a level has named fields: others cannot be seen, and null is not there.
    fn has_fields(&self, level: usize) -> bool;
    /// The level of a named field, by its name in JSON.
    fn field(&self, level: usize, name: &str) -> Option<usize>;
    /// How the items of a list belong together.
    fn order(&self, level: usize) -> Order<'_>;
}

/// How the items of a list belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order<'r> {
    /// A list.
    Kept,
    /// Every item is there once, in any order.
    Set,
    /// Items are told apart by these fields, in any order.
    Map(&'r [String]),
}

/// One level of a schema.
#[derive(Clone)]
pub struct Level {
    pub reader: Arc<dyn Reader>,
    pub number: usize,
}

/// What items of a set or a map are told apart by.
type Index = Vec<Option<Key>>;

impl Level {
    fn at(&self, number: usize) -> Self {
        Self { reader: Arc::clone(&self.reader), number }
    }

    /// A JSON tree as this level says it is to be read.
    #[must_use]
    pub fn value<'a>(&self, json: &'a Json) -> Value<'a> {
        match json {
            Json::Array(items) => Value::List(List::Read(items, self.clone())),
            Json::Object(fields) => Value::Map(Map::Read(fields, self.clone())),
            _ => match (Value::of_scalar(json, Some(self.reader.scalar(self.number))), json) {
                (Value::String(text), Json::String(_))
                    if *self.reader.scalar(self.number) == Type::Duration =>
                {
                    in_words(&text).map_or(Value::String(text), Value::Duration)
                }
                (value, _) => value,
            },
        }
    }

    /// An item of a list, or a value of a map.
    pub(crate) fn element<'a>(&self, json: &'a Json) -> Value<'a> {
        match self.reader.element(self.number) {
            Some(element) => self.at(element).value(json),
            None => Value::of_json(json, None),
        }
    }

    pub(crate) fn get<'a>(
        &self,
        fields: &'a serde_json::Map<String, Json>,
        name: &str,
    ) -> Option<Value<'a>> {
        if !self.reader.has_fields(self.number) {
            self.reader.element(self.number)?;
            return fields.get(name).map(|json| self.element(json));
        }
        let name = unescape(name)?;
        let json = fields.get(&name).filter(|json| !json.is_null())?;
        let field = self.reader.field(self.number, &name)?;
        Some(self.at(field).value(json))
    }

    pub(crate) fn keys<'a>(&self, fields: &'a serde_json::Map<String, Json>) -> Vec<Value<'a>> {
        if !self.reader.has_fields(self.number) {
            if self.reader.element(self.number).is_none() {
                return Vec::new();
            }
            return fields.keys().map(|key| Value::String(Text::Borrowed(key))).collect();
        }
        let known = |key: &&String| self.reader.field(self.number, key).is_some();
        let name = |key: &'a String| match escape(key) {
            Some(escaped) if escaped != *key => Value::string(escaped),
            _ => Value::String(Text::Borrowed(key)),
        };
        fields.keys().filter(known).map(name).collect()
    }

    /// Whether what a schema does not know is the same in two objects, as far as both have it.
    pub(crate) fn agree(
        &self,
        one: &serde_json::Map<String, Json>,
        other: &serde_json::Map<String, Json>,
    ) -> bool {
        let is_known = |key: &str| {
            self.reader.field(self.number, key).is_some()
                || (!self.reader.has_fields(self.number)
                    && self.reader.element(self.number).is_some())
        };
        one.iter()
            .all(|(key, value)| is_known(key) || other.get(key).is_none_or(|other| other == value))
    }

    fn index(&self, item: &Value<'_>) -> Index {
        match (self.reader.order(self.number), item) {
            (Order::Map(keys), Value::Map(map)) => {
                let key = |name: &String| {
                    let name = escape(name).unwrap_or_else(|| name.to_string());
                    map.get(&Value::string(name)).as_ref().and_then(key_of)
                };
                keys.iter().map(key).collect()
            }
            _ => vec![key_of(item)],
        }
    }

    /// Whether two lists have the same items, in any order; none where the order is part of a list.
    pub(crate) fn same(&self, one: &List<'_>, other: &List<'_>) -> Option<bool> {
        match self.reader.order(self.number) {
            Order::Kept => None,
            _ if one.len() != other.len() => Some(false),
            Order::Set => {
                let known: HashSet<Index> = one.iter().map(|item| self.index(&item)).collect();
                Some(other.iter().all(|item| known.contains(&self.index(&item))))
            }
            Order::Map(_) => {
                let known: HashMap<Index, Value<'_>> =
                    one.iter().map(|item| (self.index(&item), item)).collect();
                Some(other.iter().all(|item| known.get(&self.index(&item)) == Some(&item)))
            }
        }
    }

    /// Two lists in one: of items that both have, the first has the place and the second the
    /// value. None where lists are appended.
    pub(crate) fn merge<'a>(&self, one: &List<'a>, other: &List<'a>) -> Option<List<'a>> {
        if self.reader.order(self.number) == Order::Kept {
            return None;
        }
        let mut items: Vec<Value<'a>> = one.iter().collect();
        let mut places: HashMap<Index, usize> =
            items.iter().enumerate().map(|(at, item)| (self.index(item), at)).collect();
        for item in other.iter() {
            let next = items.len();
            let at = *places.entry(self.index(&item)).or_insert(next);
            if at == next {
                items.push(item);
            } else {
                items[at] = item;
            }
        }
        Some(List::Merged(Arc::new(items), self.clone()))
    }
}

/// Units of durations that are written in words; of the last name more may follow.
const UNITS: [(&[&str], i64); 8] = [
    (&["ns", "nano"], 1),
    (&["us", "\u{b5}s", "micro"], 1_000),
    (&["ms", "milli"], 1_000_000),
    (&["s", "sec"], 1_000_000_000),
    (&["m", "min"], 60_000_000_000),
    (&["h", "hr", "hour"], 3_600_000_000_000),
    (&["d", "day"], 86_400_000_000_000),
    (&["w", "wk", "week"], 604_800_000_000_000),
];

/// The nanoseconds of a duration such as `2 days 3 hours`, which schemas take too.
fn in_words(text: &str) -> Option<i64> {
    let (mut rest, mut total) = (text, None);
    while let Some(start) = rest.find(|c: char| c.is_ascii_digit()) {
        rest = &rest[start..];
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let number: i64 = rest[..digits].parse().ok()?;
        let after = rest[digits..].trim_start_matches([' ', '\t', '\n', '\r', '\u{c}']);
        let is_letter = |c: char| c.is_ascii_alphabetic() || c == '\u{b5}';
        let end = after.find(|c: char| !is_letter(c)).unwrap_or(after.len());
        let unit = after[..end].to_lowercase();
        let is = |names: &[&str]| {
            names.contains(&unit.as_str())
                || names.last().is_some_and(|last| unit.starts_with(last))
        };
        if let Some((_, scale)) = UNITS.iter().find(|(names, _)| is(names)) {
            let more = number.checked_mul(*scale)?;
            total = Some(total.unwrap_or(0_i64).checked_add(more)?);
        }
        rest = &after[end..];
    }
    total
}

fn key_of(value: &Value<'_>) -> Option<Key> {
    Key::of(value).or_else(|| Some(Key::String(value.to_string().into())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_may_be_words() {
        for (text, seconds) in
            [("2 days", Some(172_800)), ("1d", Some(86_400)), ("1 week 3hours", Some(615_600))]
        {
            let nanos = seconds.map(|seconds: i64| seconds * 1_000_000_000);
            assert_eq!(in_words(text), nanos, "{text}");
        }
        assert_eq!(in_words("soon"), None);
    }
}
