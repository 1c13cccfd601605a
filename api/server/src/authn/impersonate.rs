//! Acting as somebody else (`kubectl --as`): allowed name by name, group by group. Who may do so
//! only in some ways, for some requests (`impersonate:` and `impersonate-on:`), is asked for that
//! first; who may do so in any way, last.

use std::collections::{BTreeMap, HashMap};

use api_machinery::Status;
use api_machinery::rbac::{Action, MASTERS};
use api_machinery::validate::names;
use http::HeaderMap;
use parking_lot::Mutex;

use super::{ALL, ANONYMOUS, NOBODY, User, extra_key, service_account};
use crate::authz::{self, Verdict};
use crate::limits::IMPERSONATION_MODES_MAX;
use crate::state::Server;

const USER: &str = "impersonate-user";
const GROUP: &str = "impersonate-group";
const UID: &str = "impersonate-uid";
const EXTRA: &str = "impersonate-extra-";
const API_GROUP: &str = "authentication.k8s.io";
/// So many groups or values are asked for as one, before they are asked for one by one.
const MANY: usize = 4;

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
                extra.insert(extra_key(key), all(name.as_str()));
            }
        }
        Self {
            name: all(USER).into_iter().next().unwrap_or_default(),
            groups: all(GROUP),
            uid: all(UID).into_iter().next().unwrap_or_default(),
            extra,
        }
    }

    fn is_only_a_name(&self) -> bool {
        self.groups.is_empty() && self.uid.is_empty() && self.extra.is_empty()
    }

    /// As Go writes such a thing.
    fn describe(&self) -> String {
        let list = |items: &[String]| {
            let quoted: Vec<String> = items.iter().map(|item| format!("{item:?}")).collect();
            format!("[]string{{{}}}", quoted.join(", "))
        };
        let groups = match self.groups.as_slice() {
            [] => "[]string(nil)".to_owned(),
            groups => list(groups),
        };
        let pairs: Vec<String> =
            self.extra.iter().map(|(key, values)| format!("{key:?}:{}", list(values))).collect();
        let extra = match pairs.as_slice() {
            [] => "map[string][]string(nil)".to_owned(),
            pairs => format!("map[string][]string{{{}}}", pairs.join(", ")),
        };
        format!(
            "&user.DefaultInfo{{Name:{:?}, UID:{:?}, Groups:{groups}, Extra:{extra}}}",
            self.name, self.uid
        )
    }
}

/// A way of acting as somebody else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// A service account acts as the node that its pod is on.
    AssociatedNode,
    ArbitraryNode,
    ServiceAccount,
    UserInfo,
    /// In any way, for any request.
    Legacy,
}

const MODES: [Mode; 5] =
    [Mode::AssociatedNode, Mode::ArbitraryNode, Mode::ServiceAccount, Mode::UserInfo, Mode::Legacy];

impl Mode {
    /// The verb that is asked for, and what stands before the verb of the request itself.
    fn verbs(self) -> (&'static str, &'static str) {
        match self {
            Self::AssociatedNode => {
                ("impersonate:associated-node", "impersonate-on:associated-node:")
            }
            Self::ArbitraryNode => ("impersonate:arbitrary-node", "impersonate-on:arbitrary-node:"),
            Self::ServiceAccount => {
                ("impersonate:serviceaccount", "impersonate-on:serviceaccount:")
            }
            Self::UserInfo => ("impersonate:user-info", "impersonate-on:user-info:"),
            Self::Legacy => ("impersonate", ""),
        }
    }

    /// Whether this way can lead there at all.
    fn applies(self, wanted: &Wanted, asker: &User) -> bool {
        let node = node(&wanted.name);
        match self {
            Self::AssociatedNode => {
                let own = asker.extra.get("authentication.kubernetes.io/node-name");
                let own = own.filter(|values| values.len() == 1).map(|values| values[0].as_str());
                wanted.is_only_a_name()
                    && node.is_some()
                    && account(&asker.name).is_some()
                    && own == node
            }
            Self::ArbitraryNode => wanted.is_only_a_name() && node.is_some(),
            Self::ServiceAccount => wanted.is_only_a_name() && account(&wanted.name).is_some(),
            Self::UserInfo => node.is_none() && account(&wanted.name).is_none(),
            Self::Legacy => true,
        }
    }
}

/// Who was allowed to act in which way last: that way is tried first.
#[derive(Debug, Default)]
pub(crate) struct LastModes(Mutex<HashMap<String, Mode>>);

impl LastModes {
    fn get(&self, name: &str) -> Option<Mode> {
        self.0.lock().get(name).copied()
    }

