//! Which part of an old value a part of a new one was: what did not change may stay as it is.

use std::collections::HashMap;

use serde_json::Value;

use super::lists::key_of;
use super::schema::{ListType, Schema};

/// A part of a new value beside the part of the old one that it was.
#[derive(Clone, Copy)]
pub(super) struct Old<'a> {
    new: &'a Value,
    old: &'a Value,
    schema: &'a Schema,
}

impl<'a> Old<'a> {
    pub(super) fn root(new: &'a Value, old: &'a Value, schema: &'a Schema) -> Self {
        Self { new, old, schema }
    }

    pub(super) fn member(self, name: &str) -> Option<Self> {
        let (new, old) = (self.new.as_object()?.get(name)?, self.old.as_object()?.get(name)?);
        Some(Self { new, old, schema: self.schema.member(name)? })
    }

    /// The items beside those that they were. Only items of maps can be matched: by their keys.
    pub(super) fn items(self) -> Vec<Option<Self>> {
        let map = self.schema.list.as_ref().filter(|list| list.kind == ListType::Map);
        let (Some(list), Some(below), Value::Array(new), Value::Array(old)) =
            (map, &self.schema.items, self.new, self.old)
        else {
            return Vec::new();
        };
        let name = |item: &Value| item.is_object().then(|| key_of(item, list).to_string());
        let mut known = HashMap::new();
        for old in old {
            if let Some(name) = name(old) {
                known.entry(name).or_insert(old);
            }
        }
        let item = |new: &'a Value| {
            let old = *known.get(&name(new)?)?;
            Some(Self { new, old, schema: below })
        };
        new.iter().map(item).collect()
    }

    /// Whether new and old are the same, items of maps in any order. What the schema does not
    /// know cannot be matched, and counts as changed.
    pub(super) fn is_unchanged(self) -> bool {
        match (self.new, self.old) {
            (Value::Array(new), Value::Array(old)) => {
                if new.len() != old.len() {
                    return false;
                }
                if self.schema.list_type() != ListType::Map {
                    return new == old;
                }
                self.items().into_iter().all(|item| item.is_some_and(Self::is_unchanged))
            }
            (Value::Object(new), Value::Object(old)) => {
                new.len() == old.len()
                    && new.keys().all(|name| self.member(name).is_some_and(Self::is_unchanged))
            }
            (new, old) => new == old,
        }
    }
}
