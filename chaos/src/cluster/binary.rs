//! What a member is started from: a program and the words before etcd's flags.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail, ensure};

/// Any server that understands etcd's flags.
#[derive(Clone, Debug)]
pub struct Launcher {
    /// The program.
    pub program: PathBuf,
    /// Arguments before etcd's own flags, such as the subcommand.
    pub arguments: Vec<String>,
    /// Arguments after them.
    pub extra: Vec<String>,
}

impl Launcher {
    /// Members of our own store, from the one binary.
    pub fn orlop(program: &Path) -> Self {
        Self { program: program.to_owned(), arguments: vec!["store".to_owned()], extra: Vec::new() }
    }

    /// Members of real etcd.
    pub fn etcd(program: &Path) -> Self {
        Self {
            program: program.to_owned(),
            arguments: Vec::new(),
            extra: vec!["--log-level=warn".to_owned()],
        }
    }
}

/// The `orlop` binary of this build: `ORLOP_BIN`, or beside or above the running program in the
/// target folder.
pub fn find_orlop() -> anyhow::Result<PathBuf> {
    if let Some(path) = std::env::var_os("ORLOP_BIN") {
        let path = PathBuf::from(path);
        if path.is_file() {
            return Ok(path);
        }
        bail!("ORLOP_BIN names {}, which is not a file", path.display());
    }
    let running = std::env::current_exe()?;
    let beside = running.ancestors().skip(1).take(3).map(|folder| folder.join("orlop"));
    let mut tried = Vec::new();
    for path in beside {
        if path.is_file() {
            ensure_fresh(&path)?;
            return Ok(path);
        }
        tried.push(path.display().to_string());
    }
    bail!(
        "no orlop binary at {}: build it first (cargo build -p cli), or name it in ORLOP_BIN",
        tried.join(", ")
    )
}

/// A binary of yesterday proves nothing about the code of today: it must know `store`, and be newer
/// than every source of the store. Cargo lists the sources beside the binary.
fn ensure_fresh(binary: &Path) -> anyhow::Result<()> {
    const REMEDY: &str = "build it again: cargo build -p cli";
    let mut help = Command::new(binary);
    help.args(["store", "--help"]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let status = help.status().with_context(|| format!("cannot run {}", binary.display()))?;
    ensure!(status.success(), "{} does not know `store`; {REMEDY}", binary.display());
    let Ok(sources) = std::fs::read_to_string(binary.with_extension("d")) else { return Ok(()) };
    let built = std::fs::metadata(binary)?.modified()?;
    // The workspace is the folder above this crate.
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("a parent folder")?;
    let of_the_store = [workspace.join("store"), workspace.join("proto")];
    // "binary: source source …"; in a path with blanks they are escaped, and such are left out.
    let sources = sources.split_whitespace().map(Path::new);
    let mut ours = sources
        .filter(|source| of_the_store.iter().any(|folder| source.starts_with(folder)))
        .peekable();
    // Clones may share a target folder: the last one that built it owns the binary.
    ensure!(ours.peek().is_some(), "{} was built from another clone; {REMEDY}", binary.display());
    for source in ours {
        if source.is_file() && std::fs::metadata(source)?.modified()? > built {
            bail!("{} is older than {}; {REMEDY}", binary.display(), source.display());
        }
    }
    Ok(())
}
