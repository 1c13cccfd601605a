//! Starting one container: its image, its volumes, its environment, its files, its first hook.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};

use super::files::Files;
use super::stop::grace_of;
use super::worker::Worker;
use crate::limits::{GRACE_MIN_SECONDS, HOOK};
use crate::runtime::{RuntimeError, cri};
use crate::spec::env::{Identity, environment};
use crate::spec::security::ImageUser;
use crate::spec::{SpecError, dns, make};
use crate::view::Sandbox;
use crate::volume;

/// An image that is there.
struct Image {
    id: String,
    user: ImageUser,
}

impl Worker {
    pub(super) async fn prepare_volumes(
        &self,
        pod: &Arc<Pod>,
        pod_ips: Vec<String>,
    ) -> Result<(), SpecError> {
        let sources = self.shared.api.sources(pod).await?;
        let tokens = self.shared.api.tokens(pod).await?;
        let identity = Identity { pod_ips, ..self.shared.identity.clone() };
        let (root, pod) = (self.shared.root.clone(), pod.clone());
        let in_memory = !self.shared.runtime.is_simulated();
        let made = tokio::task::spawn_blocking(move || {
            let inputs = volume::Inputs {
                sources: &sources,
                identity: &identity,
                tokens: &tokens,
                in_memory,
            };
            volume::set_up(&root, &pod, &inputs)
        });
        made.await.map_err(|error| SpecError::Config(error.to_string()))?
    }

    /// The sandbox's configuration, and what of its DNS had to be left out.
    ///
    /// # Errors
    /// When the pod's names do not fit.
    pub(super) async fn sandbox_config(
        &self,
        pod: &Pod,
        spec: &PodSpec,
        attempt: u32,
    ) -> Result<(cri::PodSandboxConfig, Vec<String>), SpecError> {
        let machine = &self.shared.machine;
        // A machine without the file has no resolver to pass on.
        let own = tokio::fs::read_to_string(&machine.resolv_conf).await.unwrap_or_default();
        let namespace = pod.metadata.namespace.as_deref().unwrap_or("default");
        let (dns, left_out) = dns::of_pod(spec, namespace, &machine.cluster, &dns::parse(&own));
        let log_dir = self.log_dir(pod);
        let frame = make::Frame { attempt, log_dir: &log_dir, dns, machine };
        Ok((make::sandbox(pod, spec, frame)?, left_out))
    }

    /// The image, or the API's reason and message why it is not there.
    async fn image(
        &mut self,
        pod: &Arc<Pod>,
        container: &Container,
    ) -> Result<Image, (&'static str, String)> {
        let name = container.image.clone().unwrap_or_default();
        let runtime = self.shared.runtime.clone();
        let inspect = |error: RuntimeError| {
            ("ImageInspectError", format!("Failed to inspect image \"{name}\": {error}"))
        };
        let found = runtime.image(&name).await.map_err(inspect)?;
        let latest = name.ends_with(":latest")
            || !name.rsplit('/').next().unwrap_or_default().contains([':', '@']);
        let policy = container.image_pull_policy.as_deref().unwrap_or(if latest {
            "Always"
        } else {
            "IfNotPresent"
        });
        if let (Some(image), true) = (&found, policy != "Always") {
            let text = format!(
                "Container image \"{name}\" already present on machine and can be accessed by the pod"
            );
            self.shared.api.event(pod, false, "Pulled", text);
            return Ok(Image { id: image.id.clone(), user: ImageUser::of(image) });
        }
        if policy == "Never" {
            let text =
                format!("Container image \"{name}\" is not present with pull policy of Never");
            self.shared.api.event(pod, true, "ErrImageNeverPull", text.clone());
            return Err(("ErrImageNeverPull", text));
        }
        let now = Timestamp::now();
        if let Some((failed, why)) = self.pull_failed.get(&name)
            && self.pull_back_off.until(&name, *failed, now).is_some()
        {
            let text = format!("Back-off pulling image \"{name}\"");
            self.shared.api.event(pod, false, "BackOff", text.clone());
            return Err(("ImagePullBackOff", format!("{text}: ErrImagePull: {why}")));
        }
        self.shared.api.event(pod, false, "Pulling", format!("Pulling image \"{name}\""));
        match runtime.pull_image(&name).await {
            Ok(id) => {
                self.pull_failed.remove(&name);
                self.pull_back_off.forget(&name);
                self.shared.api.event(
                    pod,
                    false,
                    "Pulled",
                    format!("Successfully pulled image \"{name}\""),
                );
                let pulled = runtime.image(&name).await.map_err(inspect)?.unwrap_or_default();
                Ok(Image { id, user: ImageUser::of(&pulled) })
            }
            Err(error) => {
                let why = error.to_string();
                self.shared.api.event(
                    pod,
                    true,
                    "Failed",
                    format!("Failed to pull image \"{name}\": {why}"),
                );
                self.pull_back_off.tried(&name, now, now);
                self.pull_failed.insert(name.clone(), (Timestamp::now(), why.clone()));
                Err(("ErrImagePull", why))
            }
        }
    }

    /// The number of the next run of a container of which the runtime remembers none: its logs
    /// tell how many there were.
    pub(super) async fn runs_before(&self, pod: &Pod, container: &str) -> i32 {
        let folder = self.log_dir(pod).join(container);
        let counted = tokio::task::spawn_blocking(move || crate::logs::runs_before(&folder));
        counted.await.unwrap_or(0)
    }

