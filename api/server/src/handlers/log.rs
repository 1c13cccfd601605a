//! GET pods/NAME/log: what a container wrote, streamed from its node.

use api_machinery::field::{Error, Path};
use api_machinery::status::Grouped;
use api_machinery::{Object, Status, kinds};
use http::header::{self, HeaderValue};
use http::{Response, StatusCode};
use serde_json::Value;

use super::Context;
use super::list::number;
use crate::body::Body;
use crate::kubelet;
use crate::request::{Query, encode_percent};

/// Options that the node agent knows; `insecureSkipTLSVerifyBackend` is for us.
const PASSED: [&str; 7] =
    ["follow", "previous", "tailLines", "sinceSeconds", "sinceTime", "timestamps", "limitBytes"];

pub(crate) async fn log(context: &Context) -> Result<Response<Body>, Status> {
    let server = &context.server;
    let errors = wrong_options(&context.query)?;
    if !errors.is_empty() {
        let kind = Grouped::new("", "PodLogOptions");
        return Err(Status::invalid(&kind, &context.info.name, &errors));
    }
    let found = server.storage.get(context.kind, context.namespace(), &context.info.name).await?;
    let pod = found.ok_or_else(|| context.not_found())?.object;
    let container = container(&pod, context.query.get("container").unwrap_or_default())?;
    let node_name = pod.text(&["spec", "nodeName"]);
    if node_name.is_empty() {
        let mut nothing = Response::new(Body::full(""));
        *nothing.status_mut() = StatusCode::NO_CONTENT;
        return Ok(nothing);
    }
    let nodes = kinds::find("", "v1", "nodes").ok_or_else(Status::no_such_path)?;
    let node = server.storage.get(nodes, "", node_name).await?;
    let node = node.ok_or_else(|| Status::not_found(&nodes.group_resource(), node_name))?.object;
    let (host, port) = kubelet::address(&node).ok_or_else(|| {
        Status::internal(&format!(
            "no preferred addresses found; known addresses: []: node {node_name:?}"
        ))
    })?;
    let options: Vec<String> = context
        .query
        .pairs()
        .iter()
        .filter(|(key, _)| PASSED.contains(&key.as_str()))
        .map(|(key, value)| format!("{key}={}", encode_percent(value)))
        .collect();
    let mut path = format!(
        "/containerLogs/{}/{}/{}",
        encode_percent(pod.namespace()),
        encode_percent(pod.name()),
        encode_percent(&container)
    );
    if !options.is_empty() {
        path = format!("{path}?{}", options.join("&"));
    }
    let answer = server.kubelets.get(&host, port, &path).await?;
    let mut response = Response::new(Body::Proxied(answer.into_body()));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    Ok(response)
}

/// What cannot be asked, whatever the pod is.
fn wrong_options(query: &Query) -> Result<Vec<Error>, Status> {
    let mut errors = Vec::new();
    let least = [
        ("tailLines", 0, "must be greater than or equal to 0"),
        ("limitBytes", 1, "must be greater than 0"),
    ];
    for (name, least, why) in least {
        if let Some(number) = number(query, name)?.filter(|number| *number < least) {
            errors.push(Error::invalid(&Path::new(name), number, why));
        }
    }
    let seconds = number(query, "sinceSeconds")?;
    if seconds.is_some() && query.non_empty("sinceTime").is_some() {
        let why = "at most one of `sinceTime` or `sinceSeconds` may be specified";
        errors.push(Error::forbidden(&Path::new("[]"), why));
    } else if let Some(seconds) = seconds.filter(|seconds| *seconds < 1) {
        let why = "must be greater than 0";
        errors.push(Error::invalid(&Path::new("sinceSeconds"), seconds, why));
    }
    // Streams apart from each other are behind a gate that is closed.
    if query.get("stream").is_some() {
        errors.push(Error::forbidden(&Path::new("stream"), "may not be specified"));
    }
    Ok(errors)
}

fn names(pod: &Object, list: &str) -> Vec<String> {
    let containers = pod.at(&["spec", list]).and_then(Value::as_array);
    containers
        .into_iter()
        .flatten()
        .filter_map(|one| one["name"].as_str())
        .map(str::to_owned)
        .collect()
}

/// The container that is meant; upstream's 400 when that is not clear.
fn container(pod: &Object, asked: &str) -> Result<String, Status> {
    let (containers, init) = (names(pod, "containers"), names(pod, "initContainers"));
    let ephemeral = names(pod, "ephemeralContainers");
    if !asked.is_empty() {
        let known =
            [&containers, &init, &ephemeral].iter().any(|list| list.iter().any(|one| one == asked));
        if known {
            return Ok(asked.to_owned());
        }
        return Err(Status::bad_request(format!(
            "container {asked} is not valid for pod {}",
            pod.name()
        )));
    }
    if let ([only], true, true) = (containers.as_slice(), init.is_empty(), ephemeral.is_empty()) {
        return Ok(only.clone());
    }
    let mut message = format!("a container name must be specified for pod {}", pod.name());
    if !containers.is_empty() {
        message.push_str(&format!(", choose one of: [{}]", containers.join(" ")));
    }
    if !init.is_empty() {
        message.push_str(&format!(" or one of the init containers: [{}]", init.join(" ")));
    }
    if !ephemeral.is_empty() {
        message
            .push_str(&format!(" or one of the ephemeral containers: [{}]", ephemeral.join(" ")));
    }
    Err(Status::bad_request(message))
}
