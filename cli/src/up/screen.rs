//! What a person or a program sees of `orlop up`: a line per step, in the form that fits.

use std::io::{IsTerminal as _, Write as _};
use std::sync::Arc;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use parking_lot::Mutex;
use serde_json::{Value, json};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// A terminal: a spinner while a step runs, then its line.
    Terminal,
    /// A pipe or a file: whole lines only.
    Plain,
    /// One JSON object a line.
    Json,
}

/// Where lines go. Cheap to copy; lines of two tasks never mix.
#[derive(Debug, Clone)]
pub(crate) struct Screen {
    form: Form,
    started: Instant,
    spinner: Arc<Mutex<Option<ProgressBar>>>,
}

/// A step that is under way.
pub(crate) struct Step<'a> {
    screen: &'a Screen,
    name: String,
    started: Instant,
}

impl Screen {
    pub(crate) fn new(json: bool) -> Self {
        let form = match (json, std::io::stdout().is_terminal()) {
            (true, _) => Form::Json,
            (false, true) => Form::Terminal,
            (false, false) => Form::Plain,
        };
        Self { form, started: Instant::now(), spinner: Arc::new(Mutex::new(None)) }
    }

    /// Begins a step; `doing` is what a person reads while it runs.
    pub(crate) fn step(&self, name: &str, doing: &str) -> Step<'_> {
        if self.form == Form::Terminal {
            let style = ProgressStyle::with_template("{spinner:.cyan} {msg}")
                .unwrap_or_else(|_| ProgressStyle::default_spinner());
            let bar = ProgressBar::new_spinner().with_style(style);
            bar.set_message(format!("{name:<WIDTH$} {doing}"));
            bar.enable_steady_tick(Duration::from_millis(100));
            if let Some(before) = self.spinner.lock().replace(bar) {
                before.finish_and_clear();
            }
        }
        Step { screen: self, name: name.to_owned(), started: Instant::now() }
    }

    /// Something that happened, for programs only: an object with these fields and a message of one
    /// line.
    pub(crate) fn data(&self, event: &str, message: &str, mut data: Value) {
        if self.form == Form::Json {
            data["event"] = json!(event);
            data["message"] = json!(message.replace('\n', " "));
            data["at_seconds"] = json!(rounded(self.started.elapsed()));
            self.line(&data.to_string());
        }
    }

    /// A line that must stand out: a part died, something is degraded.
    pub(crate) fn warn(&self, event: &str, human: &str, data: Value) {
        let shown = if self.form == Form::Terminal {
            format!("\x1b[33m!\x1b[0m {human}")
        } else {
            format!("! {human}")
        };
        match self.form {
            Form::Json => self.data(event, human, data),
            Form::Terminal | Form::Plain => self.line(&shown),
        }
    }

    /// Text for people only.
    pub(crate) fn text(&self, human: &str) {
        if self.form != Form::Json {
            self.line(human);
        }
    }

    fn line(&self, line: &str) {
        let spinner = self.spinner.lock();
        let write = || {
            let mut out = std::io::stdout().lock();
            // Whoever read this is gone; the cluster goes on without being watched.
            let written = writeln!(out, "{line}").and_then(|()| out.flush());
            if let Err(error) = written {
                tracing::debug!(%error, "nobody reads the screen");
            }
        };
        match spinner.as_ref() {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
    }

    fn clear_spinner(&self) {
        if let Some(bar) = self.spinner.lock().take() {
            bar.finish_and_clear();
        }
    }
}

const WIDTH: usize = 20;

impl Step<'_> {
    /// What is being waited for now.
    pub(crate) fn doing(&self, doing: &str) {
        if let Some(bar) = self.screen.spinner.lock().as_ref() {
            bar.set_message(format!("{:<WIDTH$} {doing}", self.name));
        }
    }

    /// The step is done; its line with its time is shown.
    pub(crate) fn done(self, detail: &str) {
        self.screen.clear_spinner();
        let took = self.started.elapsed();
        match self.screen.form {
            Form::Json => self.screen.data(
                "step",
                detail,
                json!({"step": self.name, "seconds": rounded(took)}),
            ),
            Form::Terminal => self.screen.line(&format!(
                "\x1b[32m✓\x1b[0m {:<WIDTH$} {detail:<48} {:>5.1} s",
                self.name,
                took.as_secs_f64()
            )),
            Form::Plain => self.screen.line(&format!(
                "{:<WIDTH$} {detail:<48} {:>5.1} s",
                self.name,
                took.as_secs_f64()
            )),
        }
    }
}

impl Drop for Step<'_> {
    fn drop(&mut self) {
        self.screen.clear_spinner();
    }
}

/// Seconds to the millisecond: more digits are noise.
pub(crate) fn rounded(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1000.0).round() / 1000.0
}
