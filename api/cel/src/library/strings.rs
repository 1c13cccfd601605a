//! Strings: the standard functions and cel-go's extension of version 2.

use std::fmt::Write;

use super::regex;
use crate::value::{List, Outcome, Value, fail, no_such_overload};

pub(super) const TABLE: &str = "
contains_string: [string] contains(string) -> bool
ends_with_string: [string] endsWith(string) -> bool
starts_with_string: [string] startsWith(string) -> bool
matches: matches(string, string) -> bool
matches_string: [string] matches(string) -> bool
string_char_at_int: [string] charAt(int) -> string
string_index_of_string: [string] indexOf(string) -> int
string_index_of_string_int: [string] indexOf(string, int) -> int
string_last_index_of_string: [string] lastIndexOf(string) -> int
string_last_index_of_string_int: [string] lastIndexOf(string, int) -> int
string_lower_ascii: [string] lowerAscii() -> string
string_replace_string_string: [string] replace(string, string) -> string
string_replace_string_string_int: [string] replace(string, string, int) -> string
string_split_string: [string] split(string) -> list(string)
string_split_string_int: [string] split(string, int) -> list(string)
string_substring_int: [string] substring(int) -> string
string_substring_int_int: [string] substring(int, int) -> string
string_trim: [string] trim() -> string
string_upper_ascii: [string] upperAscii() -> string
string_format: [string] format(list(dyn)) -> string
strings_quote: strings.quote(string) -> string
list_join: [list(string)] join() -> string
list_join_string: [list(string)] join(string) -> string
";

pub(super) fn call<'a>(function: &str, args: &[Value<'a>]) -> Outcome<'a> {
    let (target, rest) = match args {
        [Value::String(target), rest @ ..] => (&**target, rest),
        [Value::List(list)] if function == "join" => return join(list, ""),
        [Value::List(list), Value::String(by)] if function == "join" => return join(list, by),
        _ => return no_such_overload(),
    };
    match (function, rest) {
        ("contains", [Value::String(part)]) => Ok(Value::Bool(target.contains(&**part))),
        ("endsWith", [Value::String(part)]) => Ok(Value::Bool(target.ends_with(&**part))),
        ("startsWith", [Value::String(part)]) => Ok(Value::Bool(target.starts_with(&**part))),
        ("matches", [Value::String(pattern)]) => match regex::compile(pattern) {
            Ok(compiled) => Ok(Value::Bool(compiled.is_match(target))),
            Err(message) => fail(message),
        },
        ("charAt", [Value::Int(index)]) => char_at(target, *index),
        ("indexOf", [Value::String(part)]) => index_of(target, part, 0),
        ("indexOf", [Value::String(part), Value::Int(from)]) => index_of(target, part, *from),
        ("lastIndexOf", [Value::String(part)]) => last_index_of(target, part, None),
        ("lastIndexOf", [Value::String(part), Value::Int(from)]) => {
            last_index_of(target, part, Some(*from))
        }
        ("lowerAscii", []) => Ok(Value::string(target.to_ascii_lowercase())),
        ("upperAscii", []) => Ok(Value::string(target.to_ascii_uppercase())),
        ("trim", []) => Ok(Value::string(target.trim())),
        ("replace", [Value::String(from), Value::String(to)]) => {
            Ok(Value::string(target.replace(&**from, to)))
        }
        ("replace", [Value::String(from), Value::String(to), Value::Int(count)]) => {
            Ok(Value::string(match usize::try_from(*count) {
                Ok(count) => target.replacen(&**from, to, count),
                Err(_) => target.replace(&**from, to),
            }))
        }
        ("split", [Value::String(by)]) => Ok(split(target, by, -1)),
        ("split", [Value::String(by), Value::Int(count)]) => Ok(split(target, by, *count)),
        ("substring", [Value::Int(from)]) => substring(target, *from, None),
        ("substring", [Value::Int(from), Value::Int(to)]) => substring(target, *from, Some(*to)),
        ("format", [Value::List(values)]) => format(target, values),
        ("strings.quote", []) => Ok(Value::string(quote(target))),
        _ => no_such_overload(),
    }
}

