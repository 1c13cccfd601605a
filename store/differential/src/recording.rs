//! A script with what etcd answered, as text, so that our store can be held to it without an etcd.

use std::fmt::Write as _;

use anyhow::{Context as _, ensure};
use prost_reflect::MessageDescriptor;

use crate::answer::Answer;
use crate::differences::{self, Seen};
use crate::limits;
use crate::run::Outcome;
use crate::side::Side;
use crate::step::{Step, keep_alive_method, watch_method};

/// A script with what etcd answered.
#[derive(Debug)]
pub struct Recording {
    /// What is above the script.
    comments: Vec<String>,
    version: (u64, u64, u64),
    steps: Vec<(Step, Answer)>,
    /// Not there in what was written by hand.
    history: Option<Vec<String>>,
}

/// Written before the events that the script caused.
const HISTORY: &str = "history";
const VERSION: &str = "# etcd ";

fn output(step: &Step) -> &MessageDescriptor {
    match step {
        Step::Call { method, .. } | Step::Raw { method, .. } => &method.output,
        Step::Watch { .. } | Step::Close { .. } => &watch_method().output,
        Step::KeepAlive { .. } => &keep_alive_method().output,
        Step::Expire { .. } => {
            let method = crate::wire::method("Lease/LeaseTimeToLive");
            &method.expect("named in the source").output
        }
    }
}

impl Recording {
    /// What was seen of etcd; `comments` stand above it.
    #[must_use]
    pub fn of(outcome: Outcome, version: (u64, u64, u64), comments: Vec<String>) -> Self {
        Self {
            comments,
            version,
            steps: outcome.steps.into_iter().zip(outcome.answers).collect(),
            history: Some(outcome.history),
        }
    }

    /// The script alone.
    #[must_use]
    pub fn script(&self) -> Vec<Step> {
        self.steps.iter().map(|(step, _)| step.clone()).collect()
    }

    /// What is above it.
    #[must_use]
    pub fn comments(&self) -> &[String] {
        &self.comments
    }

    /// Reads the text that [`Recording::to_text`] writes. A step without an answer is one whose
    /// answer was not recorded, so a bare script is read as well.
    ///
    /// # Errors
    /// When it is not of that form.
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        let mut recording =
            Self { comments: Vec::new(), version: (0, 0, 0), steps: Vec::new(), history: None };
        let (body, history) = match text.split_once(&format!("\n{HISTORY}\n")) {
            Some((body, history)) => (body, Some(history)),
            None => (text, None),
        };
        recording.history = history.map(|history| history.lines().map(str::to_owned).collect());
        let mut lines = body.lines().peekable();
        while let Some(line) = lines.next() {
            if let Some(comment) = line.strip_prefix('#') {
                if let Some(version) = line.strip_prefix(VERSION) {
                    let numbers: Vec<u64> =
                        version.split('.').filter_map(|part| part.parse().ok()).collect();
                    ensure!(numbers.len() == 3, "{version} is no version");
                    recording.version = (numbers[0], numbers[1], numbers[2]);
                } else {
                    recording.comments.push(comment.trim().to_owned());
                }
                continue;
            }
            if line.is_empty() {
                continue;
            }
            let step: Step = line.parse().with_context(|| format!("the step {line:?}"))?;
            let mut told = Vec::new();
            while let Some(line) =
                lines.next_if(|line| ["= ", "! ", "~ "].iter().any(|mark| line.starts_with(mark)))
            {
                told.push(line);
            }
            let answer = Answer::parse(output(&step), &told)
                .with_context(|| format!("the answer to {line:?}"))?;
            recording.steps.push((step, answer));
        }
        Ok(recording)
    }

    /// The text.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        for comment in &self.comments {
            writeln!(text, "# {comment}").expect("text grows");
        }
        let (major, minor, patch) = self.version;
        writeln!(text, "{VERSION}{major}.{minor}.{patch}").expect("text grows");
        for (step, answer) in &self.steps {
            write!(text, "{step}\n{answer}").expect("text grows");
        }
        if let Some(history) = &self.history {
            writeln!(text, "{HISTORY}").expect("text grows");
            for event in history {
                writeln!(text, "{event}").expect("text grows");
            }
        }
        text
    }

    /// Runs the script on a server and compares with what was recorded. Answers how many steps
    /// there were.
    ///
    /// # Errors
    /// The first difference that is not known, with the steps before it.
    pub async fn replay(&self, side: &mut Side) -> anyhow::Result<usize> {
        side.reset().await?;
        let mut done = 0;
        while done < self.steps.len() {
            let rest = &self.steps[done..];
            let reads = rest.iter().take_while(|(step, _)| step.is_read()).count();
            let count = reads.clamp(1, limits::READS_AT_ONCE);
            let steps: Vec<Step> = rest[..count].iter().map(|(step, _)| step.clone()).collect();
            let answers = side.perform(&steps).await;
            for ((step, etcd), ours) in rest.iter().zip(&answers) {
                done += 1;
                // Hashes cover the revisions themselves, which are others here.
                if etcd == ours || step.is_hash() {
                    continue;
                }
                let seen = Seen { step, etcd, ours, version: self.version };
                ensure!(
                    differences::known(&seen).is_some(),
                    "step {done}: {step}\n  etcd: {etcd}  ours: {ours}"
                );
            }
        }
        side.settle().await?;
        let told: Vec<String> = side.told().iter().map(|event| event.to_text_format()).collect();
        let Some(history) = &self.history else { return Ok(done) };
        for (place, etcd) in history.iter().enumerate() {
            let ours = told.get(place).map_or("nothing", String::as_str);
            ensure!(etcd == ours, "event {place}\n  etcd: {etcd}\n  ours: {ours}");
        }
        ensure!(told.len() == history.len(), "more events than etcd's");
        Ok(done)
    }
}