    fn set(&self, name: &str, mode: Mode) {
        let mut known = self.0.lock();
        if known.len() >= IMPERSONATION_MODES_MAX && !known.contains_key(name) {
            known.clear();
        }
        known.insert(name.to_owned(), mode);
    }
}

/// The user that a request is carried out as.
#[derive(Debug)]
pub(crate) struct Impersonated {
    pub(crate) user: User,
    /// The verb that allowed it, when it was a narrow one.
    pub(crate) constraint: &'static str,
}

/// Who the request is carried out as, if not as who asks; 403 when that is not allowed.
pub(crate) fn impersonated(
    server: &Server,
    asker: &User,
    headers: &HeaderMap,
    request: &Action<'_>,
) -> Result<Option<Impersonated>, Status> {
    let wanted = Wanted::of(headers);
    if wanted == Wanted::default() {
        return Ok(None);
    }
    if wanted.name.is_empty() {
        return Err(Status::bad_request(format!(
            "requested {} without impersonating a user name",
            wanted.describe()
        )));
    }
    let may = |action: &Action<'_>| authz::check(server, asker, action);
    let last = &server.authenticator.last_modes;
    let (user, mode) = decide((&wanted, asker), request, last.get(&asker.name), &may)?;
    last.set(&asker.name, mode);
    let constraint = if mode == Mode::Legacy { "" } else { mode.verbs().0 };
    Ok(Some(Impersonated { user, constraint }))
}

type May<'a> = dyn Fn(&Action<'_>) -> Result<(), Status> + 'a;

/// Tries the ways one after the other; the first refusal is the answer when none leads there.
fn decide(
    (wanted, asker): (&Wanted, &User),
    request: &Action<'_>,
    last: Option<Mode>,
    may: &May<'_>,
) -> Result<(User, Mode), Status> {
    let mut refused = None;
    let others = MODES.into_iter().filter(|mode| Some(*mode) != last);
    for mode in last.into_iter().chain(others) {
        if !mode.applies(wanted, asker) {
            continue;
        }
        match check(mode, (wanted, asker), request, may) {
            Ok(user) => return Ok((user, mode)),
            Err(status) => refused = refused.or(Some(status)),
        }
    }
    Err(refused.unwrap_or_else(|| Status::internal("all impersonation modes failed")))
}

fn check(
    mode: Mode,
    (wanted, asker): (&Wanted, &User),
    request: &Action<'_>,
    may: &May<'_>,
) -> Result<User, Status> {
    let (verb, on) = mode.verbs();
    let is_narrow = mode != Mode::Legacy;
    if is_narrow {
        let verb = format!("{on}{}", request.verb);
        may(&Action { verb: &verb, ..*request })?;
    }
    let ask = Action { verb, is_resource: true, ..Action::default() };
    let own_group = if is_narrow { API_GROUP } else { "" };
    let named = Action { group: own_group, ..ask };
    let (node, account) = (node(&wanted.name).filter(|_| is_narrow), account(&wanted.name));
    match (node, account) {
        (Some(_), _) if mode == Mode::AssociatedNode => {
            may(&Action { resource: "nodes", name: "*", ..named })?;
        }
        (Some(name), _) => may(&Action { resource: "nodes", name, ..named })?,
        (None, Some((namespace, name))) => {
            may(&Action { resource: "serviceaccounts", namespace, name, ..named })?;
        }
        (None, None) => may(&Action { resource: "users", name: &wanted.name, ..named })?,
    }
    if !wanted.uid.is_empty() {
        may(&Action { group: API_GROUP, resource: "uids", name: &wanted.uid, ..ask })?;
    }
    let refuse = |action: Action<'_>, reason: String| {
        Verdict { allowed: false, reason }.or_forbidden(asker, &action)
    };
    let groups = Action { resource: "groups", ..named };
    let is_granted = is_narrow && wanted.groups.len() >= MANY;
    if is_narrow && wanted.groups.iter().any(String::is_empty) {
        refuse(groups, "impersonating the empty string group is not allowed".to_owned())?;
    }
    if is_narrow && wanted.groups.iter().any(|group| group == MASTERS) {
        let why = "impersonating the system:masters group is not allowed".to_owned();
        refuse(Action { name: MASTERS, ..groups }, why)?;
    }
    if !(is_granted && may(&Action { name: "*", ..groups }).is_ok()) {
        for name in &wanted.groups {
            may(&Action { name, ..groups })?;
        }
    }
    let extras = Action { group: API_GROUP, resource: "userextras", ..ask };
    if let Some(why) = wrong_extra(&wanted.extra).filter(|_| is_narrow) {
        refuse(extras, why)?;
    }
    let values = wanted.extra.values().map(Vec::len).sum::<usize>();
    let is_large = is_narrow && (values >= MANY || wanted.extra.len() >= MANY);
    if !(is_large && may(&Action { subresource: "*", name: "*", ..extras }).is_ok()) {
        for (subresource, values) in &wanted.extra {
            for name in values {
                may(&Action { subresource, name, ..extras })?;
            }
        }
    }
    Ok(become_one(wanted, node.is_some()))
}

