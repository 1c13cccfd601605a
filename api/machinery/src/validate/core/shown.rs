//! Values as upstream shows them in refusals: its own field names, in its own order.

use std::fmt::Write;

use serde_json::Value;

use crate::field::{Error, ErrorKind, Path};

/// A JSON tree whose objects keep the order of their fields.
#[derive(Clone, Debug)]
pub(in crate::validate) enum Shown {
    Value(Value),
    Fields(Vec<(&'static str, Shown)>),
    /// JSON that is already written.
    Text(String),
}

impl Shown {
    /// The named members of an object: (name shown, member).
    pub(in crate::validate) fn members(value: &Value, names: &[(&'static str, &str)]) -> Self {
        let fields = names.iter().map(|(shown, key)| (*shown, Self::Value(value[key].clone())));
        Self::Fields(fields.collect())
    }

    /// The same, but a missing member is `""`.
    pub(in crate::validate) fn texts(value: &Value, names: &[(&'static str, &str)]) -> Self {
        let text = |key: &str| value[key].as_str().unwrap_or("").into();
        Self::Fields(names.iter().map(|(shown, key)| (*shown, Self::Value(text(key)))).collect())
    }

    /// On one line.
    pub(in crate::validate) fn compact(&self) -> String {
        match self {
            Self::Value(value) => value.to_string(),
            Self::Text(text) => text.clone(),
            Self::Fields(fields) => {
                let each =
                    fields.iter().map(|(name, shown)| format!("{name:?}:{}", shown.compact()));
                format!("{{{}}}", each.collect::<Vec<_>>().join(","))
            }
        }
    }

    /// On many lines, one space a level.
    pub(in crate::validate) fn pretty(&self) -> String {
        let mut out = String::new();
        self.write(0, &mut out);
        out
    }

    fn write(&self, level: usize, out: &mut String) {
        let indent = " ".repeat(level + 1);
        match self {
            Self::Fields(fields) if !fields.is_empty() => {
                let each = fields.iter().map(|(name, shown)| (*name, shown.clone()));
                write_object(each, level, out);
            }
            Self::Fields(_) => out.push_str("{}"),
            Self::Value(Value::Object(map)) if !map.is_empty() => {
                let each = map.iter().map(|(key, value)| (key.as_str(), value.clone().into()));
                write_object(each, level, out);
            }
            Self::Value(Value::Array(list)) if !list.is_empty() => {
                for (index, value) in list.iter().enumerate() {
                    out.push_str(if index == 0 { "[\n" } else { ",\n" });
                    out.push_str(&indent);
                    Self::Value(value.clone()).write(level + 1, out);
                }
                let _ = write!(out, "\n{}]", &indent[1..]);
            }
            Self::Value(value) => out.push_str(&value.to_string()),
            Self::Text(text) => out.push_str(text),
        }
    }

    /// An error that shows this value.
    pub(in crate::validate) fn error(&self, kind: ErrorKind, path: &Path, detail: &str) -> Error {
        let mut text = self.compact();
        if !detail.is_empty() {
            text.push_str(": ");
            text.push_str(detail);
        }
        Error { kind, field: path.to_string(), value: None, detail: text }
    }
}

impl From<Value> for Shown {
    fn from(value: Value) -> Self {
        Self::Value(value)
    }
}

fn write_object<'a>(
    fields: impl Iterator<Item = (&'a str, Shown)>,
    level: usize,
    out: &mut String,
) {
    for (index, (name, shown)) in fields.enumerate() {
        out.push_str(if index == 0 { "{\n" } else { ",\n" });
        let _ = write!(out, "{}{name:?}: ", " ".repeat(level + 1));
        shown.write(level + 1, out);
    }
    let _ = write!(out, "\n{}}}", " ".repeat(level));
}

/// Lines around a change that are shown with it.
const CONTEXT_LINES: usize = 3;

/// The unified difference of two texts whose changes are few.
pub(in crate::validate) fn difference(old: &Shown, new: &Shown) -> String {
    let (old, new) = (old.pretty(), new.pretty());
    let (old, new): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
    let steps = steps(&old, &new);
    let changed: Vec<usize> =
        (0..steps.len()).filter(|index| !matches!(steps[*index], Step::Same(..))).collect();
    let mut out = String::new();
    let mut start = 0;
    while start < changed.len() {
        let mut end = start;
        while changed.get(end + 1).is_some_and(|next| next - changed[end] <= 2 * CONTEXT_LINES) {
            end += 1;
        }
        let first = changed[start].saturating_sub(CONTEXT_LINES);
        let last = (changed[end] + CONTEXT_LINES + 1).min(steps.len());
        hunk(&steps, first..last, &mut out);
        start = end + 1;
    }
    out
}

enum Step<'a> {
    Same(&'a str),
    Removed(&'a str),
    Added(&'a str),
}

fn hunk(steps: &[Step<'_>], range: std::ops::Range<usize>, out: &mut String) {
    let count = |steps: &[Step<'_>], is_old: bool| {
        let counted = steps.iter().filter(|step| match step {
            Step::Same(_) => true,
            Step::Removed(_) => is_old,
            Step::Added(_) => !is_old,
        });
        counted.count()
    };
    let before = &steps[..range.start];
    let inside = &steps[range];
    let span = |is_old: bool| match (count(before, is_old), count(inside, is_old)) {
        (skipped, 1) => format!("{}", skipped + 1),
        (skipped, 0) => format!("{skipped},0"),
        (skipped, length) => format!("{},{length}", skipped + 1),
    };
    let _ = writeln!(out, "@@ -{} +{} @@", span(true), span(false));
    for step in inside {
        let (mark, line) = match step {
            Step::Same(line) => (' ', line),
            Step::Removed(line) => ('-', line),
            Step::Added(line) => ('+', line),
        };
        let _ = writeln!(out, "{mark}{line}");
    }
}

/// What turns one text into the other: by the longest common subsequence of lines.
fn steps<'a>(old: &[&'a str], new: &[&'a str]) -> Vec<Step<'a>> {
    let width = new.len() + 1;
    let mut common = vec![0_usize; (old.len() + 1) * width];
    for i in (0..old.len()).rev() {
        for j in (0..new.len()).rev() {
            common[i * width + j] = if old[i] == new[j] {
                common[(i + 1) * width + j + 1] + 1
            } else {
                common[(i + 1) * width + j].max(common[i * width + j + 1])
            };
        }
    }
    let (mut i, mut j, mut steps) = (0, 0, Vec::new());
    while i < old.len() || j < new.len() {
        if i < old.len() && j < new.len() && old[i] == new[j] {
            steps.push(Step::Same(old[i]));
            (i, j) = (i + 1, j + 1);
        } else if i < old.len()
            && (j == new.len() || common[(i + 1) * width + j] >= common[i * width + j + 1])
        {
            steps.push(Step::Removed(old[i]));
            i += 1;
        } else {
            steps.push(Step::Added(new[j]));
            j += 1;
        }
    }
    steps
}
