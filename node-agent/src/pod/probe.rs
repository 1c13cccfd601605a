//! Probes: the agent's questions to running containers, and what the answers add up to.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, PodStatus, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use parking_lot::Mutex;
use tokio::net::TcpStream;
use tokio::sync::Notify;

use super::{grpc, http};
use crate::limits::{PROBE_BODY_BYTES_MAX, PROBE_RETRIES};
use crate::plan::Health;
use crate::runtime::{Runtime, RuntimeError};
use crate::spec::env::expand;
use crate::view::{Instance, time};

/// What a probe is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Purpose {
    Startup,
    Liveness,
    Readiness,
}

/// The verdicts about one run of a container.
#[derive(Debug, Clone, Copy)]
struct Verdicts {
    is_started: bool,
    is_ready: bool,
    must_die: Option<&'static str>,
}

/// A run of a container to ask about.
pub(crate) struct Running<'a> {
    container: &'a Container,
    id: String,
    /// When it started: a probe's first delay counts from there, whenever the agent came.
    since: Option<Timestamp>,
    /// It was said to be started, or ready, before this agent started.
    was_started: bool,
    was_ready: bool,
}

impl<'a> Running<'a> {
    /// A run, and what a status said about it before: a restart of the agent is no reason to take
    /// a ready container out of service.
    pub(crate) fn new(container: &'a Container, run: &Instance, before: &PodStatus) -> Self {
        let id = &*run.id;
        let of = |list: &Option<Vec<k8s_openapi::api::core::v1::ContainerStatus>>| {
            list.iter().flatten().find(|c| c.name == container.name).cloned()
        };
        let known = of(&before.container_statuses)
            .or_else(|| of(&before.init_container_statuses))
            .filter(|c| c.container_id.as_ref().is_some_and(|known| known.ends_with(id)));
        Self {
            container,
            id: id.to_owned(),
            since: time(run.started_ns),
            was_started: known.as_ref().is_some_and(|c| c.started == Some(true)),
            was_ready: known.as_ref().is_some_and(|c| c.ready),
        }
    }
}

/// The probes of one pod; dropping it ends them.
pub(crate) struct Prober {
    runtime: Arc<dyn Runtime>,
    news: Arc<Notify>,
    verdicts: Arc<Mutex<HashMap<String, Verdicts>>>,
    tasks: HashMap<String, Vec<tokio::task::JoinHandle<()>>>,
    complaints: Arc<Mutex<Vec<String>>>,
}

impl Drop for Prober {
    fn drop(&mut self) {
        self.tasks.values().flatten().for_each(tokio::task::JoinHandle::abort);
    }
}

impl Prober {
    pub(crate) fn new(runtime: Arc<dyn Runtime>, news: Arc<Notify>) -> Self {
        Self {
            runtime,
            news,
            verdicts: Arc::default(),
            tasks: HashMap::new(),
            complaints: Arc::default(),
        }
    }

    /// Failures since the last call, as messages of events.
    pub(crate) fn complaints(&self) -> Vec<String> {
        std::mem::take(&mut self.complaints.lock())
    }

    /// What is known about a run (by container id) of a container.
    pub(crate) fn health(&self, container: &Container, id: &str) -> Health {
        if self.runtime.is_simulated() {
            return Health::FINE;
        }
        match self.verdicts.lock().get(id) {
            Some(v) => {
                Health { is_started: v.is_started, is_ready: v.is_ready, must_die: v.must_die }
            }
            None => Health {
                is_started: container.startup_probe.is_none(),
                is_ready: container.readiness_probe.is_none(),
                must_die: None,
            },
        }
    }

