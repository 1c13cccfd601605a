//! What a person reads after a run.

pub mod html;
pub mod replay;
pub mod summary;
pub mod text;
pub(crate) mod words;

use std::fs::File;
use std::io::BufWriter;
use std::path::Path;

use crate::checker::Verdict;
use crate::history::{History, write_edn_lines, write_json_lines};

/// What a page shows of a run, of whichever kind.
#[derive(Clone, Debug)]
pub struct Sheet<'a> {
    /// What was run.
    pub title: String,
    /// The command line that makes the same choices again.
    pub command: String,
    /// What all chance follows from.
    pub seed: u64,
    /// What was recorded.
    pub history: &'a History,
    /// What the checkers say.
    pub verdicts: &'a [Verdict],
}

impl Sheet<'_> {
    /// Writes the run to a folder in every form, and beside it what its kind of run says in words.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub(crate) fn write(&self, folder: &Path, words: &str) -> anyhow::Result<()> {
        let mut history = BufWriter::new(File::create(folder.join("history.jsonl"))?);
        write_json_lines(self.history, &mut history)?;
        let mut history = BufWriter::new(File::create(folder.join("history.edn"))?);
        write_edn_lines(self.history, &mut history)?;
        let verdicts = BufWriter::new(File::create(folder.join("verdicts.json"))?);
        serde_json::to_writer_pretty(verdicts, self.verdicts)?;
        std::fs::write(folder.join("report.txt"), words)?;
        std::fs::write(folder.join("report.html"), html::sheet(self))?;
        Ok(())
    }
}
