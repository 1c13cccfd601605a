//! Who owns whom, over all kinds: the decision of which object to look at next.
//!
//! | Rule | What always holds |
//! |------|-------------------|
//! | G1 | The graph only says what to look at; nothing is deleted without asking the server itself. |
//! | G2 | Dependents are found by their owner's uid, also when the owner was never seen. |

use std::collections::{BTreeSet, HashMap};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

/// The finalizer of an owner that waits for its dependents.
pub(super) const FOREGROUND: &str = "foregroundDeletion";
/// The finalizer of an owner that leaves its dependents behind.
pub(super) const ORPHAN: &str = "orphan";

/// One object.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Node {
    /// Index of the kind in the collector's table: `apiVersion/Kind`.
    pub(super) kind: String,
    /// Empty for cluster-scoped objects.
    pub(super) namespace: String,
    /// Its name.
    pub(super) name: String,
    /// Its owners.
    pub(super) owners: Vec<OwnerReference>,
    /// On its way out.
    pub(super) deleting: bool,
    /// Its finalizers of interest.
    pub(super) foreground: bool,
    /// See [`ORPHAN`].
    pub(super) orphan: bool,
}

impl Node {
    /// The node of an object's metadata.
    #[must_use]
    pub(super) fn new(kind: &str, meta: &ObjectMeta) -> Self {
        let has = |name: &str| meta.finalizers.iter().flatten().any(|finalizer| finalizer == name);
        Self {
            kind: kind.to_owned(),
            namespace: meta.namespace.clone().unwrap_or_default(),
            name: meta.name.clone().unwrap_or_default(),
            owners: meta.owner_references.clone().unwrap_or_default(),
            deleting: meta.deletion_timestamp.is_some(),
            foreground: has(FOREGROUND),
            orphan: has(ORPHAN),
        }
    }

    /// True when it waits for its dependents to go first.
    #[must_use]
    pub(super) fn waits_for_dependents(&self) -> bool {
        self.deleting && self.foreground
    }
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Work {
    /// Ask the server whether this object (by uid) has lost its owners, or may go at last.
    Collect(String),
    /// Take this owner's dependents out of its ownership.
    Orphan(String),
}

/// All objects by uid.
#[derive(Debug, Default)]
pub(super) struct Graph {
    nodes: HashMap<String, Node>,
    dependents: HashMap<String, BTreeSet<String>>,
}

impl Graph {
    /// An object was added or changed.
    pub(super) fn upsert(&mut self, uid: &str, node: Node) -> Vec<Work> {
        let mut work = Vec::new();
        let before = self.nodes.insert(uid.to_owned(), node.clone());
        let old_owners = before.as_ref().map(|node| node.owners.clone()).unwrap_or_default();
        for owner in &old_owners {
            if !node.owners.iter().any(|new| new.uid == owner.uid) {
                self.unlink(&owner.uid, uid);
            }
        }
        for owner in &node.owners {
            self.dependents.entry(owner.uid.clone()).or_default().insert(uid.to_owned());
        }
        if old_owners != node.owners {
            // An owner that waits for dependents may wait for one less.
            for owner in &old_owners {
                if self.nodes.get(&owner.uid).is_some_and(Node::waits_for_dependents) {
                    work.push(Work::Collect(owner.uid.clone()));
                }
            }
            let suspicious = node
                .owners
                .iter()
                .any(|owner| self.nodes.get(&owner.uid).is_none_or(Node::waits_for_dependents));
            if suspicious || (before.is_some() && !node.owners.is_empty()) {
                work.push(Work::Collect(uid.to_owned()));
            }
        }
        let was_deleting = before.as_ref().is_some_and(|node| node.deleting);
        if node.deleting
            && node.orphan
            && !(was_deleting && before.as_ref().is_some_and(|b| b.orphan))
        {
            work.push(Work::Orphan(uid.to_owned()));
        }
        if node.waits_for_dependents() && !before.is_some_and(|b| b.waits_for_dependents()) {
            let dependents = self.dependents(uid);
            work.extend(dependents.into_iter().map(Work::Collect));
            work.push(Work::Collect(uid.to_owned()));
        }
        work
    }

    /// An object is gone.
    pub(super) fn remove(&mut self, uid: &str) -> Vec<Work> {
        let mut work: Vec<Work> = self.dependents(uid).into_iter().map(Work::Collect).collect();
        if let Some(node) = self.nodes.remove(uid) {
            for owner in &node.owners {
                self.unlink(&owner.uid, uid);
                if self.nodes.get(&owner.uid).is_some_and(Node::waits_for_dependents) {
                    work.push(Work::Collect(owner.uid.clone()));
                }
            }
        }
        work
    }

    fn unlink(&mut self, owner: &str, dependent: &str) {
        if let Some(dependents) = self.dependents.get_mut(owner) {
            dependents.remove(dependent);
            if dependents.is_empty() {
                self.dependents.remove(owner);
            }
        }
    }

    /// The object with this uid.
    #[must_use]
    pub(super) fn get(&self, uid: &str) -> Option<&Node> {
        self.nodes.get(uid)
    }

    /// Uids of what this object owns.
    #[must_use]
    pub(super) fn dependents(&self, uid: &str) -> Vec<String> {
        self.dependents.get(uid).into_iter().flatten().cloned().collect()
    }