    /// Starts the probes of new runs and ends those of runs that are gone.
    pub(crate) fn attend(&mut self, running: &[Running<'_>], ip: Option<&str>) {
        if self.runtime.is_simulated() {
            return;
        }
        let gone: Vec<String> = self
            .tasks
            .keys()
            .filter(|id| !running.iter().any(|run| run.id == **id))
            .cloned()
            .collect();
        for id in gone {
            self.tasks.remove(&id).into_iter().flatten().for_each(|task| task.abort());
            self.verdicts.lock().remove(&id);
        }
        for Running { container, id, since, was_started, was_ready } in running {
            if self.tasks.contains_key(id) {
                continue;
            }
            let kinds = [
                (Purpose::Startup, &container.startup_probe),
                (Purpose::Liveness, &container.liveness_probe),
                (Purpose::Readiness, &container.readiness_probe),
            ];
            let first = Verdicts {
                is_started: *was_started || container.startup_probe.is_none(),
                is_ready: *was_ready || container.readiness_probe.is_none(),
                must_die: None,
            };
            self.verdicts.lock().insert(id.clone(), first);
            let mut tasks = Vec::new();
            for (purpose, probe) in kinds {
                let Some(probe) = probe.clone() else { continue };
                let question = Question {
                    runtime: self.runtime.clone(),
                    id: id.clone(),
                    ip: ip.unwrap_or("127.0.0.1").to_owned(),
                    since: *since,
                    container: (*container).clone(),
                    probe,
                };
                let watch = Watch {
                    purpose,
                    verdicts: self.verdicts.clone(),
                    news: self.news.clone(),
                    complaints: self.complaints.clone(),
                };
                tasks.push(tokio::spawn(watch.run(question)));
            }
            self.tasks.insert(id.clone(), tasks);
        }
    }
}

/// One probe of one run.
struct Watch {
    purpose: Purpose,
    verdicts: Arc<Mutex<HashMap<String, Verdicts>>>,
    news: Arc<Notify>,
    complaints: Arc<Mutex<Vec<String>>>,
}

fn seconds(value: Option<i32>, default: u64) -> Duration {
    let given = value.and_then(|v| u64::try_from(v).ok()).filter(|v| *v > 0);
    Duration::from_secs(given.unwrap_or(default))
}

impl Watch {
    async fn run(self, question: Question) {
        let probe = &question.probe;
        tokio::time::sleep(question.first_delay(Timestamp::now())).await;
        let mut tick = tokio::time::interval(seconds(probe.period_seconds, 10));
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let (mut streak, mut last) = (0, None);
        loop {
            tick.tick().await;
            let started = self.verdicts.lock().get(&question.id).is_some_and(|v| v.is_started);
            match self.purpose {
                Purpose::Startup if started => return,
                Purpose::Liveness | Purpose::Readiness if !started => continue,
                Purpose::Startup | Purpose::Liveness | Purpose::Readiness => {}
            }
            let good = match question.ask().await {
                Answer::Good => true,
                Answer::Bad(why) => {
                    self.complain(format!("{:?} probe failed: {why}", self.purpose));
                    false
                }
                Answer::Unknown(why) => {
                    let what = "probe errored and resulted in unknown state";
                    self.complain(format!("{:?} {what}: {why}", self.purpose));
                    continue;
                }
            };
            streak = if last == Some(good) { streak + 1 } else { 1 };
            last = Some(good);
            let needed = if good {
                probe.success_threshold.unwrap_or(1)
            } else {
                probe.failure_threshold.unwrap_or(3)
            };
            if streak < needed.max(1) {
                continue;
            }
            self.conclude(&question.id, good);
            // A run that is condemned, or has started, is asked no more.
            if self.purpose == Purpose::Startup || (self.purpose == Purpose::Liveness && !good) {
                return;
            }
        }
    }

    fn complain(&self, text: String) {
        self.complaints.lock().push(text);
        self.news.notify_one();
    }

    fn conclude(&self, id: &str, good: bool) {
        let mut all = self.verdicts.lock();
        let Some(verdicts) = all.get_mut(id) else { return };
        let before = (verdicts.is_started, verdicts.is_ready, verdicts.must_die);
        match (self.purpose, good) {
            (Purpose::Startup, true) => verdicts.is_started = true,
            (Purpose::Startup, false) => verdicts.must_die = Some("failed startup probe"),
            (Purpose::Liveness, true) => {}
            (Purpose::Liveness, false) => verdicts.must_die = Some("failed liveness probe"),
            (Purpose::Readiness, good) => verdicts.is_ready = good,
        }
        if before != (verdicts.is_started, verdicts.is_ready, verdicts.must_die) {
            self.news.notify_one();
        }
    }
}

/// What a container said to a probe.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    Good,
    Bad(String),
    /// The question did not reach it: nobody can tell.
    Unknown(String),
}

/// What to ask and whom.
struct Question {
    runtime: Arc<dyn Runtime>,
    id: String,
    ip: String,
    since: Option<Timestamp>,
    container: Container,
    probe: Probe,
}

impl Question {
    /// How long from `now` until the first question.
    fn first_delay(&self, now: Timestamp) -> Duration {
        let initial = u64::try_from(self.probe.initial_delay_seconds.unwrap_or(0)).unwrap_or(0);
        let passed = self.since.map(|since| now.duration_since(since)).unwrap_or_default();
        Duration::from_secs(initial).saturating_sub(passed.try_into().unwrap_or_default())
    }

    async fn ask(&self) -> Answer {
        let limit = seconds(self.probe.timeout_seconds, 1);
        if let Some(exec) = &self.probe.exec {
            return self.exec(exec.command.as_deref().unwrap_or_default(), limit).await;
        }
        let asked = async {
            if let Some(action) = &self.probe.http_get {
                let host = action.host.as_deref().filter(|h| !h.is_empty()).unwrap_or(&self.ip);
                http::probe(action, host, port_of(Some(&self.container), &action.port)?).await
            } else if let Some(tcp) = &self.probe.tcp_socket {
                let host = tcp.host.as_deref().filter(|h| !h.is_empty()).unwrap_or(&self.ip);
                let port = port_of(Some(&self.container), &tcp.port)?;
                TcpStream::connect((host, port)).await.map(drop).map_err(|e| e.to_string())
            } else if let Some(action) = &self.probe.grpc {
                let port = port_of(None, &IntOrString::Int(action.port))?;
                grpc::probe(&self.ip, port, action.service.as_deref().unwrap_or_default()).await
            } else {
                Err("missing probe handler".to_owned())
            }
        };
        match tokio::time::timeout(limit, asked).await {
            Ok(Ok(())) => Answer::Good,
            Ok(Err(why)) => Answer::Bad(why),
            Err(_) => Answer::Bad(format!("timeout after {limit:?}")),
        }
    }

