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
    let [Value::String(text), Value::String(pattern), rest @ ..] = args else {
        return no_such_overload();
    };
    let compiled = match compile(pattern) {
        Ok(compiled) => compiled,
        Err(message) => return fail(format!("Illegal regex: {message}")),
    };
    let found = |one: regex::Match<'_>| Value::string(one.as_str());
    match (function, rest) {
        ("find", []) => Ok(compiled.find(text).map_or_else(|| Value::string(""), found)),
        ("findAll", []) => Ok(Value::list(compiled.find_iter(text).map(found).collect())),
        ("findAll", [Value::Int(count)]) => {
            let count = usize::try_from(*count).unwrap_or(usize::MAX);
            Ok(Value::list(compiled.find_iter(text).take(count).map(found).collect()))
        }
        _ => no_such_overload(),
    }
}
