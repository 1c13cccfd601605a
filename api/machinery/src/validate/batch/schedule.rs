//! Cron schedules: `minute hour day-of-month month day-of-week`, `@daily`, `@every 1h30m`.

use super::duration;

/// Every name of the IANA time zone database.
const ZONES: &str = include_str!("zones.txt");
const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const DAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
const DESCRIPTORS: [&str; 7] =
    ["@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"];

/// The smallest and the greatest number of a field, and names for them in order.
struct Bounds(i64, i64, &'static [&'static str]);

const FIELDS: [Bounds; 5] = [
    Bounds(0, 59, &[]),
    Bounds(0, 23, &[]),
    Bounds(1, 31, &[]),
    Bounds(1, 12, &MONTHS),
    Bounds(0, 6, &DAYS),
];

/// Whether the schedule can be read.
///
/// # Errors
/// What upstream's parser says.
pub(super) fn check(schedule: &str) -> Result<(), String> {
    let mut rest = schedule;
    if let Some(zone) = rest.strip_prefix("TZ=").or_else(|| rest.strip_prefix("CRON_TZ=")) {
        let Some((zone, fields)) = zone.split_once(' ') else {
            // Upstream's parser falls over this one, and tells how.
            return Err("invalid schedule format: runtime error: slice bounds out of range [:-1]"
                .to_owned());
        };
        find_zone(zone).map_err(|why| format!("provided bad location {zone}: {why}"))?;
        rest = fields.trim();
    }
    if rest.starts_with('@') {
        return descriptor(rest);
    }
    let fields: Vec<_> = rest.split_whitespace().collect();
    if fields.len() != FIELDS.len() {
        let (found, shown) = (fields.len(), fields.join(" "));
        return Err(match schedule {
            "" => "empty spec string".to_owned(),
            _ => format!("expected exactly 5 fields, found {found}: [{shown}]"),
        });
    }
    for (field, bounds) in fields.iter().zip(FIELDS) {
        for range in field.split(',').filter(|range| !range.is_empty()) {
            check_range(range, &bounds)?;
        }
    }
    Ok(())
}

/// A time zone of this name.
///
/// # Errors
/// There is none.
pub(super) fn find_zone(name: &str) -> Result<(), String> {
    let is_known = matches!(name, "" | "UTC" | "Local")
        || ZONES.split_ascii_whitespace().any(|zone| zone == name);
    if is_known {
        return Ok(());
    }
    if name.starts_with(['/', '\\']) || name.split(['/', '\\']).any(|part| part == "..") {
        return Err("time: invalid location name".to_owned());
    }
    Err(format!("unknown time zone {name}"))
}

fn descriptor(text: &str) -> Result<(), String> {
    if DESCRIPTORS.contains(&text) {
        return Ok(());
    }
    let Some(duration) = text.strip_prefix("@every ") else {
        return Err(format!("unrecognized descriptor: {text}"));
    };
    duration::check(duration).map_err(|why| format!("failed to parse duration {text}: {why}"))
}

/// `*`, `3`, `3-7`, each with `/step` or without.
fn check_range(text: &str, bounds: &Bounds) -> Result<(), String> {
    let parts: Vec<_> = text.split('/').collect();
    let ends: Vec<_> = parts[0].split('-').collect();
    let Bounds(min, max, names) = *bounds;
    let (start, mut end) = match ends.as_slice() {
        ["*" | "?", ..] => (min, max),
        [one] => number(one, names).map(|one| (one, one))?,
        [from, to] => (number(from, names)?, number(to, names)?),
        [from, ..] => {
            number(from, names)?;
            return Err(format!("too many hyphens: {text}"));
        }
        [] => (min, max),
    };
    let step = match parts.as_slice() {
        [_] => 1,
        [_, step] => {
            if ends.len() == 1 {
                end = max;
            }
            number(step, &[])?
        }
        _ => return Err(format!("too many slashes: {text}")),
    };
    if start < min {
        return Err(format!("beginning of range ({start}) below minimum ({min}): {text}"));
    }
    if end > max {
        return Err(format!("end of range ({end}) above maximum ({max}): {text}"));
    }
    if start > end {
        return Err(format!("beginning of range ({start}) beyond end of range ({end}): {text}"));
    }
    if step == 0 {
        return Err(format!("step of range should be a positive number: {text}"));
    }
    Ok(())
}

/// A number, or one of the names; the first month is 1, the first day 0.
fn number(text: &str, names: &[&str]) -> Result<i64, String> {
    let lower = text.to_lowercase();
    if let Some(at) = names.iter().position(|name| *name == lower) {
        let first = usize::from(names.len() == MONTHS.len());
        return Ok(i64::try_from(at + first).unwrap_or(0));
    }
    let value = text.parse::<i64>().map_err(|error| {
        let what = match error.kind() {
            std::num::IntErrorKind::PosOverflow | std::num::IntErrorKind::NegOverflow => {
                "value out of range"
            }
            _ => "invalid syntax",
        };
        format!("failed to parse int from {text}: strconv.Atoi: parsing {text:?}: {what}")
    })?;
    if value < 0 {
        return Err(format!("negative number ({value}) not allowed: {text}"));
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedules_are_read_as_upstreams_parser_does() {
        for good in [
            "* * * * *",
            "*/5 0-6/2 1,15 jan-MAR sun",
            "? ? ? ? ?",
            ", * * * *",
            "@hourly",
            "@every 1h30m",
            "CRON_TZ=Europe/Berlin 0 * * * *",
        ] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
    }

    #[test]
    fn zones_are_known_by_their_exact_names() {
        assert_eq!(find_zone("Europe/Berlin"), Ok(()));
        assert_eq!(find_zone("europe/berlin").unwrap_err(), "unknown time zone europe/berlin");
        assert_eq!(find_zone("../x").unwrap_err(), "time: invalid location name");
    }
}
