//! Timestamps and durations, and numbers as Go writes them.

use jiff::tz::{Offset, TimeZone};
use jiff::{SignedDuration, Timestamp};

use crate::value::{Outcome, Value, fail, no_such_overload};

pub(super) const TABLE: &str = "
timestamp_to_year: [timestamp] getFullYear() -> int
timestamp_to_year_with_tz: [timestamp] getFullYear(string) -> int
timestamp_to_month: [timestamp] getMonth() -> int
timestamp_to_month_with_tz: [timestamp] getMonth(string) -> int
timestamp_to_day_of_year: [timestamp] getDayOfYear() -> int
timestamp_to_day_of_year_with_tz: [timestamp] getDayOfYear(string) -> int
timestamp_to_day_of_month: [timestamp] getDayOfMonth() -> int
timestamp_to_day_of_month_with_tz: [timestamp] getDayOfMonth(string) -> int
timestamp_to_day_of_month_1_based: [timestamp] getDate() -> int
timestamp_to_day_of_month_1_based_with_tz: [timestamp] getDate(string) -> int
timestamp_to_day_of_week: [timestamp] getDayOfWeek() -> int
timestamp_to_day_of_week_with_tz: [timestamp] getDayOfWeek(string) -> int
timestamp_to_hours: [timestamp] getHours() -> int
timestamp_to_hours_with_tz: [timestamp] getHours(string) -> int
timestamp_to_minutes: [timestamp] getMinutes() -> int
timestamp_to_minutes_with_tz: [timestamp] getMinutes(string) -> int
timestamp_to_seconds: [timestamp] getSeconds() -> int
timestamp_to_seconds_tz: [timestamp] getSeconds(string) -> int
timestamp_to_milliseconds: [timestamp] getMilliseconds() -> int
timestamp_to_milliseconds_with_tz: [timestamp] getMilliseconds(string) -> int
duration_to_hours: [duration] getHours() -> int
duration_to_minutes: [duration] getMinutes() -> int
duration_to_seconds: [duration] getSeconds() -> int
duration_to_milliseconds: [duration] getMilliseconds() -> int
";

/// Years 1 to 9999, in seconds.
const SECONDS: std::ops::RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;

/// RFC 3339.
pub(crate) fn parse_timestamp(text: &str) -> Option<Timestamp> {
    let bytes = text.as_bytes();
    let digits = |range: std::ops::Range<usize>| {
        bytes.get(range).is_some_and(|part| part.iter().all(u8::is_ascii_digit))
    };
    // The library takes more than the format allows.
    let shaped = bytes.get(10) == Some(&b'T') && digits(0..4) && digits(11..13) && digits(17..19);
    let zoned =
        text.ends_with('Z') || matches!(bytes.get(bytes.len().checked_sub(6)?)?, b'+' | b'-');
    let at: Timestamp = (shaped && zoned).then(|| text.parse().ok()).flatten()?;
    SECONDS.contains(&at.as_second()).then_some(at)
}

/// `1h2m3.5s`, in nanoseconds.
pub(crate) fn parse_duration(text: &str) -> Option<i64> {
    let (negative, mut rest) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total: i128 = 0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, after) = rest.split_at(end);
        let end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, next) = after.split_at(end);
        let scale: i128 = match unit {
            "ns" => 1,
            "us" | "\u{b5}s" | "\u{3bc}s" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return None,
        };
        total = total.checked_add(scaled(number, scale)?)?;
        rest = next;
    }
    i64::try_from(if negative { -total } else { total }).ok()
}

fn scaled(number: &str, scale: i128) -> Option<i128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() || fraction.contains('.') {
        return None;
    }
    let whole: i128 = if whole.is_empty() { 0 } else { whole.parse::<u64>().ok()?.into() };
    let mut out = whole.checked_mul(scale)?;
    let mut unit = scale;
    for digit in fraction.bytes() {
        unit /= 10;
        out += i128::from(digit - b'0') * unit;
    }
    Some(out)
}

pub(crate) fn format_timestamp(at: Timestamp) -> String {
    at.to_string()
}

/// Seconds, with a fraction if there is one.
pub(crate) fn format_duration(nanos: i64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "upstream formats a double too")]
    let seconds = (nanos / 1_000_000_000) as f64 + (nanos % 1_000_000_000) as f64 / 1e9;
    format!("{seconds}s")
}

/// The shortest text that reads back as the same double, in Go's format g.
pub(crate) fn format_double(one: f64) -> String {
    if one.is_nan() {
        return "NaN".to_owned();
    }
    if one.is_infinite() {
        return if one > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let scientific = format!("{one:e}");
    let Some((digits, exponent)) = scientific.split_once('e') else { return scientific };
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if !(-4..21).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{digits}e{sign}{:02}", exponent.unsigned_abs());
    }
    format!("{one}")
}

