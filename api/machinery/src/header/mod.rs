//! What lists and watches need of a stored object, without keeping its tree.

mod texts;

use std::borrow::Cow;
use std::cmp::Ordering;

use serde_json::{Map, Value};
use texts::Texts;

use crate::kinds::ResourceInfo;
use crate::view::{View, member, next_member, skip_space};
use crate::{Object, Parts};

/// Numbers of the texts that every object has; the fields follow, then keys and values of labels.
const NAME: usize = 0;
const NAMESPACE: usize = 1;
const UID: usize = 2;
const FIELDS: usize = 3;

/// The parts of an object that selectors look at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Header {
    texts: Texts,
    /// Names of the fields: [`ResourceInfo::selectable_fields`].
    fields: &'static [&'static str],
    /// Whether the object is on its way out.
    pub deletion_timestamp: bool,
    /// Where its parts lie.
    pub parts: Parts,
}

impl Header {
    /// Reads an object's JSON; what is not there is empty.
    #[must_use]
    pub fn of(info: &'static ResourceInfo, object: View<'_>) -> Self {
        if info.is_custom() {
            return Self::of_custom(info, object);
        }
        let (mut parts, mut metadata) = (Parts::default(), Metadata::default());
        let paths: Vec<_> = info.selectable_fields.iter().map(|field| path(info, field)).collect();
        let mut values = vec![View::default(); paths.len()];
        // One pass over the object, and one over each part that something is looked for in.
        for (key, value) in object.entries() {
            parts.note(object, key, value);
            if key == b"metadata" {
                metadata.read(value);
            }
            let is_wanted =
                |(first, rest): &(&str, &str)| first.as_bytes() == key && !rest.is_empty();
            if paths.iter().any(is_wanted) {
                for (inner_key, inner) in value.entries() {
                    for (slot, (first, rest)) in values.iter_mut().zip(&paths) {
                        if first.as_bytes() == key && rest.as_bytes() == inner_key {
                            *slot = inner;
                        }
                    }
                }
            }
            for (slot, (first, rest)) in values.iter_mut().zip(&paths) {
                if first.as_bytes() == key && rest.is_empty() {
                    *slot = value;
                }
            }
        }
        let fields = info.selectable_fields.iter().zip(values);
        let fields = fields.map(|(field, value)| field_value(info, object, field, value));
        metadata.header(info, fields, parts)
    }

    /// Fields of custom objects may be anywhere.
    fn of_custom(info: &'static ResourceInfo, object: View<'_>) -> Self {
        let parts = Parts::of(object);
        let mut metadata = Metadata::default();
        metadata.read(parts.metadata(object));
        let field = |name: &&'static str| {
            scalar_text(name.split('.').fold(object, View::get)).unwrap_or_default()
        };
        metadata.header(info, info.selectable_fields.iter().map(field), parts)
    }

    /// The same of the same object in other bytes, where its parts lie elsewhere.
    #[must_use]
    pub fn of_other_bytes(&self, object: View<'_>) -> Self {
        Self { parts: Parts::of(object), ..self.clone() }
    }

    /// The object's name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.texts.get(NAME)
    }

    /// Its namespace; empty when it is in none.
    #[must_use]
    pub fn namespace(&self) -> &str {
        self.texts.get(NAMESPACE)
    }

    /// Its unique id.
    #[must_use]
    pub fn uid(&self) -> &str {
        self.texts.get(UID)
    }

    /// A label's value, for [`crate::selector::Labels::matches`].
    #[must_use]
    pub fn label(&self, key: &str) -> Option<&str> {
        let first = FIELDS + self.fields.len();
        let (mut low, mut high) = (0, self.texts.len().saturating_sub(first) / 2);
        while low < high {
            let middle = low + (high - low) / 2;
            match self.texts.get(first + 2 * middle).cmp(key) {
                Ordering::Equal => return Some(self.texts.get(first + 2 * middle + 1)),
                Ordering::Less => low = middle + 1,
                Ordering::Greater => high = middle,
            }
        }
        None
    }

    /// A field's value, for [`crate::selector::Fields::matches`].
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&str> {
        match name {
            "metadata.name" => Some(self.name()),
            "metadata.namespace" => Some(self.namespace()),
            _ => {
                let number = self.fields.iter().position(|one| *one == name)?;
                Some(self.texts.get(FIELDS + number))
            }
        }
    }
}

