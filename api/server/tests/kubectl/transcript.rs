//! Walks with kubectl as text: each command, what a real server made it say, and how ours differs.
//!
//! | Mark | What stands behind it |
//! |------|-----------------------|
//! | `$` | a command, for bash |
//! | (vertical bar) | a line of its standard output |
//! | `!` | a line of its standard error |
//! | `?` | its exit code, unless 0 |
//! | `=` | why ours says something else: a name in the table of reasons |
//! | `~` | a line of what ours says instead, marked as above |
//! | `#` | a remark |

use std::fmt::Write as _;

/// A command and its outcome.
#[derive(Clone, Debug, Default)]
pub(crate) struct Step {
    /// Lines before it: remarks and empty ones.
    pub(crate) remarks: String,
    pub(crate) command: String,
    /// What the real server made of it.
    pub(crate) real: String,
    pub(crate) reason: String,
    /// What ours makes of it, when there is a reason.
    pub(crate) ours: String,
}

pub(crate) fn parse(text: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut remarks = String::new();
    for line in text.lines() {
        if let Some(command) = line.strip_prefix("$ ") {
            let remarks = std::mem::take(&mut remarks);
            steps.push(Step { remarks, command: command.to_owned(), ..Step::default() });
            continue;
        }
        if line.is_empty() || line.starts_with('#') {
            remarks.push_str(line);
            remarks.push('\n');
            continue;
        }
        let step = steps.last_mut().expect("an outcome follows a command");
        if let Some(reason) = line.strip_prefix("= ") {
            reason.clone_into(&mut step.reason);
        } else if let Some(line) = line.strip_prefix("~ ") {
            let _ = writeln!(step.ours, "{line}");
        } else {
            let _ = writeln!(step.real, "{line}");
        }
    }
    steps
}

pub(crate) fn format(steps: &[Step]) -> String {
    let mut out = String::new();
    for step in steps {
        let _ = write!(out, "{}$ {}\n{}", step.remarks, step.command, step.real);
        if !step.reason.is_empty() {
            let _ = writeln!(out, "= {}", step.reason);
            for line in step.ours.lines() {
                let _ = writeln!(out, "~ {line}");
            }
        }
    }
    out
}

/// An outcome with its marks.
pub(crate) fn outcome(stdout: &str, stderr: &str, code: Option<i32>) -> String {
    let mut out = String::new();
    for (mark, text) in [('|', stdout), ('!', stderr)] {
        for line in text.lines() {
            let _ = writeln!(out, "{mark} {}", line.trim_end());
        }
    }
    if code != Some(0) {
        let _ = writeln!(out, "? {}", code.unwrap_or(-1));
    }
    out
}
