//! The audit policy: which requests are written down, and how much of each (U1).

use std::collections::BTreeMap;

use api_machinery::validate::names;
use serde::Deserialize;
use serde_json::Value;

use crate::authn::User;
use crate::request::RequestInfo;

/// How much of a request is written down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub(super) enum Level {
    /// Nothing.
    #[default]
    None,
    /// Who, what and when.
    Metadata,
    /// The object of the request too.
    Request,
    /// The object of the answer too.
    RequestResponse,
}

impl Level {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::None => "None",
            Self::Metadata => "Metadata",
            Self::Request => "Request",
            Self::RequestResponse => "RequestResponse",
        }
    }
}

/// When an event is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(super) enum Stage {
    /// Before anything was done.
    RequestReceived,
    /// The headers of a long answer are there.
    ResponseStarted,
    /// The answer is complete.
    ResponseComplete,
    /// The handler panicked.
    Panic,
}

impl Stage {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::RequestReceived => "RequestReceived",
            Self::ResponseStarted => "ResponseStarted",
            Self::ResponseComplete => "ResponseComplete",
            Self::Panic => "Panic",
        }
    }
}

type Unknown = BTreeMap<String, Value>;

/// A policy.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Policy {
    #[serde(default)]
    api_version: String,
    #[serde(default)]
    kind: String,
    #[serde(default)]
    rules: Vec<Rule>,
    #[serde(default)]
    omit_stages: Vec<Stage>,
    #[serde(default)]
    omit_managed_fields: bool,
    #[serde(default, rename = "metadata")]
    _metadata: Value,
    #[serde(flatten)]
    unknown: Unknown,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Rule {
    level: Option<Level>,
    #[serde(default)]
    users: Vec<String>,
    #[serde(default)]
    user_groups: Vec<String>,
    #[serde(default)]
    verbs: Vec<String>,
    #[serde(default)]
    resources: Vec<Resources>,
    #[serde(default)]
    namespaces: Vec<String>,
    #[serde(default, rename = "nonResourceURLs")]
    urls: Vec<String>,
    #[serde(default)]
    omit_stages: Vec<Stage>,
    omit_managed_fields: Option<bool>,
    #[serde(flatten)]
    unknown: Unknown,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Resources {
    #[serde(default)]
    group: String,
    #[serde(default)]
    resources: Vec<String>,
    #[serde(default)]
    resource_names: Vec<String>,
    #[serde(flatten)]
    unknown: Unknown,
}

/// What a policy says about one request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) level: Level,
    pub(super) omit_stages: Vec<Stage>,
    pub(super) omit_managed_fields: bool,
}

fn has(list: &[String], one: &str) -> bool {
    list.iter().any(|item| item == one)
}

impl Policy {
    /// Reads a policy, YAML or JSON; the error says what is wrong with it.
    ///
    /// # Errors
    /// It is no policy of `audit.k8s.io/v1`, or has a rule that cannot be.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(bytes).map_err(|_| "the file is not UTF-8".to_owned())?;
        let policy: Self = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
        if policy.api_version != "audit.k8s.io/v1" || policy.kind != "Policy" {
            return Err(format!(
                "unknown group version field {}, Kind={} in policy",
                policy.api_version, policy.kind
            ));
        }
        for (index, rule) in policy.rules.iter().enumerate() {
            rule.check().map_err(|why| format!("rules[{index}].{why}"))?;
        }
        if policy.rules.is_empty() {
            return Err("loaded illegal policy with 0 rules".to_owned());
        }
        let of_resources = |rule: &Rule| rule.resources.iter().any(|one| !one.unknown.is_empty());
        let is_strange = |rule: &Rule| !rule.unknown.is_empty() || of_resources(rule);
        if !policy.unknown.is_empty() || policy.rules.iter().any(is_strange) {
            tracing::warn!("the audit policy has fields that nobody knows; they are ignored");
        }
        Ok(policy)
    }

    /// U1. Nobody is a user when authentication failed.
    pub(super) fn verdict(&self, user: Option<&User>, info: &RequestInfo, name: &str) -> Verdict {
        let Some(rule) = self.rules.iter().find(|rule| rule.matches(user, info, name)) else {
            return Verdict::default();
        };
        let mut omit_stages = self.omit_stages.clone();
        omit_stages.extend(&rule.omit_stages);
        Verdict {
            level: rule.level.unwrap_or_default(),
            omit_stages,
            omit_managed_fields: rule.omit_managed_fields.unwrap_or(self.omit_managed_fields),
        }
    }
}

