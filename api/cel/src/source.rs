//! The text of an expression, places in it, and errors that point at them.

use crate::limits::{ERRORS_MAX, SNIPPET_CODE_POINTS_MAX};

/// An expression's text by code points.
#[derive(Clone, Debug)]
pub struct Source {
    pub(crate) chars: Vec<char>,
    /// Where each line begins.
    lines: Vec<usize>,
}

/// One thing that is wrong. `place` is an offset in code points; none for the whole text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issue {
    pub place: Option<usize>,
    pub message: String,
}

/// All that is wrong with an expression; `Display` is cel-go's report.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{report}")]
pub struct Issues {
    pub issues: Vec<Issue>,
    report: String,
}

impl Source {
    #[must_use]
    pub fn new(text: &str) -> Self {
        let chars: Vec<char> = text.chars().collect();
        let breaks = chars.iter().enumerate().filter(|(_, c)| **c == '\n').map(|(at, _)| at + 1);
        let lines = std::iter::once(0).chain(breaks).collect();
        Self { chars, lines }
    }

    /// Line (from 1) and column (from 0) of an offset.
    fn line_and_column(&self, place: usize) -> (usize, usize) {
        let line = self.lines.partition_point(|start| *start <= place);
        (line, place - self.lines[line - 1])
    }

    fn line(&self, number: usize) -> &[char] {
        let start = self.lines[number - 1];
        let end = self.lines.get(number).map_or(self.chars.len(), |next| next - 1);
        &self.chars[start..end]
    }

    fn show(&self, issue: &Issue) -> String {
        let Some(place) = issue.place else {
            return format!("ERROR: <input>:-1:0: {}", issue.message);
        };
        let (line, column) = self.line_and_column(place);
        let mut out = format!("ERROR: <input>:{line}:{}: {}", column + 1, issue.message);
        let text = self.line(line);
        if text.len() <= SNIPPET_CODE_POINTS_MAX {
            out.push_str("\n | ");
            out.extend(text.iter().map(|c| if *c == '\t' { ' ' } else { *c }));
            out.push_str("\n | ");
            let wide = |c: &char| c.len_utf8() > 1;
            out.extend(text.iter().take(column).map(|c| if wide(c) { '\u{ff0e}' } else { '.' }));
            out.push(if text.get(column).is_some_and(wide) { '\u{ff3e}' } else { '^' });
        }
        out
    }

    /// The report of these issues, in the order of their places.
    #[must_use]
    pub fn report(&self, mut issues: Vec<Issue>) -> Issues {
        issues.sort_by_key(|one| one.place.map_or((0, 0), |place| (1, place)));
        let mut shown: Vec<String> =
            issues.iter().take(ERRORS_MAX).map(|one| self.show(one)).collect();
        if issues.len() > ERRORS_MAX {
            shown.push(format!("{} more errors were truncated", issues.len() - ERRORS_MAX));
        }
        issues.truncate(ERRORS_MAX);
        Issues { issues, report: shown.join("\n") }
    }
}
