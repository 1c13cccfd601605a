//! How deep documents are nested: what is deeper than [`BODY_DEPTH_MAX`] is not taken, because what
//! is stored of it, with the fields of its managers, could not be read again.

use serde_json::Value;

use crate::limits::BODY_DEPTH_MAX;

/// What upstream says of what is too deep for it.
pub(crate) const TOO_DEEP: &str = "exceeded max depth";

/// What begins too deep in JSON, if something does; of what is no JSON it may say either.
pub(crate) fn too_deep_in_json(bytes: &[u8]) -> Option<char> {
    let (mut depth, mut is_text, mut is_escaped) = (0_usize, false, false);
    for byte in bytes {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_text => is_escaped = true,
            b'"' => is_text = !is_text,
            b'{' | b'[' if !is_text => {
                depth += 1;
                if depth > BODY_DEPTH_MAX {
                    return Some(char::from(*byte));
                }
            }
            b'}' | b']' if !is_text => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    None
}

/// How Go's reader of JSON says it.
pub(crate) fn refused_json(bytes: &[u8]) -> Option<String> {
    too_deep_in_json(bytes).map(|letter| format!("invalid character {letter:?} {TOO_DEEP}"))
}

/// Lists and maps that a tree has inside one another, up to one more than `limit`; `visited` counts
/// the values that were looked at.
pub(crate) fn of(value: &Value, limit: usize, visited: &mut usize) -> usize {
    *visited += 1;
    let inside = |items: &mut dyn Iterator<Item = &Value>, visited: &mut usize| {
        if limit == 0 {
            return 1;
        }
        let mut deepest = 0;
        for item in items {
            deepest = deepest.max(of(item, limit - 1, visited));
            if deepest > limit - 1 {
                break;
            }
        }
        1 + deepest
    };
    match value {
        Value::Array(items) => inside(&mut items.iter(), visited),
        Value::Object(map) => inside(&mut map.values(), visited),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}

/// Whether a tree is nested too deep.
pub(crate) fn is_too_deep(value: &Value) -> bool {
    of(value, BODY_DEPTH_MAX, &mut 0) > BODY_DEPTH_MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nested(depth: usize) -> String {
        format!("{}{}", "[".repeat(depth), "]".repeat(depth))
    }

    #[test]
    fn depth_is_counted_in_bytes_and_in_trees() {
        for (depth, is_deep) in [(1, false), (BODY_DEPTH_MAX, false), (BODY_DEPTH_MAX + 1, true)] {
            let text = nested(depth);
            assert_eq!(too_deep_in_json(text.as_bytes()).is_some(), is_deep);
            let tree = serde_json::from_str(&text).unwrap();
            assert_eq!(is_too_deep(&tree), is_deep);
            assert_eq!(of(&tree, 1000, &mut 0), depth);
        }
        let text = format!("[\"\\\"{}\"]", "[".repeat(1000));
        assert_eq!(refused_json(text.as_bytes()), None);
        assert_eq!(of(&serde_json::from_str(&text).unwrap(), 1000, &mut 0), 1);
    }
}
