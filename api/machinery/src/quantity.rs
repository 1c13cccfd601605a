//! Quantities (`100m`, `1Gi`, `2e3`): reading, comparing, and upstream's canonical text.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

/// How a quantity was written, and is written again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `e3`
    DecimalExponent,
    /// `Ki`, `Mi` …
    BinarySi,
    /// `m`, `k`, `M` …
    DecimalSi,
}

/// A fixed-point number: whole nano-units, wide enough for every suffix.
#[derive(Clone, Copy, Debug)]
pub struct Quantity {
    nanos: i128,
    format: Format,
}

/// The text is not a quantity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
)]
pub struct Malformed;

const NANO: i128 = 1_000_000_000;
const BINARY: [(&str, u32); 6] =
    [("Ki", 10), ("Mi", 20), ("Gi", 30), ("Ti", 40), ("Pi", 50), ("Ei", 60)];
const DECIMAL: [(&str, i32); 10] = [
    ("n", -9),
    ("u", -6),
    ("m", -3),
    ("", 0),
    ("k", 3),
    ("M", 6),
    ("G", 9),
    ("T", 12),
    ("P", 15),
    ("E", 18),
];
/// Upstream caps every quantity at this many units.
const UNITS_MAX: i128 = i64::MAX as i128;

impl Quantity {
    /// A whole number of units.
    #[must_use]
    pub fn units(units: i64) -> Self {
        Self { nanos: i128::from(units) * NANO, format: Format::DecimalSi }
    }

    /// Whole units, rounded up: the number for bytes.
    #[must_use]
    pub fn value(&self) -> i64 {
        clamp(ceil(self.nanos, NANO))
    }

    /// Thousandths, rounded up: the number for CPU.
    #[must_use]
    pub fn milli_value(&self) -> i64 {
        clamp(ceil(self.nanos, NANO / 1000))
    }

    /// The next whole number of units, in the same format.
    #[must_use]
    pub fn rounded_up(&self) -> Self {
        Self { nanos: ceil(self.nanos, NANO) * NANO, format: self.format }
    }

    #[must_use]
    pub fn is_zero(&self) -> bool {
        self.nanos == 0
    }

    #[must_use]
    pub fn is_negative(&self) -> bool {
        self.nanos < 0
    }

    #[must_use]
    pub fn format(&self) -> Format {
        self.format
    }

    /// The sum, in the format of `self` unless `self` is zero.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        let format = if self.is_zero() { other.format } else { self.format };
        Self { nanos: self.nanos + other.nanos, format }
    }

    /// The difference, in the format of `self`.
    #[must_use]
    pub fn minus(&self, other: &Self) -> Self {
        Self { nanos: self.nanos - other.nanos, format: self.format }
    }
}

fn clamp(value: i128) -> i64 {
    let bounded = value.clamp(i128::from(i64::MIN), i128::from(i64::MAX));
    i64::try_from(bounded).expect("it was just clamped")
}

/// Division that rounds away from zero.
fn ceil(value: i128, by: i128) -> i128 {
    let whole = value / by;
    if value % by == 0 { whole } else { whole + value.signum() }
}

impl FromStr for Quantity {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
        let end =
            unsigned.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(unsigned.len());
        let (number, suffix) = unsigned.split_at(end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty() && fraction.is_empty() || fraction.contains('.') {
            return Err(Malformed);
        }
        let (exponent, format, shift) = read_suffix(suffix)?;
        let mut nanos = scaled(whole, fraction, exponent, shift);
        if text.starts_with('-') {
            nanos = -nanos;
        }
        Ok(Self { nanos, format })
    }
}

/// Power of ten, format, power of two.
fn read_suffix(suffix: &str) -> Result<(i32, Format, u32), Malformed> {
    if let Some((_, shift)) = BINARY.iter().find(|(name, _)| *name == suffix) {
        return Ok((0, Format::BinarySi, *shift));
    }
    if let Some((_, exponent)) = DECIMAL.iter().find(|(name, _)| *name == suffix) {
        return Ok((*exponent, Format::DecimalSi, 0));
    }
    let digits = suffix.strip_prefix(['e', 'E']).ok_or(Malformed)?;
    let exponent = digits.parse().map_err(|_| Malformed)?;
    Ok((exponent, Format::DecimalExponent, 0))
}

