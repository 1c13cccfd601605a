//! A private containerd for one node: its configuration, its images, and whether it can run here.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use serde_json::json;
use sha2::{Digest, Sha256};
use tokio::process::Command;

use crate::limits::CHILD_PROCESS;

/// Why containers cannot run, or an image cannot be used; one clear line.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The machine lacks something.
    #[error("containers cannot run here: {0}")]
    Machine(String),
    /// The archive is not one of an image.
    #[error("{path}: {why}")]
    Image {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A child process failed or took too long.
    #[error("{0}")]
    Child(String),
    /// The disk refused.
    #[error("{0}")]
    Io(#[from] std::io::Error),
}

/// Where a private containerd lives and what it is told.
#[derive(Debug, Clone)]
pub struct Layout {
    /// The folder of everything: configuration, state, images.
    pub dir: PathBuf,
    /// The network of this node's pods, such as `10.244.0.0/24`.
    pub pod_cidr: String,
    /// The sandbox's image, imported before the first pod.
    pub sandbox_image: String,
    /// Name of the bridge; at most 15 bytes and unique on the machine.
    pub bridge: String,
}

/// A program on the usual paths.
fn program(name: &str) -> Option<PathBuf> {
    ["/usr/local/bin", "/usr/bin", "/bin", "/usr/local/sbin", "/usr/sbin", "/sbin"]
        .iter()
        .map(|folder| Path::new(folder).join(name))
        .find(|path| path.is_file())
}

fn cni_folder() -> Option<PathBuf> {
    ["/opt/cni/bin", "/usr/lib/cni"].iter().map(PathBuf::from).find(|folder| {
        ["bridge", "host-local", "portmap", "loopback"].iter().all(|p| folder.join(p).is_file())
    })
}

/// Checks whether this machine can run containers; the error says what is missing. Blocking.
///
/// # Errors
/// [`Error::Machine`] with the first thing that is missing.
pub fn check_machine() -> Result<(), Error> {
    let refuse = |why: &str| Err(Error::Machine(why.to_owned()));
    if !nix::unistd::geteuid().is_root() {
        return refuse("not running as root");
    }
    for (name, package) in [
        ("containerd", "containerd"),
        ("ctr", "containerd"),
        ("runc", "runc"),
        ("iptables", "iptables"),
    ] {
        if program(name).is_none() {
            return refuse(&format!("{name} is not installed (apt-get install {package})"));
        }
    }
    if cni_folder().is_none() {
        return refuse(
            "the CNI plugins are not installed (apt-get install containernetworking-plugins)",
        );
    }
    let groups = Path::new("/sys/fs/cgroup");
    if !groups.join("cgroup.controllers").is_file() && !groups.join("memory").is_dir() {
        return refuse("no cgroups are mounted at /sys/fs/cgroup");
    }
    let probe = groups.join(if groups.join("memory").is_dir() { "memory" } else { "" });
    let probe = probe.join(format!("orlop-check-{}", std::process::id()));
    if let Err(error) = std::fs::create_dir(&probe) {
        return refuse(&format!("cgroups cannot be made: {error}"));
    }
    std::fs::remove_dir(&probe)?;
    Ok(())
}

impl Layout {
    /// The socket of containerd.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.dir.join("containerd.sock")
    }

    /// The configuration file: `containerd --config` takes it.
    #[must_use]
    pub fn config_file(&self) -> PathBuf {
        self.dir.join("config.toml")
    }

    /// Writes the configuration of containerd and of the pod network. Blocking.
    ///
    /// # Errors
    /// When a value cannot be used, or the disk refuses.
    pub fn write(&self) -> Result<(), Error> {
        let refuse = |why: String| Err(Error::Machine(why));
        let socket = self.socket();
        if socket.as_os_str().len() > 100 {
            return refuse(format!(
                "{} is too long for a socket; use a shorter folder",
                socket.display()
            ));
        }
        if self.bridge.len() > 15 || self.bridge.is_empty() {
            return refuse(format!("{:?} is no name of a bridge", self.bridge));
        }
        let cidr_is_good = self.pod_cidr.split_once('/').is_some_and(|(ip, bits)| {
            ip.parse::<Ipv4Addr>().is_ok() && bits.parse::<u8>().is_ok_and(|b| b <= 30)
        });
        if !cidr_is_good {
            return refuse(format!("{:?} is no IPv4 range", self.pod_cidr));
        }
        let Some(plugins) = cni_folder() else { return refuse("no CNI plugins".to_owned()) };
        let net = self.dir.join("cni");
        for folder in
            [&net, &self.dir.join("root"), &self.dir.join("state"), &self.dir.join("ipam")]
        {
            std::fs::create_dir_all(folder)?;
        }
        let snapshotter =
            if overlay_works(&self.dir.join("root")) { "overlayfs" } else { "native" };
        let quoted = |path: &Path| format!("{:?}", path.to_string_lossy());
        // Without the clamp a machine that may not lower oom_score_adj refuses every sandbox.
        let text = format!(
            "version = 2\nroot = {root}\nstate = {state}\n\n[grpc]\naddress = {socket}\n\n\
             [plugins.\"io.containerd.grpc.v1.cri\"]\nsandbox_image = {image:?}\nrestrict_oom_score_adj = true\n\
             stream_server_address = \"127.0.0.1\"\nstream_server_port = \"0\"\n\n\
             [plugins.\"io.containerd.grpc.v1.cri\".containerd]\nsnapshotter = {snapshotter:?}\n\n\
             [plugins.\"io.containerd.grpc.v1.cri\".cni]\nbin_dir = {bin}\nconf_dir = {conf}\n",
            root = quoted(&self.dir.join("root")),
            state = quoted(&self.dir.join("state")),
            socket = quoted(&socket),
            image = self.sandbox_image,
            bin = quoted(&plugins),
            conf = quoted(&net),
        );
        std::fs::write(self.config_file(), text)?;
        let list = json!({"cniVersion": "0.4.0", "name": self.bridge, "plugins": [
            {"type": "bridge", "bridge": self.bridge, "isGateway": true, "ipMasq": true, "hairpinMode": true,
             "ipam": {"type": "host-local", "dataDir": self.dir.join("ipam"),
                "ranges": [[{"subnet": self.pod_cidr}]], "routes": [{"dst": "0.0.0.0/0"}]}},
            {"type": "portmap", "capabilities": {"portMappings": true}}]});
        std::fs::write(
            net.join("10-orlop.conflist"),
            serde_json::to_vec_pretty(&list).map_err(std::io::Error::other)?,
        )?;
        Ok(())
    }
}