    /// Runs a command in the container. It sees no environment but what the definition spells out.
    async fn exec(&self, command: &[String], limit: Duration) -> Answer {
        let spelled = |name: &str| {
            let vars = self.container.env.iter().flatten();
            vars.into_iter().rev().find(|var| var.name == name)?.value.clone()
        };
        let command: Vec<String> = command.iter().map(|part| expand(part, &spelled)).collect();
        let mut last = String::new();
        for _ in 0..PROBE_RETRIES {
            match self.runtime.exec(&self.id, command.clone(), limit).await {
                Ok(done) if done.exit_code == 0 => return Answer::Good,
                Ok(done) => {
                    let end = done.output.len().min(PROBE_BODY_BYTES_MAX);
                    return Answer::Bad(String::from_utf8_lossy(&done.output[..end]).into_owned());
                }
                Err(RuntimeError::Deadline(_)) => {
                    return Answer::Bad(format!("command timed out after {limit:?}"));
                }
                Err(error) => last = error.to_string(),
            }
        }
        Answer::Unknown(last)
    }
}

/// A port by number, by the name of one of the container's ports, or a number in quotes.
pub(crate) fn port_of(container: Option<&Container>, port: &IntOrString) -> Result<u16, String> {
    let number = match port {
        IntOrString::Int(number) => Some(*number),
        IntOrString::String(name) => container
            .and_then(|c| c.ports.iter().flatten().find(|p| p.name.as_ref() == Some(name)))
            .map(|p| p.container_port)
            .or_else(|| name.parse().ok()),
    };
    number.and_then(|n| u16::try_from(n).ok()).ok_or_else(|| format!("no port {port:?}"))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::runtime::Fake;

    fn question(probe: serde_json::Value, since: Option<Timestamp>) -> Question {
        let container = serde_json::json!({"name": "c", "env": [
            {"name": "A", "value": "old"}, {"name": "A", "value": "new"},
            {"name": "B", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]});
        Question {
            runtime: Arc::new(Fake::new("10.9.8.0/24").unwrap()),
            id: "c0".to_owned(),
            ip: "127.0.0.1".to_owned(),
            since,
            container: serde_json::from_value(container).unwrap(),
            probe: serde_json::from_value(probe).unwrap(),
        }
    }

    fn watch(purpose: Purpose) -> (Watch, Arc<Mutex<HashMap<String, Verdicts>>>) {
        let first = Verdicts { is_started: true, is_ready: false, must_die: None };
        let verdicts = Arc::new(Mutex::new(HashMap::from([("c0".to_owned(), first)])));
        let (news, complaints) = (Arc::default(), Arc::default());
        (Watch { purpose, verdicts: verdicts.clone(), news, complaints }, verdicts)
    }

    #[test]
    fn the_first_delay_counts_from_the_start_of_the_container() {
        let now = Timestamp::from_second(1_000_000).unwrap();
        let ago = |seconds: i64| Some(now - jiff::SignedDuration::from_secs(seconds));
        let delay = |since| {
            question(serde_json::json!({"initialDelaySeconds": 30}), since).first_delay(now)
        };
        assert_eq!(delay(ago(10)), Duration::from_secs(20));
        assert_eq!(delay(ago(90)), Duration::ZERO, "a new agent does not begin anew");
        assert_eq!(delay(None), Duration::from_secs(30));
    }

    #[tokio::test]
    async fn a_command_that_could_not_be_run_says_nothing_about_the_container() {
        let probe = serde_json::json!({"exec": {"command": ["true"]}});
        let answer = question(probe, None).ask().await;
        let why = "the fake runtime cannot execute commands".to_owned();
        assert_eq!(answer, Answer::Unknown(why));
        let none = question(serde_json::json!({}), None).ask().await;
        assert_eq!(none, Answer::Bad("missing probe handler".to_owned()));
    }

    #[tokio::test]
    async fn a_condemned_container_is_not_asked_again() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = Arc::new(AtomicUsize::new(0));
        let count = asked.clone();
        let served = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                let answer = b"HTTP/1.1 500 Oops\r\n\r\n";
                let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, answer).await;
            }
        });
        let probe = serde_json::json!({"periodSeconds": 1, "failureThreshold": 1,
            "httpGet": {"port": port}});
        let (watch, verdicts) = watch(Purpose::Liveness);
        let run = watch.run(question(probe, None));
        tokio::time::timeout(Duration::from_secs(20), run).await.unwrap();
        assert_eq!(verdicts.lock()["c0"].must_die, Some("failed liveness probe"));
        assert_eq!(asked.load(Ordering::SeqCst), 1);
        served.abort();
    }
}
