//! PATCH: JSON, merge and strategic merge, and server-side apply.

use api_machinery::apply::{self, Writer};
use api_machinery::decode::{Decoded, Expected, FieldValidation};
use api_machinery::field::{Error, Path};
use api_machinery::patch::{self, PatchType};
use api_machinery::schema::TypeId;
use api_machinery::status::Grouped;
use api_machinery::{Object, Status, decode, time};
use http::Response;
use serde_json::Value;

use super::{Context, Subresource};
use crate::body::Body;
use crate::limits::UPDATE_TRIES_MAX;
use crate::registry::{self, Fields, Retry};

const MEDIA_TYPES: [&str; 4] = [
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
];

const CUSTOM_MEDIA_TYPES: [&str; 3] = [MEDIA_TYPES[0], MEDIA_TYPES[1], MEDIA_TYPES[3]];

/// A patch of a known type.
#[derive(Debug)]
pub(super) struct Patch<'a> {
    kind: PatchType,
    body: &'a [u8],
}

impl<'a> Patch<'a> {
    /// Reads the type from the Content-Type; 415 for others.
    pub(super) fn of(context: &Context, body: &'a [u8]) -> Result<Self, Status> {
        let custom = context.shape.custom.is_some();
        match PatchType::of_content_type(context.content_type()) {
            // There is no strategy to merge what has no type.
            Some(PatchType::StrategicMerge) if custom => {
                Err(Status::unsupported_media_type(&CUSTOM_MEDIA_TYPES))
            }
            None if custom => Err(Status::unsupported_media_type(&CUSTOM_MEDIA_TYPES)),
            Some(kind @ (PatchType::Json | PatchType::Merge | PatchType::StrategicMerge)) => {
                Ok(Self { kind, body })
            }
            Some(PatchType::Apply) | None => Err(Status::unsupported_media_type(&MEDIA_TYPES)),
        }
    }

    /// Fits a patched tree to its type. What does not fit is the patch's fault: upstream's 422.
    pub(super) fn fit(
        &self,
        patched: Value,
        expected: Expected<'_>,
        validation: FieldValidation,
    ) -> Result<Decoded, Status> {
        let is_strategic = self.kind == PatchType::StrategicMerge;
        if !is_strategic {
            patch::check_kind(&patched, expected)?;
        }
        let text = if is_strategic { String::new() } else { patched.to_string() };
        decode::value(patched, expected, validation).map_err(|status| {
            if is_strategic {
                return patch::misfit(self.body, misfit_text(expected.kind, &status));
            }
            misfit(text, expected.kind, &status)
        })
    }

    /// Fits a patched tree to the kind of the request.
    fn fit_own(
        &self,
        context: &Context,
        patched: Value,
        validation: FieldValidation,
    ) -> Result<Decoded, Status> {
        let kind = context.kind.kind;
        if context.shape.custom.is_none() {
            let api_version = context.kind.api_version();
            return self.fit(patched, Expected { api_version: &api_version, kind }, validation);
        }
        let text = patched.to_string();
        context.shape.fit(patched, validation).map_err(|status| misfit(text, kind, &status))
    }

    /// The patched tree.
    pub(super) fn apply(&self, type_id: Option<TypeId>, target: Value) -> Result<Value, Status> {
        match self.kind {
            PatchType::Json => patch::json_patch(&target, self.body),
            PatchType::Merge => patch::merge_patch(target, self.body),
            PatchType::StrategicMerge => match type_id {
                Some(type_id) => patch::strategic_merge(target, self.body, type_id),
                None => Err(Status::unsupported_media_type(&CUSTOM_MEDIA_TYPES)),
            },
            PatchType::Apply => Err(Status::unsupported_media_type(&MEDIA_TYPES)),
        }
    }
}

fn misfit_text<'a>(kind: &str, status: &'a Status) -> &'a str {
    let marker = format!("cannot be handled as a {kind}: ");
    status.message.split_once(&marker).map_or(&*status.message, |(_, why)| why)
}

fn misfit(patched: String, kind: &str, status: &Status) -> Status {
    let error = Error::invalid(&Path::new("patch"), patched, misfit_text(kind, status));
    Status::invalid(&Grouped::default(), "", &[error])
}

