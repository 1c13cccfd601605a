//! The JSONPath of printer columns: `.spec.color`, `.status.conditions[?(@.type=="Ready")].status`.
//!
//! Fields, quoted fields, indexes, slices, unions of those, `*`, `..name` and filters that compare;
//! no templates around them. What leads nowhere gives nothing.

use serde_json::Value;

use crate::limits::{JSON_PATH_STEPS_MAX, JSON_PATH_VALUES_MAX, NESTING_DEPTH_MAX};

/// A path.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct JsonPath(Vec<Step>);

#[derive(Clone, Debug, PartialEq)]
enum Step {
    Field(Box<str>),
    Every,
    /// From, to, by.
    Slice(Option<i64>, Option<i64>, i64),
    Index(i64),
    Union(Vec<Step>),
    Below(Box<str>),
    Filter(Filter),
}

#[derive(Clone, Debug, PartialEq)]
struct Filter {
    left: Side,
    /// Nothing when the left side only has to be there.
    test: Option<(Compare, Side)>,
}

#[derive(Clone, Debug, PartialEq)]
enum Side {
    Path(JsonPath),
    Literal(Value),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Compare {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// A path that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the path cannot be read")]
pub(super) struct Unreadable;

impl JsonPath {
    /// Reads a path.
    ///
    /// # Errors
    /// It is none, or uses what columns cannot.
    pub(super) fn parse(text: &str) -> Result<Self, Unreadable> {
        parse(text, 0)
    }

    /// What the path leads to, in order.
    #[must_use]
    pub(super) fn find<'a>(&self, value: &'a Value) -> Vec<&'a Value> {
        let mut found = vec![value];
        for step in &self.0 {
            let mut next = Vec::new();
            for value in found {
                step.walk(value, &mut next);
                if next.len() > JSON_PATH_VALUES_MAX {
                    return Vec::new();
                }
            }
            found = next;
        }
        found
    }
}

fn parse(text: &str, depth: usize) -> Result<JsonPath, Unreadable> {
    // Filters hold paths with filters.
    if depth > 4 {
        return Err(Unreadable);
    }
    let mut steps = Vec::new();
    let mut rest = text.trim().trim_start_matches(['$', '@']);
    while !rest.is_empty() {
        if steps.len() >= JSON_PATH_STEPS_MAX {
            return Err(Unreadable);
        }
        let (step, after) = if let Some(after) = rest.strip_prefix("..") {
            let (name, after) = name(after);
            (Step::Below(name.into()), after)
        } else if let Some(after) = rest.strip_prefix('.') {
            // `.['a']` and a last dot are let through.
            if after.is_empty() || after.starts_with('[') {
                rest = after;
                continue;
            }
            let (name, after) = name(after);
            (field(name)?, after)
        } else if let Some(after) = rest.strip_prefix('[') {
            let end = closing(after).ok_or(Unreadable)?;
            (bracket(&after[..end], depth)?, &after[end + 1..])
        } else {
            let (name, after) = name(rest);
            (field(name)?, after)
        };
        steps.push(step);
        rest = after;
    }
    Ok(JsonPath(steps))
}

fn field(name: &str) -> Result<Step, Unreadable> {
    match name {
        "" => Err(Unreadable),
        "*" => Ok(Step::Every),
        _ => Ok(Step::Field(name.replace('\\', "").into())),
    }
}

/// A name, up to a dot or bracket that is not escaped.
fn name(text: &str) -> (&str, &str) {
    let mut is_escaped = false;
    for (at, letter) in text.char_indices() {
        if !is_escaped && matches!(letter, '.' | '[') {
            return text.split_at(at);
        }
        is_escaped = !is_escaped && letter == '\\';
    }
    (text, "")
}

/// Where the bracket ends, texts and brackets inside left out.
fn closing(text: &str) -> Option<usize> {
    let (mut quote, mut depth) = (None, 0);
    for (at, letter) in text.char_indices() {
        match (quote, letter) {
            (Some(open), _) if open == letter => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"') => quote = Some(letter),
            (None, '[') => depth += 1,
            (None, ']') if depth == 0 => return Some(at),
            (None, ']') => depth -= 1,
            (None, _) => {}
        }
    }
    None
}

