//! The search for an order of one window (Wing and Gong; with Lowe's memory of configurations).
//!
//! Two things keep it short. What changes nothing and fits is ordered at once, because nothing is
//! lost by it. An unanswered write is ordered only just before an operation that needs it: one that
//! nobody needs may as well never have happened.

use std::collections::HashSet;

use super::project::{KeyOp, Need, Value};

/// How far an order has come: all that what comes next depends on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Config {
    state: Value,
    /// All operations of the window before this place are ordered,
    ordered: usize,
    /// and these after it, in rising order.
    ahead: Vec<usize>,
    /// Unanswered operations that have happened, by index in the history, in rising order.
    pub(super) happened: Vec<usize>,
}

impl Config {
    pub(super) fn start(state: Value) -> Self {
        Self { state, ordered: 0, ahead: Vec::new(), happened: Vec::new() }
    }

    fn count(&self) -> usize {
        self.ordered + self.ahead.len()
    }

    fn order(&mut self, place: usize) {
        let at = self.ahead.partition_point(|other| *other < place);
        self.ahead.insert(at, place);
        let run = self.ahead.iter().zip(self.ordered..).take_while(|(have, next)| *have == next);
        let run = run.count();
        self.ahead.drain(..run);
        self.ordered += run;
    }

    fn happen(&mut self, op: usize) {
        let at = self.happened.partition_point(|other| *other < op);
        self.happened.insert(at, op);
    }
}

/// How a search ended.
#[derive(Debug)]
pub(super) enum End<'a> {
    /// There are orders; these are the configurations that they end in.
    Ordered(Vec<Config>),
    /// There is none. The longest one orders so many, leaves this state, and then nothing of what
    /// must come next fits.
    Stuck { ordered: usize, state: Value, left: Vec<&'a KeyOp> },
    /// The limit was reached before that was known.
    TooMany,
}

/// One window and what may happen in it besides.
#[derive(Clone, Copy)]
pub(super) struct Search<'a> {
    pub(super) window: &'a [KeyOp],
    pub(super) unanswered: &'a [KeyOp],
    pub(super) configurations_max: usize,
}

impl<'a> Search<'a> {
    /// Looks for every configuration that the window can end in.
    pub(super) fn run(&self, starts: &[Config]) -> End<'a> {
        let mut seen: HashSet<Config> = starts.iter().cloned().collect();
        let mut open: Vec<Config> = seen.iter().cloned().collect();
        let mut ends = Vec::new();
        let mut longest: Option<Config> = None;
        while let Some(config) = open.pop() {
            if config.ordered == self.window.len() {
                ends.push(Config { ordered: 0, ..config });
                continue;
            }
            for next in self.after(&config) {
                if !seen.contains(&next) {
                    seen.insert(next.clone());
                    open.push(next);
                }
            }
            if seen.len() > self.configurations_max {
                return End::TooMany;
            }
            if longest.as_ref().is_none_or(|other| other.count() < config.count()) {
                longest = Some(config);
            }
        }
        match longest {
            Some(config) if ends.is_empty() => {
                let (candidates, _) = self.candidates(&config);
                let left = candidates.into_iter().map(|place| &self.window[place]).collect();
                End::Stuck { ordered: config.count(), state: config.state, left }
            }
            Some(_) | None => End::Ordered(ends),
        }
    }

    fn after(&self, config: &Config) -> Vec<Config> {
        let (candidates, first_answer_ns) = self.candidates(config);
        let fits = |place: &&usize| {
            let op = &self.window[**place];
            op.effect.is_none() && op.need.allows(config.state)
        };
        if let Some(place) = candidates.iter().find(fits) {
            let mut next = config.clone();
            next.order(*place);
            return vec![next];
        }
        let mut after = Vec::new();
        for place in candidates {
            let op = &self.window[place];
            let mut ready = Vec::new();
            self.prepare(config, op.need, first_answer_ns, &mut ready);
            for mut next in ready {
                next.order(place);
                next.state = op.effect.unwrap_or(next.state);
                after.push(next);
            }
        }
        after
    }

    /// The operations that may come next: those that were sent before any other was answered. Also
    /// when that first answer was.
    fn candidates(&self, config: &Config) -> (Vec<usize>, u64) {
        let mut first_answer_ns = u64::MAX;
        let mut candidates = Vec::new();
        let mut ahead = config.ahead.iter().copied().peekable();
        for (place, op) in self.window.iter().enumerate().skip(config.ordered) {
            if op.invoked_ns > first_answer_ns {
                break;
            }
            if ahead.next_if_eq(&place).is_some() {
                continue;
            }
            first_answer_ns = first_answer_ns.min(op.completed_ns);
            candidates.push(place);
        }
        // A later one may have been sent before an answer that then turned out to be the first.
        candidates.retain(|place| self.window[*place].invoked_ns <= first_answer_ns);
        (candidates, first_answer_ns)
    }

    /// Every way to come to a state that the need allows, through unanswered writes only, each of
    /// which is needed by the next. One that equals an earlier sent one waits until that happened.
    fn prepare(&self, config: &Config, need: Need, until_ns: u64, ready: &mut Vec<Config>) {
        if need.allows(config.state) {
            ready.push(config.clone());
            return;
        }
        let mut tried: HashSet<(Need, Option<Value>)> = HashSet::new();
        for op in self.unanswered.iter().take_while(|op| op.invoked_ns <= until_ns) {
            let Some(effect) = op.effect.filter(|effect| need.allows(*effect)) else { continue };
            if config.happened.contains(&op.op) || !tried.insert((op.need, op.effect)) {
                continue;
            }
            let mut without = config.clone();
            without.happen(op.op);
            let first = ready.len();
            self.prepare(&without, op.need, until_ns, ready);
            for next in &mut ready[first..] {
                next.state = effect;
            }
        }
    }
}
