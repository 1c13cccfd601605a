//! JSON read where it lies: only what is asked for is looked at, and nothing is copied.
//!
//! A [`View`] is one value inside of JSON that has been checked before. On anything else it answers
//! that nothing is there; it never panics and never loops.

use std::borrow::Cow;

/// One JSON value, or nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct View<'a>(&'a [u8]);

impl<'a> View<'a> {
    /// Bytes that are one value, and spaces around it.
    #[must_use]
    pub fn new(json: &'a [u8]) -> Self {
        Self(json.trim_ascii())
    }

    /// The bytes of the value; none when nothing is there.
    #[must_use]
    pub fn bytes(self) -> &'a [u8] {
        self.0
    }

    /// Whether nothing is there, or `null`.
    #[must_use]
    pub fn is_null(self) -> bool {
        self.0.is_empty() || self.0 == b"null"
    }

    /// Whether it is an object.
    #[must_use]
    pub fn is_object(self) -> bool {
        self.0.first() == Some(&b'{')
    }

    /// A member of an object.
    #[must_use]
    pub fn get(self, key: &str) -> Self {
        let Some(members) = self.inside(b'{') else { return Self::default() };
        let found = member(members, 0, key.as_bytes()).map(|found| found.value);
        found.map_or_else(Self::default, |(start, end)| Self(members[start..end].trim_ascii_end()))
    }

    /// The value at a path of keys.
    #[must_use]
    pub fn at(self, path: &[&str]) -> Self {
        path.iter().fold(self, |value, key| value.get(key))
    }

    /// The members of an object, in their order.
    pub fn members(self) -> impl Iterator<Item = (Cow<'a, str>, Self)> {
        self.entries().map(|(key, value)| (unescape(key), value))
    }

    /// The members of an object with their keys as they are written: for keys that are compared
    /// with names of fields, which need no escapes.
    pub fn entries(self) -> impl Iterator<Item = (&'a [u8], Self)> {
        let inside = self.inside(b'{').unwrap_or_default();
        let mut at = 0;
        std::iter::from_fn(move || {
            let found = next_member(inside, at)?;
            at = found.next;
            let value = &inside[found.value.0..found.value.1];
            Some((&inside[found.key.0..found.key.1], Self(value.trim_ascii_end())))
        })
    }

    /// The items of a list.
    pub fn items(self) -> impl Iterator<Item = Self> {
        let inside = self.inside(b'[').unwrap_or_default();
        let mut at = 0;
        std::iter::from_fn(move || {
            let start = skip_space(inside, at);
            let end = skip_value(inside, start).filter(|end| *end > start)?;
            at = skip_space(inside, end) + 1;
            Some(Self(inside[start..end].trim_ascii_end()))
        })
    }

    /// The number of members or items.
    #[must_use]
    pub fn count(self) -> usize {
        if self.is_object() { self.members().count() } else { self.items().count() }
    }

    /// The text; empty when it is none.
    #[must_use]
    pub fn text(self) -> Cow<'a, str> {
        self.inside(b'"').map_or(Cow::Borrowed(""), unescape)
    }

    /// Whether it is this text.
    #[must_use]
    pub fn is(self, text: &str) -> bool {
        self.0.first() == Some(&b'"') && self.text() == text
    }

    /// Whether it is `true`.
    #[must_use]
    pub fn is_true(self) -> bool {
        self.0 == b"true"
    }

    /// The whole number.
    #[must_use]
    pub fn number(self) -> Option<i64> {
        std::str::from_utf8(self.0).ok()?.parse().ok()
    }

    /// What is between the brackets or quotes.
    fn inside(self, open: u8) -> Option<&'a [u8]> {
        if self.0.len() < 2 || self.0[0] != open {
            return None;
        }
        Some(&self.0[1..self.0.len() - 1])
    }
}

/// The text between two quotes.
fn unescape(inside: &[u8]) -> Cow<'_, str> {
    if !inside.contains(&b'\\') {
        return String::from_utf8_lossy(inside);
    }
    let mut quoted = Vec::with_capacity(inside.len() + 2);
    quoted.push(b'"');
    quoted.extend_from_slice(inside);
    quoted.push(b'"');
    Cow::Owned(serde_json::from_slice(&quoted).unwrap_or_default())
}

/// A member of an object, as offsets.
pub(crate) struct Member {
    /// The key without its quotes.
    pub(crate) key: (usize, usize),
    pub(crate) value: (usize, usize),
    /// Where the next member would start.
    pub(crate) next: usize,
}

impl Member {
    /// Key and value together, quotes included.
    pub(crate) fn whole(&self) -> (usize, usize) {
        (self.key.0 - 1, self.value.1)
    }
}

/// The member that starts at `at`, inside of an object.
pub(crate) fn next_member(json: &[u8], at: usize) -> Option<Member> {
    let start = skip_space(json, at);
    if json.get(start) != Some(&b'"') {
        return None;
    }
    let key_end = skip_text(json, start)?;
    let value = skip_space(json, skip_space(json, key_end) + 1);
    let end = skip_value(json, value).filter(|end| *end > value)?;
    let comma = skip_space(json, end);
    Some(Member { key: (start + 1, key_end - 1), value: (value, end), next: comma + 1 })
}