fn out_of_range<'a>(index: i64) -> Outcome<'a> {
    fail(format!("index out of range: {index}"))
}

/// The index of a code point, or of the end.
fn place(length: usize, index: i64) -> Option<usize> {
    usize::try_from(index).ok().filter(|index| *index <= length)
}

fn number<'a>(index: Option<usize>) -> Outcome<'a> {
    Ok(Value::Int(index.map_or(-1, |index| i64::try_from(index).unwrap_or(-1))))
}

fn char_at<'a>(text: &str, index: i64) -> Outcome<'a> {
    let Some(at) = place(text.chars().count(), index) else { return out_of_range(index) };
    Ok(Value::string(text.chars().nth(at).map_or(String::new(), String::from)))
}

fn index_of<'a>(text: &str, part: &str, from: i64) -> Outcome<'a> {
    if part.is_empty() {
        return Ok(Value::Int(from));
    }
    let Some(start) = place(text.chars().count(), from) else { return out_of_range(from) };
    let skipped: usize = text.chars().take(start).map(char::len_utf8).sum();
    let found = text[skipped..].find(part);
    number(found.map(|at| start + text[skipped..skipped + at].chars().count()))
}

fn last_index_of<'a>(text: &str, part: &str, from: Option<i64>) -> Outcome<'a> {
    let length = text.chars().count();
    let before = |bytes: usize| text[..bytes].chars().count();
    let Some(from) = from else {
        return number(if part.is_empty() { Some(length) } else { text.rfind(part).map(before) });
    };
    if part.is_empty() {
        return Ok(Value::Int(from));
    }
    if place(length, from).is_none() {
        return out_of_range(from);
    }
    let end: usize = text
        .chars()
        .take(usize::try_from(from).unwrap_or(length).saturating_add(part.chars().count()))
        .map(char::len_utf8)
        .sum();
    number(text[..end].rfind(part).map(before))
}

fn substring<'a>(text: &str, from: i64, to: Option<i64>) -> Outcome<'a> {
    let length = text.chars().count();
    if let Some(to) = to
        && from > to
    {
        return fail(format!("invalid substring range. start: {from}, end: {to}"));
    }
    let Some(start) = place(length, from) else { return out_of_range(from) };
    let to = to.unwrap_or(i64::try_from(length).unwrap_or(i64::MAX));
    let Some(end) = place(length, to) else { return out_of_range(to) };
    Ok(Value::string(text.chars().skip(start).take(end - start).collect::<String>()))
}

fn split<'a>(text: &str, by: &str, count: i64) -> Value<'a> {
    let list = |parts: Vec<&str>| Value::list(parts.into_iter().map(Value::string).collect());
    let limit = match count {
        0 => return Value::list(Vec::new()),
        1.. => usize::try_from(count).unwrap_or(usize::MAX),
        _ => usize::MAX,
    };
    if !by.is_empty() {
        return list(text.splitn(limit, by).collect());
    }
    // Between code points, without the empty ends that the library would give.
    let mut rest = text;
    let mut parts = Vec::new();
    while let Some(first) = rest.chars().next() {
        if parts.len() + 1 == limit {
            break;
        }
        let (one, after) = rest.split_at(first.len_utf8());
        parts.push(one);
        rest = after;
    }
    if !rest.is_empty() {
        parts.push(rest);
    }
    list(parts)
}

fn join<'a>(list: &List<'a>, by: &str) -> Outcome<'a> {
    let mut out = String::new();
    for (index, one) in list.iter().enumerate() {
        if index > 0 {
            out.push_str(by);
        }
        match one {
            Value::String(text) => out.push_str(&text),
            other => return fail(format!("join: invalid input: {other}")),
        }
    }
    Ok(Value::string(out))
}

fn quote(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{b}' => out.push_str("\\v"),
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            other => out.push(other),
        }
    }
    out.push('"');
    out
}

