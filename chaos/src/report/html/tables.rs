//! Faults, watchers and members' final states, a row each.

use std::fmt::{self, Write as _};

use super::escape::Text;
use crate::checker::bookkeeping;
use crate::history::History;
use crate::limits;
use crate::report::words;

/// What was done, and what came of it.
pub(super) fn faults(out: &mut String, history: &History) -> fmt::Result {
    let names = [
        "#",
        "fault",
        "members",
        "injected",
        "held for",
        "next write after",
        "serving again after",
        "term",
        "leader",
        "measured",
    ];
    head(out, &names)?;
    let leader = |leader: Option<usize>| leader.map_or("?".to_owned(), |member| member.to_string());
    for (number, fault) in history.faults.iter().take(limits::REPORT_ROWS_MAX).enumerate() {
        let gap = bookkeeping::write_gap_ms(history, fault);
        let back = fault.recovered_ns.map(|at| words::took(at.saturating_sub(fault.healed_ns)));
        let members: Vec<String> = fault.members.iter().map(usize::to_string).collect();
        row(
            out,
            &[
                (number + 1).to_string(),
                fault.name.clone(),
                members.join(", "),
                words::at(fault.injected_ns),
                words::took(fault.healed_ns.saturating_sub(fault.injected_ns)),
                gap.map_or("never".to_owned(), |gap| format!("{gap} ms")),
                back.unwrap_or_else(|| "never".to_owned()),
                format!("{} → {}", fault.term_before, fault.term_after),
                format!("{} → {}", leader(fault.leader_before), leader(fault.leader_after)),
                words::cut(&fault.proof, limits::REPORT_LETTERS_MAX),
            ],
        )?;
    }
    tail(out, history.faults.len())
}

/// What each watcher was told.
pub(super) fn watchers(out: &mut String, history: &History) -> fmt::Result {
    let names = [
        "#",
        "watcher",
        "streams",
        "responses",
        "events",
        "progress answers",
        "last revision",
        "cancelled",
    ];
    head(out, &names)?;
    for watch in history.watches.iter().take(limits::REPORT_ROWS_MAX) {
        let events: usize = watch.seen.iter().map(|seen| seen.events.len()).sum();
        let streams = watch.seen.last().map_or(0, |seen| seen.stream + 1);
        let last = watch.seen.iter().filter_map(|seen| seen.events.last()).next_back();
        let cancelled = watch.seen.iter().find_map(|seen| seen.canceled.as_deref());
        row(
            out,
            &[
                watch.watcher.to_string(),
                watch.name.clone(),
                streams.to_string(),
                watch.seen.len().to_string(),
                events.to_string(),
                watch.progress_answers().to_string(),
                last.map_or("none".to_owned(), |event| event.kv.mod_revision.to_string()),
                cancelled.unwrap_or("no").to_owned(),
            ],
        )?;
    }
    tail(out, history.watches.len())
}

/// How each member ended; all rows say the same if all is well.
pub(super) fn members(out: &mut String, history: &History) -> fmt::Result {
    head(out, &["member", "revision", "hash", "live keys", "events in its log", "acknowledged"])?;
    for state in history.finals.iter().take(limits::REPORT_ROWS_MAX) {
        let here = history.ops.iter().filter(|op| op.member == state.member);
        row(
            out,
            &[
                state.member.to_string(),
                state.revision.to_string(),
                state.hash.map_or("not offered".to_owned(), |hash| format!("{hash:08x}")),
                state.live.len().to_string(),
                state.log.len().to_string(),
                here.filter(|op| op.reply().is_some()).count().to_string(),
            ],
        )?;
    }
    tail(out, history.finals.len())
}

pub(super) fn head(out: &mut String, names: &[&str]) -> fmt::Result {
    out.push_str("<div class=\"wide\"><table><thead><tr>");
    for name in names {
        write!(out, "<th>{name}</th>")?;
    }
    out.push_str("</tr></thead><tbody>\n");
    Ok(())
}

/// What is longer is a sentence.
const WORD_LETTERS_MAX: usize = 32;

fn row(out: &mut String, cells: &[String]) -> fmt::Result {
    out.push_str("<tr>");
    for cell in cells {
        // Sentences are folded; figures and names stay in one piece.
        let class = if cell.chars().count() > WORD_LETTERS_MAX { " class=\"text\"" } else { "" };
        write!(out, "<td{class}>{}</td>", Text(&words::cut(cell, limits::REPORT_LETTERS_MAX)))?;
    }
    out.push_str("</tr>\n");
    Ok(())
}

/// Ends a table, and says what is not in it.
pub(super) fn tail(out: &mut String, rows: usize) -> fmt::Result {
    out.push_str("</tbody></table></div>\n");
    match rows.checked_sub(limits::REPORT_ROWS_MAX) {
        None | Some(0) => Ok(()),
        Some(more) => writeln!(out, "<p>and {more} more</p>"),
    }
}
