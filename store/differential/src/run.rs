//! A script on two servers at once, and what differs.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};

use anyhow::Context as _;

use crate::answer::Answer;
use crate::differences::{self, Seen};
use crate::generate::Generator;
use crate::limits;
use crate::server::{Launcher, Server};
use crate::side::Side;
use crate::step::Step;

/// Two servers that get the same steps.
pub struct Pair {
    etcd: Half,
    ours: Half,
    /// Known differences that were met, by name.
    pub known: BTreeMap<&'static str, usize>,
}

struct Half {
    server: Server,
    side: Side,
}

impl Half {
    async fn start(launcher: &Launcher) -> anyhow::Result<Self> {
        let server = Server::start(launcher)?;
        let connected = Side::connect(server.url()).await;
        let side = connected.with_context(|| server.last_words())?;
        Ok(Self { server, side })
    }
}

/// Where two servers differ.
#[derive(Clone, Debug)]
pub struct Difference {
    /// The step that showed it.
    pub place: usize,
    /// What etcd and ours said.
    pub what: String,
}

/// What became of a script.
#[derive(Debug)]
pub struct Outcome {
    /// The steps that were carried out, in order.
    pub steps: Vec<Step>,
    /// etcd's answer to each.
    pub answers: Vec<Answer>,
    /// All events, as etcd told them.
    pub history: Vec<String>,
    /// The first difference.
    pub difference: Option<Difference>,
}

/// Where the steps of a script come from.
enum Source<'a> {
    Script(&'a [Step]),
    Generator(&'a mut Generator, usize),
}

impl Source<'_> {
    /// The next steps: reads, or a single other step.
    fn next(&mut self, done: usize) -> Vec<Step> {
        match self {
            Self::Script(steps) => {
                let rest = &steps[done..];
                let reads = rest.iter().take_while(|step| step.is_read()).count();
                rest[..reads.clamp(1, limits::READS_AT_ONCE).min(rest.len())].to_vec()
            }
            Self::Generator(generator, count) => {
                let mut steps = Vec::new();
                while done + steps.len() < *count && steps.len() < limits::READS_AT_ONCE {
                    let step = generator.step();
                    if !step.is_read() && !steps.is_empty() {
                        generator.put_back(step);
                        break;
                    }
                    let alone = !step.is_read();
                    steps.push(step);
                    if alone {
                        break;
                    }
                }
                steps
            }
        }
    }

    fn observe(&mut self, step: &Step, answer: &Answer) {
        match self {
            Self::Script(_) => {}
            Self::Generator(generator, _) => generator.observe(step, answer),
        }
    }
}

impl Pair {
    /// Starts both servers.
    ///
    /// # Errors
    /// When one does not come up.
    pub async fn start(etcd: &Launcher, ours: &Launcher) -> anyhow::Result<Self> {
        let (etcd, ours) = tokio::join!(Half::start(etcd), Half::start(ours));
        let (etcd, ours) = (etcd.context("etcd")?, ours.context("ours")?);
        Ok(Self { etcd, ours, known: BTreeMap::new() })
    }

    /// Runs a script.
    ///
    /// # Errors
    /// When a server cannot be had at all.
    pub async fn run(&mut self, script: &[Step]) -> anyhow::Result<Outcome> {
        self.execute(Source::Script(script)).await
    }

    /// Runs `count` steps that a generator makes up as it goes.
    ///
    /// # Errors
    /// As [`Pair::run`].
    pub async fn explore(
        &mut self,
        generator: &mut Generator,
        count: usize,
    ) -> anyhow::Result<Outcome> {
        self.execute(Source::Generator(generator, count)).await
    }

    /// etcd's version.
    #[must_use]
    pub fn version(&self) -> (u64, u64, u64) {
        self.etcd.side.version
    }

    /// Both servers as a script expects them. One that died is started anew, and one that a script
    /// locked everybody out of; then the other as well, so that both count from the same revision:
    /// what is written as bytes names revisions as they are, and hashes cover them.
    async fn begin(&mut self) -> anyhow::Result<()> {
        let alive =
            self.etcd.server.ensure_alive().is_ok() && self.ours.server.ensure_alive().is_ok();
        if alive {
            let (etcd, ours) = tokio::join!(self.etcd.side.reset(), self.ours.side.reset());
            let offset = |half: &Half| half.side.origin.read().offset;
            if etcd.is_ok() && ours.is_ok() && offset(&self.etcd) == offset(&self.ours) {
                return Ok(());
            }
        }
        let (etcd, ours) = (self.etcd.server.launcher(), self.ours.server.launcher());
        let (etcd, ours) = (etcd.clone(), ours.clone());
        let (etcd, ours) = tokio::join!(Half::start(&etcd), Half::start(&ours));
        (self.etcd, self.ours) = (etcd.context("etcd")?, ours.context("ours")?);
        for half in [&mut self.etcd, &mut self.ours] {
            half.side.reset().await.context("a new server cannot be reset")?;
        }
        Ok(())
    }

