//! The default roles and bindings: created when missing, and given again what was taken from them,
//! unless somebody has said that it is theirs now.

use api_machinery::rbac::{self, Rule, UPDATE};
use api_machinery::{Object, Status, View, kinds};
use serde_json::{Value, json};

use super::together;
use crate::handlers::Subresource;
use crate::registry::{self, By, PropagationPolicy, Retry};
use crate::state::Server;

/// Creates and mends all of them. Namespaces must be there.
pub(super) async fn reconcile(server: &Server) -> Result<(), Status> {
    let all = rbac::policy().into_iter();
    together(all.map(|wanted| one(server, wanted)).collect()).await
}

async fn one(server: &Server, wanted: Object) -> Result<(), Status> {
    let kind = kinds::find_kind(wanted.api_version(), wanted.kind());
    let kind = kind.ok_or_else(Status::no_such_path)?;
    let (namespace, name) = (wanted.namespace().to_owned(), wanted.name().to_owned());
    let key = server.storage.key(kind, &namespace, &name);
    let Some(held) = server.caches.of(kind).get(&key) else {
        return created(
            registry::create(server, &registry::Create { kind, by: By::the_server() }, wanted)
                .await,
        );
    };
    let held = held.object()?;
    if mended(&held, &wanted).is_none() {
        return Ok(());
    }
    if kind.kind.ends_with("Binding") && held.at(&["roleRef"]) != wanted.at(&["roleRef"]) {
        // The role of a binding never changes: another one is another binding.
        let options = registry::DeleteOptions {
            propagation: Some(PropagationPolicy::Background),
            uid: Some(held.uid().to_owned()),
            ..registry::DeleteOptions::default()
        };
        registry::delete(server, kind, (&namespace, &name), &options, By::the_server()).await?;
        return created(
            registry::create(server, &registry::Create { kind, by: By::the_server() }, wanted)
                .await,
        );
    }
    let request = registry::Update {
        kind,
        namespace: &namespace,
        name: &name,
        subresource: Subresource::None,
        by: By::the_server(),
        retry: Retry::Always,
    };
    let change = |current: &Object| Ok(mended(current, &wanted).unwrap_or_else(|| current.clone()));
    tracing::info!(kind = kind.kind, name, "a default role or binding is mended");
    registry::update(server, &request, change).await.map(|_| ())
}

fn created(outcome: Result<Object, Status>) -> Result<(), Status> {
    match outcome {
        Err(status) if status.reason != "AlreadyExists" => Err(status),
        // Another server was faster.
        Ok(_) | Err(_) => Ok(()),
    }
}

/// The object with what it lacks; `None` when it lacks nothing, or is not ours to mend.
fn mended(held: &Object, wanted: &Object) -> Option<Object> {
    if held.annotations().get(UPDATE).is_some_and(|value| value == "false") {
        return None;
    }
    let mut next = held.clone();
    for list in ["labels", "annotations"] {
        let entries = wanted.at(&["metadata", list]).and_then(Value::as_object);
        for (key, value) in entries.into_iter().flatten() {
            if next.at(&["metadata", list, key]).is_none() {
                next.set(&["metadata", list, key], value.clone());
            }
        }
    }
    if wanted.kind().ends_with("Binding") {
        next.set(&["roleRef"], wanted.at(&["roleRef"]).cloned().unwrap_or_else(|| json!({})));
        add_missing(&mut next, wanted, &["subjects"]);
    } else if wanted.at(&["aggregationRule"]).is_some() {
        // The rules are put together by the aggregation.
        add_missing(&mut next, wanted, &["aggregationRule", "clusterRoleSelectors"]);
    } else {
        let rules = |role: &Object| Rule::all_of(View::new(&role.to_json()));
        let lacking = rbac::uncovered(&rules(held), &rules(wanted));
        if !lacking.is_empty() {
            let mut list = held.at(&["rules"]).and_then(Value::as_array).cloned();
            list.get_or_insert_default().extend(lacking.iter().map(Rule::to_json));
            next.set(&["rules"], list.unwrap_or_default().into());
        }
    }
    (next != *held).then_some(next)
}

fn add_missing(next: &mut Object, wanted: &Object, path: &[&str]) {
    let mut list = next.at(path).and_then(Value::as_array).cloned().unwrap_or_default();
    let before = list.len();
    for item in wanted.at(path).and_then(Value::as_array).into_iter().flatten() {
        if !list.contains(item) {
            list.push(item.clone());
        }
    }
    if list.len() > before {
        next.set(path, list.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_taken_is_given_again_and_what_was_added_stays() {
        let find = |name: &str, kind: &str| {
            let mut all = rbac::policy().into_iter();
            all.find(|one| one.name() == name && one.kind() == kind).unwrap()
        };
        let wanted = find("system:basic-user", "ClusterRole");
        assert_eq!(mended(&wanted, &wanted), None);
        let mut held = wanted.clone();
        held.set(&["rules"], json!([{"verbs": ["get"], "apiGroups": [""], "resources": ["x"]}]));
        held.remove(&["metadata", "labels"]);
        let next = mended(&held, &wanted).unwrap();
        assert_eq!(next.at(&["rules"]).unwrap()[0]["resources"], json!(["x"]));
        assert_eq!(mended(&next, &wanted), None);
        held.set(&["metadata", "annotations", UPDATE], "false".into());
        assert_eq!(mended(&held, &wanted), None, "somebody took it over");

        let wanted = find("system:basic-user", "ClusterRoleBinding");
        let mut held = wanted.clone();
        held.set(&["subjects"], json!([{"kind": "User", "name": "ann", "apiGroup": rbac::GROUP}]));
        assert_eq!(mended(&held, &wanted).unwrap().at(&["subjects"]).unwrap()[0]["name"], "ann");
        held.remove(&["subjects"]);
        assert_eq!(mended(&held, &wanted).as_ref(), Some(&wanted));
    }
}
