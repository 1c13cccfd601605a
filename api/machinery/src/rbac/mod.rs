//! Who may do what by roles: rules, what they allow, and which rules others cover.

mod defaults;

use serde_json::{Map, Value};

use crate::View;
use crate::selector::FieldRequirement;

pub use defaults::{LABEL, UPDATE, policy};

/// The API group of roles and bindings.
pub const GROUP: &str = "rbac.authorization.k8s.io";
/// Its members may do everything.
pub const MASTERS: &str = "system:masters";

/// What somebody wants to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Action<'a> {
    pub verb: &'a str,
    /// Otherwise it is about [`Self::path`].
    pub is_resource: bool,
    pub group: &'a str,
    pub resource: &'a str,
    pub subresource: &'a str,
    pub namespace: &'a str,
    pub name: &'a str,
    /// What a field selector narrows it down to.
    pub fields: &'a [FieldRequirement],
    pub path: &'a str,
}

/// One rule of a role.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rule {
    pub verbs: Vec<String>,
    pub groups: Vec<String>,
    pub resources: Vec<String>,
    /// Empty for all names.
    pub names: Vec<String>,
    pub urls: Vec<String>,
}

fn has(list: &[String], one: &str) -> bool {
    list.iter().any(|item| item == one)
}

fn has_or_all(list: &[String], one: &str) -> bool {
    list.iter().any(|item| item == "*" || item == one)
}

impl Rule {
    /// Everything, everywhere: what it takes to change an aggregation rule.
    #[must_use]
    pub fn everything() -> [Self; 2] {
        let all = || vec!["*".to_owned()];
        let resources = Self { verbs: all(), groups: all(), resources: all(), ..Self::default() };
        [resources, Self { verbs: all(), urls: all(), ..Self::default() }]
    }

    /// Reads the rules of a role.
    #[must_use]
    pub fn all_of(role: View<'_>) -> Vec<Self> {
        let list = |rule: View<'_>, key: &str| {
            rule.get(key).items().map(|item| item.text().into_owned()).collect()
        };
        role.get("rules")
            .items()
            .map(|rule| Self {
                verbs: list(rule, "verbs"),
                groups: list(rule, "apiGroups"),
                resources: list(rule, "resources"),
                names: list(rule, "resourceNames"),
                urls: list(rule, "nonResourceURLs"),
            })
            .collect()
    }

    /// The rule as roles and reviews write it; what is empty is left out.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut out = Map::new();
        for (key, list) in [
            ("verbs", &self.verbs),
            ("apiGroups", &self.groups),
            ("resources", &self.resources),
            ("resourceNames", &self.names),
            ("nonResourceURLs", &self.urls),
        ] {
            if !list.is_empty() {
                out.insert(key.to_owned(), list.clone().into());
            }
        }
        Value::Object(out)
    }

    /// Whether the rule allows an action.
    #[must_use]
    pub fn allows(&self, action: &Action<'_>) -> bool {
        if !has_or_all(&self.verbs, action.verb) {
            return false;
        }
        if !action.is_resource {
            return self.urls.iter().any(|url| url == "*" || url_covers(url, action.path));
        }
        has_or_all(&self.groups, action.group)
            && self.resources.iter().any(|resource| resource_matches(resource, action))
            && (self.names.is_empty() || has(&self.names, action.name))
    }

    /// One rule for each verb, resource and name.
    fn atoms(&self) -> Vec<Self> {
        let one = |text: &str| vec![text.to_owned()];
        let mut atoms = Vec::new();
        let names: Vec<Vec<String>> = if self.names.is_empty() {
            vec![Vec::new()]
        } else {
            self.names.iter().map(|name| one(name)).collect()
        };
        for group in &self.groups {
            for resource in &self.resources {
                for verb in &self.verbs {
                    atoms.extend(names.iter().map(|names| Self {
                        verbs: one(verb),
                        groups: one(group),
                        resources: one(resource),
                        names: names.clone(),
                        urls: Vec::new(),
                    }));
                }
            }
        }
        for url in &self.urls {
            atoms.extend(self.verbs.iter().map(|verb| Self {
                verbs: one(verb),
                urls: one(url),
                ..Self::default()
            }));
        }
        atoms
    }

    /// Whether this rule allows all that an atom allows.
    fn covers(&self, atom: &Self) -> bool {
        let resources = has(&self.resources, "*")
            || atom.resources.iter().all(|resource| {
                let any = resource.split_once('/').map(|(_, sub)| format!("*/{sub}"));
                has(&self.resources, resource) || any.is_some_and(|any| has(&self.resources, &any))
            });
        atom.verbs.iter().all(|verb| has_or_all(&self.verbs, verb))
            && atom.groups.iter().all(|group| has_or_all(&self.groups, group))
            && resources
            && (self.names.is_empty()
                || !atom.names.is_empty() && atom.names.iter().all(|name| has(&self.names, name)))
            && atom.urls.iter().all(|url| self.urls.iter().any(|own| url_covers(own, url)))
    }

    /// The rule in one line, as refusals show it.
    fn compact(&self) -> String {
        let mut parts = Vec::new();
        for (name, list) in [
            ("APIGroups", &self.groups),
            ("Resources", &self.resources),
            ("NonResourceURLs", &self.urls),
            ("ResourceNames", &self.names),
            ("Verbs", &self.verbs),
        ] {
            if !list.is_empty() {
                let quoted: Vec<_> = list.iter().map(|item| format!("{item:?}")).collect();
                parts.push(format!("{name}:[{}]", quoted.join(" ")));
            }
        }
        format!("{{{}}}", parts.join(", "))
    }
}

