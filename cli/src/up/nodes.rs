//! The node agents of `orlop up`, each with a containerd of its own.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Instant;

use anyhow::{Context as _, bail};
use tokio::net::UnixStream;

use super::layout::{self, Host, Layout};
use super::process::{Kind, Spec};
use super::runtime::Runtime;
use super::supervise::Supervisor;
use crate::limits;

/// The sandbox of every pod: a program that sleeps.
const PAUSE_IMAGE: &str = "orlop.local/pause:1";

/// Where a node's containerd is and what it is told.
pub(crate) fn containerd(layout: &Layout, node: &Host) -> node_agent::containerd::Layout {
    node_agent::containerd::Layout {
        dir: layout.containerd_home(node),
        pod_cidr: layout.pod_cidr(node),
        sandbox_image: PAUSE_IMAGE.to_owned(),
        bridge: layout.bridge(node),
    }
}

/// Writes the configuration of a node's containerd and says how to run it. Blocking.
pub(crate) fn prepare(layout: &Layout, node: &Host, program: &Path) -> anyhow::Result<Spec> {
    let own = containerd(layout, node);
    own.write().with_context(|| format!("containerd of {}", node.name))?;
    let daemon = find_program("containerd").context("containerd is not on the PATH")?;
    // Not this binary: tied to the supervisor on the way.
    let arguments = ["exec".as_ref(), "--".as_ref(), daemon.as_os_str(), "--config".as_ref()];
    let mut arguments: Vec<std::ffi::OsString> = arguments.map(std::ffi::OsStr::to_owned).into();
    arguments.push(own.config_file().into());
    Ok(Spec {
        host: node.name.clone(),
        kind: Kind::Containerd,
        address: format!("unix://{}", own.socket().display()),
        program: program.to_owned(),
        arguments,
        log: layout.logs().join(format!("{}-containerd.log", node.name)),
        probe: None,
    })
}

/// Waits for a node's containerd, then gives it the image that every pod needs.
pub(crate) async fn make_usable(
    layout: &Layout,
    node: &Host,
    supervisor: &Supervisor,
) -> anyhow::Result<()> {
    let socket = containerd(layout, node).socket();
    let deadline = Instant::now() + limits::STEP_DEADLINE;
    while UnixStream::connect(&socket).await.is_err() {
        supervisor.check_dying(Kind::Containerd)?;
        if Instant::now() > deadline {
            bail!("containerd of {} does not listen on {}", node.name, socket.display());
        }
        tokio::time::sleep(limits::READY_POLL).await;
    }
    let archive = layout.home(node).join("pause.tar");
    let written = archive.clone();
    let busybox = static_busybox()?;
    tokio::task::spawn_blocking(move || {
        node_agent::containerd::busybox_image_tar(&busybox, PAUSE_IMAGE, &written)
    })
    .await
    .context("making the sandbox image broke")??;
    node_agent::containerd::import_image(&socket, &archive)
        .await
        .with_context(|| format!("cannot give {} the sandbox image", node.name))?;
    Ok(())
}

/// Removes the link that a node's pods hung on. The next start makes it again, so that what is left
/// of it is no error. Its pods are gone; were one not, it would only lose its network.
pub(crate) async fn remove_bridge(name: &str) {
    let Some(ip) = find_program("ip") else { return };
    if !Path::new("/sys/class/net").join(name).exists() {
        return;
    }
    let mut command = tokio::process::Command::new(ip);
    command.args(["link", "delete", name]).stdin(Stdio::null()).kill_on_drop(true);
    match tokio::time::timeout(limits::REMOVE_LINK_DEADLINE, command.output()).await {
        Ok(Ok(output)) if output.status.success() => {}
        Ok(Ok(output)) => {
            let said = String::from_utf8_lossy(&output.stderr);
            tracing::warn!(link = name, said = said.trim(), "a bridge could not be removed");
        }
        Ok(Err(error)) => tracing::warn!(link = name, %error, "a bridge could not be removed"),
        Err(_) => tracing::warn!(link = name, "a bridge was not removed in time"),
    }
}

/// The agent's flags.
pub(crate) fn agent_flags(
    layout: &Layout,
    node: &Host,
    runtime: Runtime,
) -> Vec<(String, PathBuf)> {
    let home = layout.home(node);
    let serving = layout.pair(node, "kubelet");
    let mut flags: Vec<(&str, PathBuf)> = vec![
        ("kubeconfig", layout.kubeconfig_of(node, "kubelet")),
        ("hostname-override", node.name.clone().into()),
        ("node-ip", node.address.clone().into()),
        ("address", node.address.clone().into()),
        ("port", layout::KUBELET_PORT.to_string().into()),
        // Its own port answers health checks too, and two nodes would share this one.
        ("healthz-port", "0".into()),
        ("root-dir", home.join("kubelet")),
        ("log-dir", home.join("pod-logs")),
        ("pod-manifest-path", layout.manifests(node)),
        ("pod-cidr", layout.pod_cidr(node).into()),
        ("tls-cert-file", serving.certificate),
        ("tls-private-key-file", serving.key),
        ("client-ca-file", layout.ca().certificate),
        ("runtime", runtime.to_string().into()),
    ];
    if runtime == Runtime::Containerd {
        let socket = containerd(layout, node).socket();
        let endpoint = format!("unix://{}", socket.display());
        flags.push(("container-runtime-endpoint", endpoint.into()));
        flags.push(("pod-infra-container-image", PAUSE_IMAGE.into()));
    }
    flags.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// A busybox that needs no other file, for images.
pub(crate) fn static_busybox() -> anyhow::Result<PathBuf> {
    find_program("busybox").context("no busybox on this machine: apt-get install busybox-static")
}

fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Daemons are in folders that a user's PATH may lack.
    std::env::split_paths(&path)
        .chain(["/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/bin", "/bin"].map(PathBuf::from))
        .map(|folder| folder.join(name))
        .find(|program| program.is_file())
}
