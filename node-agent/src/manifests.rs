//! Static pods: the manifests of a folder, and their mirrors in the API.
//!
//! | Rule | What always holds |
//! |------|-------------------|
//! | M1 | A file that cannot be read or understood keeps the pod that it had before. |
//! | M2 | A static pod runs whether or not the API answers; its mirror only shows it. |
//! | M3 | A mirror of a pod that no manifest has, or of an older version of it, is deleted. |

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::{Node, Pod};
use kube::Client;
use kube::api::{Api, PostParams};
use serde_json::json;
use tracing::warn;

use crate::labels;
use crate::limits::{API_CALL, MANIFEST_BYTES_MAX};
use crate::pod::api::PodApi;

/// The manifest folder, and what its files said last.
pub(crate) struct Manifests {
    folder: PathBuf,
    node: String,
    last: HashMap<PathBuf, Pod>,
}

impl Manifests {
    pub(crate) fn new(folder: PathBuf, node: &str) -> Self {
        Self { folder, node: node.to_owned(), last: HashMap::new() }
    }

    /// Reads all manifests. Blocking. A folder that is not there has none.
    pub(crate) fn scan(mut self) -> (Self, std::io::Result<Vec<Pod>>) {
        let read = match std::fs::read_dir(&self.folder) {
            Ok(entries) => self.read(entries),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                self.last.clear();
                Ok(Vec::new())
            }
            Err(error) => Err(error),
        };
        (self, read)
    }

    fn read(&mut self, entries: std::fs::ReadDir) -> std::io::Result<Vec<Pod>> {
        let mut now = HashMap::new();
        for entry in entries {
            let entry = entry?;
            let path = entry.path();
            if !path.is_file() || entry.file_name().to_string_lossy().starts_with('.') {
                continue;
            }
            match manifest(&path, &self.node) {
                Ok(pod) => {
                    now.insert(path, pod);
                }
                Err(why) => {
                    warn!(file = %path.display(), why, "a manifest cannot be used");
                    // M1
                    if let Some(pod) = self.last.remove(&path) {
                        now.insert(path, pod);
                    }
                }
            }
        }
        self.last = now;
        let mut pods: Vec<Pod> = self.last.values().cloned().collect();
        pods.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
        Ok(pods)
    }
}

fn manifest(path: &Path, node: &str) -> Result<Pod, String> {
    let size = path.metadata().map_err(|error| error.to_string())?.len();
    if size > MANIFEST_BYTES_MAX {
        return Err(format!("it has {size} bytes; the limit is {MANIFEST_BYTES_MAX}"));
    }
    static_pod(&std::fs::read_to_string(path).map_err(|error| error.to_string())?, node)
}

/// A static pod of a file: its identity is the digest of its contents.
fn static_pod(text: &str, node: &str) -> Result<Pod, String> {
    let mut pod: Pod = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
    let digest = {
        use sha2::{Digest, Sha256};
        let hash = Sha256::digest(format!("{node} {text}"));
        hash.iter().take(16).map(|b| format!("{b:02x}")).collect::<String>()
    };
    let name = pod.metadata.name.as_deref().ok_or("it has no name")?;
    pod.metadata.name = Some(format!("{name}-{node}").to_lowercase());
    pod.metadata.namespace.get_or_insert_with(|| "default".to_owned());
    pod.metadata.uid = Some(digest.clone());
    let notes = pod.metadata.annotations.get_or_insert_default();
    notes.insert(labels::CONFIG_HASH.to_owned(), digest);
    notes.insert(labels::CONFIG_SOURCE.to_owned(), "file".to_owned());
    notes.insert(labels::CONFIG_SEEN.to_owned(), jiff::Timestamp::now().to_string());
    let spec =
        pod.spec.as_mut().filter(|s| !s.containers.is_empty()).ok_or("it has no containers")?;
    spec.node_name = Some(node.to_owned());
    // Nothing but its file decides about a static pod: no taint drives it away.
    let toleration = json!({"operator": "Exists", "effect": "NoExecute"});
    let toleration = serde_json::from_value(toleration).expect("a toleration is written right");
    let all = spec.tolerations.get_or_insert_default();
    if !all.contains(&toleration) {
        all.push(toleration);
    }
    Ok(pod)
}

