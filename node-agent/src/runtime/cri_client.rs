//! The runtime interface spoken to a real runtime (containerd, CRI-O) over its unix socket.

use std::path::{Path, PathBuf};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};

use super::cri::image_service_client::ImageServiceClient;
use super::cri::runtime_service_client::RuntimeServiceClient;
use super::{ExecOutput, Labels, Outcome, Runtime, RuntimeError, cri};
use crate::limits::{IMAGE_PULL, RUNTIME_CALL, RUNTIME_MESSAGE_BYTES_MAX};

/// A connection to a runtime; made when it is first needed and again when it broke.
#[derive(Clone)]
pub(crate) struct Cri {
    runtime: RuntimeServiceClient<Channel>,
    images: ImageServiceClient<Channel>,
}

impl From<Status> for RuntimeError {
    fn from(status: Status) -> Self {
        let message = status.message().to_owned();
        match status.code() {
            Code::NotFound => Self::NotFound(message),
            Code::DeadlineExceeded | Code::Cancelled => Self::Deadline(message),
            _ => Self::Other(message),
        }
    }
}

/// Every call carries its deadline.
fn within<T>(limit: Duration, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(limit);
    request
}

fn call<T>(message: T) -> Request<T> {
    within(RUNTIME_CALL, message)
}

impl Cri {
    /// A client of the socket at `path`; nothing is sent yet.
    pub(crate) fn new(path: &Path) -> Self {
        let path: PathBuf = path.to_owned();
        let channel = Endpoint::from_static("http://localhost").connect_with_connector_lazy(
            tower::service_fn(move |_| {
                let path = path.clone();
                async move {
                    Ok::<_, std::io::Error>(TokioIo::new(
                        tokio::net::UnixStream::connect(path).await?,
                    ))
                }
            }),
        );
        Self {
            runtime: RuntimeServiceClient::new(channel.clone())
                .max_decoding_message_size(RUNTIME_MESSAGE_BYTES_MAX),
            images: ImageServiceClient::new(channel)
                .max_decoding_message_size(RUNTIME_MESSAGE_BYTES_MAX),
        }
    }
}

fn absent(what: &str, id: &str) -> RuntimeError {
    RuntimeError::Other(format!("the runtime answered without the {what} of {id}"))
}

fn spec(name: &str) -> Option<cri::ImageSpec> {
    Some(cri::ImageSpec { image: name.to_owned(), ..Default::default() })
}

#[async_trait::async_trait]
impl Runtime for Cri {
    async fn version(&self) -> Outcome<String> {
        let request = call(cri::VersionRequest { version: "0.1.0".to_owned() });
        let version = self.runtime.clone().version(request).await?.into_inner();
        Ok(format!("{}://{}", version.runtime_name, version.runtime_version))
    }

