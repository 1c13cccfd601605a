//! The timeline of a run with so many operations that their marks would hide each other: cells that
//! show how many of the operations that ended in them ended well.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use super::axis::{Axis, PLOT};
use super::timeline::{self, LANE, Outcomes};
use crate::history::History;
use crate::limits;
use crate::report::words;

/// Said below the picture.
pub(super) const NOTE: &str = r#"<p class="legend">Too many operations to draw each: a cell is filled
by the shares of what ended in it, acknowledged below, refused above, unknown on top.</p>
"#;

/// Height of a full cell. What occurred at all is at least one high.
const FULL: u64 = LANE as u64 - 2;

/// Writes the cells of the members that are drawn, `lanes` lanes in all.
pub(super) fn write(out: &mut String, history: &History, axis: &Axis, lanes: u32) -> fmt::Result {
    let columns = columns(lanes);
    let mut cells: BTreeMap<(u32, u32), Outcomes> = BTreeMap::new();
    for op in history.ops.iter().filter(|op| op.member < limits::REPORT_MEMBERS_MAX) {
        let place = (timeline::lane(op), timeline::column(axis, op.completed_ns, columns));
        cells.entry(place).or_default().add(history, op);
    }
    let width = f64::from(PLOT) / f64::from(columns);
    for ((lane, column), outcomes) in &cells {
        let x = f64::from(*column) * width;
        let bottom = timeline::top(*lane) + LANE - 1;
        let title = title(history, outcomes);
        let mut below = 0;
        for (class, height) in heights(outcomes.counts()) {
            below += height;
            writeln!(
                out,
                r#"<rect class="{class} many" x="{x:.1}" y="{}" width="{:.1}"
height="{height}"><title>{title}</title></rect>"#,
                u64::from(bottom) - below,
                width - 0.2
            )?;
        }
    }
    Ok(())
}

/// So many that their cells, with all outcomes in each of them, are not too many rectangles.
fn columns(lanes: u32) -> u32 {
    let most = u32::try_from(limits::REPORT_MARKS_MAX).unwrap_or(u32::MAX);
    (most / lanes.max(1) / 3).max(20)
}

/// How high each outcome is drawn; none that occurred is left out, and all together are full.
fn heights(counts: [(&'static str, u64); 3]) -> impl Iterator<Item = (&'static str, u64)> {
    let all: u64 = counts.iter().map(|(_, count)| count).sum();
    let mut heights = counts.map(|(class, count)| match count {
        0 => (class, 0),
        _ => (class, (count * FULL / all).max(1)),
    });
    let drawn: u64 = heights.iter().map(|(_, height)| height).sum();
    // The highest gives or takes what rounding left.
    if let Some((_, highest)) = heights.iter_mut().max_by_key(|(_, height)| *height) {
        *highest = (*highest + FULL).saturating_sub(drawn);
    }
    heights.into_iter().filter(|(_, height)| *height > 0)
}

fn title(history: &History, outcomes: &Outcomes) -> String {
    let counts = outcomes.counts().map(|(class, count)| format!("{count} {class}")).join(", ");
    let slowest = &history.ops[outcomes.slowest];
    let (at, took) = (words::at(slowest.invoked_ns), words::op_took(slowest));
    format!("{counts}; slowest op {} at {at}: {took}", slowest.index)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(ok: u64, refused: u64, unknown: u64) -> Vec<(&'static str, u64)> {
        heights([(timeline::OK, ok), ("refused", refused), ("unknown", unknown)]).collect()
    }

    /// A cell was as orange as if nothing had been acknowledged, for one refusal among hundreds.
    #[test]
    fn one_refusal_among_many_is_seen_and_hides_nothing() {
        assert_eq!(drawn(500, 1, 0), [("ok", 9), ("refused", 1)]);
        assert_eq!(drawn(500, 1, 1), [("ok", 8), ("refused", 1), ("unknown", 1)]);
        assert_eq!(drawn(1, 500, 500), [("ok", 1), ("refused", 4), ("unknown", 5)]);
        assert_eq!(drawn(0, 3, 0), [("refused", 10)]);
        assert_eq!(drawn(7, 0, 0), [("ok", 10)]);
    }
}
