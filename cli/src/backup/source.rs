//! A backup at hand: fetched from a repository and checked, or a file.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use store_backup::archive::{Until, chain};
use store_backup::{Digest, Kind, Manifest, Repository, Snapshot, Summary};
use store_server::Origin;

use super::{RepositoryFlag, progress};

/// A backup of a repository, or a snapshot file.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Which {
    /// The backup's id as `list` names it, `latest`, or a snapshot file
    #[arg(value_name = "BACKUP")]
    backup: String,
    #[command(flatten)]
    repository: RepositoryFlag,
    /// Take a file without a checksum, as one copied out of a data folder of etcd
    #[arg(long)]
    skip_hash_check: bool,
}

/// A backup whose files are at hand and have the right checksums.
pub(super) struct Opened {
    /// What a person calls it.
    pub(super) name: String,
    pub(super) manifest: Option<Manifest>,
    /// Names the content; part of a restored cluster's identity.
    pub(super) fingerprint: String,
    pub(super) content: Content,
    /// What the archive has after it, where that was asked for.
    pub(super) segments: Vec<PathBuf>,
    /// Holds fetched files; removed when this is dropped.
    pub(super) scratch: Scratch,
}

pub(super) enum Content {
    Snapshot(Snapshot),
    /// The folder of the files.
    Checkpoint(PathBuf),
}

impl Which {
    /// With `until`, the backup to begin with, and the archive after it.
    pub(super) fn open(&self, until: Option<Until>) -> anyhow::Result<Opened> {
        let path = Path::new(&self.backup);
        if path.is_file() {
            if until.is_some() {
                bail!("a file has no archive: name a backup of a --repository");
            }
            return self.open_file(path);
        }
        if !self.repository.is_given() {
            bail!("{:?} is not a file, and no --repository is given", self.backup);
        }
        let repository = self.repository.open()?;
        let manifest = match until {
            Some(until) if self.backup == "latest" => repository.find_before(until)?,
            Some(_) | None => repository.find(&self.backup)?,
        };
        let name = format!("backup {}", manifest.id);
        let scratch = Scratch::make(&repository.scratch()?)?;
        let folder = scratch.path.join("files");
        fetch(&repository, &manifest, &folder).with_context(|| name.clone())?;
        let segments = match until {
            Some(_) => fetch_segments(&repository, &manifest, &scratch.path)?,
            None => Vec::new(),
        };
        let content = match manifest.kind {
            Kind::Checkpoint => Content::Checkpoint(folder),
            Kind::Snapshot => {
                let [file] = manifest.files.as_slice() else {
                    bail!("{name} has {} files instead of one", manifest.files.len());
                };
                Content::Snapshot(Snapshot::open(&folder.join(&file.name), Digest::Required)?)
            }
        };
        let fingerprint = manifest.sha256().to_owned();
        Ok(Opened { name, manifest: Some(manifest), fingerprint, content, segments, scratch })
    }

    fn open_file(&self, path: &Path) -> anyhow::Result<Opened> {
        let digest = if self.skip_hash_check { Digest::IfPresent } else { Digest::Required };
        let real =
            path.canonicalize().with_context(|| format!("cannot read {}", path.display()))?;
        let (_, fingerprint) = store_backup::hash_file(path)?;
        Ok(Opened {
            name: path.display().to_string(),
            manifest: None,
            fingerprint,
            content: Content::Snapshot(Snapshot::open(path, digest)?),
            segments: Vec::new(),
            scratch: Scratch::beside(real.parent().unwrap_or(Path::new("."))),
        })
    }
}

fn fetch(repository: &Repository, manifest: &Manifest, folder: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder)
        .with_context(|| format!("cannot create {}", folder.display()))?;
    let bar = progress("fetching", Some(manifest.bytes()), true);
    for file in &manifest.files {
        if !is_plain(&file.name) {
            bail!("the file name {:?} is not allowed", file.name);
        }
        repository.fetch(file, &folder.join(&file.name))?;
        bar.inc(file.bytes);
    }
    bar.finish_and_clear();
    Ok(())
}

/// The segments that lead on from the backup.
fn fetch_segments(
    repository: &Repository,
    manifest: &Manifest,
    scratch: &Path,
) -> anyhow::Result<Vec<PathBuf>> {
    let all = repository.segments(&manifest.source.cluster_id)?;
    let mut paths = Vec::new();
    for segment in chain(all, manifest.revision) {
        let path = scratch.join(format!("segment-{}", segment.after));
        repository.fetch_segment(&segment, &path)?;
        paths.push(path);
    }
    Ok(paths)
}

/// A name that cannot lead out of its folder.
pub(super) fn is_plain(name: &str) -> bool {
    !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\\'])
}

impl Opened {
    /// What it holds, where that can be counted without making a store from it. All of it is read.
    pub(super) fn examine(&self) -> anyhow::Result<Option<Summary>> {
        let Content::Snapshot(snapshot) = &self.content else { return Ok(None) };
        let bar = progress("checking", None, false);
        let (_, summary) = store_backup::examine(snapshot)?;
        bar.finish_and_clear();
        let written = self.manifest.as_ref().and_then(|manifest| manifest.summary.as_ref());
        if written.is_some_and(|written| *written != summary) {
            bail!("the manifest of {} says {written:?}, and it holds {summary:?}", self.name);
        }
        Ok(Some(summary))
    }

    pub(super) fn origin(&self) -> Origin<'_> {
        match &self.content {
            Content::Snapshot(snapshot) => Origin::Snapshot(snapshot),
            Content::Checkpoint(folder) => Origin::Checkpoint(folder),
        }
    }
}

/// A folder of this process alone, removed in the end.
pub(super) struct Scratch {
    pub(super) path: PathBuf,
}

impl Scratch {
    fn beside(parent: &Path) -> Self {
        Self { path: parent.join(format!(".orlop-backup-{}", std::process::id())) }
    }

    /// Makes it in `parent`.
    pub(super) fn make(parent: &Path) -> anyhow::Result<Self> {
        let scratch = Self::beside(parent);
        let path = &scratch.path;
        std::fs::create_dir_all(path)
            .with_context(|| format!("cannot create {}", path.display()))?;
        Ok(scratch)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // It may never have been made; what stays behind is in nobody's way.
        drop(std::fs::remove_dir_all(&self.path));
    }
}
