//! One file per thing that a client can ask for.

mod about;
mod component_status;
mod create;
mod delete;
mod eviction;
mod get;
mod health;
mod list;
mod list_options;
mod log;
mod patch;
mod pods;
mod review;
mod review_selectors;
mod scale;
mod time;
mod token;
mod unheeded;
mod unserved;
mod update;
mod warnings;
mod watch;

use std::sync::Arc;

use api_machinery::decode::{Encoding, Expected, FieldValidation};
use api_machinery::field::{Error, Path};
use api_machinery::status::Grouped;
use api_machinery::{Object, ResourceInfo, Status, apply, decode};
use http::{HeaderMap, Response};
use parking_lot::Mutex;
use serde_json::Value;

use crate::admission::Notes;
use crate::authn::User;
use crate::authz;
use crate::body::Body;
use crate::custom::Shape;
use crate::encoding::{self, Accepted};
use crate::registry::{By, Fields};
use crate::request::{Query, RequestInfo};
use crate::state::Server;
use crate::watch_cache::Cache;

pub(crate) use about::{GIT_VERSION, metrics, published, version};
pub(crate) use component_status::{get_component, list_components};
pub(crate) use create::create;
pub(crate) use delete::{delete, delete_many};
pub(crate) use eviction::eviction;
pub(crate) use get::get;
pub(crate) use health::{health, is_ready};
pub(crate) use list::list;
pub(crate) use log::log;
pub(crate) use patch::patch;
pub(crate) use pods::binding;
pub(crate) use review::review;
pub(crate) use scale::{get_scale, patch_scale, scale_of, update_scale};
pub(crate) use time::time;
pub(crate) use token::token;
pub(crate) use unserved::unserved;
pub(crate) use update::update;
pub(crate) use watch::watch;

/// What upstream tells everybody who still uses them.
const ENDPOINTS_ARE_OLD: &str =
    "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice";

const COMPONENTS_ARE_OLD: &str = "v1 ComponentStatus is deprecated in v1.19+";

/// Through which door an object is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subresource {
    None,
    Status,
    Finalize,
    /// The decision about a certificate signing request.
    Approval,
    /// The replicas of a workload.
    Scale,
    /// What is added to a running pod for debugging it.
    EphemeralContainers,
    /// The CPU and memory of a running pod.
    Resize,
}

impl Subresource {
    /// As the path of a request has it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Status => "status",
            Self::Finalize => "finalize",
            Self::Approval => "approval",
            Self::Scale => "scale",
            Self::EphemeralContainers => "ephemeralcontainers",
            Self::Resize => "resize",
        }
    }
}

/// A request about a resource.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) server: Arc<Server>,
    /// Who asks.
    pub(crate) user: User,
    pub(crate) info: RequestInfo,
    pub(crate) query: Query,
    pub(crate) headers: HeaderMap,
    pub(crate) kind: &'static ResourceInfo,
    /// The same, with what its definition says of a custom kind.
    pub(crate) shape: Shape,
    pub(crate) accepted: Accepted,
    /// What the client should know, whether its request succeeds or not.
    pub(crate) warnings: Mutex<Vec<String>>,
    pub(crate) notes: Notes,
}

impl Context {
    /// Namespace of the objects; empty for kinds without one.
    pub(crate) fn namespace(&self) -> &str {
        if self.kind.namespaced { &self.info.namespace } else { "" }
    }

    /// The cache of the kind.
    pub(crate) fn cache(&self) -> &Arc<Cache> {
        self.shape.cache(&self.server)
    }

    /// What was read from a cache that has been closed meanwhile is not to be trusted.
    pub(crate) fn check_cache(&self) -> Result<(), Status> {
        if self.cache().is_closed() {
            return Err(Status::too_many_requests("storage is (re)initializing", 1));
        }
        Ok(())
    }

    pub(crate) fn not_found(&self) -> Status {
        Status::not_found(&self.kind.group_resource(), &self.info.name)
    }

    /// Whether nothing is to be kept (`dryRun=All`).
    pub(crate) fn dry_run(&self) -> Result<bool, Status> {
        let asked: Vec<Value> = self.query.all("dryRun").map(Value::from).collect();
        match unsupported_dry_run(&asked) {
            Some(error) => Err(self.invalid_options(&[error])),
            None => Ok(!asked.is_empty()),
        }
    }

    /// Who is to own what the request changes: `fieldManager`, or the program that asks.
    pub(crate) fn manager(&self) -> Result<String, Status> {
        let asked = self.query.get("fieldManager").unwrap_or_default();
        let path = Path::new("fieldManager");
        let errors = apply::validate_manager(asked, &path);
        if !errors.is_empty() {
            return Err(self.invalid_options(&errors));
        }
        let agent = self.headers.get(http::header::USER_AGENT);
        let agent = agent.and_then(|value| value.to_str().ok()).unwrap_or_default();
        Ok(apply::manager_name(asked, agent))
    }

    pub(crate) fn field_validation(&self) -> Result<FieldValidation, Status> {
        let asked = self.query.get("fieldValidation").unwrap_or_default();
        FieldValidation::parse(asked).ok_or_else(|| {
            let path = Path::new("fieldValidation");
            let supported = ["", "Ignore", "Strict", "Warn"];
            self.invalid_options(&[Error::not_supported(&path, asked, &supported)])
        })
    }

    /// 422 about the options of a write.
    fn invalid_options(&self, errors: &[Error]) -> Status {
        let options = match self.info.verb {
            "create" => "CreateOptions",
            "patch" => "PatchOptions",
            "delete" | "deletecollection" => "DeleteOptions",
            _ => "UpdateOptions",
        };
        Status::invalid(&Grouped::new("meta.k8s.io", options), "", errors)
    }

