//! From what a request is about to its handler.

use std::sync::Arc;

use api_machinery::Status;
use http::Response;
use parking_lot::Mutex;

use crate::admission::Notes;
use crate::body::{self, Body};
use crate::custom::Shape;
use crate::discovery;
use crate::encoding::{self, Accepted, Offer};
use crate::gate;
use crate::handlers::{self, Context, Subresource};
use crate::pipeline::Admitted;
use crate::state::Server;

/// Runs the handler of a request.
pub(crate) async fn route(
    server: Arc<Server>,
    request: Admitted,
) -> Result<Response<Body>, Status> {
    if !request.info.is_resource {
        return outside(&server, &request).await;
    }
    let info = &request.info;
    // `POST bindings` is the older spelling of `POST pods/NAME/binding`.
    let is_binding = info.group.is_empty() && info.resource == "bindings" && info.verb == "create";
    let plural = if is_binding { "pods".to_owned() } else { info.resource.clone() };
    if let Some(status) = handlers::unserved(&server, info).await {
        return Err(status);
    }
    let Some(shape) = Shape::find(&server, &info.group, &info.version, &plural) else {
        if info.group.is_empty() && info.resource == "bindings" {
            return Err(gate::method_not_allowed());
        }
        // Groups of this server have a router, others have none.
        let is_own = info.group.is_empty() || api_machinery::discovery::has_group(&info.group);
        return if is_own { Err(Status::no_such_path()) } else { Ok(gate::no_page()) };
    };
    gate::check(shape.info, info, &request.headers)?;
    let (context, body) = context(server, request, shape).await?;
    let outcome = if is_binding {
        handlers::binding(&context, &body).await
    } else {
        resource(&context, &body).await
    };
    Ok(context.finish(outcome))
}

async fn resource(context: &Context, body: &[u8]) -> Result<Response<Body>, Status> {
    let (kind, info) = (context.kind, &context.info);
    if !kind.namespaced && !info.namespace.is_empty() && kind.plural != "namespaces" {
        return Err(Status::no_such_path());
    }
    let not_allowed = || Status::method_not_allowed(&kind.group_resource(), info.verb);
    if !info.subresource.is_empty() {
        let known = kind.subresource(&info.subresource).ok_or_else(|| match kind.is_custom() {
            true => Status::not_found(&kind.group_resource(), &info.name),
            false => Status::no_such_path(),
        })?;
        if !known.verbs.contains(&info.verb) {
            return Err(not_allowed());
        }
        return subresource(context, body).await;
    }
    if !kind.verbs.contains(&info.verb) {
        return Err(not_allowed());
    }
    if kind.namespaced && info.namespace.is_empty() && !matches!(info.verb, "list" | "watch") {
        // A definition knows no such path; a built-in kind knows it for other methods.
        return Err(if kind.is_custom() { Status::no_such_path() } else { not_allowed() });
    }
    match info.verb {
        "get" if !kind.is_stored() => handlers::get_component(context).await,
        "list" if !kind.is_stored() => handlers::list_components(context).await,
        "get" => handlers::get(context).await,
        "list" => handlers::list(context).await,
        "watch" => handlers::watch(context).await,
        "create" if !kind.is_stored() => handlers::review(context, body).await,
        "create" if info.name.is_empty() => handlers::create(context, body).await,
        "update" => handlers::update(context, body, Subresource::None).await,
        "patch" => handlers::patch(context, body, Subresource::None).await,
        "delete" => handlers::delete(context, body).await,
        "deletecollection" => handlers::delete_many(context, body).await,
        _ => Err(not_allowed()),
    }
}

