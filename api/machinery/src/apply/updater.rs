//! Who owns which fields after a write: upstream's updater. A manager of another version sees the
//! change as it is in that version.
//!
//! | Rule | What always holds |
//! |------|-------------------|
//! | A3 | A write takes what it changed from everybody else, or is refused with their names. |
//! | A4 | A field leaves the object when its last applier gives it up. |
//! | A5 | A manager without fields is forgotten. |

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::compare::{Comparison, compare, compare_objects};
use super::fields::{field_set, reconcile};
use super::managed::{Identity, Managers, Owned};
use super::merge::merge;
use super::owned::Fields;
use super::path::{Path, same, text};
use super::remove::remove;
use super::set::Set;
use super::target::Target;
use super::types::Form;
use crate::Status;
use crate::status::Cause;

/// A field that somebody else owns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Conflict {
    pub(super) manager: Identity,
    pub(super) path: Path,
}

/// Why an apply was not carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    Conflicts(Vec<Conflict>),
    Status(Status),
}

/// What an update changes in who owns what, and what the writer owns by it. Managed fields are none
/// of the fields that are compared.
pub(super) fn update(
    target: &Target,
    live: &Map<String, Value>,
    new: &Map<String, Value>,
    managers: Managers,
) -> (Managers, Set) {
    let mut managers = reconciled(target, managers);
    let changes = Changes::of(target, live, new, &managers);
    let lost = owners(&managers, &changes, None);
    take_from(&mut managers, &changes, &lost, None);
    let mut own = changes.own.modified;
    own.absorb(changes.own.added);
    (managers, target.settable(own))
}

/// A copy of an object's fields.
pub(super) fn without_managed_fields(object: &Map<String, Value>) -> Map<String, Value> {
    // They are about half of an object, and need not be copied to be left out.
    let kept = object.iter().map(|(key, value)| {
        let metadata = value.as_object().filter(|_| key == "metadata");
        let value = match metadata {
            Some(metadata) => {
                let kept = metadata.iter().filter(|(name, _)| *name != "managedFields");
                Value::Object(kept.map(|(name, value)| (name.clone(), value.clone())).collect())
            }
            None => value.clone(),
        };
        (key.clone(), value)
    });
    kept.collect()
}

/// An applied configuration's outcome: the object, `None` when it stays as it is.
pub(super) fn apply(
    target: &Target,
    live: &Value,
    config: &Value,
    (mut managers, applier): (Managers, &Identity),
    force: bool,
) -> Result<(Option<Value>, Managers), Refusal> {
    let failed = |what: &str, why: &str| {
        Refusal::Status(Status::unexplained(&format!("failed to {what}: {why}")))
    };
    managers = reconciled(target, managers);
    let merged = merge(live, config, &target.node).map_err(|why| failed("merge config", &why))?;
    let merged = merged.unwrap_or(Value::Null);
    let set = target.settable(field_set(config, &target.node));
    let last = managers.0.remove(applier);
    let time = last.as_ref().map_or(String::new(), |last| last.time.clone());
    let owned = Owned { fields: Fields::of(&set), api_version: target.api_version.clone(), time };
    managers.0.insert(applier.clone(), owned);
    let new = match last {
        Some(last) if !last.fields.is_empty() => {
            let last_set = last.fields.to_set();
            if gives_nothing_up(target, &merged, (&last, &last_set), &set) {
                merged
            } else {
                prune(target, merged, &managers, (&last, &last_set))
            }
        }
        _ => merged,
    };
    let none = Map::new();
    let [live_fields, new_fields] = [live, &new].map(|tree| tree.as_object().unwrap_or(&none));
    let changes = Changes::of(target, live_fields, new_fields, &managers);
    let lost = owners(&managers, &changes, Some(applier));
    if !force && !lost.is_empty() {
        let conflicts = lost.into_iter().flat_map(|(manager, set)| {
            let of = move |path| Conflict { manager: manager.clone(), path };
            set.paths().into_iter().map(of)
        });
        return Err(Refusal::Conflicts(conflicts.collect()));
    }
    take_from(&mut managers, &changes, &lost, Some(applier));
    let is_same = same(live, &new);
    Ok(((!is_same).then_some(new), managers))
}

