//! Types of expressions, and how error messages call them.

use std::fmt;
use std::sync::Arc;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Type {
    /// Of what is already reported as wrong.
    Error,
    Dyn,
    Any,
    Null,
    Bool,
    Int,
    Uint,
    Double,
    String,
    Bytes,
    Duration,
    Timestamp,
    List(Arc<Type>),
    Map(Arc<Type>, Arc<Type>),
    /// A type with fields; which, a [`Provider`](crate::Provider) knows.
    Object(Arc<str>),
    /// A type that only functions look into.
    Opaque(Arc<str>, Arc<[Type]>),
    /// Of a type's name.
    Type(Option<Arc<Type>>),
    /// Stands for any type in a function's declaration.
    Param(Arc<str>),
    /// A type that the checker does not know yet.
    Variable(usize),
}

impl Type {
    #[must_use]
    pub fn list(of: Self) -> Self {
        Self::List(Arc::new(of))
    }

    #[must_use]
    pub fn map(key: Self, value: Self) -> Self {
        Self::Map(Arc::new(key), Arc::new(value))
    }

    #[must_use]
    pub fn optional(of: Self) -> Self {
        Self::Opaque("optional_type".into(), Arc::new([of]))
    }

    #[must_use]
    pub fn object(name: &str) -> Self {
        Self::Object(name.into())
    }

    #[must_use]
    pub fn opaque(name: &str) -> Self {
        Self::Opaque(name.into(), Arc::new([]))
    }

    /// What an optional type holds.
    #[must_use]
    pub fn unwrap_optional(&self) -> Option<&Self> {
        match self {
            Self::Opaque(name, params) if &**name == "optional_type" => params.first(),
            _ => None,
        }
    }

    #[must_use]
    pub fn is_dyn(&self) -> bool {
        matches!(self, Self::Dyn | Self::Any)
    }

    pub(crate) fn params(&self) -> Vec<&Self> {
        match self {
            Self::List(of) => vec![of],
            Self::Map(key, value) => vec![key, value],
            Self::Opaque(_, params) => params.iter().collect(),
            Self::Type(Some(of)) => vec![of],
            _ => Vec::new(),
        }
    }

    /// The name without parameters, as `type(x)` prints it.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Error => "!error!",
            Self::Dyn => "dyn",
            Self::Any => "google.protobuf.Any",
            Self::Null => "null_type",
            Self::Bool => "bool",
            Self::Int => "int",
            Self::Uint => "uint",
            Self::Double => "double",
            Self::String => "string",
            Self::Bytes => "bytes",
            Self::Duration => "google.protobuf.Duration",
            Self::Timestamp => "google.protobuf.Timestamp",
            Self::List(_) => "list",
            Self::Map(..) => "map",
            Self::Object(name) | Self::Opaque(name, _) | Self::Param(name) => name,
            Self::Type(_) => "type",
            Self::Variable(_) => "dyn",
        }
    }

    /// The type that a word of a declaration names, without parameters.
    pub(crate) fn of_name(name: &str) -> Option<Self> {
        Some(match name {
            "dyn" => Self::Dyn,
            "null_type" => Self::Null,
            "bool" => Self::Bool,
            "int" => Self::Int,
            "uint" => Self::Uint,
            "double" => Self::Double,
            "string" => Self::String,
            "bytes" => Self::Bytes,
            "duration" | "google.protobuf.Duration" => Self::Duration,
            "timestamp" | "google.protobuf.Timestamp" => Self::Timestamp,
            "type" => Self::Type(None),
            "net.IP" | "net.CIDR" => Self::opaque(name),
            _ => return None,
        })
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Self::Any => "any",
            Self::Null => "null",
            Self::Duration => "duration",
            Self::Timestamp => "timestamp",
            Self::Variable(number) => return write!(f, "_var{number}"),
            _ => self.name(),
        };
        let params: Vec<String> = self.params().iter().map(ToString::to_string).collect();
        if params.is_empty() {
            return f.write_str(name);
        }
        write!(f, "{name}({})", params.join(", "))
    }
}
