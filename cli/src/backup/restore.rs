//! `orlop backup restore`: makes the data folders of a new cluster from a backup.

use std::path::PathBuf;

use anyhow::{Context as _, bail};
use rand::Rng as _;
use store_backup::Error;
use store_backup::archive::{Until, replay};
use store_server::{NewCluster, Plan};

use super::source::Which;
use super::{progress, say};

/// Flags of `orlop backup restore`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Flags {
    #[command(flatten)]
    which: Which,
    /// The new data folder; without --name the folder that gets one for each member
    #[arg(long, value_name = "FOLDER")]
    data_dir: PathBuf,
    /// Make only this member's folder. Run it for each member with the same --initial-cluster and
    /// --initial-cluster-token
    #[arg(long, value_name = "NAME", requires = "initial_cluster_token")]
    name: Option<String>,
    /// All members of the new cluster: name=peer URL, and so on
    #[arg(long, value_name = "MEMBERS", default_value = "default=http://localhost:2380")]
    initial_cluster: String,
    /// Part of the new cluster's identity. Without --name one is made up
    #[arg(long, value_name = "TOKEN")]
    initial_cluster_token: Option<String>,
    /// Go on from the backup to this revision with what was archived. With `latest` the backup is the
    /// newest one before it
    #[arg(long, value_name = "REVISION", conflicts_with = "to_time")]
    to_revision: Option<i64>,
    /// Go on to what was there at this time, such as 2026-11-21T10:00:00Z
    #[arg(long, value_name = "TIME")]
    to_time: Option<String>,
    /// How far to raise the revision, so that none that was handed out after the backup comes twice;
    /// all below counts as compacted, so that watchers start over. 0 leaves both as they were: only
    /// when no client has seen anything after the backup
    #[arg(long, value_name = "REVISIONS", default_value_t = 1_000_000_000)]
    bump_revision: i64,
    /// Say what would be done, check the backup, and write nothing
    #[arg(long)]
    dry_run: bool,
}

pub(super) fn run(flags: &Flags) -> anyhow::Result<()> {
    if flags.bump_revision < 0 {
        bail!("--bump-revision: a revision cannot be lowered");
    }
    let token = flags.initial_cluster_token.clone();
    let token = token.unwrap_or_else(|| format!("{:016x}", rand::rng().random::<u64>()));
    let until = match (flags.to_revision, &flags.to_time) {
        (Some(revision), _) => Some(Until::Revision(revision)),
        (None, Some(time)) => Some(Until::time(time)?),
        (None, None) => None,
    };
    let opened = flags.which.open(until)?;
    let summary = opened.examine()?;
    let (old_revision, old_compacted) = match (&summary, &opened.manifest) {
        (Some(summary), _) => (summary.revision, summary.compact_revision),
        (None, Some(manifest)) => (manifest.revision, manifest.compact_revision),
        (None, None) => bail!("{} does not say at which revision it is", opened.name),
    };

    let last = match until {
        Some(until) => replay::<Error>(&opened.segments, old_revision, until, &mut |_| Ok(()))?,
        None => old_revision,
    };

    let origin = format!("{} {last} {}", opened.fingerprint, flags.bump_revision);
    let cluster = NewCluster::new(&flags.initial_cluster, &token, &origin)?;
    let folders: Vec<(String, PathBuf)> = match &flags.name {
        Some(name) => vec![(name.clone(), flags.data_dir.clone())],
        None => {
            let names = cluster.members.iter().map(|(_, name, _)| name);
            names.map(|name| (name.clone(), flags.data_dir.join(name))).collect()
        }
    };
    for (name, folder) in &folders {
        if !cluster.members.iter().any(|(_, other, _)| other == name) {
            bail!("--initial-cluster does not name {name:?}");
        }
        store_server::check_free(folder)?;
    }
    let revision = last.checked_add(flags.bump_revision);
    let revision = revision.context("--bump-revision: no revision is that high")?;
    let compacted = if flags.bump_revision > 0 { revision } else { old_compacted };
    let counted = summary.as_ref().map_or_else(String::new, |summary| {
        format!(", {} keys, {} leases, {} users", summary.keys, summary.leases, summary.users)
    });
    say(&format!("{}: revision {old_revision}{counted}", opened.name))?;
    if last > old_revision {
        say(&format!("the archive from there to revision {last}"))?;
    }
    say(&format!(
        "new cluster {:x}: revision {revision}, compacted to {compacted}",
        cluster.cluster_id
    ))?;
    for (id, name, urls) in &cluster.members {
        let folder = folders.iter().find(|(other, _)| other == name);
        let folder =
            folder.map_or("made elsewhere".to_owned(), |(_, path)| path.display().to_string());
        say(&format!("  {name}  {id:x}  {}  {folder}", urls.join(",")))?;
    }
    if flags.dry_run {
        return say("dry run: nothing was written");
    }

    if flags.name.is_none() {
        std::fs::create_dir_all(&flags.data_dir)
            .with_context(|| format!("cannot create {}", flags.data_dir.display()))?;
    }
    let bar = progress("restoring", summary.map(|summary| summary.records), false);
    let mut plan = Plan::new(opened.origin(), flags.bump_revision);
    plan.replay = until.map(|until| (opened.segments.as_slice(), until));
    let mut seen = |count| bar.set_position(count);
    let restored = store_server::restore(&plan, &cluster, &folders, &mut seen)?;
    bar.finish_and_clear();
    if restored.revision != revision {
        bail!("the restored revision is {}, not {revision}", restored.revision);
    }
    say(&format!(
        "restored. Start each member on its folder with its own URLs, for example:\n  \
         orlop store --data-dir {} --name {} --initial-cluster {}",
        folders[0].1.display(),
        folders[0].0,
        flags.initial_cluster
    ))
}
