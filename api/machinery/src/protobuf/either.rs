//! Types whose JSON is one of several shapes and whose message has a field for each of them: a
//! schema or a list of them, a schema or a boolean, a schema or a list of names.

use serde_json::{Map, Value};

use super::wire::put_number;
use super::{Error, read, write};
use crate::schema::{Kind, Shape, Type};

/// The one value of the message. Without any it is `false` where that is a choice, else null.
pub(super) fn from_message(ty: &Type, bytes: &[u8], depth: usize) -> Result<Value, Error> {
    let mut found = Map::new();
    read::add_fields(ty, bytes, depth, &mut found)?;
    let mut rest = Value::Null;
    for field in &ty.fields {
        match (field.kind, found.remove(&field.json)) {
            (Kind::Bool, value) => rest = value.unwrap_or(Value::Bool(false)),
            (_, Some(value)) => return Ok(value),
            (_, None) => {}
        }
    }
    Ok(rest)
}

/// Says the value in the field of its shape.
pub(super) fn to_message(ty: &Type, value: &Value, out: &mut Vec<u8>) -> Result<(), Error> {
    for field in &ty.fields {
        match (field.shape, field.kind, value) {
            // Where a boolean could stand, a schema stands beside `true`.
            (Shape::One, Kind::Bool, Value::Object(_)) => put_number(field.number, 1, out),
            (Shape::One, Kind::Bool, Value::Bool(_))
            | (Shape::One, Kind::Message(_), Value::Object(_)) => {
                write::one(field, field.number, value, out)?;
            }
            (Shape::List, _, Value::Array(items)) => {
                for item in items {
                    write::one(field, field.number, item, out)?;
                }
            }
            _ => {}
        }
    }
    Ok(())
}