/// Whether an overlay can be mounted in this folder.
fn overlay_works(folder: &Path) -> bool {
    use nix::mount::{MntFlags, MsFlags, mount, umount2};
    let probe = folder.join(".overlay-check");
    let part = |name: &str| probe.join(name);
    let made = ["lower", "upper", "work", "merged"]
        .iter()
        .all(|n| std::fs::create_dir_all(part(n)).is_ok());
    let options = format!(
        "lowerdir={},upperdir={},workdir={}",
        part("lower").display(),
        part("upper").display(),
        part("work").display()
    );
    let works = made
        && mount(
            Some("overlay"),
            &part("merged"),
            Some("overlay"),
            MsFlags::empty(),
            Some(options.as_str()),
        )
        .is_ok();
    if works {
        let _ = umount2(&part("merged"), MntFlags::empty());
    }
    let _ = std::fs::remove_dir_all(&probe);
    works
}

/// Imports an image archive (OCI or docker); answers with the names of its images.
///
/// # Errors
/// When the file is not an archive of an image, or containerd does not take it.
pub async fn import_image(socket: &Path, tar: &Path) -> Result<Vec<String>, Error> {
    let path = tar.to_owned();
    let look = move || (image_names(&path), program("ctr"));
    let looked = tokio::task::spawn_blocking(look).await;
    let (names, ctr) = looked.map_err(|error| Error::Child(error.to_string()))?;
    let names = names?;
    let ctr = ctr.ok_or_else(|| Error::Machine("ctr is not installed".to_owned()))?;
    let child = Command::new(ctr)
        .arg("-a")
        .arg(socket)
        .args(["-n", "k8s.io", "images", "import"])
        .arg(tar)
        .kill_on_drop(true)
        .output();
    match tokio::time::timeout(CHILD_PROCESS, child).await {
        Ok(Ok(done)) if done.status.success() => Ok(names),
        Ok(Ok(done)) => Err(Error::Child(format!(
            "ctr images import: {}",
            String::from_utf8_lossy(&done.stderr).trim()
        ))),
        Ok(Err(error)) => Err(error.into()),
        Err(_) => {
            Err(Error::Child(format!("ctr images import: no answer within {CHILD_PROCESS:?}")))
        }
    }
}