/// Sets as today's types have them. Entries of versions that are gone are dropped.
fn reconciled(target: &Target, mut managers: Managers) -> Managers {
    managers.0.retain(|_, owned| target.knows_version(&owned.api_version));
    for owned in managers.0.values_mut() {
        let other = target.in_version(&owned.api_version);
        let node = &other.as_ref().unwrap_or(target).node;
        if owned.fields.has_atoms(node)
            && let Some(set) = reconcile(&owned.fields.to_set(), node)
        {
            owned.fields = Fields::of(&set);
        }
    }
    managers
}

/// What a write changes, as it is in each version that a manager names its fields in.
struct Changes {
    own: Comparison,
    others: BTreeMap<String, Comparison>,
}

impl Changes {
    fn of(
        target: &Target,
        live: &Map<String, Value>,
        new: &Map<String, Value>,
        managers: &Managers,
    ) -> Self {
        let own = filtered(target, compare_objects(live, new, target));
        let mut others = BTreeMap::new();
        for owned in managers.0.values() {
            if others.contains_key(&owned.api_version) {
                continue;
            }
            let Some(other) = target.in_version(&owned.api_version) else { continue };
            let [live, new] = [live, new].map(|fields| {
                Target::shown_as(&other, Value::Object(without_managed_fields(fields)))
            });
            let comparison = filtered(&other, compare(&live, &new, &other.node));
            others.insert(owned.api_version.clone(), comparison);
        }
        Self { own, others }
    }

    fn seen_by(&self, owned: &Owned) -> &Comparison {
        self.others.get(&owned.api_version).unwrap_or(&self.own)
    }
}

fn filtered(target: &Target, comparison: Comparison) -> Comparison {
    Comparison {
        added: target.settable(comparison.added),
        modified: target.settable(comparison.modified),
        removed: target.settable(comparison.removed),
    }
}

/// What each manager but the writer owns of what changes.
fn owners(
    managers: &Managers,
    changes: &Changes,
    writer: Option<&Identity>,
) -> BTreeMap<Identity, Set> {
    let lost = |owned: &Owned| {
        let seen = changes.seen_by(owned);
        let mut lost = owned.fields.intersection(&seen.modified);
        lost.absorb(owned.fields.intersection(&seen.added));
        lost
    };
    let others = managers.0.iter().filter(|(identity, _)| Some(*identity) != writer);
    others
        .map(|(identity, owned)| (identity.clone(), lost(owned)))
        .filter(|(_, set)| !set.is_empty())
        .collect()
}

/// A3 and A5: takes what changed, and what is gone, from all but the writer.
fn take_from(
    managers: &mut Managers,
    changes: &Changes,
    lost: &BTreeMap<Identity, Set>,
    writer: Option<&Identity>,
) {
    for (identity, owned) in &mut managers.0 {
        let removed = &changes.seen_by(owned).removed;
        if let Some(lost) = lost.get(identity) {
            owned.fields.subtract(lost, false);
        }
        if Some(identity) != writer && !removed.is_empty() {
            owned.fields.subtract(removed, false);
        }
    }
    managers.0.retain(|_, owned| !owned.fields.is_empty());
}

/// Whether an applier names all that it owned before: then nothing of it can go. What it names, it
/// names with all that leads there, so that nothing of it goes with something above it either.
fn gives_nothing_up(
    target: &Target,
    merged: &Value,
    (last, last_set): (&Owned, &Set),
    set: &Set,
) -> bool {
    let is_walked = matches!(target.node.form(None), Form::Map(map) if !map.is_atomic);
    let has_fields = merged.as_object().is_some_and(|fields| !fields.is_empty());
    is_walked
        && has_fields
        && target.in_version(&last.api_version).is_none()
        && last_set.is_within(set)
}

