//! I2, I4 to I7: what an informer is told is what the store did, in its order.

use std::collections::{BTreeMap, HashMap};

use super::timeline::Timeline;
use crate::checker::Verdict;
use crate::informer::record::{Ask, Change, Exchange, History, InformerLog, Name, Object, What};

/// Checks I2 and I4 to I7.
pub(super) fn check(history: &History, timeline: &Timeline<'_>) -> Verdict {
    let mut verdict = Verdict::new("streams");
    for informer in &history.informers {
        check_backward(informer, &mut verdict);
        let mut judge = Judge { informer, timeline, verdict: &mut verdict, pages: None };
        for exchange in &informer.exchanges {
            match exchange.ask {
                Ask::List { .. } | Ask::Continue => judge.list(exchange),
                Ask::Watch { after } => judge.watch(exchange, 0, after),
                Ask::WatchList => judge.watch_list(exchange),
            }
        }
    }
    verdict
}

/// I2, by what one informer was told alone.
fn check_backward(informer: &InformerLog, verdict: &mut Verdict) {
    let mut highest = 0;
    let mut last: HashMap<&Name, i64> = HashMap::new();
    for exchange in &informer.exchanges {
        // Behind a balancer, a list of any version may be of a server that is behind.
        let is_free = informer.server.is_none()
            && matches!(exchange.ask, Ask::List { is_consistent: false } | Ask::WatchList);
        if is_free {
            highest = 0;
            last.clear();
        }
        for told in &exchange.told {
            verdict.checked += 1;
            let fail = |verdict: &mut Verdict, what: String| {
                verdict.fail("I2", Vec::new(), format!("{}: {what}", informer.name));
            };
            match &told.what {
                What::Page { revision, items, .. } => {
                    if *revision < highest {
                        fail(verdict, format!("a list at {revision} after {highest}"));
                    }
                    highest = highest.max(*revision);
                    for object in items {
                        check_object(object, &mut last, |what| fail(verdict, what));
                    }
                }
                What::Event { object, .. } => {
                    highest = highest.max(object.revision);
                    check_object(object, &mut last, |what| fail(verdict, what));
                }
                What::Bookmark { revision, .. } => highest = highest.max(*revision),
                What::Failed { .. } => {}
            }
        }
    }
}

fn check_object<'a>(
    object: &'a Object,
    last: &mut HashMap<&'a Name, i64>,
    fail: impl FnOnce(String),
) {
    let known = last.entry(&object.name).or_insert(0);
    if object.revision < *known {
        fail(format!("{:?} at {} after {known}", object.name, object.revision));
    }
    *known = object.revision;
}

struct Judge<'a, 'v> {
    informer: &'a InformerLog,
    timeline: &'a Timeline<'a>,
    verdict: &'v mut Verdict,
    /// Of a list that has more pages: its revision and what came so far.
    pages: Option<(i64, BTreeMap<&'a Name, &'a Object>)>,
}