    /// How the request body is written; 415 when nobody here can read it.
    pub(crate) fn body_encoding(&self) -> Result<Encoding, Status> {
        let content_type = self.content_type();
        Encoding::of_content_type(content_type).ok_or_else(|| {
            Status::unsupported_media_type(&[
                "application/json",
                "application/yaml",
                "application/vnd.kubernetes.protobuf",
            ])
        })
    }

    pub(crate) fn content_type(&self) -> &str {
        self.headers
            .get(http::header::CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }

    /// Decodes a body of some kind; its warnings are kept for the answer.
    pub(crate) fn decode(&self, body: &[u8], expected: Expected<'_>) -> Result<Object, Status> {
        let decoded =
            decode::body(body, self.body_encoding()?, expected, self.field_validation()?)?;
        self.warn(decoded.warnings);
        Ok(decoded.object)
    }

    /// Decodes a body of the resource's own kind, and fits its namespace and name to the URL.
    pub(crate) fn decode_own(&self, body: &[u8]) -> Result<Object, Status> {
        let decoded = self.shape.decode(body, self.body_encoding()?, self.field_validation()?)?;
        self.warn(decoded.warnings);
        let mut object = decoded.object;
        self.fit_to_url(&mut object)?;
        Ok(object)
    }

    /// What the URL says and the body does not is filled in; a contradiction is a 400.
    pub(crate) fn fit_to_url(&self, object: &mut Object) -> Result<(), Status> {
        let namespace = self.namespace();
        if self.kind.namespaced {
            if object.namespace().is_empty() {
                object.set_namespace(namespace);
            } else if object.namespace() != namespace {
                return Err(Status::bad_request(
                    "the namespace of the provided object does not match the namespace sent on the request",
                ));
            }
        }
        if self.info.name.is_empty() {
            return Ok(());
        }
        if object.name().is_empty() {
            if self.info.verb == "update" {
                return Err(Status::bad_request(format!(
                    "the name of the object ({} based on URL) was undeterminable: name must be provided",
                    self.info.name
                )));
            }
            object.set_name(&self.info.name);
        } else if object.name() != self.info.name {
            return Err(Status::bad_request(format!(
                "the name of the object ({}) does not match the name on the URL ({})",
                object.name(),
                self.info.name
            )));
        }
        Ok(())
    }

    /// Refuses roles and bindings that give what the user does not have, and decisions about
    /// certificates that are not the user's to make; `old` is what is replaced.
    pub(crate) fn check_escalation(
        &self,
        new: &Object,
        old: Option<&Object>,
    ) -> Result<(), Status> {
        authz::check_escalation(&self.server, &self.user, self.kind, (new, old))?;
        let Some(old) = old else { return Ok(()) };
        let at = (self.kind, self.info.subresource.as_str());
        authz::check_signer(&self.server, &self.user, at, (new, old))
    }

    /// Keeps warnings; a repeated attempt replaces those of the one before.
    pub(crate) fn warn(&self, warnings: Vec<String>) {
        *self.warnings.lock() = warnings;
    }

    /// Who writes, for the registry.
    pub(crate) fn by<'a>(&'a self, fields: Fields<'a>, dry_run: bool) -> By<'a> {
        let (warnings, notes) = (Some(&self.warnings), Some(&self.notes));
        By { user: &self.user, fields, warnings, dry_run, notes }
    }

    /// Keeps more warnings, what the kind says about the change of an object.
    pub(crate) fn warn_of(&self, new: &Object, old: Option<&Object>) {
        self.warnings.lock().extend(self.shape.warnings(new, old));
    }

    /// Answers with an object.
    pub(crate) fn reply(&self, code: u16, object: &Object) -> Result<Response<Body>, Status> {
        encoding::object(code, &self.shape, object, &self.accepted)
    }

    /// Answers with an object that was written just now: what the store was given is written again
    /// where that is what is asked for.
    pub(crate) fn reply_written(
        &self,
        code: u16,
        object: &Object,
    ) -> Result<Response<Body>, Status> {
        let stored = self.notes.stored_at(object.resource_version());
        if let Some((revision, json)) = stored
            && let Some(reply) =
                encoding::as_stored(code, &self.shape, (&json, revision), &self.accepted)
        {
            return Ok(reply);
        }
        self.reply(code, object)
    }

    /// The response of a handler that ended, with the warnings of the request.
    pub(crate) fn finish(&self, outcome: Result<Response<Body>, Status>) -> Response<Body> {
        let mut response =
            outcome.unwrap_or_else(|status| encoding::error(&status, &self.accepted));
        let mut told: Vec<String> = self.shape.warning().map(str::to_owned).into_iter().collect();
        match self.kind.kind {
            "Endpoints" => told.push(ENDPOINTS_ARE_OLD.to_owned()),
            "ComponentStatus" => told.push(COMPONENTS_ARE_OLD.to_owned()),
            _ => {}
        }
        told.append(&mut self.warnings.lock());
        if self.info.verb == "create" && response.status() == http::StatusCode::CREATED {
            told.extend(unheeded::warning(self.kind));
        }
        for warning in warnings::headers(&told) {
            response.headers_mut().append("warning", warning);
        }
        response
    }
}

/// What is wrong with the values of `dryRun`: there is only one.
fn unsupported_dry_run(asked: &[Value]) -> Option<Error> {
    let is_wrong = asked.iter().any(|value| value != "All");
    is_wrong.then(|| Error::not_supported(&Path::new("dryRun"), asked.to_vec(), &["All"]))
}
