//! JSON that a reader of YAML takes for the same: most bodies that may be YAML are written so, and
//! a reader of JSON takes a small part of the time.

use super::raw::Raw;

/// A body that is longer is read as what it is.
const BYTES_MAX: usize = 64 * 1024;
/// A key may stand on one line of YAML, and only so long.
const KEY_BYTES_MAX: usize = 500;
/// Less than is refused in YAML.
const DEPTH_MAX: usize = 32;
/// Numbers above it may be told apart less well.
const NUMBER_MAX: u64 = 1 << 52;

/// Reads a body that says the same in both; `None` where that is not plain to see.
pub(super) fn read(bytes: &[u8]) -> Option<Raw> {
    let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    let is_usual = bytes.first() == Some(&b'{')
        && bytes.len() <= BYTES_MAX
        && bytes.iter().all(|byte| matches!(byte, b' '..=b'~'))
        && has_usual_escapes(bytes);
    if !is_usual {
        return None;
    }
    let raw = serde_json::from_slice(bytes).ok()?;
    is_alike(&raw, DEPTH_MAX).then_some(raw)
}

/// Whether nothing is escaped but what both write alike.
fn has_usual_escapes(bytes: &[u8]) -> bool {
    let mut rest = bytes.iter();
    while let Some(byte) = rest.next() {
        if *byte == b'\\' && !matches!(rest.next(), Some(b'"' | b'\\' | b'n' | b't')) {
            return false;
        }
    }
    true
}

fn is_alike(raw: &Raw, depth: usize) -> bool {
    match raw {
        Raw::Null | Raw::Bool(_) | Raw::Text(_) => true,
        Raw::Number(number) => {
            number.as_i64().is_some_and(|number| number.unsigned_abs() <= NUMBER_MAX)
        }
        Raw::List(items) => depth > 0 && items.iter().all(|item| is_alike(item, depth - 1)),
        Raw::Object(members) => {
            let is_key = |key: &str| {
                // What YAML has a meaning for, or a limit.
                !key.is_empty() && key.len() <= KEY_BYTES_MAX && key != "<<"
            };
            depth > 0
                && members.iter().all(|(key, value)| is_key(key) && is_alike(value, depth - 1))
                && super::walk::repeated(members).is_empty()
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::super::read_yaml;
    use super::*;

    fn trees() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            (-20..20_i64).prop_map(Value::from),
            "[ -~\n\t]{0,8}|[#:,{}\\[\\]&*!|>'\"%@`~-]{0,3}|true|null|0x1f|1e3|<<|2026-01-01"
                .prop_map(Value::from),
        ];
        leaf.prop_recursive(5, 40, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[ -~]{0,5}|[a-z]{1,3}|<<|#|- a|null", inner, 0..4)
                    .prop_map(|map| json!(map)),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_read_so_is_what_yaml_says(
            map in prop::collection::btree_map("[a-z]{1,3}", trees(), 0..4),
            ends in any::<bool>(),
        ) {
            let text = json!(map).to_string() + if ends { "\n" } else { "" };
            if let Some(raw) = read(text.as_bytes()) {
                prop_assert_eq!(Ok(raw), read_yaml(text.as_bytes()), "{}", text);
            }
        }
    }

    #[test]
    fn what_is_usual_is_read_and_the_rest_left_to_yaml() {
        let usual = json!({"apiVersion": "v1", "kind": "Pod", "spec": {"containers": [
            {"name": "a", "image": "b:1", "args": ["--x={}", "a: b", "\"q\"\n"], "tty": false}],
            "priority": -5, "nodeName": null}});
        let text = usual.to_string();
        assert_eq!(read(text.as_bytes()), Some(usual.into()));
        let long = format!(r#"{{"{}":1}}"#, "k".repeat(KEY_BYTES_MAX + 1));
        let deep = format!(r#"{{"a":{}{}}}"#, "[".repeat(DEPTH_MAX), "]".repeat(DEPTH_MAX));
        for text in [
            "a: b",
            "{a: b}",
            "[]",
            "{}{}",
            r#"{"a":1.5}"#,
            r#"{"a":1e3}"#,
            r#"{"a":-0}"#,
            r#"{"a":"\u0041"}"#,
            r#"{"a":"é"}"#,
            "{\"a\":\n1}",
            "{\"a\":\t1}",
            r#"{"<<":{}}"#,
            r#"{"a":1,"a":2}"#,
            r#"{"":1}"#,
            r#"{"a":18446744073709551615}"#,
            &long,
            &deep,
        ] {
            assert_eq!(read(text.as_bytes()), None, "{text}");
        }
    }
}
