//! The store's own log, by a watch that moves from member to member: what informers are held to.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Instant;

use anyhow::{Context as _, bail, ensure};
use proto::etcdserverpb as pb;
use proto::etcdserverpb::kv_client::KvClient;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;

use super::object::Kind;
use super::record::{Name, Object, StoreEvent};
use crate::client::{self, MemberClient};
use crate::history::{Action, Asked, Event, EventKind, KeyValue, Outcome, Step, StepReply};
use crate::limits;

/// A watch of everything that is under way.
#[derive(Debug)]
pub(super) struct Truth {
    urls: Vec<String>,
    told: Arc<AtomicI64>,
    stop: CancellationToken,
    following: JoinHandle<anyhow::Result<Vec<StoreEvent>>>,
}

impl Truth {
    /// Follows the store from the revision after `revision` on.
    pub(super) fn follow(urls: &[String], revision: i64) -> anyhow::Result<Self> {
        let told = Arc::new(AtomicI64::new(revision));
        let stop = CancellationToken::new();
        let follower = Follower {
            members: urls.iter().map(|url| MemberClient::new(url)).collect::<Result<_, _>>()?,
            told: Arc::clone(&told),
            log: Vec::new(),
        };
        let following = tokio::spawn(follower.run(stop.clone()));
        Ok(Self { urls: urls.to_vec(), told, stop, following })
    }

    /// Everything up to here is known. What is compacted no further than this is not missed.
    pub(super) fn revision(&self) -> i64 {
        self.told.load(Ordering::Acquire)
    }

    /// Compacts the store up to what is known; returns where.
    pub(super) async fn compact(&self) -> anyhow::Result<i64> {
        let revision = self.revision();
        for url in &self.urls {
            let request = pb::CompactionRequest { revision, physical: false };
            let compacting = async {
                let mut client = KvClient::connect(url.clone()).await?;
                client.compact(request).await?;
                anyhow::Ok(())
            };
            match tokio::time::timeout(limits::OPERATION_DEADLINE, compacting).await {
                Ok(Ok(())) => return Ok(revision),
                // Compacted already, by an attempt whose answer was lost.
                Ok(Err(error)) if format!("{error:#}").contains("compacted") => {
                    return Ok(revision);
                }
                Ok(Err(error)) => tracing::debug!(%url, %error, "not compacted"),
                Err(_) => tracing::debug!(%url, "not compacted in time"),
            }
        }
        bail!("no member compacts at revision {revision}")
    }

    /// Waits until `revision` is known, and returns the log.
    pub(super) async fn finish(self, revision: i64) -> anyhow::Result<Vec<StoreEvent>> {
        let start = Instant::now();
        while self.revision() < revision && !self.following.is_finished() {
            ensure!(
                start.elapsed() < limits::WATCH_CATCH_UP_DEADLINE,
                "the store's watch stays at {} and does not reach {revision}",
                self.revision()
            );
            tokio::time::sleep(limits::POLL_INTERVAL).await;
        }
        self.stop.cancel();
        self.following.await?
    }
}

struct Follower {
    members: Vec<MemberClient>,
    told: Arc<AtomicI64>,
    log: Vec<StoreEvent>,
}

impl Follower {
    async fn run(mut self, stop: CancellationToken) -> anyhow::Result<Vec<StoreEvent>> {
        let mut turn = 0;
        loop {
            let client = self.members[turn % self.members.len()].clone();
            turn += 1;
            tokio::select! {
                () = stop.cancelled() => return Ok(self.log),
                // A stream that ends is followed by the next; only what cannot be read ends all.
                ended = self.one_stream(client) => ended?,
            }
            tokio::select! {
                () = stop.cancelled() => return Ok(self.log),
                () = tokio::time::sleep(limits::WATCH_RETRY_INTERVAL) => {}
            }
        }
    }

    async fn one_stream(&mut self, mut client: MemberClient) -> anyhow::Result<()> {
        let (requests, receiver) = mpsc::channel(1);
        let next = self.told.load(Ordering::Acquire) + 1;
        requests.send(client::watch(&Asked::everything(next), 1)).await?;
        let opened = client.open_watch(ReceiverStream::new(receiver)).await;
        let Ok(mut responses) = opened else { return Ok(()) };
        loop {
            let waited = tokio::time::timeout(limits::WATCH_SILENCE, responses.next()).await;
            let Ok(Some(Ok(response))) = waited else { return Ok(()) };
            ensure!(
                !response.canceled,
                "the watch from {next} was cancelled: {} (compacted at {})",
                response.cancel_reason,
                response.compact_revision
            );
            self.take(response)?;
        }
    }

    fn take(&mut self, response: pb::WatchResponse) -> anyhow::Result<()> {
        let mut last = None;
        for event in response.events.into_iter().map(client::event) {
            last = Some(event.kv.mod_revision);
            if let Some(event) = store_event(&event)? {
                ensure!(self.log.len() < limits::HISTORY_OPERATIONS_MAX, "the log is full");
                self.log.push(event);
            }
        }
        if let Some(last) = last {
            self.told.store(last, Ordering::Release);
        }
        Ok(())
    }
}

fn store_event(event: &Event) -> anyhow::Result<Option<StoreEvent>> {
    let Some(name) = Name::of_key(&event.kv.key) else { return Ok(None) };
    let object = match event.kind {
        EventKind::Put => Some(object(&name, &event.kv)?),
        EventKind::Delete => None,
    };
    Ok(Some(StoreEvent { revision: event.kv.mod_revision, name, object }))
}

fn object(name: &Name, kv: &KeyValue) -> anyhow::Result<Object> {
    let object = Object::of_store(name.kind, &kv.value, kv.mod_revision);
    let object = object.with_context(|| format!("{} cannot be read", kv.key))?;
    ensure!(object.name == *name, "{} holds {:?}", kv.key, object.name);
    Ok(object)
}

/// All objects of all kinds in the store, at the revision in the answer.
pub(super) async fn read(url: &str) -> anyhow::Result<(i64, Vec<Object>)> {
    let mut client = MemberClient::new(url)?;
    let steps = Kind::ALL.map(|kind| Step::List { prefix: kind.prefix() });
    // One transaction: one revision for all kinds.
    let read = Action::Txn { guards: Vec::new(), then: steps.to_vec(), otherwise: Vec::new() };
    let reply = match client.execute(&read).await {
        Outcome::Ok(reply) => reply,
        Outcome::Refused(reason) | Outcome::Unknown(reason) => bail!("the store: {reason}"),
    };
    let mut objects = Vec::new();
    for step in &reply.steps {
        let StepReply::Read { found } = step else { bail!("a read was answered otherwise") };
        for kv in found {
            let name = Name::of_key(&kv.key).context("a key without its prefix")?;
            objects.push(object(&name, kv)?);
        }
    }
    Ok((reply.revision, objects))
}
