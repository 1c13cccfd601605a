//! Merging an applied configuration into a live object.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde_json::{Map, Value};

use super::path::PathElement;
use super::types::{Form, Items, ListForm, NodeType};

/// The live value with what the configuration says; `None` when nothing is left.
///
/// # Errors
/// The configuration has two items that cannot be told apart, or an item without a key.
pub fn merge(live: &Value, config: &Value, node: &NodeType) -> Result<Option<Value>, String> {
    merge_node(Some(live), Some(config), node)
}

fn merge_node(
    live: Option<&Value>,
    config: Option<&Value>,
    node: &NodeType,
) -> Result<Option<Value>, String> {
    // What the configuration does not name stays as it is.
    let Some(config) = config else { return Ok(live.cloned()) };
    // The form that the configuration's value has decides.
    let form = node.form(Some(config));
    match form {
        Form::Scalar(_) => {}
        Form::List(list) => {
            let (live_items, config_items) = (items_of(live), items_of(Some(config)));
            let has_items = !live_items.is_empty() || !config_items.is_empty();
            if list.items != Items::Atomic && has_items {
                return merge_list(live_items, config_items, &list);
            }
        }
        Form::Map(map) => {
            let live_map = live.and_then(Value::as_object);
            let config_map = config.as_object();
            let len = |map: Option<&Map<String, Value>>| map.map_or(0, Map::len);
            if !map.is_atomic && len(live_map) + len(config_map) > 0 {
                return merge_map(live_map, config_map, node);
            }
        }
    }
    Ok(Some(config.clone()))
}

fn merge_map(
    live: Option<&Map<String, Value>>,
    config: Option<&Map<String, Value>>,
    node: &NodeType,
) -> Result<Option<Value>, String> {
    let keys: BTreeSet<&String> = live.into_iter().chain(config).flat_map(Map::keys).collect();
    let mut out = Map::new();
    for key in keys {
        let live = live.and_then(|map| map.get(key));
        let config = config.and_then(|map| map.get(key));
        let merged = match node.child(key) {
            Some(child) => merge_node(live, config, &child.node).map_err(|why| below(key, &why))?,
            None => config.or(live).cloned(),
        };
        if let Some(merged) = merged {
            out.insert(key.clone(), merged);
        }
    }
    Ok((!out.is_empty()).then_some(Value::Object(out)))
}

fn below(key: &str, why: &str) -> String {
    let separator = if why.starts_with(['.', '[']) { "" } else { ": " };
    format!(".{key}{separator}{why}")
}

/// The items of one side.
struct Side<'a> {
    elements: Vec<PathElement>,
    by_element: BTreeMap<PathElement, Option<&'a Value>>,
}

impl<'a> Side<'a> {
    /// Items that cannot be told apart are merged with nothing when they are live, and refused in
    /// a configuration.
    fn of(items: &'a [Value], list: &ListForm<'_>, is_live: bool) -> Result<Self, String> {
        let mut side = Self { elements: Vec::new(), by_element: BTreeMap::new() };
        for (index, item) in items.iter().enumerate() {
            let element = list.element_of(item).map_err(|why| format!("element {index}: {why}"))?;
            let is_twice = side.by_element.contains_key(&element);
            if is_twice && !is_live {
                return Err(format!("duplicate entries for key {element}"));
            }
            side.by_element.insert(element.clone(), (!is_twice).then_some(item));
            side.elements.push(element);
        }
        Ok(side)
    }

    fn has(&self, element: &PathElement) -> bool {
        self.by_element.contains_key(element)
    }

    fn get(&self, element: &PathElement) -> Option<&'a Value> {
        self.by_element.get(element).copied().flatten()
    }
}

/// The configuration's items in its order, and the live ones that it does not name where they
/// stand between those that it does.
fn merge_list(
    live_items: &[Value],
    config_items: &[Value],
    list: &ListForm<'_>,
) -> Result<Option<Value>, String> {
    let config = Side::of(config_items, list, false)?;
    let live = Side::of(live_items, list, true)?;
    let mut shared: VecDeque<&PathElement> =
        config.elements.iter().filter(|element| live.has(element)).collect();
    let mut next_shared = shared.pop_front();
    let mut done: BTreeSet<&PathElement> = BTreeSet::new();
    let mut out: Vec<Value> = Vec::new();
    let (mut at_live, mut at_config) = (0, 0);
    // Every round moves one of the two places forward, or both.
    while at_live < live.elements.len() || at_config < config.elements.len() {
        let live_next = live.elements.get(at_live);
        let config_next = config.elements.get(at_config);
        if let (Some(element), Some(wanted)) = (live_next, config_next) {
            if element == wanted {
                done.insert(element);
                let child = (live.get(element), config.get(element));
                out.extend(merge_node(child.0, child.1, &list.element)?);
                at_live += 1;
                at_config += 1;
                next_shared = shared.pop_front();
                continue;
            }
            if config.has(element) && next_shared.is_some_and(|shared| shared != element) {
                at_live += 1;
                continue;
            }
        }
        if let Some(element) = live_next {
            if !config.has(element) {
                // By place: items that cannot be told apart are all kept.
                out.extend(merge_node(live_items.get(at_live), None, &list.element)?);
                at_live += 1;
                continue;
            }
            if done.contains(element) {
                at_live += 1;
            }
        }
        if let Some(element) = config_next {
            done.insert(element);
            out.extend(merge_node(live.get(element), config.get(element), &list.element)?);
            at_config += 1;
            if next_shared == Some(element) {
                next_shared = shared.pop_front();
            }
        }
    }
    Ok((!out.is_empty()).then_some(Value::Array(out)))
}

fn items_of(value: Option<&Value>) -> &[Value] {
    value.and_then(Value::as_array).map_or(&[], Vec::as_slice)
}
