//! Kubernetes quantities (`100m`, `64Mi`, `1e3`) as exact numbers of thousandths.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

/// Why a text is not a quantity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a quantity")]
pub(crate) struct NotAQuantity {
    text: String,
}

/// The quantity in thousandths of its unit (`1` is 1000, `100m` is 100), rounded up.
///
/// # Errors
/// When the text is not a number with a suffix that Kubernetes knows, or does not fit.
pub(crate) fn milli(text: &str) -> Result<i128, NotAQuantity> {
    let refuse = || NotAQuantity { text: text.to_owned() };
    let (negative, rest) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
    let (digits, suffix) = rest.split_at(end);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
        return Err(refuse());
    }

    let mantissa: i128 = format!("{whole}{fraction}").parse().map_err(|_| refuse())?;
    let decimals = u32::try_from(fraction.len()).map_err(|_| refuse())?;
    let (numerator, denominator) = scale(suffix).ok_or_else(refuse)?;
    let top =
        mantissa.checked_mul(numerator).and_then(|n| n.checked_mul(1000)).ok_or_else(refuse)?;
    let bottom = 10_i128
        .checked_pow(decimals)
        .and_then(|p| p.checked_mul(denominator))
        .ok_or_else(refuse)?;
    let value = (top + bottom - 1) / bottom;
    Ok(if negative { -value } else { value })
}

/// The factor of a suffix as a fraction.
fn scale(suffix: &str) -> Option<(i128, i128)> {
    let power = |base: i128, exponent: u32| Some((base.pow(exponent), 1));
    match suffix {
        "" => Some((1, 1)),
        "n" => Some((1, 1_000_000_000)),
        "u" => Some((1, 1_000_000)),
        "m" => Some((1, 1000)),
        "k" => power(1000, 1),
        "M" => power(1000, 2),
        "G" => power(1000, 3),
        "T" => power(1000, 4),
        "P" => power(1000, 5),
        "E" => power(1000, 6),
        "Ki" => power(1024, 1),
        "Mi" => power(1024, 2),
        "Gi" => power(1024, 3),
        "Ti" => power(1024, 4),
        "Pi" => power(1024, 5),
        "Ei" => power(1024, 6),
        _ => {
            let exponent: i32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
            let size = 10_i128.checked_pow(exponent.unsigned_abs())?;
            Some(if exponent < 0 { (1, size) } else { (size, 1) })
        }
    }
}

/// Thousandths of a quantity, or `None` when it is absent or no number (the API refuses those).
pub(crate) fn milli_of(quantity: Option<&Quantity>) -> Option<i64> {
    quantity.and_then(|q| milli(&q.0).ok()).and_then(|v| i64::try_from(v).ok())
}

/// Whole units of a quantity, rounded up as upstream's `Value()` does.
pub(crate) fn value_of(quantity: Option<&Quantity>) -> Option<i64> {
    let milli = quantity.and_then(|q| milli(&q.0).ok())?;
    i64::try_from((milli + 999).div_euclid(1000)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_read_exactly_and_rounded_up() {
        let table: &[(&str, i128)] = &[
            ("0", 0),
            ("1", 1000),
            ("100m", 100),
            ("0.5", 500),
            ("1.5", 1500),
            (".25", 250),
            ("1n", 1),
            ("64Mi", 64 * 1024 * 1024 * 1000),
            ("1.5Gi", 1536 * 1024 * 1024 * 1000),
            ("1e3", 1_000_000),
            ("1E3", 1_000_000),
            ("5e-1", 500),
            ("1E", 1_000_000_000_000_000_000_000),
            ("-2", -2000),
        ];
        for (text, want) in table {
            assert_eq!(milli(text), Ok(*want), "{text}");
        }
    }

    #[test]
    fn what_is_not_a_quantity_is_refused() {
        for text in ["", "Mi", "1x", "1.2.3", "--1", "1 Mi", "e3", "1e999"] {
            assert!(milli(text).is_err(), "{text}");
        }
    }
}
