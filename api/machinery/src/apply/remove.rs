//! Taking fields out of an object, and taking an object apart to some of its fields.

use serde_json::{Map, Value, json};

use super::path::PathElement;
use super::set::Set;
use super::types::{Form, Items, ListForm, NodeType};

/// The value without the fields of a set; `None` when nothing is left.
#[must_use]
pub fn remove(value: &Value, set: &Set, node: &NodeType) -> Option<Value> {
    Walk { extracts: false }.node(value, set, node)
}

/// The value with the fields of a set only; `None` when there are none.
#[must_use]
pub fn extract(value: &Value, set: &Set, node: &NodeType) -> Option<Value> {
    Walk { extracts: true }.node(value, set, node)
}

struct Walk {
    extracts: bool,
}

impl Walk {
    fn node(&self, value: &Value, set: &Set, node: &NodeType) -> Option<Value> {
        let whole = || self.extracts.then(|| value.clone());
        match (node.form(Some(value)), value) {
            (Form::Scalar(_), _) => Some(value.clone()),
            (Form::List(list), Value::Array(items)) => {
                if items.is_empty() || list.items == Items::Atomic {
                    return whole();
                }
                self.list(items, set, &list)
            }
            (Form::Map(map), Value::Object(entries)) => {
                if entries.is_empty() || map.is_atomic {
                    return whole();
                }
                self.map(entries, set, node)
            }
            (Form::List(_) | Form::Map(_), _) => None,
        }
    }

    fn list(&self, items: &[Value], set: &Set, list: &ListForm<'_>) -> Option<Value> {
        let mut out = Vec::new();
        let mut has_matches = false;
        for item in items {
            let element = list.element_of(item).ok();
            let is_member = element.as_ref().is_some_and(|element| set.members.contains(element));
            let below = element.as_ref().and_then(|element| set.below(element));
            match (self.extracts, is_member, below) {
                (true, _, Some(below)) => {
                    out.push(self.node(item, below, &list.element).unwrap_or(Value::Null));
                }
                (true, true, None) | (false, false, None) => out.push(item.clone()),
                (true, false, None) | (false, true, _) => {}
                (false, false, Some(below)) => {
                    has_matches = true;
                    out.push(self.rest(item, below, &list.element));
                }
            }
        }
        (!out.is_empty() || has_matches).then_some(Value::Array(out))
    }

    fn map(&self, entries: &Map<String, Value>, set: &Set, node: &NodeType) -> Option<Value> {
        let mut out = Map::new();
        let mut has_matches = false;
        for (key, value) in entries {
            let element = PathElement::field(key);
            let child = node.child(key).map_or(NodeType::Deduced, |child| child.node);
            if set.members.contains(&element) {
                if self.extracts {
                    // Upstream takes the set of the parent here, not the one below.
                    let kept = self.node(value, set, &child).unwrap_or(Value::Null);
                    out.insert(key.clone(), kept);
                }
                continue;
            }
            match set.below(&element) {
                Some(below) => {
                    has_matches = true;
                    let kept = if self.extracts {
                        self.node(value, below, &child).unwrap_or(Value::Null)
                    } else {
                        self.rest(value, below, &child)
                    };
                    out.insert(key.clone(), kept);
                }
                None if self.extracts => {}
                None => {
                    out.insert(key.clone(), value.clone());
                }
            }
        }
        let is_kept = !out.is_empty() || (has_matches && !self.extracts);
        is_kept.then_some(Value::Object(out))
    }

    /// What is left of a value when something below was taken: at least an empty one.
    fn rest(&self, value: &Value, below: &Set, node: &NodeType) -> Value {
        self.node(value, below, node).unwrap_or_else(|| match value {
            Value::Object(_) => json!({}),
            Value::Array(_) => json!([]),
            _ => Value::Null,
        })
    }
}
