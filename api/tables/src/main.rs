//! Writes the schema table of `api-machinery`: every message of the generally available groups.
//!
//! Facts come from three places, and a disagreement between them is printed:
//! protobuf numbers, types and list markers from the sources of the crate `k8s-pb`; JSON names and
//! how Go writes zero values from `presence.txt` beside this crate; the set of JSON names of each
//! type once more from the sources of `k8s-openapi`.
//!
//! Run by hand from the workspace root: `cargo run -p api-tables`.

mod facts;
mod markers;
mod messages;
mod write;

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::Parser;

#[derive(Parser)]
struct Args {
    /// Where the table is written.
    #[arg(long, default_value = "api/machinery/src/tables/schema.txt")]
    out: PathBuf,
    /// The facts that no registry crate has.
    #[arg(long, default_value = "api/tables/presence.txt")]
    presence: PathBuf,
    /// What is newer than the crates.
    #[arg(long, default_value = "api/tables/additions.txt")]
    additions: PathBuf,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let sources = crate_sources(&["k8s-pb", "k8s-openapi"])?;
    let messages = messages::read_all(&sources[0].join("src"))?;
    let presence = facts::Presence::read(&args.presence)?;
    let openapi = facts::JsonNames::read(&sources[1].join("src/v1_36"))?;
    let (table, notes) = write::table(&messages, &presence, &openapi);
    for note in &notes {
        eprint_note(note);
    }
    let additions = std::fs::read_to_string(&args.additions)
        .with_context(|| format!("reading {}", args.additions.display()))?;
    let table = write::with_additions(&table, &additions);
    std::fs::write(&args.out, table).with_context(|| format!("writing {}", args.out.display()))?;
    Ok(())
}

#[expect(clippy::print_stderr, reason = "a tool run by hand tells its reader what differs")]
fn eprint_note(note: &str) {
    eprintln!("note: {note}");
}

/// The source folders of crates that the lock file pins.
fn crate_sources(names: &[&str]) -> Result<Vec<PathBuf>> {
    let output = Command::new("cargo")
        .args(["metadata", "--format-version", "1"])
        .output()
        .context("running cargo metadata")?;
    if !output.status.success() {
        bail!("cargo metadata failed: {}", String::from_utf8_lossy(&output.stderr));
    }
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let packages = metadata["packages"].as_array().context("cargo metadata has no packages")?;
    names
        .iter()
        .map(|name| {
            let package = packages
                .iter()
                .find(|package| package["name"] == **name)
                .with_context(|| format!("{name} is not in the lock file"))?;
            let manifest = package["manifest_path"].as_str().context("no manifest path")?;
            Ok(PathBuf::from(manifest).with_file_name(""))
        })
        .collect()
}
