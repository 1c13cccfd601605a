//! What one request leaves behind, from its first byte to the end of its answer.

use std::net::IpAddr;
use std::sync::Arc;

use api_machinery::{Status, kinds};
use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{HeaderMap, Response};
use parking_lot::Mutex;

use super::body::{Audited, Copied};
use super::config::AuditMode;
use super::event::{Event, Message, Record, Target};
use super::policy::{Level, Stage};
use super::{Audit, LevelLabels};
use crate::authn::{Impersonated, User};
use crate::authz::{self, Verdict};
use crate::body::Body;
use crate::limits::AUDIT_BODY_BYTES_MAX;
use crate::request::RequestInfo;

/// Longest user agent that is written down (upstream's).
const USER_AGENT_LETTERS_MAX: usize = 1024;

/// The record of a request; empty when nobody wants one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trail(Option<Arc<Shared>>);

#[derive(Debug)]
struct Shared {
    audit: Arc<Audit>,
    record: Mutex<Record>,
}

/// Where a request comes from, as far as its headers and its connection say.
fn source_addresses(headers: &HeaderMap, peer: IpAddr) -> Vec<String> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let forwarded = text("x-forwarded-for").unwrap_or_default().split(',');
    let mut found: Vec<IpAddr> =
        forwarded.filter_map(|address| address.trim().parse().ok()).collect();
    let real = text("x-real-ip").and_then(|address| address.parse().ok());
    if let Some(real) = real.filter(|real| !found.contains(real)) {
        found.push(real);
    }
    if found.last() != Some(&peer) {
        found.push(peer);
    }
    found.iter().map(ToString::to_string).collect()
}

fn user_agent(headers: &HeaderMap) -> String {
    let agent = headers.get(header::USER_AGENT).map(HeaderValue::as_bytes).unwrap_or_default();
    let kept = String::from_utf8_lossy(&agent[..agent.len().min(USER_AGENT_LETTERS_MAX)]);
    let tail = if agent.len() > USER_AGENT_LETTERS_MAX { "...TRUNCATED" } else { "" };
    format!("{kept}{tail}")
}

fn target(info: &RequestInfo, name: &str) -> Target {
    Target {
        resource: info.resource.clone(),
        namespace: info.namespace.clone(),
        name: name.to_owned(),
        api_group: info.group.clone(),
        api_version: info.version.clone(),
        subresource: info.subresource.clone(),
        kind: kinds::find(&info.group, &info.version, &info.resource),
        ..Target::default()
    }
}

impl Trail {
    /// Begins the record of a request.
    pub(crate) fn start(
        audit: Option<&Arc<Audit>>,
        parts: &http::request::Parts,
        info: &RequestInfo,
        (audit_id, peer): (&HeaderValue, IpAddr),
    ) -> Self {
        let Some(audit) = audit else { return Self::default() };
        let name = authz::action(info).name;
        let uri = parts.uri.path_and_query().map_or("", |uri| uri.as_str());
        let record = Record {
            audit_id: String::from_utf8_lossy(audit_id.as_bytes()).into_owned(),
            uri: uri.to_owned(),
            verb: info.verb,
            source_addresses: source_addresses(&parts.headers, peer),
            user_agent: user_agent(&parts.headers),
            target: info.is_resource.then(|| target(info, name)),
            received: clock::now(),
            ..Record::default()
        };
        Self(Some(Arc::new(Shared { audit: audit.clone(), record: Mutex::new(record) })))
    }

    /// The request is whose it is: the policy decides how much is written, and the first stage is.
    /// Without a user the answer will be the first stage.
    pub(crate) async fn received(
        &self,
        user: Option<&User>,
        info: &RequestInfo,
    ) -> Result<(), Status> {
        let Some(shared) = &self.0 else { return Ok(()) };
        let name = authz::action(info).name;
        let verdict = shared.audit.policy.verdict(user, info, name);
        let labels = LevelLabels { level: verdict.level.word() };
        shared.audit.metrics.levels.get_or_create(&labels).inc();
        let received = {
            let mut record = shared.record.lock();
            record.level = verdict.level;
            record.omit_stages = verdict.omit_stages;
            record.omit_managed_fields = verdict.omit_managed_fields;
            record.user = user.cloned().map(Arc::new);
            record.received
        };
        if user.is_none() || self.emit(Stage::RequestReceived, received).await {
            return Ok(());
        }
        if shared.audit.mode != AuditMode::BlockingStrict {
            return Ok(());
        }
        shared.audit.metrics.rejected.inc();
        shared.record.lock().level = Level::None;
        Err(Status::internal("failed to store audit event"))
    }

    /// The request is carried out as somebody else.
    pub(crate) fn impersonated(&self, other: &Impersonated) {
        self.note(|record| {
            record.impersonated = Some(Arc::new(other.user.clone()));
            record.constraint = other.constraint;
        });
    }

    /// What the authorizers said.
    pub(crate) fn decided(&self, verdict: &Verdict) {
        self.note(|record| {
            let decision = if verdict.allowed { "allow" } else { "forbid" };
            record.annotations.push(("authorization.k8s.io/decision", decision.to_owned()));
            record.annotations.push(("authorization.k8s.io/reason", verdict.reason.clone()));
        });
    }