    /// The environment of a container.
    async fn environment(
        &self,
        pod: &Pod,
        spec: &PodSpec,
        container: &Container,
        identity: &Identity,
    ) -> Result<Vec<(String, String)>, SpecError> {
        let sources = self.shared.api.sources(pod).await?;
        let namespace = pod.metadata.namespace.as_deref().unwrap_or("default");
        let wants_links = spec.enable_service_links != Some(false);
        let is_static = self.desired.lock().is_static;
        let services = self.shared.api.services(namespace, wants_links, is_static).await?;
        environment(pod, container, &sources, identity, &services)
    }

    /// The mounts of a container: volumes, then the files of its own.
    async fn mounts(
        &self,
        pod: &Arc<Pod>,
        container: &Container,
        env: &[(String, String)],
        files: Files,
    ) -> Result<Vec<cri::Mount>, SpecError> {
        let (pod, container, env) = (pod.clone(), container.clone(), env.to_vec());
        let is_simulated = self.shared.runtime.is_simulated();
        let made = tokio::task::spawn_blocking(move || {
            let mut mounts = volume::mounts(&files.root, &pod, &container, &env)?;
            if !is_simulated {
                let made = files.make(&pod, &container, &mut mounts);
                made.map_err(|error| SpecError::Config(error.to_string()))?;
            }
            Ok(mounts)
        });
        made.await.map_err(|error| SpecError::Config(error.to_string()))?
    }

    pub(super) async fn start_container(
        &mut self,
        pod: &Arc<Pod>,
        spec: &PodSpec,
        container: &Container,
        sandbox: &str,
        restarts: i32,
    ) -> Result<(), (&'static str, String)> {
        let runtime = self.shared.runtime.clone();
        let image = self.image(pod, container).await?;
        let config_error = |error: SpecError| ("CreateContainerConfigError", error.to_string());
        let create_error = |error: RuntimeError| ("CreateContainerError", error.to_string());
        let sandbox_now = runtime.sandbox_status(sandbox).await.map_err(create_error)?;
        let attempt = sandbox_now.metadata.as_ref().map_or(0, |m| m.attempt);
        let pod_ips = if spec.host_network == Some(true) {
            vec![self.shared.identity.node_ip.clone()]
        } else {
            Sandbox::from(sandbox_now).ips
        };
        self.prepare_volumes(pod, pod_ips.clone()).await.map_err(config_error)?;
        let identity = Identity { pod_ips: pod_ips.clone(), ..self.shared.identity.clone() };
        let env = self.environment(pod, spec, container, &identity).await.map_err(config_error)?;
        let uid = pod.metadata.uid.as_deref().unwrap_or_default();
        let files = Files {
            root: self.shared.root.clone(),
            ips: pod_ips.clone(),
            cluster_domain: self.shared.machine.cluster.domain.clone(),
            message: self.message_file(uid, &container.name, restarts),
        };
        let mounts = self.mounts(pod, container, &env, files).await.map_err(config_error)?;
        let parts = make::Parts {
            restarts,
            image_id: image.id,
            user: image.user,
            env,
            mounts,
            machine: &self.shared.machine,
        };
        let config = make::container(pod, spec, container, parts).map_err(config_error)?;
        let (sandbox_config, _) =
            self.sandbox_config(pod, spec, attempt).await.map_err(config_error)?;
        let id = runtime
            .create_container(sandbox, config, sandbox_config)
            .await
            .map_err(create_error)?;
        self.shared.api.event(pod, false, "Created", "Container created".to_owned());
        runtime.start_container(&id).await.map_err(|e| ("RunContainerError", e.to_string()))?;
        self.shared.api.event(pod, false, "Started", "Container started".to_owned());
        self.post_start(pod, container, &id, &pod_ips).await
    }

    /// Runs the container's first hook; one that fails takes the container with it.
    async fn post_start(
        &self,
        pod: &Arc<Pod>,
        container: &Container,
        id: &str,
        ips: &[String],
    ) -> Result<(), (&'static str, String)> {
        let hook = container.lifecycle.as_ref().and_then(|l| l.post_start.as_ref());
        let Some(hook) = hook else { return Ok(()) };
        let done = tokio::select! {
            done = self.hook(Some(container), hook, (id, ips), HOOK) => done,
            // A pod that is to end does not wait for the hook.
            () = self.until_unwanted() => Ok(()),
        };
        let Err(why) = done else { return Ok(()) };
        // What the hook said may be a secret: events are for everybody.
        let text = "PostStartHook failed".to_owned();
        self.shared.api.event(pod, true, "FailedPostStartHook", text);
        let text = "FailedPostStartHook".to_owned();
        self.shared.api.event(pod, false, "Killing", text);
        let grace = grace_of(pod).max(GRACE_MIN_SECONDS);
        if let Err(error) = self.shared.runtime.stop_container(id, grace).await {
            tracing::warn!(container = container.name, %error, "a container could not be stopped");
        }
        Err(("PostStartHookError", why))
    }

    /// Answers when the pod is to end.
    async fn until_unwanted(&self) {
        loop {
            {
                let desired = self.desired.lock();
                if desired.is_removed || desired.pod.metadata.deletion_timestamp.is_some() {
                    // The worker itself has to hear it, too.
                    self.news.notify_one();
                    return;
                }
            }
            self.news.notified().await;
        }
    }
}