fn timestamp<'a>(seconds: i64, at: Option<Timestamp>) -> Outcome<'a> {
    match at.filter(|_| SECONDS.contains(&seconds)) {
        Some(at) => Ok(Value::Timestamp(at)),
        None => fail("timestamp overflow"),
    }
}

fn duration<'a>(nanos: Option<i64>) -> Outcome<'a> {
    nanos.map_or_else(|| fail("duration overflow"), |nanos| Ok(Value::Duration(nanos)))
}

fn shifted<'a>(at: Timestamp, nanos: i64, forward: bool) -> Outcome<'a> {
    let by = SignedDuration::from_nanos(nanos);
    let moved = if forward { at.checked_add(by) } else { at.checked_sub(by) }.ok();
    timestamp(moved.map_or(i64::MAX, Timestamp::as_second), moved)
}

pub(super) fn add<'a>(a: &Value<'a>, b: &Value<'a>) -> Outcome<'a> {
    match (a, b) {
        (Value::Duration(a), Value::Duration(b)) => duration(a.checked_add(*b)),
        (Value::Duration(by), Value::Timestamp(at))
        | (Value::Timestamp(at), Value::Duration(by)) => shifted(*at, *by, true),
        _ => no_such_overload(),
    }
}

pub(super) fn subtract<'a>(a: &Value<'a>, b: &Value<'a>) -> Outcome<'a> {
    match (a, b) {
        (Value::Duration(a), Value::Duration(b)) => duration(a.checked_sub(*b)),
        (Value::Timestamp(at), Value::Duration(by)) => shifted(*at, *by, false),
        (Value::Timestamp(a), Value::Timestamp(b)) => {
            duration(i64::try_from(a.as_nanosecond() - b.as_nanosecond()).ok())
        }
        _ => no_such_overload(),
    }
}

pub(super) fn to_duration<'a>(value: &Value<'a>) -> Outcome<'a> {
    match value {
        Value::Duration(nanos) | Value::Int(nanos) => Ok(Value::Duration(*nanos)),
        Value::String(text) => match parse_duration(text) {
            Some(nanos) => Ok(Value::Duration(nanos)),
            None => fail("type conversion error from 'string' to 'google.protobuf.Duration'"),
        },
        _ => no_such_overload(),
    }
}

pub(super) fn to_timestamp<'a>(value: &Value<'a>) -> Outcome<'a> {
    match value {
        Value::Timestamp(at) => Ok(Value::Timestamp(*at)),
        Value::Int(seconds) => timestamp(*seconds, Timestamp::from_second(*seconds).ok()),
        Value::String(text) => match parse_timestamp(text) {
            Some(at) => Ok(Value::Timestamp(at)),
            None => fail("type conversion error from 'string' to 'google.protobuf.Timestamp'"),
        },
        _ => no_such_overload(),
    }
}

fn zone(name: &str) -> Option<TimeZone> {
    let Some((hours, minutes)) = name.split_once(':') else {
        return if name == "UTC" { Some(TimeZone::UTC) } else { TimeZone::get(name).ok() };
    };
    let negative = hours.starts_with('-');
    let hours: i32 = hours.trim_start_matches(['+', '-']).parse().ok()?;
    let minutes: i32 = minutes.parse().ok()?;
    let seconds = hours.checked_mul(3600)?.checked_add(minutes.checked_mul(60)?)?;
    let offset = Offset::from_seconds(if negative { -seconds } else { seconds }).ok()?;
    Some(TimeZone::fixed(offset))
}

pub(super) fn call<'a>(function: &str, args: &[Value<'a>]) -> Outcome<'a> {
    let (at, zone) = match args {
        [Value::Timestamp(at)] => (*at, TimeZone::UTC),
        [Value::Timestamp(at), Value::String(name)] => match zone(name) {
            Some(zone) => (*at, zone),
            None => return fail(format!("unknown time zone {}", &**name)),
        },
        [Value::Duration(nanos)] => return of_duration(function, *nanos),
        _ => return no_such_overload(),
    };
    let at = at.to_zoned(zone);
    Ok(Value::Int(match function {
        "getFullYear" => at.year().into(),
        "getMonth" => i64::from(at.month()) - 1,
        "getDayOfYear" => i64::from(at.day_of_year()) - 1,
        "getDayOfMonth" => i64::from(at.day()) - 1,
        "getDate" => at.day().into(),
        "getDayOfWeek" => at.weekday().to_sunday_zero_offset().into(),
        "getHours" => at.hour().into(),
        "getMinutes" => at.minute().into(),
        "getSeconds" => at.second().into(),
        "getMilliseconds" => at.millisecond().into(),
        _ => return no_such_overload(),
    }))
}

fn of_duration<'a>(function: &str, nanos: i64) -> Outcome<'a> {
    Ok(Value::Int(match function {
        "getHours" => nanos / 3_600_000_000_000,
        "getMinutes" => nanos / 60_000_000_000,
        "getSeconds" => nanos / 1_000_000_000,
        "getMilliseconds" => nanos / 1_000_000,
        _ => return no_such_overload(),
    }))
}