async fn subresource(context: &Context, body: &[u8]) -> Result<Response<Body>, Status> {
    let info = &context.info;
    let of_pod = match info.subresource.as_str() {
        "ephemeralcontainers" => Some(Subresource::EphemeralContainers),
        "resize" => Some(Subresource::Resize),
        _ => None,
    };
    if let Some(of_pod) = of_pod {
        return match info.verb {
            "get" => handlers::get(context).await,
            "update" => handlers::update(context, body, of_pod).await,
            _ => handlers::patch(context, body, of_pod).await,
        };
    }
    match (info.subresource.as_str(), info.verb) {
        ("status" | "approval", "get") => handlers::get(context).await,
        ("status", "update") => handlers::update(context, body, Subresource::Status).await,
        ("status", "patch") => handlers::patch(context, body, Subresource::Status).await,
        ("finalize", "update") => handlers::update(context, body, Subresource::Finalize).await,
        ("approval", "update") => handlers::update(context, body, Subresource::Approval).await,
        ("approval", "patch") => handlers::patch(context, body, Subresource::Approval).await,
        ("scale", "get") => handlers::get_scale(context).await,
        ("scale", "update") => handlers::update_scale(context, body).await,
        ("scale", "patch") => handlers::patch_scale(context, body).await,
        ("binding", "create") => handlers::binding(context, body).await,
        ("eviction", "create") => handlers::eviction(context, body).await,
        ("token", "create") => handlers::token(context, body).await,
        ("log", "get") => handlers::log(context).await,
        (_, verb) => Err(Status::method_not_allowed(&context.kind.group_resource(), verb)),
    }
}

async fn context(
    server: Arc<Server>,
    request: Admitted,
    shape: Shape,
) -> Result<(Context, bytes::Bytes), Status> {
    let Admitted { info, query, headers, body, user, trail } = request;
    let kind = shape.info;
    let offer = if info.verb == "watch" { Offer::Watch } else { Offer::Document };
    // Logs are plain text, whatever the client accepts.
    let accepted = match encoding::negotiate_kind(&headers, &query, offer, kind.is_custom()) {
        Err(_) if info.subresource == "log" => Accepted::JSON,
        negotiated => negotiated?,
    };
    let body = if info.is_mutating() { body::collect(body).await? } else { bytes::Bytes::new() };
    trail.asked(&body, &headers);
    let (warnings, notes) = (Mutex::default(), Notes::of(&query));
    let context =
        Context { server, user, info, query, headers, kind, shape, accepted, warnings, notes };
    Ok((context, body))
}

async fn outside(server: &Arc<Server>, request: &Admitted) -> Result<Response<Body>, Status> {
    let Admitted { info, query, headers, .. } = request;
    if let Some(answer) = handlers::time(info, query) {
        return answer;
    }
    let path = info.path.trim_end_matches('/');
    let parts: Vec<&str> = path.split('/').skip(1).collect();
    if let Some(check @ ("healthz" | "livez" | "readyz")) = parts.first().copied() {
        // Upstream answers any method here.
        return Ok(handlers::health(server, check, &info.path, query).await);
    }
    gate::check_document(&parts, info, headers)?;
    match parts.as_slice() {
        ["version"] => Ok(handlers::version()),
        ["metrics"] => handlers::metrics(server).await,
        [".well-known", "openid-configuration"] => {
            let tokens = &server.authenticator.service_accounts;
            handlers::published(tokens.openid_configuration(&server.address), "application/json")
        }
        ["openid", "v1", "jwks"] => {
            let tokens = &server.authenticator.service_accounts;
            handlers::published(tokens.published_keys(), "application/jwk-set+json")
        }
        ["openapi", ..] => {
            // Documents are large and made when they are asked for: not on a thread that serves
            // others.
            let (server, path) = (server.clone(), path.to_owned());
            let (query, headers) = (query.clone(), headers.clone());
            let made = tokio::task::spawn_blocking(move || {
                let parts: Vec<&str> = path.split('/').skip(1).collect();
                discovery::serve(&server, &parts, &query, &headers)
            });
            made.await.map_err(|error| Status::internal(&error.to_string()))?
        }
        _ => {
            let is_own = match parts.as_slice() {
                ["api", ..] => true,
                ["apis", group, ..] => api_machinery::discovery::has_group(group),
                _ => false,
            };
            match discovery::serve(server, &parts, query, headers) {
                Err(status) if status.code == 404 && !is_own => Ok(gate::no_page()),
                served => served,
            }
        }
    }
}