fn resource_matches(rule: &str, action: &Action<'_>) -> bool {
    if rule == "*" {
        return true;
    }
    match rule.split_once('/') {
        None => action.subresource.is_empty() && rule == action.resource,
        Some((resource, subresource)) => {
            !action.subresource.is_empty()
                && subresource == action.subresource
                && (resource == "*" || resource == action.resource)
        }
    }
}

/// `/healthz/*` covers `/healthz/etcd`.
fn url_covers(own: &str, other: &str) -> bool {
    own == other || own.ends_with('*') && other.starts_with(own.trim_end_matches('*'))
}

/// What of `wanted` no rule of `held` allows, a line each, sorted; empty when all is covered.
#[must_use]
pub fn missing(held: &[Rule], wanted: &[Rule]) -> Vec<String> {
    let mut lines: Vec<String> = uncovered(held, wanted).iter().map(Rule::compact).collect();
    lines.sort();
    lines.dedup();
    lines
}

/// What of `wanted` no rule of `held` allows.
#[must_use]
pub fn uncovered(held: &[Rule], wanted: &[Rule]) -> Vec<Rule> {
    let mut compact: Vec<Rule> = Vec::new();
    for atom in wanted.iter().flat_map(Rule::atoms) {
        if held.iter().any(|rule| rule.covers(&atom)) {
            continue;
        }
        // Rules that differ only by their verb are shown as one.
        let same = compact.iter_mut().find(|rule| {
            atom.urls.is_empty()
                && (&rule.groups, &rule.resources, &rule.names, &rule.urls)
                    == (&atom.groups, &atom.resources, &atom.names, &atom.urls)
        });
        match same {
            Some(rule) => rule.verbs.extend(atom.verbs),
            None => compact.push(atom),
        }
    }
    compact
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(verbs: &str, groups: &str, resources: &str, names: &str) -> Rule {
        let list = |text: &str| -> Vec<String> {
            text.split(',').filter(|one| !one.is_empty()).map(|one| one.replace('-', "")).collect()
        };
        Rule {
            verbs: list(verbs),
            groups: list(groups),
            resources: list(resources),
            names: list(names),
            urls: Vec::new(),
        }
    }

    fn urls(verbs: &str, urls: &str) -> Rule {
        Rule { urls: vec![urls.to_owned()], ..rule(verbs, "", "", "") }
    }

    fn on<'a>(verb: &'a str, resource: &'a str, subresource: &'a str, name: &'a str) -> Action<'a> {
        Action { verb, is_resource: true, resource, subresource, name, ..Action::default() }
    }

    #[test]
    fn rules_allow_what_upstreams_allow() {
        let pods = rule("get,list", "-", "pods", "");
        assert!(pods.allows(&on("get", "pods", "", "x")));
        assert!(!pods.allows(&on("get", "pods", "log", "x")));
        assert!(!pods.allows(&on("delete", "pods", "", "x")));
        assert!(!pods.allows(&Action { group: "apps", ..on("get", "pods", "", "") }));
        let scale = rule("*", "*", "*/scale", "web");
        assert!(scale.allows(&on("update", "deployments", "scale", "web")));
        assert!(!scale.allows(&on("update", "deployments", "scale", "other")));
        assert!(!scale.allows(&on("update", "deployments", "", "web")));
        assert!(rule("*", "*", "*", "").allows(&on("get", "pods", "log", "x")));
        let path = |path| Action { verb: "get", path, ..Action::default() };
        let health = urls("get", "/healthz/*");
        assert!(health.allows(&path("/healthz/etcd")) && !health.allows(&path("/livez")));
        assert!(!rule("*", "*", "*", "").allows(&path("/healthz")));
    }

    #[test]
    fn what_is_not_held_cannot_be_given() {
        let held = [rule("get,list", "-", "pods,*/status", ""), rule("*", "apps", "*", "a")];
        assert_eq!(missing(&held, &[rule("list,get", "-", "pods,nodes/status", "x")]), [""; 0]);
        assert_eq!(missing(&held, &[rule("get", "apps", "deployments", "a")]), [""; 0]);
        let wanted = [rule("get,watch,delete", "-", "pods,secrets", ""), urls("get", "/x")];
        assert_eq!(
            missing(&held, &wanted),
            [
                "{APIGroups:[\"\"], Resources:[\"pods\"], Verbs:[\"watch\" \"delete\"]}",
                "{APIGroups:[\"\"], Resources:[\"secrets\"], Verbs:[\"get\" \"watch\" \"delete\"]}",
                "{NonResourceURLs:[\"/x\"], Verbs:[\"get\"]}",
            ]
        );
        // All names are more than one name.
        assert_eq!(missing(&held, &[rule("get", "apps", "deployments", "")]).len(), 1);
        assert_eq!(missing(&Rule::everything(), &wanted), [""; 0]);
    }
}
