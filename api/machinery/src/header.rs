//! What lists and watches need of a stored object, without keeping its tree.

use serde_json::Value;

use crate::Object;
use crate::kinds::ResourceInfo;

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
    #[must_use]
    pub fn of(info: &'static ResourceInfo, object: &Object) -> Self {
        Self {
            name: object.name().to_owned(),
            namespace: object.namespace().to_owned(),
            uid: object.uid().to_owned(),
            labels: object.labels().into_iter().collect(),
            fields: info
                .selectable_fields
                .iter()
                .map(|field| (*field, field_value(info, object, field)))
                .collect(),
            deletion_timestamp: object.deletion_timestamp().is_some(),
        }
    }

    /// Reads stored JSON.
    ///
    /// # Errors
    /// The bytes are not a JSON object.
    pub fn parse(info: &'static ResourceInfo, json: &[u8]) -> Result<Self, serde_json::Error> {
        let object: Object = serde_json::from_slice(json)?;
        Ok(Self::of(info, &object))
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

fn field_value(info: &ResourceInfo, object: &Object, field: &str) -> String {
    match (info.kind, field) {
        ("Event", "source") => {
            let component = object.text(&["source", "component"]);
            let reporter = object.text(&["reportingComponent"]);
            return if component.is_empty() { reporter } else { component }.to_owned();
        }
        ("Pod", "status.podIPs") => return object.text(&["status", "podIP"]).to_owned(),
        _ => {}
    }
    let path: Vec<_> = field.split('.').collect();
    match object.at(&path) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Bool(flag)) => flag.to_string(),
        Some(Value::Number(number)) => number.to_string(),
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
    if let Some((start, end)) = member(json, body, b"resourceVersion") {
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
    let (start, _) = member(json, open + 1, b"metadata")?;
    let value = skip_space(json, skip_space(json, start + "\"metadata\"".len()) + 1);
    (json.get(value) == Some(&b'{')).then_some(value + 1)
}

fn skip_space(json: &[u8], mut at: usize) -> usize {
    while json.get(at).is_some_and(u8::is_ascii_whitespace) {
        at += 1;
    }
    at
}

/// The byte after the text that opens at `at`.
fn skip_text(json: &[u8], mut at: usize) -> Option<usize> {
    loop {
        at += 1;
        match json.get(at)? {
            b'\\' => at += 1,
            b'"' => return Some(at + 1),
            _ => {}
        }
    }
}

fn skip_value(json: &[u8], mut at: usize) -> Option<usize> {
    let mut depth = 0_usize;
    loop {
        match json.get(at)? {
            b'"' => {
                at = skip_text(json, at)?;
                if depth == 0 {
                    return Some(at);
                }
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' if depth == 0 => return Some(at),
            b'}' | b']' => {
                depth -= 1;
                if depth == 0 {
                    return Some(at + 1);
                }
            }
            b',' if depth == 0 => return Some(at),
            _ => {}
        }
        at += 1;
    }
}

/// Start and end of the member `name` (key and value) of the object whose inside starts at `at`.
fn member(json: &[u8], mut at: usize, name: &[u8]) -> Option<(usize, usize)> {
    loop {
        at = skip_space(json, at);
        if json.get(at) != Some(&b'"') {
            return None;
        }
        let key_end = skip_text(json, at)?;
        let value = skip_space(json, skip_space(json, key_end) + 1);
        let end = skip_value(json, value)?;
        if &json[at + 1..key_end - 1] == name {
            return Some((at, end));
        }
        at = skip_space(json, end);
        if json.get(at) != Some(&b',') {
            return None;
        }
        at += 1;
    }
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
        let header = Header::parse(pod, json).unwrap();
        assert_eq!(header.label("x"), Some("1"));
        assert_eq!(header.field("spec.nodeName"), Some("n"));
        assert_eq!(header.field("spec.hostNetwork"), Some("false"));
        assert_eq!(header.field("nope"), None);
    }
}