    async fn execute(&mut self, mut source: Source<'_>) -> anyhow::Result<Outcome> {
        self.begin().await?;
        let mut outcome = Outcome {
            steps: Vec::new(),
            answers: Vec::new(),
            history: Vec::new(),
            difference: None,
        };
        let total = match &source {
            Source::Script(steps) => steps.len(),
            Source::Generator(_, count) => *count,
        };
        while outcome.steps.len() < total && outcome.difference.is_none() {
            let steps = source.next(outcome.steps.len());
            let (etcd, ours) =
                tokio::join!(self.etcd.side.perform(&steps), self.ours.side.perform(&steps));
            for ((step, etcd), ours) in steps.into_iter().zip(etcd).zip(ours) {
                if outcome.difference.is_none()
                    && let Some(what) = self.compare(&step, &etcd, &ours)
                {
                    outcome.difference = Some(Difference { place: outcome.steps.len(), what });
                }
                source.observe(&step, &etcd);
                outcome.steps.push(step);
                outcome.answers.push(etcd);
            }
        }
        self.finish(&mut outcome).await;
        Ok(outcome)
    }

    /// What watches were told, and that both servers still live.
    async fn finish(&mut self, outcome: &mut Outcome) {
        let (etcd, ours) = tokio::join!(self.etcd.side.settle(), self.ours.side.settle());
        let (told, our) = (self.etcd.side.told(), self.ours.side.told());
        outcome.history = told.iter().map(|event| event.to_text_format()).collect();
        if outcome.difference.is_some() {
            return;
        }
        let mut what = Vec::new();
        if let Err(error) = self.etcd.server.ensure_alive() {
            what.push(format!("etcd: {error:#}"));
        }
        if let Err(error) = self.ours.server.ensure_alive() {
            what.push(format!("ours: {error:#}"));
        }
        if let Err(error) = etcd {
            what.push(format!("etcd: {error:#}"));
        }
        if let Err(error) = ours {
            what.push(format!("ours: {error:#}"));
        }
        for place in 0..told.len().max(our.len()) {
            if told.get(place) != our.get(place) {
                let text = |event: Option<&prost_reflect::DynamicMessage>| {
                    event.map_or_else(|| "nothing".to_owned(), |event| event.to_text_format())
                };
                what.push(format!(
                    "event {place}\n  etcd: {}\n  ours: {}",
                    text(told.get(place)),
                    text(our.get(place))
                ));
                break;
            }
        }
        if !what.is_empty() {
            let place = outcome.steps.len().saturating_sub(1);
            outcome.difference = Some(Difference { place, what: what.join("\n") });
        }
    }

    fn compare(&mut self, step: &Step, etcd: &Answer, ours: &Answer) -> Option<String> {
        let (etcd_origin, our_origin) = (&self.etcd.side.origin, &self.ours.side.origin);
        let apart = !etcd_origin.read().hashes_as(&our_origin.read());
        if etcd == ours || (apart && step.is_hash()) {
            return None;
        }
        let seen = Seen { step, etcd, ours, version: self.etcd.side.version };
        if let Some(known) = differences::known(&seen) {
            *self.known.entry(known.name).or_default() += 1;
            return None;
        }
        let died = [(&mut self.etcd, "etcd"), (&mut self.ours, "ours")].into_iter().filter_map(
            |(half, name)| half.server.ensure_alive().err().map(|why| format!("\n{name}: {why:#}")),
        );
        let died: String = died.collect();
        let told = |answer: &Answer| match answer.to_string() {
            text if text.is_empty() => "nothing\n".to_owned(),
            text => text,
        };
        Some(format!("etcd: {}ours: {}{died}", told(etcd), told(ours)))
    }
}

/// What a comparison over many scripts found.
#[derive(Debug, Default)]
pub struct Report {
    /// Steps that were carried out on both servers.
    pub operations: usize,
    /// Scripts.
    pub scripts: usize,
    /// Known differences that were met, by name.
    pub known: BTreeMap<&'static str, usize>,
    /// The others, as short scripts with what differed, ready to be replayed.
    pub failures: Vec<String>,
}

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} operations in {} scripts", self.operations, self.scripts)?;
        for (name, count) in &self.known {
            writeln!(f, "  known difference, {count} times: {name}")?;
        }
        self.failures.iter().try_for_each(|failure| writeln!(f, "\n{failure}"))
    }
}

/// Runs scripts of `length` steps from the seeds `first`, `first + stride`, … until `operations`
/// steps are done; what differs is shrunk.
///
/// # Errors
/// When a server cannot be had.
pub async fn compare(
    pair: &mut Pair,
    (first, stride): (u64, u64),
    (operations, length): (usize, usize),
) -> anyhow::Result<Report> {
    let mut report = Report::default();
    let mut seed = first;
    while report.operations < operations && report.failures.len() < limits::DIFFERENCES_MAX {
        let mut generator = Generator::new(seed);
        if pair.version() < (3, 6, 0) {
            generator = generator.without_users();
        }
        let outcome = pair.explore(&mut generator, length).await?;
        report.operations += outcome.steps.len();
        report.scripts += 1;
        if outcome.difference.is_some() {
            report.failures.push(explain(pair, seed, outcome).await?);
        }
        seed += stride;
    }
    report.known = std::mem::take(&mut pair.known);
    Ok(report)
}

async fn explain(pair: &mut Pair, seed: u64, outcome: Outcome) -> anyhow::Result<String> {
    let found = outcome.difference.context("only failures are explained")?;
    let mut steps = outcome.steps;
    steps.truncate(found.place + 1);
    let (script, difference) = crate::shrink(pair, steps).await?;
    let (script, difference, again) = match difference {
        Some(difference) => (script, difference, ""),
        None => (script, found, "# it did not happen again\n"),
    };
    let lines: Vec<String> = script.iter().map(Step::to_string).collect();
    Ok(format!(
        "# seed {seed}; step {} of this script differs:\n{again}{}\n# {}",
        difference.place,
        lines.join("\n"),
        difference.what.replace('\n', "\n# ")
    ))
}
