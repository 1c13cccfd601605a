//! Regular expressions, in RE2's syntax and in linear time.

use regex::{Regex, RegexBuilder};

use crate::limits::REGEX_BYTES_MAX;
use crate::value::{Outcome, Value, fail, no_such_overload};

pub(super) const TABLE: &str = "
string_find_string: [string] find(string) -> string
string_find_all_string: [string] findAll(string) -> list(string)
string_find_all_string_int: [string] findAll(string, int) -> list(string)
";

/// A compiled pattern, or why it is none.
pub(crate) fn compile(pattern: &str) -> Result<Regex, String> {
    RegexBuilder::new(pattern)
        .size_limit(REGEX_BYTES_MAX)
        .build()
        .map_err(|error| format!("error parsing regexp: {error}"))
}

pub(super) fn call<'a>(function: &str, args: &[Value<'a>]) -> Outcome<'a> {
    let [Value::String(_), Value::String(pattern), ..] = args else {
        return no_such_overload();
    };
    match compile(pattern) {
        Ok(compiled) => call_with(function, &compiled, args),
        Err(message) => fail(format!("Illegal regex: {message}")),
    }
}

/// A call whose pattern is already compiled.
pub(crate) fn call_with<'a>(function: &str, compiled: &Regex, args: &[Value<'a>]) -> Outcome<'a> {
    let [Value::String(text), Value::String(_), rest @ ..] = args else {
        return no_such_overload();
    };
    let found = |one: regex::Match<'_>| Value::string(one.as_str());
    match (function, rest) {
        ("matches", []) => Ok(Value::Bool(compiled.is_match(text))),
        ("find", []) => Ok(compiled.find(text).map_or_else(|| Value::string(""), found)),
        ("findAll", []) => Ok(Value::list(compiled.find_iter(text).map(found).collect())),
        ("findAll", [Value::Int(count)]) => {
            let count = usize::try_from(*count).unwrap_or(usize::MAX);
            Ok(Value::list(compiled.find_iter(text).take(count).map(found).collect()))
        }
        _ => no_such_overload(),
    }
}
