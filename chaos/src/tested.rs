//! What every kind of run has on its command line: the program that is tested, how its clients ask, and
//! what is kept of the run.

use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::cluster::Launcher;
use crate::report::replay::Line;

/// The program that is tested.
#[derive(Clone, Debug, clap::Args)]
pub struct Tested {
    /// Program whose members are tested; this one when not given
    #[arg(long, value_name = "PATH")]
    pub binary: Option<PathBuf>,
    /// Words between the program and etcd's flags; give "" for real etcd
    #[arg(long, value_name = "WORDS", default_value = "store")]
    pub store_command: String,
    /// One more flag for every member; may be repeated
    #[arg(long = "store-flag", value_name = "FLAG", allow_hyphen_values = true)]
    pub store_flags: Vec<String>,
}

impl Default for Tested {
    fn default() -> Self {
        Self { binary: None, store_command: "store".to_owned(), store_flags: Vec::new() }
    }
}

impl Tested {
    /// A program of ours.
    pub fn orlop(binary: PathBuf) -> Self {
        Self { binary: Some(binary), ..Self::default() }
    }

    /// A real etcd, which says no more than it must.
    pub fn etcd(binary: PathBuf) -> Self {
        Self {
            binary: Some(binary),
            store_command: String::new(),
            store_flags: vec!["--log-level=warn".to_owned()],
        }
    }

    /// How a member is started.
    ///
    /// # Errors
    /// If no program is given, and the running one cannot be found.
    pub fn launcher(&self) -> anyhow::Result<Launcher> {
        launcher(self.binary.as_deref(), &self.store_command, &self.store_flags)
    }

    /// The same on a command line.
    pub(crate) fn tell(&self, line: &mut Line) {
        if let Some(binary) = &self.binary {
            line.flag("binary", binary.display());
        }
        line.flag("store-command", &self.store_command);
        for flag in &self.store_flags {
            line.flag("store-flag", flag);
        }
    }
}

/// A program, this one when none is given, with the words that come before etcd's flags.
pub(crate) fn launcher(
    program: Option<&Path>,
    words: &str,
    extra: &[String],
) -> anyhow::Result<Launcher> {
    let program = match program {
        Some(program) => program.to_owned(),
        None => std::env::current_exe().context("cannot find the running program")?,
    };
    let arguments = words.split_whitespace().map(str::to_owned).collect();
    Ok(Launcher { program, arguments, extra: extra.to_vec() })
}

/// How the clients ask.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Asking {
    /// Whether watchers also ask for their progress all the time. When not given they do if the
    /// members' version says that the answer can be relied on (etcd's since 3.5.13)
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "true")]
    pub watch_progress: Option<bool>,
    /// Plant a bug: send linearizable reads as serializable ones. The checkers must object, or
    /// they are asleep
    #[arg(long)]
    pub plant_stale_reads: bool,
}

impl Asking {
    /// The same on a command line.
    pub(crate) fn tell(&self, line: &mut Line) {
        if let Some(progress) = self.watch_progress {
            line.flag("watch-progress", progress);
        }
        if self.plant_stale_reads {
            line.switch("plant-stale-reads");
        }
    }
}

/// What is kept of a run.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Kept {
    /// Where history, verdicts and logs go when a promise was broken; a temporary folder otherwise
    #[arg(long, value_name = "DIR")]
    pub output: Option<PathBuf>,
    /// Write the history even if nothing is wrong
    #[arg(long)]
    pub keep: bool,
}

impl Kept {
    /// The folder, which exists from now on.
    ///
    /// # Errors
    /// If it cannot be made.
    pub(crate) fn folder(&self) -> anyhow::Result<PathBuf> {
        match &self.output {
            Some(folder) => {
                std::fs::create_dir_all(folder)
                    .with_context(|| format!("cannot make {}", folder.display()))?;
                Ok(folder.clone())
            }
            None => Ok(tempfile::Builder::new().prefix("orlop-chaos-report-").tempdir()?.keep()),
        }
    }
}
