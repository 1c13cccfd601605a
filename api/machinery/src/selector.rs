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
        Parser::new(text).selector().map_err(Status::bad_request)
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

/// The signs of the query syntax; of two that fit, the longer one is meant.
const SIGNS: [&str; 9] = ["==", "!=", "=", "!", "(", ")", ",", ">", "<"];
const OR_END: &str = "expected: ',' or 'end of string'";

/// What stands next in the query syntax.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token<'a> {
    Sign(&'a str),
    /// A key, a value or an operator.
    Word(&'a str),
    End,
}

impl<'a> Token<'a> {
    /// As it is written; nothing at the end.
    fn text(self) -> &'a str {
        match self {
            Self::Sign(text) | Self::Word(text) => text,
            Self::End => "",
        }
    }
}

struct Parser<'a> {
    rest: &'a str,
}

impl<'a> Parser<'a> {
    fn new(text: &'a str) -> Self {
        Self { rest: text }
    }

    fn split(&self) -> (Token<'a>, &'a str) {
        let rest = self.rest.trim_start_matches([' ', '\t', '\r', '\n']);
        if rest.is_empty() {
            return (Token::End, rest);
        }
        if let Some(sign) = SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
            let (sign, rest) = rest.split_at(sign.len());
            return (Token::Sign(sign), rest);
        }
        let ends = [' ', '\t', '\r', '\n', '=', '!', '(', ')', ',', '>', '<'];
        let (word, rest) = rest.split_at(rest.find(ends).unwrap_or(rest.len()));
        (Token::Word(word), rest)
    }

    fn peek(&self) -> Token<'a> {
        self.split().0
    }

    fn next(&mut self) -> Token<'a> {
        let (token, rest) = self.split();
        self.rest = rest;
        token
    }

    /// Upstream says of some mistakes only that they are in a requirement.
    fn selector(&mut self) -> Result<Labels, String> {
        let mut requirements = Vec::new();
        loop {
            match self.peek() {
                Token::Word(_) | Token::Sign("!") => {}
                Token::End => break,
                Token::Sign(found) => {
                    return Err(format!(
                        "found '{found}', expected: !, identifier, or 'end of string'"
                    ));
                }
            }
            let requirement = self.requirement();
            requirements
                .push(requirement.map_err(|why| format!("unable to parse requirement: {why}"))?);
            match self.next() {
                Token::End => break,
                Token::Sign(",") => {}
                found @ (Token::Sign(_) | Token::Word(_)) => {
                    return Err(format!("found '{}', {OR_END}", found.text()));
                }
            }
            let next = self.peek();
            if !matches!(next, Token::Word(_) | Token::Sign("!")) {
                return Err(format!("found '{}', expected: identifier after ','", next.text()));
            }
        }
        requirements.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(Labels(requirements))
    }

    fn requirement(&mut self) -> Result<Requirement, String> {
        let is_denied = self.peek() == Token::Sign("!");
        if is_denied {
            self.next();
        }
        let key = match self.next() {
            Token::Word(key) => Self::checked_key(key)?,
            found @ (Token::Sign(_) | Token::End) => {
                return Err(format!("found '{}', expected: identifier", found.text()));
            }
        };
        if is_denied {
            return Ok(Requirement { key, operator: Operator::DoesNotExist });
        }
        if matches!(self.peek(), Token::End | Token::Sign(",")) {
            return Ok(Requirement { key, operator: Operator::Exists });
        }
        let operator = match self.next() {
            Token::Sign("!=") => Operator::NotIn(vec![self.value(&key)?]),
            Token::Sign("=" | "==") => Operator::In(vec![self.value(&key)?]),
            Token::Sign(">") => Operator::GreaterThan(self.number()?),
            Token::Sign("<") => Operator::LessThan(self.number()?),
            Token::Word("in") => Operator::In(self.values(&key)?),
            Token::Word("notin") => Operator::NotIn(self.values(&key)?),
            found @ (Token::Sign(_) | Token::Word(_) | Token::End) => {
                let found = found.text();
                return Err(format!("found '{found}', expected: in, notin, =, ==, !=, gt, lt"));
            }
        };
        Ok(Requirement { key, operator })
    }

    fn checked_key(key: &str) -> Result<String, String> {
        let problems = names::qualified_name(key);
        if problems.is_empty() {
            return Ok(key.to_owned());
        }
        // Upstream has no path to the key.
        Err(format!("<nil>: Invalid value: {key:?}: {}", problems.join("; ")))
    }

    fn checked_value(key: &str, value: &str) -> Result<String, String> {
        let problems = names::label_value(value);
        if problems.is_empty() {
            return Ok(value.to_owned());
        }
        Err(format!("values[0][{key}]: Invalid value: {value:?}: {}", problems.join("; ")))
    }

    /// One value, which may be empty.
    fn word(&mut self) -> Result<&'a str, String> {
        match self.peek() {
            Token::End | Token::Sign(",") => Ok(""),
            Token::Word(word) => {
                self.next();
                Ok(word)
            }
            Token::Sign(found) => Err(format!("found '{found}', expected: identifier")),
        }
    }

    fn value(&mut self, key: &str) -> Result<String, String> {
        let word = self.word()?;
        Self::checked_value(key, word)
    }

    fn number(&mut self) -> Result<i64, String> {
        let word = self.word()?;
        word.parse().map_err(|_| {
            format!("values[0]: Invalid value: {word:?}: for 'Gt', 'Lt' operators, the value must be an integer")
        })
    }

    fn values(&mut self, key: &str) -> Result<Vec<String>, String> {
        let found = self.next();
        if found != Token::Sign("(") {
            return Err(format!("found '{}' expected: '('", found.text()));
        }
        let found = self.peek();
        if !matches!(found, Token::Word(_) | Token::Sign("," | ")")) {
            return Err(format!("found '{}', expected: ',', ')' or identifier", found.text()));
        }
        let mut values = Vec::new();
        loop {
            values.push(match self.peek() {
                Token::Word(word) => {
                    self.next();
                    Self::checked_value(key, word)?
                }
                Token::Sign(_) | Token::End => String::new(),
            });
            match self.next() {
                Token::Sign(")") => break,
                Token::Sign(",") => {}
                found @ (Token::Sign(_) | Token::Word(_) | Token::End) => {
                    return Err(format!("found '{}', expected: ',' or ')'", found.text()));
                }
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
    /// are known by every kind. `unknown` is what is said of any other field.
    ///
    /// # Errors
    /// A 400 with upstream's text.
    pub fn parse(
        text: &str,
        supported: &[&str],
        unknown: impl Fn(&str) -> String,
    ) -> Result<Self, Status> {
        Self::read(text, |field| {
            let is_known = matches!(field, "metadata.name" | "metadata.namespace")
                || supported.contains(&field);
            if is_known { Ok(()) } else { Err(Status::bad_request(unknown(field))) }
        })
    }

    /// Reads the same syntax, whatever the fields are called.
    ///
    /// # Errors
    /// A 400 with upstream's text.
    pub fn parse_any(text: &str) -> Result<Self, Status> {
        Self::read(text, |_| Ok(()))
    }

    fn read(text: &str, check: impl Fn(&str) -> Result<(), Status>) -> Result<Self, Status> {
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
            check(field)?;
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
                // Upstream shows the character as its number.
                let number = u32::from(c);
                return Err(format!(
                    "invalid field selector: unescaped character in value: {number}"
                ));
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
    fn refused_label_selectors_have_upstreams_words() {
        let name = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
        let refused = format!("unable to parse requirement: <nil>: Invalid value: \"-x\": {name}");
        for (text, why) in [
            ("a=b=c", "found '=', expected: ',' or 'end of string'"),
            ("a=b,", "found '', expected: identifier after ','"),
            (",", "found ',', expected: !, identifier, or 'end of string'"),
            ("a,,b", "found ',', expected: identifier after ','"),
            ("=x", "found '=', expected: !, identifier, or 'end of string'"),
            ("a in b", "unable to parse requirement: found 'b' expected: '('"),
            ("a in", "unable to parse requirement: found '' expected: '('"),
            ("a in (x", "unable to parse requirement: found '', expected: ',' or ')'"),
            ("a notin (x y)", "unable to parse requirement: found 'y', expected: ',' or ')'"),
            ("!a=b", "found '=', expected: ',' or 'end of string'"),
            ("!", "unable to parse requirement: found '', expected: identifier"),
            ("a=b c", "found 'c', expected: ',' or 'end of string'"),
            ("a in (x))", "found ')', expected: ',' or 'end of string'"),
            (
                "a!b",
                "unable to parse requirement: found '!', expected: in, notin, =, ==, !=, gt, lt",
            ),
            ("a=!b", "unable to parse requirement: found '!', expected: identifier"),
            ("a=>b", "unable to parse requirement: found '>', expected: identifier"),
            ("-x=1", &refused),
        ] {
            assert_eq!(Labels::parse(text).unwrap_err().message, why, "{text}");
        }
        for text in ["a in (,)", "a in (x,)", "in in (in)", "a==", " a = b , c "] {
            assert!(Labels::parse(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn field_selectors_know_escapes_and_refuse_unknown_fields() {
        let parse = |text, known| Fields::parse(text, known, |field| format!("no {field}"));
        let get = |field: &str| (field == "metadata.name").then_some("a,b");
        assert!(parse("metadata.name=a\\,b", &[]).unwrap().matches(get));
        assert!(!parse("metadata.name!=a\\,b", &[]).unwrap().matches(get));
        assert!(parse("spec.nodeName=", &["spec.nodeName"]).unwrap().matches(get));
        let refused = parse("spec.x=1", &["spec.nodeName"]).unwrap_err();
        assert_eq!(refused.message, "no spec.x");
        let refused = parse("metadata.name=a=b", &[]).unwrap_err();
        assert_eq!(refused.message, "invalid field selector: unescaped character in value: 61");
        assert!(parse("nonsense", &[]).is_err());
    }
}
