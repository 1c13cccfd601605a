//! What runs where: which nodes have something to do with a secret, a volume, an account.
//!
//! | Rule | What always holds |
//! |------|-------------------|
//! | N1 | A node reaches exactly what pods that are bound to it name, and what stands behind their claims. |
//! | N2 | What an object said before is forgotten when it says something else, or is gone. |
//! | N3 | A mirror pod, which a node may write itself, gives its node nothing but itself. |

use std::collections::{BTreeSet, HashMap, HashSet};

use api_machinery::View;

/// The kinds of what nodes reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Thing {
    ConfigMap,
    Secret,
    Claim,
    Volume,
    ServiceAccount,
    ResourceClaim,
    Pod,
    Attachment,
    Slice,
}

/// One object: its kind, its namespace (empty when it has none), its name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Vertex {
    pub(super) thing: Thing,
    namespace: String,
    name: String,
}

impl Vertex {
    pub(super) fn new(thing: Thing, namespace: &str, name: &str) -> Self {
        Self { thing, namespace: namespace.to_owned(), name: name.to_owned() }
    }
}

/// What an object says about others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Says {
    /// It is on a node, and so is what it uses.
    On { node: String, uses: BTreeSet<Vertex> },
    /// It stands behind a claim, and is opened with these secrets.
    Behind { claim: Vertex, secrets: BTreeSet<Vertex> },
}

/// The relations between nodes and objects.
#[derive(Debug, Default)]
pub(super) struct Graph {
    said: HashMap<Vertex, Says>,
    /// On which nodes something is, and how many pods say so.
    on: HashMap<Vertex, HashMap<String, usize>>,
    /// The volumes that a secret opens.
    opens: HashMap<Vertex, HashSet<Vertex>>,
}

impl Graph {
    /// Takes in what an object says now (N2); `None` when it is gone or says nothing.
    pub(super) fn set(&mut self, vertex: Vertex, says: Option<Says>) {
        self.forget(&vertex);
        match &says {
            None => return,
            Some(Says::On { node, uses }) => {
                for used in uses.iter().chain([&vertex]) {
                    let nodes = self.on.entry(used.clone()).or_default();
                    *nodes.entry(node.clone()).or_default() += 1;
                }
            }
            Some(Says::Behind { secrets, .. }) => {
                for secret in secrets {
                    self.opens.entry(secret.clone()).or_default().insert(vertex.clone());
                }
            }
        }
        self.said.extend(says.map(|says| (vertex, says)));
    }

    fn forget(&mut self, vertex: &Vertex) {
        match self.said.remove(vertex) {
            None => {}
            Some(Says::On { node, uses }) => {
                for used in uses.iter().chain([vertex]) {
                    self.leave(used, &node);
                }
            }
            Some(Says::Behind { secrets, .. }) => {
                for secret in &secrets {
                    if let Some(volumes) = self.opens.get_mut(secret) {
                        volumes.remove(vertex);
                        if volumes.is_empty() {
                            self.opens.remove(secret);
                        }
                    }
                }
            }
        }
    }

    fn leave(&mut self, used: &Vertex, node: &str) {
        let Some(nodes) = self.on.get_mut(used) else { return };
        if let Some(count) = nodes.get_mut(node) {
            *count -= 1;
            if *count == 0 {
                nodes.remove(node);
            }
        }
        if nodes.is_empty() {
            self.on.remove(used);
        }
    }

    /// Replaces all that the objects of one kind said.
    pub(super) fn replace(&mut self, thing: Thing, all: Vec<(Vertex, Option<Says>)>) {
        let known: Vec<Vertex> =
            self.said.keys().filter(|vertex| vertex.thing == thing).cloned().collect();
        for vertex in known {
            self.forget(&vertex);
        }
        for (vertex, says) in all {
            self.set(vertex, says);
        }
    }

