//! Durations as Go writes them (`1h30m`, `1.5s`), and Go's words for what is not one.

/// Nanoseconds in each unit.
const UNITS: [(&str, u64); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];
const NANOSECONDS_MAX: f64 = 9_223_372_036_854_775_807.0;

/// Whether the text is a duration.
///
/// # Errors
/// What Go's parser says.
pub(super) fn check(text: &str) -> Result<(), String> {
    let invalid = || format!("time: invalid duration {text:?}");
    let mut rest = text.strip_prefix(['+', '-']).unwrap_or(text);
    if rest == "0" {
        return Ok(());
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total = 0.0;
    while !rest.is_empty() {
        let is_digit = |c: char| c.is_ascii_digit();
        let after_whole = rest.trim_start_matches(is_digit);
        let after =
            after_whole.strip_prefix('.').map_or(after_whole, |r| r.trim_start_matches(is_digit));
        let number = &rest[..rest.len() - after.len()];
        if !number.contains(is_digit) {
            return Err(invalid());
        }
        let end = after.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, following) = after.split_at(end);
        if unit.is_empty() {
            return Err(format!("time: missing unit in duration {text:?}"));
        }
        let Some((_, nanoseconds)) = UNITS.iter().find(|(name, _)| *name == unit) else {
            return Err(format!("time: unknown unit {unit:?} in duration {text:?}"));
        };
        #[expect(clippy::cast_precision_loss, reason = "only whether it is too much is asked")]
        let nanoseconds = *nanoseconds as f64;
        total += number.parse::<f64>().unwrap_or(f64::INFINITY) * nanoseconds;
        if total > NANOSECONDS_MAX {
            return Err(invalid());
        }
        rest = following;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn durations_are_refused_in_gos_words() {
        for good in ["0", "1h30m", "1.5s", "-2ms", ".5h", "5.m"] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for (text, why) in [
            ("", "time: invalid duration \"\""),
            ("x", "time: invalid duration \"x\""),
            ("5", "time: missing unit in duration \"5\""),
            ("5d", "time: unknown unit \"d\" in duration \"5d\""),
            ("9999999999h", "time: invalid duration \"9999999999h\""),
        ] {
            assert_eq!(check(text), Err(why.to_owned()), "{text}");
        }
    }
}
