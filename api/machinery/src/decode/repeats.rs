//! Keys that a YAML document has more than once in a mapping, said as upstream's parser says them.

use std::collections::HashSet;
use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use serde_saphyr::Spanned;

use super::FieldValidation;
use super::raw::Raw;
use crate::limits::STRICT_ERRORS_MAX;

/// What is wrong with the keys of a document that was read as `raw`: nothing when nobody asks, one
/// error for all lines when it is one, and else a warning for each line.
pub(crate) fn strict_errors(bytes: &[u8], raw: &Raw, validation: FieldValidation) -> Vec<String> {
    if validation == FieldValidation::Ignore || !repeats_a_key(raw) {
        return Vec::new();
    }
    let lines = std::str::from_utf8(bytes).map(lines).unwrap_or_default();
    match validation {
        FieldValidation::Strict if !lines.is_empty() => {
            vec![format!("yaml: unmarshal errors:\n  {}", lines.join("\n  "))]
        }
        FieldValidation::Strict | FieldValidation::Warn | FieldValidation::Ignore => lines,
    }
}

/// Whether a second pass, which looks for the lines, would find any.
fn repeats_a_key(raw: &Raw) -> bool {
    match raw {
        Raw::Object(members) => {
            let mut seen = HashSet::new();
            members.iter().any(|(key, member)| !seen.insert(key.as_str()) || repeats_a_key(member))
        }
        Raw::List(items) => items.iter().any(repeats_a_key),
        Raw::Null | Raw::Bool(_) | Raw::Number(_) | Raw::Text(_) => false,
    }
}

fn lines(text: &str) -> Vec<String> {
    let options = serde_saphyr::options! {
        duplicate_keys: serde_saphyr::DuplicateKeyPolicy::LastWins,
    };
    // It has been read before, as a document; a failure here leaves nothing to say.
    serde_saphyr::from_str_with_options::<Node>(text, options)
        .map(|node| node.0)
        .unwrap_or_default()
}

/// What a part of the document says: inner mappings before the outer ones, and a key where its
/// value stands.
#[derive(Default)]
struct Node(Vec<String>);

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::default())
    }

    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node::default())
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        Node::deserialize(deserializer)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Node, E> {
        Ok(Node::default())
    }

    fn visit_i64<E>(self, _: i64) -> Result<Node, E> {
        Ok(Node::default())
    }

    fn visit_u64<E>(self, _: u64) -> Result<Node, E> {
        Ok(Node::default())
    }

    fn visit_f64<E>(self, _: f64) -> Result<Node, E> {
        Ok(Node::default())
    }

    fn visit_str<E>(self, _: &str) -> Result<Node, E> {
        Ok(Node::default())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Node, A::Error> {
        let mut found = Vec::new();
        while let Some(item) = access.next_element::<Node>()? {
            found.extend(item.0);
        }
        found.truncate(STRICT_ERRORS_MAX);
        Ok(Node(found))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Node, A::Error> {
        let (mut found, mut seen) = (Vec::new(), HashSet::new());
        while let Some(key) = access.next_key::<Raw>()? {
            if found.len() >= STRICT_ERRORS_MAX {
                access.next_value::<IgnoredAny>()?;
                continue;
            }
            let value: Spanned<Node> = access.next_value()?;
            found.extend(value.value.0);
            let key = match key {
                Raw::Text(text) => Value::from(text).to_string(),
                other => other.into_value().to_string(),
            };
            let line = value.referenced.line();
            if !seen.insert(key.clone()) {
                found.push(format!("line {line}: key {key} already set in map"));
            }
        }
        found.truncate(STRICT_ERRORS_MAX);
        Ok(Node(found))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::parse_yaml;

    fn said(text: &str, validation: FieldValidation) -> Vec<String> {
        strict_errors(text.as_bytes(), &parse_yaml(text.as_bytes()).unwrap(), validation)
    }

    /// The texts are a real server's.
    #[test]
    fn repeated_keys_are_said_with_their_lines() {
        let text = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\n  name: a\ndata:\n  \
                    x: \"1\"\n  y: \"2\"\n  x: \"3\"\n  z: \"k\"\n  z: \"q\"\n";
        let lines = [
            "line 5: key \"name\" already set in map",
            "line 9: key \"x\" already set in map",
            "line 11: key \"z\" already set in map",
        ];
        assert_eq!(said(text, FieldValidation::Warn), lines);
        assert_eq!(said(text, FieldValidation::Ignore), Vec::<String>::new());
        let all = format!("yaml: unmarshal errors:\n  {}", lines.join("\n  "));
        assert_eq!(said(text, FieldValidation::Strict), [all]);
        let json = "{\"apiVersion\":\"v1\",\n\"metadata\":{\"name\":\"a\"},\n\"data\":{\"x\":\"1\",\n\
                    \"x\":\"2\"}}";
        assert_eq!(said(json, FieldValidation::Warn), ["line 4: key \"x\" already set in map"]);
        assert_eq!(said("a: 1\nb: [a, {a: 1}]\n", FieldValidation::Strict), Vec::<String>::new());
    }

    #[test]
    fn a_flood_of_repeated_keys_is_cut_off() {
        let text = "a: {b: 1, b: 2}\n".repeat(3 * STRICT_ERRORS_MAX);
        assert_eq!(said(&text, FieldValidation::Warn).len(), STRICT_ERRORS_MAX);
    }
}
