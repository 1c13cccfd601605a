//! Values as Go's `%v` and `%q` write them in messages.

use serde_json::Value;

/// A number as upstream's decoder has it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Number {
    Int(i64),
    Float(f64),
}

impl Number {
    pub(super) fn of(value: &Value) -> Option<Self> {
        let number = value.as_number()?;
        number.as_i64().map(Self::Int).or_else(|| number.as_f64().map(Self::Float))
    }

    #[expect(clippy::cast_precision_loss, reason = "upstream compares as float64, too")]
    pub(super) fn as_float(self) -> f64 {
        match self {
            Self::Int(number) => number as f64,
            Self::Float(number) => number,
        }
    }

    /// As `%v`.
    pub(super) fn text(self) -> String {
        match self {
            Self::Int(number) => number.to_string(),
            Self::Float(number) => float(number),
        }
    }
}

/// As `%v` of a float64: the shortest digits, with an exponent below 1e-4 and from 1e6 on.
pub(super) fn float(number: f64) -> String {
    float_in(number, -4..6, 2)
}

/// The shortest digits, with an exponent outside of a range.
fn float_in(number: f64, plain: std::ops::Range<i32>, exponent_digits: usize) -> String {
    let scientific = format!("{number:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if plain.contains(&exponent) {
        return format!("{number}");
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:0exponent_digits$}", exponent.abs())
}

/// A value as a field error shows it.
pub(super) fn shown(value: &Value) -> String {
    Number::of(value).map_or_else(|| json(value), Number::text)
}

/// A value as Go writes it as JSON: whole floats have no fraction.
pub(super) fn json(value: &Value) -> String {
    match value {
        Value::Array(items) => {
            format!("[{}]", items.iter().map(json).collect::<Vec<_>>().join(","))
        }
        Value::Object(map) => {
            let members: Vec<_> =
                map.iter().map(|(key, value)| format!("{}:{}", quoted(key), json(value))).collect();
            format!("{{{}}}", members.join(","))
        }
        Value::Number(number) => match Number::of(value) {
            Some(Number::Float(float)) => float_in(float, -6..21, 1),
            Some(Number::Int(_)) | None => number.to_string(),
        },
        Value::Null | Value::Bool(_) | Value::String(_) => value.to_string(),
    }
}

/// As `%q`.
pub(super) fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

/// Whether a float is a whole number, with the tolerance that upstream has.
#[expect(clippy::cast_possible_truncation, reason = "the range was checked")]
#[expect(clippy::cast_precision_loss, reason = "upstream compares so")]
#[expect(clippy::float_cmp, reason = "upstream compares exactly first")]
pub(super) fn is_whole(number: f64) -> bool {
    const SAFE: f64 = 9_007_199_254_740_991.0;
    if !number.is_finite() || !(-SAFE..=SAFE).contains(&number) {
        return false;
    }
    let whole = (number as i64) as f64;
    if number == whole {
        return true;
    }
    let difference = (number - whole).abs();
    if whole == 0.0 || difference < f64::MIN_POSITIVE {
        return difference < 1e-9 * f64::MIN_POSITIVE;
    }
    difference / (number.abs() + whole.abs()) < 1e-9
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_read_as_in_go() {
        for (number, text) in [
            (1.5, "1.5"),
            (2.0, "2"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (123_456.5, "123456.5"),
            (1_000_000.0, "1e+06"),
            (0.0, "0"),
            (-2.5e30, "-2.5e+30"),
        ] {
            assert_eq!(float(number), text);
        }
    }

    #[test]
    fn json_reads_as_in_go() {
        let value = serde_json::json!({"a": [1.0, 1e6, 1e21, 1e-7, null, "x"]});
        assert_eq!(json(&value), r#"{"a":[1,1000000,1e+21,1e-7,null,"x"]}"#);
    }

    #[test]
    fn whole_floats_are_integers() {
        assert!(is_whole(3.0) && is_whole(0.0) && is_whole(-7.0));
        assert!(!is_whole(0.5) && !is_whole(2.25) && !is_whole(f64::NAN) && !is_whole(1e300));
    }
}