    async fn problems(&self) -> Outcome<Vec<String>> {
        let request = call(cri::StatusRequest::default());
        let status = self.runtime.clone().status(request).await?.into_inner().status;
        let conditions = status.map(|s| s.conditions).unwrap_or_default();
        let bad = conditions.into_iter().filter(|condition| {
            !condition.status && ["RuntimeReady", "NetworkReady"].contains(&&*condition.r#type)
        });
        Ok(bad.map(|c| format!("{} is false: {} {}", c.r#type, c.reason, c.message)).collect())
    }

    fn is_simulated(&self) -> bool {
        false
    }

    async fn run_sandbox(&self, config: cri::PodSandboxConfig) -> Outcome<String> {
        let request =
            cri::RunPodSandboxRequest { config: Some(config), runtime_handler: String::new() };
        Ok(self.runtime.clone().run_pod_sandbox(call(request)).await?.into_inner().pod_sandbox_id)
    }

    async fn stop_sandbox(&self, id: &str) -> Outcome<()> {
        let request = cri::StopPodSandboxRequest { pod_sandbox_id: id.to_owned() };
        let stopped = self.runtime.clone().stop_pod_sandbox(call(request)).await;
        stopped.map(drop).or_else(|status| RuntimeError::from(status).gone_is_fine())
    }

    async fn remove_sandbox(&self, id: &str) -> Outcome<()> {
        let request = cri::RemovePodSandboxRequest { pod_sandbox_id: id.to_owned() };
        let removed = self.runtime.clone().remove_pod_sandbox(call(request)).await;
        removed.map(drop).or_else(|status| RuntimeError::from(status).gone_is_fine())
    }

    async fn sandbox_status(&self, id: &str) -> Outcome<cri::PodSandboxStatus> {
        let request =
            cri::PodSandboxStatusRequest { pod_sandbox_id: id.to_owned(), verbose: false };
        let answer = self.runtime.clone().pod_sandbox_status(call(request)).await?.into_inner();
        answer.status.ok_or_else(|| absent("status", id))
    }

    async fn list_sandboxes(&self, labels: Labels) -> Outcome<Vec<cri::PodSandbox>> {
        let filter = cri::PodSandboxFilter { label_selector: labels, ..Default::default() };
        let request = cri::ListPodSandboxRequest { filter: Some(filter) };
        Ok(self.runtime.clone().list_pod_sandbox(call(request)).await?.into_inner().items)
    }

    async fn create_container(
        &self,
        sandbox: &str,
        config: cri::ContainerConfig,
        sandbox_config: cri::PodSandboxConfig,
    ) -> Outcome<String> {
        let request = cri::CreateContainerRequest {
            pod_sandbox_id: sandbox.to_owned(),
            config: Some(config),
            sandbox_config: Some(sandbox_config),
        };
        Ok(self.runtime.clone().create_container(call(request)).await?.into_inner().container_id)
    }

    async fn start_container(&self, id: &str) -> Outcome<()> {
        let request = cri::StartContainerRequest { container_id: id.to_owned() };
        self.runtime.clone().start_container(call(request)).await?;
        Ok(())
    }

    async fn stop_container(&self, id: &str, grace_seconds: i64) -> Outcome<()> {
        let request =
            cri::StopContainerRequest { container_id: id.to_owned(), timeout: grace_seconds };
        let limit = RUNTIME_CALL + Duration::from_secs(grace_seconds.max(0).unsigned_abs());
        let stopped = self.runtime.clone().stop_container(within(limit, request)).await;
        stopped.map(drop).or_else(|status| RuntimeError::from(status).gone_is_fine())
    }

    async fn remove_container(&self, id: &str) -> Outcome<()> {
        let request = cri::RemoveContainerRequest { container_id: id.to_owned() };
        let removed = self.runtime.clone().remove_container(call(request)).await;
        removed.map(drop).or_else(|status| RuntimeError::from(status).gone_is_fine())
    }

    async fn container_status(&self, id: &str) -> Outcome<cri::ContainerStatus> {
        let request = cri::ContainerStatusRequest { container_id: id.to_owned(), verbose: false };
        let answer = self.runtime.clone().container_status(call(request)).await?.into_inner();
        answer.status.ok_or_else(|| absent("status", id))
    }

    async fn list_containers(&self, labels: Labels) -> Outcome<Vec<cri::Container>> {
        let filter = cri::ContainerFilter { label_selector: labels, ..Default::default() };
        let request = cri::ListContainersRequest { filter: Some(filter) };
        Ok(self.runtime.clone().list_containers(call(request)).await?.into_inner().containers)
    }

    async fn exec(&self, id: &str, command: Vec<String>, limit: Duration) -> Outcome<ExecOutput> {
        // Zero would mean no limit at all.
        let timeout = i64::try_from(limit.as_secs().max(1)).unwrap_or(i64::MAX);
        let request = cri::ExecSyncRequest { container_id: id.to_owned(), cmd: command, timeout };
        // The runtime enforces the limit; ours only guards against a runtime that hangs.
        let request = within(limit + Duration::from_secs(10), request);
        let answer = self.runtime.clone().exec_sync(request).await?.into_inner();
        let mut output = Vec::from(answer.stdout);
        output.extend_from_slice(&answer.stderr);
        Ok(ExecOutput { output, exit_code: answer.exit_code })
    }

    async fn reopen_log(&self, id: &str) -> Outcome<()> {
        let request = cri::ReopenContainerLogRequest { container_id: id.to_owned() };
        self.runtime.clone().reopen_container_log(call(request)).await?;
        Ok(())
    }

    async fn image(&self, name: &str) -> Outcome<Option<cri::Image>> {
        let request = cri::ImageStatusRequest { image: spec(name), verbose: false };
        Ok(self.images.clone().image_status(call(request)).await?.into_inner().image)
    }

    async fn pull_image(&self, name: &str) -> Outcome<String> {
        let request = cri::PullImageRequest { image: spec(name), ..Default::default() };
        let answer = self.images.clone().pull_image(within(IMAGE_PULL, request)).await?;
        Ok(answer.into_inner().image_ref)
    }

    async fn list_images(&self) -> Outcome<Vec<cri::Image>> {
        let request = call(cri::ListImagesRequest::default());
        Ok(self.images.clone().list_images(request).await?.into_inner().images)
    }

    async fn remove_image(&self, id: &str) -> Outcome<()> {
        let request = call(cri::RemoveImageRequest { image: spec(id) });
        let removed = self.images.clone().remove_image(request).await;
        removed.map(drop).or_else(|status| RuntimeError::from(status).gone_is_fine())
    }

    async fn image_folder(&self) -> Outcome<Option<PathBuf>> {
        let request = call(cri::ImageFsInfoRequest::default());
        let answer = self.images.clone().image_fs_info(request).await?.into_inner();
        let kept = answer.image_filesystems.into_iter().find_map(|known| known.fs_id);
        Ok(kept.map(|id| PathBuf::from(id.mountpoint)))
    }
}
