//! `events.k8s.io`: other names for the events of the core group.

use super::NAMESPACED;
use crate::kinds::ResourceInfo;

pub(super) const KINDS: [ResourceInfo; 1] = [ResourceInfo {
    group: "events.k8s.io",
    kind: "Event",
    plural: "events",
    singular: "event",
    short_names: &["ev"],
    storage_prefix: "events",
    kept_as: Some(("", "v1")),
    selectable_fields: &[
        "reason",
        "regarding.kind",
        "regarding.namespace",
        "regarding.name",
        "regarding.uid",
        "regarding.apiVersion",
        "regarding.resourceVersion",
        "regarding.fieldPath",
        "reportingController",
        "type",
    ],
    create_on_update: true,
    type_name: "api.events.v1.Event",
    ..NAMESPACED
}];