/// A4: takes away what the applier owned before and no longer names, unless somebody else owns it.
fn prune(
    target: &Target,
    merged: Value,
    managers: &Managers,
    (last, set): (&Owned, &Set),
) -> Value {
    let Some(other) = target.in_version(&last.api_version) else {
        return prune_in(target, merged, managers, set);
    };
    let pruned = prune_in(&other, Target::shown_as(&other, merged), managers, set);
    Target::shown_as(target, pruned)
}

/// What is left of what an applier that owned `last` merged, when it owns `set` now and nobody else
/// owns anything.
#[cfg(test)]
pub(super) fn pruned_for_test(target: &Target, merged: Value, last: &Set, set: &Set) -> Value {
    let owned = |set| Owned {
        fields: Fields::of(set),
        api_version: target.api_version.clone(),
        time: String::new(),
    };
    let applier = Identity::new("one", super::Operation::Apply, "", "");
    let mut managers = Managers::default();
    managers.0.insert(applier, owned(set));
    let last_owned = owned(last);
    assert!(gives_nothing_up(target, &merged, (&last_owned, last), set));
    prune(target, merged, &managers, (&last_owned, last))
}

/// The same in the version that the applier used last.
fn prune_in(target: &Target, merged: Value, managers: &Managers, last: &Set) -> Value {
    let node = &target.node;
    let without = |set: &Set| remove(&merged, set, node).unwrap_or(Value::Null);
    let merged_set = field_set(&merged, node).with_named_fields(node);
    let last = last.with_named_fields(node);
    // What the applier had goes first, then what anybody owns now comes back, with all that an
    // item of a list needs to be one.
    let mut pruned = without(&last);
    let mut owned = Set::default();
    let mut elsewhere: BTreeMap<&str, (Target, Set)> = BTreeMap::new();
    for one in managers.0.values() {
        match target.in_version(&one.api_version) {
            None => owned.absorb(one.fields.to_set()),
            Some(other) => {
                let known = elsewhere.entry(&one.api_version);
                let (_, set) = known.or_insert_with(|| (other, Set::default()));
                set.absorb(one.fields.to_set());
            }
        }
    }
    pruned = with_owned((target, &merged), &pruned, &owned);
    for (other, owned) in elsewhere.values() {
        let [all, left] =
            [&merged, &pruned].map(|tree| Target::shown_as(other, Value::clone(tree)));
        pruned = Target::shown_as(target, with_owned((other, &all), &left, owned));
    }
    // What went only because something above it did, and was never the applier's, comes back.
    let pruned_set = field_set(&pruned, node).with_named_fields(node);
    without(&merged_set.difference(&pruned_set).intersection(&last))
}

/// What was pruned, with what somebody owns of the merged tree.
fn with_owned((target, merged): (&Target, &Value), pruned: &Value, owned: &Set) -> Value {
    let node = &target.node;
    let merged_set = field_set(merged, node).with_named_fields(node);
    let left = field_set(pruned, node).with_named_fields(node);
    let kept = left.union(&owned.with_named_fields(node));
    remove(merged, &merged_set.difference(&kept), node).unwrap_or(Value::Null)
}

/// The 409 of conflicts, in upstream's words.
pub(super) fn conflict_status(conflicts: &[Conflict]) -> Status {
    let causes = conflicts
        .iter()
        .map(|conflict| Cause {
            reason: "FieldManagerConflict".to_owned(),
            message: format!("conflict with {}", conflict.manager.shown()),
            field: text(&conflict.path),
        })
        .collect();
    if let [one] = conflicts {
        let message = format!(
            "Apply failed with 1 conflict: conflict with {}: {}",
            one.manager.shown(),
            text(&one.path)
        );
        return Status::apply_conflict(&message, causes);
    }
    let mut lines: Vec<String> = Vec::new();
    let mut last: Option<&Identity> = None;
    for conflict in conflicts {
        if last != Some(&conflict.manager) {
            lines.push(format!("conflicts with {}:", conflict.manager.shown()));
            last = Some(&conflict.manager);
        }
        lines.push(format!("- {}", text(&conflict.path)));
    }
    let message = format!("Apply failed with {} conflicts: {}", conflicts.len(), lines.join("\n"));
    Status::apply_conflict(&message, causes)
}
