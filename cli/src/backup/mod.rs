//! `orlop backup`: makes, lists, proves and restores backups of a store, ours or a real etcd.

mod archive;
mod connect;
mod create;
mod receive;
mod restore;
mod source;
mod verify;

use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::Subcommand;
use indicatif::{ProgressBar, ProgressStyle};
use store_backup::{Folder, Kind, Manifest, Repository};

/// `orlop backup`.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum BackupCommand {
    /// Back up a running store, without stopping it
    ///
    /// Any member will do; one that does not lead is preferred. What is written is the state at one
    /// revision. Of our own store the files are taken that no earlier backup has; of any other, its
    /// snapshot.
    ///
    /// Example: `orlop backup create --repository /backups --endpoints http://127.0.0.1:2379`
    Create(Box<create::Flags>),
    /// Keep what is written between backups, until stopped
    ///
    /// Follows the store from the newest backup on and adds what was written, with its time, to the
    /// repository every few seconds, so that a restore can go to any revision or time. Stopped and
    /// started again it goes on where it was.
    Archive(Box<archive::Flags>),
    /// List the backups of a repository, the oldest first
    List {
        #[command(flatten)]
        repository: RepositoryFlag,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Prove that a store can be made from a backup, without a cluster
    ///
    /// Checks every byte against its checksum and, of a snapshot, every page, and that the history of
    /// each key is whole; then makes a store from it in a scratch folder, reads all of that, and
    /// compares what it finds.
    Verify(verify::Flags),
    /// Make the data folders of a new cluster from a backup
    ///
    /// Takes a backup of a repository, or a file of `etcdctl snapshot save`. Nothing that exists is
    /// written over. Without --name it makes the folders of all members, each named after its member;
    /// run it once and bring each folder to its host.
    ///
    /// Example: `orlop backup restore latest --repository /backups --data-dir /srv/new
    /// --initial-cluster a=http://10.0.0.1:2380,b=http://10.0.0.2:2380,c=http://10.0.0.3:2380
    /// --dry-run`
    Restore(Box<restore::Flags>),
}

/// Where backups are kept.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct RepositoryFlag {
    /// The folder that keeps the backups
    #[arg(long, env = "ORLOP_BACKUP_REPOSITORY", value_name = "FOLDER")]
    repository: Option<PathBuf>,
}

impl RepositoryFlag {
    fn is_given(&self) -> bool {
        self.repository.is_some()
    }

    fn open(&self) -> anyhow::Result<Repository> {
        let path = self.repository.as_ref();
        let path = path.context("--repository is needed: the folder that keeps the backups")?;
        Ok(Repository::new(Folder::open(path)?))
    }
}

/// A bar on a terminal, nothing elsewhere.
fn progress(what: &'static str, total: Option<u64>, bytes: bool) -> ProgressBar {
    let bar = total.map_or_else(ProgressBar::new_spinner, ProgressBar::new);
    let form = match (total, bytes) {
        (Some(_), true) => "{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}",
        (Some(_), false) => "{msg} {wide_bar} {human_pos}/{human_len} {eta}",
        (None, true) => "{spinner} {msg} {bytes}",
        (None, false) => "{spinner} {msg} {human_pos}",
    };
    if let Ok(style) = ProgressStyle::with_template(form) {
        bar.set_style(style);
    }
    bar.set_message(what);
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

fn say(text: &str) -> anyhow::Result<()> {
    writeln!(std::io::stdout(), "{text}")?;
    Ok(())
}

/// 1536 as `1.5 KiB`.
fn human(bytes: u64) -> String {
    indicatif::BinaryBytes(bytes).to_string()
}

/// Carries out the command.
pub(crate) async fn run(command: BackupCommand) -> anyhow::Result<()> {
    let blocking: Box<dyn FnOnce() -> anyhow::Result<()> + Send> = match command {
        BackupCommand::Create(flags) => return create::run(*flags).await,
        BackupCommand::Archive(flags) => return archive::run(*flags).await,
        BackupCommand::List { repository, json } => Box::new(move || list(&repository, json)),
        BackupCommand::Verify(flags) => Box::new(move || verify::run(&flags)),
        BackupCommand::Restore(flags) => Box::new(move || restore::run(&flags)),
    };
    tokio::task::spawn_blocking(blocking).await.context("the command broke")?
}

fn list(repository: &RepositoryFlag, json: bool) -> anyhow::Result<()> {
    let backups = repository.open()?.list()?;
    if json {
        let good: Vec<&Manifest> =
            backups.iter().filter_map(|listed| listed.manifest.as_ref().ok()).collect();
        return say(&serde_json::to_string_pretty(&good)?);
    }
    let width = backups.iter().map(|listed| listed.id.len()).max().unwrap_or(0).max(2);
    say(&format!(
        "{:<width$}  {:<20}  {:<10}  {:>12}  {:>10}  CLUSTER",
        "ID", "CREATED", "KIND", "REVISION", "SIZE"
    ))?;
    let mut damaged = 0;
    for listed in &backups {
        let id = &listed.id;
        match &listed.manifest {
            Ok(manifest) => say(&format!(
                "{id:<width$}  {:<20}  {:<10}  {:>12}  {:>10}  {}",
                manifest.created,
                match manifest.kind {
                    Kind::Snapshot => "snapshot",
                    Kind::Checkpoint => "checkpoint",
                },
                manifest.revision,
                human(manifest.bytes()),
                manifest.source.cluster_id
            ))?,
            Err(error) => {
                damaged += 1;
                say(&format!("{id:<width$}  damaged: {error}"))?;
            }
        }
    }
    if damaged > 0 {
        anyhow::bail!("{damaged} of {} manifests cannot be read", backups.len());
    }
    Ok(())
}
