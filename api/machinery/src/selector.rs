//! Label and field selectors: their query syntax and how they match.

use std::collections::BTreeMap;

use crate::status::Status;
use crate::validate::names;

/// What one requirement asks of a label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operator {
    Exists,
    DoesNotExist,
    /// The value is one of these.
    In(Vec<String>),
    /// The label is missing or has none of these.
    NotIn(Vec<String>),
    GreaterThan(i64),
    LessThan(i64),
}

/// One requirement of a label selector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    pub key: String,
    pub operator: Operator,
}

/// All requirements must hold; the empty selector matches everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Labels(pub Vec<Requirement>);

impl Labels {
    /// Reads the query syntax: `a=b,c!=d,e in (f,g),h notin (i),j,!k,l>1`.
    ///
    /// # Errors
    /// A 400 with upstream's text.
    pub fn parse(text: &str) -> Result<Self, Status> {
        Parser::new(text)
            .selector()
            .map_err(|why| Status::bad_request(format!("unable to parse requirement: {why}")))
    }

    /// Reads a `LabelSelector` object (`matchLabels`, `matchExpressions`); `null` matches nothing
    /// upstream, so the caller decides what an absent one means.
    #[must_use]
    pub fn from_object(selector: &serde_json::Value) -> Self {
        let mut requirements = Vec::new();
        for (key, value) in selector["matchLabels"].as_object().into_iter().flatten() {
            let values = vec![value.as_str().unwrap_or_default().to_owned()];
            requirements.push(Requirement { key: key.clone(), operator: Operator::In(values) });
        }
        for expression in selector["matchExpressions"].as_array().into_iter().flatten() {
            let values = expression["values"].as_array().into_iter().flatten();
            let values = values.filter_map(|v| v.as_str()).map(str::to_owned).collect();
            let operator = match expression["operator"].as_str() {
                Some("In") => Operator::In(values),
                Some("NotIn") => Operator::NotIn(values),
                Some("Exists") => Operator::Exists,
                _ => Operator::DoesNotExist,
            };
            let key = expression["key"].as_str().unwrap_or_default().to_owned();
            requirements.push(Requirement { key, operator });
        }
        Self(requirements)
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the labels, as pairs, satisfy every requirement.
    pub fn matches<'a>(&self, get: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.0.iter().all(|requirement| requirement.matches(get(&requirement.key)))
    }

    #[must_use]
    pub fn matches_map(&self, labels: &BTreeMap<String, String>) -> bool {
        self.matches(|key| labels.get(key).map(String::as_str))
    }
}

impl Requirement {
    fn matches(&self, value: Option<&str>) -> bool {
        match (&self.operator, value) {
            (Operator::Exists, value) => value.is_some(),
            (Operator::DoesNotExist, value) => value.is_none(),
            (Operator::In(values), value) => {
                value.is_some_and(|value| values.iter().any(|one| one == value))
            }
            (Operator::NotIn(values), value) => {
                value.is_none_or(|value| values.iter().all(|one| one != value))
            }
            (Operator::GreaterThan(than), value) => {
                value.and_then(|value| value.parse::<i64>().ok()).is_some_and(|v| v > *than)
            }
            (Operator::LessThan(than), value) => {
                value.and_then(|value| value.parse::<i64>().ok()).is_some_and(|v| v < *than)
            }
        }
    }
}

/// The characters that end a word; `!` does so only at its start.
const ENDS_WORD: &[char] = &[' ', '\t', '=', '!', '(', ')', ',', '<', '>'];

struct Parser<'a> {
    rest: &'a str,
}

impl<'a> Parser<'a> {
    fn new(text: &'a str) -> Self {
        Self { rest: text.trim() }
    }

    fn skip(&mut self, token: &str) -> bool {
        self.rest = self.rest.trim_start();
        let Some(rest) = self.rest.strip_prefix(token) else { return false };
        self.rest = rest;
        true
    }

