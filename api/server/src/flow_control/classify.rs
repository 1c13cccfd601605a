//! Which flow a request belongs to: the first schema, by precedence, that is about it.

use std::collections::BTreeMap;

use api_machinery::Object;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::defaults::{CATCH_ALL, EXEMPT, levels, schemas};
use super::queues::Limits;
use crate::authn::User;
use crate::request::RequestInfo;

/// All schemas and levels, as requests are held against them.
#[derive(Debug)]
pub(super) struct Plan {
    /// By precedence, then by name.
    schemas: Vec<Schema>,
    pub(super) levels: BTreeMap<String, Level>,
}

#[derive(Debug)]
struct Schema {
    name: String,
    uid: String,
    level: String,
    precedence: i64,
    method: String,
    rules: Value,
}

#[derive(Debug)]
pub(super) struct Level {
    uid: String,
    /// None for a level without limits.
    pub(super) limits: Option<Limits>,
}

/// Where a request belongs.
#[derive(Clone, Debug, Default)]
pub(crate) struct Class {
    pub(super) schema: String,
    pub(super) schema_uid: String,
    pub(super) level: String,
    pub(super) level_uid: String,
    /// The same for all requests of one flow.
    pub(super) flow: u64,
}

fn texts<'a>(rule: &'a Value, field: &str) -> impl Iterator<Item = &'a str> + use<'a> {
    rule[field].as_array().into_iter().flatten().filter_map(Value::as_str)
}

fn has(rule: &Value, field: &str, wanted: &str) -> bool {
    texts(rule, field).any(|one| one == "*" || one == wanted)
}

fn rules<'a>(rule: &'a Value, field: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    rule[field].as_array().into_iter().flatten()
}

fn is_subject(subject: &Value, user: &User) -> bool {
    let named = |kind: &str| subject[kind]["name"].as_str().unwrap_or_default();
    match subject["kind"].as_str().unwrap_or_default() {
        "User" => matches!(named("user"), "*") || named("user") == user.name,
        "Group" => named("group") == "*" || user.groups.iter().any(|group| group == named("group")),
        "ServiceAccount" => {
            let namespace = subject["serviceAccount"]["namespace"].as_str().unwrap_or_default();
            let prefix = format!("system:serviceaccount:{namespace}:");
            let name = user.name.strip_prefix(&prefix);
            name.is_some_and(|name| {
                let wanted = named("serviceAccount");
                wanted == "*" || wanted == name
            })
        }
        _ => false,
    }
}

fn is_about(rule: &Value, info: &RequestInfo) -> bool {
    if !info.is_resource {
        return rules(rule, "nonResourceRules").any(|one| {
            has(one, "verbs", info.verb)
                && texts(one, "nonResourceURLs").any(|url| {
                    let below = url.strip_suffix('*').filter(|prefix| prefix.ends_with('/'));
                    url == "*"
                        || url == info.path
                        || below.is_some_and(|prefix| info.path.starts_with(prefix))
                })
        });
    }
    let resource = if info.subresource.is_empty() {
        info.resource.clone()
    } else {
        format!("{}/{}", info.resource, info.subresource)
    };
    rules(rule, "resourceRules").any(|one| {
        let is_here = if info.namespace.is_empty() {
            one["clusterScope"] == true
        } else {
            has(one, "namespaces", &info.namespace)
        };
        has(one, "verbs", info.verb)
            && has(one, "apiGroups", &info.group)
            && has(one, "resources", &resource)
            && is_here
    })
}

impl Plan {
    /// Of the objects that there are; what must be there and is not is taken from the defaults.
    pub(super) fn new(schemas_held: Vec<Object>, levels_held: Vec<Object>) -> Self {
        let missing = |held: &[Object], all: Vec<Value>| {
            let mandatory = all.into_iter().filter_map(Object::from_value).filter(|one| {
                let is_mandatory = [EXEMPT, CATCH_ALL].contains(&one.name());
                is_mandatory && !held.iter().any(|other| other.name() == one.name())
            });
            mandatory.collect::<Vec<_>>()
        };
        let more_levels = missing(&levels_held, levels());
        let more_schemas = missing(&schemas_held, schemas());
        let levels: BTreeMap<String, Level> = levels_held
            .iter()
            .chain(&more_levels)
            .map(|object| {
                let limits = Limits::of(object);
                (object.name().to_owned(), Level { uid: object.uid().to_owned(), limits })
            })
            .collect();
        let mut schemas: Vec<Schema> = schemas_held
            .iter()
            .chain(&more_schemas)
            .map(Schema::of)
            // Without its level it says nothing.
            .filter(|schema| levels.contains_key(&schema.level))
            .collect();
        schemas.sort_by(|one, other| {
            (one.precedence, &one.name).cmp(&(other.precedence, &other.name))
        });
        Self { schemas, levels }
    }

