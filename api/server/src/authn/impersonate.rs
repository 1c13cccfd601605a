//! Acting as somebody else (`kubectl --as`): allowed name by name, group by group.

use std::collections::BTreeMap;

use api_machinery::Status;
use api_machinery::rbac::Action;
use api_machinery::validate::names;
use http::HeaderMap;

use super::{ALL, ANONYMOUS, NOBODY, User, service_account};
use crate::authz;
use crate::request::decode_percent;
use crate::state::Server;

const USER: &str = "impersonate-user";
const GROUP: &str = "impersonate-group";
const UID: &str = "impersonate-uid";
const EXTRA: &str = "impersonate-extra-";

/// What a request wants to be, one by one.
#[derive(Debug, Default, PartialEq, Eq)]
struct Wanted {
    name: String,
    groups: Vec<String>,
    uid: String,
    extra: BTreeMap<String, Vec<String>>,
}

impl Wanted {
    fn of(headers: &HeaderMap) -> Self {
        let all = |name: &str| -> Vec<String> {
            let values = headers.get_all(name).iter();
            values.filter_map(|value| value.to_str().ok()).map(str::to_owned).collect()
        };
        let mut extra: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for name in headers.keys() {
            if let Some(key) = name.as_str().strip_prefix(EXTRA) {
                extra.insert(decode_percent(key, false).into_owned(), all(name.as_str()));
            }
        }
        Self {
            name: all(USER).into_iter().next().unwrap_or_default(),
            groups: all(GROUP),
            uid: all(UID).into_iter().next().unwrap_or_default(),
            extra,
        }
    }
}

/// The user that the request is carried out as; 403 when that is not allowed.
pub(crate) fn impersonated(
    server: &Server,
    user: User,
    headers: &HeaderMap,
) -> Result<User, Status> {
    let wanted = Wanted::of(headers);
    if wanted == Wanted::default() {
        return Ok(user);
    }
    if wanted.name.is_empty() {
        return Err(Status::bad_request(format!(
            "requested {wanted:?} without impersonating a user"
        )));
    }
    let may = |action: Action<'_>| {
        let action = Action { verb: "impersonate", is_resource: true, ..action };
        authz::check(server, &user, &action)
    };
    let account = account(&wanted.name);
    match account {
        Some((namespace, name)) => {
            may(Action { resource: "serviceaccounts", namespace, name, ..Action::default() })?;
        }
        None => may(Action { resource: "users", name: &wanted.name, ..Action::default() })?,
    }
    for name in &wanted.groups {
        may(Action { resource: "groups", name, ..Action::default() })?;
    }
    let group = "authentication.k8s.io";
    for (key, values) in &wanted.extra {
        for name in values {
            let (resource, subresource) = ("userextras", key.as_str());
            may(Action { group, resource, subresource, name, ..Action::default() })?;
        }
    }
    if !wanted.uid.is_empty() {
        may(Action { group, resource: "uids", name: &wanted.uid, ..Action::default() })?;
    }
    Ok(become_one(wanted))
}

/// Namespace and name of a service account's user name.
fn account(user: &str) -> Option<(&str, &str)> {
    let (namespace, name) = user.strip_prefix("system:serviceaccount:")?.split_once(':')?;
    let is_good = names::label_1123(namespace).is_empty() && names::subdomain_1123(name).is_empty();
    is_good.then_some((namespace, name))
}

fn become_one(wanted: Wanted) -> User {
    let mut groups = wanted.groups;
    if let (Some((namespace, _)), true) = (account(&wanted.name), groups.is_empty()) {
        groups = service_account::groups(namespace);
    }
    let has = |group: &str| groups.iter().any(|one| one == group);
    if wanted.name == ANONYMOUS {
        if !has(NOBODY) {
            groups.push(NOBODY.to_owned());
        }
    } else if !has(ALL) && !has(NOBODY) {
        groups.push(ALL.to_owned());
    }
    User { name: wanted.name, uid: wanted.uid, groups, extra: wanted.extra }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_groups_of_somebody_else_are_upstreams() {
        let groups = |name: &str, given: &[&str]| {
            let groups = given.iter().map(|group| (*group).to_owned()).collect();
            become_one(Wanted { name: name.to_owned(), groups, ..Wanted::default() }).groups
        };
        assert_eq!(groups("ann", &[]), [ALL]);
        assert_eq!(groups("ann", &["dev", NOBODY]), ["dev", NOBODY]);
        assert_eq!(groups(ANONYMOUS, &[]), [NOBODY]);
        assert_eq!(
            groups("system:serviceaccount:a:b", &[]),
            ["system:serviceaccounts", "system:serviceaccounts:a", ALL]
        );
        assert_eq!(groups("system:serviceaccount:a:b", &["x"]), ["x", ALL]);
    }
}