/// What a header needs of an object's metadata.
#[derive(Default)]
struct Metadata<'a> {
    name: Cow<'a, str>,
    namespace: Cow<'a, str>,
    uid: Cow<'a, str>,
    labels: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    deletion_timestamp: bool,
}

impl<'a> Metadata<'a> {
    fn read(&mut self, metadata: View<'a>) {
        for (key, value) in metadata.entries() {
            match key {
                b"name" => self.name = value.text(),
                b"namespace" => self.namespace = value.text(),
                b"uid" => self.uid = value.text(),
                b"deletionTimestamp" => self.deletion_timestamp = !value.is_null(),
                b"labels" => {
                    self.labels = value.members().map(|(key, value)| (key, value.text())).collect();
                    self.labels.sort();
                }
                _ => {}
            }
        }
    }

    fn header(
        self,
        info: &'static ResourceInfo,
        fields: impl Iterator<Item = Cow<'a, str>>,
        parts: Parts,
    ) -> Header {
        let fixed = info.selectable_fields.len() + FIELDS;
        let mut texts = Vec::with_capacity(fixed + 2 * self.labels.len());
        texts.extend([self.name, self.namespace, self.uid]);
        texts.extend(fields);
        texts.extend(self.labels.into_iter().flat_map(|(key, value)| [key, value]));
        Header {
            texts: Texts::of(&texts),
            fields: info.selectable_fields,
            deletion_timestamp: self.deletion_timestamp,
            parts,
        }
    }
}

/// Where a field's value is: a member, and a member of that or nothing.
fn path(info: &ResourceInfo, field: &'static str) -> (&'static str, &'static str) {
    match (info.kind, field) {
        ("Pod", "status.podIPs") => ("status", "podIP"),
        ("Job", "status.successful") => ("status", "succeeded"),
        _ => field.split_once('.').unwrap_or((field, "")),
    }
}

fn scalar_text(value: View<'_>) -> Option<Cow<'_, str>> {
    match value.bytes().first()? {
        b'"' => Some(value.text()),
        b't' | b'f' | b'0'..=b'9' | b'-' => Some(String::from_utf8_lossy(value.bytes())),
        _ => None,
    }
}

fn field_value<'a>(
    info: &ResourceInfo,
    object: View<'a>,
    field: &str,
    value: View<'a>,
) -> Cow<'a, str> {
    if (info.kind, field) == ("Event", "source") {
        let component = value.get("component").text();
        let reporter = || object.get("reportingComponent").text();
        return if component.is_empty() { reporter() } else { component };
    }
    match value.bytes().first() {
        Some(b'"' | b't' | b'f' | b'0'..=b'9' | b'-') => scalar_text(value).unwrap_or_default(),
        None if matches!(field, "spec.unschedulable" | "spec.hostNetwork") => "false".into(),
        None if matches!(field, "status.replicas" | "status.successful") => "0".into(),
        _ => Cow::Borrowed(""),
    }
}

/// The stored JSON with `metadata.resourceVersion` set, without reading the tree.
///
/// Bytes that do not look like an object with `metadata` come back as they are.
#[must_use]
pub fn with_resource_version(json: &[u8], revision: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(json.len() + 40);
    let Some(body) = metadata_body(json) else { return json.to_vec() };
    let entry = format!("\"resourceVersion\":\"{revision}\"");
    if let Some(found) = member(json, body, b"resourceVersion") {
        let (start, end) = found.whole();
        out.extend_from_slice(&json[..start]);
        out.extend_from_slice(entry.as_bytes());
        out.extend_from_slice(&json[end..]);
        return out;
    }
    out.extend_from_slice(&json[..body]);
    out.extend_from_slice(entry.as_bytes());
    let is_empty = json[body..].iter().find(|b| !b.is_ascii_whitespace()) == Some(&b'}');
    if !is_empty {
        out.push(b',');
    }
    out.extend_from_slice(&json[body..]);
    out
}

