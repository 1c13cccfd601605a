//! Sets of paths, and their JSON: the `fieldsV1` of managed fields.
//!
//! | Rule | What always holds |
//! |------|-------------------|
//! | A1 | What is written is in upstream's order, and reads back as the same set. |
//! | A2 | A path can be a member, lead to members, or both: `.` marks both. |

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde_json::{Map, Value};

use super::path::{NoElement, Path, PathElement};
use super::types::{Form, NodeType};

/// A set of paths.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Set {
    pub(super) members: BTreeSet<PathElement>,
    pub(super) children: BTreeMap<PathElement, Set>,
}

impl Set {
    /// A set of paths of field names.
    #[must_use]
    pub fn of_fields(paths: &[&[&str]]) -> Self {
        let mut set = Self::default();
        for path in paths {
            let path: Path = path.iter().map(|name| PathElement::field(name)).collect();
            set.insert(&path);
        }
        set
    }

    /// Adds a path; the root is no member of any set.
    pub fn insert(&mut self, path: &[PathElement]) {
        let Some((last, parents)) = path.split_last() else { return };
        let mut set = self;
        for element in parents {
            // Nearly always it is there, and need not be copied.
            if !set.children.contains_key(element) {
                set.children.insert(element.clone(), Self::default());
            }
            set = set.children.get_mut(element).expect("it was there or was put there");
        }
        set.members.insert(last.clone());
    }

