//! What a member is started from: a program and the words before etcd's flags.

use std::path::{Path, PathBuf};

use anyhow::bail;

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
            return Ok(path);
        }
        tried.push(path.display().to_string());
    }
    bail!(
        "no orlop binary at {}: build it first (cargo build -p cli), or name it in ORLOP_BIN",
        tried.join(", ")
    )
}
