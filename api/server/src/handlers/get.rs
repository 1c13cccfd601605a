//! GET of one object.

use api_machinery::Status;
use http::Response;

use super::Context;
use super::list::parse_revision;
use crate::body::Body;
use crate::encoding;

pub(crate) async fn get(context: &Context) -> Result<Response<Body>, Status> {
    let server = &context.server;
    let (namespace, name) = (context.namespace(), &context.info.name);
    let revision = parse_revision(context.query.get("resourceVersion").unwrap_or_default())?;
    let object = match revision {
        None => {
            let key = server.storage.key(context.kind, namespace, name);
            let raw = server.storage.get_raw(&key).await?.ok_or_else(|| context.not_found())?;
            if let Some(response) = encoding::as_stored(&context.shape, &raw, &context.accepted) {
                return Ok(response);
            }
            context.shape.stored(&raw)?.object
        }
        // Any version will do that is not older than asked.
        Some(revision) => {
            server.caches.wait_for(revision.max(1)).await?;
            let key = server.storage.key(context.kind, namespace, name);
            let found = context.cache().find(&key);
            context.check_cache()?;
            let found = found?;
            context.shape.object_of(&*found.ok_or_else(|| context.not_found())?)?
        }
    };
    context.reply(200, &object)
}
