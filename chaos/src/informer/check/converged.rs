//! I1: at the end all agree.

use std::collections::BTreeMap;

use super::timeline::Timeline;
use crate::checker::Verdict;
use crate::informer::object::Kind;
use crate::informer::record::{History, Name, Scope};

/// Checks I1.
pub(super) fn check(history: &History, timeline: &Timeline<'_>) -> Verdict {
    let mut verdict = Verdict::new("converged");
    let mut everything = BTreeMap::new();
    for kind in Kind::ALL {
        everything.extend(wanted(timeline, &Scope { kind, namespace: None, group: None }));
    }
    compare(&mut verdict, "the store", &history.finals.store, &everything);
    for (server, list) in history.finals.servers.iter().enumerate() {
        compare(&mut verdict, &format!("the list of API server {server}"), list, &everything);
    }
    for informer in &history.informers {
        let wanted = wanted(timeline, &informer.scope);
        let what = format!("the cache of \"{}\"", informer.name);
        compare(&mut verdict, &what, &informer.cache, &wanted);
    }
    verdict
}

fn wanted(timeline: &Timeline<'_>, scope: &Scope) -> BTreeMap<Name, i64> {
    let state = timeline.state_at(scope, i64::MAX);
    state.into_iter().map(|(name, object)| (name.clone(), object.revision)).collect()
}

fn compare(
    verdict: &mut Verdict,
    what: &str,
    found: &BTreeMap<Name, i64>,
    wanted: &BTreeMap<Name, i64>,
) {
    verdict.checked += 1;
    let names = found.keys().chain(wanted.keys().filter(|name| !found.contains_key(name)));
    for name in names {
        verdict.checked += 1;
        let (is, should) = (found.get(name), wanted.get(name));
        if is != should {
            let text = format!("{what} has {name:?} at {is:?}, the log leads to {should:?}");
            verdict.fail("I1", Vec::new(), text);
        }
    }
}
