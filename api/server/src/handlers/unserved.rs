//! Subresources that upstream has and nobody here serves yet: a clear 501 instead of a puzzling 404.

use api_machinery::{Status, kinds};
use http::Method;

use crate::gate;
use crate::request::RequestInfo;
use crate::state::Server;

/// Resource, subresource, and what it is for.
const UNSERVED: [(&str, &str, &str); 6] = [
    ("pods", "exec", "running commands in containers"),
    ("pods", "attach", "attaching to containers"),
    ("pods", "portforward", "forwarding ports to pods"),
    ("pods", "proxy", "the proxy to pods"),
    ("services", "proxy", "the proxy to services"),
    ("nodes", "proxy", "the proxy to nodes"),
];

/// Why a request about such a subresource fails; `None` for any other.
pub(crate) async fn unserved(server: &Server, info: &RequestInfo) -> Option<Status> {
    let (plural, subresource) = (info.resource.as_str(), info.subresource.as_str());
    let known = UNSERVED.iter().find(|(of, name, _)| (*of, *name) == (plural, subresource));
    let (_, _, purpose) = known.filter(|_| info.group.is_empty() && info.version == "v1")?;
    let is_allowed = matches!(info.verb, "get" | "create") && info.method != Method::HEAD;
    if subresource != "proxy" && !is_allowed {
        return Some(gate::method_not_allowed());
    }
    let kind = kinds::find("", "v1", plural)?;
    // What does not exist is the first thing to say. Proxies take `scheme:name:port`.
    if !info.name.contains(':') {
        let namespace = if kind.namespaced { info.namespace.as_str() } else { "" };
        match server.storage.get(kind, namespace, &info.name).await {
            Ok(None) => return Some(Status::not_found(&kind.group_resource(), &info.name)),
            Err(status) => return Some(status),
            Ok(Some(_)) => {}
        }
    }
    Some(Status::not_implemented(&format!(
        "{plural}/{subresource} is not implemented: {purpose} is not possible with this server yet"
    )))
}
