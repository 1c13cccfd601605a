//! Quantities of resources: `1.5Gi`, `100m`, `12e6`.

use std::cmp::Ordering;
use std::sync::Arc;

use crate::value::{Outcome, Value, fail, no_such_overload};

pub(super) const TABLE: &str = "
string_to_quantity: quantity(string) -> kubernetes.Quantity
is_quantity_string: isQuantity(string) -> bool
quantity_sign: sign(kubernetes.Quantity) -> int
quantity_is_greater_than: [kubernetes.Quantity] isGreaterThan(kubernetes.Quantity) -> bool
quantity_is_less_than: [kubernetes.Quantity] isLessThan(kubernetes.Quantity) -> bool
quantity_compare_to: [kubernetes.Quantity] compareTo(kubernetes.Quantity) -> int
quantity_get_float: [kubernetes.Quantity] asApproximateFloat() -> double
quantity_get_int: [kubernetes.Quantity] asInteger() -> int
quantity_is_integer: [kubernetes.Quantity] isInteger() -> bool
quantity_add: [kubernetes.Quantity] add(kubernetes.Quantity) -> kubernetes.Quantity
quantity_add_int: [kubernetes.Quantity] add(int) -> kubernetes.Quantity
quantity_sub: [kubernetes.Quantity] sub(kubernetes.Quantity) -> kubernetes.Quantity
quantity_sub_int: [kubernetes.Quantity] sub(int) -> kubernetes.Quantity
";

const NANO: i128 = 1_000_000_000;
/// What is larger counts as this.
const LARGEST: i128 = (i64::MAX as i128) * NANO;
const MALFORMED: &str = "quantities must match the regular expression \
                         '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";

/// A number of billionths; smaller parts are rounded away from zero.
#[derive(Debug)]
pub struct Quantity(i128);

impl Quantity {
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        let (negative, digits) = match text.as_bytes().first() {
            Some(b'-') => (true, &text[1..]),
            Some(b'+') => (false, &text[1..]),
            Some(_) => (false, text),
            None => return Err("quantity must be non-empty"),
        };
        let end = digits.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(digits.len());
        let (number, suffix) = digits.split_at(end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
            return Err(MALFORMED);
        }
        let (base, power) = scale(suffix)?;
        let nanos = magnitude(whole, fraction, base, power);
        Ok(Self(if negative { -nanos } else { nanos }))
    }

    pub(crate) fn compare(&self, other: &Self) -> Ordering {
        self.0.cmp(&other.0)
    }

    fn as_integer(&self) -> Option<i64> {
        (self.0 % NANO == 0).then(|| i64::try_from(self.0 / NANO).ok()).flatten()
    }
}

/// What a suffix multiplies by: a base and its power.
fn scale(suffix: &str) -> Result<(u32, i32), &'static str> {
    let wrong = "unable to parse quantity's suffix";
    let decimal = |power| Ok((10, power));
    match suffix {
        "" => decimal(0),
        "n" => decimal(-9),
        "u" => decimal(-6),
        "m" => decimal(-3),
        "k" => decimal(3),
        "M" => decimal(6),
        "G" => decimal(9),
        "T" => decimal(12),
        "P" => decimal(15),
        "E" => decimal(18),
        "Ki" => Ok((2, 10)),
        "Mi" => Ok((2, 20)),
        "Gi" => Ok((2, 30)),
        "Ti" => Ok((2, 40)),
        "Pi" => Ok((2, 50)),
        "Ei" => Ok((2, 60)),
        _ => {
            let exponent = suffix.strip_prefix(['e', 'E']).ok_or_else(|| {
                let shaped = suffix.chars().all(|c| "eEinumkKMGTP+-0123456789".contains(c));
                if shaped { wrong } else { MALFORMED }
            })?;
            exponent.parse::<i32>().map(|power| (10, power)).map_err(|_| wrong)
        }
    }
}

