//! One event as a line of JSON, in upstream's form and order.

use std::sync::Arc;

use api_machinery::decode::{self, Encoding, Expected, FieldValidation};
use api_machinery::{ResourceInfo, defaults, protobuf, time};
use bytes::Bytes;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::policy::{Level, Stage};
use crate::authn::User;

/// Bytes of a message with the media type that they are in.
#[derive(Clone, Debug)]
pub(super) struct Message {
    pub(super) bytes: Bytes,
    pub(super) content_type: String,
}

/// What is known about a request, so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Record {
    pub(super) level: Level,
    pub(super) omit_stages: Vec<Stage>,
    pub(super) omit_managed_fields: bool,
    pub(super) audit_id: String,
    pub(super) uri: String,
    pub(super) verb: &'static str,
    pub(super) user: Option<Arc<User>>,
    pub(super) impersonated: Option<Arc<User>>,
    /// The verb that allowed that, when it was a narrow one.
    pub(super) constraint: &'static str,
    pub(super) source_addresses: Vec<String>,
    pub(super) user_agent: String,
    pub(super) target: Option<Target>,
    pub(super) code: Option<u16>,
    pub(super) request: Option<Message>,
    pub(super) response: Option<Message>,
    /// Something was too large to be written down.
    pub(super) is_truncated: bool,
    pub(super) received: jiff::Timestamp,
    pub(super) annotations: Vec<(&'static str, String)>,
}

/// The object that a request is about.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Target {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) resource: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) namespace: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) uid: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) api_group: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) api_version: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) resource_version: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) subresource: String,
    #[serde(skip)]
    pub(super) kind: Option<&'static ResourceInfo>,
}

/// A stage of a request.
#[derive(Clone, Debug)]
pub(super) struct Event {
    pub(super) record: Record,
    pub(super) stage: Stage,
    pub(super) time: jiff::Timestamp,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Line<'a> {
    kind: &'static str,
    api_version: &'static str,
    level: &'static str,
    #[serde(rename = "auditID")]
    audit_id: &'a str,
    stage: &'static str,
    #[serde(rename = "requestURI")]
    uri: &'a str,
    verb: &'static str,
    user: Who<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    impersonated_user: Option<Who<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    authentication_metadata: Option<Value>,
    #[serde(rename = "sourceIPs", skip_serializing_if = "slice_is_empty")]
    source_addresses: &'a [String],
    #[serde(skip_serializing_if = "str::is_empty")]
    user_agent: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    object_ref: Option<Target>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_status: Option<Outcome>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_object: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_object: Option<Value>,
    request_received_timestamp: String,
    stage_timestamp: String,
    #[serde(skip_serializing_if = "Map::is_empty")]
    annotations: Map<String, Value>,
}

fn slice_is_empty(list: &&[String]) -> bool {
    list.is_empty()
}

#[derive(Default, Serialize)]
struct Who<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    username: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    uid: &'a str,
    #[serde(skip_serializing_if = "slice_is_empty")]
    groups: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    extra: Option<&'a std::collections::BTreeMap<String, Vec<String>>>,
}

impl<'a> Who<'a> {
    fn of(user: &'a User) -> Self {
        Self {
            username: &user.name,
            uid: &user.uid,
            groups: &user.groups,
            extra: (!user.extra.is_empty()).then_some(&user.extra),
        }
    }
}

#[derive(Default, Serialize)]
struct Outcome {
    metadata: Map<String, Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<Value>,
    code: u16,
}

impl Outcome {
    /// A `Status` that was the answer says more than its code.
    fn of(code: u16, answer: Option<&Value>) -> Self {
        let status = answer.filter(|answer| answer["kind"] == "Status");
        let part = |key: &str| status.and_then(|status| status.get(key)).cloned();
        Self {
            metadata: Map::new(),
            status: part("status"),
            message: part("message"),
            reason: part("reason"),
            details: part("details"),
            code,
        }
    }

    fn panicked() -> Self {
        Self {
            status: Some("Failure".into()),
            message: Some("APIServer panic'd".into()),
            reason: Some("InternalError".into()),
            code: 500,
            ..Self::default()
        }
    }
}

impl Event {
    /// Bytes of the bodies that it carries.
    pub(super) fn body_bytes(&self) -> usize {
        let bytes = |message: &Option<Message>| message.as_ref().map_or(0, |one| one.bytes.len());
        bytes(&self.record.request) + bytes(&self.record.response)
    }

