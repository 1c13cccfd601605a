//! A value that can be written as EDN and as JSON: the same names and the same order in both.

use std::fmt::{self, Display, Formatter, Write as _};

use serde::ser::{Serialize, SerializeMap as _, Serializer};

/// A value. A keyword is a string in JSON, and so is a map's key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// `nil`, `null`.
    Nothing,
    /// `true`.
    Truth(bool),
    /// `7`.
    Number(i128),
    /// `"text"`.
    Text(String),
    /// `:ok`, `"ok"`.
    Keyword(&'static str),
    /// `[1 2]`, `[1,2]`.
    List(Vec<Form>),
    /// `{:a 1, :b 2}`, `{"a":1,"b":2}`.
    Map(Vec<(&'static str, Form)>),
}

impl Form {
    pub(super) fn text(text: &str) -> Self {
        Self::Text(text.to_owned())
    }

    pub(super) fn list<T>(items: &[T], form: impl Fn(&T) -> Self) -> Self {
        Self::List(items.iter().map(form).collect())
    }

    pub(super) fn or_nothing<T>(value: Option<T>, form: impl Fn(T) -> Self) -> Self {
        value.map_or(Self::Nothing, form)
    }
}

impl From<i64> for Form {
    fn from(number: i64) -> Self {
        Self::Number(number.into())
    }
}

impl From<u64> for Form {
    fn from(number: u64) -> Self {
        Self::Number(number.into())
    }
}

impl From<usize> for Form {
    fn from(number: usize) -> Self {
        Self::Number(number as i128)
    }
}

/// EDN.
impl Display for Form {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => out.write_str("nil"),
            Self::Truth(truth) => write!(out, "{truth}"),
            Self::Number(number) => write!(out, "{number}"),
            Self::Text(text) => quote(out, text),
            Self::Keyword(word) => write!(out, ":{word}"),
            Self::List(items) => {
                out.write_char('[')?;
                for (place, item) in items.iter().enumerate() {
                    let space = if place == 0 { "" } else { " " };
                    write!(out, "{space}{item}")?;
                }
                out.write_char(']')
            }
            Self::Map(entries) => {
                out.write_char('{')?;
                for (place, (key, value)) in entries.iter().enumerate() {
                    let comma = if place == 0 { "" } else { ", " };
                    write!(out, "{comma}:{key} {value}")?;
                }
                out.write_char('}')
            }
        }
    }
}

fn quote(out: &mut Formatter<'_>, text: &str) -> fmt::Result {
    out.write_char('"')?;
    for letter in text.chars() {
        match letter {
            '"' => out.write_str("\\\"")?,
            '\\' => out.write_str("\\\\")?,
            '\n' => out.write_str("\\n")?,
            '\r' => out.write_str("\\r")?,
            '\t' => out.write_str("\\t")?,
            // All of Unicode's control characters are below U+00A0.
            control if control.is_control() => write!(out, "\\u{:04x}", u32::from(control))?,
            other => out.write_char(other)?,
        }
    }
    out.write_char('"')
}

/// JSON.
impl Serialize for Form {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Nothing => serializer.serialize_unit(),
            Self::Truth(truth) => serializer.serialize_bool(*truth),
            Self::Number(number) => serializer.serialize_i128(*number),
            Self::Text(text) => serializer.serialize_str(text),
            Self::Keyword(word) => serializer.serialize_str(word),
            Self::List(items) => serializer.collect_seq(items),
            Self::Map(entries) => {
                let mut map = serializer.serialize_map(Some(entries.len()))?;
                for (key, value) in entries {
                    map.serialize_entry(key, value)?;
                }
                map.end()
            }
        }
    }
}
