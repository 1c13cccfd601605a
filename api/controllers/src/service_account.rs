//! Every namespace gets a ServiceAccount `default` and, with --root-ca-file, the ConfigMap kube-root-ca.crt.

use std::sync::Arc;

use api_client::{Outcome, is_conflict, is_not_found};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, ServiceAccount};
use kube::{
    Api,
    api::{ObjectMeta, PostParams},
};

use crate::{context::Context, world::World};

/// The name of the published ConfigMap.
pub const ROOT_CA: &str = "kube-root-ca.crt";
const DEFAULT: &str = "default";
const ABOUT: &str = "kubernetes.io/description";
const DESCRIPTION: &str = "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes clusters.";

/// One thing to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Make the ServiceAccount.
    CreateAccount(Box<ServiceAccount>),
    /// Make the ConfigMap.
    CreateRootCa(Box<ConfigMap>),
    /// Put the ConfigMap right.
    UpdateRootCa(Box<ConfigMap>),
}

fn lives(namespace: &Namespace) -> bool {
    namespace.metadata.deletion_timestamp.is_none()
        && namespace.status.as_ref().and_then(|status| status.phase.as_deref())
            != Some("Terminating")
}

/// Decides about the ServiceAccount of the namespace `key`.
#[must_use]
pub fn reconcile(world: &World, key: &str) -> Vec<Action> {
    let Some(namespace) = world.namespaces.get(key) else { return Vec::new() };
    if !lives(&namespace) || world.service_accounts.get(&format!("{key}/{DEFAULT}")).is_some() {
        return Vec::new();
    }
    let account = ServiceAccount {
        metadata: ObjectMeta {
            name: Some(DEFAULT.to_owned()),
            namespace: Some(key.to_owned()),
            ..ObjectMeta::default()
        },
        ..ServiceAccount::default()
    };
    vec![Action::CreateAccount(Box::new(account))]
}

fn is_described(map: &ConfigMap) -> bool {
    let annotations = map.metadata.annotations.as_ref();
    annotations.is_some_and(|all| all.get(ABOUT).is_some_and(|text| !text.is_empty()))
}

/// Decides about the root CA of the namespace `key`.
#[must_use]
pub fn reconcile_root_ca(world: &World, key: &str, root_ca: &str) -> Vec<Action> {
    let Some(namespace) = world.namespaces.get(key) else { return Vec::new() };
    if !lives(&namespace) {
        return Vec::new();
    }
    let data = [("ca.crt".to_owned(), root_ca.to_owned())].into();
    let described = [(ABOUT.to_owned(), DESCRIPTION.to_owned())];
    match world.root_ca_maps.get(&format!("{key}/{ROOT_CA}")) {
        None => vec![Action::CreateRootCa(Box::new(ConfigMap {
            metadata: ObjectMeta {
                name: Some(ROOT_CA.to_owned()),
                namespace: Some(key.to_owned()),
                annotations: Some(described.into()),
                ..ObjectMeta::default()
            },
            data: Some(data),
            ..ConfigMap::default()
        }))],
        Some(map) if map.data.as_ref() != Some(&data) || !is_described(&map) => {
            let mut map = ConfigMap::clone(&map);
            map.data = Some(data);
            map.metadata.annotations.get_or_insert_default().extend(described);
            vec![Action::UpdateRootCa(Box::new(map))]
        }
        Some(_) => Vec::new(),
    }
}

/// Carries the decision out for the ServiceAccount.
///
/// # Errors
/// The first request that failed.
pub async fn sync(context: Arc<Context>, key: String) -> Result<Outcome, kube::Error> {
    carry_out(&context, &key, reconcile(&context.world, &key)).await
}

/// Carries the decision out for the root CA.
///
/// # Errors
/// The first request that failed.
pub async fn sync_root_ca(context: Arc<Context>, key: String) -> Result<Outcome, kube::Error> {
    let Some(root_ca) = &context.config.root_ca else { return Ok(Outcome::Done) };
    carry_out(&context, &key, reconcile_root_ca(&context.world, &key, root_ca)).await
}

async fn carry_out(
    context: &Context,
    namespace: &str,
    actions: Vec<Action>,
) -> Result<Outcome, kube::Error> {
    let accounts: Api<ServiceAccount> = Api::namespaced(context.client.clone(), namespace);
    let maps: Api<ConfigMap> = Api::namespaced(context.client.clone(), namespace);
    let post = PostParams::default();
    for action in actions {
        let result = match action {
            Action::CreateAccount(account) => accounts.create(&post, &account).await.map(drop),
            Action::CreateRootCa(map) => maps.create(&post, &map).await.map(drop),
            Action::UpdateRootCa(map) => maps.replace(ROOT_CA, &post, &map).await.map(drop),
        };
        match result {
            // It exists already, or the namespace is going: the next watch event shows which.
            Err(error)
                if is_conflict(&error)
                    || is_not_found(&error)
                    || api_client::status_code(&error) == Some(403) => {}
            other => other?,
        }
    }
    Ok(Outcome::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn world(namespace: serde_json::Value) -> World {
        let world = World::new();
        world.namespaces.put(Arc::new(serde_json::from_value(namespace).unwrap()));
        world
    }

    #[test]
    fn a_living_namespace_gets_both_and_a_dying_one_nothing() {
        let living = world(serde_json::json!({"metadata": {"name": "a"}}));
        assert_eq!(reconcile(&living, "a").len(), 1);
        assert_eq!(reconcile_root_ca(&living, "a", "PEM").len(), 1);
        assert!(reconcile(&living, "missing").is_empty());
        let dying = world(
            serde_json::json!({"metadata": {"name": "a"}, "status": {"phase": "Terminating"}}),
        );
        assert!(reconcile(&dying, "a").is_empty());
        assert!(reconcile_root_ca(&dying, "a", "PEM").is_empty());
    }

    #[test]
    fn a_changed_root_ca_is_put_right_and_a_right_one_left_alone() {
        let world = world(serde_json::json!({"metadata": {"name": "a"}}));
        let map = |data: &str, about: &str| {
            serde_json::from_value::<ConfigMap>(serde_json::json!({
                "metadata": {"name": ROOT_CA, "namespace": "a", "annotations": {ABOUT: about}},
                "data": {"ca.crt": data}
            }))
            .unwrap()
        };
        for wrong in [map("tampered", DESCRIPTION), map("PEM", "")] {
            world.root_ca_maps.put(Arc::new(wrong));
            let actions = reconcile_root_ca(&world, "a", "PEM");
            let [Action::UpdateRootCa(fixed)] = actions.as_slice() else { panic!("{actions:?}") };
            assert_eq!(**fixed, map("PEM", DESCRIPTION));
        }
        world.root_ca_maps.put(Arc::new(map("PEM", "any words")));
        assert!(reconcile_root_ca(&world, "a", "PEM").is_empty());
    }
}
