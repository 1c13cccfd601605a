//! What stories are made of: a cluster, raw calls, and rules of their own where no checker has one.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use chaos::checker::Verdict;
use chaos::cluster::{Cluster, Launcher};
use chaos::history::Asked;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use proto::etcdserverpb as pb;
use proto::etcdserverpb::kv_client::KvClient;
use proto::etcdserverpb::lease_client::LeaseClient;
use proto::etcdserverpb::watch_client::WatchClient;
use proto::mvccpb;
use tokio_stream::StreamExt as _;
use tonic::transport::{Channel, Endpoint};

use crate::limits;

/// What a trial came to.
#[derive(Debug)]
pub(crate) struct Judged {
    pub(crate) verdicts: Vec<Verdict>,
    /// How many operations were asked for.
    pub(crate) operations: usize,
}

/// What members are started from.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    pub(crate) program: PathBuf,
    /// The words before etcd's flags.
    pub(crate) words: Vec<String>,
    /// The bug, if this program has any.
    pub(crate) bug: Option<&'static str>,
}

impl Store {
    /// For members with these flags more.
    pub(crate) fn launcher(&self, flags: &[&str]) -> Launcher {
        let plant = self.bug.map(|bug| format!("--plant={bug}"));
        Launcher {
            program: self.program.clone(),
            arguments: self.words.iter().cloned().chain(plant).collect(),
            extra: flags.iter().map(|flag| (*flag).to_owned()).collect(),
        }
    }
}

/// A verdict that grows while a story is told.
#[derive(Debug)]
pub(crate) struct Judge {
    verdict: Verdict,
    pub(crate) operations: usize,
}

impl Judge {
    pub(crate) fn new(name: &'static str) -> Self {
        Self { verdict: Verdict::new(name), operations: 0 }
    }

    /// Notes whether a rule was kept.
    pub(crate) fn must(&mut self, rule: &'static str, kept: bool, text: impl FnOnce() -> String) {
        self.verdict.checked += 1;
        if !kept {
            self.verdict.fail(rule, Vec::new(), text());
        }
    }

    pub(crate) fn done(self) -> Judged {
        Judged { verdicts: vec![self.verdict], operations: self.operations }
    }
}

/// All calls of one member.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(crate) channel: Channel,
    pub(crate) kv: KvClient<Channel>,
    pub(crate) lease: LeaseClient<Channel>,
    pub(crate) watch: WatchClient<Channel>,
}

impl Member {
    pub(crate) fn of(cluster: &Cluster, member: usize) -> anyhow::Result<Self> {
        let channel = Endpoint::from_shared(cluster.url(member))?
            .connect_timeout(Duration::from_secs(1))
            .timeout(Duration::from_secs(10))
            .connect_lazy();
        Ok(Self {
            kv: KvClient::new(channel.clone()),
            lease: LeaseClient::new(channel.clone()),
            watch: WatchClient::new(channel.clone()),
            channel,
        })
    }

    pub(crate) async fn put(&mut self, key: &str, value: &str, lease: i64) -> anyhow::Result<i64> {
        let (key, value) = (key.to_owned().into(), value.to_owned().into());
        let request = pb::PutRequest { key, value, lease, ..pb::PutRequest::default() };
        revision(self.kv.put(request).await?.into_inner().header)
    }

    pub(crate) async fn delete(&mut self, key: &str) -> anyhow::Result<i64> {
        let request = pb::DeleteRangeRequest { key: key.to_owned().into(), ..Default::default() };
        revision(self.kv.delete_range(request).await?.into_inner().header)
    }

    /// Everything below a prefix, as of now; from the member's own state if `serializable`.
    pub(crate) async fn list(
        &mut self,
        prefix: &str,
        serializable: bool,
    ) -> Result<pb::RangeResponse, tonic::Status> {
        let request = pb::RangeRequest { serializable, ..below(prefix) };
        Ok(self.kv.range(request).await?.into_inner())
    }

    /// Events of everything from one revision to another; the compacted revision if it is above.
    pub(crate) async fn events(
        &mut self,
        from: i64,
        to: i64,
    ) -> anyhow::Result<Result<Vec<mvccpb::Event>, i64>> {
        let (requests, receiver) = tokio::sync::mpsc::channel(1);
        requests.send(chaos::client::watch(&Asked::everything(from), 1)).await?;
        let requests = tokio_stream::wrappers::ReceiverStream::new(receiver);
        let mut frames = self.watch.watch(requests).await?.into_inner();
        let mut events: Vec<mvccpb::Event> = Vec::new();
        let begun = Instant::now();
        let reached = |events: &[mvccpb::Event]| {
            events
                .last()
                .and_then(|event| event.kv.as_ref())
                .is_some_and(|kv| kv.mod_revision >= to)
        };
        while !reached(&events) && begun.elapsed() < Duration::from_secs(5) {
            let Ok(frame) = tokio::time::timeout(Duration::from_secs(2), frames.next()).await
            else {
                break;
            };
            let frame = frame.context("the watch ended")??;
            if frame.canceled {
                return Ok(Err(frame.compact_revision));
            }
            events.extend(frame.events);
        }
        Ok(Ok(events))
    }
}

pub(crate) fn revision(header: Option<pb::ResponseHeader>) -> anyhow::Result<i64> {
    header.map(|header| header.revision).context("an answer without a header")
}

/// A range over everything below a prefix; the empty one is everything.
pub(crate) fn below(prefix: &str) -> pb::RangeRequest {
    let mut key = prefix.to_owned().into_bytes();
    let mut end = key.clone();
    match end.last_mut() {
        Some(last) => *last += 1,
        None => (key, end) = (vec![0], vec![0]),
    }
    pb::RangeRequest { key: key.into(), range_end: end.into(), ..Default::default() }
}

/// Waits until `holds` answers true.
pub(crate) async fn until<F: Future<Output = bool>>(
    what: &str,
    within: Duration,
    mut holds: impl FnMut() -> F,
) -> anyhow::Result<()> {
    let begun = Instant::now();
    while !holds().await {
        ensure!(begun.elapsed() < within, "{what}: not within {within:?}");
        tokio::time::sleep(limits::POLL).await;
    }
    Ok(())
}

/// Ends each member in order, one after the other, then starts all on what they left.
pub(crate) async fn restart_in_order(cluster: &mut Cluster) -> anyhow::Result<()> {
    let members = 0..cluster.size();
    for member in members.clone() {
        let pid = *cluster.pids().first().context("nobody runs")?;
        kill(Pid::from_raw(i32::try_from(pid)?), Signal::SIGTERM)?;
        let begun = Instant::now();
        while cluster.crashed().is_none() {
            ensure!(begun.elapsed() < limits::STORY, "member {member} does not end in order");
            tokio::time::sleep(limits::POLL).await;
        }
        // It is gone: this only forgets it.
        cluster.kill(member)?;
    }
    for member in members.clone() {
        cluster.spawn(member)?;
    }
    for member in members {
        cluster.wait_serving(member, limits::STORY).await?;
    }
    Ok(())
}
