//! Time from left to right, and what is common to all pictures that have it.

use std::fmt::{self, Write as _};

use super::escape::Text;
use crate::history::{Fault, History};
use crate::report::words;

/// Width of a picture; the page scales it.
pub(super) const WIDTH: u32 = 1200;
/// Where the plot begins: names are left of it.
pub(super) const LEFT: u32 = 110;
/// Width of the plot.
pub(super) const PLOT: u32 = 1080;
/// Room above a plot for the numbers of the faults.
pub(super) const TOP: u32 = 18;
/// Room below a plot for the times.
pub(super) const BOTTOM: u32 = 18;

/// The end of a picture.
pub(super) const END: &str = "</svg>\n";

/// A span of time that fills a plot.
#[derive(Clone, Copy, Debug)]
pub(super) struct Axis {
    pub(super) from_ns: u64,
    pub(super) to_ns: u64,
}

impl Axis {
    /// The whole run.
    pub(super) fn of(history: &History) -> Self {
        let ops = history.ops.iter().flat_map(|op| [op.invoked_ns, op.completed_ns]);
        let faults = history
            .faults
            .iter()
            .flat_map(|fault| [fault.healed_ns, fault.recovered_ns.unwrap_or(0)]);
        let end = ops.chain(faults).filter(|ns| *ns != u64::MAX).max();
        Self { from_ns: 0, to_ns: end.unwrap_or(0).max(1) }
    }

    pub(super) fn span_ns(&self) -> u64 {
        self.to_ns.saturating_sub(self.from_ns).max(1)
    }

    /// Place in the plot; what is outside sticks to the edge.
    #[expect(clippy::cast_precision_loss, reason = "a place in a picture")]
    pub(super) fn x(&self, ns: u64) -> f64 {
        let since = ns.clamp(self.from_ns, self.to_ns) - self.from_ns;
        f64::from(PLOT) * since as f64 / self.span_ns() as f64
    }

    /// Length between two of the times below a plot: 1, 2 or 5 times a power of ten.
    fn step_ns(&self) -> u64 {
        let mut step = 1;
        while self.span_ns() / step > 10 {
            step = if step.to_string().starts_with('2') { step / 2 * 5 } else { step * 2 };
        }
        step
    }

    fn ticks(&self) -> Vec<u64> {
        let step = self.step_ns();
        let first = self.from_ns.next_multiple_of(step);
        (0..=11).map(|n| first + n * step).take_while(|ns| *ns <= self.to_ns).collect()
    }

    /// With as many digits as the steps have.
    #[expect(clippy::cast_precision_loss, reason = "for people, not for comparing")]
    fn tick_name(&self, ns: u64) -> String {
        let power = self.step_ns().ilog10();
        if power >= 6 {
            format!("{:.*} s", 9_usize.saturating_sub(power as usize), ns as f64 / 1e9)
        } else {
            format!("{:.*} ms", 6_usize.saturating_sub(power as usize), ns as f64 / 1e6)
        }
    }
}

/// Begins a picture and its plot, with the faults behind. Shapes of the plot come next, then
/// [`close`]. What is in the plot can be zoomed by the page's script.
pub(super) fn open(out: &mut String, axis: &Axis, height: u32, name: &str) -> fmt::Result {
    writeln!(
        out,
        r#"<svg class="time" viewBox="0 0 {WIDTH} {}" role="img"
aria-label="{}" data-from="{}" data-to="{}">"#,
        TOP + height + BOTTOM,
        Text(name),
        axis.from_ns,
        axis.to_ns
    )?;
    writeln!(
        out,
        r#"<rect class="plot" x="{LEFT}" y="{TOP}" width="{PLOT}" height="{height}"/>
<svg class="zoom" x="{LEFT}" y="{TOP}" width="{PLOT}" height="{height}"
viewBox="0 0 {PLOT} {height}" preserveAspectRatio="none">"#
    )
}