    pub(super) fn classify(&self, user: &User, info: &RequestInfo) -> Class {
        let found = self.schemas.iter().find(|schema| schema.is_for(user, info));
        let last = || self.schemas.iter().find(|schema| schema.name == CATCH_ALL);
        let Some(schema) = found.or_else(last) else { return Class::default() };
        let flow = match schema.method.as_str() {
            "ByUser" => &user.name,
            "ByNamespace" => &info.namespace,
            _ => "",
        };
        let digest = Sha256::digest(format!("{}\0{flow}", schema.name));
        let bytes = digest.first_chunk::<8>().copied().unwrap_or_default();
        Class {
            schema: schema.name.clone(),
            schema_uid: schema.uid.clone(),
            level: schema.level.clone(),
            level_uid: self
                .levels
                .get(&schema.level)
                .map(|one| one.uid.clone())
                .unwrap_or_default(),
            flow: u64::from_le_bytes(bytes),
        }
    }
}

impl Schema {
    fn of(object: &Object) -> Self {
        let spec = |path: &[&str]| object.text(&[&["spec"], path].concat()).to_owned();
        let precedence = object.at(&["spec", "matchingPrecedence"]).and_then(Value::as_i64);
        Self {
            name: object.name().to_owned(),
            uid: object.uid().to_owned(),
            level: spec(&["priorityLevelConfiguration", "name"]),
            precedence: precedence.unwrap_or(i64::MAX),
            method: spec(&["distinguisherMethod", "type"]),
            rules: object.at(&["spec", "rules"]).cloned().unwrap_or_default(),
        }
    }

    fn is_for(&self, user: &User, info: &RequestInfo) -> bool {
        self.rules.as_array().into_iter().flatten().any(|rule| {
            rules(rule, "subjects").any(|subject| is_subject(subject, user)) && is_about(rule, info)
        })
    }
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;
    use crate::request::Query;

    fn class(method: &Method, path: &str, name: &str, groups: &[&str]) -> Class {
        let objects = |all: Vec<Value>| all.into_iter().filter_map(Object::from_value).collect();
        let plan = Plan::new(objects(schemas()), objects(levels()));
        let groups = groups.iter().map(|group| (*group).to_owned()).collect();
        let user = User { name: name.to_owned(), groups, ..User::default() };
        let info = RequestInfo::parse(method, path, &Query::parse(None));
        plan.classify(&user, &info)
    }

    #[test]
    fn requests_belong_where_upstreams_defaults_put_them() {
        let known = "system:authenticated";
        let lease = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/x";
        let pods = "/api/v1/namespaces/n/pods";
        for (method, path, user, groups, schema, level) in [
            (Method::GET, pods, "admin", vec!["system:masters", known], "exempt", "exempt"),
            (Method::GET, "/livez", "u", vec![known], "probes", "exempt"),
            (Method::GET, "/version", "u", vec![known], "global-default", "global-default"),
            (
                Method::PUT,
                lease,
                "system:kube-scheduler",
                vec![known],
                "system-leader-election",
                "leader-election",
            ),
            (
                Method::GET,
                pods,
                "system:kube-scheduler",
                vec![known],
                "kube-scheduler",
                "workload-high",
            ),
            (
                Method::PATCH,
                "/api/v1/nodes/a/status",
                "system:node:a",
                vec!["system:nodes", known],
                "system-node-high",
                "node-high",
            ),
            (
                Method::GET,
                pods,
                "system:node:a",
                vec!["system:nodes", known],
                "system-nodes",
                "system",
            ),
            (
                Method::GET,
                pods,
                "system:serviceaccount:kube-system:x",
                vec!["system:serviceaccounts", known],
                "kube-system-service-accounts",
                "workload-high",
            ),
            (
                Method::GET,
                pods,
                "system:serviceaccount:n:x",
                vec!["system:serviceaccounts", known],
                "service-accounts",
                "workload-low",
            ),
            (Method::GET, pods, "nobody", vec![], "catch-all", "catch-all"),
        ] {
            let class = class(&method, path, user, &groups);
            assert_eq!(
                (class.schema.as_str(), class.level.as_str()),
                (schema, level),
                "{user} {path}"
            );
        }
        let one = class(&Method::GET, pods, "a", &[known]);
        let same = class(&Method::GET, "/api/v1/namespaces/m/pods", "a", &[known]);
        let other = class(&Method::GET, pods, "b", &[known]);
        assert_eq!(one.flow, same.flow, "a user is a flow");
        assert_ne!(one.flow, other.flow);
    }
}
