//! PUT: the whole object, or one side of it through a subresource.

use api_machinery::{Object, Status};
use http::Response;

use super::{Context, Subresource};
use crate::body::Body;
use crate::registry::{self, Fields, Retry};

/// Who names a uid means that very object: upstream's store says so, with its key.
fn check_uid(context: &Context, object: &Object, current: &Object) -> Result<(), Status> {
    let uid = object.uid();
    if uid.is_empty() || uid == current.uid() {
        return Ok(());
    }
    let name = &context.info.name;
    let key = context.server.storage.key(context.kind, context.namespace(), name);
    let why = format!(
        "StorageError: invalid object, Code: 4, Key: {key}, ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: UID in precondition: {uid}, UID in object meta: {}",
        current.uid()
    );
    Err(Status::conflict(&context.kind.group_resource(), name, &why))
}

pub(crate) async fn update(
    context: &Context,
    body: &[u8],
    subresource: Subresource,
) -> Result<Response<Body>, Status> {
    let dry_run = context.dry_run()?;
    let object = context.decode_own(body)?;
    // Without a resourceVersion the client wants to win, whatever is there now.
    let retry = if object.resource_version().is_empty() { Retry::Always } else { Retry::Never };
    let manager = context.manager()?;
    let by = context.by(Fields::Of(&manager), dry_run);
    let request = registry::Update {
        kind: context.kind,
        namespace: context.namespace(),
        name: &context.info.name,
        subresource,
        by,
        retry,
    };
    let change = |current: &Object| {
        check_uid(context, &object, current)?;
        context.check_escalation(&object, Some(current))?;
        Ok(object.clone())
    };
    let outcome = registry::update(&context.server, &request, change).await?;
    match outcome {
        Some(updated) => context.reply_written(200, &updated),
        None if context.kind.create_on_update && subresource == Subresource::None => {
            context.check_escalation(&object, None)?;
            let request = registry::Create { kind: context.kind, by };
            let created = registry::create(&context.server, &request, object).await?;
            context.reply_written(201, &created)
        }
        None => Err(context.not_found()),
    }
}
