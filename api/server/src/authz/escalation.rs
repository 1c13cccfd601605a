//! Nobody gives what they do not have: roles and bindings are written only by those who hold all
//! that they give, or who may `escalate` or `bind`.

use api_machinery::rbac::{self, Action, GROUP, MASTERS, Rule};
use api_machinery::{Object, ResourceInfo, Status, View};

use super::authorize;
use crate::authn::User;
use crate::state::Server;

/// Checks a role or binding that a user wants to write; `old` is what it replaces.
pub(crate) fn check(
    server: &Server,
    user: &User,
    info: &ResourceInfo,
    (new, old): (&Object, Option<&Object>),
) -> Result<(), Status> {
    let is_master = user.groups.iter().any(|group| group == MASTERS);
    if info.group != GROUP || is_master {
        return Ok(());
    }
    // What only helps the object to go gives nobody anything.
    if old.is_some_and(|old| changes_only_owners(new, old)) {
        return Ok(());
    }
    if info.kind.ends_with("Binding") {
        binding(server, user, info, new)
    } else {
        role(server, user, info, (new, old))
    }
}

fn changes_only_owners(new: &Object, old: &Object) -> bool {
    let bare = |object: &Object| {
        let mut bare = object.clone();
        for field in ["ownerReferences", "finalizers", "managedFields", "resourceVersion"] {
            bare.remove(&["metadata", field]);
        }
        bare
    };
    bare(new) == bare(old)
}

fn may(server: &Server, user: &User, action: Action<'_>) -> bool {
    let action = Action { is_resource: true, group: GROUP, ..action };
    authorize(server, user, &action).allowed
}

fn role(
    server: &Server,
    user: &User,
    info: &ResourceInfo,
    (new, old): (&Object, Option<&Object>),
) -> Result<(), Status> {
    let (namespace, name) = (new.namespace(), if old.is_some() { new.name() } else { "" });
    let (verb, resource) = ("escalate", info.plural);
    if may(server, user, Action { verb, resource, namespace, name, ..Action::default() }) {
        return Ok(());
    }
    let json = new.to_json();
    confirm(server, user, info, (new, &Rule::all_of(View::new(&json))))?;
    let has_aggregation = |object: &Object| {
        let selectors = object.at(&["aggregationRule", "clusterRoleSelectors"]);
        selectors.and_then(|list| list.as_array()).is_some_and(|list| !list.is_empty())
    };
    if has_aggregation(new) || old.is_some_and(has_aggregation) {
        let why = "must have cluster-admin privileges to use the aggregationRule";
        confirm(server, user, info, (new, &Rule::everything()))
            .map_err(|_| Status::forbidden(&info.group_resource(), new.name(), why))?;
    }
    Ok(())
}

fn binding(server: &Server, user: &User, info: &ResourceInfo, new: &Object) -> Result<(), Status> {
    let kind = new.text(&["roleRef", "kind"]);
    let (namespace, name) = (new.namespace(), new.text(&["roleRef", "name"]));
    let resource = match kind {
        "ClusterRole" => "clusterroles",
        "Role" => "roles",
        // Validation tells what is wrong with it.
        _ => return Ok(()),
    };
    let verb = "bind";
    if may(server, user, Action { verb, resource, namespace, name, ..Action::default() }) {
        return Ok(());
    }
    let policy = server.rbac.policy(&server.caches);
    let missing = |_| Status::not_found(&info.group_resource(), name);
    let rules = policy.role(kind, namespace, name).map_err(missing)?;
    confirm(server, user, info, (new, rules))
}

fn confirm(
    server: &Server,
    user: &User,
    info: &ResourceInfo,
    (object, wanted): (&Object, &[Rule]),
) -> Result<(), Status> {
    // Only roles count here, whatever else lets the user do things.
    let (held, errors) = server.rbac.policy(&server.caches).rules(user, object.namespace());
    let missing = rbac::missing(&held, wanted);
    if missing.is_empty() {
        return Ok(());
    }
    let quoted: Vec<_> = user.groups.iter().map(|group| format!("{group:?}")).collect();
    let mut why = format!(
        "user {:?} (groups=[{}]) is attempting to grant RBAC permissions not currently held:\n{}",
        user.name,
        quoted.join(" "),
        missing.join("\n")
    );
    if !errors.is_empty() {
        // Upstream looks them up in another way here, which calls them by their plural.
        let errors = errors.replace(&format!("role.{GROUP} "), &format!("roles.{GROUP} "));
        why.push_str(&format!("; resolution errors: [{errors}]"));
    }
    Err(Status::forbidden(&info.group_resource(), object.name(), &why))
}
