//! Starting one container: its image, its volumes, its environment, its files, its first hook.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};

use super::worker::Worker;
use crate::limits::{GRACE_MIN_SECONDS, HOOK};
use crate::runtime::cri;
use crate::spec::SpecError;
use crate::spec::env::{Identity, environment};
use crate::spec::make;
use crate::volume;

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

    /// The image's id, or the API's reason and message why it is not there.
    async fn image(
        &mut self,
        pod: &Arc<Pod>,
        container: &Container,
    ) -> Result<String, (&'static str, String)> {
        let name = container.image.clone().unwrap_or_default();
        let runtime = self.shared.runtime.clone();
        let found = runtime.image(&name).await.map_err(|e| ("ImageInspectError", e.to_string()))?;
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
            return Ok(image.id.clone());
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
                Ok(id)
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
                self.pull_failed.insert(name, (Timestamp::now(), why.clone()));
                Err(("ErrImagePull", why))
            }
        }
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
        let image_id = self.image(pod, container).await?;
        let config_error = |error: SpecError| ("CreateContainerConfigError", error.to_string());
        let sandbox_now = runtime
            .sandbox_status(sandbox)
            .await
            .map_err(|e| ("CreateContainerError", e.to_string()))?;
        let pod_ips = if spec.host_network == Some(true) {
            vec![self.shared.identity.node_ip.clone()]
        } else {
            sandbox_now.network.map(|n| n.ip).into_iter().filter(|ip| !ip.is_empty()).collect()
        };
        self.prepare_volumes(pod, pod_ips.clone()).await.map_err(config_error)?;
        let sources = self.shared.api.sources(pod).await.map_err(config_error)?;
        let identity = Identity { pod_ips, ..self.shared.identity.clone() };
        let env = environment(pod, container, &sources, &identity, &[]).map_err(config_error)?;
        let message_file = self.message_file(
            pod.metadata.uid.as_deref().unwrap_or_default(),
            &container.name,
            restarts,
        );
        let mounts = {
            let (root, pod, container, env, ips) = (
                self.shared.root.clone(),
                pod.clone(),
                container.clone(),
                env.clone(),
                identity.pod_ips.clone(),
            );
            let simulated = runtime.is_simulated();
            tokio::task::spawn_blocking(move || -> Result<Vec<cri::Mount>, SpecError> {
                let mut mounts = volume::mounts(&root, &pod, &container, &env)?;
                if !simulated {
                    own_files(&root, &pod, &container, &ips, &message_file, &mut mounts)
                        .map_err(|e| SpecError::Config(e.to_string()))?;
                }
                Ok(mounts)
            })
        };
        let mounts = mounts
            .await
            .map_err(|e| ("CreateContainerError", e.to_string()))?
            .map_err(config_error)?;
        let parts = make::Parts { restarts, image_id, env, mounts, machine: &self.shared.machine };
        let config = make::container(pod, spec, container, parts);
        let sandbox_config = make::sandbox(
            pod,
            spec,
            sandbox_now.metadata.map_or(0, |m| m.attempt),
            &self.log_dir(pod),
            &self.shared.machine,
        );
        let id = runtime
            .create_container(sandbox, config, sandbox_config)
            .await
            .map_err(|e| ("CreateContainerError", e.to_string()))?;
        self.shared.api.event(pod, false, "Created", "Container created".to_owned());
        runtime.start_container(&id).await.map_err(|e| ("RunContainerError", e.to_string()))?;
        self.shared.api.event(pod, false, "Started", "Container started".to_owned());
        if let Some(hook) = container.lifecycle.as_ref().and_then(|l| l.post_start.as_ref())
            && let Err(why) = self.hook(Some(container), hook, (&id, &identity.pod_ips), HOOK).await
        {
            self.shared.api.event(
                pod,
                true,
                "FailedPostStartHook",
                format!("PostStartHook failed: {why}"),
            );
            let _ = runtime.stop_container(&id, GRACE_MIN_SECONDS).await;
            return Err(("PostStartHookError", why));
        }
        Ok(())
    }
}

/// `/etc/hosts` and the file of the termination message. Blocking.
fn own_files(
    root: &std::path::Path,
    pod: &Pod,
    container: &Container,
    ips: &[String],
    message_file: &std::path::Path,
    mounts: &mut Vec<cri::Mount>,
) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let spec = pod.spec.clone().unwrap_or_default();
    let folder = volume::pod_dir(root, pod.metadata.uid.as_deref().unwrap_or_default());
    std::fs::create_dir_all(&folder)?;
    let mut bind = |inside: &str, outside: &std::path::Path| {
        if !mounts.iter().any(|m| m.container_path == inside) {
            mounts.push(cri::Mount {
                container_path: inside.to_owned(),
                host_path: outside.to_string_lossy().into_owned(),
                ..Default::default()
            });
        }
    };
    let hosts = folder.join("etc-hosts");
    let mut text = if spec.host_network == Some(true) {
        std::fs::read_to_string("/etc/hosts").unwrap_or_default()
    } else {
        let own: String = ips.iter().map(|ip| format!("{ip}\t{}\n", make::hostname(pod))).collect();
        format!(
            "# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::0\tip6-localnet\nfe00::0\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n{own}"
        )
    };
    for alias in spec.host_aliases.iter().flatten() {
        text.push_str(&format!(
            "{}\t{}\n",
            alias.ip,
            alias.hostnames.iter().flatten().cloned().collect::<Vec<_>>().join("\t")
        ));
    }
    std::fs::write(&hosts, text)?;
    bind("/etc/hosts", &hosts);
    if let Some(parent) = message_file.parent() {
        std::fs::create_dir_all(parent)?;
    }
    std::fs::write(message_file, [])?;
    std::fs::set_permissions(message_file, std::fs::Permissions::from_mode(0o666))?;
    bind(
        container.termination_message_path.as_deref().unwrap_or("/dev/termination-log"),
        message_file,
    );
    Ok(())
}
