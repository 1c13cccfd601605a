//! Semantic versions.

use std::cmp::Ordering;
use std::sync::Arc;

use crate::value::{Outcome, Value, fail, no_such_overload};

pub(super) const TABLE: &str = "
string_to_semver: semver(string) -> kubernetes.Semver
string_bool_to_semver: semver(string, bool) -> kubernetes.Semver
is_semver_string: isSemver(string) -> bool
is_semver_string_bool: isSemver(string, bool) -> bool
semver_is_greater_than: [kubernetes.Semver] isGreaterThan(kubernetes.Semver) -> bool
semver_is_less_than: [kubernetes.Semver] isLessThan(kubernetes.Semver) -> bool
semver_compare_to: [kubernetes.Semver] compareTo(kubernetes.Semver) -> int
semver_major: [kubernetes.Semver] major() -> int
semver_minor: [kubernetes.Semver] minor() -> int
semver_patch: [kubernetes.Semver] patch() -> int
";

#[derive(Debug)]
pub struct Semver {
    numbers: [u64; 3],
    /// Empty for a release.
    pre: Vec<String>,
}

impl Semver {
    fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("Version string empty".to_owned());
        }
        let mut parts = text.splitn(3, '.');
        let (Some(major), Some(minor), Some(rest)) = (parts.next(), parts.next(), parts.next())
        else {
            return Err("No Major.Minor.Patch elements found".to_owned());
        };
        let (rest, build) = match rest.split_once('+') {
            Some((rest, build)) => (rest, Some(build)),
            None => (rest, None),
        };
        let (patch, pre) = match rest.split_once('-') {
            Some((patch, pre)) => (patch, Some(pre)),
            None => (rest, None),
        };
        let numbers = [number("Major", major)?, number("Minor", minor)?, number("Patch", patch)?];
        let identifiers = |list: Option<&str>, is_pre: bool| {
            let parts = list.into_iter().flat_map(|list| list.split('.'));
            parts.map(|one| identifier(one, is_pre)).collect::<Result<Vec<_>, _>>()
        };
        let pre = identifiers(pre, true)?;
        identifiers(build, false)?;
        Ok(Self { numbers, pre })
    }

    /// Takes a leading v, leading zeros and missing parts as well.
    fn parse_loosely(text: &str) -> Result<Self, String> {
        let text = text.strip_prefix('v').unwrap_or(text);
        let mut parts: Vec<String> = text.splitn(3, '.').map(str::to_owned).collect();
        for part in &mut parts {
            let trimmed = part.trim_start_matches('0');
            let cut = part.len() - trimmed.len();
            let digit = trimmed.starts_with(|c: char| c.is_ascii_digit());
            *part =
                if digit { trimmed.to_owned() } else { part[cut.saturating_sub(1)..].to_owned() };
        }
        if parts.len() < 3 {
            if parts.last().is_some_and(|last| last.contains(['+', '-'])) {
                return Err("short version cannot contain PreRelease/Build meta data".to_owned());
            }
            parts.resize(3, "0".to_owned());
        }
        Self::parse(&parts.join("."))
    }

    pub(crate) fn compare(&self, other: &Self) -> Ordering {
        self.numbers.cmp(&other.numbers).then_with(|| {
            match (self.pre.is_empty(), other.pre.is_empty()) {
                (true, true) => Ordering::Equal,
                (true, false) => Ordering::Greater,
                (false, true) => Ordering::Less,
                (false, false) => compare_pre(&self.pre, &other.pre),
            }
        })
    }
}

fn compare_pre(one: &[String], other: &[String]) -> Ordering {
    let each = one.iter().zip(other).map(|(a, b)| match (a.parse::<u64>(), b.parse::<u64>()) {
        (Ok(a), Ok(b)) => a.cmp(&b),
        (Ok(_), Err(_)) => Ordering::Less,
        (Err(_), Ok(_)) => Ordering::Greater,
        (Err(_), Err(_)) => a.cmp(b),
    });
    each.into_iter().find(|order| order.is_ne()).unwrap_or_else(|| one.len().cmp(&other.len()))
}

fn number(what: &str, text: &str) -> Result<u64, String> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(format!(
            "Invalid character(s) found in {} number {text:?}",
            what.to_lowercase()
        ));
    }
    if text.len() > 1 && text.starts_with('0') {
        return Err(format!("{what} number must not contain leading zeroes {text:?}"));
    }
    text.parse().map_err(|_| format!("{what} number {text:?} is out of range"))
}

fn identifier(text: &str, is_pre: bool) -> Result<String, String> {
    let what = if is_pre { "Prerelease" } else { "Build meta data" };
    if text.is_empty() {
        return Err(format!("{what} is empty"));
    }
    if !text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
        return Err(format!("Invalid character(s) found in {} {text:?}", what.to_lowercase()));
    }
    if is_pre && text.len() > 1 && text.starts_with('0') && text.bytes().all(|b| b.is_ascii_digit())
    {
        return Err(format!("Numeric PreRelease version must not contain leading zeroes {text:?}"));
    }
    Ok(text.to_owned())
}

pub(super) fn call<'a>(function: &str, args: &[Value<'a>]) -> Outcome<'a> {
    let int = |number: u64| Ok(Value::Int(i64::try_from(number).unwrap_or(i64::MAX)));
    match (function, args) {
        ("semver" | "isSemver", [Value::String(text), loosely @ ..]) => {
            let parsed = match loosely {
                [] | [Value::Bool(false)] => Semver::parse(text),
                [Value::Bool(true)] => Semver::parse_loosely(text),
                _ => return no_such_overload(),
            };
            match parsed {
                parsed if function == "isSemver" => Ok(Value::Bool(parsed.is_ok())),
                Ok(one) => Ok(Value::Semver(Arc::new(one))),
                Err(why) => fail(why),
            }
        }
        ("isGreaterThan", [Value::Semver(a), Value::Semver(b)]) => {
            Ok(Value::Bool(a.compare(b).is_gt()))
        }
        ("isLessThan", [Value::Semver(a), Value::Semver(b)]) => {
            Ok(Value::Bool(a.compare(b).is_lt()))
        }
        ("compareTo", [Value::Semver(a), Value::Semver(b)]) => Ok(Value::Int(a.compare(b) as i64)),
        ("major", [Value::Semver(one)]) => int(one.numbers[0]),
        ("minor", [Value::Semver(one)]) => int(one.numbers[1]),
        ("patch", [Value::Semver(one)]) => int(one.numbers[2]),
        _ => no_such_overload(),
    }
}
