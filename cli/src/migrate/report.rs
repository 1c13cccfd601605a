//! How far it is: a bar on a terminal, lines elsewhere, JSON lines for programs.

use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::limits;

/// Tells the person or the program that started the migration.
pub(super) struct Report {
    json: bool,
    bar: Option<ProgressBar>,
    last: Mutex<Option<Instant>>,
}

impl Report {
    pub(super) fn new(json: bool) -> Self {
        let bar = (!json && std::io::stderr().is_terminal()).then(|| {
            let bar = ProgressBar::new_spinner();
            bar.enable_steady_tick(Duration::from_millis(200));
            bar
        });
        Self { json, bar, last: Mutex::new(None) }
    }

    /// Something that everybody must see.
    pub(super) fn say(&self, phase: &str, text: &str, mut fields: Value) {
        if self.json {
            fields["phase"] = json!(phase);
            fields["message"] = json!(text);
            self.line(&fields.to_string());
        } else {
            self.line(text);
        }
    }

    fn line(&self, text: &str) {
        // Without a standard output there is nobody to tell; the exit code still says it.
        let write = || drop(writeln!(std::io::stdout(), "{text}"));
        match &self.bar {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
    }

    /// Whether it is time to say again how far it is.
    fn due(&self) -> bool {
        let mut last = self.last.lock();
        let due = last.is_none_or(|at| at.elapsed() >= limits::MIGRATE_SAY_EVERY);
        if due {
            *last = Some(Instant::now());
        }
        due
    }

    fn style(&self, form: &str) {
        if let (Some(bar), Ok(style)) = (&self.bar, ProgressStyle::with_template(form)) {
            bar.set_style(style);
        }
    }

    /// A walk over all keys begins: the copy, or the check.
    pub(super) fn begin(&self, phase: &'static str) {
        *self.last.lock() = None;
        self.style("{msg} {wide_bar} {human_pos}/{human_len} {per_sec} {eta}");
        if let Some(bar) = &self.bar {
            bar.reset();
            bar.set_message(phase);
        }
    }

    /// So many keys of so many.
    pub(super) fn walked(&self, phase: &str, keys: u64, total: u64, revision: i64) {
        if let Some(bar) = &self.bar {
            bar.set_length(total.max(keys));
            bar.set_position(keys);
        } else if self.due() {
            let text = format!("{phase}: {keys} of {total} keys, at revision {revision}");
            self.say(phase, &text, json!({"keys": keys, "total": total, "revision": revision}));
        }
    }

    /// The source is followed from now on.
    pub(super) fn following(&self) {
        *self.last.lock() = None;
        self.style("{spinner} {msg}");
    }

    pub(super) fn lag(&self, lag: &Lag) {
        let Lag { applied, source, behind } = *lag;
        let revisions = (source - applied).max(0);
        let text = if revisions == 0 {
            format!("follow: at revision {applied}, level with the source")
        } else {
            let seconds = behind.as_secs_f64();
            format!("follow: at revision {applied}, {revisions} revisions ({seconds:.1} s) behind")
        };
        if let Some(bar) = &self.bar {
            bar.set_message(text);
        } else if self.due() {
            let behind = u64::try_from(behind.as_millis()).unwrap_or(u64::MAX);
            let fields = json!({
                "revision": applied,
                "source_revision": source,
                "lag_revisions": revisions,
                "lag_ms": behind,
            });
            self.say("follow", &text, fields);
        }
    }

    /// What comes after this is no longer under way.
    pub(super) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// How far the target is behind.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lag {
    /// The target holds what the source held at this revision.
    pub(super) applied: i64,
    /// The source's revision when it was last asked.
    pub(super) source: i64,
    /// How long ago the source was first seen beyond `applied`.
    pub(super) behind: Duration,
}