/// `whole.fraction × 10^exponent × 2^shift` in nano-units, rounded up, capped.
fn scaled(whole: &str, fraction: &str, exponent: i32, shift: u32) -> i128 {
    let digits: String = format!("{whole}{fraction}");
    let digits = digits.trim_start_matches('0');
    if digits.is_empty() {
        return 0;
    }
    let fraction_digits = i32::try_from(fraction.len()).unwrap_or(i32::MAX);
    let mut power = exponent.saturating_add(9).saturating_sub(fraction_digits);
    let cap = UNITS_MAX * NANO;
    let length = i32::try_from(digits.len()).unwrap_or(i32::MAX);
    if length.saturating_add(power) > 30 {
        return cap;
    }
    if length.saturating_add(power) < -20 {
        return 1;
    }
    // Digits far below one nano-unit only matter for rounding up.
    let keep = digits.len().min(34);
    let mut value: i128 = digits[..keep].parse().unwrap_or(cap);
    let dropped_any = digits[keep..].bytes().any(|b| b != b'0');
    power = power.saturating_add(length - i32::try_from(keep).unwrap_or(0));
    let mut divisor = 1_i128;
    while power > 0 {
        value = value.saturating_mul(10);
        power -= 1;
    }
    while power < 0 {
        if divisor < i128::MAX / 100 {
            divisor *= 10;
        } else {
            value /= 10;
        }
        power += 1;
    }
    let shifted = value.checked_mul(1_i128 << shift);
    let value = match shifted {
        Some(value) => ceil(value, divisor),
        None => ceil(value, divisor).saturating_mul(1_i128 << shift),
    };
    (value + i128::from(dropped_any && divisor == 1)).min(cap)
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nanos == 0 {
            return f.write_str("0");
        }
        let mut format = self.format;
        if format == Format::BinarySi && (self.nanos.abs() < 1024 * NANO || self.nanos % NANO != 0)
        {
            // Binary suffixes cannot say fractions, nor small numbers in a canonical way.
            format = Format::DecimalSi;
        }
        if format == Format::BinarySi {
            let mut units = self.nanos / NANO;
            let mut suffix = "";
            for (name, _) in BINARY {
                if units % 1024 != 0 {
                    break;
                }
                units /= 1024;
                suffix = name;
            }
            return write!(f, "{units}{suffix}");
        }
        let (mut number, mut exponent) = (self.nanos, -9);
        while exponent < 18 && number % 1000 == 0 {
            number /= 1000;
            exponent += 3;
        }
        if format == Format::DecimalExponent {
            return if exponent == 0 {
                write!(f, "{number}")
            } else {
                write!(f, "{number}e{exponent}")
            };
        }
        let suffix = DECIMAL.iter().find(|(_, e)| *e == exponent).map_or("", |(name, _)| name);
        write!(f, "{number}{suffix}")
    }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.nanos == other.nanos
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        self.nanos.cmp(&other.nanos)
    }
}

/// The canonical text of a quantity.
///
/// # Errors
/// The text is not a quantity.
pub fn canonical(text: &str) -> Result<String, Malformed> {
    Ok(text.parse::<Quantity>()?.to_string())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn canonical_texts_are_upstreams() {
        for (text, canonical_text) in [
            ("0", "0"),
            ("0.0Gi", "0"),
            ("100m", "100m"),
            ("1000m", "1"),
            ("0.5", "500m"),
            (".5", "500m"),
            ("1.5Gi", "1536Mi"),
            ("1024", "1024"),
            ("1024Ki", "1Mi"),
            ("0.5Ki", "512"),
            ("1000Ki", "1000Ki"),
            ("1e3", "1e3"),
            ("1E3", "1e3"),
            ("1000e0", "1e3"),
            ("-1k", "-1k"),
            ("1.1n", "2n"),
            ("0.1Ki", "102400m"),
            ("9999999999999Ei", "9223372036854775807"),
        ] {
            assert_eq!(canonical(text).as_deref(), Ok(canonical_text), "{text}");
        }
        for text in ["", "m", "1.2.3", "1 Gi", "1mm", "abc", "1e", "--1", "1_000"] {
            assert_eq!(canonical(text), Err(Malformed), "{text}");
        }
    }

    #[test]
    fn values_round_up() {
        let quantity: Quantity = "1500m".parse().unwrap();
        assert_eq!((quantity.value(), quantity.milli_value()), (2, 1500));
        assert!("1Gi".parse::<Quantity>().unwrap() > "1G".parse().unwrap());
    }

    proptest! {
        #[test]
        fn canonical_text_means_the_same_and_is_stable(
            whole in 0_u32..100_000, fraction in 0_u32..1000,
            suffix in prop::sample::select(vec!["", "m", "k", "M", "Ki", "Mi", "Gi", "e2"]),
        ) {
            let quantity: Quantity = format!("{whole}.{fraction:03}{suffix}").parse().unwrap();
            let text = quantity.to_string();
            let again: Quantity = text.parse().unwrap();
            prop_assert_eq!(again, quantity);
            prop_assert_eq!(again.to_string(), text);
        }
    }
}