/// What the narrow ways do not take as extra, in upstream's words.
fn wrong_extra(extra: &BTreeMap<String, Vec<String>>) -> Option<String> {
    let is_path = |path: &str| {
        let allowed =
            |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~%!$&'()*+,;=:".contains(&byte);
        !path.is_empty() && path.bytes().all(allowed)
    };
    for (key, values) in extra {
        if key.is_empty() {
            return Some("impersonating the empty string key in extra is not allowed".to_owned());
        }
        let parts = key.split_once('/');
        let is_good = parts.is_some_and(|(domain, path)| {
            names::subdomain_1123(domain).is_empty() && is_path(path)
        });
        if !is_good {
            return Some(format!(
                "impersonating an invalid key in extra is not allowed: extra.key: Invalid value: {key:?}: must be a domain-prefixed path (such as \"acme.io/foo\")"
            ));
        }
        if *key != key.to_lowercase() {
            return Some(format!(
                "impersonating a non-lowercase key in extra is not allowed: {key:?}"
            ));
        }
        if values.is_empty() {
            return Some("impersonating empty values in extra is not allowed".to_owned());
        }
        if values.iter().any(String::is_empty) {
            let why = "impersonating the empty string value in extra is not allowed";
            return Some(why.to_owned());
        }
    }
    None
}

/// Namespace and name of a service account's user name.
fn account(user: &str) -> Option<(&str, &str)> {
    let (namespace, name) = user.strip_prefix("system:serviceaccount:")?.split_once(':')?;
    let is_good = names::label_1123(namespace).is_empty() && names::subdomain_1123(name).is_empty();
    is_good.then_some((namespace, name))
}

/// The node of a node's user name.
fn node(user: &str) -> Option<&str> {
    let name = user.strip_prefix("system:node:")?;
    names::subdomain_1123(name).is_empty().then_some(name)
}

