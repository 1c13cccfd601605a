//! Roles and bindings as the caches hold them, put together once per change.

use std::collections::HashMap;
use std::sync::Arc;

use api_machinery::rbac::{Action, GROUP, Rule};
use api_machinery::{ResourceInfo, View, kinds};
use parking_lot::Mutex;

use crate::authn::User;
use crate::watch_cache::{Caches, Filter, Version};

/// How far each of the four caches was when the policy was put together.
type Stamp = [u64; 4];

const PLURALS: [&str; 4] = ["clusterroles", "roles", "clusterrolebindings", "rolebindings"];

/// The policy in force.
#[derive(Debug, Default)]
pub(crate) struct Rbac(Mutex<Option<(Stamp, Arc<Policy>)>>);

impl Rbac {
    /// The policy as the caches are now.
    pub(super) fn policy(&self, caches: &Caches) -> Arc<Policy> {
        let all = PLURALS.map(|plural| caches.of(info(plural)));
        let stamp = all.map(|cache| cache.last_event());
        if let Some((held, policy)) = &*self.0.lock()
            && *held == stamp
        {
            return policy.clone();
        }
        // A change in between is seen with the next request: its stamp is older than the caches.
        let lists = all.map(|cache| cache.list("", &Filter::default(), 0).0);
        let policy = Arc::new(Policy::of(&lists));
        *self.0.lock() = Some((stamp, policy.clone()));
        policy
    }
}

fn info(plural: &str) -> &'static ResourceInfo {
    kinds::find(GROUP, "v1", plural).expect("the kinds table has the four kinds of RBAC")
}

/// Roles by name, and who has them.
#[derive(Debug, Default)]
pub(super) struct Policy {
    /// By namespace, which is empty for cluster roles, and name.
    roles: HashMap<(String, String), Vec<Rule>>,
    /// By namespace, which is empty for cluster-wide ones.
    bindings: HashMap<String, Vec<Binding>>,
}

#[derive(Debug)]
struct Binding {
    name: String,
    namespace: String,
    role_kind: String,
    role: String,
    subjects: Vec<Subject>,
}

#[derive(Debug)]
struct Subject {
    kind: String,
    name: String,
    namespace: String,
}

impl Subject {
    /// `namespace` is the binding's.
    fn is(&self, user: &User, namespace: &str) -> bool {
        match self.kind.as_str() {
            "User" => user.name == self.name,
            "Group" => user.groups.contains(&self.name),
            "ServiceAccount" => {
                let namespace = if self.namespace.is_empty() { namespace } else { &self.namespace };
                let rest = user.name.strip_prefix("system:serviceaccount:");
                let named = rest.and_then(|rest| rest.split_once(':'));
                !namespace.is_empty() && named == Some((namespace, self.name.as_str()))
            }
            _ => false,
        }
    }

    fn describe(&self, namespace: &str) -> String {
        if self.kind != "ServiceAccount" {
            return format!("{} {:?}", self.kind, self.name);
        }
        let namespace = if self.namespace.is_empty() { namespace } else { &self.namespace };
        format!("{} {:?}", self.kind, format!("{}/{namespace}", self.name))
    }
}

impl Binding {
    fn of(object: View<'_>, namespace: &str, name: &str) -> Self {
        let text = |value: View<'_>, key: &str| value.get(key).text().into_owned();
        let role = object.get("roleRef");
        Self {
            name: name.to_owned(),
            namespace: namespace.to_owned(),
            role_kind: text(role, "kind"),
            role: text(role, "name"),
            subjects: object
                .get("subjects")
                .items()
                .map(|subject| Subject {
                    kind: text(subject, "kind"),
                    name: text(subject, "name"),
                    namespace: text(subject, "namespace"),
                })
                .collect(),
        }
    }

    fn describe(&self, subject: &Subject) -> String {
        let (kind, name) = if self.namespace.is_empty() {
            ("ClusterRoleBinding", self.name.clone())
        } else {
            ("RoleBinding", format!("{}/{}", self.name, self.namespace))
        };
        format!(
            "{kind} {name:?} of {} {:?} to {}",
            self.role_kind,
            self.role,
            subject.describe(&self.namespace)
        )
    }
}

impl Policy {
    fn of(lists: &[Vec<Arc<Version>>; 4]) -> Self {
        let mut policy = Self::default();
        let [cluster_roles, roles, cluster_bindings, bindings] = lists;
        for version in cluster_roles.iter().chain(roles) {
            let key = (version.header.namespace().to_owned(), version.header.name().to_owned());
            policy.roles.insert(key, Rule::all_of(View::new(&version.json())));
        }
        for version in cluster_bindings.iter().chain(bindings) {
            let (namespace, name) = (version.header.namespace(), version.header.name());
            let binding = Binding::of(View::new(&version.json()), namespace, name);
            policy.bindings.entry(namespace.to_owned()).or_default().push(binding);
        }
        policy
    }

    /// The rules of a role; the error is upstream's.
    pub(super) fn role(&self, kind: &str, namespace: &str, name: &str) -> Result<&[Rule], String> {
        let namespace = match kind {
            "Role" => namespace,
            "ClusterRole" => "",
            other => return Err(format!("unsupported role reference kind: {other:?}")),
        };
        let found = self.roles.get(&(namespace.to_owned(), name.to_owned()));
        let singular = kind.to_lowercase();
        found.map(Vec::as_slice).ok_or_else(|| format!("{singular}.{GROUP} {name:?} not found"))
    }

