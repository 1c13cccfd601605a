//! `orlop backup create`: chooses a member, takes its data, and writes the manifest.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, bail};
use store_backup::{Kind, Manifest, Repository, Source, Summary};
use store_client::rpc::StatusResponse;
use store_client::{Client, Operator};

use super::connect::Connect;
use super::receive::{self, Received};
use super::source::Scratch;
use super::{RepositoryFlag, human, say};

/// Flags of `orlop backup create`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Flags {
    #[command(flatten)]
    repository: RepositoryFlag,
    #[command(flatten)]
    connect: Connect,
    /// What to take: a checkpoint's files where the member has them, else a snapshot
    #[arg(long, value_enum, default_value_t = Wanted::Auto)]
    kind: Wanted,
    /// Print the manifest as JSON
    #[arg(long)]
    json: bool,
}

/// How the data are to travel and to be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Wanted {
    /// A checkpoint where the member has it, else a snapshot
    Auto,
    /// One file in etcd's own format, which etcd's tools read
    Snapshot,
    /// The files of the state; those of earlier backups are not taken again
    Checkpoint,
}

/// A member that answers; one that does not lead if there is one, for its load is lower.
async fn choose(flags: &Flags) -> anyhow::Result<(Operator, StatusResponse)> {
    let config = flags.connect.config()?;
    let client = Client::new(&config)?;
    let mut leading = None;
    let mut errors = Vec::new();
    for endpoint in client.endpoints() {
        let mut member = client.operator(endpoint)?;
        if let Some(user) = &config.user
            && let Err(error) = member.authenticate(user).await
        {
            errors.push(format!("{endpoint}: {error}"));
            continue;
        }
        match member.status().await {
            Ok(status) if status.leader == 0 => errors.push(format!("{endpoint}: no leader")),
            Ok(status) => {
                let id = status.header.as_ref().map_or(0, |header| header.member_id);
                if status.leader != id {
                    return Ok((member, status));
                }
                leading.get_or_insert((member, status));
            }
            Err(error) => errors.push(format!("{endpoint}: {error}")),
        }
    }
    leading.with_context(|| format!("no member can be backed up: {}", errors.join("; ")))
}

/// Takes a backup.
pub(super) async fn run(flags: Flags) -> anyhow::Result<()> {
    let began = Instant::now();
    let repository = Arc::new(flags.repository.open()?);
    let (member, status) = choose(&flags).await?;
    // What was acknowledged before the backup was asked for is in it.
    let newest = member.revision().await.context("asking for the revision")?;
    let members = member.members().await.context("asking for the members")?;
    let scratch = Scratch::make(&repository.scratch()?)?;
    let (kind, received) = receive(&flags, &member, &repository, (&scratch.path, newest))
        .await
        .with_context(|| format!("{} was not backed up", member.endpoint()))?;
    if received.revision < newest {
        bail!("{} gave revision {}, but {newest} was there", member.endpoint(), received.revision);
    }
    let proved = match &received.summary {
        Some(summary) => compare(&member, summary).await?,
        None => false,
    };

    let header = status.header.unwrap_or_default();
    let source = Source {
        endpoint: member.endpoint().to_owned(),
        member_id: format!("{:x}", header.member_id),
        cluster_id: format!("{:x}", header.cluster_id),
        version: status.version,
    };
    let members = members.members.iter().map(Into::into).collect();
    let revisions = (received.revision, received.compact_revision);
    let mut manifest = Manifest::new(kind, source, members, revisions, received.files);
    if let Some(summary) = received.summary {
        manifest = manifest.with_summary(summary);
    }
    let stored = manifest.clone();
    let commit = move || repository.commit(&stored);
    tokio::task::spawn_blocking(commit).await.context("storing broke")??;
    if flags.json {
        return say(&serde_json::to_string_pretty(&manifest)?);
    }
    say(&format!(
        "backup {}: revision {}, {} of which {} were new, in {:.1} s from {}{}",
        manifest.id,
        manifest.revision,
        human(manifest.bytes()),
        human(received.transferred),
        began.elapsed().as_secs_f64(),
        member.endpoint(),
        if proved { "; its hash is the member's own" } else { "" },
    ))
}

async fn receive(
    flags: &Flags,
    member: &Operator,
    repository: &Arc<Repository>,
    (scratch, newest): (&Path, i64),
) -> anyhow::Result<(Kind, Received)> {
    if flags.kind != Wanted::Snapshot {
        if let Some(received) = receive::checkpoint(member, repository, scratch, newest).await? {
            return Ok((Kind::Checkpoint, received));
        }
        if flags.kind == Wanted::Checkpoint {
            bail!("it has no checkpoints: it is another store; take a snapshot");
        }
    }
    Ok((Kind::Snapshot, receive::snapshot(member, repository, scratch).await?))
}

/// Whether the member has the same history. It cannot say when it has compacted meanwhile.
async fn compare(member: &Operator, summary: &Summary) -> anyhow::Result<bool> {
    let hash = match member.hash_kv(summary.revision).await {
        Ok(hash) => hash,
        Err(store_client::Error::Compacted { .. }) => return Ok(false),
        // Nothing was written yet: etcd has no hash for the revision that it begins with.
        Err(store_client::Error::Refused { .. }) if summary.records == 0 => return Ok(false),
        Err(error) => return Err(error).context("asking the member for its hash"),
    };
    // etcd says −1 for a store that was never compacted.
    if hash.compact_revision.max(0) != summary.compact_revision {
        return Ok(false);
    }
    if hash.hash != summary.hash_kv {
        bail!(
            "the hash of what was received, {:08x}, is not the member's own, {:08x}, at revision {}",
            summary.hash_kv,
            hash.hash,
            summary.revision
        );
    }
    Ok(true)
}
