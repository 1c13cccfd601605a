//! Who owns which fields after a write: upstream's updater, over one version.
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
    let comparison = filtered(target, compare(live, new, &target.node));
    let lost = owners(&managers, &comparison, None);
    take_from(&mut managers, &comparison, &lost, None);
    let own = target.reset.filter(&comparison.modified.union(&comparison.added));
    (managers, own)
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
    let set = target.reset.filter(&field_set(config, &target.node));
    let time = last.as_ref().map_or(String::new(), |last| last.time.clone());
    let owned = Owned { set, api_version: target.api_version.clone(), time };
    managers.0.insert(applier.clone(), owned);
    let new = match last {
        Some(last) if !last.set.is_empty() => prune(target, merged, &managers, &last.set),
        _ => merged,
    };
    let comparison = filtered(target, compare(live, &new, &target.node));
    let lost = owners(&managers, &comparison, Some(applier));
    if !force && !lost.is_empty() {
        let conflicts = lost.into_iter().flat_map(|(manager, set)| {
            let of = move |path| Conflict { manager: manager.clone(), path };
            set.paths().into_iter().map(of)
        });
        return Err(Refusal::Conflicts(conflicts.collect()));
    }
    take_from(&mut managers, &comparison, &lost, Some(applier));
    let is_same = same(live, &new);
    Ok(((!is_same).then_some(new), managers))
}

/// Sets as today's types have them. Entries of versions that are gone are dropped.
fn reconciled(target: &Target, mut managers: Managers) -> Managers {
    managers.0.retain(|_, owned| target.knows_version(&owned.api_version));
    for owned in managers.0.values_mut() {
        owned.set = reconcile(&owned.set, &target.node);
    }
    managers
}

fn filtered(target: &Target, comparison: Comparison) -> Comparison {
    Comparison {
        added: target.reset.filter(&comparison.added),
        modified: target.reset.filter(&comparison.modified),
        removed: target.reset.filter(&comparison.removed),
    }
}

/// What each manager but the writer owns of what changes.
fn owners(
    managers: &Managers,
    comparison: &Comparison,
    writer: Option<&Identity>,
) -> BTreeMap<Identity, Set> {
    let changed = comparison.modified.union(&comparison.added);
    let others = managers.0.iter().filter(|(identity, _)| Some(*identity) != writer);
    others
        .map(|(identity, owned)| (identity.clone(), owned.set.intersection(&changed)))
        .filter(|(_, set)| !set.is_empty())
        .collect()
}

/// A3 and A5: takes what changed, and what is gone, from all but the writer.
fn take_from(
    managers: &mut Managers,
    comparison: &Comparison,
    lost: &BTreeMap<Identity, Set>,
    writer: Option<&Identity>,
) {
    for (identity, owned) in &mut managers.0 {
        if let Some(lost) = lost.get(identity) {
            owned.set = owned.set.difference(lost);
        }
        if Some(identity) != writer && !comparison.removed.is_empty() {
            owned.set = owned.set.difference(&comparison.removed);
        }
    }
    managers.0.retain(|_, owned| !owned.set.is_empty());
}

/// A4: takes away what the applier owned before and no longer names, unless somebody else owns it.
fn prune(target: &Target, merged: Value, managers: &Managers, last: &Set) -> Value {
    let node = &target.node;
    let without = |set: &Set| remove(&merged, set, node).unwrap_or(Value::Null);
    let merged_set = field_set(&merged, node).with_named_fields(node);
    let last = last.with_named_fields(node);
    // What the applier had goes first, then what anybody owns now comes back, with all that an
    // item of a list needs to be one.
    let pruned = without(&last);
    let owned = managers.0.values().fold(Set::default(), |all, owned| all.union(&owned.set));
    let kept =
        field_set(&pruned, node).with_named_fields(node).union(&owned.with_named_fields(node));
    let pruned = without(&merged_set.difference(&kept));
    // What went only because something above it did, and was never the applier's, comes back.
    let pruned_set = field_set(&pruned, node).with_named_fields(node);
    without(&merged_set.difference(&pruned_set).intersection(&last))
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