/// The names in an image archive. Blocking.
///
/// # Errors
/// When it is not an OCI or docker archive of an image.
pub fn image_names(path: &Path) -> Result<Vec<String>, Error> {
    let refuse = |why: String| Error::Image { path: path.to_owned(), why };
    let file = std::fs::File::open(path).map_err(|e| refuse(e.to_string()))?;
    let mut archive = tar::Archive::new(std::io::BufReader::new(file));
    let (mut names, mut is_image) = (Vec::new(), false);
    for entry in archive.entries().map_err(|e| refuse(e.to_string()))? {
        let entry = entry.map_err(|_| refuse("not a tar archive of an image".to_owned()))?;
        let name = entry.path().map_err(|e| refuse(e.to_string()))?.to_string_lossy().into_owned();
        if !["manifest.json", "index.json"].contains(&name.trim_start_matches("./"))
            || entry.size() > 4 << 20
        {
            continue;
        }
        is_image = true;
        let value: serde_json::Value =
            serde_json::from_reader(entry).map_err(|e| refuse(format!("{name}: {e}")))?;
        let docker = value
            .as_array()
            .into_iter()
            .flatten()
            .flat_map(|m| m["RepoTags"].as_array().into_iter().flatten());
        let oci = value["manifests"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|m| &m["annotations"]["io.containerd.image.name"]);
        names.extend(docker.chain(oci).filter_map(|n| n.as_str().map(str::to_owned)));
    }
    if !is_image {
        return Err(refuse(
            "not an OCI or docker image archive (no index.json or manifest.json)".to_owned(),
        ));
    }
    names.sort();
    names.dedup();
    Ok(names)
}

/// Writes an image archive with a static busybox and its commands, named `image`. Blocking.
///
/// As the image of a sandbox it sleeps until it is told to stop.
///
/// # Errors
/// When `busybox` is missing or dynamically linked, or the disk refuses.
pub fn busybox_image_tar(busybox: &Path, image: &str, out: &Path) -> Result<(), Error> {
    let refuse = |why: &str| Error::Image { path: busybox.to_owned(), why: why.to_owned() };
    let binary = std::fs::read(busybox).map_err(|e| refuse(&e.to_string()))?;
    if !binary.starts_with(b"\x7fELF") {
        return Err(refuse("not a program"));
    }
    if binary.windows(12).any(|w| w == b"/ld-linux-x8")
        || binary.windows(14).any(|w| w == b"/ld-linux-aarc")
    {
        return Err(refuse("is linked dynamically; install busybox-static"));
    }
    let list = std::process::Command::new(busybox).arg("--list").output()?;
    let layer = layer(&binary, &String::from_utf8_lossy(&list.stdout))?;
    let hex =
        |bytes: &[u8]| Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect::<String>();
    let layer_id = hex(&layer);
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let config = json!({"architecture": architecture, "os": "linux",
        "config": {"Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
            "Cmd": ["/bin/sh", "-c", "trap 'exit 0' TERM INT; while :; do sleep 86400 & wait $!; done"]},
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{layer_id}")]}}).to_string();
    let config_name = format!("{}.json", hex(config.as_bytes()));
    let layer_name = format!("{layer_id}/layer.tar");
    let manifest =
        json!([{"Config": config_name, "RepoTags": [image], "Layers": [layer_name]}]).to_string();
    let mut archive = tar::Builder::new(std::fs::File::create(out)?);
    for (name, bytes) in [
        (&*config_name, config.as_bytes()),
        (&*layer_name, &*layer),
        ("manifest.json", manifest.as_bytes()),
    ] {
        append(&mut archive, name, bytes, 0o644)?;
    }
    archive.into_inner()?.sync_all()?;
    Ok(())
}

fn append(
    archive: &mut tar::Builder<impl std::io::Write>,
    name: &str,
    bytes: &[u8],
    mode: u32,
) -> std::io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(bytes.len() as u64);
    header.set_mode(mode);
    header.set_mtime(0);
    archive.append_data(&mut header, name, bytes)
}

/// The file system of the image; the same input gives the same bytes.
fn layer(busybox: &[u8], commands: &str) -> std::io::Result<Vec<u8>> {
    let mut archive = tar::Builder::new(Vec::new());
    for (folder, mode) in [
        ("bin/", 0o755),
        ("etc/", 0o755),
        ("proc/", 0o755),
        ("sys/", 0o755),
        ("dev/", 0o755),
        ("tmp/", 0o1777),
        ("root/", 0o700),
        ("var/", 0o755),
        ("usr/", 0o755),
    ] {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Directory);
        header.set_size(0);
        header.set_mode(mode);
        header.set_mtime(0);
        archive.append_data(&mut header, folder, std::io::empty())?;
    }
    append(&mut archive, "bin/busybox", busybox, 0o755)?;
    append(
        &mut archive,
        "etc/passwd",
        b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
        0o644,
    )?;
    append(&mut archive, "etc/group", b"root:x:0:\nnogroup:x:65534:\n", 0o644)?;
    for command in commands.lines().filter(|c| !c.is_empty() && *c != "busybox" && !c.contains('/'))
    {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        header.set_mode(0o777);
        header.set_mtime(0);
        archive.append_link(&mut header, format!("bin/{command}"), "busybox")?;
    }
    archive.into_inner()
}