/// What the API shows of this node's static pods.
pub(crate) struct Mirrors {
    client: Option<Client>,
    node: String,
    /// By the mirror's own uid.
    known: HashMap<String, Pod>,
}

fn hash_of(mirror: &Pod) -> Option<&String> {
    mirror.metadata.annotations.as_ref()?.get(labels::CONFIG_MIRROR)
}

impl Mirrors {
    pub(crate) fn new(client: Option<Client>, node: &str) -> Self {
        Self { client, node: node.to_owned(), known: HashMap::new() }
    }

    /// Notes a pod if it is a mirror; answers with the uid of the static pod that it shows.
    pub(crate) fn seen(&mut self, pod: &Pod) -> Option<String> {
        let hash = hash_of(pod)?.clone();
        self.known.insert(pod.metadata.uid.clone().unwrap_or_default(), pod.clone());
        Some(hash)
    }

    pub(crate) fn gone(&mut self, uid: &str) {
        self.known.remove(uid);
    }

    pub(crate) fn keep_only(&mut self, uids: &[String]) {
        self.known.retain(|uid, _| uids.contains(uid));
    }

    /// The uid of the mirror of a static pod.
    pub(crate) fn of(&self, hash: &str) -> Option<String> {
        let mut all = self.known.iter();
        all.find(|(_, mirror)| hash_of(mirror).is_some_and(|h| h == hash))
            .map(|(uid, _)| uid.clone())
    }

    /// The mirrors to delete, and the static pods without a mirror.
    fn difference<'a>(&'a self, pods: &'a [Pod]) -> (Vec<&'a Pod>, Vec<&'a Pod>) {
        let is_current = |mirror: &Pod| {
            // Someone asked to delete it: it goes, and comes back with the next look.
            mirror.metadata.deletion_timestamp.is_none()
                && pods.iter().any(|pod| pod.metadata.uid.as_ref() == hash_of(mirror))
        };
        let stale = self.known.values().filter(|mirror| !is_current(mirror)).collect();
        let missing = pods.iter().filter(|pod| {
            !self.known.values().any(|mirror| {
                mirror.metadata.name == pod.metadata.name
                    && mirror.metadata.namespace == pod.metadata.namespace
            })
        });
        (stale, missing.collect())
    }

    /// M3, and a mirror for each static pod that has none.
    pub(crate) async fn bring_in_line(&self, api: &PodApi, pods: &[Pod]) {
        let Some(client) = &self.client else { return };
        let (stale, missing) = self.difference(pods);
        for mirror in stale {
            let uid = mirror.metadata.uid.clone().unwrap_or_default();
            let _ = api.delete(mirror, &uid).await;
        }
        if missing.is_empty() {
            return;
        }
        let nodes: Api<Node> = Api::all(client.clone());
        let node = match tokio::time::timeout(API_CALL, nodes.get_opt(&self.node)).await {
            Ok(Ok(Some(node))) => node,
            // Before the node is registered nothing can belong to it.
            Ok(Ok(None) | Err(_)) | Err(_) => return,
        };
        for pod in missing {
            show(client.clone(), pod, &node).await;
        }
    }
}

