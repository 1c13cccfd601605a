//! Rows of custom kinds, made while the program runs and kept for good.
//!
//! | Rule | What always holds |
//! |------|-------------------|
//! | I1 | Equal rows are one row, so rows can be compared by their address. |
//! | I2 | No more than `CUSTOM_ROWS_MAX` rows are ever made. |
//!
//! A row is never given back: its memory is the price of rows that everybody may hold on to. A
//! definition that is made again, or changed back, finds its row here.

use std::collections::HashSet;
use std::hash::Hash;
use std::sync::LazyLock;

use parking_lot::Mutex;

use super::{NameRule, Propagation, ResourceInfo, Subresource};
use crate::limits::CUSTOM_ROWS_MAX;

const ALL_VERBS: &[&str] =
    &["delete", "deletecollection", "get", "list", "patch", "create", "update", "watch"];
const SOME_VERBS: &[&str] = &["get", "patch", "update"];

/// What a row of a custom kind is made of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CustomRow {
    pub group: String,
    pub version: String,
    /// The version that objects are kept in.
    pub storage_version: String,
    pub kind: String,
    pub plural: String,
    pub singular: String,
    pub short_names: Vec<String>,
    pub categories: Vec<String>,
    pub namespaced: bool,
    /// Fields for selectors, without their first dot.
    pub selectable_fields: Vec<String>,
    pub has_status: bool,
    pub has_scale: bool,
}

#[derive(Default)]
struct Interned {
    texts: HashSet<&'static str>,
    lists: HashSet<&'static [&'static str]>,
    subresources: HashSet<&'static [Subresource]>,
    rows: HashSet<&'static ResourceInfo>,
}

static INTERNED: LazyLock<Mutex<Interned>> = LazyLock::new(Mutex::default);

impl Interned {
    fn text(&mut self, text: &str) -> &'static str {
        if let Some(known) = self.texts.get(text) {
            return known;
        }
        let new: &'static str = Box::leak(text.to_owned().into_boxed_str());
        self.texts.insert(new);
        new
    }

    fn list(&mut self, list: &[String]) -> &'static [&'static str] {
        let list: Vec<&'static str> = list.iter().map(|text| self.text(text)).collect();
        kept(&mut self.lists, list)
    }
}

/// The list that is kept, or this one from now on.
fn kept<T: Eq + Hash>(all: &mut HashSet<&'static [T]>, list: Vec<T>) -> &'static [T] {
    if let Some(known) = all.get(list.as_slice()) {
        return known;
    }
    let new: &'static [T] = Box::leak(list.into_boxed_slice());
    all.insert(new);
    new
}

/// The row of a custom kind; `None` when there are too many (I2).
#[must_use]
pub fn intern(row: &CustomRow) -> Option<&'static ResourceInfo> {
    let mut interned = INTERNED.lock();
    if interned.rows.len() >= CUSTOM_ROWS_MAX {
        return None;
    }
    let group = interned.text(&row.group);
    let version = interned.text(&row.version);
    let kind = interned.text(&row.kind);
    let mut subresources = Vec::new();
    let sub =
        |name, group, version, kind| Subresource { name, group, version, kind, verbs: SOME_VERBS };
    if row.has_status {
        subresources.push(sub("status", group, version, kind));
    }
    if row.has_scale {
        subresources.push(sub("scale", "autoscaling", "v1", "Scale"));
    }
    let new = ResourceInfo {
        group,
        version,
        kind,
        plural: interned.text(&row.plural),
        singular: interned.text(&row.singular),
        short_names: interned.list(&row.short_names),
        categories: interned.list(&row.categories),
        namespaced: row.namespaced,
        verbs: ALL_VERBS,
        subresources: kept(&mut interned.subresources, subresources),
        storage_prefix: interned.text(&format!("{}/{}", row.group, row.plural)),
        kept_as: None,
        stored_as: interned.text(&format!("{}/{}", row.group, row.storage_version)),
        selectable_fields: interned.list(&row.selectable_fields),
        name_rule: NameRule::Subdomain,
        // What follows is done by the kind's own strategy, in `custom`.
        has_status: false,
        has_generation: false,
        create_on_update: false,
        unconditional_update: false,
        default_propagation: Propagation::Background,
        type_name: "",
    };
    if let Some(known) = interned.rows.get(&new) {
        return Some(known);
    }
    let new: &'static ResourceInfo = Box::leak(Box::new(new));
    interned.rows.insert(new);
    Some(new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_rows_are_one_row() {
        let row = CustomRow {
            group: "interned.example.com".to_owned(),
            version: "v1".to_owned(),
            storage_version: "v2".to_owned(),
            kind: "Thing".to_owned(),
            plural: "things".to_owned(),
            short_names: vec!["th".to_owned()],
            has_status: true,
            ..CustomRow::default()
        };
        let first = intern(&row).unwrap();
        assert!(std::ptr::eq(first, intern(&row.clone()).unwrap()));
        assert_eq!(first.storage_prefix, "interned.example.com/things");
        assert_eq!(first.stored_as, "interned.example.com/v2");
        assert!(first.is_custom() && first.is_stored());
        let other = intern(&CustomRow { has_scale: true, ..row }).unwrap();
        assert!(!std::ptr::eq(first, other));
        assert_eq!(other.subresources.len(), 2);
    }
}
