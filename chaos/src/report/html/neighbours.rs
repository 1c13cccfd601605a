//! The shortest counter-example, and what else was going on with its keys.

use std::collections::BTreeSet;
use std::fmt::{self, Write as _};

use super::axis::{self, Axis, LEFT, TOP};
use super::escape::Text;
use super::{timeline, verdicts};
use crate::checker::{Verdict, Violation, shortest_counter_example};
use crate::history::{Action, History, Op, Step};
use crate::limits;
use crate::report::words;

const ROW: u32 = 24;

/// Nothing when there is no counter-example.
pub(super) fn write(out: &mut String, history: &History, verdicts: &[Verdict]) -> fmt::Result {
    let Some((checker, violation)) = shortest_counter_example(verdicts) else { return Ok(()) };
    writeln!(out, "<section><h2>Shortest counter-example <small>{checker}</small></h2>")?;
    verdicts::sentence(out, violation)?;
    let involved = involved(history, violation);
    let named: Vec<&Op> = involved.iter().map(|index| &history.ops[*index]).collect();
    verdicts::operations(out, &named)?;
    if named.is_empty() {
        out.push_str("<p>It names no operation.</p></section>\n");
        return Ok(());
    }
    let steps = named.iter().flat_map(|op| steps(op));
    let keys: BTreeSet<Keys<'_>> = steps.map(Keys::of).collect();
    let around = around(history, &involved, &keys);
    let listed: Vec<String> = keys.iter().map(Keys::name).collect();
    writeln!(
        out,
        "<h3>Operations on {} around it, by the time when they were sent</h3>",
        Text(&words::cut(&listed.join(", "), limits::REPORT_LETTERS_MAX))
    )?;
    picture(out, history, &involved, &around)?;
    out.push_str("</section>\n");
    Ok(())
}

/// The operations that a violation is about. One that has none still quotes values, and a value
/// names its writer (H3).
fn involved(history: &History, violation: &Violation) -> BTreeSet<usize> {
    if !violation.ops.is_empty() {
        return violation.ops.iter().copied().filter(|op| *op < history.ops.len()).collect();
    }
    let quoted = |op: &&Op| {
        let mut values = steps(op).filter_map(|step| step.put().map(|(_, value, _)| value));
        values.any(|value| violation.text.contains(&format!("{value:?}")))
    };
    history.ops.iter().filter(quoted).map(|op| op.index).take(4).collect()
}

fn steps(op: &Op) -> impl Iterator<Item = &Step> {
    let otherwise: &[Step] = match &op.action {
        Action::Txn { otherwise, .. } => otherwise.as_slice(),
        _ => &[],
    };
    op.action.steps(true).iter().chain(otherwise)
}

/// The keys of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Keys<'a> {
    One(&'a str),
    Under(&'a str),
}

impl<'a> Keys<'a> {
    fn of(step: &'a Step) -> Self {
        match step {
            Step::Put { key, .. }
            | Step::PutLeased { key, .. }
            | Step::Delete { key }
            | Step::Get { key } => Self::One(key),
            Step::List { prefix } => Self::Under(prefix),
        }
    }

    fn name(&self) -> String {
        match self {
            Self::One(key) => words::cut(key, 60),
            Self::Under(prefix) => format!("{}*", words::cut(prefix, 60)),
        }
    }

    fn meet(self, other: Self) -> bool {
        match (self, other) {
            (Self::One(left), Self::One(right)) => left == right,
            (Self::One(key), Self::Under(prefix)) | (Self::Under(prefix), Self::One(key)) => {
                key.starts_with(prefix)
            }
            (Self::Under(left), Self::Under(right)) => {
                left.starts_with(right) || right.starts_with(left)
            }
        }
    }
}

fn touches(op: &Op, keys: &BTreeSet<Keys<'_>>) -> bool {
    steps(op).any(|step| keys.iter().any(|key| key.meet(Keys::of(step))))
}

/// The operations themselves, and of those that touch their keys the ones sent nearest to them.
fn around<'a>(
    history: &'a History,
    involved: &BTreeSet<usize>,
    keys: &BTreeSet<Keys<'_>>,
) -> Vec<&'a Op> {
    let mut shown: BTreeSet<usize> =
        involved.iter().copied().take(limits::REPORT_NEIGHBOURS_MAX).collect();
    let each = (limits::REPORT_NEIGHBOURS_MAX - shown.len()) / shown.len().max(1);
    for center in shown.clone() {
        let sent_ns = history.ops[center].invoked_ns;
        let mut near: Vec<(u64, usize)> = history
            .ops
            .iter()
            .filter(|op| !involved.contains(&op.index) && touches(op, keys))
            .map(|op| (op.invoked_ns.abs_diff(sent_ns), op.index))
            .collect();
        near.sort_unstable();
        shown.extend(near.into_iter().take(each).map(|(_, index)| index));
    }
    let mut shown: Vec<&Op> = shown.into_iter().map(|index| &history.ops[index]).collect();
    shown.sort_by_key(|op| op.invoked_ns);
    shown
}

/// A row for each operation: a bar from sending to answer, and what it was beside it.
fn picture(
    out: &mut String,
    history: &History,
    involved: &BTreeSet<usize>,
    around: &[&Op],
) -> fmt::Result {
    let axis = window(involved, around);
    let height = ROW * u32::try_from(around.len()).unwrap_or(0);
    axis::open(out, &axis, height, "operations around the counter-example")?;
    axis::bands(out, &axis, &history.faults, (0, height), None)?;
    for (op, place) in around.iter().zip(0..) {
        let (x, end) = (axis.x(op.invoked_ns), axis.x(op.completed_ns));
        let strong = if involved.contains(&op.index) { " involved" } else { "" };
        writeln!(
            out,
            r#"<rect class="{}{strong}" x="{x:.1}" y="{}" width="{:.1}" height="6"/>"#,
            timeline::class(op),
            place * ROW + ROW - 8,
            (end - x).max(2.0)
        )?;
    }
    axis::close(out, &axis, height, &history.faults)?;
    for (op, place) in around.iter().zip(0..) {
        let strong = if involved.contains(&op.index) { " involved" } else { "" };
        let y = TOP + place * ROW + 12;
        let (asked, answer) = (words::action(&op.action), words::outcome(op));
        let (who, took) = (words::process(op), words::op_took(op));
        let row = format!("{}  ⇒  {}", words::cut(&asked, 90), words::cut(&answer, 90));
        writeln!(
            out,
            r#"<text class="kind{strong}" x="{}" y="{y}">op {} → {}</text>
<text class="row{strong}" x="{}" y="{y}">{}<title>{}</title></text>"#,
            LEFT - 6,
            op.index,
            op.member,
            LEFT + 4,
            Text(&row),
            Text(&format!("{who}, {took}"))
        )?;
    }
    out.push_str(axis::END);
    Ok(())
}

/// From the first one's start to the last one's end, but no wait of a neighbour may press all the
/// others into a corner.
fn window(involved: &BTreeSet<usize>, around: &[&Op]) -> Axis {
    let from_ns = around.iter().map(|op| op.invoked_ns).min().unwrap_or(0);
    let last_sent = around.iter().map(|op| op.invoked_ns).max().unwrap_or(0);
    let answered = around
        .iter()
        .filter(|op| involved.contains(&op.index) && op.completed_ns != u64::MAX)
        .map(|op| op.completed_ns)
        .max();
    let to_ns = last_sent.max(answered.unwrap_or(0)).max(from_ns + 1);
    Axis { from_ns, to_ns: to_ns + (to_ns - from_ns) / 20 }
}
