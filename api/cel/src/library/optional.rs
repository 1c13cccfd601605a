//! Optional values.

use crate::value::{Outcome, Value, fail, no_such_overload};

pub(super) const TABLE: &str = "
optional_of: optional.of(V) -> optional_type(V)
optional_ofNonZeroValue: optional.ofNonZeroValue(V) -> optional_type(V)
optional_none: optional.none() -> optional_type(V)
list_first: [list(V)] first() -> optional_type(V)
list_last: [list(V)] last() -> optional_type(V)
optional_value: [optional_type(V)] value() -> V
optional_hasValue: [optional_type(V)] hasValue() -> bool
optional_or_optional: [optional_type(V)] or(optional_type(V)) -> optional_type(V)
optional_orValue_value: [optional_type(V)] orValue(V) -> V
";

pub(super) fn call<'a>(function: &str, args: &[Value<'a>]) -> Outcome<'a> {
    match (function, args) {
        ("optional.of" | "of", [value]) => Ok(Value::some(value.clone())),
        ("optional.ofNonZeroValue" | "ofNonZeroValue", [value]) => {
            Ok(if is_zero(value) { Value::Optional(None) } else { Value::some(value.clone()) })
        }
        ("optional.none" | "none", []) => Ok(Value::Optional(None)),
        ("first", [Value::List(list)]) => Ok(Value::Optional(list.get(0).map(Box::new))),
        ("last", [Value::List(list)]) => {
            let last = list.len().checked_sub(1).and_then(|last| list.get(last));
            Ok(Value::Optional(last.map(Box::new)))
        }
        ("value", [Value::Optional(Some(inner))]) => Ok((**inner).clone()),
        ("value", [Value::Optional(None)]) => fail("optional.none() dereference"),
        ("hasValue", [Value::Optional(inner)]) => Ok(Value::Bool(inner.is_some())),
        _ => no_such_overload(),
    }
}

fn is_zero(value: &Value<'_>) -> bool {
    match value {
        Value::Null | Value::Bool(false) | Value::Int(0) | Value::Uint(0) | Value::Duration(0) => {
            true
        }
        Value::Double(one) => *one == 0.0,
        Value::String(_) | Value::Bytes(_) | Value::List(_) | Value::Map(_) => value.size() == 0,
        Value::Optional(inner) => inner.as_deref().is_none_or(is_zero),
        _ => false,
    }
}
