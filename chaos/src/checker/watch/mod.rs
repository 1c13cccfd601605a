//! The promises of a watch, in etcd's words.
//!
//! | Rule | What always holds |
//! |------|-------------------|
//! | W1 | Ordered: revisions never go down, over all streams of a watcher. |
//! | W2 | Unique: no event is delivered twice. |
//! | W3 | Atomic: all events of a revision arrive in one response, or in one that is cut in pieces for a |
//! |    | watcher who asked for pieces. |
//! | W4 | Reliable: no event that is wanted is missing between the first revision and the end. |
//! | W5 | Resumable: a stream begins with the first wanted event at or above the revision that it was |
//! |    | asked for; from now on means above the revision at which it was created. |
//! | W6 | Bookmarkable: a response at revision N comes after every wanted event up to N, and none |
//! |    | speaks of progress before the revision that it was asked for. |
//! | W7 | Filtered: no event is delivered that is not wanted. |
//! | W8 | What an event says, its previous value included, is true and the same on every member. Only |
//! |    | what is compacted may be missing as a previous value. |
//! | W9 | A watch is cancelled only because what it needs next is compacted, and by a compaction that |
//! |    | somebody asked for. |

mod cancelled;

use cancelled::Compactions;

use super::{Verdict, by_revision};
use crate::history::{Asked, Event, History, WatchLog, WatchSeen};
use crate::model::kv::Store;

/// Checks all watchers against the first member's log, and that log against the model.
pub fn check(history: &History) -> Verdict {
    let mut verdict = Verdict::new("watch");
    let mut store = Store::at(history.base_revision);
    for (revision, events) in by_revision(history.log()) {
        for event in events {
            verdict.checked += 1;
            let expected = store.expect_event(revision, event);
            if *event != expected {
                verdict.fail("W8", Vec::new(), format!("the log has {event:?}, not {expected:?}"));
            }
        }
        store.apply(revision, events);
    }
    let compactions = Compactions::of(history);
    for watch in &history.watches {
        let mut follower = Follower::new(&watch.asked, history.log(), &compactions);
        check_watcher(watch, &mut follower, &mut verdict);
    }
    verdict
}

/// After its first wrong event a watcher is out of step: one finding for each watcher is enough.
fn check_watcher(watch: &WatchLog, follower: &mut Follower<'_>, verdict: &mut Verdict) {
    for seen in &watch.seen {
        verdict.checked += 1;
        if let Err((rule, text)) = follower.take(seen) {
            verdict.fail(rule, Vec::new(), format!("{}: {text}", describe(watch, seen)));
            return;
        }
    }
    if watch.ended {
        return;
    }
    verdict.checked += 1;
    if let Some(missing) = follower.next_wanted() {
        let name = &watch.name;
        verdict.fail("W4", Vec::new(), format!("{name}: was never told {missing:?}"));
    }
}

fn describe(watch: &WatchLog, seen: &WatchSeen) -> String {
    format!(
        "watcher {} ({}), stream {} from revision {} on member {}",
        watch.watcher, watch.name, seen.stream, seen.start_revision, seen.member
    )
}

type Broken = (&'static str, String);

/// A watcher's way through the log.
struct Follower<'a> {
    asked: &'a Asked,
    log: &'a [Event],
    compactions: &'a Compactions,
    /// The place of the first event that it was not told, wanted or not; `None` while nobody said
    /// where its watch from now on begins.
    next: Option<usize>,
    /// The last event that it was told.
    last: Option<&'a Event>,
    /// The stream that runs, and whether it has told an event.
    stream: usize,
    began: bool,
    /// Whether the last response goes on with the next one.
    open: bool,
    /// No event that it is told is at this revision or below.
    above: i64,
}

impl<'a> Follower<'a> {
    fn new(asked: &'a Asked, log: &'a [Event], compactions: &'a Compactions) -> Self {
        let mut follower = Self {
            asked,
            log,
            compactions,
            next: None,
            last: None,
            stream: 0,
            began: false,
            open: false,
            above: asked.start_revision - 1,
        };
        if asked.start_revision > 0 {
            follower.next = Some(follower.place(asked.start_revision));
        }
        follower
    }

    /// The place of the first event at or above a revision.
    fn place(&self, revision: i64) -> usize {
        self.log.partition_point(|event| event.kv.mod_revision < revision)
    }