/// The member `name` of the object whose inside starts at `at`.
pub(crate) fn member(json: &[u8], mut at: usize, name: &[u8]) -> Option<Member> {
    loop {
        let found = next_member(json, at)?;
        if &json[found.key.0..found.key.1] == name {
            return Some(found);
        }
        if json.get(found.next - 1) != Some(&b',') {
            return None;
        }
        at = found.next;
    }
}

pub(crate) fn skip_space(json: &[u8], mut at: usize) -> usize {
    while json.get(at).is_some_and(u8::is_ascii_whitespace) {
        at += 1;
    }
    at
}

/// The byte after the text that opens at `at`.
fn skip_text(json: &[u8], mut at: usize) -> Option<usize> {
    at += 1;
    loop {
        at = skip_plain(json, at);
        match json.get(at)? {
            b'\\' => at += 2,
            b'"' => return Some(at + 1),
            _ => at += 1,
        }
    }
}

/// Skips letters of a text that are neither its end nor an escape, eight at a time; may stop early.
fn skip_plain(json: &[u8], mut at: usize) -> usize {
    const EACH: u64 = 0x0101_0101_0101_0101;
    // The lowest bit that is set belongs to the first byte that is zero.
    let zeros = |word: u64| word.wrapping_sub(EACH) & !word & (EACH * 0x80);
    while let Some(eight) = json.get(at..).and_then(<[u8]>::first_chunk) {
        let word = u64::from_le_bytes(*eight);
        let quotes = zeros(word ^ (EACH * u64::from(b'"')));
        let escapes = zeros(word ^ (EACH * u64::from(b'\\')));
        if quotes | escapes != 0 {
            return at + (quotes | escapes).trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    at
}

/// The byte after the value that starts at `at`; for numbers and words, spaces may be in it.
fn skip_value(json: &[u8], mut at: usize) -> Option<usize> {
    let mut depth = 0_usize;
    loop {
        let Some(byte) = json.get(at) else {
            return (depth == 0).then_some(at);
        };
        match byte {
            b'"' => {
                at = skip_text(json, at)?;
                if depth == 0 {
                    return Some(at);
                }
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' if depth == 0 => return Some(at),
            b'}' | b']' => {
                depth -= 1;
                if depth == 0 {
                    return Some(at + 1);
                }
            }
            b',' if depth == 0 => return Some(at),
            _ => {}
        }
        at += 1;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn values_are_found_without_reading_the_tree() {
        let text = br#" {"a" : {"b":[1, {"c":"x\"y}"} ,null],"d\n":true}, "e":"", "n":-7 } "#;
        let view = View::new(text);
        let list = view.at(&["a", "b"]);
        assert_eq!(list.count(), 3);
        let texts: Vec<_> = list.items().map(|item| item.get("c").text().into_owned()).collect();
        assert_eq!(texts, ["", "x\"y}", ""]);
        assert!(list.items().nth(2).unwrap().is_null() && view.get("nope").is_null());
        let keys: Vec<_> = view.get("a").members().map(|(key, _)| key.into_owned()).collect();
        assert_eq!(keys, ["b", "d\n"]);
        assert_eq!((view.get("n").number(), view.get("e").number()), (Some(-7), None));
        assert!(view.get("e").is("") && !view.get("n").is(""));
        assert_eq!(View::new(b"[]").count() + View::new(b"{}").count(), 0);
    }

    fn trees() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "\\PC{0,6}|[\\\\\"{},:\\[\\]\n]{0,4}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[a-z\"\\\\]{0,3}", inner, 0..4)
                    .prop_map(|map| json!(map)),
            ]
        })
    }

    fn rebuilt(view: View<'_>) -> Value {
        match view.bytes().first() {
            Some(b'{') => view.members().map(|(k, v)| (k.into_owned(), rebuilt(v))).collect(),
            Some(b'[') => view.items().map(rebuilt).collect(),
            Some(b'"') => view.text().into_owned().into(),
            Some(b't' | b'f') => view.is_true().into(),
            Some(b'n') => Value::Null,
            _ => view.number().map_or(Value::Null, Value::from),
        }
    }

    proptest! {
        #[test]
        fn a_view_shows_what_a_tree_shows(tree in trees(), pretty in any::<bool>()) {
            let text = if pretty {
                serde_json::to_vec_pretty(&tree).unwrap()
            } else {
                serde_json::to_vec(&tree).unwrap()
            };
            prop_assert_eq!(rebuilt(View::new(&text)), tree);
        }

        #[test]
        fn any_bytes_are_answered(bytes in prop::collection::vec(
            prop_oneof![any::<u8>(), Just(b'{'), Just(b'"'), Just(b'['), Just(b','), Just(b':')],
            0..60,
        )) {
            let _answer = rebuilt(View::new(&bytes));
        }
    }
}