/// JSON that was written of a tree, with `metadata.resourceVersion` where a tree has it: as the tree
/// with that version would be written. `None` when the bytes do not look like such JSON.
#[must_use]
pub fn in_order_with_resource_version(json: &[u8], revision: u64) -> Option<Vec<u8>> {
    const KEY: &[u8] = b"resourceVersion";

    let start = metadata_body(json)?;
    let (mut at, mut before, mut last_end) = (start, None, start);
    let mut old: Option<(usize, usize)> = None;
    while let Some(found) = next_member(json, at) {
        let (from, to) = found.whole();
        let key = &json[found.key.0..found.key.1];
        if key == KEY {
            old = Some((from, to));
        } else {
            if key > KEY && before.is_none() {
                before = Some(from);
            }
            last_end = to;
        }
        at = found.next;
        if json.get(at - 1) != Some(&b',') {
            break;
        }
    }
    let mut out = Vec::with_capacity(json.len() + 48);
    // What stands between two places, without the old version and one comma at it.
    let copy = |out: &mut Vec<u8>, from: usize, to: usize| match old {
        Some((gone_from, gone_to)) if from <= gone_from && gone_to <= to => {
            let follows = json.get(gone_to) == Some(&b',');
            let is_last = !follows && json.get(gone_from - 1) == Some(&b',');
            out.extend_from_slice(&json[from..gone_from - usize::from(is_last)]);
            out.extend_from_slice(&json[gone_to + usize::from(follows)..to]);
        }
        _ => out.extend_from_slice(&json[from..to]),
    };
    let entry = format!("\"resourceVersion\":\"{revision}\"");
    match before {
        Some(before) => {
            copy(&mut out, 0, before);
            out.extend_from_slice(entry.as_bytes());
            out.push(b',');
            copy(&mut out, before, json.len());
        }
        None => {
            let is_first = last_end == start;
            let end = old.map_or(last_end, |(_, to)| to.max(last_end));
            copy(&mut out, 0, end);
            if !is_first {
                out.push(b',');
            }
            out.extend_from_slice(entry.as_bytes());
            out.extend_from_slice(&json[end..]);
        }
    }
    Some(out)
}

