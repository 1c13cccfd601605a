//! `orlop backup archive`: follows a store and keeps what is written, for restores to any moment.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, bail};
use store_backup::archive::{SegmentWriter, Step};
use store_backup::{LeaseRecord, Repository, limits};
use store_client::mvccpb::Event;
use store_client::rpc::{RangeRequest, RangeResponse};
use store_client::{Batch, Client, WatchOptions};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval};

use super::connect::Connect;
use super::{RepositoryFlag, human, say};

/// Flags of `orlop backup archive`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Flags {
    #[command(flatten)]
    repository: RepositoryFlag,
    #[command(flatten)]
    connect: Connect,
    /// How often what was seen is put into the repository: what can be lost with the archiver
    #[arg(long, value_name = "SECONDS", default_value_t = 5,
          value_parser = clap::value_parser!(u64).range(1..=3600))]
    every: u64,
    /// End when what is there now is archived, instead of following the store
    #[arg(long)]
    once: bool,
}

/// What is kept and not stored yet.
struct Archiver {
    client: Client,
    repository: Arc<Repository>,
    cluster_id: String,
    writer: SegmentWriter,
    /// Leases that were asked for in this run.
    leases: BTreeSet<i64>,
}

/// Follows the store until it is told to stop.
pub(super) async fn run(flags: Flags) -> anyhow::Result<()> {
    let client = Client::new(&flags.connect.config()?)?;
    let members = client.member_list().await.context("asking for the members")?;
    let header = members.header.context("the store does not say which cluster it is")?;
    let cluster_id = format!("{:x}", header.cluster_id);
    let repository = Arc::new(flags.repository.open()?);
    let after = start(&client, &repository, &cluster_id).await?;
    let goal = if flags.once { Some(newest(&client).await?) } else { None };

    let mut watch = client.watch(WatchOptions {
        key: b"\0".to_vec().into(),
        range_end: b"\0".to_vec().into(),
        start_revision: after + 1,
        progress_notify: true,
        ..WatchOptions::default()
    });
    let writer = SegmentWriter::new(after);
    let leases = BTreeSet::new();
    let mut archiver = Archiver { client, repository, cluster_id, writer, leases };
    say(&format!("archiving cluster {} from revision {} on", archiver.cluster_id, after + 1))?;

    let mut interrupt = signal(SignalKind::interrupt()).context("cannot watch signals")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot watch signals")?;
    let mut tick = interval(Duration::from_secs(flags.every));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let (_, last) = archiver.writer.range();
        if goal.is_some_and(|goal| last >= goal) {
            return archiver.store().await;
        }
        tokio::select! {
            batch = watch.next() => match batch {
                Some(Ok(batch)) => archiver.take(batch).await?,
                Some(Err(error)) => {
                    archiver.store().await?;
                    return Err(lost(&error, last));
                }
                None => bail!("the watch ended"),
            },
            _ = tick.tick() => archiver.store().await?,
            _ = interrupt.recv() => return archiver.store().await,
            _ = terminate.recv() => return archiver.store().await,
        }
    }
}

fn lost(error: &store_client::Error, last: i64) -> anyhow::Error {
    if let store_client::Error::Compacted { .. } = error {
        return anyhow::anyhow!(
            "revision {} was compacted before it was archived: take a backup with \
             `orlop backup create`, and archive from there",
            last + 1
        );
    }
    anyhow::anyhow!("the store cannot be followed: {error}")
}

/// Asks for as little as can be asked for, as of a revision.
async fn count_at(client: &Client, revision: i64) -> Result<RangeResponse, store_client::Error> {
    let key = b"\0".to_vec().into();
    let request = RangeRequest { key, revision, count_only: true, ..RangeRequest::default() };
    client.range(request).await
}

async fn newest(client: &Client) -> anyhow::Result<i64> {
    let response = count_at(client, 0).await.context("asking for the revision")?;
    Ok(response.header.map_or(0, |header| header.revision))
}

/// Where to go on: after the archive, or, when what follows it is compacted away, after the newest
/// backup.
async fn start(client: &Client, repository: &Repository, cluster_id: &str) -> anyhow::Result<i64> {
    let backups = repository.list()?.into_iter().filter_map(|listed| listed.manifest.ok());
    let own = backups.filter(|manifest| manifest.source.cluster_id == cluster_id);
    let backup = own.map(|manifest| manifest.revision).max();
    let backup = backup.with_context(|| {
        format!("there is no backup of cluster {cluster_id} to archive from: take one first")
    })?;
    let archived = repository.segments(cluster_id)?.into_iter().map(|segment| segment.last).max();
    match archived {
        None => Ok(backup),
        Some(archived) if archived >= backup => Ok(archived),
        Some(archived) => match count_at(client, archived + 1).await {
            Ok(_) => Ok(archived),
            Err(store_client::Error::Compacted { .. }) => {
                say(&format!("revisions {} to {backup} are not in the archive", archived + 1))?;
                Ok(backup)
            }
            Err(error) => Err(error).context("asking for the revision"),
        },
    }
}

impl Archiver {
    /// Keeps whole revisions, each with the leases that it is the first to name.
    async fn take(&mut self, batch: Batch) -> anyhow::Result<()> {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is wrong")?;
        let at_ms = i64::try_from(since.as_millis()).context("the clock is wrong")?;
        let revision_of = |event: &Event| event.kv.as_ref().map_or(0, |kv| kv.mod_revision);
        let mut events = batch.events.into_iter().peekable();
        while let Some(first) = events.next() {
            let revision = revision_of(&first);
            let mut step = Step { revision, at_ms, events: vec![first], leases: Vec::new() };
            while let Some(next) = events.next_if(|next| revision_of(next) == revision) {
                step.events.push(next);
            }
            step.leases = self.new_leases(&step.events).await?;
            self.writer.push(&step)?;
        }
        if self.writer.bytes() >= limits::SEGMENT_BYTES { self.store().await } else { Ok(()) }
    }

    async fn new_leases(&mut self, events: &[Event]) -> anyhow::Result<Vec<LeaseRecord>> {
        let named = events.iter().filter_map(|event| Some(event.kv.as_ref()?.lease));
        let new: BTreeSet<i64> = named.filter(|id| *id != 0 && !self.leases.contains(id)).collect();
        let mut leases = Vec::new();
        for id in new {
            let answer = self.client.lease_time_to_live(id, false).await;
            let lease = answer.with_context(|| format!("asking for lease {id:x}"))?;
            // One that ran out meanwhile took its keys with it: that comes as a deletion.
            if lease.ttl >= 0 {
                leases.push(LeaseRecord { id, ttl: lease.granted_ttl, remaining_ttl: 0 });
            }
            self.leases.insert(id);
        }
        Ok(leases)
    }

    /// Puts what is kept into the repository.
    async fn store(&mut self) -> anyhow::Result<()> {
        let (after, last) = self.writer.range();
        if after == last {
            return Ok(());
        }
        let writer = std::mem::replace(&mut self.writer, SegmentWriter::new(last));
        let bytes = writer.bytes() as u64;
        let (repository, cluster_id) = (Arc::clone(&self.repository), self.cluster_id.clone());
        let stored = move || repository.add_segment(&cluster_id, writer);
        tokio::task::spawn_blocking(stored).await.context("storing broke")??;
        say(&format!("archived revisions {} to {last}, {}", after + 1, human(bytes)))
    }
}
