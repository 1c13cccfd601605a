//! One step of a path into an object, with upstream's order and text forms.

use std::cmp::Ordering;
use std::fmt;

use serde_json::{Number, Value};

/// A step from a node to one of its children.
#[derive(Clone, Debug)]
pub enum PathElement {
    /// A field of a struct or an entry of a map.
    Field(String),
    /// An item of a list, by the values of its key fields, sorted by name.
    Key(Vec<(String, Value)>),
    /// An item of a set, by its value.
    Value(Value),
    /// An item of a list, by its place.
    Index(i64),
}

/// Steps from the root.
pub type Path = Vec<PathElement>;

/// Why a text is no path element.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NoElement {
    /// Written by a newer server: it is passed over.
    UnknownKind,
    Malformed(String),
}

impl PathElement {
    /// A field by name.
    #[must_use]
    pub fn field(name: &str) -> Self {
        Self::Field(name.to_owned())
    }

    /// Reads the form of `FieldsV1` keys: `f:spec`, `k:{"name":"a"}`, `v:"x"`, `i:0`.
    pub(super) fn parse(text: &str) -> Result<Self, NoElement> {
        let malformed = |why: &str| NoElement::Malformed(why.to_owned());
        let bytes = text.as_bytes();
        if bytes.len() < 2 {
            return Err(malformed("key must be 2 characters long:"));
        }
        if bytes[1] != b':' {
            return Err(malformed(&format!("missing colon: {text}")));
        }
        let rest = &text[2..];
        match bytes[0] {
            b'f' => Ok(Self::field(rest)),
            b'v' => serde_json::from_str(rest)
                .map(Self::Value)
                .map_err(|error| malformed(&error.to_string())),
            b'k' => match serde_json::from_str(rest) {
                // The tree's map is sorted by name already.
                Ok(Value::Object(map)) => Ok(Self::Key(map.into_iter().collect())),
                Ok(_) => Err(malformed("a key must be an object")),
                Err(error) => Err(malformed(&error.to_string())),
            },
            b'i' => {
                rest.parse().map(Self::Index).map_err(|_| malformed(&format!("no index: {rest}")))
            }
            _ => Err(NoElement::UnknownKind),
        }
    }

    /// The form of `FieldsV1` keys.
    pub(super) fn to_key(&self) -> String {
        match self {
            Self::Field(name) => format!("f:{name}"),
            Self::Key(fields) => {
                let parts: Vec<String> = fields
                    .iter()
                    .map(|(name, value)| format!("{}:{}", Value::from(name.as_str()), json(value)))
                    .collect();
                format!("k:{{{}}}", parts.join(","))
            }
            Self::Value(value) => format!("v:{}", json(value)),
            Self::Index(index) => format!("i:{index}"),
        }
    }

    fn rank(&self) -> u8 {
        match self {
            Self::Field(_) => 0,
            Self::Key(_) => 1,
            Self::Value(_) => 2,
            Self::Index(_) => 3,
        }
    }
}

/// A value as upstream writes it inside of a path element: whole numbers without a fraction, and
/// what HTML would read escaped.
pub(super) fn json(value: &Value) -> String {
    let text = match value {
        Value::Number(number) => number_text(number),
        _ => value.to_string(),
    };
    if !text.contains(['<', '>', '&', '\u{2028}', '\u{2029}']) {
        return text;
    }
    text.replace('<', "\\u003c")
        .replace('>', "\\u003e")
        .replace('&', "\\u0026")
        .replace('\u{2028}', "\\u2028")
        .replace('\u{2029}', "\\u2029")
}

pub(super) fn number_text(number: &Number) -> String {
    match number.as_f64() {
        // Rust writes a whole float without a fraction, as Go does.
        Some(float) if number.is_f64() && float.abs() < 1e21 => float.to_string(),
        _ => number.to_string(),
    }
}

/// Upstream's order of values: numbers, text, booleans, lists, maps, null.
pub(super) fn compare(left: &Value, right: &Value) -> Ordering {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => compare_numbers(left, right),
        (Value::String(left), Value::String(right)) => left.cmp(right),
        (Value::Bool(left), Value::Bool(right)) => left.cmp(right),
        (Value::Array(left), Value::Array(right)) => {
            let pairs = left.iter().zip(right).map(|(left, right)| compare(left, right));
            first_difference(pairs).then(left.len().cmp(&right.len()))
        }
        (Value::Object(left), Value::Object(right)) => {
            let pairs = left.iter().zip(right).map(|((left_key, left), (right_key, right))| {
                left_key.cmp(right_key).then_with(|| compare(left, right))
            });
            first_difference(pairs).then(left.len().cmp(&right.len()))
        }
        _ => value_rank(left).cmp(&value_rank(right)),
    }
}

/// Whether two values are the same to upstream: `1` and `1.0` are.
pub(super) fn same(left: &Value, right: &Value) -> bool {
    compare(left, right) == Ordering::Equal
}

fn compare_numbers(left: &Number, right: &Number) -> Ordering {
    match (left.as_i64(), right.as_i64()) {
        (Some(left), Some(right)) => left.cmp(&right),
        _ => {
            let float = |number: &Number| number.as_f64().unwrap_or(f64::MAX);
            float(left).total_cmp(&float(right))
        }
    }
}

fn first_difference(mut pairs: impl Iterator<Item = Ordering>) -> Ordering {
    pairs.find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
}

fn value_rank(value: &Value) -> u8 {
    match value {
        Value::Number(_) => 0,
        Value::String(_) => 1,
        Value::Bool(_) => 2,
        Value::Array(_) => 3,
        Value::Object(_) => 4,
        Value::Null => 5,
    }
}

impl Ord for PathElement {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Field(left), Self::Field(right)) => left.cmp(right),
            (Self::Key(left), Self::Key(right)) => {
                let pairs = left.iter().zip(right).map(|((left_name, left), (name, right))| {
                    left_name.cmp(name).then_with(|| compare(left, right))
                });
                first_difference(pairs).then(left.len().cmp(&right.len()))
            }
            (Self::Value(left), Self::Value(right)) => compare(left, right),
            (Self::Index(left), Self::Index(right)) => left.cmp(right),
            _ => self.rank().cmp(&other.rank()),
        }
    }
}

impl PartialOrd for PathElement {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for PathElement {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for PathElement {}

/// The form of messages: `.spec`, `[name="a"]`, `[="x"]`, `[0]`.
impl fmt::Display for PathElement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Field(name) => write!(f, ".{name}"),
            Self::Key(fields) => {
                let parts: Vec<String> =
                    fields.iter().map(|(name, value)| format!("{name}={}", shown(value))).collect();
                write!(f, "[{}]", parts.join(","))
            }
            Self::Value(value) => write!(f, "[={}]", shown(value)),
            Self::Index(index) => write!(f, "[{index}]"),
        }
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => format!("{text:?}"),
        Value::Number(number) => number_text(number),
        Value::Array(items) => {
            format!("[{}]", items.iter().map(shown).collect::<Vec<_>>().join(","))
        }
        Value::Object(map) => {
            map.iter().map(|(key, value)| format!("{key}={}", shown(value))).collect()
        }
        Value::Null | Value::Bool(_) => value.to_string(),
    }
}

/// A path as messages show it.
#[must_use]
pub fn text(path: &[PathElement]) -> String {
    path.iter().map(ToString::to_string).collect()
}
