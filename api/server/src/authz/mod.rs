//! Who may do what: the authorizers in the order of the command line; the first that allows decides.

mod escalation;
mod node;
mod rbac;
mod signer;

use api_machinery::Status;
use api_machinery::rbac::{Action, MASTERS, Rule};
use api_machinery::status::Grouped;

use crate::authn::User;
use crate::limits::{NODE_GRAPH_LOOKS, NODE_GRAPH_WAIT};
use crate::request::RequestInfo;
use crate::state::Server;

pub(crate) use escalation::check as check_escalation;
pub(crate) use node::{Nodes, identity as node_identity, run as follow_nodes};
pub(crate) use rbac::Rbac;
pub(crate) use signer::check as check_signer;

/// One way to authorize requests. Members of `system:masters` may do everything before any of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Everyone may do everything.
    AlwaysAllow,
    /// Nobody may do anything.
    AlwaysDeny,
    /// Node agents may do what they and the pods of their node need.
    Node,
    /// What Roles, ClusterRoles and their bindings say.
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
    let allowed = |reason: String| Verdict { allowed: true, reason };
    if user.groups.iter().any(|group| group == MASTERS) {
        return allowed(String::new());
    }
    let mut reasons = Vec::new();
    for mode in &server.config.authorization {
        let outcome = match mode {
            Mode::AlwaysAllow => Ok(String::new()),
            Mode::AlwaysDeny => Err("Everything is forbidden.".to_owned()),
            Mode::Node => server.nodes.allows(user, action).map(|()| String::new()),
            Mode::Rbac => server.rbac.policy(&server.caches).allows(user, action),
        };
        match outcome {
            Ok(reason) => return allowed(reason),
            Err(reason) if reason.is_empty() => {}
            Err(reason) => reasons.push(reason),
        }
    }
    Verdict { allowed: false, reason: reasons.join("\n") }
}

/// Decides about a request. A node that was told of a pod by another server may ask here for what the
/// pod needs before these caches know of it: then they are waited for.
pub(crate) async fn decide(server: &Server, user: &User, action: &Action<'_>) -> Verdict {
    let mut verdict = authorize(server, user, action);
    let may_be_late = |verdict: &Verdict| {
        !verdict.allowed
            && verdict.reason.contains(node::UNRELATED)
            && node_identity(user).is_some()
    };
    if may_be_late(&verdict) && server.caches.wait_until_fresh(&server.storage).await.is_ok() {
        for _ in 0..NODE_GRAPH_LOOKS {
            verdict = authorize(server, user, action);
            if !may_be_late(&verdict) {
                break;
            }
            // The graph follows the caches at once, on another thread.
            tokio::time::sleep(NODE_GRAPH_WAIT).await;
        }
    }
    verdict
}

/// Upstream's 403 unless it is allowed.
pub(crate) fn check(server: &Server, user: &User, action: &Action<'_>) -> Result<(), Status> {
    authorize(server, user, action).or_forbidden(user, action)
}

impl Verdict {
    /// Upstream's 403 unless it is allowed.
    pub(crate) fn or_forbidden(&self, user: &User, action: &Action<'_>) -> Result<(), Status> {
        if self.allowed { Ok(()) } else { Err(forbidden(user, action, &self.reason)) }
    }
}

fn forbidden(user: &User, action: &Action<'_>, reason: &str) -> Status {
    let resource = if action.is_resource {
        Grouped::new(action.group, action.resource)
    } else {
        Grouped::default()
    };
    // As upstream: nothing that could be taken for HTML.
    let escaped = refusal(user, action).replace('&', "&amp;").replace('<', "&lt;");
    let mut why = escaped.replace('>', "&gt;");
    if !reason.is_empty() {
        why = format!("{why}: {reason}");
    }
    Status::forbidden(&resource, action.name, &why)
}

/// What a request wants to do. A list that selects one name is about that name.
pub(crate) fn action(request: &RequestInfo) -> Action<'_> {
    let is_one = request.name.is_empty() && matches!(request.verb, "list" | "watch");
    Action {
        verb: request.verb,
        is_resource: request.is_resource,
        group: &request.group,
        resource: &request.resource,
        subresource: &request.subresource,
        namespace: &request.namespace,
        name: if is_one { request.selected_name() } else { &request.name },
        fields: &request.fields,
        path: &request.path,
    }
}

/// The rules that a user has in a namespace, as far as they can be told.
#[derive(Debug, Default)]
pub(crate) struct Rules {
    pub(crate) rules: Vec<Rule>,
    /// Whether some authorizer cannot tell its rules.
    pub(crate) incomplete: bool,
    /// What kept the list from being complete.
    pub(crate) error: String,
}

/// Every rule that a user has in a namespace.
pub(crate) fn rules(server: &Server, user: &User, namespace: &str) -> Rules {
    let mut all = Rules::default();
    let mut errors = Vec::new();
    for mode in &server.config.authorization {
        match mode {
            Mode::AlwaysAllow => all.rules.extend(Rule::everything()),
            Mode::AlwaysDeny => {}
            Mode::Node if node::identity(user).is_some() => {
                all.incomplete = true;
                errors.push("node authorizer does not support user rule resolution".to_owned());
            }
            Mode::Node => {}
            Mode::Rbac => {
                let (rules, error) = server.rbac.policy(&server.caches).rules(user, namespace);
                all.rules.extend(rules);
                errors.extend((!error.is_empty()).then_some(error));
            }
        }
    }
    all.error = rbac::aggregate(&errors);
    all
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