/// 422 about the options of a patch.
fn invalid_options(error: Error) -> Status {
    Status::invalid(&Grouped::new("meta.k8s.io", "PatchOptions"), "", &[error])
}

/// Who applies: a request has to say so.
pub(super) fn applier(context: &Context) -> Result<String, Status> {
    if context.query.non_empty("fieldManager").is_none() {
        let path = Path::new("fieldManager");
        return Err(invalid_options(Error::required(&path, "is required for apply patch")));
    }
    context.manager()
}

/// Server-side apply: what the client names is its own from now on, and what it does not name any
/// more and nobody else owns goes. An object that is not there is made.
async fn apply(
    context: &Context,
    body: &[u8],
    subresource: Subresource,
) -> Result<Response<Body>, Status> {
    let dry_run = context.dry_run()?;
    let manager = applier(context)?;
    let config = decode::apply_patch(body, context.field_validation()?)?;
    context.warn(config.warnings);
    let now = time::seconds(clock::now());
    let writer = Writer { manager: &manager, now: &now, force: context.query.flag("force") };
    let target = context.shape.target(subresource.name());
    let applied = |live: Option<&Object>| {
        let mut object = apply::apply(&target, live, &config.object, writer)?;
        if let Some(refusal) = &config.refusal {
            return Err(refusal.clone());
        }
        context.fit_to_url(&mut object)?;
        context.check_escalation(&object, live)?;
        Ok(object)
    };
    let by = context.by(Fields::Applied, dry_run);
    let request = registry::Update {
        kind: context.kind,
        namespace: context.namespace(),
        name: &context.info.name,
        subresource,
        by,
        retry: Retry::Always,
    };
    for _ in 0..UPDATE_TRIES_MAX {
        let change = |current: &Object| applied(Some(current));
        if let Some(updated) = registry::update(&context.server, &request, change).await? {
            return context.reply_written(200, &updated);
        }
        if subresource != Subresource::None {
            return Err(context.not_found());
        }
        if !config.object.uid().is_empty() {
            let why = format!(
                "uid mismatch: the provided object specified uid {}, and no existing object was found",
                config.object.uid()
            );
            let resource = context.kind.group_resource();
            return Err(Status::conflict(&resource, &context.info.name, &why));
        }
        let create = registry::Create { kind: context.kind, by };
        match registry::create(&context.server, &create, applied(None)?).await {
            // Somebody else made it meanwhile: it is applied to that one.
            Err(status) if status.reason == "AlreadyExists" => {}
            created => return context.reply_written(201, &created?),
        }
    }
    let resource = context.kind.group_resource();
    Err(Status::conflict(&resource, &context.info.name, Status::MODIFIED))
}

pub(crate) async fn patch(
    context: &Context,
    body: &[u8],
    subresource: Subresource,
) -> Result<Response<Body>, Status> {
    if PatchType::of_content_type(context.content_type()) == Some(PatchType::Apply) {
        return apply(context, body, subresource).await;
    }
    if context.query.non_empty("force").is_some() {
        let why = "may not be specified for non-apply patch";
        return Err(invalid_options(Error::forbidden(&Path::new("force"), why)));
    }
    let dry_run = context.dry_run()?;
    let manager = context.manager()?;
    let validation = context.field_validation()?;
    let patch = Patch::of(context, body)?;
    let type_id = context.shape.custom.is_none().then(|| context.kind.type_id());
    let request = registry::Update {
        kind: context.kind,
        namespace: context.namespace(),
        name: &context.info.name,
        subresource,
        by: context.by(Fields::Of(&manager), dry_run),
        retry: Retry::Always,
    };
    let change = |current: &Object| {
        let patched = patch.apply(type_id, Value::Object(current.0.clone()))?;
        let decoded = patch.fit_own(context, patched, validation)?;
        context.warn(decoded.warnings);
        let mut object = decoded.object;
        context.warn_of(&object, Some(current));
        context.fit_to_url(&mut object)?;
        context.check_escalation(&object, Some(current))?;
        Ok(object)
    };
    let updated = registry::update(&context.server, &request, change).await?;
    let updated = updated.ok_or_else(|| context.not_found())?;
    context.reply_written(200, &updated)
}
