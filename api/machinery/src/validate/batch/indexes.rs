//! Sets of indexes as jobs write them: `1,3-5,7`.

/// How many indexes the text names; none if it is empty.
pub(super) fn count(text: &str, completions: i64) -> Result<i64, String> {
    let (mut total, mut last) = (0, None);
    for interval in text.split(',').filter(|_| !text.is_empty()) {
        let (from, to) = parse(interval, completions)?;
        if let Some(last) = last.filter(|last| *last >= from) {
            return Err(format!("non-increasing order, previous: {last}, current: {from}"));
        }
        total += to - from + 1;
        last = Some(to);
    }
    Ok(total)
}

/// The first index that is in both.
pub(super) fn overlap(one: &str, other: &str, completions: i64) -> Option<i64> {
    let read = |text: &str| -> Vec<_> {
        // What cannot be read is told when the text is checked by itself.
        text.split(',').filter_map(|interval| parse(interval, completions).ok()).collect()
    };
    let (one, other) = (read(one), read(other));
    let (mut at, mut other_at) = (0, 0);
    while let (Some(left), Some(right)) = (one.get(at), other.get(other_at)) {
        if left.0 <= right.1 && right.0 <= left.1 {
            return Some(left.0.max(right.0));
        }
        if left.0 <= right.0 {
            at += 1;
        } else {
            other_at += 1;
        }
    }
    None
}

fn parse(interval: &str, completions: i64) -> Result<(i64, i64), String> {
    let parts: Vec<_> = interval.split('-').collect();
    if parts.len() > 2 {
        return Err(format!(
            "the fragment {interval:?} violates the requirement that an index interval can have at most two parts separated by '-'"
        ));
    }
    let index = |text: &str| {
        let index = text.parse::<i64>();
        let index =
            index.map_err(|_| format!("cannot convert string to integer for index: {text:?}"))?;
        if index >= completions {
            return Err(format!("too large index: {text:?}"));
        }
        Ok(index)
    };
    let from = index(parts[0])?;
    let Some(to) = parts.get(1) else { return Ok((from, from)) };
    let to = index(to)?;
    if from >= to {
        return Err(format!("non-increasing order, previous: {from}, current: {to}"));
    }
    Ok((from, to))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indexes_are_read_and_refused_as_upstream_does() {
        let refused = |why: &str| Err(why.to_owned());
        for (text, want) in [
            ("", Ok(0)),
            ("0", Ok(1)),
            ("0,2-4", Ok(4)),
            ("2-4,4", refused("non-increasing order, previous: 4, current: 4")),
            ("3-3", refused("non-increasing order, previous: 3, current: 3")),
            ("5", refused("too large index: \"5\"")),
            ("0-5", refused("too large index: \"5\"")),
            ("a", refused("cannot convert string to integer for index: \"a\"")),
            ("0,", refused("cannot convert string to integer for index: \"\"")),
        ] {
            assert_eq!(count(text, 5), want, "{text}");
        }
        assert!(count("1-2-3", 5).unwrap_err().starts_with("the fragment \"1-2-3\" violates"));
    }

    #[test]
    fn overlaps_are_found_and_unreadable_parts_passed_over() {
        assert_eq!(overlap("0-2,7", "3-5,7", 10), Some(7));
        assert_eq!(overlap("0-2", "x,2", 10), Some(2));
        assert_eq!(overlap("0-2", "3", 10), None);
        assert_eq!(overlap("", "0", 10), None);
    }
}
