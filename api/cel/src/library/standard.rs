//! Operators and conversions of the standard library.

use std::cmp::Ordering;
use std::sync::Arc;

use super::time;
use crate::value::{List, Outcome, Text, Value, exact_int, exact_uint, fail, no_such_overload};

pub(super) const OPERATORS: &str = "
conditional: _?_:_(bool, A, A) -> A
logical_and: _&&_(bool, bool) -> bool
logical_or: _||_(bool, bool) -> bool
logical_not: !_(bool) -> bool
not_strictly_false: @not_strictly_false(bool) -> bool
equals: _==_(A, A) -> bool
not_equals: _!=_(A, A) -> bool
add_bytes: _+_(bytes, bytes) -> bytes
add_double: _+_(double, double) -> double
add_duration_duration: _+_(duration, duration) -> duration
add_duration_timestamp: _+_(duration, timestamp) -> timestamp
add_timestamp_duration: _+_(timestamp, duration) -> timestamp
add_int64: _+_(int, int) -> int
add_list: _+_(list(A), list(A)) -> list(A)
add_string: _+_(string, string) -> string
add_uint64: _+_(uint, uint) -> uint
divide_double: _/_(double, double) -> double
divide_int64: _/_(int, int) -> int
divide_uint64: _/_(uint, uint) -> uint
modulo_int64: _%_(int, int) -> int
modulo_uint64: _%_(uint, uint) -> uint
multiply_double: _*_(double, double) -> double
multiply_int64: _*_(int, int) -> int
multiply_uint64: _*_(uint, uint) -> uint
negate_double: -_(double) -> double
negate_int64: -_(int) -> int
subtract_double: _-_(double, double) -> double
subtract_duration_duration: _-_(duration, duration) -> duration
subtract_int64: _-_(int, int) -> int
subtract_timestamp_duration: _-_(timestamp, duration) -> timestamp
subtract_timestamp_timestamp: _-_(timestamp, timestamp) -> duration
subtract_uint64: _-_(uint, uint) -> uint
index_list: _[_](list(A), int) -> A
index_map: _[_](map(A, B), A) -> B
optional_list_index_int: _[_](optional_type(list(V)), int) -> optional_type(V)
optional_map_index_value: _[_](optional_type(map(K, V)), K) -> optional_type(V)
list_optindex_optional_int: _[?_](list(V), int) -> optional_type(V)
optional_list_optindex_optional_int: _[?_](optional_type(list(V)), int) -> optional_type(V)
map_optindex_optional_value: _[?_](map(K, V), K) -> optional_type(V)
optional_map_optindex_optional_value: _[?_](optional_type(map(K, V)), K) -> optional_type(V)
select_optional_field: _?._(dyn, string) -> optional_type(V)
in_list: @in(A, list(A)) -> bool
in_map: @in(A, map(A, B)) -> bool
size_bytes: size(bytes) -> int
bytes_size: [bytes] size() -> int
size_list: size(list(A)) -> int
list_size: [list(A)] size() -> int
size_map: size(map(A, B)) -> int
map_size: [map(A, B)] size() -> int
size_string: size(string) -> int
string_size: [string] size() -> int
less_bool: _<_(bool, bool) -> bool
less_int64: _<_(int, int) -> bool
less_int64_double: _<_(int, double) -> bool
less_int64_uint64: _<_(int, uint) -> bool
less_uint64: _<_(uint, uint) -> bool
less_uint64_double: _<_(uint, double) -> bool
less_uint64_int64: _<_(uint, int) -> bool
less_double: _<_(double, double) -> bool
less_double_int64: _<_(double, int) -> bool
less_double_uint64: _<_(double, uint) -> bool
less_string: _<_(string, string) -> bool
less_bytes: _<_(bytes, bytes) -> bool
less_timestamp: _<_(timestamp, timestamp) -> bool
less_duration: _<_(duration, duration) -> bool
less_equals_bool: _<=_(bool, bool) -> bool
less_equals_int64: _<=_(int, int) -> bool
less_equals_int64_double: _<=_(int, double) -> bool
less_equals_int64_uint64: _<=_(int, uint) -> bool
less_equals_uint64: _<=_(uint, uint) -> bool
less_equals_uint64_double: _<=_(uint, double) -> bool
less_equals_uint64_int64: _<=_(uint, int) -> bool
less_equals_double: _<=_(double, double) -> bool
less_equals_double_int64: _<=_(double, int) -> bool
less_equals_double_uint64: _<=_(double, uint) -> bool
less_equals_string: _<=_(string, string) -> bool
less_equals_bytes: _<=_(bytes, bytes) -> bool
less_equals_timestamp: _<=_(timestamp, timestamp) -> bool
less_equals_duration: _<=_(duration, duration) -> bool
greater_bool: _>_(bool, bool) -> bool
greater_int64: _>_(int, int) -> bool
greater_int64_double: _>_(int, double) -> bool
greater_int64_uint64: _>_(int, uint) -> bool
greater_uint64: _>_(uint, uint) -> bool
greater_uint64_double: _>_(uint, double) -> bool
greater_uint64_int64: _>_(uint, int) -> bool
greater_double: _>_(double, double) -> bool
greater_double_int64: _>_(double, int) -> bool
greater_double_uint64: _>_(double, uint) -> bool
greater_string: _>_(string, string) -> bool
greater_bytes: _>_(bytes, bytes) -> bool
greater_timestamp: _>_(timestamp, timestamp) -> bool
greater_duration: _>_(duration, duration) -> bool
greater_equals_bool: _>=_(bool, bool) -> bool
greater_equals_int64: _>=_(int, int) -> bool
greater_equals_int64_double: _>=_(int, double) -> bool
greater_equals_int64_uint64: _>=_(int, uint) -> bool
greater_equals_uint64: _>=_(uint, uint) -> bool
greater_equals_uint64_double: _>=_(uint, double) -> bool
greater_equals_uint64_int64: _>=_(uint, int) -> bool
greater_equals_double: _>=_(double, double) -> bool
greater_equals_double_int64: _>=_(double, int) -> bool
greater_equals_double_uint64: _>=_(double, uint) -> bool
greater_equals_string: _>=_(string, string) -> bool
greater_equals_bytes: _>=_(bytes, bytes) -> bool
greater_equals_timestamp: _>=_(timestamp, timestamp) -> bool
greater_equals_duration: _>=_(duration, duration) -> bool
";