    /// N1.
    pub(super) fn reaches(&self, node: &str, vertex: &Vertex) -> bool {
        let is_on =
            |vertex: &Vertex| self.on.get(vertex).is_some_and(|nodes| nodes.contains_key(node));
        let is_behind = |volume: &Vertex| match self.said.get(volume) {
            Some(Says::Behind { claim, .. }) => is_on(claim),
            Some(Says::On { .. }) | None => false,
        };
        match vertex.thing {
            Thing::Volume => is_behind(vertex),
            Thing::Secret => {
                is_on(vertex) || self.opens.get(vertex).into_iter().flatten().any(is_behind)
            }
            Thing::ConfigMap
            | Thing::Claim
            | Thing::ServiceAccount
            | Thing::ResourceClaim
            | Thing::Pod
            | Thing::Attachment
            | Thing::Slice => is_on(vertex),
        }
    }
}

/// What an object of a kind says.
pub(super) fn says(thing: Thing, object: View<'_>) -> Option<Says> {
    let on = |node: View<'_>, uses: BTreeSet<Vertex>| {
        let node = node.text().into_owned();
        (!node.is_empty()).then_some(Says::On { node, uses })
    };
    match thing {
        Thing::Pod => on(object.at(&["spec", "nodeName"]), pod_uses(object)),
        Thing::Attachment | Thing::Slice => on(object.at(&["spec", "nodeName"]), BTreeSet::new()),
        Thing::Volume => volume(object.get("spec")),
        Thing::ConfigMap
        | Thing::Secret
        | Thing::Claim
        | Thing::ServiceAccount
        | Thing::ResourceClaim => None,
    }
}

/// Whether two versions of a pod say the same: only then is a status update cheap.
pub(super) fn is_same_pod(one: View<'_>, other: View<'_>) -> bool {
    told_parts(one) == told_parts(other)
}

/// What a pod says of what it uses, in one pass over it.
fn told_parts(pod: View<'_>) -> [&[u8]; 5] {
    let mut parts = [&[][..]; 5];
    for (name, group) in pod.entries() {
        if !matches!(name, b"metadata" | b"spec" | b"status") {
            continue;
        }
        for (field, value) in group.entries() {
            let place = match (name, field) {
                (b"metadata", b"uid") => 0,
                (b"spec", b"nodeName") => 1,
                (b"spec", b"ephemeralContainers") => 2,
                (b"status", b"resourceClaimStatuses") => 3,
                (b"status", b"extendedResourceClaimStatus") => 4,
                _ => continue,
            };
            parts[place] = value.bytes();
        }
    }
    parts
}

/// Everything that a pod names in its namespace.
struct Uses {
    namespace: String,
    found: BTreeSet<Vertex>,
}

impl Uses {
    fn add(&mut self, thing: Thing, name: View<'_>) {
        self.add_name(thing, &name.text());
    }

    fn add_name(&mut self, thing: Thing, name: &str) {
        if !name.is_empty() {
            self.found.insert(Vertex::new(thing, &self.namespace, name));
        }
    }
}

fn pod_uses(pod: View<'_>) -> BTreeSet<Vertex> {
    let metadata = pod.get("metadata");
    // N3.
    if !metadata.at(&["annotations", "kubernetes.io/config.mirror"]).bytes().is_empty() {
        return BTreeSet::new();
    }
    let namespace = metadata.get("namespace").text().into_owned();
    let mut uses = Uses { namespace, found: BTreeSet::new() };
    let spec = pod.get("spec");
    uses.add(Thing::ServiceAccount, spec.get("serviceAccountName"));
    for secret in spec.get("imagePullSecrets").items() {
        uses.add(Thing::Secret, secret.get("name"));
    }
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        for container in spec.get(list).items() {
            container_uses(container, &mut uses);
        }
    }
    let name = metadata.get("name").text();
    for volume in spec.get("volumes").items() {
        volume_uses(volume, &name, &mut uses);
    }
    let status = pod.get("status");
    for claim in spec.get("resourceClaims").items() {
        uses.add(Thing::ResourceClaim, claim.get("resourceClaimName"));
        let own = claim.get("name").text();
        for made in status.get("resourceClaimStatuses").items() {
            if made.get("name").text() == own {
                uses.add(Thing::ResourceClaim, made.get("resourceClaimName"));
            }
        }
    }
    let extended = status.at(&["extendedResourceClaimStatus", "resourceClaimName"]);
    uses.add(Thing::ResourceClaim, extended);
    uses.found
}