/// Shows a static pod in the API.
async fn show(client: Client, pod: &Pod, node: &Node) {
    let mut mirror = pod.clone();
    let hash = mirror.metadata.uid.take().unwrap_or_default();
    let notes = mirror.metadata.annotations.get_or_insert_default();
    notes.insert(labels::CONFIG_MIRROR.to_owned(), hash);
    let owner = json!([{"apiVersion": "v1", "kind": "Node", "name": node.metadata.name,
        "uid": node.metadata.uid, "controller": true}]);
    mirror.metadata.owner_references = serde_json::from_value(owner).ok();
    let namespace = mirror.metadata.namespace.clone().unwrap_or_default();
    let api: Api<Pod> = Api::namespaced(client, &namespace);
    match tokio::time::timeout(API_CALL, api.create(&PostParams::default(), &mirror)).await {
        Ok(Err(kube::Error::Api(status))) if status.code == 409 => {}
        Ok(Err(error)) => warn!(%error, "cannot show a static pod in the API"),
        Ok(Ok(_)) | Err(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POD: &str = "apiVersion: v1\nkind: Pod\nmetadata: {name: S}\nspec: {containers: [{name: c, image: i}]}\n";

    fn scan(manifests: Manifests) -> (Manifests, Vec<Pod>) {
        let (manifests, read) = manifests.scan();
        (manifests, read.unwrap())
    }

    #[test]
    fn a_half_written_manifest_keeps_its_pod_and_a_removed_one_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("s.yaml");
        let (manifests, pods) = scan(Manifests::new(folder.path().join("none"), "n1"));
        assert!(pods.is_empty(), "a folder that is not there has no pods");
        drop(manifests);

        std::fs::write(&file, POD).unwrap();
        std::fs::write(folder.path().join(".hidden.yaml"), POD).unwrap();
        let (manifests, first) = scan(Manifests::new(folder.path().to_owned(), "n1"));
        assert_eq!(first.len(), 1);
        assert_eq!(first[0].metadata.name.as_deref(), Some("s-n1"));
        assert_eq!(first[0].metadata.namespace.as_deref(), Some("default"));

        std::fs::write(&file, &POD[..30]).unwrap();
        let (manifests, second) = scan(manifests);
        assert_eq!(second, first, "M1");

        std::fs::write(&file, POD.replace("image: i", "image: j")).unwrap();
        let (manifests, third) = scan(manifests);
        assert_ne!(third[0].metadata.uid, first[0].metadata.uid, "another version, another pod");

        std::fs::remove_file(&file).unwrap();
        assert!(scan(manifests).1.is_empty());
    }

    #[test]
    fn stale_and_deleted_mirrors_go_and_missing_ones_come() {
        let pod = static_pod(POD, "n1").unwrap();
        let mirror = |uid: &str, of: &Pod| {
            let mut mirror = of.clone();
            let hash = mirror.metadata.uid.replace(uid.to_owned()).unwrap();
            let notes = mirror.metadata.annotations.get_or_insert_default();
            notes.insert(labels::CONFIG_MIRROR.to_owned(), hash);
            mirror
        };
        let mut mirrors = Mirrors::new(None, "n1");
        let pods = [pod.clone()];
        assert_eq!(mirrors.difference(&pods), (vec![], vec![&pod]));

        let good = mirror("m1", &pod);
        assert_eq!(mirrors.seen(&good), pod.metadata.uid);
        assert_eq!(mirrors.difference(&pods), (vec![], vec![]));
        assert_eq!(mirrors.of(pod.metadata.uid.as_ref().unwrap()), Some("m1".to_owned()));

        // The file changed: the old mirror goes first, the new one comes when its name is free.
        let changed = [static_pod(&POD.replace("image: i", "image: j"), "n1").unwrap()];
        assert_eq!(mirrors.difference(&changed), (vec![&good], vec![]));
        mirrors.gone("m1");
        assert_eq!(mirrors.difference(&changed), (vec![], vec![&changed[0]]));

        let mut deleted = mirror("m2", &pod);
        deleted.metadata.deletion_timestamp =
            Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(jiff::Timestamp::now()));
        mirrors.seen(&deleted);
        assert_eq!(mirrors.difference(&pods), (vec![&deleted], vec![]));
        assert_eq!(mirrors.seen(&pod), None, "an ordinary pod is no mirror");
    }
}