/// The number in billionths, at most [`LARGEST`].
fn magnitude(whole: &str, fraction: &str, base: u32, power: i32) -> i128 {
    let digits = format!("{whole}{fraction}");
    let digits = digits.trim_start_matches('0');
    if digits.is_empty() {
        return 0;
    }
    let binary = if base == 2 { 1_i128 << power.unsigned_abs().min(60) } else { 1 };
    let decimal = if base == 10 { power } else { 0 };
    let places = i64::try_from(fraction.len()).unwrap_or(i64::MAX);
    // value = digits * binary * 10^shift billionths.
    let shift = i64::from(decimal).saturating_sub(places).saturating_add(9);
    if i64::try_from(digits.len()).unwrap_or(i64::MAX).saturating_add(shift) > 30 {
        return LARGEST;
    }
    // Digits that are far below a billionth only round up.
    let kept = digits.len().min(20 + usize::try_from(shift.max(0)).unwrap_or(0)).min(30);
    let dropped = digits.len() - kept;
    let lost = digits[kept..].bytes().any(|byte| byte != b'0');
    let number: i128 = digits[..kept].parse().unwrap_or(LARGEST);
    let shift = shift.saturating_add(i64::try_from(dropped).unwrap_or(0));
    let Some(number) = number.checked_mul(binary) else { return LARGEST };
    let out = if shift >= 0 {
        let factor = u32::try_from(shift).ok().and_then(|shift| 10_i128.checked_pow(shift));
        factor.and_then(|factor| number.checked_mul(factor)).unwrap_or(LARGEST)
    } else {
        match u32::try_from(-shift).ok().and_then(|shift| 10_i128.checked_pow(shift)) {
            Some(divisor) => number / divisor + i128::from(number % divisor != 0 || lost),
            None => 1,
        }
    };
    out.min(LARGEST)
}

fn new<'a>(nanos: Option<i128>) -> Outcome<'a> {
    nanos.map_or_else(no_such_overload, |nanos| Ok(Value::Quantity(Arc::new(Quantity(nanos)))))
}

pub(super) fn call<'a>(function: &str, args: &[Value<'a>]) -> Outcome<'a> {
    match (function, args) {
        ("quantity", [Value::String(text)]) => match Quantity::parse(text) {
            Ok(one) => Ok(Value::Quantity(Arc::new(one))),
            Err(why) => fail(why),
        },
        ("isQuantity", [Value::String(text)]) => Ok(Value::Bool(Quantity::parse(text).is_ok())),
        ("sign", [Value::Quantity(one)]) => {
            Ok(Value::Int(i64::try_from(one.0.signum()).unwrap_or(0)))
        }
        ("isGreaterThan", [Value::Quantity(a), Value::Quantity(b)]) => {
            Ok(Value::Bool(a.compare(b).is_gt()))
        }
        ("isLessThan", [Value::Quantity(a), Value::Quantity(b)]) => {
            Ok(Value::Bool(a.compare(b).is_lt()))
        }
        ("compareTo", [Value::Quantity(a), Value::Quantity(b)]) => {
            Ok(Value::Int(a.compare(b) as i64))
        }
        #[expect(clippy::cast_precision_loss, reason = "approximate by name")]
        ("asApproximateFloat", [Value::Quantity(one)]) => Ok(Value::Double(if one.0 % NANO == 0 {
            (one.0 / NANO) as f64
        } else {
            one.0 as f64 / NANO as f64
        })),
        ("asInteger", [Value::Quantity(one)]) => match one.as_integer() {
            Some(int) => Ok(Value::Int(int)),
            None => fail("cannot convert value to integer"),
        },
        ("isInteger", [Value::Quantity(one)]) => Ok(Value::Bool(one.as_integer().is_some())),
        ("add", [Value::Quantity(a), Value::Quantity(b)]) => new(a.0.checked_add(b.0)),
        ("add", [Value::Quantity(a), Value::Int(b)]) => new(a.0.checked_add(i128::from(*b) * NANO)),
        ("sub", [Value::Quantity(a), Value::Quantity(b)]) => new(a.0.checked_sub(b.0)),
        ("sub", [Value::Quantity(a), Value::Int(b)]) => new(a.0.checked_sub(i128::from(*b) * NANO)),
        _ => no_such_overload(),
    }
}
