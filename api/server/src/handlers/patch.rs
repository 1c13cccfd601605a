//! PATCH: JSON, merge and strategic merge. Server-side apply is refused until it exists.

use api_machinery::decode::{Decoded, Expected, FieldValidation};
use api_machinery::field::{Error, Path};
use api_machinery::patch::{self, PatchType};
use api_machinery::schema::TypeId;
use api_machinery::status::Grouped;
use api_machinery::{Object, Status, decode};
use http::Response;
use serde_json::Value;

use super::{Context, Subresource};
use crate::body::Body;
use crate::registry::{self, Retry};

const MEDIA_TYPES: [&str; 3] = [
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
];

/// A patch of a known type.
#[derive(Debug)]
pub(super) struct Patch<'a> {
    kind: PatchType,
    body: &'a [u8],
}

impl<'a> Patch<'a> {
    /// Reads the type from the Content-Type; 415 for others.
    pub(super) fn of(context: &Context, body: &'a [u8]) -> Result<Self, Status> {
        let refused = || {
            let mut status = Status::unsupported_media_type(&MEDIA_TYPES);
            if context.content_type().starts_with("application/apply-patch") {
                status.message.push_str("; server-side apply is not implemented yet");
            }
            status
        };
        match PatchType::of_content_type(context.content_type()) {
            Some(kind @ (PatchType::Json | PatchType::Merge | PatchType::StrategicMerge)) => {
                Ok(Self { kind, body })
            }
            Some(PatchType::Apply) | None => Err(refused()),
        }
    }

    /// The patched tree.
    pub(super) fn apply(&self, type_id: TypeId, target: &Value) -> Result<Value, Status> {
        match self.kind {
            PatchType::Json => patch::json_patch(target, self.body),
            PatchType::Merge => patch::merge_patch(target, self.body),
            PatchType::StrategicMerge => patch::strategic_merge(target, self.body, type_id),
            PatchType::Apply => Err(Status::unsupported_media_type(&MEDIA_TYPES)),
        }
    }
}

/// Fits a patched tree to its type. What does not fit is the patch's fault: upstream's 422.
pub(super) fn fit(
    patched: Value,
    expected: Expected<'_>,
    validation: FieldValidation,
) -> Result<Decoded, Status> {
    let text = patched.to_string();
    decode::value(patched, expected, validation).map_err(|status| {
        let marker = format!("cannot be handled as a {}: ", expected.kind);
        let why = status.message.split_once(&marker).map_or(&*status.message, |(_, why)| why);
        let error = Error::invalid(&Path::new("patch"), text, why);
        Status::invalid(&Grouped::default(), "", &[error])
    })
}

pub(crate) async fn patch(
    context: &Context,
    body: &[u8],
    subresource: Subresource,
) -> Result<Response<Body>, Status> {
    let dry_run = context.dry_run()?;
    let validation = context.field_validation()?;
    let patch = Patch::of(context, body)?;
    let api_version = context.kind.api_version();
    let expected = Expected { api_version: &api_version, kind: context.kind.kind };
    let request = registry::Update {
        kind: context.kind,
        namespace: context.namespace(),
        name: &context.info.name,
        subresource,
        retry: Retry::Always,
        dry_run,
    };
    let change = |current: &Object| {
        let target = Value::Object(current.0.clone());
        let patched = patch.apply(context.kind.type_id(), &target)?;
        let decoded = fit(patched, expected, validation)?;
        context.warn(decoded.warnings);
        let mut object = decoded.object;
        context.fit_to_url(&mut object)?;
        context.check_escalation(&object, Some(current))?;
        Ok(object)
    };
    let updated = registry::update(&context.server, &request, change).await?;
    let updated = updated.ok_or_else(|| context.not_found())?;
    context.reply(200, &updated)
}
