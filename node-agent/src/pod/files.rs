//! The files of one container that no volume has: its hosts file and its termination message.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::{Container, Pod};

use crate::runtime::cri;
use crate::spec::hosts;
use crate::volume;

const HOSTS: &str = "/etc/hosts";

/// What the files are made from.
pub(super) struct Files {
    pub(super) root: PathBuf,
    pub(super) ips: Vec<String>,
    pub(super) cluster_domain: String,
    /// Where the termination message will be.
    pub(super) message: PathBuf,
}

impl Files {
    /// Makes the files and mounts them, unless a volume is in their place. Blocking.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(super) fn make(
        &self,
        pod: &Pod,
        container: &Container,
        mounts: &mut Vec<cri::Mount>,
    ) -> std::io::Result<()> {
        let mut bind = |inside: &str, outside: &Path| {
            if mounts.iter().any(|mount| mount.container_path == inside) {
                return;
            }
            mounts.push(cri::Mount {
                container_path: inside.to_owned(),
                host_path: outside.to_string_lossy().into_owned(),
                ..Default::default()
            });
        };
        let is_in_machines = pod.spec.as_ref().and_then(|s| s.host_network) == Some(true);
        let folder = volume::pod_dir(&self.root, pod.metadata.uid.as_deref().unwrap_or_default());
        std::fs::create_dir_all(&folder)?;
        if is_in_machines || !self.ips.is_empty() {
            let machines =
                if is_in_machines { Some(std::fs::read_to_string(HOSTS)?) } else { None };
            let text = hosts::file(pod, &self.ips, &self.cluster_domain, machines.as_deref());
            let path = folder.join("etc-hosts");
            write(&path, text.as_bytes(), 0o644)?;
            bind(HOSTS, &path);
        }
        let path = container.termination_message_path.as_deref().unwrap_or("/dev/termination-log");
        if !path.is_empty() {
            if let Some(parent) = self.message.parent() {
                std::fs::create_dir_all(parent)?;
            }
            // Whoever the container runs as may write it.
            write(&self.message, &[], 0o666)?;
            bind(path, &self.message);
        }
        Ok(())
    }
}

fn write(path: &Path, bytes: &[u8], mode: u32) -> std::io::Result<()> {
    std::fs::write(path, bytes)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_volume_in_the_place_of_a_file_stays_there() {
        let root = tempfile::tempdir().unwrap();
        let pod: Pod = serde_json::from_value(serde_json::json!({
            "metadata": {"name": "p", "namespace": "n", "uid": "u"},
            "spec": {"containers": [{"name": "c", "terminationMessagePath": "/x/message"}]}}))
        .unwrap();
        let container = &pod.spec.as_ref().unwrap().containers[0];
        let files = Files {
            root: root.path().to_owned(),
            ips: vec!["10.0.0.9".to_owned()],
            cluster_domain: "c.local".to_owned(),
            message: root.path().join("m/0"),
        };
        let of_volume = cri::Mount {
            container_path: HOSTS.to_owned(),
            host_path: "/v".into(),
            ..Default::default()
        };
        let mut mounts = vec![of_volume.clone()];
        files.make(&pod, container, &mut mounts).unwrap();
        assert_eq!(mounts[0], of_volume);
        assert_eq!(mounts[1].container_path, "/x/message");
        assert_eq!(mounts[1].host_path, files.message.to_string_lossy());
        let mode = std::fs::metadata(&files.message).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o666);
        let hosts = std::fs::read_to_string(root.path().join("pods/u/etc-hosts")).unwrap();
        assert!(hosts.ends_with("10.0.0.9\tp\n"), "{hosts}");

        let mut none = Vec::new();
        Files { ips: Vec::new(), ..files }.make(&pod, container, &mut none).unwrap();
        assert_eq!(none.len(), 1, "before a pod has an address it has no hosts file");
    }
}
