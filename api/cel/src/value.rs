//! Values: those of JSON borrow from the tree that they are in, and are looked into when asked for.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::ops::Deref;
use std::sync::Arc;

use base64::Engine;
use serde_json::Value as Json;

use crate::ast::Literal;
use crate::declare::Provider;
use crate::level::Level;
use crate::library::format::Format;
use crate::library::quantity::Quantity;
use crate::library::semver::Semver;
use crate::library::time;
use crate::library::urls::Url;
use crate::types::Type;

/// Why there is no value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EvalError {
    /// The expression's own mistake, which `||` and `&&` may absorb.
    #[error("{0}")]
    Failed(String),
    #[error("operation cancelled: actual cost limit exceeded")]
    CostExceeded,
}

pub type Outcome<'a> = Result<Value<'a>, EvalError>;

/// An error of the expression's own.
pub fn fail<'a>(message: impl Into<String>) -> Outcome<'a> {
    Err(EvalError::Failed(message.into()))
}

pub(crate) const NO_SUCH_OVERLOAD: &str = "no such overload";

pub(crate) fn no_such_overload<'a>() -> Outcome<'a> {
    fail(NO_SUCH_OVERLOAD)
}

#[derive(Clone)]
pub enum Value<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    String(Text<'a>),
    Bytes(Arc<[u8]>),
    List(List<'a>),
    Map(Map<'a>),
    Timestamp(jiff::Timestamp),
    /// In nanoseconds.
    Duration(i64),
    Type(Type),
    Optional(Option<Box<Value<'a>>>),
    Quantity(Arc<Quantity>),
    Ip(IpAddr),
    Cidr(IpAddr, u8),
    Url(Arc<Url>),
    Semver(Arc<Semver>),
    Format(&'static Format),
    /// A value of the caller's: an authorizer and what it makes.
    Own(Arc<dyn OwnValue>),
    /// What the expression made by a type's name.
    Object(Arc<Object<'a>>),
}

/// An object that an expression made: `Name{field: value}`.
#[derive(Clone, Debug, PartialEq)]
pub struct Object<'a> {
    pub name: Arc<str>,
    pub fields: BTreeMap<Arc<str>, Value<'a>>,
}

/// A value that only the caller's functions look into.
pub trait OwnValue: Send + Sync + std::any::Any {
    fn type_of(&self) -> Type;
    fn as_any(&self) -> &dyn std::any::Any;
}

#[derive(Clone)]
pub enum Text<'a> {
    Borrowed(&'a str),
    Shared(Arc<str>),
}

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        match self {
            Self::Borrowed(text) => text,
            Self::Shared(text) => text,
        }
    }
}

/// What a JSON tree is to be taken for.
#[derive(Clone)]
pub struct Shape {
    pub provider: Arc<dyn Provider>,
    pub of: Type,
}

#[derive(Clone)]
pub enum List<'a> {
    Json(&'a [Json], Option<Shape>),
    Own(Arc<Vec<Value<'a>>>),
    /// As a level of a schema says.
    Read(&'a [Json], Level),
    /// Two lists of a level in one.
    Merged(Arc<Vec<Value<'a>>>, Level),
}

#[derive(Clone)]
pub enum Map<'a> {
    Json(&'a serde_json::Map<String, Json>, Option<Shape>),
    Own(Arc<BTreeMap<Key, (Value<'a>, Value<'a>)>>),
    /// As a level of a schema says.
    Read(&'a serde_json::Map<String, Json>, Level),
    /// The [`Activation`](crate::Activation) knows its fields.
    Asked(Arc<str>),
}

/// What keys are equal by: numbers by their value, whatever their type.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(u64),
    String(Arc<str>),
}

impl Key {
    #[must_use]
    pub fn of(value: &Value<'_>) -> Option<Self> {
        Some(match value {
            Value::Bool(one) => Self::Bool(*one),
            Value::Int(one) => Self::Int(*one),
            Value::Uint(one) => i64::try_from(*one).map_or(Self::Uint(*one), Self::Int),
            Value::Double(one) => match (exact_int(*one), exact_uint(*one)) {
                (Some(int), _) => Self::Int(int),
                (None, Some(uint)) => Self::Uint(uint),
                (None, None) => Self::Double(one.to_bits()),
            },
            Value::String(one) => Self::String(Arc::from(&**one)),
            _ => return None,
        })
    }
}

const TWO_TO_63: f64 = 9_223_372_036_854_775_808.0;
const TWO_TO_64: f64 = 18_446_744_073_709_551_616.0;

/// The integer that a double is.
#[expect(clippy::cast_possible_truncation, reason = "the range was looked at")]
pub(crate) fn exact_int(one: f64) -> Option<i64> {
    (one.fract() == 0.0 && (-TWO_TO_63..TWO_TO_63).contains(&one)).then_some(one as i64)
}

/// The unsigned integer that a double is.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the range was looked at"
)]
pub(crate) fn exact_uint(one: f64) -> Option<u64> {
    (one.fract() == 0.0 && (0.0..TWO_TO_64).contains(&one)).then_some(one as u64)
}

impl<'a> Value<'a> {
    #[must_use]
    pub fn string(text: impl Into<Arc<str>>) -> Self {
        Self::String(Text::Shared(text.into()))
    }

    #[must_use]
    pub fn list(values: Vec<Self>) -> Self {
        Self::List(List::Own(Arc::new(values)))
    }

    #[must_use]
    pub fn some(value: Self) -> Self {
        Self::Optional(Some(Box::new(value)))
    }

    pub(crate) fn of_literal(literal: &Literal) -> Self {
        match literal {
            Literal::Null => Self::Null,
            Literal::Bool(one) => Self::Bool(*one),
            Literal::Int(one) => Self::Int(*one),
            Literal::Uint(one) => Self::Uint(*one),
            Literal::Double(one) => Self::Double(*one),
            Literal::String(one) => Self::String(Text::Shared(Arc::clone(one))),
            Literal::Bytes(one) => Self::Bytes(Arc::clone(one)),
        }
    }

    /// A JSON tree as what it is, or as the type that a schema says it has.
    #[must_use]
    pub fn of_json(json: &'a Json, shape: Option<&Shape>) -> Self {
        match json {
            Json::Array(values) => Self::List(List::Json(values, shape.cloned())),
            Json::Object(fields) => Self::Map(Map::Json(fields, shape.cloned())),
            _ => Self::of_scalar(json, shape.map(|shape| &shape.of)),
        }
    }

    pub(crate) fn of_scalar(json: &'a Json, of: Option<&Type>) -> Self {
        match json {
            Json::Null | Json::Array(_) | Json::Object(_) => Self::Null,
            Json::Bool(one) => Self::Bool(*one),
            Json::Number(number) => {
                if of == Some(&Type::Double) {
                    Self::Double(number.as_f64().unwrap_or(f64::NAN))
                } else if let Some(int) = number.as_i64() {
                    Self::Int(int)
                } else if let Some(uint) = number.as_u64() {
                    Self::Uint(uint)
                } else {
                    Self::Double(number.as_f64().unwrap_or(f64::NAN))
                }
            }
            Json::String(text) => Self::of_text(text, of),
        }
    }

    fn of_text(text: &'a str, of: Option<&Type>) -> Self {
        let typed = match of {
            Some(Type::Timestamp) => time::parse_timestamp(text)
                .or_else(|| time::parse_timestamp(&format!("{text}T00:00:00Z")))
                .map(Self::Timestamp),
            Some(Type::Duration) => time::parse_duration(text).map(Self::Duration),
            Some(Type::Bytes) => {
                let decoded = base64::engine::general_purpose::STANDARD.decode(text);
                decoded.ok().map(|bytes| Self::Bytes(bytes.into()))
            }
            _ => None,
        };
        typed.unwrap_or(Self::String(Text::Borrowed(text)))
    }

    #[must_use]
    pub fn type_of(&self) -> Type {
        match self {
            Self::Null => Type::Null,
            Self::Bool(_) => Type::Bool,
            Self::Int(_) => Type::Int,
            Self::Uint(_) => Type::Uint,
            Self::Double(_) => Type::Double,
            Self::String(_) => Type::String,
            Self::Bytes(_) => Type::Bytes,
            Self::List(_) => Type::list(Type::Dyn),
            Self::Map(Map::Json(_, Some(Shape { of: of @ Type::Object(_), .. }))) => of.clone(),
            Self::Map(_) => Type::map(Type::Dyn, Type::Dyn),
            Self::Timestamp(_) => Type::Timestamp,
            Self::Duration(_) => Type::Duration,
            Self::Type(_) => Type::Type(None),
            Self::Optional(_) => Type::optional(Type::Dyn),
            Self::Quantity(_) => Type::object("kubernetes.Quantity"),
            Self::Ip(_) => Type::opaque("net.IP"),
            Self::Cidr(..) => Type::opaque("net.CIDR"),
            Self::Url(_) => Type::object("kubernetes.URL"),
            Self::Semver(_) => Type::object("kubernetes.Semver"),
            Self::Format(_) => Type::object("kubernetes.NamedFormat"),
            Self::Own(own) => own.type_of(),
            Self::Object(made) => Type::Object(Arc::clone(&made.name)),
        }
    }

    /// What the cost of looking at it grows with: code points, bytes, elements.
    #[must_use]
    pub fn size(&self) -> u64 {
        let size = match self {
            Self::String(text) => text.chars().count(),
            Self::Bytes(bytes) => bytes.len(),
            Self::List(list) => list.len(),
            Self::Map(map) => map.len(),
            Self::Optional(Some(inner)) => return inner.size(),
            Self::Ip(ip) => {
                if ip.is_ipv4() {
                    4
                } else {
                    16
                }
            }
            Self::Cidr(_, bits) => usize::from(*bits).div_ceil(8),
            _ => 1,
        };
        size as u64
    }
}

impl<'a> List<'a> {
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Json(values, _) | Self::Read(values, _) => values.len(),
            Self::Own(values) | Self::Merged(values, _) => values.len(),
        }
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    #[must_use]
    pub fn get(&self, index: usize) -> Option<Value<'a>> {
        match self {
            Self::Json(values, shape) => {
                let element = shape.as_ref().and_then(|shape| match &shape.of {
                    Type::List(of) => {
                        Some(Shape { provider: Arc::clone(&shape.provider), of: (**of).clone() })
                    }
                    _ => None,
                });
                Some(Value::of_json(values.get(index)?, element.as_ref()))
            }
            Self::Read(values, level) => Some(level.element(values.get(index)?)),
            Self::Own(values) | Self::Merged(values, _) => values.get(index).cloned(),
        }
    }

    pub(crate) fn level(&self) -> Option<&Level> {
        match self {
            Self::Read(_, level) | Self::Merged(_, level) => Some(level),
            Self::Json(..) | Self::Own(_) => None,
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = Value<'a>> + '_ {
        (0..self.len()).filter_map(|index| self.get(index))
    }
}

impl<'a> Map<'a> {
    #[must_use]
    pub fn own(entries: impl IntoIterator<Item = (Value<'a>, Value<'a>)>) -> Self {
        let keyed =
            entries.into_iter().filter_map(|(key, value)| Some((Key::of(&key)?, (key, value))));
        Self::Own(Arc::new(keyed.collect()))
    }

    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Json(fields, _) | Self::Read(fields, _) => fields.len(),
            Self::Own(entries) => entries.len(),
            Self::Asked(_) => 1,
        }
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    #[must_use]
    pub fn get(&self, key: &Value<'_>) -> Option<Value<'a>> {
        match self {
            Self::Json(fields, shape) => {
                let Value::String(name) = key else { return None };
                let Some(shape) = shape else {
                    return Some(Value::of_json(fields.get(&**name)?, None));
                };
                let provider = &shape.provider;
                let child = |of| Shape { provider: Arc::clone(provider), of };
                match &shape.of {
                    Type::Object(object) => {
                        let property = provider.property(object, name);
                        let json = fields.get(property.as_deref().unwrap_or(name))?;
                        let child = provider.field(object, name).map(child);
                        Some(Value::of_json(json, child.as_ref()))
                    }
                    Type::Map(_, of) => {
                        Some(Value::of_json(fields.get(&**name)?, Some(&child((**of).clone()))))
                    }
                    _ => Some(Value::of_json(fields.get(&**name)?, None)),
                }
            }
            Self::Read(fields, level) => match key {
                Value::String(name) => level.get(fields, name),
                _ => None,
            },
            Self::Own(entries) => entries.get(&Key::of(key)?).map(|(_, value)| value.clone()),
            Self::Asked(_) => None,
        }
    }

    fn same(&self, other: &Self) -> bool {
        // A level's own null fields are as if they were not there.
        let may_lack = matches!(self, Self::Read(..));
        self.len() == other.len()
            && self.keys().iter().all(|key| match (self.get(key), other.get(key)) {
                (Some(one), Some(other)) => one == other,
                (None, None) => may_lack,
                _ => false,
            })
            && match (self, other) {
                (Self::Read(one, level), Self::Read(other, _)) => level.agree(one, other),
                _ => true,
            }
    }

    #[must_use]
    pub fn keys(&self) -> Vec<Value<'a>> {
        match self {
            Self::Json(fields, _) => {
                fields.keys().map(|key| Value::String(Text::Borrowed(key))).collect()
            }
            Self::Read(fields, level) => level.keys(fields),
            Self::Own(entries) => entries.values().map(|(key, _)| key.clone()).collect(),
            Self::Asked(_) => Vec::new(),
        }
    }
}

impl PartialEq for Value<'_> {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Null, Self::Null) => true,
            (Self::Bool(a), Self::Bool(b)) => a == b,
            (Self::String(a), Self::String(b)) => **a == **b,
            (Self::Bytes(a), Self::Bytes(b)) => a == b,
            (Self::List(a), Self::List(b)) => {
                let unordered = a.level().and_then(|level| level.same(a, b));
                unordered.unwrap_or_else(|| {
                    a.len() == b.len() && a.iter().zip(b.iter()).all(|(a, b)| a == b)
                })
            }
            (Self::Map(a), Self::Map(b)) => a.same(b),
            (Self::Timestamp(a), Self::Timestamp(b)) => a == b,
            (Self::Duration(a), Self::Duration(b)) => a == b,
            (Self::Type(a), Self::Type(b)) => a.name() == b.name(),
            (Self::Optional(a), Self::Optional(b)) => a == b,
            (Self::Quantity(a), Self::Quantity(b)) => a.compare(b).is_eq(),
            (Self::Ip(a), Self::Ip(b)) => a == b,
            (Self::Cidr(a, bits), Self::Cidr(b, other)) => a == b && bits == other,
            (Self::Url(a), Self::Url(b)) => a == b,
            (Self::Semver(a), Self::Semver(b)) => a.compare(b).is_eq(),
            (Self::Format(a), Self::Format(b)) => a.name == b.name,
            (Self::Own(a), Self::Own(b)) => Arc::ptr_eq(a, b),
            (Self::Object(a), Self::Object(b)) => a == b,
            _ => crate::library::standard::compare_numbers(self, other)
                .is_some_and(|order| order.is_some_and(std::cmp::Ordering::is_eq)),
        }
    }
}

