//! Who owns which fields after a write: upstream's updater. A manager of another version sees the
//! change as it is in that version.
//!
//! | Rule | What always holds |
//! |------|-------------------|
//! | A3 | A write takes what it changed from everybody else, or is refused with their names. |
//! | A4 | A field leaves the object when its last applier gives it up. |
//! | A5 | A manager without fields is forgotten. |

use std::collections::BTreeMap;

use serde_json::Value;

use super::compare::{Comparison, compare};
use super::fields::{field_set, reconcile};
use super::managed::{Identity, Managers, Owned};
use super::merge::merge;
use super::path::{Path, same, text};
use super::remove::remove;
use super::set::Set;
use super::target::Target;
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

/// What an update changes in who owns what, and what the writer owns by it.
pub(super) fn update(
    target: &Target,
    live: &Value,
    new: &Value,
    managers: Managers,
) -> (Managers, Set) {
    let mut managers = reconciled(target, managers);
    let changes = Changes::of(target, live, new, &managers);
    let lost = owners(&managers, &changes, None);
    take_from(&mut managers, &changes, &lost, None);
    let mut own = changes.own.modified;
    own.absorb(changes.own.added);
    (managers, target.reset.filter(own))
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
    let last = managers.0.get(applier).cloned();
    let set = target.reset.filter(field_set(config, &target.node));
    let time = last.as_ref().map_or(String::new(), |last| last.time.clone());
    let owned = Owned { set, api_version: target.api_version.clone(), time };
    managers.0.insert(applier.clone(), owned);
    let new = match last {
        Some(last) if !last.set.is_empty() => prune(target, merged, &managers, &last),
        _ => merged,
    };
    let changes = Changes::of(target, live, &new, &managers);
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
        if let Some(set) = reconcile(&owned.set, &other.as_ref().unwrap_or(target).node) {
            owned.set = set;
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
    fn of(target: &Target, live: &Value, new: &Value, managers: &Managers) -> Self {
        let own = filtered(target, compare(live, new, &target.node));
        let mut others = BTreeMap::new();
        for owned in managers.0.values() {
            if others.contains_key(&owned.api_version) {
                continue;
            }
            let Some(other) = target.in_version(&owned.api_version) else { continue };
            let [live, new] = [live, new].map(|tree| Target::shown_as(&other, tree));
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
        added: target.reset.filter(comparison.added),
        modified: target.reset.filter(comparison.modified),
        removed: target.reset.filter(comparison.removed),
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
        owned.set.intersection(&seen.modified.union(&seen.added))
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
            owned.set.subtract(lost, false);
        }
        if Some(identity) != writer && !removed.is_empty() {
            owned.set.subtract(removed, false);
        }
    }
    managers.0.retain(|_, owned| !owned.set.is_empty());
}

/// A4: takes away what the applier owned before and no longer names, unless somebody else owns it.
fn prune(target: &Target, merged: Value, managers: &Managers, last: &Owned) -> Value {
    let Some(other) = target.in_version(&last.api_version) else {
        return prune_in(target, merged, managers, &last.set);
    };
    let pruned = prune_in(&other, Target::shown_as(&other, &merged), managers, &last.set);
    Target::shown_as(target, &pruned)
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
            None => owned = owned.union(&one.set),
            Some(other) => {
                let known = elsewhere.entry(&one.api_version);
                let (_, set) = known.or_insert_with(|| (other, Set::default()));
                *set = set.union(&one.set);
            }
        }
    }
    pruned = with_owned((target, &merged), &pruned, &owned);
    for (other, owned) in elsewhere.values() {
        let [all, left] = [&merged, &pruned].map(|tree| Target::shown_as(other, tree));
        pruned = Target::shown_as(target, &with_owned((other, &all), &left, owned));
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
