//! Keeps the parts running: one task each, that starts, watches, restarts and stops its process.

use std::collections::BTreeMap;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::process::Child;
use tokio::sync::{mpsc, watch};

use super::probe::Answer;
use super::process::{self, Kind, Spawner, Spec};
use super::screen::Screen;
use crate::limits;

/// How a part says that its leader election ended against its will.
const LEADERSHIP_LOST: &str = "leader election lost";

/// What a part is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum State {
    Starting,
    Running,
    /// Died; waits to be started again.
    BackingOff,
    /// Kept down on request.
    Held,
    Stopped,
}

impl State {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::BackingOff => "backing off",
            Self::Held => "held",
            Self::Stopped => "stopped",
        }
    }
}

/// A part as seen from outside.
#[derive(Debug, Clone, Copy)]
pub(crate) struct View {
    pub(crate) state: State,
    pub(crate) pid: Option<u32>,
    pub(crate) restarts: u32,
    pub(crate) since: Option<Instant>,
}

/// What a part's task can be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    /// SIGTERM, and SIGKILL when that takes too long.
    Stop,
    /// SIGKILL; it is started again like after any death.
    Kill,
    /// SIGKILL, and not started again until released.
    Hold,
    Release,
}

/// One kept process.
pub(crate) struct Part {
    pub(crate) spec: Arc<Spec>,
    orders: mpsc::Sender<Order>,
    pub(crate) view: watch::Receiver<View>,
}

/// All of them.
pub(crate) struct Supervisor {
    parts: BTreeMap<(Kind, String), Part>,
    spawner: Spawner,
    screen: Screen,
}

impl Supervisor {
    pub(crate) fn new(screen: Screen) -> anyhow::Result<Self> {
        Ok(Self { parts: BTreeMap::new(), spawner: Spawner::start()?, screen })
    }

    /// Starts a part and keeps it running from now on.
    pub(crate) fn add(&mut self, spec: Spec) {
        let spec = Arc::new(spec);
        let (orders, inbox) = mpsc::channel(8);
        let (shown, view) =
            watch::channel(View { state: State::Starting, pid: None, restarts: 0, since: None });
        let keeper = Keeper {
            spec: Arc::clone(&spec),
            spawner: self.spawner.clone(),
            screen: self.screen.clone(),
            inbox,
            shown,
            delay: Delay::default(),
        };
        tokio::spawn(keeper.keep());
        let key = (spec.kind, spec.host.clone());
        self.parts.insert(key, Part { spec, orders, view });
    }

    pub(crate) fn parts(&self) -> impl Iterator<Item = &Part> {
        self.parts.values()
    }

    /// SIGKILLs every process of a host; `hold` keeps them down. Answers their names.
    pub(crate) async fn kill_host(&self, host: &str, hold: bool) -> anyhow::Result<Vec<String>> {
        self.order_host(host, if hold { Order::Hold } else { Order::Kill }).await
    }

    /// Starts what was held down.
    pub(crate) async fn start_host(&self, host: &str) -> anyhow::Result<Vec<String>> {
        self.order_host(host, Order::Release).await
    }

    async fn order_host(&self, host: &str, order: Order) -> anyhow::Result<Vec<String>> {
        let mut told = Vec::new();
        for part in self.parts().filter(|part| part.spec.host == host) {
            part.orders.send(order).await.context("the supervisor is stopping")?;
            told.push(part.spec.name());
        }
        if told.is_empty() {
            let mut hosts: Vec<&str> = self.parts().map(|part| part.spec.host.as_str()).collect();
            hosts.sort_unstable();
            hosts.dedup();
            bail!("no host {host}: there are {}", hosts.join(", "));
        }
        Ok(told)
    }

    /// Stops all parts of these kinds, at the same time, and waits until they are gone.
    pub(crate) async fn stop(&self, kinds: &[Kind]) -> usize {
        let mut stopped = 0;
        let chosen = || self.parts().filter(|part| kinds.contains(&part.spec.kind));
        for part in chosen() {
            // A task that has ended has no process left.
            let _ = part.orders.send(Order::Stop).await;
        }
        for part in chosen() {
            let mut view = part.view.clone();
            // The channel closes with the task: gone as well.
            drop(view.wait_for(|view| view.state == State::Stopped).await);
            stopped += 1;
        }
        stopped
    }

    /// Kills everything at once, without waiting.
    pub(crate) fn kill_all(&self) {
        for part in self.parts() {
            let pid = part.view.borrow().pid.and_then(|pid| i32::try_from(pid).ok());
            if let Some(pid) = pid {
                // Whoever is gone already needs no signal.
                let _ = killpg(Pid::from_raw(pid), Signal::SIGKILL);
            }
        }
    }

