//! What the checkers say, and the operations that show it.

use std::fmt::{self, Write as _};

use super::escape::Text;
use super::{tables, timeline};
use crate::checker::{Verdict, Violation};
use crate::history::{History, Op};
use crate::limits;
use crate::report::words;

/// A row for each checker, then the first counter-examples of each that failed.
pub(super) fn write(out: &mut String, history: &History, verdicts: &[Verdict]) -> fmt::Result {
    tables::head(out, &["verdict", "checker", "facts compared", "wrong"])?;
    for verdict in verdicts {
        let (class, word) = badge(verdict);
        writeln!(
            out,
            r#"<tr><td><span class="badge {class}">{word}</span></td>
<td>{}</td><td>{}</td><td>{}</td></tr>"#,
            Text(verdict.name),
            verdict.checked,
            verdict.broken
        )?;
    }
    tables::tail(out, verdicts.len())?;
    for verdict in verdicts.iter().filter(|verdict| !verdict.violations.is_empty()) {
        let listed = verdict.violations.len().min(limits::REPORT_VIOLATIONS_MAX);
        writeln!(
            out,
            "<details open><summary>{}: the first {listed} of {} counter-examples</summary>",
            Text(verdict.name),
            verdict.broken
        )?;
        for violation in &verdict.violations[..listed] {
            sentence(out, violation)?;
            let involved = violation.ops.iter().filter_map(|index| history.ops.get(*index));
            operations(out, &involved.collect::<Vec<_>>())?;
        }
        out.push_str("</details>\n");
    }
    Ok(())
}

fn badge(verdict: &Verdict) -> (&'static str, &'static str) {
    match (verdict.passed(), verdict.broken) {
        (true, _) => ("good", "ok"),
        (false, 0) => ("bad", "nothing checked"),
        (false, _) => ("bad", "broken"),
    }
}

/// What is wrong, in words.
pub(super) fn sentence(out: &mut String, violation: &Violation) -> fmt::Result {
    let text = words::cut(&violation.text, limits::REPORT_LETTERS_MAX);
    writeln!(out, "<p class=\"wrong\"><b>{}</b> {}</p>", violation.rule, Text(&text))
}

/// Operations in full.
pub(super) fn operations(out: &mut String, ops: &[&Op]) -> fmt::Result {
    if ops.is_empty() {
        return Ok(());
    }
    let names = ["op", "sent", "answered", "took", "by", "to member", "asked", "answer"];
    tables::head(out, &names)?;
    for op in ops.iter().take(limits::REPORT_ROWS_MAX) {
        let asked = words::cut(&words::action(&op.action), limits::REPORT_LETTERS_MAX);
        let answer = words::cut(&words::outcome(op), limits::REPORT_LETTERS_MAX);
        writeln!(
            out,
            r#"<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td>
<td class="text">{}</td><td class="text {}">{}</td></tr>"#,
            op.index,
            words::at(op.invoked_ns),
            words::at(op.completed_ns),
            words::op_took(op),
            words::process(op),
            op.member,
            Text(&asked),
            timeline::class(op),
            Text(&answer)
        )?;
    }
    tables::tail(out, ops.len())
}
