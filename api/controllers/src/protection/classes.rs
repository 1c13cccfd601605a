//! A `VolumeAttributesClass` stays while a volume or a claim names it.

use std::sync::Arc;

use api_client::{Outcome, WorkQueue};
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use kube::Api;

use super::{CLASS, Change, carry_out, judge};
use crate::{context::Context, world::World};

/// The classes that a claim has, is to get, and was told to get.
#[must_use]
pub fn of_claim(claim: &PersistentVolumeClaim) -> Vec<String> {
    let status = claim.status.as_ref();
    let modified = status.and_then(|status| status.modify_volume_status.as_ref());
    let names = [
        claim.spec.as_ref().and_then(|spec| spec.volume_attributes_class_name.clone()),
        status.and_then(|status| status.current_volume_attributes_class_name.clone()),
        modified.and_then(|modified| modified.target_volume_attributes_class_name.clone()),
    ];
    names.into_iter().flatten().filter(|name| !name.is_empty()).collect()
}

/// The class of a volume.
#[must_use]
pub fn of_volume(volume: &PersistentVolume) -> Vec<String> {
    let name = volume.spec.as_ref().and_then(|spec| spec.volume_attributes_class_name.clone());
    name.into_iter().filter(|name| !name.is_empty()).collect()
}

/// Queues the classes that are no longer named.
pub fn released<K>(
    queue: &WorkQueue<String>,
    names: fn(&K) -> Vec<String>,
    before: Option<&Arc<K>>,
    after: Option<&Arc<K>>,
) {
    let Some(before) = before else { return };
    let kept = after.map(|after| names(after)).unwrap_or_default();
    for name in names(before) {
        if !kept.contains(&name) {
            queue.add(name);
        }
    }
}

/// Decides about one class.
#[must_use]
pub fn reconcile(world: &World, key: &str) -> Option<Change> {
    let class = world.volume_classes.get(key)?;
    let used = !world.volumes.by_index(key).is_empty() || !world.claims.by_index(key).is_empty();
    judge(&class.metadata, CLASS, used)
}

/// Carries the decision out.
///
/// # Errors
/// The write failed.
pub async fn sync(context: Arc<Context>, key: String) -> Result<Outcome, kube::Error> {
    let Some(class) = context.world.volume_classes.get(&key) else { return Ok(Outcome::Done) };
    if let Some(change) = reconcile(&context.world, &key) {
        let api = Api::all(context.client.clone());
        carry_out(&api, class.as_ref(), CLASS, change).await?;
    }
    Ok(Outcome::Done)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn verdict(volume: Value, claim: Value) -> Option<Change> {
        let world = World::new();
        let class = json!({"driverName": "d", "metadata": {
            "name": "gold", "deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": [CLASS]}});
        world.volume_classes.put(Arc::new(serde_json::from_value(class).unwrap()));
        world.volumes.put(Arc::new(serde_json::from_value(volume).unwrap()));
        world.claims.put(Arc::new(serde_json::from_value(claim).unwrap()));
        reconcile(&world, "gold")
    }

    #[test]
    fn a_deleted_class_stays_while_any_field_names_it() {
        let volume = |name: &str| json!({"spec": {"volumeAttributesClassName": name}});
        let none = json!({"spec": {}, "status": {}});
        for (volume, claim, expected) in [
            (volume("silver"), none.clone(), Some(Change::Remove)),
            (volume(""), none.clone(), Some(Change::Remove)),
            (volume("gold"), none.clone(), None),
            (none.clone(), json!({"spec": {"volumeAttributesClassName": "gold"}}), None),
            (none.clone(), json!({"status": {"currentVolumeAttributesClassName": "gold"}}), None),
            (
                none.clone(),
                json!({"status": {"modifyVolumeStatus":
                    {"status": "Pending", "targetVolumeAttributesClassName": "gold"}}}),
                None,
            ),
            (
                none,
                json!({"spec": {"volumeAttributesClassName": "silver"},
                    "status": {"currentVolumeAttributesClassName": "silver"}}),
                Some(Change::Remove),
            ),
        ] {
            let case = format!("{volume} {claim}");
            assert_eq!(verdict(volume, claim), expected, "{case}");
        }
    }

    #[test]
    fn only_classes_that_are_no_longer_named_are_queued() {
        let claim = |names: [&str; 2]| -> Arc<PersistentVolumeClaim> {
            let claim = json!({"spec": {"volumeAttributesClassName": names[0]},
                "status": {"currentVolumeAttributesClassName": names[1]}});
            Arc::new(serde_json::from_value(claim).unwrap())
        };
        let queue = WorkQueue::new("test");
        let (one, two) = (claim(["gold", "silver"]), claim(["gold", "gold"]));
        released(&queue, of_claim, None, Some(&one));
        released(&queue, of_claim, Some(&one), Some(&one));
        assert_eq!(queue.len(), 0);
        released(&queue, of_claim, Some(&one), Some(&two));
        assert_eq!(queue.len(), 1, "silver");
        released(&queue, of_claim, Some(&two), None);
        assert_eq!(queue.len(), 2, "gold");
    }
}
