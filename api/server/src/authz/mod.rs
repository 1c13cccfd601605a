//! Who may do what: everybody everything, or what roles and bindings say.

mod escalation;
mod rbac;

use api_machinery::Status;
use api_machinery::rbac::{Action, MASTERS, Rule};
use api_machinery::status::Grouped;

use crate::authn::User;
use crate::request::RequestInfo;
use crate::state::Server;

pub(crate) use escalation::check as check_escalation;
pub(crate) use rbac::Rbac;

/// How requests are authorized.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Everyone may do everything.
    AlwaysAllow,
    /// What Roles, ClusterRoles and their bindings say; `system:masters` may do everything.
    Rbac,
}

/// What was decided, and why as far as there is something to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) allowed: bool,
    pub(crate) reason: String,
}

/// Decides.
pub(crate) fn authorize(server: &Server, user: &User, action: &Action<'_>) -> Verdict {
    if server.config.authorization == Mode::AlwaysAllow
        || user.groups.iter().any(|group| group == MASTERS)
    {
        return Verdict { allowed: true, reason: String::new() };
    }
    match server.rbac.policy(&server.caches).allows(user, action) {
        Ok(reason) => Verdict { allowed: true, reason },
        Err(reason) => Verdict { allowed: false, reason },
    }
}

/// Upstream's 403 unless it is allowed.
pub(crate) fn check(server: &Server, user: &User, action: &Action<'_>) -> Result<(), Status> {
    let verdict = authorize(server, user, action);
    if verdict.allowed {
        return Ok(());
    }
    let resource = if action.is_resource {
        Grouped::new(action.group, action.resource)
    } else {
        Grouped::default()
    };
    let mut why = refusal(user, action);
    if !verdict.reason.is_empty() {
        why = format!("{why}: {}", verdict.reason);
    }
    Err(Status::forbidden(&resource, action.name, &why))
}

/// What a request wants to do.
pub(crate) fn action(request: &RequestInfo) -> Action<'_> {
    Action {
        verb: request.verb,
        is_resource: request.is_resource,
        group: &request.group,
        resource: &request.resource,
        subresource: &request.subresource,
        namespace: &request.namespace,
        name: &request.name,
        path: &request.path,
    }
}

/// Every rule that a user has in a namespace, and what kept the list from being complete.
pub(crate) fn rules(server: &Server, user: &User, namespace: &str) -> (Vec<Rule>, String) {
    match server.config.authorization {
        Mode::AlwaysAllow => (Rule::everything().to_vec(), String::new()),
        Mode::Rbac => server.rbac.policy(&server.caches).rules(user, namespace),
    }
}

/// Upstream's sentence for a refused request, the part after `is forbidden: `.
fn refusal(user: &User, action: &Action<'_>) -> String {
    if !action.is_resource {
        return format!("User {:?} cannot {} path {:?}", user.name, action.verb, action.path);
    }
    let mut resource = action.resource.to_owned();
    if !action.subresource.is_empty() {
        resource = format!("{resource}/{}", action.subresource);
    }
    let scope = if action.namespace.is_empty() {
        "at the cluster scope".to_owned()
    } else {
        format!("in the namespace {:?}", action.namespace)
    };
    format!(
        "User {:?} cannot {} resource {resource:?} in API group {:?} {scope}",
        user.name, action.verb, action.group
    )
}
