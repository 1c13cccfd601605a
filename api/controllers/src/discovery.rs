//! Which kinds the server has, asked anew each time: custom kinds come and go.

use kube::{Client, core::discovery::v2::APIGroupDiscovery, discovery::ApiResource};

/// One kind in the version that the server prefers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Kind {
    /// How to reach it.
    pub resource: ApiResource,
    /// In namespaces, or for the whole cluster.
    pub namespaced: bool,
    /// What can be done with it.
    pub verbs: Vec<String>,
}

impl Kind {
    /// True when the server offers every one of these verbs.
    #[must_use]
    pub fn can(&self, verbs: &[&str]) -> bool {
        verbs.iter().all(|verb| self.verbs.iter().any(|known| known == verb))
    }
}

/// All kinds, and what failed: a broken aggregated API must not hide the others.
#[derive(Debug, Default)]
pub struct Found {
    /// Kinds without subresources.
    pub kinds: Vec<Kind>,
    /// `group/version: reason` for each group that did not answer.
    pub failures: Vec<String>,
}

/// Asks the server: two requests, whatever the number of groups.
///
/// # Errors
/// When the server cannot say which groups there are.
pub async fn discover(client: &Client) -> Result<Found, kube::Error> {
    let core = client.list_core_api_versions_aggregated().await?;
    let named = client.list_api_groups_aggregated().await?;
    let mut found = Found::default();
    core.items.into_iter().chain(named.items).for_each(|group| found.add(group));
    Ok(found)
}

impl Found {
    /// Adds the kinds of the version that the server prefers, which it names first.
    fn add(&mut self, group: APIGroupDiscovery) {
        let name = group.metadata.and_then(|metadata| metadata.name).unwrap_or_default();
        let Some(preferred) = group.versions.into_iter().next() else { return };
        let version = preferred.version.unwrap_or_default();
        let api_version =
            if name.is_empty() { version.clone() } else { format!("{name}/{version}") };
        // What an aggregated API said before it broke is not taken for what it says (client-go).
        if preferred.freshness.as_deref() == Some("Stale") {
            self.failures
                .push(format!("{api_version}: stale GroupVersion discovery: {api_version}"));
            return;
        }
        for resource in preferred.resources {
            // A kind that has no object of its own has subresources only.
            let (Some(plural), Some(kind)) = (resource.resource, resource.response_kind) else {
                continue;
            };
            self.kinds.push(Kind {
                resource: ApiResource {
                    group: name.clone(),
                    version: version.clone(),
                    api_version: api_version.clone(),
                    kind: kind.kind.unwrap_or_default(),
                    plural,
                },
                namespaced: resource.scope.as_deref() == Some("Namespaced"),
                verbs: resource.verbs,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn found(group: serde_json::Value) -> Found {
        let mut found = Found::default();
        found.add(serde_json::from_value(group).unwrap());
        found
    }

    #[test]
    fn kinds_are_those_of_the_preferred_version() {
        let resource = |name: &str| {
            json!({
                "resource": name, "scope": "Namespaced", "verbs": ["get", "list"],
                "responseKind": {"group": "", "version": "", "kind": "Thing"},
                "subresources": [{"subresource": "status", "verbs": ["get"]}],
            })
        };
        let group = json!({"metadata": {"name": "example.com"}, "versions": [
            {"version": "v2", "freshness": "Current", "resources": [resource("things")]},
            {"version": "v1", "freshness": "Current", "resources": [resource("old")]},
        ]});
        let found = found(group);
        let [kind] = found.kinds.as_slice() else { panic!("{:?}", found.kinds) };
        assert_eq!(kind.resource.api_version, "example.com/v2");
        assert_eq!(
            (kind.resource.plural.as_str(), kind.resource.kind.as_str()),
            ("things", "Thing")
        );
        assert!(kind.namespaced && kind.can(&["list"]) && !kind.can(&["delete"]));
        assert!(found.failures.is_empty());
    }

    #[test]
    fn an_aggregated_api_that_broke_is_a_failure_and_not_an_absence() {
        let version = json!({"version": "v1", "freshness": "Stale", "resources": []});
        let found = found(json!({"metadata": {"name": "m.example.com"}, "versions": [version]}));
        assert!(found.kinds.is_empty());
        assert_eq!(
            found.failures,
            ["m.example.com/v1: stale GroupVersion discovery: m.example.com/v1"]
        );
    }
}
