//! The container runtime as the agent needs it: the CRI surface, with a real and a fake maker.

mod cri_client;
mod fake;

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

pub(crate) use cri_client::Cri;
pub(crate) use fake::Fake;
pub(crate) use proto::runtime::v1 as cri;

/// Why the runtime did not do what it was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum RuntimeError {
    /// The object is not there (any more).
    #[error("{0}")]
    NotFound(String),
    /// The call took longer than it may.
    #[error("{0}")]
    Deadline(String),
    /// Anything else, in the runtime's words.
    #[error("{0}")]
    Other(String),
}

impl RuntimeError {
    /// Removing or stopping what is gone is a success.
    pub(crate) fn gone_is_fine(self) -> Result<(), Self> {
        match self {
            Self::NotFound(_) => Ok(()),
            Self::Deadline(_) | Self::Other(_) => Err(self),
        }
    }
}

pub(crate) type Outcome<T> = Result<T, RuntimeError>;

/// What a command inside a container printed, and how it ended.
#[derive(Debug, Clone, Default)]
pub(crate) struct ExecOutput {
    pub(crate) output: Vec<u8>,
    pub(crate) exit_code: i32,
}

/// Labels that select sandboxes and containers.
pub(crate) type Labels = HashMap<String, String>;

/// The runtime. Every call has a deadline of its own.
#[async_trait::async_trait]
pub(crate) trait Runtime: Send + Sync + 'static {
    /// Name and version, such as `containerd://1.6.20`.
    async fn version(&self) -> Outcome<String>;
    /// The reasons why it cannot run pods now; empty when it can.
    async fn problems(&self) -> Outcome<Vec<String>>;
    /// True when containers are only pretended: probes then have nothing to ask.
    fn is_simulated(&self) -> bool;

    async fn run_sandbox(&self, config: cri::PodSandboxConfig) -> Outcome<String>;
    async fn stop_sandbox(&self, id: &str) -> Outcome<()>;
    async fn remove_sandbox(&self, id: &str) -> Outcome<()>;
    async fn sandbox_status(&self, id: &str) -> Outcome<cri::PodSandboxStatus>;
    async fn list_sandboxes(&self, labels: Labels) -> Outcome<Vec<cri::PodSandbox>>;

    async fn create_container(
        &self,
        sandbox: &str,
        config: cri::ContainerConfig,
        sandbox_config: cri::PodSandboxConfig,
    ) -> Outcome<String>;
    async fn start_container(&self, id: &str) -> Outcome<()>;
    async fn stop_container(&self, id: &str, grace_seconds: i64) -> Outcome<()>;
    async fn remove_container(&self, id: &str) -> Outcome<()>;
    async fn container_status(&self, id: &str) -> Outcome<cri::ContainerStatus>;
    async fn list_containers(&self, labels: Labels) -> Outcome<Vec<cri::Container>>;
    async fn exec(&self, id: &str, command: Vec<String>, limit: Duration) -> Outcome<ExecOutput>;
    /// The container's output goes to a new file at its log path from now on.
    async fn reopen_log(&self, id: &str) -> Outcome<()>;

    /// The image as the runtime knows it, or `None` when it is not there.
    async fn image(&self, name: &str) -> Outcome<Option<cri::Image>>;
    async fn pull_image(&self, name: &str) -> Outcome<String>;
    async fn list_images(&self) -> Outcome<Vec<cri::Image>>;
    async fn remove_image(&self, id: &str) -> Outcome<()>;
    /// A folder of the file system that holds images; `None` when none are kept.
    async fn image_folder(&self) -> Outcome<Option<PathBuf>>;
}
