//! What a member is started from: a program and the words before etcd's flags.

use std::path::{Path, PathBuf};

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
