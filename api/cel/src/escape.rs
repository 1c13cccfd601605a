//! Names of fields as identifiers: `a-b` is `a__dash__b`, and words of the language are marked.

/// Words that no field can be called by as they are.
pub const RESERVED: &[&str] = &[
    "true",
    "false",
    "null",
    "in",
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
];

/// A field's name as an identifier; none when there is no way to write it as one.
#[must_use]
pub fn escape(name: &str) -> Option<String> {
    if name.is_empty() || name.starts_with(|first: char| first.is_ascii_digit()) {
        return None;
    }
    if RESERVED.contains(&name) {
        return Some(format!("__{name}__"));
    }
    let mut out = String::with_capacity(name.len());
    let mut rest = name;
    while let Some(first) = rest.chars().next() {
        let (text, length) = match first {
            '_' if rest.starts_with("__") => ("__underscores__", 2),
            '.' => ("__dot__", 1),
            '-' => ("__dash__", 1),
            '/' => ("__slash__", 1),
            _ if first.is_ascii_alphanumeric() || first == '_' => (&rest[..1], 1),
            _ => return None,
        };
        out.push_str(text);
        rest = &rest[length..];
    }
    Some(out)
}

/// The field's name that an identifier stands for; none when it has an escape that there is not.
#[must_use]
pub fn unescape(identifier: &str) -> Option<String> {
    let mut out = String::with_capacity(identifier.len());
    let mut rest = identifier;
    while let Some(first) = rest.chars().next() {
        let Some(escape) = escape_at(rest) else {
            out.push(first);
            rest = &rest[first.len_utf8()..];
            continue;
        };
        match escape {
            "underscores" => out.push_str("__"),
            "dot" => out.push('.'),
            "dash" => out.push('-'),
            "slash" => out.push('/'),
            word if RESERVED.contains(&word) && word.len() + 4 == identifier.len() => {
                out.push_str(word);
            }
            _ => return None,
        }
        rest = &rest[escape.len() + 4..];
    }
    Some(out)
}

/// What stands between the underscores of the escape that a text begins with.
fn escape_at(text: &str) -> Option<&str> {
    let inner = text.strip_prefix("__")?;
    let end = inner.find('_').filter(|end| *end > 0)?;
    inner[end..].starts_with("__").then(|| &inner[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From upstream's test of escaping.
    #[test]
    fn names_are_escaped_and_found_again() {
        for (name, identifier) in [
            ("a", "a"),
            ("a/b.c-d", "a__slash__b__dot__c__dash__d"),
            ("a__b", "a__underscores__b"),
            ("namespace", "__namespace__"),
            ("namespaces", "namespaces"),
            ("x_", "x_"),
        ] {
            assert_eq!(escape(name).as_deref(), Some(identifier));
            assert_eq!(unescape(identifier).as_deref(), Some(name));
        }
        for name in ["", "1a", "a b", "a$", "Å"] {
            assert_eq!(escape(name), None, "{name}");
        }
        for identifier in ["__other__", "a__namespace__"] {
            assert_eq!(unescape(identifier), None, "{identifier}");
        }
    }
}