    fn word(&mut self) -> &'a str {
        self.rest = self.rest.trim_start();
        let end = self.rest.find(ENDS_WORD).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        word
    }

    fn selector(&mut self) -> Result<Labels, String> {
        let mut requirements = Vec::new();
        if self.rest.is_empty() {
            return Ok(Labels::default());
        }
        loop {
            requirements.push(self.requirement()?);
            self.rest = self.rest.trim_start();
            if self.rest.is_empty() {
                break;
            }
            if !self.skip(",") {
                return Err(format!("found '{}', expected: ',' or 'end of string'", self.token()));
            }
            if self.rest.trim().is_empty() {
                return Err("found '', expected: identifier after ','".to_owned());
            }
        }
        requirements.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(Labels(requirements))
    }

    fn token(&self) -> &'a str {
        let rest = self.rest.trim_start();
        let end = rest.find([' ', ',', ')']).filter(|end| *end > 0).unwrap_or(rest.len());
        &rest[..end]
    }

    fn requirement(&mut self) -> Result<Requirement, String> {
        if self.skip("!") {
            let key = self.key()?;
            return Ok(Requirement { key, operator: Operator::DoesNotExist });
        }
        let key = self.key()?;
        self.rest = self.rest.trim_start();
        if self.rest.is_empty() || self.rest.starts_with(',') {
            return Ok(Requirement { key, operator: Operator::Exists });
        }
        let operator = if self.skip("!=") {
            Operator::NotIn(vec![self.value(&key)?])
        } else if self.skip("==") || self.skip("=") {
            Operator::In(vec![self.value(&key)?])
        } else if self.skip(">") {
            Operator::GreaterThan(self.number()?)
        } else if self.skip("<") {
            Operator::LessThan(self.number()?)
        } else {
            let found = self.token();
            match self.word() {
                "in" => Operator::In(self.values(&key)?),
                "notin" => Operator::NotIn(self.values(&key)?),
                _ => {
                    return Err(format!("found '{found}', expected: in, notin, =, ==, !=, gt, lt"));
                }
            }
        };
        Ok(Requirement { key, operator })
    }

    fn key(&mut self) -> Result<String, String> {
        let found = self.token();
        let key = self.word();
        if key.is_empty() {
            return Err(format!("found '{found}', expected: !, identifier, or 'end of string'"));
        }
        match names::qualified_name(key).into_iter().next() {
            None => Ok(key.to_owned()),
            Some(_) => {
                let why = names::qualified_name(key).join("; ");
                Err(format!("key: Invalid value: {key:?}: {why}"))
            }
        }
    }

    fn checked_value(key: &str, value: &str) -> Result<String, String> {
        let problems = names::label_value(value);
        if problems.is_empty() {
            return Ok(value.to_owned());
        }
        Err(format!("values[0][{key}]: Invalid value: {value:?}: {}", problems.join("; ")))
    }

    fn value(&mut self, key: &str) -> Result<String, String> {
        let word = self.word();
        Self::checked_value(key, word)
    }

    fn number(&mut self) -> Result<i64, String> {
        let word = self.word();
        word.parse().map_err(|_| {
            format!("values[0]: Invalid value: {word:?}: for 'Gt', 'Lt' operators, the value must be an integer")
        })
    }

    fn values(&mut self, key: &str) -> Result<Vec<String>, String> {
        if !self.skip("(") {
            return Err(format!("found '{}', expected: '('", self.token()));
        }
        let mut values = Vec::new();
        loop {
            values.push(self.value(key)?);
            if self.skip(")") {
                break;
            }
            if !self.skip(",") {
                return Err(format!("found '{}', expected: ',' or ')'", self.token()));
            }
        }
        values.sort();
        values.dedup();
        Ok(values)
    }
}

/// One requirement of a field selector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldRequirement {
    pub field: String,
    pub value: String,
    /// `!=` instead of `=`.
    pub negated: bool,
}

/// All requirements must hold; the empty selector matches everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields(pub Vec<FieldRequirement>);

