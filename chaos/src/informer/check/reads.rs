//! I8: a consistent read shows all that was acknowledged before it was asked.

use super::timeline::Timeline;
use crate::checker::Verdict;
use crate::informer::record::{Ask, Call, History, Outcome, Verb, What};

/// Checks I8.
pub(super) fn check(history: &History, timeline: &Timeline<'_>) -> Verdict {
    let mut verdict = Verdict::new("reads");
    let floors = Floors::of(history, timeline);
    for call in history.calls.iter().filter(|call| call.verb == Verb::Get) {
        check_get(call, timeline, floors.at(call.invoked_ns), &mut verdict);
    }
    for informer in &history.informers {
        for exchange in &informer.exchanges {
            if exchange.ask != (Ask::List { is_consistent: true }) {
                continue;
            }
            for told in &exchange.told {
                let What::Page { revision, .. } = &told.what else { continue };
                verdict.checked += 1;
                let (floor, index) = floors.at(exchange.asked_ns);
                if *revision < floor {
                    let text = format!(
                        "{} asked for a list and was told that of {revision}; {floor} was \
                         acknowledged before",
                        informer.name
                    );
                    verdict.fail("I8", vec![index], text);
                }
            }
        }
    }
    verdict
}

fn check_get(
    call: &Call,
    timeline: &Timeline<'_>,
    (floor, index): (i64, usize),
    verdict: &mut Verdict,
) {
    let floor = floor.max(timeline.base_revision);
    let later = timeline.changes_after(&call.name, floor);
    let at_floor = timeline.object_at(&call.name, floor);
    let is_right = match &call.outcome {
        Outcome::Ok(Some(object)) => {
            at_floor == Some(object) || later.iter().any(|(_, version)| *version == Some(object))
        }
        Outcome::Refused(404, _) => {
            at_floor.is_none() || later.iter().any(|(_, version)| version.is_none())
        }
        Outcome::Ok(None) | Outcome::Refused(..) | Outcome::Unknown(_) => return,
    };
    verdict.checked += 1;
    if !is_right {
        let text = format!(
            "{:?} was read as {:?}; at {floor}, acknowledged before, it was {at_floor:?}",
            call.name, call.outcome
        );
        verdict.fail("I8", vec![index, call.index], text);
    }
}

/// The highest revision that was acknowledged before a time, and by which call.
struct Floors {
    /// Times with the highest revision up to each.
    highest: Vec<(u64, i64, usize)>,
}

impl Floors {
    fn of(history: &History, timeline: &Timeline<'_>) -> Self {
        let revision_of = |call: &Call| match &call.outcome {
            Outcome::Ok(Some(object)) => Some(object.revision),
            Outcome::Ok(None) => call.uid.as_deref().and_then(|uid| timeline.deleted_at(uid)),
            Outcome::Refused(..) | Outcome::Unknown(_) => None,
        };
        let known = history.calls.iter();
        let mut highest: Vec<(u64, i64, usize)> = known
            .filter_map(|call| Some((call.completed_ns, revision_of(call)?, call.index)))
            .collect();
        highest.sort_unstable();
        for at in 1..highest.len() {
            let (_, revision, index) = highest[at - 1];
            if highest[at].1 < revision {
                (highest[at].1, highest[at].2) = (revision, index);
            }
        }
        Self { highest }
    }

    fn at(&self, time_ns: u64) -> (i64, usize) {
        let before = self.highest.partition_point(|(completed_ns, ..)| *completed_ns < time_ns);
        let known = before.checked_sub(1).and_then(|last| self.highest.get(last));
        known.map_or((0, 0), |(_, revision, index)| (*revision, *index))
    }
}