    /// Shows every rule that a user has in a namespace, and everything that is wrong on the way,
    /// until `visit` says stop. The first argument describes where the rule comes from.
    fn visit(
        &self,
        user: &User,
        namespace: &str,
        mut visit: impl FnMut(&dyn Fn() -> String, Result<&Rule, String>) -> bool,
    ) {
        let scopes = if namespace.is_empty() { vec![""] } else { vec!["", namespace] };
        for binding in scopes.iter().filter_map(|scope| self.bindings.get(*scope)).flatten() {
            let is_meant = |subject: &&Subject| subject.is(user, &binding.namespace);
            let Some(subject) = binding.subjects.iter().find(is_meant) else { continue };
            let source = || binding.describe(subject);
            match self.role(&binding.role_kind, &binding.namespace, &binding.role) {
                Err(error) => {
                    if !visit(&source, Err(error)) {
                        return;
                    }
                }
                Ok(rules) => {
                    for rule in rules {
                        if !visit(&source, Ok(rule)) {
                            return;
                        }
                    }
                }
            }
        }
    }

    /// Why the user may do it, or (`Err`) what kept the answer from being complete.
    pub(super) fn allows(&self, user: &User, action: &Action<'_>) -> Result<String, String> {
        let (mut allowed, mut errors) = (None, Vec::new());
        self.visit(user, action.namespace, |source, rule| match rule {
            Ok(rule) if rule.allows(action) => {
                allowed = Some(format!("RBAC: allowed by {}", source()));
                false
            }
            Ok(_) => true,
            Err(error) => {
                errors.push(error);
                true
            }
        });
        allowed.ok_or_else(|| match aggregate(&errors) {
            errors if errors.is_empty() => errors,
            errors => format!("RBAC: {errors}"),
        })
    }

    /// Every rule that a user has in a namespace, and what was wrong on the way.
    pub(super) fn rules(&self, user: &User, namespace: &str) -> (Vec<Rule>, String) {
        let (mut rules, mut errors) = (Vec::new(), Vec::new());
        self.visit(user, namespace, |_, rule| {
            match rule {
                Ok(rule) => rules.push(rule.clone()),
                Err(error) => errors.push(error),
            }
            true
        });
        (rules, aggregate(&errors))
    }
}

/// Several errors as Go joins them.
pub(super) fn aggregate(errors: &[String]) -> String {
    let mut unique: Vec<&str> = Vec::new();
    for error in errors {
        if !unique.contains(&error.as_str()) {
            unique.push(error);
        }
    }
    match unique.as_slice() {
        [] => String::new(),
        [one] => (*one).to_owned(),
        many => format!("[{}]", many.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::{Value, json};

    use super::*;

    fn policy() -> Policy {
        let mut policy = Policy::default();
        let mut role = |namespace: &str, name: &str, rules: Value| {
            let bytes = json!({"rules": rules}).to_string();
            let rules = Rule::all_of(View::new(bytes.as_bytes()));
            policy.roles.insert((namespace.to_owned(), name.to_owned()), rules);
        };
        let rule =
            |verb: &str| json!([{"verbs": [verb], "apiGroups": [""], "resources": ["pods"]}]);
        role("", "reader", rule("get"));
        role("a", "writer", rule("update"));
        let mut bind = |namespace: &str, name: &str, kind: &str, subject: Value| {
            let object = json!({"roleRef": {"kind": kind, "name": name}, "subjects": [subject]});
            let bytes = object.to_string();
            let binding = Binding::of(View::new(bytes.as_bytes()), namespace, "b");
            policy.bindings.entry(namespace.to_owned()).or_default().push(binding);
        };
        bind("", "reader", "ClusterRole", json!({"kind": "Group", "name": "dev"}));
        bind("a", "writer", "Role", json!({"kind": "ServiceAccount", "name": "robot"}));
        bind("a", "lost", "Role", json!({"kind": "User", "name": "ann"}));
        policy
    }

    fn user(name: &str, groups: &[&str]) -> User {
        User {
            name: name.to_owned(),
            uid: String::new(),
            groups: groups.iter().map(|group| (*group).to_owned()).collect(),
            extra: BTreeMap::new(),
        }
    }

    #[test]
    fn bindings_give_what_their_roles_allow_where_they_are() {
        let policy = policy();
        let action = |verb, namespace| Action {
            verb,
            is_resource: true,
            resource: "pods",
            namespace,
            ..Action::default()
        };
        let dev = user("bob", &["dev"]);
        let why = policy.allows(&dev, &action("get", "b")).unwrap();
        assert_eq!(
            why,
            "RBAC: allowed by ClusterRoleBinding \"b\" of ClusterRole \"reader\" to Group \"dev\""
        );
        assert_eq!(policy.allows(&dev, &action("update", "a")), Err(String::new()));
        let robot = user("system:serviceaccount:a:robot", &[]);
        let why = policy.allows(&robot, &action("update", "a")).unwrap();
        assert_eq!(
            why,
            "RBAC: allowed by RoleBinding \"b/a\" of Role \"writer\" to ServiceAccount \"robot/a\""
        );
        assert!(policy.allows(&robot, &action("update", "b")).is_err());
        let stranger = user("system:serviceaccount:b:robot", &[]);
        assert!(policy.allows(&stranger, &action("update", "a")).is_err());
        let lost = policy.allows(&user("ann", &[]), &action("get", "a")).unwrap_err();
        assert_eq!(lost, "RBAC: role.rbac.authorization.k8s.io \"lost\" not found");
        assert_eq!(policy.rules(&dev, "a").0.len(), 1);
    }
}
