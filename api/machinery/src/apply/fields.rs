//! Which fields an object has, by its type.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::path::{Path, PathElement};
use super::set::Set;
use super::types::{Form, Items, ListForm, NodeType};

/// The set of all fields that a value has. What does not fit the type is passed over: callers
/// check first.
#[must_use]
pub fn field_set(value: &Value, node: &NodeType) -> Set {
    let mut set = Set::default();
    walk(value, node, &mut set);
    set
}

/// Puts the fields below a value into a set; whether the value is a field by itself.
fn walk(value: &Value, node: &NodeType, set: &mut Set) -> bool {
    match node.form(Some(value)) {
        Form::Scalar(_) => return true,
        Form::List(list) if list.items == Items::Atomic => return true,
        Form::List(list) => walk_list(value, &list, set),
        Form::Map(map) if map.is_atomic => return true,
        Form::Map(_) => {
            for (key, value) in value.as_object().into_iter().flatten() {
                let Some(child) = node.child(key) else { continue };
                let element = PathElement::field(key);
                let mut below = Set::default();
                let is_field = walk(value, &child.node, &mut below);
                let is_empty = value.is_null() || value.as_object().is_some_and(Map::is_empty);
                if is_field || is_empty || !child.is_named {
                    set.members.insert(element.clone());
                }
                if !below.is_empty() {
                    set.children.insert(element, below);
                }
            }
        }
    }
    false
}

fn walk_list(value: &Value, list: &ListForm<'_>, set: &mut Set) {
    let items = value.as_array().map_or(&[][..], Vec::as_slice);
    for item in items {
        let Ok(element) = list.element_of(item) else { continue };
        // Of items that cannot be told apart nothing more is known than that they are there.
        if set.members.contains(&element) {
            set.children.remove(&element);
            continue;
        }
        let mut below = Set::default();
        walk(item, &list.element, &mut below);
        if !below.is_empty() {
            set.children.insert(element.clone(), below);
        }
        set.members.insert(element);
    }
}

/// A set as today's type has it: what has become atomic since it was written is one member.
/// `None` when it is so already, as nearly all are.
#[must_use]
pub(super) fn reconcile(set: &Set, node: &NodeType) -> Option<Set> {
    let mut atoms = Set::default();
    find_atoms(set, node, &mut Vec::new(), &mut atoms);
    (!atoms.is_empty()).then(|| set.recursive_difference(&atoms).union(&atoms))
}

fn find_atoms<'a>(set: &'a Set, node: &NodeType, path: &mut Vec<&'a PathElement>, atoms: &mut Set) {
    let is_atomic = match node.form(None) {
        Form::Scalar(_) => return,
        Form::List(list) => list.items == Items::Atomic,
        Form::Map(_) if matches!(node, NodeType::Deduced | NodeType::Opaque) => return,
        Form::Map(map) => map.is_atomic,
    };
    if is_atomic {
        // A member without children is as it should be already.
        if !set.is_empty() {
            let path: Path = path.iter().copied().cloned().collect();
            atoms.insert(&path);
        }
        return;
    }
    for (element, below) in &set.children {
        let child = match (element, node.form(None)) {
            (_, Form::List(list)) => Some(list.element),
            (PathElement::Field(name), _) => node.child(name).map(|child| child.node),
            _ => None,
        };
        if let Some(child) = child {
            path.push(element);
            find_atoms(below, &child, path, atoms);
            path.pop();
        }
    }
}

/// The items of a list by what tells them apart, in order of first sight.
pub(super) fn grouped<'a>(
    list: &ListForm<'_>,
    items: &'a [Value],
) -> (Vec<PathElement>, BTreeMap<PathElement, Vec<&'a Value>>) {
    let mut order = Vec::new();
    let mut groups: BTreeMap<PathElement, Vec<&Value>> = BTreeMap::new();
    for item in items {
        let Ok(element) = list.element_of(item) else { continue };
        if !groups.contains_key(&element) {
            order.push(element.clone());
        }
        groups.entry(element).or_default().push(item);
    }
    (order, groups)
}
