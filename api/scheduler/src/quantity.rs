//! Quantities as numbers: `100m`, `1.5`, `2Gi`, `1e3`.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

/// The value in thousandths, rounded up; none when the text is not a quantity. Too great saturates.
#[must_use]
pub fn milli(quantity: &Quantity) -> Option<i64> {
    let text = quantity.0.trim();
    let split = text
        .find(|c: char| !(c.is_ascii_digit() || matches!(c, '.' | '+' | '-')))
        .unwrap_or(text.len());
    let (number, suffix) = text.split_at(split);
    // (numerator, denominator) by which the number is multiplied to get thousandths.
    let (up, down): (i128, i128) = match suffix {
        "" => (1000, 1),
        "n" => (1, 1_000_000),
        "u" => (1, 1000),
        "m" => (1, 1),
        "k" => (1_000_000, 1),
        "M" => (10_i128.pow(9), 1),
        "G" => (10_i128.pow(12), 1),
        "T" => (10_i128.pow(15), 1),
        "P" => (10_i128.pow(18), 1),
        "E" => (10_i128.pow(21), 1),
        "Ki" => (1000 << 10, 1),
        "Mi" => (1000 << 20, 1),
        "Gi" => (1000 << 30, 1),
        "Ti" => (1000 << 40, 1),
        "Pi" => (1000 << 50, 1),
        "Ei" => (1000 << 60, 1),
        other => {
            let exponent: i32 = other.strip_prefix(['e', 'E'])?.parse().ok()?;
            match exponent {
                0..=18 => (1000 * 10_i128.pow(exponent.unsigned_abs()), 1),
                -18..=-1 => (1000, 10_i128.pow(exponent.unsigned_abs())),
                _ => return None,
            }
        }
    };
    let (sign, digits) = match number.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, number.strip_prefix('+').unwrap_or(number)),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let fraction = fraction.get(..fraction.len().min(9))?;
    let scale = 10_i128.pow(u32::try_from(fraction.len()).ok()?);
    let all: i128 = format!("{whole}{fraction}").parse().ok()?;
    let (top, bottom) = (all.checked_mul(up)?, scale * down);
    let value = (top + bottom - 1).div_euclid(bottom) * sign;
    Some(i64::try_from(value).unwrap_or(if sign > 0 { i64::MAX } else { i64::MIN }))
}

/// The value in whole units, rounded up.
#[must_use]
pub fn whole(quantity: &Quantity) -> Option<i64> {
    // Bytes of large memories do not fit an i64 in thousandths only beyond 9 PB: that saturates.
    milli(quantity).map(|milli| milli / 1000 + i64::from(milli % 1000 > 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_read_as_the_api_writes_them() {
        let cases = [
            ("100m", Some(100)),
            ("1", Some(1000)),
            ("1.5", Some(1500)),
            ("0.0001", Some(1)),
            (".5", Some(500)),
            ("2k", Some(2_000_000)),
            ("1Ki", Some(1_024_000)),
            ("1e3", Some(1_000_000)),
            ("1500u", Some(2)),
            ("-1", Some(-1000)),
            ("", None),
            ("x", None),
            ("1Zi", None),
            ("1..2", None),
        ];
        for (text, expected) in cases {
            assert_eq!(milli(&Quantity(text.into())), expected, "{text}");
        }
        assert_eq!(whole(&Quantity("8Gi".into())), Some(8 << 30));
        assert_eq!(whole(&Quantity("100m".into())), Some(1));
    }
}
