//! ClusterRoles that are made of others (`admin`, `edit`, `view`): their rules follow those that
//! their selectors choose.

use api_machinery::rbac::GROUP;
use api_machinery::selector::Labels;
use api_machinery::{Object, ResourceInfo, Status, kinds};
use serde_json::Value;

use super::looks::Looks;
use crate::handlers::Subresource;
use crate::registry::{self, By, Retry};
use crate::state::Server;
use crate::watch_cache::Filter;

/// Runs until the server stops.
pub(super) async fn run(server: &Server) {
    let Some(kind) = kinds::find(GROUP, "v1", "clusterroles") else { return };
    let mut looks = Looks::at(server, kind);
    while looks.wait().await {
        if let Err(error) = all(server, kind).await {
            tracing::warn!(%error, "cluster roles are not put together, will try again");
            looks.failed();
        }
    }
}

async fn all(server: &Server, kind: &'static ResourceInfo) -> Result<(), Status> {
    let (versions, _) = server.caches.of(kind).list("", &Filter::default(), 0);
    let mut roles = Vec::new();
    for version in &versions {
        roles.push(version.object()?);
    }
    for role in &roles {
        let Some(rules) = aggregated(role, &roles) else { continue };
        let request = registry::Update {
            kind,
            namespace: "",
            name: role.name(),
            subresource: Subresource::None,
            by: By::the_server(),
            retry: Retry::Always,
        };
        let change = |current: &Object| {
            let mut next = current.clone();
            next.set(&["rules"], rules.clone());
            Ok(next)
        };
        registry::update(server, &request, change).await?;
    }
    Ok(())
}

/// The rules that a role should have; `None` when it has them, or is not made of others.
fn aggregated(role: &Object, all: &[Object]) -> Option<Value> {
    let selectors = role.at(&["aggregationRule", "clusterRoleSelectors"])?.as_array()?;
    let mut rules: Vec<&Value> = Vec::new();
    for selector in selectors.iter().map(Labels::from_object) {
        for other in all.iter().filter(|other| other.name() != role.name()) {
            let labels = other.labels();
            if !selector.matches(|key| labels.get(key).map(String::as_str)) {
                continue;
            }
            let held = other.at(&["rules"]).and_then(Value::as_array).into_iter().flatten();
            for rule in held {
                if !rules.contains(&rule) {
                    rules.push(rule);
                }
            }
        }
    }
    let wanted: Value = rules.into_iter().cloned().collect();
    let is_empty = wanted.as_array().is_some_and(Vec::is_empty);
    let held = role.at(&["rules"]).unwrap_or(&Value::Null);
    (*held != wanted && !(is_empty && held.is_null())).then_some(wanted)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_role_has_the_rules_of_those_it_chooses_once() {
        let role = |name: &str, labels: Value, rules: Value| {
            let metadata = json!({"name": name, "labels": labels});
            Object::from_value(json!({"metadata": metadata, "rules": rules})).unwrap()
        };
        let rule = |verb: &str| json!({"verbs": [verb], "apiGroups": [""], "resources": ["pods"]});
        let mut sum = role("sum", json!({"to": "sum"}), Value::Null);
        let selectors = json!([{"matchLabels": {"to": "sum"}}, {"matchLabels": {"also": "sum"}}]);
        sum.set(&["aggregationRule", "clusterRoleSelectors"], selectors);
        let mut roles = vec![
            role("a", json!({"to": "sum"}), json!([rule("get"), rule("list")])),
            role("b", json!({"also": "sum"}), json!([rule("list"), rule("watch")])),
            role("c", json!({}), json!([rule("delete")])),
            sum.clone(),
        ];
        let wanted = json!([rule("get"), rule("list"), rule("watch")]);
        assert_eq!(aggregated(&sum, &roles), Some(wanted.clone()));
        assert_eq!(aggregated(&roles[0], &roles), None);
        sum.set(&["rules"], wanted);
        assert_eq!(aggregated(&sum, &roles), None);
        roles.truncate(1);
        assert_eq!(aggregated(&sum, &roles), Some(json!([rule("get"), rule("list")])));
        assert_eq!(aggregated(&sum, &[]), Some(json!([])));
    }
}
