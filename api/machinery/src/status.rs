//! Errors as the API answers them: `metav1.Status` with upstream's codes, reasons and messages.

use std::collections::HashSet;
use std::fmt;

use serde_json::{Value, json};

use crate::field;
use crate::limits::FIELD_ERRORS_MAX;

/// A group and a plural resource name, or a group and a kind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Grouped {
    pub group: String,
    pub name: String,
}

impl Grouped {
    #[must_use]
    pub fn new(group: &str, name: &str) -> Self {
        Self { group: group.to_owned(), name: name.to_owned() }
    }
}

impl fmt::Display for Grouped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.group.is_empty() {
            return f.write_str(&self.name);
        }
        write!(f, "{}.{}", self.name, self.group)
    }
}

/// One entry of `details.causes`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cause {
    pub reason: String,
    pub message: String,
    pub field: String,
}

/// `details` of a Status.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Details {
    pub name: String,
    pub group: String,
    /// The resource for most reasons, the Kind for Invalid.
    pub kind: String,
    pub uid: String,
    pub causes: Vec<Cause>,
    /// 0 = not said.
    pub retry_after_seconds: u32,
}

/// A failed request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Status {
    /// HTTP status code.
    pub code: u16,
    pub reason: &'static str,
    pub message: String,
    pub details: Option<Box<Details>>,
    /// `metadata.continue`, for an expired list that may go on inconsistently.
    pub continue_token: String,
}