    /// Waits until the health endpoints of all parts of a kind say ready.
    pub(crate) async fn wait_ready(&self, kind: Kind) -> anyhow::Result<()> {
        let deadline = Instant::now() + limits::STEP_DEADLINE;
        for part in self.parts().filter(|part| part.spec.kind == kind) {
            let Some(probe) = &part.spec.probe else { continue };
            loop {
                let running = part.view.borrow().pid.is_some();
                if running && probe.ask(limits::PROBE_DEADLINE).await == Answer::Ready {
                    break;
                }
                give_up_on_the_dying(part)?;
                if Instant::now() > deadline {
                    bail!(
                        "{} was not ready within {} s: see {}",
                        part.spec.name(),
                        limits::STEP_DEADLINE.as_secs(),
                        part.spec.log.display()
                    );
                }
                tokio::time::sleep(limits::READY_POLL).await;
            }
        }
        Ok(())
    }

    /// Fails when any part of a kind keeps dying: for waits on something other than its health.
    pub(crate) fn check_dying(&self, kind: Kind) -> anyhow::Result<()> {
        self.parts().filter(|part| part.spec.kind == kind).try_for_each(give_up_on_the_dying)
    }
}

fn give_up_on_the_dying(part: &Part) -> anyhow::Result<()> {
    if part.view.borrow().restarts < limits::START_DEATHS_MAX {
        return Ok(());
    }
    let said = process::last_words(&part.spec.log).unwrap_or_else(|| "nothing".to_owned());
    bail!(
        "{} dies at start; its last line: {said} (see {})",
        part.spec.name(),
        part.spec.log.display()
    )
}

/// How long to wait before a part is started again.
#[derive(Debug, Default)]
struct Delay {
    next: Option<Duration>,
}

impl Delay {
    /// The wait after a death, having been up for `up`.
    fn after(&mut self, up: Duration) -> Duration {
        if up >= limits::RESTART_RESET_AFTER {
            self.next = None;
        }
        let delay = self.next.unwrap_or(limits::RESTART_DELAY_FIRST);
        self.next = Some((delay * 2).min(limits::RESTART_DELAY_MAX));
        delay
    }
}

/// The task of one part.
struct Keeper {
    spec: Arc<Spec>,
    spawner: Spawner,
    screen: Screen,
    inbox: mpsc::Receiver<Order>,
    shown: watch::Sender<View>,
    delay: Delay,
}

/// What to do after a process, or a wait, ended.
enum Next {
    Start,
    Hold,
    End,
}

impl Keeper {
    async fn keep(mut self) {
        loop {
            let next = match self.spawner.spawn(Arc::clone(&self.spec)).await {
                Ok(child) => self.watch(child).await,
                Err(error) => self.died(&format!("{error:#}"), Duration::ZERO).await,
            };
            let next = match next {
                Next::Hold => self.held().await,
                Next::Start | Next::End => next,
            };
            if matches!(next, Next::End) {
                self.show(State::Stopped, None);
                return;
            }
        }
    }

    async fn watch(&mut self, mut child: Child) -> Next {
        let began = Instant::now();
        self.show(State::Running, child.id());
        loop {
            let order = tokio::select! {
                ended = child.wait() => {
                    let how = ended.map_or_else(|error| error.to_string(), describe);
                    return self.died(&how, began.elapsed()).await;
                }
                order = self.inbox.recv() => order,
            };
            match order {
                Some(Order::Stop) | None => {
                    self.stop(&mut child).await;
                    return Next::End;
                }
                Some(Order::Kill) => process::kill_group(&child),
                Some(Order::Hold) => {
                    process::kill_group(&child);
                    drop(child.wait().await);
                    return Next::Hold;
                }
                Some(Order::Release) => {}
            }
        }
    }

    async fn stop(&self, child: &mut Child) {
        process::terminate(child);
        if tokio::time::timeout(limits::STOP_PART_DEADLINE, child.wait()).await.is_err() {
            tracing::info!(part = self.spec.name(), "did not stop in time: killed");
            process::kill_group(child);
            drop(child.wait().await);
        }
    }

    /// Says so, waits, and answers what to do then.
    async fn died(&mut self, how: &str, up: Duration) -> Next {
        let delay = self.delay.after(up);
        self.shown.send_modify(|view| view.restarts = view.restarts.saturating_add(1));
        self.show(State::BackingOff, None);
        let name = self.spec.name();
        let reason = self.reason();
        let told = match reason.as_deref() {
            // Upstream's managers end like this too: whoever lost the lead starts afresh.
            Some(reason) if reason.contains(LEADERSHIP_LOST) => {
                format!("{name} gave up the lead ({reason})")
            }
            Some(reason) => format!("{name} died ({how}: {reason})"),
            None => format!("{name} died ({how})"),
        };
        self.screen.warn(
            "part-died",
            &format!("{told}; starting it again in {:.1} s", delay.as_secs_f64()),
            json!({
                "part": self.spec.kind.name(),
                "host": self.spec.host,
                "how": how,
                "reason": reason,
                "restart_in_seconds": delay.as_secs_f64(),
                "log": self.spec.log,
            }),
        );
        let until = tokio::time::Instant::now() + delay;
        loop {
            let order = tokio::select! {
                () = tokio::time::sleep_until(until) => return Next::Start,
                order = self.inbox.recv() => order,
            };
            match order {
                Some(Order::Stop) | None => return Next::End,
                Some(Order::Hold) => return Next::Hold,
                Some(Order::Release) => return Next::Start,
                Some(Order::Kill) => {}
            }
        }
    }

