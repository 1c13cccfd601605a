//! What lists and watches need of a stored object, without keeping its tree.

use crate::kinds::ResourceInfo;
use crate::view::{View, member, skip_space};

/// The parts of an object that selectors look at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Header {
    pub name: String,
    pub namespace: String,
    pub uid: String,
    /// Sorted by key.
    pub labels: Vec<(String, String)>,
    /// In the order of [`ResourceInfo::selectable_fields`].
    pub fields: Vec<(&'static str, String)>,
    pub deletion_timestamp: bool,
}

impl Header {
    /// Reads an object's JSON; what is not there is empty.
    #[must_use]
    pub fn of(info: &'static ResourceInfo, object: View<'_>) -> Self {
        let mut header = Self::default();
        if info.is_custom() {
            return Self::of_custom(info, object);
        }
        let paths: Vec<_> = info.selectable_fields.iter().map(|field| path(info, field)).collect();
        let mut values = vec![View::default(); paths.len()];
        // One pass over the object, and one over each part that something is looked for in.
        for (key, value) in object.entries() {
            if key == b"metadata" {
                header.read_metadata(value);
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
        header.fields = info
            .selectable_fields
            .iter()
            .zip(values)
            .map(|(field, value)| (*field, field_value(info, object, field, value)))
            .collect();
        header
    }

    /// Fields of custom objects may be anywhere.
    fn of_custom(info: &'static ResourceInfo, object: View<'_>) -> Self {
        let mut header = Self::default();
        header.read_metadata(object.get("metadata"));
        let field = |name: &&'static str| {
            let value = name.split('.').fold(object, View::get);
            (*name, scalar_text(value).unwrap_or_default())
        };
        header.fields = info.selectable_fields.iter().map(field).collect();
        header
    }

    fn read_metadata(&mut self, metadata: View<'_>) {
        for (key, value) in metadata.entries() {
            match key {
                b"name" => self.name = value.text().into_owned(),
                b"namespace" => self.namespace = value.text().into_owned(),
                b"uid" => self.uid = value.text().into_owned(),
                b"deletionTimestamp" => self.deletion_timestamp = !value.is_null(),
                b"labels" => {
                    self.labels = value
                        .members()
                        .map(|(key, value)| (key.into_owned(), value.text().into_owned()))
                        .collect();
                    self.labels.sort();
                }
                _ => {}
            }
        }
    }

    /// A label's value, for [`crate::selector::Labels::matches`].
    #[must_use]
    pub fn label(&self, key: &str) -> Option<&str> {
        let at = self.labels.binary_search_by(|(one, _)| one.as_str().cmp(key)).ok()?;
        Some(&self.labels[at].1)
    }

    /// A field's value, for [`crate::selector::Fields::matches`].
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&str> {
        match name {
            "metadata.name" => Some(&self.name),
            "metadata.namespace" => Some(&self.namespace),
            _ => self.fields.iter().find(|(one, _)| *one == name).map(|(_, value)| value.as_str()),
        }
    }
}

/// Where a field's value is: a member, and a member of that or nothing.
fn path(info: &ResourceInfo, field: &'static str) -> (&'static str, &'static str) {
    match (info.kind, field) {
        ("Pod", "status.podIPs") => ("status", "podIP"),
        _ => field.split_once('.').unwrap_or((field, "")),
    }
}

fn scalar_text(value: View<'_>) -> Option<String> {
    match value.bytes().first()? {
        b'"' => Some(value.text().into_owned()),
        b't' | b'f' | b'0'..=b'9' | b'-' => {
            Some(String::from_utf8_lossy(value.bytes()).into_owned())
        }
        _ => None,
    }
}

fn field_value(info: &ResourceInfo, object: View<'_>, field: &str, value: View<'_>) -> String {
    if (info.kind, field) == ("Event", "source") {
        let component = value.get("component").text();
        let reporter = || object.get("reportingComponent").text().into_owned();
        return if component.is_empty() { reporter() } else { component.into_owned() };
    }
    match value.bytes().first() {
        Some(b'"' | b't' | b'f' | b'0'..=b'9' | b'-') => scalar_text(value).unwrap_or_default(),
        None if matches!(field, "spec.unschedulable" | "spec.hostNetwork") => "false".to_owned(),
        None if field == "status.replicas" => "0".to_owned(),
        _ => String::new(),
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
