//! Lists page by page, and the past that compaction takes away.
//!
//! | Rule | What always holds |
//! |------|-------------------|
//! | P1 | A page has exactly the keys that there were at its revision, in order, up to its limit; so the |
//! |    | pages of a list are together the state at one revision. |
//! | P2 | A page says truly whether there is more, and how many keys there are from its first one on. |
//! | P3 | A page is refused as compacted only if somebody asked to compact what it needs. |
//! | P4 | What was compacted before it was asked for is refused. |
//! | P5 | A compaction is refused only if it is not ahead of another one, or ahead of the store. |

use super::floor::Floor;
use super::{Verdict, by_revision};
use crate::history::{Action, History, KeyValue, Op, Outcome, Page, StepReply};
use crate::model::kv::Store;

/// Checks P1 to P5.
pub fn check(history: &History) -> Verdict {
    let mut verdict = Verdict::new("lists");
    check_refusals(history, &mut verdict);
    let mut pages = pages(history);
    pages.sort_by_key(|(revision, ..)| *revision);
    let mut pages = pages.into_iter().peekable();
    let mut store = Store::at(history.base_revision);
    for (revision, events) in by_revision(history.log()) {
        while let Some((_, page, op)) = pages.next_if(|(at, ..)| *at < revision) {
            judge(&store, page, op, &mut verdict);
        }
        store.apply(revision, events);
    }
    for (_, page, op) in pages {
        judge(&store, page, op, &mut verdict);
    }
    verdict
}

/// All answered pages, by the revision that they show.
fn pages(history: &History) -> Vec<(i64, &Page, &Op)> {
    let mut pages = Vec::new();
    for op in &history.ops {
        if let (Action::Page(page), Some(reply)) = (&op.action, op.reply()) {
            let shown = if page.revision > 0 { page.revision } else { reply.revision };
            pages.push((shown, page, op));
        }
    }
    pages
}

fn judge(store: &Store, page: &Page, op: &Op, verdict: &mut Verdict) {
    verdict.checked += 1;
    let answer = op.reply().and_then(|reply| reply.steps.first());
    let Some(StepReply::Page { found, more, count }) = answer else {
        verdict.fail("P1", vec![op.index], "the answer is no page".to_owned());
        return;
    };
    let all: Vec<&KeyValue> = store.under(&page.prefix, &page.after).collect();
    let limit = usize::try_from(page.limit).ok().filter(|limit| *limit > 0).unwrap_or(all.len());
    let expected = &all[..limit.min(all.len())];
    if !found.iter().eq(expected.iter().copied()) {
        let wrong = found.iter().zip(expected).position(|(left, right)| left != *right);
        let place = wrong.unwrap_or(found.len().min(expected.len()));
        let text = format!(
            "at revision {} there are {} keys, not {}; the first difference is {:?} instead of {:?}",
            store.revision,
            expected.len(),
            found.len(),
            found.get(place),
            expected.get(place)
        );
        verdict.fail("P1", vec![op.index], text);
    }
    let behind = all.len() > limit;
    if *more != behind || usize::try_from(*count) != Ok(all.len()) {
        let text = format!(
            "says {count} keys and more: {more}, where there are {} and more: {behind}",
            all.len()
        );
        verdict.fail("P2", vec![op.index], text);
    }
}

fn check_refusals(history: &History, verdict: &mut Verdict) {
    let floor = Floor::of(history);
    let compactions: Vec<(i64, &Op)> = compactions(history).collect();
    for op in &history.ops {
        let why = match &op.outcome {
            Outcome::Refused(why) => why.as_str(),
            Outcome::Ok(_) | Outcome::Unknown(_) => "",
        };
        let needs = match &op.action {
            Action::Page(page) if page.revision > 0 => page.revision,
            Action::Compact { revision } => *revision,
            _ => continue,
        };
        let is_page = matches!(op.action, Action::Page(_));
        if why.contains("compacted") {
            verdict.checked += 1;
            let least = if is_page { needs + 1 } else { needs };
            // Before the first compaction nothing but revision 0 and below is.
            if least > 0
                && !compactions
                    .iter()
                    .any(|(at, by)| *at >= least && by.invoked_ns < op.completed_ns)
            {
                let rule = if is_page { "P3" } else { "P5" };
                let text = format!("{needs} is refused as compacted, which nobody asked for");
                verdict.fail(rule, vec![op.index], text);
            }
        } else if why.contains("future revision") {
            verdict.checked += 1;
            let (known, source) = floor.before(op.invoked_ns);
            if needs <= known {
                let ops = source.op().into_iter().chain([op.index]).collect();
                let text = format!("{needs} is refused as future, but {known} was known");
                verdict.fail("P5", ops, text);
            }
        } else if is_page && op.reply().is_some() {
            let before = compactions.iter().find(|(at, by)| {
                *at > needs && by.reply().is_some() && by.completed_ns < op.invoked_ns
            });
            if let Some((at, by)) = before {
                let text = format!("shows revision {needs}, though {at} was compacted before");
                verdict.fail("P4", vec![by.index, op.index], text);
            }
        }
    }
}

/// All compactions that happened or may have, and their revisions.
fn compactions(history: &History) -> impl Iterator<Item = (i64, &Op)> {
    history.ops.iter().filter_map(|op| match (&op.action, &op.outcome) {
        (Action::Compact { revision }, Outcome::Ok(_) | Outcome::Unknown(_)) => {
            Some((*revision, op))
        }
        _ => None,
    })
}