pub(super) const CONVERSIONS: &str = "
type: type(A) -> type(A)
bool_to_bool: bool(bool) -> bool
string_to_bool: bool(string) -> bool
bytes_to_bytes: bytes(bytes) -> bytes
string_to_bytes: bytes(string) -> bytes
double_to_double: double(double) -> double
int64_to_double: double(int) -> double
string_to_double: double(string) -> double
uint64_to_double: double(uint) -> double
duration_to_duration: duration(duration) -> duration
int64_to_duration: duration(int) -> duration
string_to_duration: duration(string) -> duration
to_dyn: dyn(A) -> dyn
int64_to_int64: int(int) -> int
double_to_int64: int(double) -> int
duration_to_int64: int(duration) -> int
string_to_int64: int(string) -> int
timestamp_to_int64: int(timestamp) -> int
uint64_to_int64: int(uint) -> int
string_to_string: string(string) -> string
bool_to_string: string(bool) -> string
bytes_to_string: string(bytes) -> string
double_to_string: string(double) -> string
duration_to_string: string(duration) -> string
int64_to_string: string(int) -> string
timestamp_to_string: string(timestamp) -> string
uint64_to_string: string(uint) -> string
timestamp_to_timestamp: timestamp(timestamp) -> timestamp
int64_to_timestamp: timestamp(int) -> timestamp
string_to_timestamp: timestamp(string) -> timestamp
uint64_to_uint64: uint(uint) -> uint
double_to_uint64: uint(double) -> uint
int64_to_uint64: uint(int) -> uint
string_to_uint64: uint(string) -> uint
";

/// Compares two numbers of any types: none when they are no numbers, none inside for NaN.
pub(crate) fn compare_numbers(one: &Value<'_>, other: &Value<'_>) -> Option<Option<Ordering>> {
    let out = match (one, other) {
        (Value::Int(a), Value::Int(b)) => Some(a.cmp(b)),
        (Value::Uint(a), Value::Uint(b)) => Some(a.cmp(b)),
        (Value::Double(a), Value::Double(b)) => a.partial_cmp(b),
        (Value::Int(a), Value::Uint(b)) => Some(i128::from(*a).cmp(&i128::from(*b))),
        (Value::Uint(a), Value::Int(b)) => Some(i128::from(*a).cmp(&i128::from(*b))),
        (Value::Int(a), Value::Double(b)) => integer_and_double(i128::from(*a), *b),
        (Value::Uint(a), Value::Double(b)) => integer_and_double(i128::from(*a), *b),
        (Value::Double(a), Value::Int(b)) => {
            integer_and_double(i128::from(*b), *a).map(Ordering::reverse)
        }
        (Value::Double(a), Value::Uint(b)) => {
            integer_and_double(i128::from(*b), *a).map(Ordering::reverse)
        }
        _ => return None,
    };
    Some(out)
}