    /// Dependents that hold up the deletion of their owner.
    #[must_use]
    pub(super) fn blocking(&self, uid: &str) -> Vec<String> {
        let blocks = |dependent: &String| {
            self.nodes.get(dependent).is_some_and(|node| {
                node.owners
                    .iter()
                    .any(|owner| owner.uid == uid && owner.block_owner_deletion == Some(true))
            })
        };
        self.dependents(uid).into_iter().filter(blocks).collect()
    }

    /// Uids of all objects of a kind.
    #[must_use]
    pub(super) fn of_kind(&self, kind: &str) -> Vec<String> {
        self.nodes
            .iter()
            .filter(|(_, node)| node.kind == kind)
            .map(|(uid, _)| uid.clone())
            .collect()
    }

    /// How many objects are known.
    #[must_use]
    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }
}

/// What the server said about an owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OwnerState {
    /// It is there.
    Solid,
    /// It is not there.
    Gone,
    /// It waits for its dependents to go first.
    Waiting,
}

/// What to do with an object whose owners were asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing.
    Keep,
    /// It has a living owner: forget these others.
    DropOwners(Vec<String>),
    /// It goes, and its dependents with it first (foreground).
    DeleteForeground,
    /// It goes with the policy that its own finalizers ask for.
    Delete,
}

/// Decides from the state of each owner, in the order of `owners`.
#[must_use]
pub(super) fn judge(node: &Node, states: &[OwnerState], has_dependents: bool) -> Verdict {
    if states.is_empty() {
        return Verdict::Keep;
    }
    if states.contains(&OwnerState::Solid) {
        let lost = node.owners.iter().zip(states).filter(|(_, state)| **state != OwnerState::Solid);
        let lost: Vec<String> = lost.map(|(owner, _)| owner.uid.clone()).collect();
        return if lost.is_empty() { Verdict::Keep } else { Verdict::DropOwners(lost) };
    }
    if states.contains(&OwnerState::Waiting) && has_dependents {
        return Verdict::DeleteForeground;
    }
    Verdict::Delete
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(owners: &[&str]) -> Node {
        let owner = |uid: &&str| OwnerReference {
            uid: (*uid).to_owned(),
            block_owner_deletion: Some(true),
            ..OwnerReference::default()
        };
        Node {
            kind: "v1/Pod".into(),
            namespace: "ns".into(),
            name: "x".into(),
            owners: owners.iter().map(owner).collect(),
            deleting: false,
            foreground: false,
            orphan: false,
        }
    }

    fn collect(uids: &[&str]) -> Vec<Work> {
        uids.iter().map(|uid| Work::Collect((*uid).to_owned())).collect()
    }

    #[test]
    fn the_dependents_of_a_deleted_owner_are_looked_at() {
        let mut graph = Graph::default();
        assert!(graph.upsert("owner", node(&[])).is_empty());
        assert!(graph.upsert("child", node(&["owner"])).is_empty(), "its owner is there");
        assert_eq!(graph.remove("owner"), collect(&["child"]));
    }

    #[test]
    fn a_dependent_whose_owner_was_never_seen_is_looked_at() {
        let mut graph = Graph::default();
        assert_eq!(graph.upsert("child", node(&["ghost"])), collect(&["child"]));
        assert_eq!(graph.remove("ghost"), collect(&["child"]), "G2");
    }

    #[test]
    fn a_foreground_owner_wakes_its_dependents_and_is_woken_by_each_that_goes() {
        let mut graph = Graph::default();
        graph.upsert("owner", node(&[]));
        graph.upsert("a", node(&["owner"]));
        graph.upsert("b", node(&["owner"]));
        let mut going = node(&[]);
        (going.deleting, going.foreground) = (true, true);
        assert_eq!(graph.upsert("owner", going), collect(&["a", "b", "owner"]));
        assert_eq!(graph.blocking("owner"), ["a", "b"]);
        assert_eq!(graph.remove("a"), collect(&["owner"]));
        assert_eq!(graph.blocking("owner"), ["b"]);
    }

    #[test]
    fn an_orphaning_owner_is_worked_on_once() {
        let mut graph = Graph::default();
        graph.upsert("owner", node(&[]));
        let mut going = node(&[]);
        (going.deleting, going.orphan) = (true, true);
        assert_eq!(graph.upsert("owner", going.clone()), [Work::Orphan("owner".into())]);
        assert!(graph.upsert("owner", going).is_empty());
    }

    #[test]
    fn owners_decide_the_fate() {
        use OwnerState::{Gone, Solid, Waiting};
        let cases = [
            (vec![], false, Verdict::Keep),
            (vec![Solid], false, Verdict::Keep),
            (vec![Solid, Gone], false, Verdict::DropOwners(vec!["o1".into()])),
            (vec![Waiting, Solid], true, Verdict::DropOwners(vec!["o0".into()])),
            (vec![Gone], true, Verdict::Delete),
            (vec![Waiting], true, Verdict::DeleteForeground),
            (vec![Waiting], false, Verdict::Delete),
            (vec![Waiting, Gone], true, Verdict::DeleteForeground),
        ];
        for (states, has_dependents, verdict) in cases {
            let names: Vec<String> = (0..states.len()).map(|i| format!("o{i}")).collect();
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            assert_eq!(judge(&node(&names), &states, has_dependents), verdict, "{states:?}");
        }
    }
}
