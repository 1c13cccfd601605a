//! What plugins ask about other objects: the caches first, then the store for what is newer.

use std::sync::Arc;

use api_machinery::{Object, ResourceInfo, Status, View, header, kinds};

use crate::state::Server;
use crate::storage;
use crate::watch_cache::{Filter, Version};

fn info(group: &str, plural: &str) -> Result<&'static ResourceInfo, Status> {
    kinds::find(group, "v1", plural).ok_or_else(Status::no_such_path)
}

/// One object as the caches have it, without its managed fields: no plugin asks who wrote it.
pub(super) fn cached(
    server: &Server,
    (group, plural): (&str, &str),
    (namespace, name): (&str, &str),
) -> Result<Option<Object>, Status> {
    let info = info(group, plural)?;
    let key = server.storage.key(info, namespace, name);
    let found = server.caches.of(info).find(&key)?;
    let read = |version: Arc<Version>| {
        let json = version.json();
        match header::without_managed_fields(View::new(&json)) {
            Some(object) => Ok(object),
            None => storage::parse(&json),
        }
    };
    found.map(read).transpose()
}

/// One object; one that the caches do not know yet is looked for in the store.
pub(super) async fn find(
    server: &Server,
    of: (&str, &str),
    (namespace, name): (&str, &str),
) -> Result<Option<Object>, Status> {
    if name.is_empty() {
        return Ok(None);
    }
    if let Some(object) = cached(server, of, (namespace, name))? {
        return Ok(Some(object));
    }
    let stored = server.storage.get(info(of.0, of.1)?, namespace, name).await?;
    Ok(stored.map(|stored| stored.object))
}

/// All objects of a kind in the caches, or those of one namespace, in the order of their keys.
pub(crate) fn list(
    server: &Server,
    (group, plural): (&str, &str),
    namespace: &str,
) -> Result<Vec<Arc<Version>>, Status> {
    let info = info(group, plural)?;
    let prefix = server.storage.prefix(info, namespace);
    let cache = server.caches.of(info);
    Ok(cache.list_whole(&prefix, &Filter::default(), server.caches.revision())?.0)
}

/// The class that is marked as the default: of several the newest, of those the first by name.
pub(super) fn default_class(
    server: &Server,
    of: (&str, &str),
    marks: &[&str],
) -> Result<Option<String>, Status> {
    let classes = list(server, of, "")?;
    let classes = classes.iter().filter_map(|class| {
        let json = class.json();
        let metadata = View::new(&json).get("metadata");
        let annotations = metadata.get("annotations");
        let is_default = marks.iter().any(|mark| annotations.get(mark).is("true"));
        let created = || metadata.get("creationTimestamp").text().into_owned();
        is_default.then(|| (created(), class.header.name()))
    });
    // The times are RFC 3339 in UTC with seconds: they sort as text.
    let newest = classes.max_by(|(a, one), (b, other)| a.cmp(b).then(other.cmp(one)));
    Ok(newest.map(|(_, name)| name.to_owned()))
}