#[expect(clippy::cast_possible_truncation, reason = "the cast saturates, which orders rightly")]
fn integer_and_double(integer: i128, double: f64) -> Option<Ordering> {
    if double.is_nan() {
        return None;
    }
    let floor = double.floor();
    let order = integer.cmp(&(floor as i128));
    // Equal to the floor of what has a fraction is less.
    Some(if order.is_eq() && floor < double { Ordering::Less } else { order })
}

/// Orders two values of types that have an order.
pub(crate) fn compare<'a>(one: &Value<'_>, other: &Value<'_>) -> Result<Ordering, Outcome<'a>> {
    if let Some(order) = compare_numbers(one, other) {
        return order.ok_or_else(|| fail("NaN values cannot be ordered"));
    }
    Ok(match (one, other) {
        (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
        (Value::String(a), Value::String(b)) => (**a).cmp(&**b),
        (Value::Bytes(a), Value::Bytes(b)) => a.cmp(b),
        (Value::Timestamp(a), Value::Timestamp(b)) => a.cmp(b),
        (Value::Duration(a), Value::Duration(b)) => a.cmp(b),
        _ => return Err(no_such_overload()),
    })
}

fn order<'a>(args: &[Value<'a>], wanted: fn(Ordering) -> bool) -> Outcome<'a> {
    match args {
        [one, other] => match compare(one, other) {
            Ok(order) => Ok(Value::Bool(wanted(order))),
            Err(outcome) => outcome,
        },
        _ => no_such_overload(),
    }
}

fn int<'a>(value: Option<i64>) -> Outcome<'a> {
    value.map_or_else(|| fail("integer overflow"), |one| Ok(Value::Int(one)))
}

fn uint<'a>(value: Option<u64>) -> Outcome<'a> {
    value.map_or_else(|| fail("unsigned integer overflow"), |one| Ok(Value::Uint(one)))
}

pub(super) fn operator<'a>(function: &str, args: &[Value<'a>]) -> Outcome<'a> {
    match (function, args) {
        ("_==_", [a, b]) => Ok(Value::Bool(a == b)),
        ("_!=_", [a, b]) => Ok(Value::Bool(a != b)),
        ("_<_", _) => order(args, Ordering::is_lt),
        ("_<=_", _) => order(args, Ordering::is_le),
        ("_>_", _) => order(args, Ordering::is_gt),
        ("_>=_", _) => order(args, Ordering::is_ge),
        ("!_", [Value::Bool(one)]) => Ok(Value::Bool(!one)),
        ("-_", [Value::Int(one)]) => int(one.checked_neg()),
        ("-_", [Value::Double(one)]) => Ok(Value::Double(-one)),
        ("@in", [one, Value::List(list)]) => Ok(Value::Bool(list.iter().any(|each| each == *one))),
        ("@in", [key, Value::Map(map)]) => Ok(Value::Bool(map.get(key).is_some())),
        ("size", [one @ (Value::String(_) | Value::Bytes(_) | Value::List(_) | Value::Map(_))]) => {
            Ok(Value::Int(i64::try_from(one.size()).unwrap_or(i64::MAX)))
        }
        (_, [a, b]) => match (a, b) {
            (Value::Int(a), Value::Int(b)) => ints(function, *a, *b),
            (Value::Uint(a), Value::Uint(b)) => uints(function, *a, *b),
            (Value::Double(a), Value::Double(b)) => doubles(function, *a, *b),
            _ if function == "_+_" => add(a, b),
            _ if function == "_-_" => time::subtract(a, b),
            _ => no_such_overload(),
        },
        _ => no_such_overload(),
    }
}

fn ints<'a>(function: &str, a: i64, b: i64) -> Outcome<'a> {
    match function {
        "_+_" => int(a.checked_add(b)),
        "_-_" => int(a.checked_sub(b)),
        "_*_" => int(a.checked_mul(b)),
        "_/_" if b == 0 => fail("division by zero"),
        "_/_" => int(a.checked_div(b)),
        "_%_" if b == 0 => fail("modulus by zero"),
        "_%_" => int(a.checked_rem(b)),
        _ => no_such_overload(),
    }
}

fn uints<'a>(function: &str, a: u64, b: u64) -> Outcome<'a> {
    match function {
        "_+_" => uint(a.checked_add(b)),
        "_-_" => uint(a.checked_sub(b)),
        "_*_" => uint(a.checked_mul(b)),
        "_/_" if b == 0 => fail("division by zero"),
        "_/_" => uint(a.checked_div(b)),
        "_%_" if b == 0 => fail("modulus by zero"),
        "_%_" => uint(a.checked_rem(b)),
        _ => no_such_overload(),
    }
}

