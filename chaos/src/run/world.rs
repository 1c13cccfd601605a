//! What all faults of a run share: the cluster, what is wrong with each member at the moment, and
//! who leads.
//!
//! | Rule | What always holds |
//! |------|-------------------|
//! | O1 | A member runs unless a fault that holds wants it down, and is started again when the last |
//! |    | such fault ends. |
//! | O2 | A member that ends by itself while no fault explains it is a crash, and the run fails. |
//! | O3 | One that ends because of a fault is started again when that is over. If it refuses to start, |
//! |    | it is removed, wiped and added again, and this is written down. |

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::api::Api;
use super::clock::Clocks;
use super::links::Links;
use crate::client::{MemberClient, Tokens};
use crate::cluster::{Cluster, Process};
use crate::history::{Action, Outcome, Recorder, Restored, Step};
use crate::limits;
use crate::topo::Topo;
use crate::workload::{Connect, Told as Watched};

/// See the module.
#[derive(Debug)]
pub(super) struct World {
    pub(super) topo: Arc<Topo>,
    pub(super) cluster: Mutex<Cluster>,
    pub(super) links: Mutex<Links>,
    pub(super) recorder: Recorder,
    /// The revision up to which the store was compacted by an operator.
    pub(super) compacted: tokio::sync::Mutex<i64>,
    /// None: the members see the machine's time.
    pub(super) clocks: Option<Clocks>,
    /// Who changes the membership holds it.
    pub(super) membership: tokio::sync::Mutex<()>,
    /// The run is over, nobody waits for anything any more.
    pub(super) closing: CancellationToken,
    /// Members, spare ones too, with the URLs that clients know.
    pub(super) urls: Vec<String>,
    /// At each of them, once the store wants to know who asks; those at members are the clients', too.
    tokens: Vec<Tokens>,
    /// How far watchers are.
    watched: Watched,
    /// Members without the spare ones.
    pub(super) size: usize,
    states: Mutex<Vec<State>>,
    /// Members by the ids that they had.
    ids: Mutex<BTreeMap<u64, usize>>,
    pub(super) told: Mutex<Told>,
}

/// What is written down beside the faults.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// Ends that nothing explains.
    pub(super) crashes: Vec<String>,
    /// What else happened, such as a member that was replaced.
    pub(super) notes: Vec<String>,
    /// What was made of backups.
    pub(super) restored: Vec<Restored>,
}

/// What is wrong with a member at the moment.
#[derive(Clone, Debug, Default)]
struct State {
    /// Faults that want it down.
    down: usize,
    /// Faults that want it stopped.
    paused: usize,
    /// Faults under way that explain that it ends by itself.
    excuses: usize,
    /// Such a fault was there since it last served.
    is_excused: bool,
    /// Its data were damaged: that may show much later.
    is_damaged: bool,
    /// Ends by itself since it last served.
    ends: usize,
    /// It is being replaced.
    is_replaced: bool,
    /// When it is next looked at.
    rests_until: Option<Instant>,
}

/// Who leads, as far as anybody knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct View {
    pub(super) leader: Option<usize>,
    pub(super) term: u64,
}

impl World {
    pub(super) fn new(
        (cluster, topo): (Cluster, Arc<Topo>),
        clocks: Option<Clocks>,
        recorder: &Recorder,
        (watched, connect): (Watched, &Connect),
    ) -> Self {
        let spares = cluster.spares();
        let size = cluster.size();
        let urls = (0..size + spares).map(|member| cluster.url(member)).collect();
        let token = |member| if member < size { connect.tokens(member) } else { Tokens::default() };
        let tokens = (0..size + spares).map(token).collect();
        let mut states = vec![State::default(); size + spares];
        for spare in &mut states[size..] {
            spare.down = 1;
        }
        Self {
            topo,
            cluster: Mutex::new(cluster),
            links: Mutex::default(),
            recorder: recorder.clone(),
            watched,
            compacted: tokio::sync::Mutex::default(),
            clocks,
            membership: tokio::sync::Mutex::default(),
            closing: CancellationToken::new(),
            urls,
            tokens,
            size,
            states: Mutex::new(states),
            ids: Mutex::default(),
            told: Mutex::default(),
        }
    }

    /// For an operator's calls.
    pub(super) fn api(&self, member: usize) -> anyhow::Result<Api> {
        Api::new(&self.urls[member], self.tokens[member].clone())
    }

    /// For calls like the clients', as root.
    pub(super) fn client(&self, member: usize) -> anyhow::Result<MemberClient> {
        Ok(MemberClient::new(&self.urls[member])?.sharing(self.tokens[member].clone()))
    }

    /// Up to here somebody was told every event, and keeps it for the checkers.
    pub(super) fn watched(&self) -> i64 {
        self.watched.highest()
    }