impl Rule {
    fn check(&self) -> Result<(), String> {
        if self.level.is_none() {
            return Err("level: Required value".to_owned());
        }
        for (index, url) in self.urls.iter().enumerate().filter(|(_, url)| *url != "*") {
            let wrong =
                |why: &str| Err(format!("nonResourceURLs[{index}]: Invalid value: {url:?}: {why}"));
            if !url.starts_with('/') {
                return wrong("non-resource URL rules must begin with a '/' character");
            }
            if url.find('*').is_some_and(|at| at + 1 < url.len()) {
                return wrong(
                    "non-resource URL wildcards '*' must be the final character of the rule",
                );
            }
        }
        for one in &self.resources {
            let group = &one.group;
            if !matches!(group.as_str(), "" | "*") && !names::subdomain_1123(group).is_empty() {
                return Err(format!("resources.group: Invalid value: {group:?}"));
            }
            if !one.resource_names.is_empty() && one.resources.is_empty() {
                let why = "using resourceNames requires at least one resource";
                return Err(format!("resources.resourceNames: Invalid value: {why}"));
            }
        }
        let is_of_resources = !self.resources.is_empty() || !self.namespaces.is_empty();
        if !self.urls.is_empty() && is_of_resources {
            let why = "rules cannot apply to both regular resources and non-resource URLs";
            return Err(format!("nonResourceURLs: Invalid value: {why}"));
        }
        Ok(())
    }

    fn matches(&self, user: Option<&User>, info: &RequestInfo, name: &str) -> bool {
        let is_user = || user.is_some_and(|user| has(&self.users, &user.name));
        let is_member =
            || user.is_some_and(|user| user.groups.iter().any(|one| has(&self.user_groups, one)));
        if !self.users.is_empty() && !is_user()
            || !self.user_groups.is_empty() && !is_member()
            || !self.verbs.is_empty() && !has(&self.verbs, info.verb)
        {
            return false;
        }
        if !self.namespaces.is_empty() || !self.resources.is_empty() {
            return info.is_resource
                && (self.namespaces.is_empty() || has(&self.namespaces, &info.namespace))
                && (self.resources.is_empty()
                    || self.resources.iter().any(|one| one.matches(info, name)));
        }
        let covers = |url: &String| {
            url == "*"
                || *url == info.path
                || url.ends_with('*') && info.path.starts_with(url.trim_end_matches('*'))
        };
        self.urls.is_empty() || !info.is_resource && self.urls.iter().any(covers)
    }
}

impl Resources {
    fn matches(&self, info: &RequestInfo, name: &str) -> bool {
        if self.group != "*" && self.group != info.group {
            return false;
        }
        if self.resources.is_empty() {
            return true;
        }
        let (resource, subresource) = (info.resource.as_str(), info.subresource.as_str());
        let is_named = self.resource_names.is_empty() || has(&self.resource_names, name);
        let covers = |rule: &String| match rule.split_once('/') {
            None => rule == "*" || subresource.is_empty() && rule == resource,
            Some((left, "*")) if left == resource => true,
            Some((left, right)) => {
                !subresource.is_empty() && right == subresource && (left == "*" || left == resource)
            }
        };
        is_named && self.resources.iter().any(covers)
    }
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;
    use crate::request::Query;