    fn next_wanted(&self) -> Option<&'a Event> {
        self.log[self.next?..].iter().find(|event| self.asked.wants(event))
    }

    fn take(&mut self, seen: &WatchSeen) -> Result<(), Broken> {
        if seen.stream != self.stream {
            // A response of which a piece was lost with its stream is told again from its beginning.
            if self.open {
                self.next = Some(self.place(seen.start_revision));
            }
            (self.stream, self.began, self.open) = (seen.stream, false, false);
            self.above = self.above.max(seen.start_revision - 1);
        }
        if let Some(reason) = &seen.canceled {
            let needs = self.needs();
            return self.compactions.explain(needs, seen, reason).map_err(|text| ("W9", text));
        }
        if seen.created && self.next.is_none() {
            self.next = Some(self.place(seen.revision + 1));
            self.above = seen.revision;
        }
        if self.next.is_none() {
            return Err(("W5", "told something before it was created".to_owned()));
        }
        for event in &seen.events {
            self.follow(event, seen)?;
        }
        self.judge_end(seen)
    }

    /// The first revision that its stream must still go through.
    fn needs(&self) -> Option<i64> {
        let told = self.next?.checked_sub(1).map_or(0, |last| self.log[last].kv.mod_revision);
        Some(told.max(self.above) + 1)
    }

    fn follow(&mut self, event: &Event, seen: &WatchSeen) -> Result<(), Broken> {
        if !self.asked.wants(event) {
            return Err(("W7", format!("told {event:?}, which is not wanted")));
        }
        let next = self.next.unwrap_or(0);
        let ahead = self.log[next..].iter().position(|other| self.asked.wants(other));
        let expected = ahead.map(|ahead| &self.log[next + ahead]);
        if let (Some(expected), Some(ahead)) = (expected, ahead)
            && self.says(event, expected, seen)
        {
            (self.next, self.began) = (Some(next + ahead + 1), true);
            self.last = Some(expected);
            return Ok(());
        }
        Err(self.classify(event, expected))
    }

    /// Whether an event says what is true, as far as it was asked for and is not compacted.
    fn says(&self, event: &Event, expected: &Event, seen: &WatchSeen) -> bool {
        let same = event.kind == expected.kind && event.kv == expected.kv;
        let previous = match (&event.previous, self.asked.prev_kv) {
            (None, false) => true,
            (Some(_), false) => false,
            (previous, true) if *previous == expected.previous => true,
            (None, true) => self.compactions.asked_by(seen.time_ns) >= event.kv.mod_revision,
            (Some(_), true) => false,
        };
        same && previous
    }

    fn classify(&self, event: &Event, expected: Option<&Event>) -> Broken {
        let revision = event.kv.mod_revision;
        let same = |other: &Event| other.kv.key == event.kv.key && other.kind == event.kind;
        match self.last {
            Some(last) if revision < last.kv.mod_revision => {
                let again = self.log[self.place(revision)..].iter();
                let mut again = again.take_while(|other| other.kv.mod_revision == revision);
                if again.any(same) {
                    return ("W2", format!("told {event:?} again"));
                }
                return ("W1", format!("went back to {event:?}"));
            }
            Some(last) if revision == last.kv.mod_revision && expected.is_none_or(|e| !same(e)) => {
                return ("W2", format!("told {event:?} again"));
            }
            Some(_) | None => {}
        }
        if revision <= self.above {
            return ("W5", format!("told {event:?}, though asked from {} on", self.above + 1));
        }
        match expected {
            Some(expected) if expected.kv.mod_revision == revision && same(expected) => {
                ("W8", format!("told {event:?}, which is {expected:?} in the log"))
            }
            Some(expected) => {
                let rule = if self.began { "W4" } else { "W5" };
                (rule, format!("told {event:?} where {expected:?} comes next"))
            }
            None => ("W8", format!("told {event:?}, which is not in the log")),
        }
    }

    /// What the end of a response says.
    fn judge_end(&mut self, seen: &WatchSeen) -> Result<(), Broken> {
        let missing = self.next_wanted();
        self.open = seen.fragment;
        if seen.fragment {
            let wrong = || ("W3", "a piece of a response that was not to be cut".to_owned());
            return if self.asked.fragment { Ok(()) } else { Err(wrong()) };
        }
        if let Some(last) = seen.events.last() {
            let told = last.kv.mod_revision;
            if missing.is_some_and(|event| event.kv.mod_revision == told) {
                return Err(("W3", format!("a response ends inside revision {told}")));
            }
            if seen.revision < told {
                let text = format!("a response at revision {} has events of {told}", seen.revision);
                return Err(("W6", text));
            }
        } else if seen.says_only_progress() {
            if let Some(missing) = missing.filter(|event| event.kv.mod_revision <= seen.revision) {
                let text = format!("progress to revision {} before {missing:?}", seen.revision);
                return Err(("W6", text));
            }
            if seen.revision < self.above {
                let text = format!(
                    "progress to revision {}, but it was asked from {} on",
                    seen.revision,
                    self.above + 1
                );
                return Err(("W6", text));
            }
        }
        Ok(())
    }
}
