//! Events: `v1` keeps them, `events.k8s.io/v1` has other names for the same fields.

use serde_json::{Map, Value};

/// The name in the core group, and the one in `events.k8s.io`.
const NAMES: [(&str, &str); 7] = [
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
    ("reportingComponent", "reportingController"),
];

pub(super) fn to_new(event: &mut Map<String, Value>) {
    for (core, new) in NAMES {
        rename(event, core, new);
    }
}

pub(super) fn to_core(event: &mut Map<String, Value>) {
    for (core, new) in NAMES {
        rename(event, new, core);
    }
}

fn rename(event: &mut Map<String, Value>, from: &str, to: &str) {
    if let Some(value) = event.remove(from) {
        event.insert(to.to_owned(), value);
    }
}

/// What a field selector means by a field of `events.k8s.io`.
pub(super) fn core_label(field: &str) -> String {
    let (first, rest) = field.split_once('.').map_or((field, None), |(a, b)| (a, Some(b)));
    let known = NAMES.iter().find(|(_, new)| *new == first).map_or(first, |(core, _)| *core);
    rest.map_or_else(|| known.to_owned(), |rest| format!("{known}.{rest}"))
}
