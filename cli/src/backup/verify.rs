//! `orlop backup verify`: proves that a store can be made from a backup.

use std::time::Instant;

use anyhow::{Context as _, bail};
use store_backup::Summary;
use store_server::{Contents, NewCluster, Plan};

use super::source::{Opened, Which};
use super::{progress, say};

/// Flags of `orlop backup verify`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Flags {
    #[command(flatten)]
    which: Which,
    /// Only check the files: do not make a store from them in a scratch folder
    #[arg(long)]
    quick: bool,
}

pub(super) fn run(flags: &Flags) -> anyhow::Result<()> {
    let began = Instant::now();
    let opened = flags.which.open(None)?;
    let summary = opened.examine()?;
    if let Some(summary) = &summary
        && summary.keys_without_their_lease > 0
    {
        let count = summary.keys_without_their_lease;
        say(&format!("note: the leases of {count} keys are not in it; these keys will stay"))?;
    }
    let name = &opened.name;
    if flags.quick {
        return say(&match summary {
            Some(summary) => format!("{name} is whole: {}", counted(&summary)),
            None => format!("the files of {name} have the right checksums"),
        });
    }
    let contents = trial(&opened, summary.as_ref())?;
    let Contents { revision, compact_revision, hash_kv, keys, leases, users } = contents;
    say(&format!(
        "{name} is sound: revision {revision}, compacted to {compact_revision}, hash {hash_kv:08x}, \
         {keys} keys, {leases} leases, {users} users; checked and restored once in {:.1} s",
        began.elapsed().as_secs_f64(),
    ))
}

fn counted(summary: &Summary) -> String {
    format!(
        "revision {}, compacted to {}, hash {:08x}, {} keys, {} records",
        summary.revision, summary.compact_revision, summary.hash_kv, summary.keys, summary.records
    )
}

/// Makes a store of one member from it, and reads all of that.
fn trial(opened: &Opened, summary: Option<&Summary>) -> anyhow::Result<Contents> {
    let cluster = NewCluster::new("trial=http://127.0.0.1:2380", "trial", &opened.fingerprint)?;
    let parent = &opened.scratch.path;
    std::fs::create_dir_all(parent)
        .with_context(|| format!("cannot create {}", parent.display()))?;
    let folder = parent.join("trial");
    let bar = progress("restoring for trial", summary.map(|summary| summary.records), false);
    let folders = [("trial".to_owned(), folder.clone())];
    let mut seen = |count| bar.set_position(count);
    let plan = Plan::new(opened.origin(), 0);
    store_server::restore(&plan, &cluster, &folders, &mut seen)?;
    bar.finish_and_clear();
    let bar = progress("reading it back", None, false);
    let contents = store_server::read_folder(&folder)?;
    bar.finish_and_clear();

    let made = (contents.revision, contents.compact_revision);
    if let Some(manifest) = &opened.manifest
        && (manifest.revision, manifest.compact_revision) != made
    {
        let written = (manifest.revision, manifest.compact_revision);
        bail!("the store made from it is at {made:?}, and its manifest says {written:?}");
    }
    if let Some(summary) = summary {
        let expected = Contents {
            revision: summary.revision,
            compact_revision: summary.compact_revision,
            hash_kv: summary.hash_kv,
            keys: summary.keys,
            leases: summary.leases,
            users: summary.users,
        };
        if contents != expected {
            bail!("the store made from it holds {contents:?}, and it holds {expected:?}");
        }
    }
    Ok(contents)
}
