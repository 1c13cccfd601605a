//! Clients that run a generator against all members until they are told to stop.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::Generator;
use crate::client::MemberClient;
use crate::history::{Action, Outcome, Recorder, Step};

/// How much the clients do.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Clients that run at the same time.
    pub clients: usize,
    /// Keys that they share.
    pub keys: usize,
    /// Operations a second and client, at most.
    pub rate: u32,
    /// Seed of all their choices.
    pub seed: u64,
    /// Send linearizable reads as serializable ones: a planted bug, to see the checkers object.
    pub plant_stale_reads: bool,
}

/// Running clients.
#[derive(Debug)]
pub struct Clients {
    tasks: JoinSet<()>,
    stop: CancellationToken,
}

impl Clients {
    /// Starts clients on all members.
    pub fn start(urls: &[String], settings: Settings, recorder: &Recorder) -> anyhow::Result<Self> {
        let stop = CancellationToken::new();
        let processes = Arc::new(AtomicUsize::new(settings.clients));
        let mut tasks = JoinSet::new();
        for client in 0..settings.clients {
            let members =
                urls.iter().map(|url| MemberClient::new(url)).collect::<Result<Vec<_>, _>>()?;
            let worker = Worker {
                generator: Generator::new(settings.seed, client, settings.keys),
                members,
                recorder: recorder.clone(),
                process: client,
                processes: Arc::clone(&processes),
                interval: Duration::from_secs(1) / settings.rate.max(1),
                // Every second client stays with one member: a member that hangs then cannot
                // catch all clients, and the others go on writing.
                home: (client % 2 == 1).then_some((client / 2) % urls.len()),
                plant_stale_reads: settings.plant_stale_reads,
            };
            tasks.spawn(worker.run(stop.clone()));
        }
        Ok(Self { tasks, stop })
    }

    /// Lets every client finish its operation, and returns when all have.
    pub async fn stop(mut self) {
        self.stop.cancel();
        while self.tasks.join_next().await.is_some() {}
    }
}

struct Worker {
    generator: Generator,
    members: Vec<MemberClient>,
    recorder: Recorder,
    process: usize,
    processes: Arc<AtomicUsize>,
    interval: Duration,
    home: Option<usize>,
    plant_stale_reads: bool,
}

impl Worker {
    async fn run(mut self, stop: CancellationToken) {
        let mut pace = tokio::time::interval(self.interval);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = pace.tick() => {}
            }
            let action = self.generator.action();
            let roaming = self.generator.member(self.members.len());
            let member = self.home.unwrap_or(roaming);
            let Some(index) = self.recorder.invoke(self.process, member, action.clone()) else {
                return;
            };
            let sent = self.sent(&action);
            let outcome = self.members[member].execute(&sent).await;
            self.generator.learn(&action, &outcome);
            if matches!(outcome, Outcome::Unknown(_)) {
                self.process = self.processes.fetch_add(1, Ordering::Relaxed);
            }
            self.recorder.complete(index, outcome);
        }
    }

    fn sent(&self, action: &Action) -> Action {
        match action {
            Action::Single { step: step @ (Step::Get { .. } | Step::List { .. }), .. }
                if self.plant_stale_reads =>
            {
                Action::Single { step: step.clone(), serializable: true }
            }
            Action::Single { .. } | Action::Txn { .. } => action.clone(),
        }
    }
}
