//! What differs between two objects of a type.

use serde_json::{Map, Value};

use super::fields::grouped;
use super::path::{Path, PathElement, same};
use super::set::Set;
use super::target::Target;
use super::types::{Form, Items, ListForm, NodeType};

/// The fields that differ.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    pub added: Set,
    pub modified: Set,
    pub removed: Set,
}

/// Compares an object with what it becomes.
#[must_use]
pub fn compare(old: &Value, new: &Value, node: &NodeType) -> Comparison {
    let mut walk = Walk { path: Vec::new(), out: Comparison::default(), reset: None };
    if old != new {
        walk.node(Some(old), Some(new), node);
    }
    walk.out
}

/// The same for two objects, whose managed fields are left out, and what a write cannot set at all.
pub(super) fn compare_objects(
    old: &Map<String, Value>,
    new: &Map<String, Value>,
    target: &Target,
) -> Comparison {
    let node = &target.node;
    let reset = Some(&target.reset);
    let mut walk = Walk { path: Vec::new(), out: Comparison::default(), reset };
    if matches!(node.form(None), Form::Map(map) if !map.is_atomic) {
        walk.map(Some(old), Some(new), node);
    }
    walk.out
}

struct Walk<'a> {
    path: Path,
    out: Comparison,
    /// Of whole objects: the fields that a write cannot set.
    reset: Option<&'a Set>,
}

impl Walk<'_> {
    /// Two values that differ.
    fn node(&mut self, old: Option<&Value>, new: Option<&Value>, node: &NodeType) {
        let (old_form, new_form) = (node.form(old), node.form(new));
        let was_leaf = match (old, new) {
            (_, None) => self.form(old, new, node, &old_form),
            (Some(_), Some(_))
                if std::mem::discriminant(&old_form) != std::mem::discriminant(&new_form) =>
            {
                self.form(old, new, node, &old_form);
                self.form(old, new, node, &new_form)
            }
            _ => self.form(old, new, node, &new_form),
        };
        if was_leaf {
            return;
        }
        if old.is_none() {
            self.out.added.insert(&self.path);
        } else if new.is_none() {
            self.out.removed.insert(&self.path);
        }
    }

    /// Compares by one form; true when the node was compared as a whole.
    fn form(
        &mut self,
        old: Option<&Value>,
        new: Option<&Value>,
        node: &NodeType,
        form: &Form<'_>,
    ) -> bool {
        match form {
            Form::Scalar(_) => {}
            Form::List(list) => {
                let items =
                    |value: Option<&'_ Value>| value.and_then(Value::as_array).map(Vec::len);
                let has_items = items(old).unwrap_or(0) + items(new).unwrap_or(0) > 0;
                if list.items != Items::Atomic && has_items {
                    self.list(old, new, list);
                    return false;
                }
            }
            Form::Map(map) => {
                let old_map = old.and_then(Value::as_object);
                let new_map = new.and_then(Value::as_object);
                let len = |map: Option<&Map<String, Value>>| map.map_or(0, Map::len);
                if !map.is_atomic && len(old_map) + len(new_map) > 0 {
                    self.map(old_map, new_map, node);
                    return false;
                }
            }
        }
        self.leaf(old, new);
        true
    }

    fn leaf(&mut self, old: Option<&Value>, new: Option<&Value>) {
        match (old, new) {
            (None, _) => self.out.added.insert(&self.path),
            (_, None) => self.out.removed.insert(&self.path),
            (Some(old), Some(new)) if !same(old, new) => self.out.modified.insert(&self.path),
            _ => {}
        }
    }

    fn map(
        &mut self,
        old: Option<&Map<String, Value>>,
        new: Option<&Map<String, Value>>,
        node: &NodeType,
    ) {
        let old_keys = old.into_iter().flat_map(Map::keys);
        let only_new = new
            .into_iter()
            .flat_map(Map::keys)
            .filter(|key| old.is_none_or(|old| !old.contains_key(*key)));
        for key in old_keys.chain(only_new) {
            let old = old.and_then(|map| map.get(key));
            let new = new.and_then(|map| map.get(key));
            // Most of what a write sends is as it was: nothing below can differ then.
            if self.leaves_out(key) || old == new {
                continue;
            }
            let Some(child) = node.child(key) else { continue };
            self.path.push(PathElement::field(key));
            self.node(old, new, &child.node);
            self.path.pop();
        }
    }

    /// Whether a field of an object counts for nothing.
    fn leaves_out(&self, name: &str) -> bool {
        let Some(reset) = self.reset else { return false };
        match &self.path[..] {
            [] => reset.members.contains(&PathElement::field(name)),
            [PathElement::Field(parent)] => parent == "metadata" && name == "managedFields",
            _ => false,
        }
    }

    fn list(&mut self, old: Option<&Value>, new: Option<&Value>, list: &ListForm<'_>) {
        let (mut order, old) = grouped(list, items_of(old));
        let (new_order, new) = grouped(list, items_of(new));
        order.extend(new_order.into_iter().filter(|element| !old.contains_key(element)));
        for element in order {
            let none = Vec::new();
            let (old, new) =
                (old.get(&element).unwrap_or(&none), new.get(&element).unwrap_or(&none));
            if old == new {
                continue;
            }
            self.path.push(element);
            match (old.as_slice(), new.as_slice()) {
                ([], []) => {}
                ([] | [_], [] | [_]) => {
                    self.node(old.first().copied(), new.first().copied(), &list.element);
                }
                ([_, _, ..], [_, _, ..]) => {
                    let is_same = old.len() == new.len()
                        && old.iter().zip(new).all(|(old, new)| same(old, new));
                    if !is_same {
                        self.out.modified.insert(&self.path);
                    }
                }
                ([_, _, ..], rest) => {
                    if let Some(item) = rest.first() {
                        self.node(None, Some(item), &list.element);
                    }
                    self.out.removed.insert(&self.path);
                }
                (rest, [_, _, ..]) => {
                    if let Some(item) = rest.first() {
                        self.node(Some(item), None, &list.element);
                    }
                    self.out.added.insert(&self.path);
                }
            }
            self.path.pop();
        }
    }
}

fn items_of(value: Option<&Value>) -> &[Value] {
    value.and_then(Value::as_array).map_or(&[], Vec::as_slice)
}
