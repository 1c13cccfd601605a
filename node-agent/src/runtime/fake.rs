//! A runtime that only pretends: pods get an address and "run", but no process is started.
//!
//! For machines without the right to run containers and for scale. A container runs until it is
//! stopped; exit codes, restarts and completion are not simulated, and its log says so.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::Mutex;

use super::{ExecOutput, Labels, Outcome, Runtime, RuntimeError, cri};

/// How long a pretended sandbox takes to appear.
const START_DELAY: Duration = Duration::from_millis(50);

/// The pretending runtime; everything is forgotten when the process ends.
pub(crate) struct Fake {
    addresses: Cidr,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    next: u64,
    sandboxes: BTreeMap<String, (cri::PodSandboxStatus, PathBuf)>,
    containers: BTreeMap<String, (String, cri::ContainerStatus)>,
    images: Vec<cri::Image>,
    #[cfg(test)]
    refuses_to_reopen_logs: bool,
}

#[derive(Debug, Clone, Copy)]
struct Cidr {
    base: u32,
    size: u32,
}

impl Fake {
    /// Addresses of pods come from `pod_cidr` (IPv4, `10.244.0.0/24`); `None` when it is not one.
    pub(crate) fn new(pod_cidr: &str) -> Option<Self> {
        let (address, bits) = pod_cidr.split_once('/')?;
        let address: Ipv4Addr = address.parse().ok()?;
        let bits: u32 = bits.parse().ok().filter(|bits| (1..=30).contains(bits))?;
        let size = 1_u32 << (32 - bits);
        let base = u32::from(address) & !(size - 1);
        Some(Self { addresses: Cidr { base, size }, state: Mutex::default() })
    }
}

/// What tests make happen to it.
#[cfg(test)]
impl Fake {
    pub(crate) fn refuse_to_reopen_logs(&self) {
        self.state.lock().refuses_to_reopen_logs = true;
    }

    pub(crate) fn set_images(&self, images: Vec<cri::Image>) {
        self.state.lock().images = images;
    }

    /// Every running container with this name ends by itself.
    pub(crate) fn end_by_itself(&self, name: &str, exit_code: i32) {
        for (_, container) in self.state.lock().containers.values_mut() {
            let is_meant = container.metadata.as_ref().is_some_and(|m| m.name == name);
            if is_meant && container.state() == cri::ContainerState::ContainerRunning {
                container.set_state(cri::ContainerState::ContainerExited);
                container.exit_code = exit_code;
                container.finished_at = now_ns();
            }
        }
    }

    /// It is emptied behind the agent's back, as by a machine that starts anew.
    pub(crate) fn forget_everything(&self) {
        let mut state = self.state.lock();
        state.sandboxes.clear();
        state.containers.clear();
    }
}

impl State {
    fn id(&mut self, kind: &str) -> String {
        self.next += 1;
        format!("fake-{kind}-{:016x}", self.next)
    }

    /// The lowest free address; `.0` and `.1` belong to the network and its gateway.
    fn address(&self, cidr: Cidr) -> Option<String> {
        let used: std::collections::BTreeSet<&str> = self
            .sandboxes
            .values()
            .filter(|(sandbox, _)| sandbox.state() == cri::PodSandboxState::SandboxReady)
            .filter_map(|(sandbox, _)| sandbox.network.as_ref().map(|n| n.ip.as_str()))
            .collect();
        (2..cidr.size - 1)
            .map(|offset| Ipv4Addr::from(cidr.base + offset).to_string())
            .find(|ip| !used.contains(ip.as_str()))
    }
}

fn now_ns() -> i64 {
    i64::try_from(Timestamp::now().as_nanosecond()).unwrap_or(i64::MAX)
}

fn missing(id: &str) -> RuntimeError {
    RuntimeError::NotFound(format!("{id}: not found"))
}

fn matches(have: &Labels, wanted: &Labels) -> bool {
    wanted.iter().all(|(key, value)| have.get(key) == Some(value))
}

async fn write_log(path: &Path) -> std::io::Result<()> {
    if let Some(folder) = path.parent() {
        tokio::fs::create_dir_all(folder).await?;
    }
    let line = format!(
        "{} stdout F this node runs with the fake runtime: no container was started\n",
        Timestamp::now()
    );
    tokio::fs::write(path, line).await
}

#[async_trait::async_trait]
impl Runtime for Fake {
    async fn version(&self) -> Outcome<String> {
        Ok(format!("fake://{}", env!("CARGO_PKG_VERSION")))
    }

    async fn problems(&self) -> Outcome<Vec<String>> {
        Ok(Vec::new())
    }

    fn is_simulated(&self) -> bool {
        true
    }

    async fn run_sandbox(&self, config: cri::PodSandboxConfig) -> Outcome<String> {
        tokio::time::sleep(START_DELAY).await;
        let mut state = self.state.lock();
        let ip = state
            .address(self.addresses)
            .ok_or_else(|| RuntimeError::Other("no free address in the pod CIDR".to_owned()))?;
        let id = state.id("sandbox");
        let status = cri::PodSandboxStatus {
            id: id.clone(),
            metadata: config.metadata,
            state: cri::PodSandboxState::SandboxReady.into(),
            created_at: now_ns(),
            network: Some(cri::PodSandboxNetworkStatus { ip, additional_ips: Vec::new() }),
            labels: config.labels,
            annotations: config.annotations,
            ..Default::default()
        };
        state.sandboxes.insert(id.clone(), (status, PathBuf::from(config.log_directory)));
        Ok(id)
    }