    #[must_use]
    pub fn has(&self, path: &[PathElement]) -> bool {
        let Some((last, parents)) = path.split_last() else { return false };
        let mut set = self;
        for element in parents {
            let Some(child) = set.children.get(element) else { return false };
            set = child;
        }
        set.members.contains(last)
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.members.is_empty() && self.children.values().all(Self::is_empty)
    }

    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        let mut out = self.clone();
        out.members.extend(other.members.iter().cloned());
        for (element, theirs) in &other.children {
            let ours = out.children.entry(element.clone()).or_default();
            *ours = ours.union(theirs);
        }
        out
    }

    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        let both = self.children.iter().filter_map(|(element, ours)| {
            let set = ours.intersection(other.children.get(element)?);
            (!set.is_empty()).then(|| (element.clone(), set))
        });
        Self {
            members: self.members.intersection(&other.members).cloned().collect(),
            children: both.collect(),
        }
    }

    /// The paths of this set that are not in the other one.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Self {
        self.without(other, false)
    }

    /// The paths of this set that are neither in the other one nor below a path of it.
    #[must_use]
    pub fn recursive_difference(&self, other: &Self) -> Self {
        self.without(other, true)
    }

    fn without(&self, other: &Self, recursive: bool) -> Self {
        let left = self.children.iter().filter_map(|(element, ours)| {
            if recursive && other.members.contains(element) {
                return None;
            }
            let set = match other.children.get(element) {
                Some(theirs) => ours.without(theirs, recursive),
                None => ours.clone(),
            };
            (!set.is_empty()).then(|| (element.clone(), set))
        });
        Self {
            members: self.members.difference(&other.members).cloned().collect(),
            children: left.collect(),
        }
    }

    /// Takes the paths of another set away; with `below`, what is below them as well. In its place
    /// a difference would copy all that stays, which is nearly everything.
    pub(super) fn subtract(&mut self, other: &Self, below: bool) {
        for element in &other.members {
            self.members.remove(element);
            if below {
                self.children.remove(element);
            }
        }
        for (element, theirs) in &other.children {
            let Some(ours) = self.children.get_mut(element) else { continue };
            ours.subtract(theirs, below);
            if ours.is_empty() {
                self.children.remove(element);
            }
        }
    }

    /// Takes the paths of another set in.
    pub(super) fn absorb(&mut self, other: Self) {
        self.members.extend(other.members);
        for (element, theirs) in other.children {
            self.children.entry(element).or_default().absorb(theirs);
        }
    }

    /// The paths below an element, as seen from it.
    #[must_use]
    pub fn below(&self, element: &PathElement) -> Option<&Self> {
        self.children.get(element).filter(|set| !set.is_empty())
    }

    /// Whether all its paths are in the other one.
    pub(super) fn is_within(&self, other: &Self) -> bool {
        let below = |(element, ours): (&PathElement, &Self)| {
            ours.is_empty()
                || other.children.get(element).is_some_and(|theirs| ours.is_within(theirs))
        };
        self.members.is_subset(&other.members) && self.children.iter().all(below)
    }

    /// Every path, parents before children.
    #[must_use]
    pub fn paths(&self) -> Vec<Path> {
        let mut out = Vec::new();
        self.collect(&mut Vec::new(), &mut out);
        out
    }

    fn collect(&self, prefix: &mut Path, out: &mut Vec<Path>) {
        for element in &self.members {
            let mut path = prefix.clone();
            path.push(element.clone());
            out.push(path);
        }
        for (element, set) in &self.children {
            prefix.push(element.clone());
            set.collect(prefix, out);
            prefix.pop();
        }
    }

    /// Makes every struct field that leads to a member one itself: whoever has set something in a
    /// struct has also made the struct be there.
    pub(super) fn with_named_fields(&self, node: &NodeType) -> Self {
        let mut out = Self { members: self.members.clone(), children: BTreeMap::new() };
        for (element, set) in &self.children {
            let child = match (element, node.form(None)) {
                (PathElement::Field(name), Form::Map(_)) => {
                    let child = node.child(name);
                    if child.as_ref().is_some_and(|child| child.is_named) {
                        out.members.insert(element.clone());
                    }
                    child.map_or(NodeType::Deduced, |child| child.node)
                }
                (PathElement::Key(_), Form::List(list)) => list.element,
                _ => NodeType::Deduced,
            };
            out.children.insert(element.clone(), set.with_named_fields(&child));
        }
        out
    }

    /// Reads `fieldsV1`.
    ///
    /// # Errors
    /// What is wrong with the first element that is.
    pub fn from_json(value: &Value) -> Result<Self, String> {
        Ok(Self::read(value)?.0.unwrap_or_default())
    }

    /// Reads `fieldsV1` that is known to be an object.
    pub(super) fn from_tree(entries: &Map<String, Value>) -> Result<Self, String> {
        Ok(Self::read_entries(entries)?.0.unwrap_or_default())
    }

    /// The set below a node, and whether the node itself is a member.
    fn read(value: &Value) -> Result<(Option<Self>, bool), String> {
        match value {
            Value::Object(entries) => Self::read_entries(entries),
            Value::Null => Ok((None, true)),
            _ => Err("expected { or null".to_owned()),
        }
    }

    fn read_entries(entries: &Map<String, Value>) -> Result<(Option<Self>, bool), String> {
        let mut set: Option<Self> = None;
        let mut is_member = false;
        for (key, below) in entries {
            if key == "." {
                is_member = true;
                continue;
            }
            let element = match PathElement::parse(key) {
                Ok(element) => element,
                Err(NoElement::UnknownKind) => continue,
                Err(NoElement::Malformed(why)) => {
                    return Err(format!("parsing key as path element: {why}"));
                }
            };
            let (below, is_child_member) = Self::read(below)?;
            let set = set.get_or_insert_default();
            if is_child_member {
                set.members.insert(element.clone());
            }
            if let Some(below) = below {
                set.children.insert(element, below);
            }
        }
        is_member |= set.is_none();
        Ok((set, is_member))
    }

    /// Writes `fieldsV1` in upstream's order (A1), which the order of a tree's map is not: port 80
    /// comes before port 443.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut out = String::new();
        self.write(false, &mut out);
        out
    }

    fn write(&self, is_member: bool, out: &mut String) {
        out.push('{');
        let mut separator = "";
        if is_member {
            out.push_str("\".\":{}");
            separator = ",";
        }
        let elements: BTreeSet<&PathElement> =
            self.members.iter().chain(self.children.keys()).collect();
        for element in elements {
            let key = Value::from(element.to_key());
            write!(out, "{separator}{key}:").expect("a String takes all that is written");
            separator = ",";
            match self.children.get(element) {
                Some(below) => {
                    let is_member = self.members.contains(element);
                    below.write(is_member && !below.has_nothing(), out);
                }
                None => out.push_str("{}"),
            }
        }
        out.push('}');
    }

    /// The same as a tree, which has an order of its own.
    #[must_use]
    pub(super) fn to_tree(&self) -> Value {
        self.tree(false)
    }

    fn tree(&self, is_member: bool) -> Value {
        let mut out = Map::new();
        if is_member {
            out.insert(".".to_owned(), Value::Object(Map::new()));
        }
        for element in &self.members {
            if !self.children.contains_key(element) {
                out.insert(element.to_key(), Value::Object(Map::new()));
            }
        }
        for (element, below) in &self.children {
            let is_member = self.members.contains(element) && !below.has_nothing();
            out.insert(element.to_key(), below.tree(is_member));
        }
        Value::Object(out)
    }

    fn has_nothing(&self) -> bool {
        self.members.is_empty() && self.children.is_empty()
    }
}
