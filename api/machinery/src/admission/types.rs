//! Built-in types as the type checker sees them: what upstream's schemas expose to expressions.

use std::sync::Arc;

use api_cel::{RESERVED, Type};

use crate::schema::{Field, Kind, Schema, Shape, Special, TypeId};

/// The type of a built-in kind.
pub(super) fn of(id: TypeId) -> Type {
    Type::object(&Schema::get().of(id).name)
}

pub(super) fn has_type(name: &str) -> bool {
    Schema::get().find(name).is_some()
}

/// The type of a field by its name in expressions; what has no schema is not exposed.
pub(super) fn field(object: &str, name: &str) -> Option<Type> {
    let schema = Schema::get();
    let id = schema.find(object)?;
    let json = json_name(name)?;
    match schema.field(id, &json) {
        Some(field) => of_field(field),
        None if schema.of(id).has_type_meta && matches!(&*json, "kind" | "apiVersion") => {
            Some(Type::String)
        }
        None => None,
    }
}

pub(super) fn property(object: &str, name: &str) -> Option<Arc<str>> {
    has_type(object).then(|| json_name(name))?.map(Into::into)
}

/// The name in JSON of a field that expressions call `name`.
fn json_name(name: &str) -> Option<String> {
    if RESERVED.contains(&name) {
        return None;
    }
    let inner = name.strip_prefix("__").and_then(|rest| rest.strip_suffix("__"));
    match inner {
        Some(word) if RESERVED.contains(&word) => Some(word.to_owned()),
        _ => Some(name.replace("__dash__", "-")),
    }
}

fn of_field(field: &Field) -> Option<Type> {
    let one = match field.kind {
        Kind::String => Type::String,
        Kind::Int32 | Kind::Int64 => Type::Int,
        Kind::Bool => Type::Bool,
        Kind::Bytes => Type::Bytes,
        Kind::Double => Type::Double,
        Kind::Message(id) => match Schema::get().of(id).special {
            Special::None | Special::RawExtension => of(id),
            Special::IntOrString => Type::Dyn,
            Special::Time | Special::MicroTime => Type::Timestamp,
            Special::Duration => Type::String,
            Special::Items => Type::list(Type::String),
            // Upstream's schemas of these have no type.
            Special::Quantity | Special::AnyJson => return None,
        },
    };
    Some(match field.shape {
        Shape::One => one,
        Shape::List => Type::list(one),
        Shape::Map => Type::map(Type::String, one),
    })
}