    /// Appends the line.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let record = &self.record;
        let is_over = self.stage != Stage::RequestReceived;
        let mut target = record.target.clone();
        let mut request = is_over.then(|| record.request_object()).flatten();
        if let (Some(target), Some(request)) = (&mut target, &request) {
            record.complete(target, request);
        }
        let mut response = record.response.as_ref().filter(|_| is_over).and_then(tree);
        let response_status = match record.code.filter(|_| is_over) {
            _ if self.stage == Stage::Panic => Some(Outcome::panicked()),
            code => code.map(|code| Outcome::of(code, response.as_ref())),
        };
        request = request.filter(|_| record.level >= Level::Request);
        response = response.filter(|_| record.level >= Level::RequestResponse);
        if record.omit_managed_fields {
            request.as_mut().map(without_managed_fields);
            response.as_mut().map(without_managed_fields);
        }
        let mut annotations = Map::new();
        for (key, value) in record.annotations.iter().filter(|_| is_over) {
            annotations.insert((*key).to_owned(), value.as_str().into());
        }
        if record.is_truncated {
            annotations.insert("audit.k8s.io/truncated".to_owned(), "true".into());
        }
        let line = Line {
            kind: "Event",
            api_version: "audit.k8s.io/v1",
            level: record.level.word(),
            audit_id: &record.audit_id,
            stage: self.stage.word(),
            uri: &record.uri,
            verb: record.verb,
            user: record.user.as_deref().map(Who::of).unwrap_or_default(),
            impersonated_user: record.impersonated.as_deref().filter(|_| is_over).map(Who::of),
            authentication_metadata: (is_over && !record.constraint.is_empty())
                .then(|| json!({"impersonationConstraint": record.constraint})),
            source_addresses: &record.source_addresses,
            user_agent: &record.user_agent,
            object_ref: target,
            response_status,
            request_object: request,
            response_object: response,
            request_received_timestamp: time::micros(record.received),
            stage_timestamp: time::micros(self.time),
            annotations,
        };
        let json = serde_json::to_vec(&line).expect("strings and trees can always be written");
        // Upstream's encoder never writes what could be taken for HTML; outside of strings JSON has
        // none of these.
        for byte in json {
            match byte {
                b'&' => out.extend_from_slice(b"\\u0026"),
                b'<' => out.extend_from_slice(b"\\u003c"),
                b'>' => out.extend_from_slice(b"\\u003e"),
                byte => out.push(byte),
            }
        }
        out.push(b'\n');
    }
}

impl Record {
    /// The object of the request: patches as they came, others as the server understood them.
    fn request_object(&self) -> Option<Value> {
        let message = self.request.as_ref()?;
        if self.verb == "patch" {
            return serde_json::from_slice(&message.bytes).ok().or_else(|| yaml(&message.bytes));
        }
        let encoding = Encoding::of_content_type(&message.content_type)?;
        let target = self.target.as_ref()?;
        let kind = target.kind?;
        if self.verb.starts_with("delete") {
            let mut options = match encoding {
                Encoding::Protobuf => protobuf::decode(&message.bytes).ok()?.into_value(),
                Encoding::Json => serde_json::from_slice(&message.bytes).ok()?,
                Encoding::Yaml => yaml(&message.bytes)?,
            };
            options["kind"] = "DeleteOptions".into();
            options["apiVersion"] = "meta.k8s.io/__internal".into();
            return Some(options);
        }
        let own = kind.api_version();
        let (api_version, name) = match kind.subresource(&target.subresource) {
            Some(part) if !part.kind.is_empty() => {
                let version = match part.group {
                    "" => part.version.to_owned(),
                    group => format!("{group}/{}", part.version),
                };
                (if part.version.is_empty() { own } else { version }, part.kind)
            }
            _ => (own, kind.kind),
        };
        let expected = Expected { api_version: &api_version, kind: name };
        let decoded =
            decode::body(&message.bytes, encoding, expected, FieldValidation::Ignore).ok()?;
        let mut object = decoded.object;
        if name == kind.kind {
            defaults::apply(kind, &mut object);
        } else if name == "TokenRequest" {
            let defaults = [("expirationSeconds", json!(3600)), ("boundObjectRef", Value::Null)];
            for (field, value) in defaults {
                if object.at(&["spec", field]).is_none() {
                    object.set(&["spec", field], value);
                }
            }
        }
        Some(object.into_value())
    }

    /// What the URL does not say about the object, the object says.
    fn complete(&self, target: &mut Target, request: &Value) {
        if self.verb == "patch" || self.verb.starts_with("delete") {
            return;
        }
        let metadata = &request["metadata"];
        for (slot, key) in [
            (&mut target.namespace, "namespace"),
            (&mut target.name, "name"),
            (&mut target.uid, "uid"),
            (&mut target.resource_version, "resourceVersion"),
        ] {
            if slot.is_empty() {
                metadata[key].as_str().unwrap_or_default().clone_into(slot);
            }
        }
    }
}

fn yaml(bytes: &[u8]) -> Option<Value> {
    serde_saphyr::from_str(std::str::from_utf8(bytes).ok()?).ok()
}

/// A body as a tree, if it is a document.
fn tree(message: &Message) -> Option<Value> {
    match Encoding::of_content_type(&message.content_type)? {
        Encoding::Json => serde_json::from_slice(&message.bytes).ok(),
        Encoding::Yaml => yaml(&message.bytes),
        Encoding::Protobuf => protobuf::decode(&message.bytes).ok().map(|one| one.into_value()),
    }
}