fn quoted(text: &str) -> Option<&str> {
    let bare = |quote| text.strip_prefix(quote)?.strip_suffix(quote);
    bare('\'').or_else(|| bare('"'))
}

fn bracket(text: &str, depth: usize) -> Result<Step, Unreadable> {
    let text = text.trim();
    if let Some(inner) = text.strip_prefix("?(").and_then(|text| text.strip_suffix(')')) {
        return Ok(Step::Filter(filter(inner, depth)?));
    }
    if text == "*" {
        return Ok(Step::Every);
    }
    if text.contains(',') && quoted(text).is_none_or(|inner| inner.contains(['\'', '"'])) {
        let parts: Result<Vec<Step>, Unreadable> =
            text.split(',').map(|part| bracket(part, depth)).collect();
        return Ok(Step::Union(parts?));
    }
    if let Some(name) = quoted(text) {
        return Ok(Step::Field(name.into()));
    }
    let number = |text: &str| -> Result<Option<i64>, Unreadable> {
        match text.trim() {
            "" => Ok(None),
            text => text.parse().map(Some).map_err(|_| Unreadable),
        }
    };
    let parts: Vec<&str> = text.split(':').collect();
    match parts.as_slice() {
        [one] => Ok(Step::Index(number(one)?.ok_or(Unreadable)?)),
        [from, to] => Ok(Step::Slice(number(from)?, number(to)?, 1)),
        [from, to, by] => {
            let by = number(by)?.unwrap_or(1);
            if by <= 0 {
                return Err(Unreadable);
            }
            Ok(Step::Slice(number(from)?, number(to)?, by))
        }
        _ => Err(Unreadable),
    }
}

fn filter(text: &str, depth: usize) -> Result<Filter, Unreadable> {
    const OPERATORS: [(&str, Compare); 6] = [
        ("==", Compare::Equal),
        ("!=", Compare::NotEqual),
        ("<=", Compare::LessOrEqual),
        (">=", Compare::GreaterOrEqual),
        ("<", Compare::Less),
        (">", Compare::Greater),
    ];
    let mut quote = None;
    for (at, letter) in text.char_indices() {
        match (quote, letter) {
            (Some(open), _) if open == letter => quote = None,
            (None, '\'' | '"') => quote = Some(letter),
            (None, _) => {
                let found = OPERATORS.iter().find(|(sign, _)| text[at..].starts_with(sign));
                if let Some((sign, compare)) = found {
                    let left = side(&text[..at], depth)?;
                    let right = side(&text[at + sign.len()..], depth)?;
                    return Ok(Filter { left, test: Some((*compare, right)) });
                }
            }
            (Some(_), _) => {}
        }
    }
    Ok(Filter { left: side(text, depth)?, test: None })
}

fn side(text: &str, depth: usize) -> Result<Side, Unreadable> {
    let text = text.trim();
    if let Some(text) = quoted(text) {
        return Ok(Side::Literal(text.into()));
    }
    if text.starts_with(['@', '.', '$']) {
        return parse(text, depth + 1).map(Side::Path);
    }
    serde_json::from_str(text).map(Side::Literal).map_err(|_| Unreadable)
}

impl Step {
    fn walk<'a>(&self, value: &'a Value, found: &mut Vec<&'a Value>) {
        match self {
            Self::Field(name) => found.extend(value.get(name.as_ref())),
            Self::Every => match value {
                Value::Array(items) => found.extend(items),
                Value::Object(map) => found.extend(map.values()),
                _ => {}
            },
            Self::Index(index) => {
                let items = value.as_array().map_or(&[][..], Vec::as_slice);
                found.extend(place(*index, items.len()).and_then(|at| items.get(at)));
            }
            Self::Slice(from, to, by) => slice(value, (*from, *to, *by), found),
            Self::Union(steps) => steps.iter().for_each(|step| step.walk(value, found)),
            Self::Below(name) => below(value, name, 0, found),
            Self::Filter(filter) => {
                let items = value.as_array().into_iter().flatten();
                found.extend(items.filter(|item| filter.lets(item)));
            }
        }
    }
}

