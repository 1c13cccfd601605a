//! Follows the source by a watch, and keeps the target at one of its revisions after the other.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bytes::Bytes;
use futures::FutureExt as _;
use store_client::mvccpb::{Event, event::EventType};
use store_client::{Batch, Error, Watch, WatchOptions};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use super::copy::batches;
use super::leases::Leases;
use super::report::{Lag, Report};
use super::side::Side;
use super::target::{Change, Target};
use super::{Asked, HandOver};
use crate::limits;

/// Changes of whole revisions that become one transaction: of each key, the last.
#[derive(Default)]
struct Pending {
    changes: BTreeMap<Bytes, Change>,
    bytes: usize,
    revision: i64,
}

impl Pending {
    fn add(&mut self, revision: i64, changes: Vec<Change>) {
        for change in changes {
            self.bytes += change.bytes();
            if let Some(older) = self.changes.insert(change.key.clone(), change) {
                self.bytes -= older.bytes();
            }
        }
        self.revision = revision;
    }

    /// Whether all of them with one more revision are still one transaction.
    fn has_room(&self, changes: &[Change], max: usize) -> bool {
        let new = changes.iter().filter(|one| !self.changes.contains_key(&one.key)).count();
        let bytes: usize = changes.iter().map(Change::bytes).sum();
        self.changes.is_empty()
            || self.changes.len() + new <= max && self.bytes + bytes <= limits::MIGRATE_TXN_BYTES
    }
}

/// Events by their revisions, without those of the migration's own key.
fn revisions(events: Vec<Event>, mark: &Bytes) -> Vec<(i64, Vec<Change>)> {
    let mut groups: Vec<(i64, Vec<Change>)> = Vec::new();
    for event in events {
        let deleted = event.r#type == i32::from(EventType::Delete);
        let Some(kv) = event.kv.filter(|kv| kv.key != mark) else { continue };
        let put = (!deleted).then_some((kv.value, kv.lease));
        let change = Change { key: kv.key, put };
        match groups.last_mut() {
            Some((revision, changes)) if *revision == kv.mod_revision => changes.push(change),
            _ => groups.push((kv.mod_revision, vec![change])),
        }
    }
    groups
}

/// What is known of the source's revision.
#[derive(Debug, Clone, Copy)]
struct Seen {
    revision: i64,
    /// When it was first seen at this revision.
    since: Instant,
    /// When it was last asked, and answered.
    at: Instant,
}

/// Asks the source for its revision again and again.
struct Gauge {
    seen: watch::Receiver<Seen>,
    task: JoinHandle<()>,
}

impl Drop for Gauge {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Gauge {
    fn start(source: Side, revision: i64) -> Self {
        let now = Instant::now();
        let (tell, seen) = watch::channel(Seen { revision, since: now, at: now });
        let task = tokio::spawn(async move {
            loop {
                let asked = Instant::now();
                if let Ok(revision) = source.revision().await {
                    tell.send_modify(|seen| {
                        if revision != seen.revision {
                            *seen = Seen { revision, since: asked, at: asked };
                        }
                        seen.at = asked;
                    });
                }
                tokio::time::sleep(limits::MIGRATE_LAG_POLL).await;
            }
        });
        Self { seen, task }
    }
}

/// Why it stopped following.
pub(super) enum Stop {
    /// The target has to be compared with the source anew.
    Anew(&'static str),
    /// The target is level with the source at this revision, and nobody writes to the source.
    Level(i64),
    /// Somebody still writes to the source.
    Busy,
}

pub(super) struct Follow<'a> {
    source: &'a Side,
    target: &'a Arc<Target>,
    leases: &'a Leases,
    report: &'a Report,
    watch: Watch,
    gauge: Gauge,
    /// The target holds what the source held at this revision.
    applied: i64,
    /// Revisions at which the source was seen, and when first.
    ahead: VecDeque<(i64, Instant)>,
    /// Revisions with more changes than a transaction of the target takes.
    pub(super) torn: u64,
}

impl<'a> Follow<'a> {
    pub(super) fn new(
        source: &'a Side,
        target: &'a Arc<Target>,
        leases: &'a Leases,
        report: &'a Report,
        applied: i64,
    ) -> Self {
        let watch = source.client.watch(WatchOptions {
            key: source.keys.first.clone(),
            range_end: source.keys.end.clone(),
            start_revision: applied + 1,
            ..WatchOptions::default()
        });
        let gauge = Gauge::start(source.clone(), applied);
        leases.applied(applied);
        let ahead = VecDeque::new();
        Self { source, target, leases, report, watch, gauge, applied, ahead, torn: 0 }
    }

