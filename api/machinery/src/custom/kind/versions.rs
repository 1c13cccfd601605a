//! Which of two versions is the better one: stable ones first, then the newer.

use std::cmp::Ordering;

/// Major number, stability (alpha 0, beta 1, stable 2), minor number.
fn parse(version: &str) -> Option<(u64, u8, u64)> {
    let rest = version.strip_prefix('v')?;
    let end = rest.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(rest.len());
    let major = rest[..end].parse().ok()?;
    let rest = &rest[end..];
    if rest.is_empty() {
        return Some((major, 2, 0));
    }
    let number = |text: &str| {
        let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| text.parse().ok()).flatten()
    };
    match (rest.strip_prefix("alpha"), rest.strip_prefix("beta")) {
        (Some(minor), _) => Some((major, 0, number(minor)?)),
        (_, Some(minor)) => Some((major, 1, number(minor)?)),
        (None, None) => None,
    }
}

/// Orders versions as upstream prefers them: the preferred one is the greatest.
#[must_use]
pub fn compare(left: &str, right: &str) -> Ordering {
    match (parse(left), parse(right)) {
        (None, None) => right.cmp(left),
        (None, Some(_)) => Ordering::Less,
        (Some(_), None) => Ordering::Greater,
        (Some((major, stability, minor)), Some(other)) => {
            (stability, major, minor).cmp(&(other.1, other.0, other.2))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::compare;

    #[test]
    fn versions_are_ordered_as_upstream_orders_them() {
        let mut versions =
            ["foo1", "v10alpha1", "v3beta1", "v1", "v2", "v11beta2", "foo10", "v10", "v11alpha2"];
        versions.sort_by(|left, right| compare(right, left));
        let wanted =
            ["v10", "v2", "v1", "v11beta2", "v3beta1", "v11alpha2", "v10alpha1", "foo1", "foo10"];
        assert_eq!(versions, wanted);
    }
}
