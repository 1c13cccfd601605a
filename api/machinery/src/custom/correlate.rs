//! Which part of an old value a part of a new one was: what did not change may stay as it is.

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

    /// Only items of maps can be matched: by their keys.
    pub(super) fn item(self, index: usize) -> Option<Self> {
        let list = self.schema.list.as_ref().filter(|list| list.kind == ListType::Map)?;
        let new = self.new.as_array()?.get(index)?;
        if !new.is_object() {
            return None;
        }
        let key = key_of(new, list);
        let mut items = self.old.as_array()?.iter();
        let old = items.find(|old| old.is_object() && key_of(old, list) == key)?;
        Some(Self { new, old, schema: self.schema.items.as_ref()? })
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
                (0..new.len()).all(|index| self.item(index).is_some_and(Self::is_unchanged))
            }
            (Value::Object(new), Value::Object(old)) => {
                new.len() == old.len()
                    && new.keys().all(|name| self.member(name).is_some_and(Self::is_unchanged))
            }
            (new, old) => new == old,
        }
    }
}