    /// The line in which a part that ended by itself said why. One that was killed said nothing, and
    /// an older line is not its reason.
    fn reason(&self) -> Option<String> {
        let line = process::last_error(&self.spec.log)?;
        Some(line.strip_prefix("error: ").unwrap_or(&line).to_owned())
    }

    async fn held(&mut self) -> Next {
        self.show(State::Held, None);
        loop {
            match self.inbox.recv().await {
                Some(Order::Release) => {
                    self.delay = Delay::default();
                    return Next::Start;
                }
                Some(Order::Stop) | None => return Next::End,
                Some(Order::Hold | Order::Kill) => {}
            }
        }
    }

    fn show(&self, state: State, pid: Option<u32>) {
        self.shown.send_modify(|view| {
            view.state = state;
            view.pid = pid;
            view.since = pid.map(|_| Instant::now());
        });
    }
}

fn describe(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt as _;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => match Signal::try_from(signal) {
            Ok(signal) => format!("killed by {signal}"),
            Err(_) => format!("killed by signal {signal}"),
        },
        (None, None) => "ended".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::{Path, PathBuf};

    fn spec(folder: &Path, host: &str, script: &str) -> Spec {
        Spec {
            host: host.to_owned(),
            kind: Kind::Store,
            address: String::new(),
            program: PathBuf::from("/bin/sh"),
            arguments: vec!["-c".into(), script.into()],
            log: folder.join(format!("{host}.log")),
            probe: None,
        }
    }

    async fn wait_for(part: &Part, what: impl FnMut(&View) -> bool) -> View {
        let mut view = part.view.clone();
        let seen = tokio::time::timeout(Duration::from_secs(10), view.wait_for(what)).await;
        *seen.expect("in time").expect("the task lives")
    }

    #[test]
    fn the_delay_doubles_to_its_limit_and_starts_over_after_a_long_life() {
        let mut delay = Delay::default();
        let seen: Vec<f64> = (0..8).map(|_| delay.after(Duration::ZERO).as_secs_f64()).collect();
        assert_eq!(seen, [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]);
        assert_eq!(delay.after(Duration::from_secs(61)), limits::RESTART_DELAY_FIRST);
    }

    #[tokio::test]
    async fn a_part_that_dies_is_started_again() {
        let folder = tempfile::tempdir().unwrap();
        let mut supervisor = Supervisor::new(Screen::new(true)).unwrap();
        supervisor.add(spec(folder.path(), "host-1", "exit 3"));
        let part = supervisor.parts().next().unwrap();
        wait_for(part, |view| view.restarts >= 2).await;
        supervisor.stop(&[Kind::Store]).await;
        assert_eq!(part.view.borrow().state, State::Stopped);
    }

    #[tokio::test]
    async fn a_held_host_stays_down_until_it_is_released() {
        let folder = tempfile::tempdir().unwrap();
        let mut supervisor = Supervisor::new(Screen::new(true)).unwrap();
        for host in ["host-1", "host-2"] {
            supervisor.add(spec(folder.path(), host, "exec sleep 600"));
        }
        let parts: Vec<&Part> = supervisor.parts().collect();
        for part in &parts {
            wait_for(part, |view| view.pid.is_some()).await;
        }
        let told = supervisor.kill_host("host-1", true).await.unwrap();
        assert_eq!(told, ["host-1-store"]);
        wait_for(parts[0], |view| view.state == State::Held).await;
        assert_eq!(parts[1].view.borrow().state, State::Running);
        supervisor.start_host("host-1").await.unwrap();
        wait_for(parts[0], |view| view.state == State::Running).await;
        assert!(supervisor.kill_host("host-9", false).await.is_err());
        assert_eq!(supervisor.stop(&[Kind::Store]).await, 2);
    }

    #[tokio::test]
    async fn a_part_that_ignores_sigterm_is_killed_with_its_children() {
        let folder = tempfile::tempdir().unwrap();
        let mut supervisor = Supervisor::new(Screen::new(true)).unwrap();
        let child = folder.path().join("child");
        let script = format!("trap '' TERM; sleep 600 & echo $! > {}; wait", child.display());
        supervisor.add(spec(folder.path(), "host-1", &script));
        let part = supervisor.parts().next().unwrap();
        wait_for(part, |view| view.pid.is_some()).await;
        let deadline = Instant::now() + Duration::from_secs(5);
        let pid = loop {
            let text = std::fs::read_to_string(&child).unwrap_or_default();
            if let Ok(pid) = text.trim().parse::<i32>() {
                break pid;
            }
            assert!(Instant::now() < deadline);
            tokio::time::sleep(Duration::from_millis(10)).await;
        };
        supervisor.stop(&[Kind::Store]).await;
        let gone = || {
            // An orphan that was killed may stay a zombie until its new parent looks.
            std::fs::read_to_string(format!("/proc/{pid}/stat"))
                .map_or(true, |stat| stat.contains(") Z "))
        };
        while !gone() {
            assert!(Instant::now() < deadline, "the child of the part lives");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}
