//! Paths of selectable fields and of rules: `.spec.color`, `.spec['a.b']`.

use serde_json::Value;

use crate::custom::schema::Schema;
use crate::field::Path;

/// Finds the schema that a path leads to, and the names on the way.
///
/// # Errors
/// Upstream's text for a path that leads nowhere.
pub(super) fn find<'a>(
    path: &str,
    schema: &'a Value,
    may_quote: bool,
) -> Result<(Vec<String>, &'a Value), String> {
    let mut names = Vec::new();
    let mut schema = schema;
    let mut tokens = tokens(path).into_iter();
    while let Some(token) = tokens.next() {
        let end = || "unexpected end of JSON path".to_owned();
        let name = match token {
            "[" if !may_quote => return Err("array notation is not allowed".to_owned()),
            "[" => {
                let quoted = tokens.next().ok_or_else(end)?;
                let inner = quoted.strip_prefix('\'').and_then(|text| text.strip_suffix('\''));
                let inner = inner
                    .ok_or_else(|| format!("expected single quoted string but got {quoted}"))?;
                inner.replace("\\'", "'").replace("\\\\", "\\")
            }
            "." => tokens.next().ok_or_else(end)?.to_owned(),
            other => return Err(format!("expected [ or . but got: {other}")),
        };
        schema = below(schema, &name)?;
        names.push(name);
        if token == "[" {
            let close = tokens.next().ok_or_else(end)?;
            if close != "]" {
                return Err(format!("expected ] but got {close}"));
            }
        }
    }
    Ok((names, schema))
}

fn below<'a>(schema: &'a Value, name: &str) -> Result<&'a Value, String> {
    let nowhere = || "does not refer to a valid field".to_owned();
    match schema["properties"].as_object().filter(|map| !map.is_empty()) {
        Some(properties) => properties.get(name).ok_or_else(nowhere),
        None if schema["additionalProperties"].is_object() => Ok(&schema["additionalProperties"]),
        None => Err(nowhere()),
    }
}

/// A path that [`find`] takes as it stands in errors; none when it leads nowhere.
pub(in crate::custom) fn normalized(path: &str, schema: &Schema) -> Option<String> {
    let (mut out, mut schema) = (Path::default(), schema);
    let mut tokens = tokens(path).into_iter();
    while let Some(token) = tokens.next() {
        let name = match (token, tokens.next()?) {
            (".", name) => name.to_owned(),
            ("[", quoted) => {
                let inner = quoted.strip_prefix('\'')?.strip_suffix('\'')?;
                tokens.next().filter(|close| *close == "]")?;
                inner.replace("\\'", "'").replace("\\\\", "\\")
            }
            _ => return None,
        };
        if schema.properties().next().is_some() {
            schema = schema.property(&name)?;
            out = out.child(&name);
        } else {
            schema = schema.additional_schema()?;
            out = out.key(&name);
        }
    }
    Some(out.to_string()).filter(|path| !path.is_empty())
}

/// Dots and brackets, quoted texts, and what is between them.
fn tokens(path: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut rest = path;
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '.' | '[' | ']' => 1,
            '\'' => {
                let mut previous = first;
                let end = rest.char_indices().skip(1).find(|(_, letter)| {
                    let ends = *letter == '\'' && previous != '\\';
                    previous = *letter;
                    ends
                });
                end.map_or(rest.len(), |(at, _)| at + 1)
            }
            _ => rest.find(['.', '[', ']']).unwrap_or(rest.len()),
        };
        found.push(&rest[..length]);
        rest = &rest[length..];
    }
    found
}
