//! What rows of many kinds have in common: parts of the object, and how lists become one cell.

use std::borrow::Cow;
use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::Value;

use crate::{Parts, View, time};

/// Addresses, ports or hosts that a cell names before it only counts.
pub(super) const NAMED_MAX: usize = 3;

/// The parts of an object, and when it is looked at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row<'a> {
    pub(super) object: View<'a>,
    pub(super) metadata: View<'a>,
    pub(super) spec: View<'a>,
    pub(super) status: View<'a>,
    pub(super) now: Timestamp,
}

impl<'a> Row<'a> {
    pub(super) fn of(object: View<'a>, now: Timestamp) -> Self {
        Self::of_parts(object, Parts::of(object), now)
    }

    /// The same, where it is known where the parts are.
    pub(super) fn of_parts(object: View<'a>, parts: Parts, now: Timestamp) -> Self {
        let (metadata, spec) = (parts.metadata(object), parts.spec(object));
        Self { object, metadata, spec, status: parts.status(object), now }
    }

    pub(super) fn name(&self) -> Value {
        text(self.metadata, "name")
    }

    pub(super) fn age(&self) -> Value {
        self.since(self.metadata.get("creationTimestamp")).into()
    }

    /// How long ago a written time was.
    pub(super) fn since(&self, written: View<'_>) -> String {
        time::age(&written.text(), self.now)
    }

    /// Whether the object is being deleted.
    pub(super) fn is_going(&self) -> bool {
        !self.metadata.get("deletionTimestamp").is_null()
    }

    pub(super) fn annotation(&self, key: &str) -> View<'a> {
        self.metadata.get("annotations").get(key)
    }

    /// The first condition of a type.
    pub(super) fn condition(&self, kind: &str) -> View<'a> {
        let mut conditions = self.status.get("conditions").items();
        conditions.find(|one| one.get("type").is(kind)).unwrap_or_default()
    }
}

pub(super) fn text(value: View<'_>, key: &str) -> Value {
    value.get(key).text().into()
}

pub(super) fn number(value: View<'_>, key: &str) -> i64 {
    value.get(key).number().unwrap_or(0)
}

/// The text of a field that may be left out; empty texts count as given.
pub(super) fn given(value: View<'_>, key: &str, missing: &str) -> Value {
    let found = value.get(key);
    if found.is_null() { missing.into() } else { found.text().into() }
}

pub(super) fn or(text: &str, other: &str) -> String {
    if text.is_empty() { other } else { text }.to_owned()
}

/// `ready/wanted`.
pub(super) fn ratio(ready: i64, wanted: i64) -> Value {
    format!("{ready}/{wanted}").into()
}

pub(super) fn join(items: View<'_>, key: &str) -> String {
    let texts: Vec<_> = items.items().map(|item| item.get(key).text()).collect();
    texts.join(",")
}

/// Texts with commas between.
pub(super) fn join_texts(items: View<'_>) -> String {
    let texts: Vec<_> = items.items().map(View::text).collect();
    texts.join(",")
}

/// Names and images of the containers of a pod template.
pub(super) fn containers(template: View<'_>) -> [Value; 2] {
    let containers = template.at(&["spec", "containers"]);
    [join(containers, "name").into(), join(containers, "image").into()]
}

/// Labels as text: `a=b,c=d`.
pub(super) fn labels_text(labels: View<'_>) -> String {
    let mut pairs: Vec<String> =
        labels.members().map(|(key, value)| format!("{key}={}", value.text())).collect();
    // Upstream sorts pairs, not keys: `a-b=c` stands before `a=b`.
    pairs.sort_unstable();
    or(&pairs.join(","), "<none>")
}

/// A label selector as text: `a=b,c in (d,e)`; empty when it has no requirements.
pub(super) fn selector_text(selector: View<'_>) -> String {
    let mut parts: Vec<(Cow<'_, str>, String)> = Vec::new();
    for (key, value) in selector.get("matchLabels").members() {
        let part = format!("{key}={}", value.text());
        parts.push((key, part));
    }
    for one in selector.get("matchExpressions").items() {
        let key = one.get("key").text();
        let mut values: Vec<_> = one.get("values").items().map(View::text).collect();
        values.sort_unstable();
        let values = values.join(",");
        let part = match &*one.get("operator").text() {
            "In" => format!("{key} in ({values})"),
            "NotIn" => format!("{key} notin ({values})"),
            "Exists" => key.to_string(),
            _ => format!("!{key}"),
        };
        parts.push((key, part));
    }
    parts.sort_by(|(one, _), (other, _)| one.cmp(other));
    let parts: Vec<String> = parts.into_iter().map(|(_, part)| part).collect();
    parts.join(",")
}

pub(super) fn selector(selector: View<'_>) -> Value {
    or(&selector_text(selector), "<none>").into()
}

/// The first few, and how many more there are.
pub(super) fn some_of(named: &[String], empty: &str) -> String {
    match named.len().checked_sub(NAMED_MAX) {
        None | Some(0) => or(&named.join(","), empty),
        Some(more) => format!("{} + {more} more...", named[..NAMED_MAX].join(",")),
    }
}

/// Where a load balancer takes traffic in.
pub(super) fn load_balancer(status: View<'_>) -> String {
    let ingress = status.at(&["loadBalancer", "ingress"]);
    let address = |one: View<'_>| match one.get("ip").text() {
        ip if ip.is_empty() => one.get("hostname").text().into_owned(),
        ip => ip.into_owned(),
    };
    let addresses: BTreeSet<String> =
        ingress.items().map(address).filter(|address| !address.is_empty()).collect();
    Vec::from_iter(addresses).join(",")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn selectors_are_sorted_as_upstream_sorts_them() {
        let everything = json!({
            "matchLabels": {"z": "1", "a": "b", "a-b": ""},
            "matchExpressions": [
                {"key": "m", "operator": "In", "values": ["q", "p"]},
                {"key": "a", "operator": "NotIn", "values": ["k"]},
                {"key": "b", "operator": "Exists"},
                {"key": "n", "operator": "DoesNotExist"},
            ],
        })
        .to_string();
        let shown = selector_text(View::new(everything.as_bytes()));
        assert_eq!(shown, "a=b,a notin (k),a-b=,b,m in (p,q),!n,z=1");
        let labels = labels_text(View::new(everything.as_bytes()).get("matchLabels"));
        assert_eq!(labels, "a-b=,a=b,z=1");
        assert_eq!(selector(View::new(b"{}")), "<none>");
        assert_eq!(labels_text(View::default()), "<none>");
    }
}