/// Of an object, of the items of a list, of the rows of a table.
fn without_managed_fields(tree: &mut Value) {
    let bare = |object: &mut Value| {
        if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.remove("managedFields");
        }
    };
    bare(tree);
    for key in ["items", "rows"] {
        let list = tree.get_mut(key).and_then(Value::as_array_mut);
        for item in list.into_iter().flatten() {
            match item.get_mut("object") {
                Some(object) if key == "rows" => bare(object),
                _ => bare(item),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use api_machinery::kinds;

    use super::*;

    fn message(tree: &Value) -> Option<Message> {
        let bytes = tree.to_string().into();
        Some(Message { bytes, content_type: "application/json".to_owned() })
    }

    fn record() -> Record {
        let user = User {
            name: "admin".to_owned(),
            groups: vec!["system:masters".to_owned()],
            ..User::default()
        };
        Record {
            level: Level::RequestResponse,
            audit_id: "t1".to_owned(),
            uri: "/api/v1/namespaces/a/services?x=1&y=2".to_owned(),
            verb: "create",
            user: Some(Arc::new(user)),
            source_addresses: vec!["127.0.0.1".to_owned()],
            target: Some(Target {
                resource: "services".to_owned(),
                namespace: "a".to_owned(),
                api_version: "v1".to_owned(),
                kind: kinds::find("", "v1", "services"),
                ..Target::default()
            }),
            code: Some(201),
            received: "2026-01-02T03:04:05.000006Z".parse().unwrap(),
            annotations: vec![("authorization.k8s.io/decision", "allow".to_owned())],
            ..Record::default()
        }
    }

    fn line(record: Record, stage: Stage) -> String {
        let time = record.received;
        let mut out = Vec::new();
        Event { record, stage, time }.write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_first_stage_is_upstreams_line() {
        let mut record = record();
        record.request = message(&json!({"metadata": {"name": "s"}}));
        assert_eq!(
            line(record, Stage::RequestReceived),
            "{\"kind\":\"Event\",\"apiVersion\":\"audit.k8s.io/v1\",\"level\":\"RequestResponse\",\"auditID\":\"t1\",\"stage\":\"RequestReceived\",\"requestURI\":\"/api/v1/namespaces/a/services?x=1\\u0026y=2\",\"verb\":\"create\",\"user\":{\"username\":\"admin\",\"groups\":[\"system:masters\"]},\"sourceIPs\":[\"127.0.0.1\"],\"objectRef\":{\"resource\":\"services\",\"namespace\":\"a\",\"apiVersion\":\"v1\"},\"requestReceivedTimestamp\":\"2026-01-02T03:04:05.000006Z\",\"stageTimestamp\":\"2026-01-02T03:04:05.000006Z\"}\n"
        );
    }

    #[test]
    fn a_level_shows_what_it_should_and_no_more() {
        let mut full = record();
        full.request =
            message(&json!({"metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}]}}));
        full.response = message(&json!({"kind": "Service", "metadata": {"managedFields": [{}]}}));
        full.omit_managed_fields = true;
        let read = |level| {
            let record = Record { level, ..full.clone() };
            serde_json::from_str::<Value>(&line(record, Stage::ResponseComplete)).unwrap()
        };
        let all = read(Level::RequestResponse);
        assert_eq!(all["objectRef"]["name"], "s");
        assert_eq!(all["requestObject"]["spec"]["ports"][0]["protocol"], "TCP");
        assert_eq!(all["responseObject"], json!({"kind": "Service", "metadata": {}}));
        assert_eq!(all["responseStatus"], json!({"metadata": {}, "code": 201}));
        let request = read(Level::Request);
        assert!(request.get("requestObject").is_some() && request.get("responseObject").is_none());
        let metadata = read(Level::Metadata);
        assert!(metadata.get("requestObject").is_none());
        assert_eq!(metadata["objectRef"]["name"], "s");
        assert_eq!(metadata["annotations"], json!({"authorization.k8s.io/decision": "allow"}));
    }

    #[test]
    fn a_status_and_the_options_of_a_deletion_are_upstreams() {
        let mut gone = record();
        gone.verb = "delete";
        gone.code = Some(200);
        gone.level = Level::Request;
        gone.request = message(&json!({"gracePeriodSeconds": 0}));
        gone.response = message(&json!({"kind": "Status", "apiVersion": "v1", "metadata": {},
            "status": "Success", "details": {"name": "c1", "kind": "configmaps"}}));
        let told: Value = serde_json::from_str(&line(gone, Stage::ResponseComplete)).unwrap();
        assert_eq!(
            told["responseStatus"],
            json!({"metadata": {}, "status": "Success",
                "details": {"name": "c1", "kind": "configmaps"}, "code": 200})
        );
        assert_eq!(
            told["requestObject"],
            json!({"kind": "DeleteOptions", "apiVersion": "meta.k8s.io/__internal",
                "gracePeriodSeconds": 0})
        );
    }
}