impl<'a> Judge<'a, '_> {
    fn fail(&mut self, rule: &'static str, exchange: &Exchange, text: &str) {
        let at = exchange.asked_ns / 1_000_000;
        let text =
            format!("{}: asked at {at} ms for {:?}: {text}", self.informer.name, exchange.ask);
        self.verdict.fail(rule, Vec::new(), text);
    }

    fn list(&mut self, exchange: &'a Exchange) {
        let before = match exchange.ask {
            Ask::Continue => self.pages.take(),
            Ask::List { .. } | Ask::Watch { .. } | Ask::WatchList => None,
        };
        for told in &exchange.told {
            let What::Page { revision, has_more, items } = &told.what else { continue };
            self.verdict.checked += 1;
            let (first, mut all) = before.clone().unwrap_or((*revision, BTreeMap::new()));
            if first != *revision {
                let text = format!("a page of {revision} in a list of {first}");
                self.fail("I7", exchange, &text);
            }
            for object in items {
                self.check_life(exchange, object, *revision);
                if all.insert(&object.name, object).is_some() {
                    let text = format!("{:?} is there twice", object.name);
                    self.fail("I7", exchange, &text);
                }
            }
            if *has_more {
                self.pages = Some((first, all));
            } else {
                self.check_state(exchange, first, &all);
            }
        }
    }

    /// The whole of a list is the state at its revision.
    fn check_state(
        &mut self,
        exchange: &Exchange,
        revision: i64,
        all: &BTreeMap<&'a Name, &'a Object>,
    ) {
        if revision < self.timeline.base_revision {
            return;
        }
        let wanted = self.timeline.state_at(&self.informer.scope, revision);
        self.verdict.checked += 1;
        let names = all.keys().chain(wanted.keys().filter(|name| !all.contains_key(*name)));
        let differ = names.filter(|name| all.get(*name) != wanted.get(*name));
        let differ: Vec<String> =
            differ.map(|name| format!("{:?}, not {:?}", all.get(name), wanted.get(name))).collect();
        if !differ.is_empty() {
            let text = format!("the list at {revision} is not the state: {}", differ.join("; "));
            self.fail("I7", exchange, &text);
        }
    }

    /// I4: nothing is shown at or after the revision that ended its life.
    fn check_life(&mut self, exchange: &Exchange, object: &Object, revision: i64) {
        if let Some(ended) = self.timeline.deleted_at(&object.uid)
            && revision >= ended
        {
            let text = format!("{object:?} at {revision}, which was deleted at {ended}");
            self.fail("I4", exchange, &text);
        }
    }

    /// The events from one on are the changes after a revision.
    fn watch(&mut self, exchange: &'a Exchange, from: usize, after: i64) {
        if after < self.timeline.base_revision {
            return;
        }
        let (informer, timeline) = (self.informer, self.timeline);
        let mut wanted = timeline.told_after(&informer.scope, after).peekable();
        let mut highest = after;
        for told in exchange.told.iter().skip(from) {
            self.verdict.checked += 1;
            match &told.what {
                What::Event { change, object } => {
                    if *change != Change::Deleted {
                        self.check_life(exchange, object, object.revision);
                    }
                    let should = wanted.next();
                    if should.as_ref() != Some(&(*change, object.clone())) {
                        let text = format!("told {change:?} {object:?}, not {should:?}");
                        self.fail("I6", exchange, &text);
                        return;
                    }
                    if object.revision <= highest {
                        let text = format!("an event of {} after {highest}", object.revision);
                        self.fail("I5", exchange, &text);
                    }
                    highest = object.revision;
                }
                What::Bookmark { revision, .. } => {
                    let missing = wanted.peek().filter(|(_, next)| next.revision <= *revision);
                    if let Some(missing) = missing {
                        let text = format!("a bookmark of {revision} ahead of {missing:?}");
                        self.fail("I5", exchange, &text);
                    }
                    if *revision < highest {
                        let text = format!("a bookmark of {revision} after {highest}");
                        self.fail("I5", exchange, &text);
                    }
                    highest = highest.max(*revision);
                }
                What::Failed { .. } | What::Page { .. } => {}
            }
        }
    }

    /// The objects until the marked bookmark are the state at it; then it is a watch.
    fn watch_list(&mut self, exchange: &'a Exchange) {
        let mut all: BTreeMap<&Name, &Object> = BTreeMap::new();
        for (index, told) in exchange.told.iter().enumerate() {
            match &told.what {
                What::Event { change: Change::Deleted, object } => {
                    all.remove(&object.name);
                }
                What::Event { change: Change::Added | Change::Modified, object } => {
                    all.insert(&object.name, object);
                }
                What::Bookmark { revision, ends_list: true } => {
                    self.check_state(exchange, *revision, &all);
                    self.watch(exchange, index + 1, *revision);
                    return;
                }
                What::Bookmark { ends_list: false, .. }
                | What::Failed { .. }
                | What::Page { .. } => {}
            }
        }
    }
}