fn container_uses(container: View<'_>, uses: &mut Uses) {
    for source in container.get("envFrom").items() {
        uses.add(Thing::Secret, source.at(&["secretRef", "name"]));
        uses.add(Thing::ConfigMap, source.at(&["configMapRef", "name"]));
    }
    for variable in container.get("env").items() {
        let source = variable.get("valueFrom");
        uses.add(Thing::Secret, source.at(&["secretKeyRef", "name"]));
        uses.add(Thing::ConfigMap, source.at(&["configMapKeyRef", "name"]));
    }
}

/// Kinds of volumes that are opened with a secret of the pod's namespace.
const OPENED: [&str; 7] =
    ["cephfs", "cinder", "flexVolume", "rbd", "scaleIO", "iscsi", "storageos"];

fn volume_uses(volume: View<'_>, pod: &str, uses: &mut Uses) {
    uses.add(Thing::Secret, volume.at(&["azureFile", "secretName"]));
    uses.add(Thing::Secret, volume.at(&["secret", "secretName"]));
    uses.add(Thing::Secret, volume.at(&["csi", "nodePublishSecretRef", "name"]));
    for kind in OPENED {
        uses.add(Thing::Secret, volume.at(&[kind, "secretRef", "name"]));
    }
    uses.add(Thing::ConfigMap, volume.at(&["configMap", "name"]));
    for source in volume.at(&["projected", "sources"]).items() {
        uses.add(Thing::Secret, source.at(&["secret", "name"]));
        uses.add(Thing::ConfigMap, source.at(&["configMap", "name"]));
    }
    uses.add(Thing::Claim, volume.at(&["persistentVolumeClaim", "claimName"]));
    if volume.get("ephemeral").is_object() {
        let name = format!("{pod}-{}", volume.get("name").text());
        uses.add_name(Thing::Claim, &name);
    }
}