impl Status {
    fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { code, reason, message, details: None, continue_token: String::new() }
    }

    fn about(mut self, what: &Grouped, name: &str) -> Self {
        let details = self.details.get_or_insert_default();
        details.group.clone_from(&what.group);
        details.kind.clone_from(&what.name);
        name.clone_into(&mut details.name);
        self
    }

    /// Adds `retryAfterSeconds`; the caller also sets the `Retry-After` header from it.
    #[must_use]
    pub fn with_retry_after(mut self, seconds: u32) -> Self {
        self.details.get_or_insert_default().retry_after_seconds = seconds;
        self
    }

    #[must_use]
    pub fn with_cause(mut self, reason: &str, message: &str, field: &str) -> Self {
        self.details.get_or_insert_default().causes.push(Cause {
            reason: reason.to_owned(),
            message: message.to_owned(),
            field: field.to_owned(),
        });
        self
    }

    #[must_use]
    pub fn with_uid(mut self, uid: &str) -> Self {
        uid.clone_into(&mut self.details.get_or_insert_default().uid);
        self
    }

    #[must_use]
    pub fn not_found(resource: &Grouped, name: &str) -> Self {
        Self::new(404, "NotFound", format!("{resource} {name:?} not found")).about(resource, name)
    }

    /// A path that no route serves.
    #[must_use]
    pub fn no_such_path() -> Self {
        Self::new(404, "NotFound", "the server could not find the requested resource")
            .with_retry_after(0)
    }

    /// What a router refuses before a handler is found.
    #[must_use]
    pub fn not_routed(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self::new(code, reason, message).with_retry_after(0)
    }

    #[must_use]
    pub fn already_exists(resource: &Grouped, name: &str) -> Self {
        Self::new(409, "AlreadyExists", format!("{resource} {name:?} already exists"))
            .about(resource, name)
    }

    /// Eight generated names were all taken.
    #[must_use]
    pub fn generate_name_conflict(resource: &Grouped, name: &str) -> Self {
        let message = format!(
            "{resource} {name:?} already exists, the server was not able to generate a unique name for the object"
        );
        Self::new(409, "AlreadyExists", message).about(resource, name).with_retry_after(1)
    }

    /// `why` is the text after the object, e.g. [`Self::MODIFIED`].
    #[must_use]
    pub fn conflict(resource: &Grouped, name: &str, why: &str) -> Self {
        let message = format!("Operation cannot be fulfilled on {resource} {name:?}: {why}");
        Self::new(409, "Conflict", message).about(resource, name)
    }

    /// The text of a conflict by resourceVersion.
    pub const MODIFIED: &str = "the object has been modified; please apply your changes to the latest version and try again";

    /// Server-side apply lost against other managers.
    #[must_use]
    pub fn apply_conflict(message: &str, causes: Vec<Cause>) -> Self {
        let mut status = Self::new(409, "Conflict", message);
        status.details = Some(Box::new(Details { causes, ..Details::default() }));
        status
    }

    /// `kind` names the Kind, not the resource.
    #[must_use]
    pub fn invalid(kind: &Grouped, name: &str, errors: &[field::Error]) -> Self {
        let (told, left_out) = errors.split_at(errors.len().min(FIELD_ERRORS_MAX));
        let mut seen = HashSet::new();
        let mut texts: Vec<String> = told.iter().map(ToString::to_string).collect();
        texts.retain(|text| seen.insert(text.clone()));
        if !left_out.is_empty() {
            texts.push(format!("and {} more", left_out.len()));
        }
        let message = match texts.as_slice() {
            [] => format!("{kind} {name:?} is invalid"),
            [one] => format!("{kind} {name:?} is invalid: {one}"),
            many => format!("{kind} {name:?} is invalid: [{}]", many.join(", ")),
        };
        let mut status = Self::new(422, "Invalid", message).about(kind, name);
        status.details.get_or_insert_default().causes = told
            .iter()
            .map(|error| Cause {
                reason: error.kind.reason().to_owned(),
                message: error.body(),
                field: error.field.clone(),
            })
            .collect();
        status
    }

    /// A 422 without an object: a patch that cannot be carried out.
    #[must_use]
    pub fn unprocessable(message: &str) -> Self {
        Self::new(422, "Invalid", message)
    }

    #[must_use]
    pub fn forbidden(resource: &Grouped, name: &str, why: &str) -> Self {
        let message = match (resource.name.is_empty(), name.is_empty()) {
            (true, _) => format!("forbidden: {why}"),
            (false, true) => format!("{resource} is forbidden: {why}"),
            (false, false) => format!("{resource} {name:?} is forbidden: {why}"),
        };
        Self::new(403, "Forbidden", message).about(resource, name)
    }

    #[must_use]
    pub fn unauthorized() -> Self {
        Self::new(401, "Unauthorized", "Unauthorized")
    }

    #[must_use]
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    #[must_use]
    pub fn gone(message: impl Into<String>) -> Self {
        Self::new(410, "Gone", message)
    }

    /// A resourceVersion or continue token that is compacted.
    #[must_use]
    pub fn expired(message: impl Into<String>) -> Self {
        Self::new(410, "Expired", message)
    }

    #[must_use]
    pub fn method_not_allowed(resource: &Grouped, verb: &str) -> Self {
        let message =
            format!("{verb} is not supported on resources of kind {:?}", resource.to_string());
        Self::new(405, "MethodNotAllowed", message).about(resource, "")
    }

    /// `accepted` are the media types that would have been fine.
    #[must_use]
    pub fn not_acceptable(accepted: &[&str]) -> Self {
        let message =
            format!("only the following media types are accepted: {}", accepted.join(", "));
        Self::new(406, "NotAcceptable", message)
    }

    /// Asked for a conversion (`as=Table`) that the resource does not have.
    #[must_use]
    pub fn not_acceptable_message(message: impl Into<String>) -> Self {
        Self::new(406, "NotAcceptable", message)
    }

    #[must_use]
    pub fn unsupported_media_type(accepted: &[&str]) -> Self {
        let message = format!(
            "the body of the request was in an unknown format - accepted media types include: {}",
            accepted.join(", ")
        );
        Self::new(415, "UnsupportedMediaType", message)
    }

    #[must_use]
    pub fn too_large(limit_bytes: usize) -> Self {
        let message = format!("Request entity too large: limit is {limit_bytes}");
        Self::new(413, "RequestEntityTooLarge", message)
    }

    #[must_use]
    pub fn too_many_requests(message: &str, retry_after_seconds: u32) -> Self {
        Self::new(429, "TooManyRequests", message).with_retry_after(retry_after_seconds)
    }

    /// The server could not answer in time; nothing says whether the write happened.
    #[must_use]
    pub fn timeout(message: &str, retry_after_seconds: u32) -> Self {
        Self::new(504, "Timeout", format!("Timeout: {message}"))
            .with_retry_after(retry_after_seconds)
    }

    /// Asked to read at a revision that the server has not reached in time.
    #[must_use]
    pub fn too_large_resource_version(asked: u64, current: u64) -> Self {
        let message = format!("Too large resource version: {asked}, current: {current}");
        Self::new(504, "Timeout", format!("Timeout: {message}")).with_retry_after(1).with_cause(
            "ResourceVersionTooLarge",
            "Too large resource version",
            "",
        )
    }

    #[must_use]
    pub fn server_timeout(resource: &Grouped, operation: &str, retry_after_seconds: u32) -> Self {
        let message = format!(
            "The {operation} operation against {resource} could not be completed at this time, please try again."
        );
        Self::new(500, "ServerTimeout", message)
            .about(resource, operation)
            .with_retry_after(retry_after_seconds)
    }

    /// What upstream can do and this server cannot.
    #[must_use]
    pub fn not_implemented(message: &str) -> Self {
        Self::new(501, "NotImplemented", message)
    }

    #[must_use]
    pub fn service_unavailable(message: &str) -> Self {
        Self::new(503, "ServiceUnavailable", message)
    }

    #[must_use]
    pub fn internal(message: &str) -> Self {
        Self::new(500, "InternalError", format!("Internal error occurred: {message}"))
            .with_cause("", message, "")
    }

    /// A 500 without a reason: what upstream makes of errors that it has no Status for.
    #[must_use]
    pub fn unexplained(message: &str) -> Self {
        Self::new(500, "", message)
    }

    /// The Status as JSON, in upstream's shape.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut metadata = json!({});
        if !self.continue_token.is_empty() {
            metadata["continue"] = self.continue_token.clone().into();
        }
        let mut status = json!({
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": metadata,
            "status": "Failure",
            "message": self.message,
            "code": self.code,
        });
        if !self.reason.is_empty() {
            status["reason"] = self.reason.into();
        }
        if let Some(details) = &self.details {
            status["details"] = details.to_json();
        }
        status
    }
}

