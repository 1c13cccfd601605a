//! The volumes of a pod, made on the node before its containers start and removed after them.

mod atomic;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::{Container, KeyToPath, Pod, PodSpec, Volume, VolumeProjection};
use nix::mount::{MntFlags, MsFlags, mount, umount2};

use crate::quantity::value_of;
use crate::runtime::cri;
use crate::spec::SpecError;
use crate::spec::env::{Identity, Sources, expand, field_value, resource_value};

/// One file of a volume: its path in the volume to its contents and mode.
pub(crate) type Files = BTreeMap<String, (Vec<u8>, u32)>;

/// What the files of volumes are made from.
pub(crate) struct Inputs<'a> {
    pub(crate) sources: &'a Sources,
    pub(crate) identity: &'a Identity,
    /// Tokens by (volume, path), fetched before.
    pub(crate) tokens: &'a BTreeMap<(String, String), String>,
    /// Whether secrets are kept off the disk; needs the right to mount.
    pub(crate) in_memory: bool,
}

/// The folder of everything of one pod.
pub(crate) fn pod_dir(root: &Path, uid: &str) -> PathBuf {
    root.join("pods").join(uid)
}

fn kind(volume: &Volume) -> &'static str {
    if volume.empty_dir.is_some() {
        "kubernetes.io~empty-dir"
    } else if volume.config_map.is_some() {
        "kubernetes.io~configmap"
    } else if volume.secret.is_some() {
        "kubernetes.io~secret"
    } else if volume.downward_api.is_some() {
        "kubernetes.io~downward-api"
    } else {
        "kubernetes.io~projected"
    }
}

/// Whether its contents come from the API, and so may change while the pod runs.
pub(crate) fn is_made_of_files(volume: &Volume) -> bool {
    volume.config_map.is_some()
        || volume.secret.is_some()
        || volume.downward_api.is_some()
        || volume.projected.is_some()
}

/// Where a volume is on this node.
fn host_path(root: &Path, uid: &str, volume: &Volume) -> PathBuf {
    match &volume.host_path {
        Some(source) => PathBuf::from(&source.path),
        None => pod_dir(root, uid).join("volumes").join(kind(volume)).join(&volume.name),
    }
}

/// Makes the volumes of a pod, or brings the files of those that have them up to date. Blocking.
///
/// # Errors
/// When a source is missing, a kind is not supported, or the disk refuses.
pub(crate) fn set_up(root: &Path, pod: &Pod, inputs: &Inputs<'_>) -> Result<(), SpecError> {
    let Some(spec) = &pod.spec else { return Ok(()) };
    let uid = pod.metadata.uid.as_deref().unwrap_or_default();
    let group = spec.security_context.as_ref().and_then(|s| s.fs_group);
    for volume in spec.volumes.iter().flatten() {
        let path = host_path(root, uid, volume);
        let disk = |error: std::io::Error| {
            SpecError::Config(format!("volume {:?}: {}: {error}", volume.name, path.display()))
        };
        if let Some(source) = &volume.host_path {
            host_path_ready(&path, source.type_.as_deref().unwrap_or_default()).map_err(disk)?;
        } else if let Some(source) = &volume.empty_dir {
            let is_new = !path.exists();
            std::fs::create_dir_all(&path).map_err(disk)?;
            if is_new {
                if source.medium.as_deref() == Some("Memory") {
                    mount_memory(&path, value_of(source.size_limit.as_ref())).map_err(disk)?;
                }
                share(&path, group).map_err(disk)?;
            }
        } else {
            let files = files(pod, spec, volume, inputs)?;
            std::fs::create_dir_all(&path).map_err(disk)?;
            let is_secret = volume.secret.is_some() || volume.projected.is_some();
            // The folder of one that was there before a restart of the machine is on the disk.
            if is_secret && inputs.in_memory && !is_mounted(&path).map_err(disk)? {
                mount_memory(&path, None).map_err(disk)?;
            }
            let group = group.and_then(|gid| u32::try_from(gid).ok());
            atomic::write(&path, &files, group).map_err(disk)?;
        }
    }
    Ok(())
}

fn host_path_ready(path: &Path, kind: &str) -> std::io::Result<()> {
    let refuse =
        |what: &str| Err(std::io::Error::other(format!("hostPath type check failed: not {what}")));
    match kind {
        "DirectoryOrCreate" => std::fs::create_dir_all(path),
        "FileOrCreate" if !path.exists() => std::fs::write(path, []),
        "Directory" if !path.is_dir() => refuse("a directory"),
        "File" if !path.is_file() => refuse("a file"),
        "Socket" if !path.exists() => refuse("a socket"),
        _ => Ok(()),
    }
}