    /// Follows until it is time for something else.
    pub(super) async fn run(
        &mut self,
        asked: &watch::Receiver<Asked>,
        hand_over: &HandOver,
    ) -> anyhow::Result<Stop> {
        let mut tick = tokio::time::interval(Duration::from_millis(100));
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut handing: Option<Instant> = None;
        self.report.following();
        loop {
            tokio::select! {
                batch = self.watch.next() => {
                    if let Some(stop) = self.take(batch).await? {
                        return Ok(stop);
                    }
                }
                _ = tick.tick() => {}
            }
            if self.leases.take_lost() {
                return Ok(Stop::Anew("leases ended on the target before their time"));
            }
            let seen = *self.gauge.seen.borrow();
            self.say(seen);
            if self.applied < seen.revision && !self.source.keys.all {
                // Of revisions that touch other keys alone, the watch says nothing by itself.
                self.watch.request_progress();
            }
            if *asked.borrow() != Asked::HandOver {
                continue;
            }
            let began = *handing.get_or_insert_with(Instant::now);
            let quiet = seen.at.saturating_duration_since(seen.since);
            if seen.at > began && quiet >= hand_over.quiet && self.applied >= seen.revision {
                return Ok(Stop::Level(self.applied));
            }
            if began.elapsed() > hand_over.timeout {
                return Ok(Stop::Busy);
            }
        }
    }

    fn say(&mut self, seen: Seen) {
        if self.ahead.back().is_none_or(|(revision, _)| *revision < seen.revision) {
            self.ahead.push_back((seen.revision, seen.since));
        }
        while self.ahead.front().is_some_and(|(revision, _)| *revision <= self.applied) {
            self.ahead.pop_front();
        }
        let behind = self.ahead.front().map_or(Duration::ZERO, |(_, since)| since.elapsed());
        self.report.lag(&Lag { applied: self.applied, source: seen.revision, behind });
    }

    /// Applies what has come, and what came meanwhile.
    async fn take(
        &mut self,
        mut batch: Option<Result<Batch, Error>>,
    ) -> anyhow::Result<Option<Stop>> {
        let mut pending = Pending::default();
        let stop = loop {
            match batch {
                Some(Ok(batch)) => self.add(batch, &mut pending).await?,
                Some(Err(Error::Compacted { .. })) => {
                    break Some(Stop::Anew("the source was compacted beyond what was applied"));
                }
                Some(Err(error)) => return Err(error).context("the source cannot be followed"),
                None => break Some(Stop::Anew("the watch ended")),
            }
            match self.watch.next().now_or_never() {
                Some(next) => batch = next,
                None => break None,
            }
        };
        self.flush(&mut pending).await?;
        Ok(stop)
    }

    async fn add(&mut self, batch: Batch, pending: &mut Pending) -> anyhow::Result<()> {
        let last = batch.revision;
        for (revision, changes) in revisions(batch.events, &self.source.keys.mark) {
            if !pending.has_room(&changes, self.target.changes_max) {
                self.flush(pending).await?;
            }
            pending.add(revision, changes);
        }
        // Also where nothing of it concerns us.
        pending.revision = pending.revision.max(last);
        Ok(())
    }

    async fn flush(&mut self, pending: &mut Pending) -> anyhow::Result<()> {
        let Pending { changes, revision, .. } = std::mem::take(pending);
        if revision <= self.applied {
            return Ok(());
        }
        let mut parts = batches(changes.into_values(), self.target.changes_max);
        self.torn += u64::from(parts.len() > 1);
        let large =
            |part: &[Change]| part.iter().any(|one| one.bytes() > limits::MIGRATE_TXN_BYTES);
        let last = parts.pop_if(|part| !large(part)).unwrap_or_default();
        for part in parts {
            if large(&part) {
                self.target.write(&part).await?;
            } else {
                self.target.step(&part, self.applied).await?;
            }
        }
        if !last.is_empty() || revision > self.applied {
            self.target.step(&last, revision).await?;
        }
        self.applied = revision;
        self.leases.applied(revision);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use store_client::mvccpb::KeyValue;

    fn event(key: &str, revision: i64, value: Option<&str>) -> Event {
        let deleted = value.is_none();
        let kv = KeyValue {
            key: key.to_owned().into(),
            mod_revision: revision,
            value: value.unwrap_or_default().to_owned().into(),
            ..KeyValue::default()
        };
        let kind = if deleted { EventType::Delete } else { EventType::Put };
        Event { r#type: kind.into(), kv: Some(kv), prev_kv: None }
    }

    #[test]
    fn revisions_stay_whole_and_of_each_key_the_last_counts() {
        let events = vec![
            event("a", 5, Some("1")),
            event("b", 5, Some("1")),
            event("mark", 6, Some("x")),
            event("a", 7, None),
        ];
        let groups = revisions(events, &"mark".into());
        let sizes: Vec<_> = groups.iter().map(|(at, changes)| (*at, changes.len())).collect();
        assert_eq!(sizes, [(5, 2), (7, 1)]);

        let mut pending = Pending::default();
        for (revision, changes) in groups {
            assert!(pending.has_room(&changes, 2), "a key that is there already takes no room");
            pending.add(revision, changes);
        }
        assert_eq!((pending.revision, pending.changes.len()), (7, 2));
        assert!(pending.changes[&Bytes::from("a")].put.is_none());
        let (_, more) = revisions(vec![event("c", 8, Some("1"))], &"mark".into()).remove(0);
        assert!(!pending.has_room(&more, 2));
        let bytes: usize = pending.changes.values().map(Change::bytes).sum();
        assert_eq!(pending.bytes, bytes, "what was replaced is not counted");
    }
}