    /// The body of the request is there.
    pub(crate) fn asked(&self, body: &Bytes, headers: &HeaderMap) {
        if body.is_empty() {
            return;
        }
        self.note(|record| {
            // The object names itself when the URL does not.
            if record.level >= Level::Request || matches!(record.verb, "create" | "update") {
                let content_type = content_type(headers);
                record.request = Some(Message { bytes: body.clone(), content_type });
            }
        });
    }

    /// Changes the record, unless nothing will be written.
    fn note(&self, change: impl FnOnce(&mut Record)) {
        let Some(shared) = &self.0 else { return };
        let mut record = shared.record.lock();
        if record.level > Level::None {
            change(&mut record);
        }
    }

    /// The body of the answer is there.
    pub(super) fn answered(&self, bytes: Bytes) {
        self.note(|record| {
            if let Some(response) = &mut record.response {
                response.bytes = bytes;
            }
        });
    }

    /// The body of the answer is too large to be kept.
    pub(super) fn truncated(&self) {
        self.note(|record| {
            record.response = None;
            record.is_truncated = true;
        });
    }

    pub(super) fn lost(&self, why: &str) {
        if let Some(shared) = &self.0 {
            shared.audit.metrics.lost("log", why);
        }
    }

    /// Looks at an answer before it is compressed; keeps a copy if one is to be written.
    pub(crate) fn hear(&self, response: &mut Response<Body>) {
        let code = response.status().as_u16();
        let content_type = content_type(response.headers());
        let mut copies = false;
        self.note(|record| {
            record.code = Some(code);
            let is_wanted = code >= 400
                || record.target.is_some()
                    && (record.level == Level::RequestResponse
                        || record.verb.starts_with("delete"));
            match response.body() {
                Body::Full(Some(bytes)) if is_wanted && bytes.len() <= AUDIT_BODY_BYTES_MAX => {
                    record.response = Some(Message { bytes: bytes.clone(), content_type });
                }
                Body::Full(Some(_)) if is_wanted => record.is_truncated = true,
                Body::Pulled(_) if is_wanted && record.level == Level::RequestResponse => {
                    record.response = Some(Message { bytes: Bytes::new(), content_type });
                    copies = true;
                }
                _ => {}
            }
        });
        if !copies {
            return;
        }
        let body = std::mem::replace(response.body_mut(), Body::full(""));
        *response.body_mut() = match body {
            Body::Pulled(source) => Body::Pulled(Box::new(Copied::new(source, self.clone()))),
            other => other,
        };
    }

    /// The answer is on its way: the last stage comes now, or with the end of a long body.
    pub(crate) async fn ends(&self, response: Response<Body>, streams: bool) -> Response<Body> {
        let Some(shared) = &self.0 else { return response };
        let (level, is_known) = {
            let record = shared.record.lock();
            (record.level, record.user.is_some())
        };
        if level == Level::None {
            return response;
        }
        if streams || !is_known {
            self.emit(Stage::ResponseStarted, clock::now()).await;
        }
        if !is_known {
            return response;
        }
        if let Body::Full(_) = response.body() {
            self.complete().await;
            return response;
        }
        response.map(|body| Audited::wrap(body, self.clone()))
    }

    pub(super) async fn complete(&self) {
        self.emit(Stage::ResponseComplete, clock::now()).await;
    }

    /// The handler has panicked.
    pub(crate) async fn panicked(&self) {
        self.note(|record| record.code = Some(500));
        self.emit(Stage::Panic, clock::now()).await;
        self.note(|record| record.level = Level::None);
    }

    /// Whether the stage is written, or nobody wants it.
    async fn emit(&self, stage: Stage, time: jiff::Timestamp) -> bool {
        let Some(shared) = &self.0 else { return true };
        let record = shared.record.lock().clone();
        if record.level == Level::None || record.omit_stages.contains(&stage) {
            return true;
        }
        shared.audit.metrics.events.inc();
        shared.audit.writer.write(Event { record, stage, time }).await
    }
}

fn content_type(headers: &HeaderMap) -> String {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    value.unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_those_of_upstream_in_its_order() {
        let mut headers = HeaderMap::new();
        let peer: IpAddr = "127.0.0.1".parse().unwrap();
        assert_eq!(source_addresses(&headers, peer), ["127.0.0.1"]);
        let forwarded = HeaderValue::from_static("1.2.3.4, nobody, 5.6.7.8");
        headers.insert("x-forwarded-for", forwarded);
        headers.insert("x-real-ip", HeaderValue::from_static("9.9.9.9"));
        assert_eq!(
            source_addresses(&headers, peer),
            ["1.2.3.4", "5.6.7.8", "9.9.9.9", "127.0.0.1"]
        );
        headers.insert("x-real-ip", HeaderValue::from_static("1.2.3.4"));
        headers.insert("x-forwarded-for", HeaderValue::from_static("1.2.3.4, 127.0.0.1"));
        assert_eq!(source_addresses(&headers, peer), ["1.2.3.4", "127.0.0.1"]);
    }

    #[test]
    fn a_long_user_agent_is_cut() {
        let mut headers = HeaderMap::new();
        headers.insert(header::USER_AGENT, "a".repeat(1025).parse().unwrap());
        assert_eq!(user_agent(&headers), format!("{}...TRUNCATED", "a".repeat(1024)));
    }
}