/// Ends the plot, writes times and the faults' numbers around it. Names may follow, then [`END`].
pub(super) fn close(out: &mut String, axis: &Axis, height: u32, faults: &[Fault]) -> fmt::Result {
    out.push_str("</svg><g class=\"ticks\">");
    let bottom = TOP + height;
    for ns in axis.ticks() {
        let x = f64::from(LEFT) + axis.x(ns);
        write!(
            out,
            r#"<line x1="{x:.1}" y1="{bottom}" x2="{x:.1}" y2="{}"/>
<text x="{x:.1}" y="{}">{}</text>"#,
            bottom + 4,
            bottom + 15,
            axis.tick_name(ns)
        )?;
    }
    out.push_str("</g><g class=\"marks\">");
    for (number, fault) in within(axis, faults) {
        write!(
            out,
            r#"<text x="{:.1}" y="13" data-ns="{}">{}<title>{}</title></text>"#,
            f64::from(LEFT) + axis.x(fault.injected_ns.max(axis.from_ns)),
            fault.injected_ns,
            number + 1,
            Text(&sentence(fault))
        )?;
    }
    out.push_str("</g>\n");
    Ok(())
}

/// The faults as bands over a part of a plot: dark while they hold, lighter until the members
/// serve again.
pub(super) fn bands(
    out: &mut String,
    axis: &Axis,
    faults: &[Fault],
    (top, height): (u32, u32),
    member: Option<usize>,
) -> fmt::Result {
    let meant: Vec<&Fault> = within(axis, faults)
        .map(|(_, fault)| fault)
        .filter(|fault| member.is_none_or(|member| fault.members.contains(&member)))
        .collect();
    let rows = rows(&meant);
    let count = rows.iter().max().map_or(1, |last| last + 1);
    let share = f64::from(height) / f64::from(count);
    for (fault, row) in meant.into_iter().zip(rows) {
        let back = fault.recovered_ns.unwrap_or(axis.to_ns);
        let y = f64::from(top) + share * f64::from(row);
        for (class, from, to) in
            [("held", fault.injected_ns, fault.healed_ns), ("healing", fault.healed_ns, back)]
        {
            let (x, width) = (axis.x(from), axis.x(to) - axis.x(from));
            let title = sentence(fault);
            writeln!(
                out,
                r#"<rect class="{class}" x="{x:.1}" y="{y:.1}" width="{width:.1}"
height="{share:.1}"><title>{}</title></rect>"#,
                Text(&title)
            )?;
        }
    }
    Ok(())
}

/// Faults that overlap lie side by side: the first row that is free, for each.
fn rows(faults: &[&Fault]) -> Vec<u32> {
    let mut free_at: Vec<u64> = Vec::new();
    let mut rows = Vec::new();
    for fault in faults {
        let end = fault.recovered_ns.unwrap_or(u64::MAX);
        let row = free_at.iter().position(|at| *at <= fault.injected_ns).unwrap_or(free_at.len());
        match free_at.get_mut(row) {
            Some(at) => *at = end,
            None => free_at.push(end),
        }
        rows.push(u32::try_from(row).unwrap_or(u32::MAX));
    }
    rows
}

fn within<'a>(
    axis: &Axis,
    faults: &'a [Fault],
) -> impl Iterator<Item = (usize, &'a Fault)> + use<'a> {
    let Axis { from_ns, to_ns } = *axis;
    faults.iter().enumerate().filter(move |(_, fault)| {
        let end = fault.recovered_ns.unwrap_or(u64::MAX);
        fault.injected_ns <= to_ns && end >= from_ns
    })
}

fn sentence(fault: &Fault) -> String {
    let back = fault.recovered_ns.map_or_else(|| "never".to_owned(), words::at);
    let proof = words::cut(&fault.proof, crate::limits::REPORT_LETTERS_MAX);
    let proof = if proof.is_empty() { proof } else { format!("; {proof}") };
    format!(
        "{} {:?}: injected at {}, healed at {}, serving again at {back}{proof}",
        fault.name,
        fault.members,
        words::at(fault.injected_ns),
        words::at(fault.healed_ns)
    )
}
