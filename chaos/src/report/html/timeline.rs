//! Every operation by member and kind, over the faults of that member.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use super::axis::{self, Axis, LEFT, PLOT, TOP};
use super::cells;
use super::escape::Text;
use crate::checker::bookkeeping;
use crate::history::{History, Op, Outcome};
use crate::limits;
use crate::report::words;

const KINDS: [&str; 5] = ["put", "delete", "txn", "get", "list"];
/// Height of a kind of operations of one member.
pub(super) const LANE: u32 = 12;
const GAP: u32 = 12;
const MEMBER: u32 = LANE * 5 + GAP;

/// Class of acknowledged operations.
pub(super) const OK: &str = "ok";

/// Class of an outcome, in the page's style; what is worse is drawn later, over the others.
pub(super) fn class(op: &Op) -> &'static str {
    match op.outcome {
        Outcome::Ok(_) => OK,
        Outcome::Refused(_) => "refused",
        Outcome::Unknown(_) => "unknown",
    }
}

/// Where operations lie on each other: worse outcomes last, then the lane, first and last column.
type Place = (&'static str, u32, u32, u32);

/// Operations at one place.
#[derive(Clone, Copy, Debug)]
struct Mark {
    count: u64,
    slowest: usize,
}

/// How operations ended that are drawn as one.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Outcomes {
    ok: u64,
    refused: u64,
    unknown: u64,
    pub(super) slowest: usize,
}

impl Outcomes {
    pub(super) fn add(&mut self, history: &History, op: &Op) {
        let is_first = self.ok + self.refused + self.unknown == 0;
        if is_first || waited_ns(op) > waited_ns(&history.ops[self.slowest]) {
            self.slowest = op.index;
        }
        match op.outcome {
            Outcome::Ok(_) => self.ok += 1,
            Outcome::Refused(_) => self.refused += 1,
            Outcome::Unknown(_) => self.unknown += 1,
        }
    }

    pub(super) fn counts(&self) -> [(&'static str, u64); 3] {
        [(OK, self.ok), ("refused", self.refused), ("unknown", self.unknown)]
    }
}

/// Writes the picture.
pub(super) fn write(out: &mut String, history: &History, axis: &Axis) -> fmt::Result {
    let members =
        history.finals.len().max(history.ops.iter().map(|op| op.member + 1).max().unwrap_or(0));
    let members = u32::try_from(members.min(limits::REPORT_MEMBERS_MAX)).unwrap_or(0);
    let height = (MEMBER * members).max(MEMBER);
    axis::open(out, axis, height, "operations by member and kind")?;
    for member in 0..members {
        let band = (member * MEMBER, MEMBER - GAP);
        axis::bands(out, axis, &history.faults, band, Some(member as usize))?;
    }
    let marks = marks(history, axis);
    match &marks {
        Some(marks) => {
            for (place, mark) in marks {
                draw(out, history, *place, mark)?;
            }
        }
        None => cells::write(out, history, axis, members * KINDS.len() as u32)?,
    }
    next_writes(out, history, axis, height)?;
    axis::close(out, axis, height, &history.faults)?;
    names(out, members)?;
    out.push_str(axis::END);
    if marks.is_none() {
        out.push_str(cells::NOTE);
    }
    Ok(())
}

pub(super) fn lane(op: &Op) -> u32 {
    let kind = KINDS.iter().position(|kind| *kind == op.action.kind()).unwrap_or(0);
    u32::try_from(op.member * KINDS.len() + kind).unwrap_or(u32::MAX)
}

/// Where a lane begins in the plot.
pub(super) fn top(lane: u32) -> u32 {
    let kinds = KINDS.len() as u32;
    lane / kinds * MEMBER + lane % kinds * LANE
}

/// Operations that look the same are one mark. P2: none at all if there are too many of them.
fn marks(history: &History, axis: &Axis) -> Option<BTreeMap<Place, Mark>> {
    let mut marks: BTreeMap<Place, Mark> = BTreeMap::new();
    for op in history.ops.iter().filter(|op| op.member < limits::REPORT_MEMBERS_MAX) {
        let from = column(axis, op.invoked_ns, PLOT);
        let to = column(axis, op.completed_ns, PLOT);
        let mark = marks
            .entry((class(op), lane(op), from, to))
            .or_insert(Mark { count: 0, slowest: op.index });
        mark.count += 1;
        if waited_ns(op) > waited_ns(&history.ops[mark.slowest]) {
            mark.slowest = op.index;
        }
        if marks.len() > limits::REPORT_MARKS_MAX {
            return None;
        }
    }
    Some(marks)
}

/// In which of so many columns a time lies.
pub(super) fn column(axis: &Axis, ns: u64, columns: u32) -> u32 {
    let share = axis.x(ns) / f64::from(PLOT) * f64::from(columns);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "in 0..=columns")]
    let column = share as u32;
    column.min(columns - 1)
}

fn waited_ns(op: &Op) -> u64 {
    op.completed_ns.saturating_sub(op.invoked_ns)
}

fn draw(
    out: &mut String,
    history: &History,
    (class, lane, from, to): Place,
    mark: &Mark,
) -> fmt::Result {
    let width = f64::from(to - from + 1) - 0.2;
    let weight = match mark.count {
        0 | 1 => "",
        2..=4 => " few",
        _ => " many",
    };
    let op = &history.ops[mark.slowest];
    let what = words::cut(&words::action(&op.action), 60);
    let title = if mark.count == 1 {
        let (who, took) = (words::process(op), words::op_took(op));
        format!(
            "op {} of {who} at {}: {what}; {class} in {took}",
            op.index,
            words::at(op.invoked_ns)
        )
    } else {
        let at = words::at(op.invoked_ns);
        format!("{} x {class}; slowest op {} at {at}: {}", mark.count, op.index, words::op_took(op))
    };
    writeln!(
        out,
        r#"<rect class="{class}{weight}" x="{from}" y="{}" width="{width:.1}"
height="{}"><title>{}</title></rect>"#,
        top(lane) + 1,
        LANE - 2,
        Text(&title)
    )
}

/// A line where the first write after a fault was acknowledged.
fn next_writes(out: &mut String, history: &History, axis: &Axis, height: u32) -> fmt::Result {
    for (number, fault) in history.faults.iter().enumerate() {
        let Some(next) = bookkeeping::next_write_ns(history, fault) else { continue };
        let x = axis.x(next);
        writeln!(
            out,
            r#"<line class="next" x1="{x:.1}" y1="0" x2="{x:.1}" y2="{height}">
<title>first write after fault {}, at {}</title></line>"#,
            number + 1,
            words::at(next)
        )?;
    }
    Ok(())
}

fn names(out: &mut String, members: u32) -> fmt::Result {
    for member in 0..members {
        let top = TOP + member * MEMBER;
        writeln!(out, r#"<text class="member" x="2" y="{}">member {member}</text>"#, top + 11)?;
        for (kind, place) in KINDS.iter().zip(0..) {
            let y = top + place * LANE + 10;
            writeln!(out, r#"<text class="kind" x="{}" y="{y}">{kind}</text>"#, LEFT - 6)?;
        }
    }
    Ok(())
}