/// What decides whether an object may go: its metadata but for the managed fields, and what is
/// neither list nor map of the rest, one level deep.
#[must_use]
pub fn outline(object: View<'_>) -> Object {
    let read = |value: View<'_>| serde_json::from_slice::<Value>(value.bytes()).ok();
    let is_plain = |value: View<'_>| !matches!(value.bytes().first(), Some(b'{' | b'[') | None);
    let inside = |part: View<'_>, is_metadata: bool| -> Map<String, Value> {
        let members = part.members().filter(|(key, value)| match is_metadata {
            true => key != "managedFields",
            false => is_plain(*value),
        });
        members.filter_map(|(key, value)| Some((key.into_owned(), read(value)?))).collect()
    };
    let parts = object.members().filter_map(|(key, value)| {
        let part = match &*key {
            "metadata" => Value::Object(inside(value, true)),
            "spec" | "status" => Value::Object(inside(value, false)),
            _ if is_plain(value) => read(value)?,
            _ => return None,
        };
        Some((key.into_owned(), part))
    });
    Object(parts.collect())
}

/// A tree of JSON that was checked before, without its managed fields, which are about half of a small
/// object; `None` when it is no object.
#[must_use]
pub fn without_managed_fields(object: View<'_>) -> Option<Object> {
    let read = |value: View<'_>| serde_json::from_slice::<Value>(value.bytes()).ok();
    if !object.is_object() {
        return None;
    }
    let mut out = Map::new();
    for (key, value) in object.members() {
        let value = if key == "metadata" && value.is_object() {
            let mut metadata = Map::new();
            for (key, value) in value.members().filter(|(key, _)| key != "managedFields") {
                metadata.insert(key.into_owned(), read(value)?);
            }
            Value::Object(metadata)
        } else {
            read(value)?
        };
        out.insert(key.into_owned(), value);
    }
    Some(Object(out))
}

/// Where the inside of the top-level `metadata` object starts.
fn metadata_body(json: &[u8]) -> Option<usize> {
    let open = skip_space(json, 0);
    if json.get(open) != Some(&b'{') {
        return None;
    }
    let (start, _) = member(json, open + 1, b"metadata")?.value;
    (json.get(start) == Some(&b'{')).then_some(start + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_revision_is_put_in_without_reading_the_tree() {
        for (stored, served) in [
            (r#"{"metadata":{}}"#, r#"{"metadata":{"resourceVersion":"7"}}"#),
            (
                r#"{"a":"\"metadata\":{","metadata":{"name":"x"}}"#,
                r#"{"a":"\"metadata\":{","metadata":{"resourceVersion":"7","name":"x"}}"#,
            ),
            (
                r#"{"metadata": {"resourceVersion":"1","name":"x"},"z":[{}]}"#,
                r#"{"metadata": {"resourceVersion":"7","name":"x"},"z":[{}]}"#,
            ),
            (
                r#"{"spec":{"metadata":{}},"metadata":{"name":"x","resourceVersion":""}}"#,
                r#"{"spec":{"metadata":{}},"metadata":{"name":"x","resourceVersion":"7"}}"#,
            ),
            ("[]", "[]"),
        ] {
            let got = with_resource_version(stored.as_bytes(), 7);
            assert_eq!(String::from_utf8(got).unwrap(), served);
        }
    }

    #[test]
    fn the_revision_is_put_where_a_tree_has_it() {
        for metadata in [
            "{}",
            r#"{"name":"x"}"#,
            r#"{"uid":"u"}"#,
            r#"{"annotations":{"resourceVersion":"9","z":"}"},"name":"x","uid":"u"}"#,
            r#"{"managedFields":[{"a":1}],"selfLink":"s","uid":"u"}"#,
        ] {
            let tree: Value = serde_json::from_str(metadata).unwrap();
            let object = |metadata: &Value| serde_json::json!({"a": {"metadata": 1}, "metadata": metadata, "spec": {"x": []}});
            let mut wanted = tree.clone();
            wanted["resourceVersion"] = "7".into();
            let wanted = object(&wanted).to_string();
            let stored = object(&tree).to_string();
            let served = with_resource_version(stored.as_bytes(), 5);
            let mut again = tree;
            again["resourceVersion"] = "12345".into();
            for json in [stored.into_bytes(), served, object(&again).to_string().into_bytes()] {
                let got = in_order_with_resource_version(&json, 7).unwrap();
                assert_eq!(String::from_utf8(got).unwrap(), wanted);
            }
        }
        assert_eq!(in_order_with_resource_version(b"[]", 7), None);
    }

    #[test]
    fn all_but_the_managed_fields_is_read() {
        let json = br#" {"kind":"X","metadata":{"managedFields":[{"a":{}}],"name":"p"},
            "spec":{"metadata":{"managedFields":1}},"list":[{"x":null}]} "#;
        let mut wanted: Value = serde_json::from_slice(json).unwrap();
        wanted["metadata"].as_object_mut().unwrap().remove("managedFields");
        let read = without_managed_fields(View::new(json)).unwrap();
        assert_eq!(read.into_value(), wanted);
        assert_eq!(without_managed_fields(View::new(b"[]")), None);
    }

    #[test]
    fn an_outline_has_what_decides_whether_an_object_goes() {
        let json = br#"{"apiVersion":"v1","kind":"Pod","metadata":{"managedFields":[{}],"name":"p",
            "finalizers":["a"],"ownerReferences":[{"uid":"u"}]},"spec":{"containers":[{}],
            "nodeName":"n","terminationGracePeriodSeconds":30},"status":{"phase":"Running"},"x":[]}"#;
        let wanted = serde_json::json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p",
            "finalizers": ["a"], "ownerReferences": [{"uid": "u"}]}, "spec": {"nodeName": "n",
            "terminationGracePeriodSeconds": 30}, "status": {"phase": "Running"}});
        assert_eq!(outline(View::new(json)).into_value(), wanted);
    }

    #[test]
    fn a_header_has_what_selectors_ask_for() {
        let pod = crate::kinds::find("", "v1", "pods").unwrap();
        let json = br#"{"metadata":{"name":"a","namespace":"b","labels":{"x":"1","app":"w"}},"spec":{"nodeName":"n"}}"#;
        let header = Header::of(pod, View::new(json));
        assert_eq!(header.label("x"), Some("1"));
        assert_eq!(header.field("spec.nodeName"), Some("n"));
        assert_eq!(header.field("spec.hostNetwork"), Some("false"));
        assert_eq!(header.field("nope"), None);
        let event = crate::kinds::find("", "v1", "events").unwrap();
        let json = br#"{"involvedObject":{"kind":"Pod"},"reason":"Why","reportingComponent":"c"}"#;
        let header = Header::of(event, View::new(json));
        let found = ["involvedObject.kind", "reason", "source", "type"].map(|f| header.field(f));
        assert_eq!(found, [Some("Pod"), Some("Why"), Some("c"), Some("")]);
    }
}