impl fmt::Debug for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// As error messages show it.
impl fmt::Display for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Bool(one) => write!(f, "{one}"),
            Self::Int(one) => write!(f, "{one}"),
            Self::Uint(one) => write!(f, "{one}"),
            Self::Double(one) => f.write_str(&time::format_double(*one)),
            Self::String(one) => f.write_str(one),
            Self::Bytes(one) => f.write_str(&String::from_utf8_lossy(one)),
            Self::List(list) => {
                let values: Vec<String> = list.iter().map(|one| one.to_string()).collect();
                write!(f, "[{}]", values.join(", "))
            }
            Self::Map(map) => {
                let entry =
                    |key: &Value<'_>| format!("{key}: {}", map.get(key).unwrap_or(Value::Null));
                let entries: Vec<String> = map.keys().iter().map(entry).collect();
                write!(f, "{{{}}}", entries.join(", "))
            }
            Self::Timestamp(one) => f.write_str(&time::format_timestamp(*one)),
            Self::Duration(one) => f.write_str(&time::format_duration(*one)),
            Self::Type(of) => f.write_str(of.name()),
            Self::Optional(None) => f.write_str("optional.none"),
            Self::Optional(Some(inner)) => write!(f, "optional({inner})"),
            Self::Ip(ip) => write!(f, "{ip}"),
            Self::Cidr(ip, bits) => write!(f, "{ip}/{bits}"),
            Self::Format(format) => f.write_str(format.name),
            Self::Quantity(_) | Self::Url(_) | Self::Semver(_) | Self::Own(_) | Self::Object(_) => {
                f.write_str(self.type_of().name())
            }
        }
    }
}
