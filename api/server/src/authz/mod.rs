//! Who may do what. RBAC knows only `system:masters` so far; everyone else gets upstream's 403.

use crate::authn::User;
use crate::request::RequestInfo;

/// How requests are authorized.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Everyone may do everything.
    AlwaysAllow,
    /// The group `system:masters` may do everything, everyone may read health and version.
    MastersOnly,
}

/// Paths that anybody may read (upstream's role `system:public-info-viewer`).
const PUBLIC_PATHS: [&str; 5] = ["/healthz", "/livez", "/readyz", "/version", "/version/"];

/// Whether `user` may do what `request` says.
pub(crate) fn allowed(mode: Mode, user: &User, request: &RequestInfo) -> bool {
    let public = !request.is_resource
        && (request.verb == "get" || request.verb == "head")
        && PUBLIC_PATHS.contains(&request.path.as_str());
    match mode {
        Mode::AlwaysAllow => true,
        Mode::MastersOnly => public || user.groups.iter().any(|group| group == "system:masters"),
    }
}

/// Upstream's sentence for a refused request, the part after `is forbidden: `.
pub(crate) fn refusal(user: &User, request: &RequestInfo) -> String {
    if !request.is_resource {
        return format!("User {:?} cannot {} path {:?}", user.name, request.verb, request.path);
    }
    let mut resource = request.resource.clone();
    if !request.subresource.is_empty() {
        resource = format!("{resource}/{}", request.subresource);
    }
    let scope = if request.namespace.is_empty() {
        "at the cluster scope".to_owned()
    } else {
        format!("in the namespace {:?}", request.namespace)
    };
    format!(
        "User {:?} cannot {} resource {resource:?} in API group {:?} {scope}",
        user.name, request.verb, request.group
    )
}
