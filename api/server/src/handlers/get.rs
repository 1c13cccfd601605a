//! GET of one object.
//!
//! Without a revision it must show all that was written before. The caches do once they have come to
//! the store's revision, which requests of one moment ask for together; where they do not come there
//! soon, or hold nothing that can be shown, the store is read itself.

use std::sync::Arc;

use api_machinery::Status;
use http::Response;
use tokio::time::timeout;

use super::Context;
use super::list::parse_revision;
use crate::body::Body;
use crate::encoding;
use crate::limits::GET_FRESH_WAIT;
use crate::watch_cache::Version;

pub(crate) async fn get(context: &Context) -> Result<Response<Body>, Status> {
    let server = &context.server;
    let (namespace, name) = (context.namespace(), &context.info.name);
    let key = server.storage.key(context.kind, namespace, name);
    let revision = parse_revision(context.query.get("resourceVersion").unwrap_or_default());
    let revision = revision.map_err(|error| Status::unexplained(&error.to_string()))?;
    let found = match revision {
        None => match fresh(context, &key).await? {
            Cached::Known(found) => found,
            Cached::Unknown => {
                let raw = server.storage.get_raw(&key).await?;
                let raw = raw.ok_or_else(|| context.not_found())?;
                return context.reply(200, &context.shape.stored(&raw)?.object);
            }
        },
        // Any version will do that is not older than asked.
        Some(revision) => {
            server.caches.wait_for(revision.max(1)).await?;
            let found = context.cache().find(&key);
            context.check_cache()?;
            found?
        }
    };
    let found = found.ok_or_else(|| context.not_found())?;
    match encoding::as_cached(&context.shape, &found, &context.accepted)? {
        Some(response) => Ok(response),
        None => context.reply(200, &context.shape.object_of(&found)?),
    }
}

/// What the caches say of a key.
enum Cached {
    /// This object, or that there is none.
    Known(Option<Arc<Version>>),
    /// They do not say, and the store does.
    Unknown,
}

async fn fresh(context: &Context, key: &str) -> Result<Cached, Status> {
    let server = &context.server;
    // What is sealed may not be readable any more.
    if server.storage.seals() {
        return Ok(Cached::Unknown);
    }
    let revision = server.storage.revision().await?;
    match timeout(GET_FRESH_WAIT, server.caches.wait_for(revision)).await {
        Ok(Ok(())) => {}
        Ok(Err(_)) | Err(_) => return Ok(Cached::Unknown),
    }
    let found = context.cache().find(key);
    match (context.check_cache(), found) {
        (Ok(()), Ok(found)) => Ok(Cached::Known(found)),
        (Err(_), _) | (_, Err(_)) => Ok(Cached::Unknown),
    }
}