    async fn stop_sandbox(&self, id: &str) -> Outcome<()> {
        let mut state = self.state.lock();
        if let Some((sandbox, _)) = state.sandboxes.get_mut(id) {
            sandbox.set_state(cri::PodSandboxState::SandboxNotready);
        }
        for (of, container) in state.containers.values_mut() {
            if of == id && container.state() == cri::ContainerState::ContainerRunning {
                container.set_state(cri::ContainerState::ContainerExited);
                container.finished_at = now_ns();
            }
        }
        Ok(())
    }

    async fn remove_sandbox(&self, id: &str) -> Outcome<()> {
        let mut state = self.state.lock();
        state.sandboxes.remove(id);
        state.containers.retain(|_, (of, _)| of != id);
        Ok(())
    }

    async fn sandbox_status(&self, id: &str) -> Outcome<cri::PodSandboxStatus> {
        self.state.lock().sandboxes.get(id).map(|(s, _)| s.clone()).ok_or_else(|| missing(id))
    }

    async fn list_sandboxes(&self, labels: Labels) -> Outcome<Vec<cri::PodSandbox>> {
        let state = self.state.lock();
        let chosen = state.sandboxes.values().filter(|(s, _)| matches(&s.labels, &labels));
        Ok(chosen
            .map(|(s, _)| cri::PodSandbox {
                id: s.id.clone(),
                metadata: s.metadata.clone(),
                state: s.state,
                created_at: s.created_at,
                labels: s.labels.clone(),
                annotations: s.annotations.clone(),
                ..Default::default()
            })
            .collect())
    }

    async fn create_container(
        &self,
        sandbox: &str,
        config: cri::ContainerConfig,
        _: cri::PodSandboxConfig,
    ) -> Outcome<String> {
        let mut state = self.state.lock();
        let folder = state.sandboxes.get(sandbox).ok_or_else(|| missing(sandbox))?.1.clone();
        let id = state.id("container");
        let image = config.image.clone().unwrap_or_default();
        let status = cri::ContainerStatus {
            id: id.clone(),
            metadata: config.metadata,
            state: cri::ContainerState::ContainerCreated.into(),
            created_at: now_ns(),
            image_ref: format!("fake:{}", image.image),
            image: Some(image),
            labels: config.labels,
            annotations: config.annotations,
            log_path: folder.join(config.log_path).to_string_lossy().into_owned(),
            ..Default::default()
        };
        state.containers.insert(id.clone(), (sandbox.to_owned(), status));
        Ok(id)
    }

    async fn start_container(&self, id: &str) -> Outcome<()> {
        let path = {
            let mut state = self.state.lock();
            let (_, container) = state.containers.get_mut(id).ok_or_else(|| missing(id))?;
            container.set_state(cri::ContainerState::ContainerRunning);
            container.started_at = now_ns();
            PathBuf::from(&container.log_path)
        };
        write_log(&path).await.map_err(|error| {
            RuntimeError::Other(format!("cannot write the log {}: {error}", path.display()))
        })
    }

    async fn stop_container(&self, id: &str, _: i64) -> Outcome<()> {
        if let Some((_, container)) = self.state.lock().containers.get_mut(id) {
            container.set_state(cri::ContainerState::ContainerExited);
            container.finished_at = now_ns();
        }
        Ok(())
    }

    async fn remove_container(&self, id: &str) -> Outcome<()> {
        self.state.lock().containers.remove(id);
        Ok(())
    }

    async fn container_status(&self, id: &str) -> Outcome<cri::ContainerStatus> {
        self.state.lock().containers.get(id).map(|(_, c)| c.clone()).ok_or_else(|| missing(id))
    }

    async fn list_containers(&self, labels: Labels) -> Outcome<Vec<cri::Container>> {
        let state = self.state.lock();
        let chosen = state.containers.values().filter(|(_, c)| matches(&c.labels, &labels));
        Ok(chosen
            .map(|(sandbox, c)| cri::Container {
                id: c.id.clone(),
                pod_sandbox_id: sandbox.clone(),
                metadata: c.metadata.clone(),
                state: c.state,
                created_at: c.created_at,
                labels: c.labels.clone(),
                annotations: c.annotations.clone(),
                ..Default::default()
            })
            .collect())
    }

    async fn exec(&self, _: &str, _: Vec<String>, _: Duration) -> Outcome<ExecOutput> {
        Err(RuntimeError::Other("the fake runtime cannot execute commands".to_owned()))
    }

    async fn reopen_log(&self, id: &str) -> Outcome<()> {
        #[cfg(test)]
        if self.state.lock().refuses_to_reopen_logs {
            return Err(RuntimeError::Other("told not to".to_owned()));
        }
        let path = self.container_status(id).await?.log_path;
        // Nothing is ever written to it again.
        tokio::fs::write(path, []).await.map_err(|error| RuntimeError::Other(error.to_string()))
    }

    async fn image(&self, name: &str) -> Outcome<Option<cri::Image>> {
        let id = format!("fake:{name}");
        Ok(Some(cri::Image { id, repo_tags: vec![name.to_owned()], ..Default::default() }))
    }

    async fn pull_image(&self, name: &str) -> Outcome<String> {
        Ok(format!("fake:{name}"))
    }

    async fn list_images(&self) -> Outcome<Vec<cri::Image>> {
        Ok(self.state.lock().images.clone())
    }

    async fn remove_image(&self, id: &str) -> Outcome<()> {
        self.state.lock().images.retain(|image| image.id != id);
        Ok(())
    }

    async fn image_folder(&self) -> Outcome<Option<PathBuf>> {
        Ok(None)
    }
}