/// Whether a file system of its own is mounted at a folder.
fn is_mounted(path: &Path) -> std::io::Result<bool> {
    use std::os::unix::fs::MetadataExt;
    let above = path.parent().unwrap_or(path);
    Ok(path.metadata()?.dev() != above.metadata()?.dev())
}

fn mount_memory(path: &Path, size: Option<i64>) -> std::io::Result<()> {
    let options = size.map(|bytes| format!("size={bytes}"));
    Ok(mount(Some("tmpfs"), path, Some("tmpfs"), MsFlags::empty(), options.as_deref())?)
}

/// Every user of the pod may write; with a group, new files belong to it.
fn share(path: &Path, group: Option<i64>) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let mut mode = 0o777;
    if let Some(group) = group.and_then(|gid| u32::try_from(gid).ok()) {
        std::os::unix::fs::chown(path, None, Some(group))?;
        mode |= 0o2000;
    }
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
}

/// The contents of a volume that is made of files.
fn files(
    pod: &Pod,
    spec: &PodSpec,
    volume: &Volume,
    inputs: &Inputs<'_>,
) -> Result<Files, SpecError> {
    let mut out = Files::new();
    let mut default = 0o644;
    let projections: Vec<VolumeProjection> = if let Some(source) = &volume.config_map {
        default = source.default_mode.unwrap_or(default);
        vec![from_json("configMap", source)]
    } else if let Some(source) = &volume.secret {
        default = source.default_mode.unwrap_or(default);
        let mut value = serde_json::to_value(source).unwrap_or_default();
        value["name"] = source.secret_name.clone().unwrap_or_default().into();
        vec![from_json("secret", &value)]
    } else if let Some(source) = &volume.downward_api {
        default = source.default_mode.unwrap_or(default);
        vec![from_json("downwardAPI", source)]
    } else if let Some(source) = &volume.projected {
        default = source.default_mode.unwrap_or(default);
        source.sources.clone().unwrap_or_default()
    } else {
        let text = format!("volume {:?}: this kind of volume is not supported", volume.name);
        return Err(SpecError::Invalid(text));
    };
    let mode = |own: Option<i32>| u32::try_from(own.unwrap_or(default)).unwrap_or(0o644);
    for projection in projections {
        if let Some(source) = projection.config_map {
            let found = inputs.sources.config_maps.get(&source.name).map(|map| {
                let text =
                    map.data.iter().flatten().map(|(k, v)| (k.clone(), v.clone().into_bytes()));
                let binary =
                    map.binary_data.iter().flatten().map(|(k, v)| (k.clone(), v.0.clone()));
                text.chain(binary).collect()
            });
            let optional = source.optional == Some(true);
            keyed(&mut out, found, source.items, optional, ("configmap", &source.name), &mode)?;
        }
        if let Some(source) = projection.secret {
            let found = inputs.sources.secrets.get(&source.name).map(|secret| {
                secret.data.iter().flatten().map(|(k, v)| (k.clone(), v.0.clone())).collect()
            });
            let optional = source.optional == Some(true);
            keyed(&mut out, found, source.items, optional, ("secret", &source.name), &mode)?;
        }
        for item in projection.downward_api.and_then(|d| d.items).unwrap_or_default() {
            let text = if let Some(field) = &item.field_ref {
                field_value(pod, &field.field_path, inputs.identity)?
            } else if let Some(resource) = &item.resource_field_ref {
                let name = resource.container_name.as_deref().unwrap_or_default();
                let container = spec.containers.iter().find(|c| c.name == name);
                let container = container
                    .ok_or_else(|| SpecError::Invalid(format!("no container {name:?}")))?;
                let divisor = resource.divisor.as_ref().map(|q| q.0.as_str());
                resource_value(container, &resource.resource, divisor, inputs.identity)?
            } else {
                continue;
            };
            out.insert(item.path, (text.into_bytes(), mode(item.mode)));
        }
        if let Some(source) = projection.service_account_token
            && let Some(token) = inputs.tokens.get(&(volume.name.clone(), source.path.clone()))
        {
            out.insert(source.path, (token.clone().into_bytes(), mode(None)));
        }
    }
    Ok(out)
}

fn from_json(key: &str, value: &impl serde::Serialize) -> VolumeProjection {
    serde_json::from_value(serde_json::json!({ key: value })).unwrap_or_default()
}

fn keyed(
    out: &mut Files,
    found: Option<BTreeMap<String, Vec<u8>>>,
    items: Option<Vec<KeyToPath>>,
    optional: bool,
    (kind, name): (&str, &str),
    mode: &dyn Fn(Option<i32>) -> u32,
) -> Result<(), SpecError> {
    let Some(found) = found else {
        return if optional { Ok(()) } else { Err(SpecError::missing(kind, name)) };
    };
    let Some(items) = items else {
        out.extend(found.into_iter().map(|(key, bytes)| (key, (bytes, mode(None)))));
        return Ok(());
    };
    for item in items {
        match found.get(&item.key) {
            Some(bytes) => {
                out.insert(item.path, (bytes.clone(), mode(item.mode)));
            }
            None if optional => {}
            None => {
                let text = format!("references non-existent {kind} key: {}", item.key);
                return Err(SpecError::Config(text));
            }
        }
    }
    Ok(())
}

