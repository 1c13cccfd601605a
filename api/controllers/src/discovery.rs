//! Which kinds the server has, asked anew each time: custom kinds come and go.

use kube::{Client, discovery::ApiResource};

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

/// Asks the server.
///
/// # Errors
/// When the list of groups itself cannot be read.
pub async fn discover(client: &Client) -> Result<Found, kube::Error> {
    let mut found = Found::default();
    for version in client.list_core_api_versions().await?.versions {
        match client.list_core_api_resources(&version).await {
            Ok(list) => found.add("", &version, list.resources),
            Err(error) => found.failures.push(format!("{version}: {error}")),
        }
    }
    for group in client.list_api_groups().await?.groups {
        let preferred = group.preferred_version.as_ref().or(group.versions.first());
        let Some(version) = preferred else { continue };
        match client.list_api_group_resources(&version.group_version).await {
            Ok(list) => found.add(&group.name, &version.version, list.resources),
            Err(error) => found.failures.push(format!("{}: {error}", version.group_version)),
        }
    }
    Ok(found)
}

impl Found {
    fn add(
        &mut self,
        group: &str,
        version: &str,
        resources: Vec<k8s_openapi::apimachinery::pkg::apis::meta::v1::APIResource>,
    ) {
        let api_version =
            if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
        for resource in resources.into_iter().filter(|resource| !resource.name.contains('/')) {
            self.kinds.push(Kind {
                resource: ApiResource {
                    group: group.to_owned(),
                    version: version.to_owned(),
                    api_version: api_version.clone(),
                    kind: resource.kind,
                    plural: resource.name,
                },
                namespaced: resource.namespaced,
                verbs: resource.verbs,
            });
        }
    }
}
