//! The store's log as states: what was there at a revision, and what a watch must tell.

use std::collections::{BTreeMap, HashMap};

use crate::informer::record::{Change, History, Name, Object, Scope};

/// One change of one object.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step<'a> {
    pub(super) revision: i64,
    pub(super) name: &'a Name,
    pub(super) before: Option<&'a Object>,
    pub(super) after: Option<&'a Object>,
}

/// The whole log with the state that it began with.
#[derive(Debug)]
pub(super) struct Timeline<'a> {
    /// Nothing is known of what was before.
    pub(super) base_revision: i64,
    pub(super) steps: Vec<Step<'a>>,
    /// Versions of each name in order; no object: it was deleted at that revision.
    versions: BTreeMap<&'a Name, Vec<(i64, Option<&'a Object>)>>,
    /// When each life ended.
    deleted: HashMap<&'a str, i64>,
}

impl<'a> Timeline<'a> {
    pub(super) fn of(history: &'a History) -> Self {
        let mut versions: BTreeMap<&Name, Vec<(i64, Option<&Object>)>> = BTreeMap::new();
        for object in &history.base {
            versions.entry(&object.name).or_default().push((object.revision, Some(object)));
        }
        let mut steps = Vec::new();
        let mut deleted = HashMap::new();
        for event in &history.log {
            let known = versions.entry(&event.name).or_default();
            let before = known.last().and_then(|(_, object)| *object);
            let after = event.object.as_ref();
            known.push((event.revision, after));
            steps.push(Step { revision: event.revision, name: &event.name, before, after });
            if let Some(before) = before
                && after.is_none_or(|after| after.uid != before.uid)
            {
                deleted.insert(before.uid.as_str(), event.revision);
            }
        }
        Self { base_revision: history.base_revision, steps, versions, deleted }
    }

    /// What a name had at a revision.
    pub(super) fn object_at(&self, name: &Name, revision: i64) -> Option<&'a Object> {
        let versions = self.versions.get(name)?;
        let later = versions.partition_point(|(at, _)| *at <= revision);
        versions.get(later.checked_sub(1)?).and_then(|(_, object)| *object)
    }

    /// The changes of a name after a revision.
    pub(super) fn changes_after(&self, name: &Name, revision: i64) -> &[(i64, Option<&'a Object>)] {
        let versions = self.versions.get(name).map(Vec::as_slice).unwrap_or_default();
        &versions[versions.partition_point(|(at, _)| *at <= revision)..]
    }

    /// Everything that a scope shows at a revision.
    pub(super) fn state_at(&self, scope: &Scope, revision: i64) -> BTreeMap<&'a Name, &'a Object> {
        let objects = self.versions.keys().filter_map(|name| {
            let object = self.object_at(name, revision)?;
            scope.shows(object).then_some((*name, object))
        });
        objects.collect()
    }

    /// The revision at which a life ended.
    pub(super) fn deleted_at(&self, uid: &str) -> Option<i64> {
        self.deleted.get(uid).copied()
    }

    /// What a watch of a scope tells of the changes after a revision.
    pub(super) fn told_after(
        &self,
        scope: &'a Scope,
        revision: i64,
    ) -> impl Iterator<Item = (Change, Object)> {
        let first = self.steps.partition_point(|step| step.revision <= revision);
        self.steps[first..].iter().filter_map(|step| told(scope, step))
    }
}

/// What a watch of a scope tells of a change. What leaves its sight is told as it was, with the
/// revision at which it left.
fn told(scope: &Scope, step: &Step<'_>) -> Option<(Change, Object)> {
    let before = step.before.filter(|object| scope.shows(object));
    let after = step.after.filter(|object| scope.shows(object));
    match (before, after) {
        (None, None) => None,
        (None, Some(after)) => Some((Change::Added, after.clone())),
        (Some(_), Some(after)) => Some((Change::Modified, after.clone())),
        (Some(before), None) => {
            Some((Change::Deleted, Object { revision: step.revision, ..before.clone() }))
        }
    }
}