/// `%s %d %f %e %x %X %o %b`, with a precision for the two with fractions.
fn format<'a>(pattern: &str, values: &List<'a>) -> Outcome<'a> {
    let mut out = String::new();
    let mut chars = pattern.chars().peekable();
    let mut next = 0;
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        if chars.peek() == Some(&'%') {
            chars.next();
            out.push('%');
            continue;
        }
        let mut precision = None;
        if chars.peek() == Some(&'.') {
            chars.next();
            let mut digits = String::new();
            while let Some(digit) = chars.next_if(char::is_ascii_digit) {
                digits.push(digit);
            }
            match digits.parse::<usize>() {
                Ok(count) if count <= 1000 => precision = Some(count),
                _ => return fail("error while parsing precision: invalid precision"),
            }
        }
        let Some(verb) = chars.next() else { return fail("unexpected end of string") };
        let Some(value) = values.get(next) else {
            return fail(format!("index {next} out of range"));
        };
        next += 1;
        if let Err(message) = verb_of(&mut out, verb, precision, &value) {
            return fail(message);
        }
    }
    Ok(Value::string(out))
}

fn verb_of(
    out: &mut String,
    verb: char,
    precision: Option<usize>,
    value: &Value<'_>,
) -> Result<(), String> {
    let wrong = |what: &str| {
        Err(format!("error during formatting: {what}, was given {}", value.type_of().name()))
    };
    let written = match (verb, value) {
        ('s', Value::Duration(_) | Value::Timestamp(_) | Value::Double(_)) => {
            write!(out, "{value}")
        }
        ('s', _) => write!(out, "{value}"),
        ('d', Value::Int(_) | Value::Uint(_)) => write!(out, "{value}"),
        ('f', Value::Double(one)) => write!(out, "{one:.*}", precision.unwrap_or(6)),
        ('e', Value::Double(one)) => {
            let text = format!("{one:.*e}", precision.unwrap_or(6));
            let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
            let (sign, exponent) = match exponent.strip_prefix('-') {
                Some(rest) => ('-', rest),
                None => ('+', exponent),
            };
            write!(out, "{digits}e{sign}{exponent:0>2}")
        }
        ('b', Value::Bool(one)) => write!(out, "{}", u8::from(*one)),
        ('b', Value::Uint(one)) => write!(out, "{one:b}"),
        ('o', Value::Uint(one)) => write!(out, "{one:o}"),
        ('x', Value::Uint(one)) => write!(out, "{one:x}"),
        ('X', Value::Uint(one)) => write!(out, "{one:X}"),
        ('b' | 'o' | 'x' | 'X', Value::Int(one)) => {
            let sign = if *one < 0 { "-" } else { "" };
            let one = one.unsigned_abs();
            match verb {
                'b' => write!(out, "{sign}{one:b}"),
                'o' => write!(out, "{sign}{one:o}"),
                'x' => write!(out, "{sign}{one:x}"),
                _ => write!(out, "{sign}{one:X}"),
            }
        }
        ('x', Value::String(text)) => text.bytes().try_for_each(|byte| write!(out, "{byte:02x}")),
        ('X', Value::String(text)) => text.bytes().try_for_each(|byte| write!(out, "{byte:02X}")),
        ('x', Value::Bytes(bytes)) => bytes.iter().try_for_each(|byte| write!(out, "{byte:02x}")),
        ('X', Value::Bytes(bytes)) => bytes.iter().try_for_each(|byte| write!(out, "{byte:02X}")),
        ('d', _) => return wrong("decimal clause can only be used on integers"),
        ('f', _) => return wrong("fixed-point clause can only be used on doubles"),
        ('e', _) => return wrong("scientific clause can only be used on doubles"),
        ('b', _) => return wrong("only integers and bools can be formatted as binary"),
        ('o', _) => return wrong("octal clause can only be used on integers"),
        ('x' | 'X', _) => {
            return wrong("only integers, byte buffers, and strings can be formatted as hex");
        }
        (other, _) => {
            return Err(format!(
                "could not parse formatting clause: unrecognized formatting clause \"{other}\""
            ));
        }
    };
    written.map_err(|error| error.to_string())
}
