//! Which objects a list or a watch wants, and what a change means to it.

use api_machinery::header::Header;
use api_machinery::selector::{Fields, Labels};

use super::event::{Change, Event};

/// Namespace, name and selectors of a request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filter {
    /// Empty for all namespaces.
    pub(crate) namespace: String,
    pub(crate) labels: Labels,
    pub(crate) fields: Fields,
}

impl Filter {
    /// Whether everything in the namespace matches.
    pub(crate) fn is_everything(&self) -> bool {
        self.labels.is_empty() && self.fields.is_empty()
    }

    /// Whether an object matches.
    pub(crate) fn matches(&self, header: &Header) -> bool {
        (self.namespace.is_empty() || self.namespace == header.namespace())
            && self.labels.matches(|key| header.label(key))
            && self.fields.matches(|field| header.field(field))
    }

    /// What an event is to a watcher: entering the selection is ADDED, leaving it DELETED.
    pub(crate) fn change(&self, event: &Event) -> Option<Change> {
        let matches = |version: &Option<std::sync::Arc<super::Version>>| {
            version.as_ref().is_some_and(|version| self.matches(&version.header))
        };
        match (matches(&event.previous), matches(&event.current)) {
            (false, true) => Some(Change::Added),
            (true, true) => Some(Change::Modified),
            (true, false) => Some(Change::Deleted),
            (false, false) => None,
        }
    }
}