/// The mounts of one container that come from the pod's volumes. Makes sub paths. Blocking.
///
/// # Errors
/// When a mount names no volume, or its sub path leaves the volume.
pub(crate) fn mounts(
    root: &Path,
    pod: &Pod,
    container: &Container,
    env: &[(String, String)],
) -> Result<Vec<cri::Mount>, SpecError> {
    let spec = pod.spec.as_ref();
    let uid = pod.metadata.uid.as_deref().unwrap_or_default();
    let lookup = |name: &str| env.iter().find(|(key, _)| key == name).map(|(_, v)| v.clone());
    let mut out = Vec::new();
    for wanted in container.volume_mounts.iter().flatten() {
        let volumes = spec.and_then(|s| s.volumes.as_ref());
        let volume = volumes
            .and_then(|list| list.iter().find(|v| v.name == wanted.name))
            .ok_or_else(|| SpecError::Invalid(format!("no volume {:?}", wanted.name)))?;
        let base = host_path(root, uid, volume);
        let expr = wanted.sub_path_expr.as_deref().map(|text| expand(text, &lookup));
        let path = match expr.or_else(|| wanted.sub_path.clone()).filter(|sub| !sub.is_empty()) {
            None => base,
            Some(sub) => sub_path(&base, &sub)?,
        };
        let read_only = wanted.read_only.unwrap_or(false)
            || (volume.host_path.is_none() && volume.empty_dir.is_none());
        let propagation = match wanted.mount_propagation.as_deref() {
            Some("HostToContainer") => cri::MountPropagation::PropagationHostToContainer,
            Some("Bidirectional") => cri::MountPropagation::PropagationBidirectional,
            _ => cri::MountPropagation::PropagationPrivate,
        };
        out.push(cri::Mount {
            container_path: wanted.mount_path.clone(),
            host_path: path.to_string_lossy().into_owned(),
            readonly: read_only,
            propagation: propagation.into(),
            ..Default::default()
        });
    }
    Ok(out)
}

/// A path inside a volume. What a container put there must not lead out of it.
fn sub_path(base: &Path, sub: &str) -> Result<PathBuf, SpecError> {
    let refuse = |why: &str| SpecError::Invalid(format!("subPath {sub:?}: {why}"));
    if Path::new(sub).is_absolute() || sub.split('/').any(|part| part == "..") {
        return Err(refuse("must be relative and without \"..\""));
    }
    let path = base.join(sub);
    if !path.exists() {
        std::fs::create_dir_all(&path).map_err(|error| refuse(&error.to_string()))?;
    }
    let real = path.canonicalize().map_err(|error| refuse(&error.to_string()))?;
    let base = base.canonicalize().map_err(|error| refuse(&error.to_string()))?;
    if !real.starts_with(&base) {
        return Err(refuse("leads out of the volume"));
    }
    Ok(real)
}

/// Removes a pod's volumes and its folder. Blocking. What is mounted is unmounted first.
///
/// # Errors
/// When something cannot be unmounted or removed; nothing below a live mount is deleted.
pub(crate) fn tear_down(root: &Path, uid: &str) -> std::io::Result<()> {
    let folder = pod_dir(root, uid);
    if uid.is_empty() || !folder.exists() {
        return Ok(());
    }
    let real = folder.canonicalize()?;
    unmount_below(&real)?;
    std::fs::remove_dir_all(&real)
}

/// Unmounts what the pods of a node have in memory, secrets for one, after their containers have
/// ended. `root` is the agent's `--root-dir`; what is on the disk stays. Blocking.
///
/// # Errors
/// When something is still used.
pub fn unmount_pods(root: &Path) -> std::io::Result<()> {
    let pods = root.join("pods");
    if !pods.exists() {
        return Ok(());
    }
    // An empty folder would be taken for the volume by the next start.
    unmount_below(&pods.canonicalize()?)?.iter().try_for_each(std::fs::remove_dir)
}

fn unmount_below(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let table = std::fs::read_to_string("/proc/self/mounts")?;
    let mut unmounted = Vec::new();
    for line in table.lines().rev() {
        let Some(target) = line.split(' ').nth(1) else { continue };
        let target = PathBuf::from(target.replace("\\040", " "));
        if target.starts_with(folder) {
            umount2(&target, MntFlags::empty())?;
            unmounted.push(target);
        }
    }
    Ok(unmounted)
}