    pub(super) fn note(&self, note: String) {
        let at = self.recorder.now_ns() / 1_000_000;
        tracing::info!(at, note);
        self.told.lock().notes.push(format!("{}.{:03} s: {note}", at / 1000, at % 1000));
    }

    /// Whether its process runs and is not stopped.
    pub(super) fn is_up(&self, member: usize) -> bool {
        let state = &self.states.lock()[member];
        state.down == 0
            && state.paused == 0
            && !state.is_replaced
            && self.cluster.lock().pid(member).is_some()
    }

    /// A fault wants a member down: its process is gone when this returns. Says which it was.
    pub(super) async fn take_down(&self, member: usize) -> anyhow::Result<Option<u32>> {
        self.states.lock()[member].down += 1;
        let process = self.cluster.lock().take_process(member);
        let Some(process) = process else { return Ok(None) };
        let pid = process.id();
        ended(process).await?;
        Ok(Some(pid))
    }

    /// That fault is over.
    pub(super) fn let_up(&self, member: usize) {
        let mut states = self.states.lock();
        states[member].down -= 1;
        drop(states);
        self.start_if_wanted(member);
    }

    /// The fault's own part of [`Self::take_down`], for who ends the process by other means.
    pub(super) fn hold_down(&self, member: usize) {
        self.states.lock()[member].down += 1;
    }

    /// Stops a member; says whether the kernel has it stopped.
    pub(super) async fn pause(&self, member: usize) -> anyhow::Result<bool> {
        self.states.lock()[member].paused += 1;
        if self.cluster.lock().pid(member).is_none() {
            return Ok(false);
        }
        self.cluster.lock().pause(member)?;
        // Signals are delivered soon, not at once.
        let start = Instant::now();
        while start.elapsed() < limits::CONNECT_DEADLINE {
            if self.cluster.lock().running(member).is_ok_and(Process::is_stopped) {
                return Ok(true);
            }
            tokio::time::sleep(limits::BENCH_POLL_INTERVAL).await;
        }
        Ok(false)
    }

    pub(super) fn resume(&self, member: usize) -> anyhow::Result<()> {
        let mut states = self.states.lock();
        states[member].paused -= 1;
        let is_last = states[member].paused == 0;
        drop(states);
        let cluster = self.cluster.lock();
        if is_last && cluster.pid(member).is_some() { cluster.resume(member) } else { Ok(()) }
    }

    /// A fault begins that a member may end of.
    pub(super) fn excuse(&self, member: usize) {
        let state = &mut self.states.lock()[member];
        state.excuses += 1;
        state.is_excused = true;
    }

    /// It is over. It stays an excuse until the member has served again.
    pub(super) fn excuse_ends(&self, member: usize) {
        self.states.lock()[member].excuses -= 1;
    }

    /// Its data are about to be damaged: from now on that explains its ends.
    pub(super) fn damage(&self, member: usize) {
        let state = &mut self.states.lock()[member];
        state.is_damaged = true;
        state.is_excused = true;
    }

    /// Its data are new.
    pub(super) fn is_new(&self, member: usize) {
        let state = &mut self.states.lock()[member];
        state.is_damaged = false;
        state.ends = 0;
    }

    /// Nobody but the caller starts it until [`Self::replaced`]. False: somebody else does that.
    pub(super) fn begin_replacing(&self, member: usize) -> bool {
        let state = &mut self.states.lock()[member];
        !std::mem::replace(&mut state.is_replaced, true)
    }

    pub(super) fn replaced(&self, member: usize) {
        self.states.lock()[member].is_replaced = false;
    }

    fn start_if_wanted(&self, member: usize) {
        let states = self.states.lock();
        let state = &states[member];
        let is_wanted = state.down == 0 && state.excuses == 0 && !state.is_replaced;
        drop(states);
        let mut cluster = self.cluster.lock();
        if is_wanted
            && cluster.pid(member).is_none()
            && let Err(error) = cluster.spawn(member)
        {
            drop(cluster);
            self.note(format!("member {member} cannot be started: {error:#}"));
        }
    }

    /// O1 to O3 for all members, once.
    fn tend(self: &Arc<Self>) {
        let now = Instant::now();
        for member in 0..self.urls.len() {
            let mut states = self.states.lock();
            let state = &mut states[member];
            if state.down > 0 || state.is_replaced || state.rests_until.is_some_and(|at| at > now) {
                continue;
            }
            let mut cluster = self.cluster.lock();
            if let Some(status) = cluster.reap(member) {
                let words = cluster.tail(member);
                state.ends += 1;
                state.rests_until = Some(now + limits::RUN_REST);
                let is_explained = state.is_excused || state.is_damaged;
                let ends = state.ends;
                drop(cluster);
                drop(states);
                self.ended(member, &format!("{status}"), &words, is_explained, ends);
                continue;
            }
            let is_missing = cluster.pid(member).is_none() && state.excuses == 0;
            // Damage stays, however often it is started.
            let is_hopeless = state.ends >= limits::RUN_STARTS_MAX && state.is_excused
                || state.ends > 0 && state.is_damaged;
            drop(cluster);
            if is_missing && is_hopeless {
                state.is_replaced = true;
                drop(states);
                let world = Arc::clone(self);
                tokio::spawn(async move { super::membership::rescue(&world, member).await });
            } else if is_missing {
                drop(states);
                self.start_if_wanted(member);
            }
        }
    }