/// A volume that is bound: its claim, and the secrets that a node opens it with.
fn volume(spec: View<'_>) -> Option<Says> {
    let claim = spec.get("claimRef");
    if !claim.is_object() {
        return None;
    }
    let namespace = claim.get("namespace").text();
    let mut secrets = BTreeSet::new();
    let mut add = |namespace: &str, name: &str| {
        if !name.is_empty() {
            secrets.insert(Vertex::new(Thing::Secret, namespace, name));
        }
    };
    let or_claims = |own: View<'_>| match own.text() {
        own if own.is_empty() => namespace.to_string(),
        own => own.into_owned(),
    };
    let azure = spec.get("azureFile");
    add(&or_claims(azure.get("secretNamespace")), &azure.get("secretName").text());
    for kind in OPENED {
        let secret = spec.at(&[kind, "secretRef"]);
        add(&or_claims(secret.get("namespace")), &secret.get("name").text());
    }
    for door in ["nodePublishSecretRef", "nodeStageSecretRef", "nodeExpandSecretRef"] {
        let secret = spec.at(&["csi", door]);
        add(&secret.get("namespace").text(), &secret.get("name").text());
    }
    let claim = Vertex::new(Thing::Claim, &namespace, &claim.get("name").text());
    Some(Says::Behind { claim, secrets })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn told(graph: &mut Graph, thing: Thing, object: &Value) {
        let metadata = &object["metadata"];
        let text = |key: &str| metadata[key].as_str().unwrap_or_default();
        let vertex = Vertex::new(thing, text("namespace"), text("name"));
        let bytes = object.to_string();
        graph.set(vertex, says(thing, View::new(bytes.as_bytes())));
    }

    fn pod(name: &str, node: &str) -> Value {
        json!({"metadata": {"name": name, "namespace": "a", "uid": name}, "spec": {
            "nodeName": node, "serviceAccountName": "robot",
            "imagePullSecrets": [{"name": "pull"}],
            "initContainers": [{"env": [{"valueFrom": {"secretKeyRef": {"name": "init"}}}]}],
            "containers": [{"envFrom": [{"configMapRef": {"name": "env"}}]}],
            "volumes": [
                {"name": "s", "secret": {"secretName": "vol"}},
                {"name": "p", "projected": {"sources": [{"configMap": {"name": "pro"}}]}},
                {"name": "c", "persistentVolumeClaim": {"claimName": "claim"}},
                {"name": "e", "ephemeral": {}},
                {"name": "f", "flexVolume": {"secretRef": {"name": "flex"}}},
            ],
            "resourceClaims": [{"name": "gpu", "resourceClaimTemplateName": "t"},
                {"name": "own", "resourceClaimName": "direct"}]},
            "status": {"resourceClaimStatuses": [{"name": "gpu", "resourceClaimName": "made"}]}})
    }

    #[test]
    fn a_node_reaches_what_its_pods_name_as_long_as_they_are_there() {
        let mut graph = Graph::default();
        told(&mut graph, Thing::Pod, &pod("p", "n1"));
        told(&mut graph, Thing::Pod, &pod("q", "n1"));
        let named = [
            (Thing::ServiceAccount, "robot"),
            (Thing::Secret, "pull"),
            (Thing::Secret, "init"),
            (Thing::ConfigMap, "env"),
            (Thing::Secret, "vol"),
            (Thing::ConfigMap, "pro"),
            (Thing::Claim, "claim"),
            (Thing::Claim, "p-e"),
            (Thing::Secret, "flex"),
            (Thing::ResourceClaim, "made"),
            (Thing::ResourceClaim, "direct"),
            (Thing::Pod, "p"),
        ];
        for (thing, name) in named {
            let vertex = Vertex::new(thing, "a", name);
            assert!(graph.reaches("n1", &vertex), "{name}");
            assert!(!graph.reaches("n2", &vertex), "{name}");
            assert!(!graph.reaches("n1", &Vertex::new(thing, "b", name)), "{name}");
        }
        let vol = Vertex::new(Thing::Secret, "a", "vol");
        graph.set(Vertex::new(Thing::Pod, "a", "p"), None);
        assert!(graph.reaches("n1", &vol), "q is there");
        // The same name on another node: a new pod.
        told(&mut graph, Thing::Pod, &pod("q", "n2"));
        assert!(!graph.reaches("n1", &vol) && graph.reaches("n2", &vol));
        graph.replace(Thing::Pod, Vec::new());
        assert!(graph.on.is_empty() && graph.said.is_empty());
    }

    #[test]
    fn what_stands_behind_a_claim_is_reached_through_it() {
        let mut graph = Graph::default();
        let volume = json!({"metadata": {"name": "v"}, "spec": {
            "claimRef": {"namespace": "a", "name": "claim"},
            "csi": {"nodeStageSecretRef": {"namespace": "vault", "name": "stage"},
                "controllerPublishSecretRef": {"namespace": "vault", "name": "hidden"}},
            "rbd": {"secretRef": {"name": "old"}}}});
        told(&mut graph, Thing::Volume, &volume);
        let reached = |graph: &Graph, thing, namespace: &str, name: &str| {
            graph.reaches("n1", &Vertex::new(thing, namespace, name))
        };
        assert!(!reached(&graph, Thing::Volume, "", "v"), "no pod uses the claim");
        told(&mut graph, Thing::Pod, &pod("p", "n1"));
        assert!(reached(&graph, Thing::Volume, "", "v"));
        assert!(reached(&graph, Thing::Secret, "vault", "stage"));
        assert!(reached(&graph, Thing::Secret, "a", "old"));
        assert!(!reached(&graph, Thing::Secret, "vault", "hidden"));
        graph.set(Vertex::new(Thing::Volume, "", "v"), None);
        assert!(!reached(&graph, Thing::Secret, "vault", "stage") && graph.opens.is_empty());
    }

    #[test]
    fn a_mirror_pod_gives_its_node_only_itself() {
        let mut graph = Graph::default();
        let mut mirror = pod("m", "n1");
        mirror["metadata"]["annotations"] = json!({"kubernetes.io/config.mirror": "x"});
        told(&mut graph, Thing::Pod, &mirror);
        assert!(graph.reaches("n1", &Vertex::new(Thing::Pod, "a", "m")));
        assert!(!graph.reaches("n1", &Vertex::new(Thing::Secret, "a", "vol")));
    }
}