impl Fields {
    /// Reads the query syntax: `a=b,c!=d,e==f`, with `\\`, `\,` and `\=` escaped in values.
    /// `supported` are the fields that the kind knows; `metadata.name` and `metadata.namespace`
    /// are known by every kind.
    ///
    /// # Errors
    /// A 400 with upstream's text.
    pub fn parse(text: &str, supported: &[&str]) -> Result<Self, Status> {
        let mut requirements = Vec::new();
        for term in split_terms(text) {
            if term.is_empty() {
                continue;
            }
            let (field, value, negated) = split_term(&term).ok_or_else(|| {
                Status::bad_request(format!(
                    "invalid selector: '{text}'; can't understand '{term}'"
                ))
            })?;
            let value = unescape(value).map_err(Status::bad_request)?;
            let is_known = matches!(field, "metadata.name" | "metadata.namespace")
                || supported.contains(&field);
            if !is_known {
                return Err(Status::bad_request(format!("field label not supported: {field}")));
            }
            requirements.push(FieldRequirement { field: field.to_owned(), value, negated });
        }
        Ok(Self(requirements))
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the object's fields satisfy every requirement; a missing field is `""`.
    pub fn matches<'a>(&self, get: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.0.iter().all(|one| (get(&one.field).unwrap_or("") == one.value) != one.negated)
    }

    /// The one value that a field must have, when the selector asks for one.
    #[must_use]
    pub fn exact(&self, field: &str) -> Option<&str> {
        self.0.iter().find(|one| one.field == field && !one.negated).map(|one| one.value.as_str())
    }
}

fn split_terms(text: &str) -> Vec<String> {
    let mut terms = vec![String::new()];
    let mut escaped = false;
    for c in text.chars() {
        let last = terms.last_mut().expect("it starts with one term");
        match c {
            _ if escaped => {
                escaped = false;
                last.push(c);
            }
            '\\' => {
                escaped = true;
                last.push(c);
            }
            ',' => terms.push(String::new()),
            _ => last.push(c),
        }
    }
    terms
}

fn split_term(term: &str) -> Option<(&str, &str, bool)> {
    for (at, _) in term.char_indices() {
        for (operator, negated) in [("!=", true), ("==", false), ("=", false)] {
            if let Some(value) = term[at..].strip_prefix(operator) {
                return Some((&term[..at], value, negated));
            }
        }
    }
    None
}

fn unescape(value: &str) -> Result<String, String> {
    let mut out = String::new();
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some(next @ ('\\' | ',' | '=')) => out.push(next),
                Some(next) => {
                    return Err(format!(
                        "invalid field selector: invalid escape sequence: \\{next}"
                    ));
                }
                None => {
                    return Err("invalid field selector: invalid escape sequence: \\".to_owned());
                }
            },
            ',' | '=' => {
                return Err(format!("invalid field selector: unescaped character in value: {c}"));
            }
            _ => out.push(c),
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn label_selectors_match_as_upstream() {
        let labels = BTreeMap::from([
            ("app".to_owned(), "web".to_owned()),
            ("n".to_owned(), "5".to_owned()),
        ]);
        for (text, matches) in [
            ("", true),
            ("app=web", true),
            ("app==web,n", true),
            ("app!=web", false),
            ("other!=x", true),
            ("app in (a, web)", true),
            ("app notin (a,web)", false),
            ("!other", true),
            ("!app", false),
            ("n>4,n<6", true),
            ("app in ()", false),
        ] {
            assert_eq!(Labels::parse(text).unwrap().matches_map(&labels), matches, "{text}");
        }
        for text in ["app=web,", "app in web", "a b", "=x", "app in (a", "-bad=x"] {
            assert_eq!(Labels::parse(text).unwrap_err().code, 400, "{text}");
        }
    }

    #[test]
    fn field_selectors_know_escapes_and_refuse_unknown_fields() {
        let get = |field: &str| (field == "metadata.name").then_some("a,b");
        assert!(Fields::parse("metadata.name=a\\,b", &[]).unwrap().matches(get));
        assert!(!Fields::parse("metadata.name!=a\\,b", &[]).unwrap().matches(get));
        assert!(Fields::parse("spec.nodeName=", &["spec.nodeName"]).unwrap().matches(get));
        let refused = Fields::parse("spec.x=1", &["spec.nodeName"]).unwrap_err();
        assert_eq!(refused.message, "field label not supported: spec.x");
        assert!(Fields::parse("nonsense", &[]).is_err());
    }
}