    fn ended(&self, member: usize, status: &str, words: &str, is_explained: bool, ends: usize) {
        let last = words.lines().last().unwrap_or("").chars().take(400).collect::<String>();
        if is_explained {
            self.note(format!("member {member} ended ({status}) by a fault, {ends} times: {last}"));
        } else {
            let at = self.recorder.now_ns() / 1_000_000;
            let crash = format!(
                "member {member} ended at {at} ms ({status}), and no fault says why:\n{words}"
            );
            self.told.lock().crashes.push(crash);
        }
    }

    /// Keeps O1 to O3 until the run is over.
    pub(super) async fn keep(self: Arc<Self>) {
        while !self.closing.is_cancelled() {
            self.tend();
            tokio::time::sleep(limits::RUN_TEND_INTERVAL).await;
        }
    }

    /// Who leads, asked of all members at once.
    pub(super) async fn view(&self) -> View {
        let asked =
            (0..self.urls.len()).filter(|member| self.is_up(*member)).map(|member| async move {
                let status = self.api(member)?.status(limits::RUN_STATUS_DEADLINE).await?;
                anyhow::Ok((member, status))
            });
        let answers = futures::future::join_all(asked).await;
        let mut view = View::default();
        for (member, status) in answers.into_iter().flatten() {
            let Some(header) = status.header else { continue };
            self.ids.lock().insert(header.member_id, member);
            let term = status.raft_term.max(header.raft_term);
            if term >= view.term && status.leader != 0 {
                let leader = self.ids.lock().get(&status.leader).copied();
                view = View { leader: leader.or(view.leader), term };
            }
        }
        view
    }

    /// The same, when there is a leader.
    pub(super) async fn wait_leader(&self, deadline: Duration) -> anyhow::Result<(usize, u64)> {
        let start = Instant::now();
        loop {
            let view = self.view().await;
            if let Some(leader) = view.leader.filter(|leader| self.is_up(*leader)) {
                return Ok((leader, view.term));
            }
            if start.elapsed() >= deadline || self.closing.is_cancelled() {
                bail!("nobody leads within {deadline:?}");
            }
            tokio::time::sleep(limits::POLL_INTERVAL).await;
        }
    }

    /// The id that a member has now.
    pub(super) async fn id(&self, member: usize) -> anyhow::Result<u64> {
        let status = self.api(member)?.status(limits::RUN_STATUS_DEADLINE).await?;
        Ok(status.header.context("a status has no header")?.member_id)
    }

    /// Waits until a member serves a linearizable read.
    pub(super) async fn wait_serving(
        &self,
        member: usize,
        deadline: Duration,
    ) -> anyhow::Result<()> {
        let mut client = self.client(member)?;
        let step = Step::Get { key: "chaos/no-such-key".to_owned() };
        let read = Action::Single { step, serializable: false };
        let start = Instant::now();
        let mut last = "it does not run".to_owned();
        loop {
            if self.is_up(member) {
                let answer =
                    tokio::time::timeout(limits::RUN_PROBE_DEADLINE, client.execute(&read)).await;
                match answer {
                    Ok(Outcome::Ok(_)) => {
                        self.has_served(member);
                        return Ok(());
                    }
                    Ok(Outcome::Refused(reason) | Outcome::Unknown(reason)) => last = reason,
                    Err(_) => "no answer".clone_into(&mut last),
                }
            }
            if start.elapsed() >= deadline || self.closing.is_cancelled() {
                bail!("member {member} serves nothing within {deadline:?}: {last}");
            }
            tokio::time::sleep(limits::POLL_INTERVAL).await;
        }
    }

    fn has_served(&self, member: usize) {
        let state = &mut self.states.lock()[member];
        if !state.is_damaged {
            state.ends = 0;
        }
        state.is_excused = state.excuses > 0 || state.is_damaged;
    }

    /// A member that is up, other than these, in order.
    pub(super) fn another(&self, not: &[usize]) -> Option<usize> {
        (0..self.size).find(|member| !not.contains(member) && self.is_up(*member))
    }
}

/// SIGKILL, and its end is awaited off the async threads: a process in the middle of a slow sync
/// ends after it.
async fn ended(process: Process) -> anyhow::Result<()> {
    tokio::task::spawn_blocking(move || process.kill()).await?
}