/// `is_node`: the groups of nodes are known, and nobody has to ask for them.
fn become_one(wanted: &Wanted, is_node: bool) -> User {
    let mut groups = wanted.groups.clone();
    if is_node {
        groups = vec!["system:nodes".to_owned()];
    } else if let (Some((namespace, _)), true) = (account(&wanted.name), groups.is_empty()) {
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
    let Wanted { name, uid, extra, .. } = wanted;
    User { name: name.clone(), uid: uid.clone(), groups, extra: extra.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(name: &str, groups: &[&str]) -> Wanted {
        let groups = groups.iter().map(|group| (*group).to_owned()).collect();
        Wanted { name: name.to_owned(), groups, ..Wanted::default() }
    }

    #[test]
    fn the_groups_of_somebody_else_are_upstreams() {
        let groups = |name: &str, given: &[&str]| become_one(&wanted(name, given), false).groups;
        assert_eq!(groups("ann", &[]), [ALL]);
        assert_eq!(groups("ann", &["dev", NOBODY]), ["dev", NOBODY]);
        assert_eq!(groups(ANONYMOUS, &[]), [NOBODY]);
        assert_eq!(
            groups("system:serviceaccount:a:b", &[]),
            ["system:serviceaccounts", "system:serviceaccounts:a", ALL]
        );
        assert_eq!(groups("system:serviceaccount:a:b", &["x"]), ["x", ALL]);
        let node = become_one(&wanted("system:node:n1", &[]), true);
        assert_eq!(node.groups, ["system:nodes", ALL]);
    }

    #[test]
    fn what_is_wanted_without_a_name_is_told_as_go_tells_it() {
        assert_eq!(
            wanted("", &["admin"]).describe(),
            "&user.DefaultInfo{Name:\"\", UID:\"\", Groups:[]string{\"admin\"}, Extra:map[string][]string(nil)}"
        );
        let extra = [("a".to_owned(), vec!["b".to_owned(), "c".to_owned()])].into();
        assert_eq!(
            Wanted { extra, ..Wanted::default() }.describe(),
            "&user.DefaultInfo{Name:\"\", UID:\"\", Groups:[]string(nil), Extra:map[string][]string{\"a\":[]string{\"b\", \"c\"}}}"
        );
    }

    /// What comes of it for somebody who may do what these lines say: `VERB GROUP/RESOURCE NAME`.
    fn outcome(allowed: &[&str], wanted: &Wanted, last: Option<Mode>) -> String {
        let asker = User {
            name: "system:serviceaccount:a:agent".to_owned(),
            extra: [("authentication.kubernetes.io/node-name".to_owned(), vec!["n1".to_owned()])]
                .into(),
            ..User::default()
        };
        let may = |action: &Action<'_>| {
            let Action { verb, group, resource, name, .. } = action;
            let line = format!("{verb} {group}/{resource} {name}");
            if allowed.contains(&line.trim_end()) {
                return Ok(());
            }
            Err(Status::bad_request(line.trim_end()))
        };
        let request =
            Action { verb: "list", is_resource: true, resource: "pods", ..Action::default() };
        match decide((wanted, &asker), &request, last, &may) {
            Ok((user, mode)) => format!("{mode:?} {}", user.groups.join(",")),
            Err(status) => status.message,
        }
    }

    #[test]
    fn the_narrow_ways_are_tried_before_the_wide_one() {
        let on = "impersonate-on:user-info:list /pods";
        let users = "impersonate:user-info authentication.k8s.io/users ann";
        let ann = wanted("ann", &[]);
        assert_eq!(outcome(&[], &ann, None), on);
        assert_eq!(outcome(&[], &ann, Some(Mode::Legacy)), "impersonate /users ann");
        assert_eq!(outcome(&[on], &ann, None), users);
        assert_eq!(outcome(&[on, users], &ann, None), format!("UserInfo {ALL}"));
        assert_eq!(outcome(&["impersonate /users ann"], &ann, None), format!("Legacy {ALL}"));
        let groups = wanted("ann", &["g", "system:masters"]);
        let refused = outcome(&[on, users], &groups, None);
        assert!(refused.ends_with("impersonating the system:masters group is not allowed"));

        // A node is reached through one's own, through any, and as a user.
        let node = wanted("system:node:n1", &[]);
        let own = [
            "impersonate-on:associated-node:list /pods",
            "impersonate:associated-node authentication.k8s.io/nodes *",
        ];
        assert_eq!(outcome(&own, &node, None), format!("AssociatedNode system:nodes,{ALL}"));
        let other = wanted("system:node:n2", &[]);
        assert_eq!(outcome(&own, &other, None), "impersonate-on:arbitrary-node:list /pods");
        let any = [
            "impersonate-on:arbitrary-node:list /pods",
            "impersonate:arbitrary-node authentication.k8s.io/nodes n2",
        ];
        assert_eq!(outcome(&any, &other, None), format!("ArbitraryNode system:nodes,{ALL}"));
        let legacy = ["impersonate /users system:node:n2"];
        assert_eq!(outcome(&legacy, &other, None), format!("Legacy {ALL}"));
        let account = wanted("system:serviceaccount:b:c", &[]);
        let narrow = [
            "impersonate-on:serviceaccount:list /pods",
            "impersonate:serviceaccount authentication.k8s.io/serviceaccounts c",
        ];
        assert!(outcome(&narrow, &account, None).starts_with("ServiceAccount "));
    }

    #[test]
    fn many_groups_can_be_had_as_one() {
        let many = wanted("ann", &["a", "b", "c", "d"]);
        let mut allowed = vec![
            "impersonate-on:user-info:list /pods",
            "impersonate:user-info authentication.k8s.io/users ann",
            "impersonate:user-info authentication.k8s.io/groups *",
        ];
        assert!(outcome(&allowed, &many, None).starts_with("UserInfo "));
        let few = wanted("ann", &["a"]);
        let refused = "impersonate:user-info authentication.k8s.io/groups a";
        assert_eq!(outcome(&allowed, &few, None), refused);
        let extra = [("plain".to_owned(), vec!["v".to_owned()])].into();
        let odd = Wanted { extra, ..wanted("ann", &[]) };
        assert!(outcome(&allowed, &odd, None).contains("must be a domain-prefixed path"));
        allowed.push("impersonate:user-info authentication.k8s.io/userextras v");
        let extra = [("acme.io/x".to_owned(), vec!["v".to_owned()])].into();
        let fine = Wanted { extra, ..wanted("ann", &[]) };
        assert!(outcome(&allowed, &fine, None).starts_with("UserInfo "));
    }
}