/// Negative places count from the end.
fn place(index: i64, length: usize) -> Option<usize> {
    let length = i64::try_from(length).ok()?;
    usize::try_from(if index < 0 { index + length } else { index }).ok()
}

fn slice<'a>(
    value: &'a Value,
    (from, to, by): (Option<i64>, Option<i64>, i64),
    found: &mut Vec<&'a Value>,
) {
    let Some(items) = value.as_array() else { return };
    let from = place(from.unwrap_or(0), items.len()).unwrap_or(0);
    let end = to.map_or(Some(items.len()), |to| place(to, items.len()));
    let end = end.unwrap_or(0).min(items.len());
    let by = usize::try_from(by).unwrap_or(1).max(1);
    if from < end {
        found.extend(items[from..end].iter().step_by(by));
    }
}

fn below<'a>(value: &'a Value, name: &str, depth: usize, found: &mut Vec<&'a Value>) {
    if depth > NESTING_DEPTH_MAX || found.len() > JSON_PATH_VALUES_MAX {
        return;
    }
    match value {
        Value::Object(map) => {
            found.extend(map.get(name));
            map.values().for_each(|inner| below(inner, name, depth + 1, found));
        }
        Value::Array(items) => {
            items.iter().for_each(|inner| below(inner, name, depth + 1, found));
        }
        _ => {}
    }
}

impl Filter {
    fn lets(&self, item: &Value) -> bool {
        let of = |side: &Side| match side {
            Side::Literal(literal) => Some(literal.clone()),
            Side::Path(path) => path.find(item).first().map(|found| Value::clone(found)),
        };
        let Some(left) = of(&self.left) else { return false };
        let Some((compare, right)) = &self.test else { return true };
        let Some(right) = of(right) else { return false };
        let order = match (&left, &right) {
            (Value::String(left), Value::String(right)) => Some(left.cmp(right)),
            (Value::Number(left), Value::Number(right)) => {
                left.as_f64().zip(right.as_f64()).and_then(|(left, right)| left.partial_cmp(&right))
            }
            _ => None,
        };
        match compare {
            Compare::Equal => order.map_or(left == right, std::cmp::Ordering::is_eq),
            Compare::NotEqual => order.map_or(left != right, std::cmp::Ordering::is_ne),
            Compare::Less => order.is_some_and(std::cmp::Ordering::is_lt),
            Compare::LessOrEqual => order.is_some_and(std::cmp::Ordering::is_le),
            Compare::Greater => order.is_some_and(std::cmp::Ordering::is_gt),
            Compare::GreaterOrEqual => order.is_some_and(std::cmp::Ordering::is_ge),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn paths_of_columns_lead_where_upstreams_lead() {
        let value = json!({
            "spec": {"color": "red", "a.b": 1, "list": [{"n": 1}, {"n": 2}, {"n": 3}]},
            "status": {"conditions": [
                {"type": "Ready", "status": "True"}, {"type": "Other", "status": "False"}]},
        });
        for (path, want) in [
            (".spec.color", json!(["red"])),
            (".spec['a.b']", json!([1])),
            (".spec.a\\.b", json!([1])),
            (".spec.list[0].n", json!([1])),
            (".spec.list[-1].n", json!([3])),
            (".spec.list[*].n", json!([1, 2, 3])),
            (".spec.list[1:].n", json!([2, 3])),
            (".spec.list[0,2].n", json!([1, 3])),
            (".spec.list[?(@.n>1)].n", json!([2, 3])),
            (".status.conditions[?(@.type==\"Ready\")].status", json!(["True"])),
            (".status.conditions[?(@.type!='Ready')].status", json!(["False"])),
            (".status..status", json!(["True", "False"])),
            (".nope.nope", json!([])),
            (".spec.color.more", json!([])),
        ] {
            let found = JsonPath::parse(path).unwrap();
            assert_eq!(json!(found.find(&value)), want, "{path}");
        }
        for path in [".a[", ".a[x]", ".a[?(@.b==)]", ".a[::0]"] {
            assert!(JsonPath::parse(path).is_err(), "{path}");
        }
    }
}