    const POLICY: &str = r#"
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
omitManagedFields: true
rules:
- {level: None, users: ["system:kube-proxy"], verbs: [watch]}
- {level: None, nonResourceURLs: ["/healthz*", "/version"]}
- {level: Metadata, resources: [{group: "", resources: [secrets, "pods/*", "*/scale"]}]}
- {level: Request, resources: [{group: "", resources: [configmaps], resourceNames: [c]}]}
- level: Request
  namespaces: [kube-system]
  omitStages: [Panic]
  omitManagedFields: false
- {level: RequestResponse, resources: [{group: apps}]}
- {level: Metadata, userGroups: [dev]}
"#;

    fn level(user: &str, method: &Method, path: &str) -> Level {
        let policy = Policy::parse(POLICY.as_bytes()).unwrap();
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let info = RequestInfo::parse(method, path, &Query::parse(Some(query)));
        let groups = if user == "ann" { vec!["dev".to_owned()] } else { Vec::new() };
        let user = User { name: user.to_owned(), groups, ..User::default() };
        policy.verdict(Some(&user), &info, &info.name).level
    }

    #[test]
    fn the_first_rule_that_fits_decides() {
        use Level::{Metadata, None, Request, RequestResponse};
        let get = &Method::GET;
        for (user, path, wanted) in [
            ("system:kube-proxy", "/api/v1/services?watch=1", None),
            ("bob", "/healthz/etcd", None),
            ("bob", "/version", None),
            ("bob", "/api", None),
            ("ann", "/api", Metadata),
            ("bob", "/api/v1/namespaces/a/secrets/s", Metadata),
            ("bob", "/api/v1/namespaces/a/pods/p/log", Metadata),
            ("bob", "/api/v1/namespaces/a/pods/p", Metadata),
            ("bob", "/api/v1/namespaces/a/replicationcontrollers/r/scale", Metadata),
            ("bob", "/api/v1/namespaces/a/configmaps/c", Request),
            ("bob", "/api/v1/namespaces/a/configmaps/d", None),
            ("bob", "/api/v1/namespaces/kube-system/configmaps/d", Request),
            ("bob", "/apis/apps/v1/namespaces/a/deployments/d/scale", RequestResponse),
            ("ann", "/api/v1/nodes", Metadata),
        ] {
            assert_eq!(level(user, get, path), wanted, "{user} {path}");
        }
    }

    #[test]
    fn stages_add_up_and_managed_fields_are_the_rules_to_say() {
        let policy = Policy::parse(POLICY.as_bytes()).unwrap();
        let path = "/api/v1/namespaces/kube-system/configmaps/d";
        let info = RequestInfo::parse(&Method::GET, path, &Query::default());
        let verdict = policy.verdict(None, &info, "d");
        assert_eq!(verdict.omit_stages, [Stage::RequestReceived, Stage::Panic]);
        assert!(!verdict.omit_managed_fields);
    }

    #[test]
    fn a_policy_that_cannot_be_is_refused() {
        let refused = |rules: &str| {
            let text = format!("apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: {rules}\n");
            Policy::parse(text.as_bytes()).unwrap_err()
        };
        assert_eq!(refused("[]"), "loaded illegal policy with 0 rules");
        assert_eq!(refused("[{users: [a]}]"), "rules[0].level: Required value");
        for rules in [
            "[{level: Loud}]",
            "[{level: None, nonResourceURLs: [healthz]}]",
            "[{level: None, nonResourceURLs: [\"/a*b\"]}]",
            "[{level: None, nonResourceURLs: [\"/a\"], namespaces: [b]}]",
            "[{level: None, resources: [{group: rbac/v1}]}]",
            "[{level: None, resources: [{group: a, resourceNames: [b]}]}]",
            "[{level: None, omitStages: [Later]}]",
        ] {
            refused(rules);
        }
        assert!(Policy::parse(b"apiVersion: v1\nkind: Policy\nrules: [{level: None}]").is_err());
    }
}
