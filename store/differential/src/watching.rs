//! One watch stream: what is asked of it, and that its watches are told what they must be.

use anyhow::{Context as _, bail, ensure};
use bytes::Bytes;
use proto::etcdserverpb as pb;
use proto::mvccpb::Event;
use tokio::time::Instant;

use crate::limits;
use crate::stream::Stream;
use crate::watcher::Watcher;

/// A watch stream with the watches on it that live.
pub(crate) struct Watching {
    pub(crate) stream: Stream<pb::WatchResponse>,
    pub(crate) watchers: Vec<Watcher>,
    /// Watches that compaction cancelled. They keep their ids until the client cancels them too; etcd
    /// tells no progress of the stream meanwhile.
    pub(crate) compacted: Vec<i64>,
}

impl Watching {
    pub(crate) async fn create(
        &mut self,
        create: &pb::WatchCreateRequest,
        bytes: Bytes,
        compacted: i64,
        deadline: Instant,
    ) -> anyhow::Result<Vec<pb::WatchResponse>> {
        let before = self.stream.len();
        self.stream.send(bytes).await?;
        let created = self.stream.wait(deadline, |frames| {
            let of_create = |(_, frame): &(usize, &pb::WatchResponse)| frame.created;
            let found = frames.iter().enumerate().skip(before).find(of_create);
            found.map(|(place, frame)| (place, frame.clone()))
        });
        let (place, created) = created.await.context("no answer to the creation of a watch")?;
        if created.canceled {
            return Ok(vec![created]);
        }
        let start = create.start_revision;
        if start != 0 && start < compacted {
            let id = created.watch_id;
            let canceled = self.stream.wait(deadline, |frames| {
                let mut mine = frames.iter().skip(place + 1).filter(|frame| frame.watch_id == id);
                mine.find(|frame| frame.canceled).cloned()
            });
            let canceled = canceled.await.context("a watch below the compacted revision lives")?;
            self.compacted.push(id);
            return Ok(vec![created, canceled]);
        }
        self.watchers.push(Watcher::new(create, &created, compacted, place + 1));
        Ok(vec![created])
    }

    pub(crate) async fn cancel(
        &mut self,
        id: i64,
        bytes: Bytes,
        deadline: Instant,
    ) -> anyhow::Result<Vec<pb::WatchResponse>> {
        let before = self.stream.len();
        self.stream.send(bytes).await?;
        let there = self.watchers.iter().any(|watcher| watcher.id == id);
        if !there && !self.compacted.contains(&id) {
            // The cancellation of what is not there is not answered.
            return Ok(Vec::new());
        }
        let canceled = self.stream.wait(deadline, |frames| {
            let of_cancel = |frame: &&pb::WatchResponse| frame.watch_id == id && frame.canceled;
            frames.iter().skip(before).find(of_cancel).cloned()
        });
        let canceled = canceled.await.context("no answer to the cancellation of a watch")?;
        self.watchers.retain(|watcher| watcher.id != id);
        self.compacted.retain(|other| *other != id);
        Ok(vec![canceled])
    }

    /// Progress is told once every watch has begun and has all that it is owed. What etcd does in
    /// other cases depends on its version, so nothing is asked then.
    pub(crate) async fn progress(
        &mut self,
        now: i64,
        bytes: Bytes,
    ) -> anyhow::Result<Vec<pb::WatchResponse>> {
        let begun = self.watchers.iter().all(|watcher| watcher.asked <= now);
        if self.watchers.is_empty() || !self.compacted.is_empty() || !begun {
            return Ok(Vec::new());
        }
        let before = self.stream.len();
        for _ in 0..limits::PROGRESS_TRIES {
            self.stream.send(bytes.clone()).await?;
            let progress = self.stream.wait(Instant::now() + limits::PROGRESS_RETRY, |frames| {
                let of_all = |frame: &&pb::WatchResponse| frame.watch_id == -1;
                frames.iter().skip(before).find(of_all).cloned()
            });
            if let Some(progress) = progress.await {
                return Ok(vec![progress]);
            }
        }
        bail!("no answer to a request for progress")
    }

    pub(crate) async fn check(
        &self,
        watcher: &Watcher,
        history: &[Event],
        lenient: bool,
        deadline: Instant,
    ) -> anyhow::Result<()> {
        let expected = watcher.expected(history);
        let least =
            expected.iter().filter(|event| !(lenient && watcher.may_be_gone(event))).count();
        let received = self.stream.wait(deadline, |frames| {
            let received = watcher.received(frames);
            (received.len() >= least).then_some(received)
        });
        let received = match received.await {
            Some(received) => received,
            None => self.stream.with(|frames| watcher.received(frames)),
        };
        let told = |events: &[Event]| {
            let lines: Vec<String> = events.iter().map(|event| format!("{event:?}")).collect();
            lines.join("\n    ")
        };
        let fits = received == expected
            || (lenient && {
                let mut rest = received.iter().peekable();
                let fits = expected.iter().all(|event| {
                    rest.next_if(|one| *one == event).is_some() || watcher.may_be_gone(event)
                });
                fits && rest.next().is_none()
            });
        ensure!(
            fits,
            "it was told\n    {}\n  and must be told\n    {}",
            told(&received),
            told(&expected)
        );
        self.stream.with(|frames| watcher.check_frames(frames)).map_err(anyhow::Error::msg)
    }
}