impl Details {
    fn to_json(&self) -> Value {
        let mut out = json!({});
        for (name, value) in
            [("name", &self.name), ("group", &self.group), ("kind", &self.kind), ("uid", &self.uid)]
        {
            if !value.is_empty() {
                out[name] = value.as_str().into();
            }
        }
        let causes: Vec<Value> = self.causes.iter().map(Cause::to_json).collect();
        if !causes.is_empty() {
            out["causes"] = causes.into();
        }
        if self.retry_after_seconds > 0 {
            out["retryAfterSeconds"] = self.retry_after_seconds.into();
        }
        out
    }
}

impl Cause {
    fn to_json(&self) -> Value {
        let mut out = json!({});
        for (name, value) in
            [("reason", &self.reason), ("message", &self.message), ("field", &self.field)]
        {
            if !value.is_empty() {
                out[name] = value.as_str().into();
            }
        }
        out
    }
}

/// The Status of a delete that is done: `details` name what went.
#[must_use]
pub fn deleted(resource: &Grouped, name: &str, uid: &str) -> Value {
    let details = Details {
        name: name.to_owned(),
        group: resource.group.clone(),
        kind: resource.name.clone(),
        uid: uid.to_owned(),
        ..Details::default()
    };
    json!({
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Success",
        "details": details.to_json(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::field::{Error, Path};

    #[test]
    fn more_wrong_fields_than_anybody_reads_are_counted() {
        let each = |index: usize| Error::required(&Path::new("a").index(index), "");
        let errors: Vec<_> = (0..FIELD_ERRORS_MAX + 7).map(each).collect();
        let status = Status::invalid(&Grouped::new("", "Pod"), "x", &errors);
        assert!(status.message.ends_with("a[1999]: Required value, and 7 more]"));
        assert_eq!(status.details.unwrap().causes.len(), FIELD_ERRORS_MAX);
    }

    #[test]
    fn messages_are_upstreams() {
        let deployments = Grouped::new("apps", "deployments");
        let pods = Grouped::new("", "pods");
        for (status, code, message) in [
            (Status::not_found(&pods, "x"), 404, "pods \"x\" not found"),
            (
                Status::already_exists(&deployments, "x"),
                409,
                "deployments.apps \"x\" already exists",
            ),
            (
                Status::invalid(
                    &Grouped::new("apps", "Deployment"),
                    "x",
                    &[Error::required(&Path::new("a"), ""), Error::required(&Path::new("b"), "")],
                ),
                422,
                "Deployment.apps \"x\" is invalid: [a: Required value, b: Required value]",
            ),
            (Status::too_large(7), 413, "Request entity too large: limit is 7"),
        ] {
            assert_eq!((status.code, status.message.as_str()), (code, message));
        }
    }

    #[test]
    fn a_status_has_the_wire_shape() {
        insta::assert_json_snapshot!(
            Status::conflict(&Grouped::new("apps", "deployments"), "x", Status::MODIFIED).to_json()
        );
    }
}
