//! Whether a policy or a binding is about a request.

use api_machinery::selector::Labels;
use api_machinery::{Object, ResourceInfo, kinds};
use serde_json::Value;

use super::inputs::Surroundings;

/// `matchConstraints` of a policy or `matchResources` of a binding.
#[derive(Debug)]
pub(super) struct Constraints {
    namespaces: Labels,
    objects: Labels,
    excluded: Vec<Rule>,
    rules: Vec<Rule>,
    /// Other versions of the resource count too.
    equivalent: bool,
}

#[derive(Debug)]
struct Rule {
    operations: Vec<String>,
    groups: Vec<String>,
    versions: Vec<String>,
    resources: Vec<String>,
    scope: String,
    names: Vec<String>,
}

/// Upstream's notion of any.
fn has(list: &[String], wanted: &str) -> bool {
    list.iter().any(|one| one == "*" || one == wanted)
}

impl Rule {
    fn of(rule: &Value) -> Self {
        let list = |key: &str| -> Vec<String> {
            let items = rule[key].as_array().into_iter().flatten();
            items.filter_map(Value::as_str).map(str::to_owned).collect()
        };
        Self {
            operations: list("operations"),
            groups: list("apiGroups"),
            versions: list("apiVersions"),
            resources: list("resources"),
            scope: rule["scope"].as_str().unwrap_or("*").to_owned(),
            names: list("resourceNames"),
        }
    }

    fn matches(&self, asked: &Surroundings<'_>, kind: &ResourceInfo) -> bool {
        let is_cluster_wide = asked.namespace.is_empty() || asked.is_of_namespaces();
        let in_scope = match self.scope.as_str() {
            "Namespaced" => !is_cluster_wide,
            "Cluster" => is_cluster_wide,
            _ => true,
        };
        let subresource = asked.attributes.subresource;
        let is_resource = |one: &String| {
            let (resource, below) = one.split_once('/').unwrap_or((one, ""));
            (resource == "*" || resource == kind.plural) && (below == "*" || below == subresource)
        };
        in_scope
            && has(&self.operations, asked.operation())
            && has(&self.groups, kind.group)
            && has(&self.versions, kind.version)
            && self.resources.iter().any(is_resource)
            && (self.names.is_empty()
                || self.names.iter().any(|name| name == asked.attributes.name))
    }
}

impl Constraints {
    pub(super) fn of(value: &Value) -> Self {
        let rules = |key: &str| {
            value[key].as_array().into_iter().flatten().map(Rule::of).collect::<Vec<_>>()
        };
        Self {
            namespaces: Labels::from_object(&value["namespaceSelector"]),
            objects: Labels::from_object(&value["objectSelector"]),
            excluded: rules("excludeResourceRules"),
            rules: rules("resourceRules"),
            equivalent: value["matchPolicy"] == "Equivalent",
        }
    }

    /// The resource that the request is taken for, when it is meant.
    pub(super) fn matches(
        &self,
        asked: &Surroundings<'_>,
        object: Option<&Object>,
    ) -> Result<Option<&'static ResourceInfo>, String> {
        let of_namespace = self.matches_namespace(asked, object);
        if of_namespace == Ok(false) {
            return Ok(None);
        }
        if !self.matches_object(object) && !self.matches_object(asked.attributes.old) {
            return Ok(None);
        }
        if self.find(&self.excluded, asked).is_some() {
            return Ok(None);
        }
        let found = match self.rules.as_slice() {
            [] => Some(asked.attributes.kind),
            rules => self.find(rules, asked),
        };
        // Namespaces that are not there are told only to those who would be meant.
        found.map(|kind| of_namespace.map(|_| kind)).transpose()
    }

    fn matches_namespace(
        &self,
        asked: &Surroundings<'_>,
        object: Option<&Object>,
    ) -> Result<bool, String> {
        if self.namespaces.is_empty() || asked.namespace.is_empty() && !asked.is_of_namespaces() {
            return Ok(true);
        }
        if asked.is_of_namespaces() && asked.attributes.subresource.is_empty() {
            let own = object.or(asked.attributes.old);
            return Ok(own.is_some_and(|own| self.namespaces.matches_map(&own.labels())));
        }
        match &asked.namespace_object {
            Some(namespace) => Ok(self.namespaces.matches_map(&namespace.labels())),
            None => Err(format!("namespaces {:?} not found", asked.namespace)),
        }
    }

    fn matches_object(&self, object: Option<&Object>) -> bool {
        self.objects.is_empty()
            || object.is_some_and(|object| self.objects.matches_map(&object.labels()))
    }

    fn find(&self, rules: &[Rule], asked: &Surroundings<'_>) -> Option<&'static ResourceInfo> {
        let own = asked.attributes.kind;
        if rules.iter().any(|rule| rule.matches(asked, own)) {
            return Some(own);
        }
        if !self.equivalent {
            return None;
        }
        let is_equivalent = |kind: &&ResourceInfo| {
            kind.is_stored()
                && kind.storage_prefix == own.storage_prefix
                && (kind.group, kind.version) != (own.group, own.version)
        };
        let mut others = kinds::all().iter().filter(is_equivalent);
        others.find(|kind| rules.iter().any(|rule| rule.matches(asked, kind)))
    }
}
