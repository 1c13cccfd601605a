//! What the runtime has of one pod, newest first: the facts that planning and status start from.

use jiff::Timestamp;

use crate::labels;
use crate::runtime::{Outcome, Runtime, RuntimeError, cri};

/// Sandboxes and containers of one pod, each newest first.
#[derive(Debug, Clone, Default)]
pub(crate) struct PodView {
    pub(crate) sandboxes: Vec<Sandbox>,
    pub(crate) containers: Vec<Instance>,
}

/// One sandbox: the network and the cgroup that the pod's containers share.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sandbox {
    pub(crate) id: String,
    pub(crate) is_ready: bool,
    pub(crate) attempt: u32,
    pub(crate) created_ns: i64,
    pub(crate) ips: Vec<String>,
}

/// What one run of a container is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Run {
    #[default]
    Unknown,
    Created,
    Running,
    Exited,
}

/// One run of a container.
#[derive(Debug, Clone, Default)]
pub(crate) struct Instance {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) sandbox: String,
    pub(crate) run: Run,
    pub(crate) created_ns: i64,
    pub(crate) started_ns: i64,
    pub(crate) finished_ns: i64,
    pub(crate) exit_code: i32,
    pub(crate) reason: String,
    pub(crate) message: String,
    pub(crate) image: String,
    pub(crate) image_ref: String,
    pub(crate) restarts: i32,
    pub(crate) hash: String,
    pub(crate) log_path: String,
    pub(crate) message_from_log: bool,
    /// Grace of its pod, in seconds; for when the pod's definition is lost.
    pub(crate) grace: Option<i64>,
    /// Its preStop hook in JSON; empty when it has none.
    pub(crate) pre_stop: String,
}

impl PodView {
    /// Asks the runtime for everything that carries the pod's uid.
    pub(crate) async fn read(runtime: &dyn Runtime, uid: &str) -> Outcome<Self> {
        let labels = labels::of_uid(uid);
        let mut view = Self::default();
        for listed in runtime.list_sandboxes(labels.clone()).await? {
            match runtime.sandbox_status(&listed.id).await {
                Ok(status) => view.sandboxes.push(Sandbox::from(status)),
                Err(RuntimeError::NotFound(_)) => {}
                Err(error) => return Err(error),
            }
        }
        for listed in runtime.list_containers(labels).await? {
            match runtime.container_status(&listed.id).await {
                Ok(status) => {
                    let mut instance = Instance::from(status);
                    instance.sandbox = listed.pod_sandbox_id;
                    view.containers.push(instance);
                }
                Err(RuntimeError::NotFound(_)) => {}
                Err(error) => return Err(error),
            }
        }
        view.sandboxes.sort_by_key(|s| std::cmp::Reverse((s.attempt, s.created_ns)));
        view.containers.sort_by_key(|c| std::cmp::Reverse((c.restarts, c.created_ns)));
        Ok(view)
    }

    /// The runs of one container, newest first.
    pub(crate) fn runs<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Instance> {
        self.containers.iter().filter(move |c| c.name == name)
    }

    /// The newest run of one container.
    pub(crate) fn newest<'a>(&'a self, name: &'a str) -> Option<&'a Instance> {
        self.runs(name).next()
    }

    /// The sandbox in use, if it still is.
    pub(crate) fn ready_sandbox(&self) -> Option<&Sandbox> {
        self.sandboxes.first().filter(|sandbox| sandbox.is_ready)
    }

    /// Whether anything may still be executing.
    pub(crate) fn is_alive(&self) -> bool {
        self.containers.iter().any(|c| matches!(c.run, Run::Running | Run::Unknown))
            || self.sandboxes.iter().any(|s| s.is_ready)
    }
}

impl From<cri::PodSandboxStatus> for Sandbox {
    fn from(status: cri::PodSandboxStatus) -> Self {
        let mut ips = Vec::new();
        if let Some(network) = &status.network {
            ips.push(network.ip.clone());
            ips.extend(network.additional_ips.iter().map(|extra| extra.ip.clone()));
            ips.retain(|ip| !ip.is_empty());
        }
        Self {
            is_ready: status.state() == cri::PodSandboxState::SandboxReady,
            attempt: status.metadata.as_ref().map_or(0, |m| m.attempt),
            created_ns: status.created_at,
            id: status.id,
            ips,
        }
    }
}

impl From<cri::ContainerStatus> for Instance {
    fn from(status: cri::ContainerStatus) -> Self {
        let note = |key: &str| status.annotations.get(key).cloned().unwrap_or_default();
        Self {
            run: match status.state() {
                cri::ContainerState::ContainerCreated => Run::Created,
                cri::ContainerState::ContainerRunning => Run::Running,
                cri::ContainerState::ContainerExited => Run::Exited,
                cri::ContainerState::ContainerUnknown => Run::Unknown,
            },
            name: status.labels.get(labels::CONTAINER_NAME).cloned().unwrap_or_default(),
            restarts: note(labels::RESTART_COUNT).parse().unwrap_or(0),
            hash: note(labels::CONTAINER_HASH),
            message_from_log: note(labels::MESSAGE_POLICY) == "FallbackToLogsOnError",
            grace: note(labels::POD_GRACE).parse().ok(),
            pre_stop: note(labels::PRE_STOP),
            created_ns: status.created_at,
            started_ns: status.started_at,
            finished_ns: status.finished_at,
            exit_code: status.exit_code,
            image: status.image.as_ref().map(|i| i.image.clone()).unwrap_or_default(),
            id: status.id,
            sandbox: String::new(),
            reason: status.reason,
            message: status.message,
            image_ref: status.image_ref,
            log_path: status.log_path,
        }
    }
}

/// A runtime's nanoseconds as a time; zero means "never".
pub(crate) fn time(nanoseconds: i64) -> Option<Timestamp> {
    (nanoseconds > 0).then(|| Timestamp::from_nanosecond(i128::from(nanoseconds)).ok()).flatten()
}
