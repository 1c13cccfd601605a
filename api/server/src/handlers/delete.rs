//! DELETE of one object or of a collection.

use std::sync::Arc;

use api_machinery::decode::Expected;
use api_machinery::{Object, Status, status};
use http::Response;
use serde_json::Value;

use super::Context;
use super::list::{filter, read};
use crate::body::Body;
use crate::encoding;
use crate::registry::{self, DeleteOptions, Deleted, Fields, PropagationPolicy};
use crate::watch_cache::Version;

/// Kinds whose immediate deletion answers with the object, as upstream's storages are set.
const RETURN_OBJECT: [&str; 4] = ["Namespace", "Pod", "Service", "ServiceAccount"];

/// Options from the body, else from the query.
pub(super) fn options(context: &Context, body: &[u8]) -> Result<DeleteOptions, Status> {
    let mut options = DeleteOptions { dry_run: context.dry_run()?, ..DeleteOptions::default() };
    if body.is_empty() {
        let query = &context.query;
        if let Some(text) = query.non_empty("gracePeriodSeconds") {
            let seconds = text.parse().map_err(|_| {
                Status::bad_request(format!("strconv.ParseInt: parsing {text:?}: invalid syntax"))
            })?;
            options.grace_seconds = Some(seconds);
        }
        if let Some(text) = query.non_empty("propagationPolicy") {
            options.propagation = Some(policy(text)?);
        } else if query.get("orphanDependents").is_some() {
            options.propagation = Some(orphaning(query.flag("orphanDependents")));
        }
        return Ok(options);
    }
    let expected = Expected { api_version: "v1", kind: "DeleteOptions" };
    let object = context.decode(body, expected)?;
    read_options(&object, &mut options)?;
    Ok(options)
}

/// Fills options from a decoded DeleteOptions.
pub(super) fn read_options(object: &Object, options: &mut DeleteOptions) -> Result<(), Status> {
    options.grace_seconds = object.at(&["gracePeriodSeconds"]).and_then(Value::as_i64);
    let text = object.text(&["propagationPolicy"]);
    let orphan = object.at(&["orphanDependents"]).and_then(Value::as_bool);
    options.propagation = match (text, orphan) {
        ("", None) => None,
        ("", Some(orphan)) => Some(orphaning(orphan)),
        (text, _) => Some(policy(text)?),
    };
    let text = |path: &[&str]| {
        let text = object.text(path);
        (!text.is_empty()).then(|| text.to_owned())
    };
    options.uid = text(&["preconditions", "uid"]);
    options.resource_version = text(&["preconditions", "resourceVersion"]);
    if let Some(Value::Array(values)) = object.at(&["dryRun"]) {
        options.dry_run |= values.iter().any(|value| value == "All");
    }
    Ok(())
}

fn orphaning(orphan: bool) -> PropagationPolicy {
    if orphan { PropagationPolicy::Orphan } else { PropagationPolicy::Background }
}

fn policy(text: &str) -> Result<PropagationPolicy, Status> {
    match text {
        "Foreground" => Ok(PropagationPolicy::Foreground),
        "Background" => Ok(PropagationPolicy::Background),
        "Orphan" => Ok(PropagationPolicy::Orphan),
        _ => Err(Status::unprocessable(&format!(
            "DeleteOptions.meta.k8s.io \"\" is invalid: propagationPolicy: Invalid value: {text:?}: must be one of \"Foreground\", \"Background\", \"Orphan\" or nil"
        ))),
    }
}

pub(crate) async fn delete(context: &Context, body: &[u8]) -> Result<Response<Body>, Status> {
    let options = options(context, body)?;
    let (namespace, name) = (context.namespace(), &context.info.name);
    let by = context.by(Fields::OWN, options.dry_run);
    let deleted =
        registry::delete(&context.server, context.kind, (namespace, name), &options, by).await?;
    match deleted {
        Deleted::Marked(object) => context.reply(200, &object),
        Deleted::Gone(object) if RETURN_OBJECT.contains(&context.kind.kind) => {
            context.reply(200, &object)
        }
        Deleted::Gone(object) => {
            let resource = context.kind.group_resource();
            let tree = status::deleted(&resource, object.name(), object.uid());
            encoding::value(200, &tree, &context.accepted)
        }
    }
}

/// Deletes what a list with the same selectors shows; answers with that list.
pub(crate) async fn delete_many(context: &Context, body: &[u8]) -> Result<Response<Body>, Status> {
    let options = options(context, body)?;
    let filter = filter(context)?;
    let (items, meta) = read(context, &filter).await?;
    let by = context.by(Fields::OWN, options.dry_run);
    let mut deleted: Vec<Arc<Version>> = Vec::new();
    for item in items {
        let at = (item.header.namespace.as_str(), item.header.name.as_str());
        match registry::delete(&context.server, context.kind, at, &options, by).await {
            Ok(_) => deleted.push(item),
            // Somebody else was faster.
            Err(status) if status.code == 404 => {}
            Err(status) => return Err(status),
        }
    }
    encoding::list(&context.shape, &meta, deleted, &context.accepted)
}