fn doubles<'a>(function: &str, a: f64, b: f64) -> Outcome<'a> {
    Ok(Value::Double(match function {
        "_+_" => a + b,
        "_-_" => a - b,
        "_*_" => a * b,
        "_/_" => a / b,
        _ => return no_such_overload(),
    }))
}

fn add<'a>(a: &Value<'a>, b: &Value<'a>) -> Outcome<'a> {
    match (a, b) {
        (Value::String(a), Value::String(b)) => Ok(Value::string([&**a, &**b].concat())),
        (Value::Bytes(a), Value::Bytes(b)) => Ok(Value::Bytes([&**a, &**b].concat().into())),
        (Value::List(a), Value::List(b)) => {
            let merged = a.level().and_then(|level| level.merge(a, b));
            Ok(Value::List(
                merged.unwrap_or_else(|| List::Own(Arc::new(a.iter().chain(b.iter()).collect()))),
            ))
        }
        _ => time::add(a, b),
    }
}

pub(super) fn convert<'a>(function: &str, args: &[Value<'a>]) -> Outcome<'a> {
    let [value] = args else { return no_such_overload() };
    match function {
        "dyn" => Ok(value.clone()),
        "type" => Ok(Value::Type(value.type_of())),
        "bool" => to_bool(value),
        "bytes" => match value {
            Value::String(text) => Ok(Value::Bytes(text.as_bytes().into())),
            Value::Bytes(_) => Ok(value.clone()),
            _ => no_such_overload(),
        },
        "double" => to_double(value),
        "int" => to_int(value),
        "uint" => to_uint(value),
        "string" => to_string(value),
        "duration" => time::to_duration(value),
        "timestamp" => time::to_timestamp(value),
        _ => no_such_overload(),
    }
}

fn to_bool<'a>(value: &Value<'a>) -> Outcome<'a> {
    match value {
        Value::Bool(one) => Ok(Value::Bool(*one)),
        Value::String(text) => match &**text {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(Value::Bool(true)),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(Value::Bool(false)),
            _ => fail("type conversion error from 'string' to 'bool'"),
        },
        _ => no_such_overload(),
    }
}

#[expect(clippy::cast_precision_loss, reason = "the language rounds too")]
fn to_double<'a>(value: &Value<'a>) -> Outcome<'a> {
    Ok(Value::Double(match value {
        Value::Double(one) => *one,
        Value::Int(one) => *one as f64,
        Value::Uint(one) => *one as f64,
        Value::String(text) => match text.parse() {
            Ok(one) => one,
            Err(_) => return fail("type conversion error from 'string' to 'double'"),
        },
        _ => return no_such_overload(),
    }))
}

fn to_int<'a>(value: &Value<'a>) -> Outcome<'a> {
    match value {
        Value::Int(one) => Ok(Value::Int(*one)),
        // The largest double below 2^63 and the least above -2^63 are the ends.
        Value::Double(one) => int(exact_int(one.trunc()).filter(|one| *one != i64::MIN)),
        Value::Uint(one) => int(i64::try_from(*one).ok()),
        Value::Duration(nanos) => Ok(Value::Int(*nanos)),
        Value::Timestamp(at) => Ok(Value::Int(at.as_second())),
        Value::String(text) => match text.parse() {
            Ok(one) => Ok(Value::Int(one)),
            Err(_) => fail("type conversion error from 'string' to 'int'"),
        },
        _ => no_such_overload(),
    }
}

fn to_uint<'a>(value: &Value<'a>) -> Outcome<'a> {
    match value {
        Value::Uint(one) => Ok(Value::Uint(*one)),
        Value::Int(one) => uint(u64::try_from(*one).ok()),
        Value::Double(one) => uint(exact_uint(one.trunc()).filter(|_| *one >= 0.0)),
        Value::String(text) => match text.parse() {
            Ok(one) if !text.starts_with('+') => Ok(Value::Uint(one)),
            _ => fail("type conversion error from 'string' to 'uint'"),
        },
        _ => no_such_overload(),
    }
}

fn to_string<'a>(value: &Value<'a>) -> Outcome<'a> {
    match value {
        Value::String(_) => Ok(value.clone()),
        Value::Bytes(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => Ok(Value::String(Text::Shared(text.into()))),
            Err(_) => fail("invalid UTF-8 in bytes, cannot convert to string"),
        },
        Value::Bool(_)
        | Value::Int(_)
        | Value::Uint(_)
        | Value::Double(_)
        | Value::Duration(_)
        | Value::Timestamp(_) => Ok(Value::string(value.to_string())),
        _ => no_such_overload(),
    }
}
