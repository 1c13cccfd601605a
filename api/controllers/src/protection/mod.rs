//! Finalizers that keep what storage is made of as long as somebody uses it.
//!
//! | Rule | What always holds |
//! |------|-------------------|
//! | V1 | An object that stays gets its finalizer, also when it was made before admission added it. |
//! | V2 | A finalizer goes only from an object that was deleted and that nobody uses. |
//! | V3 | Other finalizers are never touched. |

pub mod claims;
pub mod classes;
pub mod volumes;

use std::fmt::Debug;

use kube::{
    Api, Resource,
    api::{ObjectMeta, PostParams},
};
use serde::{Serialize, de::DeserializeOwned};

/// Keeps a `PersistentVolumeClaim`.
pub const CLAIM: &str = "kubernetes.io/pvc-protection";
/// Keeps a `PersistentVolume`.
pub const VOLUME: &str = "kubernetes.io/pv-protection";
/// Keeps a `VolumeAttributesClass`.
pub const CLASS: &str = "kubernetes.io/vac-protection";

/// What should become of the finalizer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is missing.
    Add,
    /// It did its duty.
    Remove,
}

/// True when the object has to be looked at: its finalizer is missing, or could go.
#[must_use]
pub fn is_candidate(meta: &ObjectMeta, finalizer: &str) -> bool {
    judge(meta, finalizer, false).is_some()
}

/// Decides about one object.
#[must_use]
pub fn judge(meta: &ObjectMeta, finalizer: &str, used: bool) -> Option<Change> {
    let has = meta.finalizers.iter().flatten().any(|one| one == finalizer);
    match (meta.deletion_timestamp.is_some(), has) {
        (false, false) => Some(Change::Add),
        (true, true) if !used => Some(Change::Remove),
        (true | false, _) => None,
    }
}

/// The object with its finalizers as they should be.
fn changed<K: Resource + Clone>(object: &K, finalizer: &str, change: Change) -> K {
    let mut object = object.clone();
    let finalizers = object.meta_mut().finalizers.get_or_insert_default();
    match change {
        Change::Add => finalizers.push(finalizer.to_owned()),
        // V3
        Change::Remove => finalizers.retain(|one| one != finalizer),
    }
    object
}

/// Writes the change, under the resourceVersion that the decision was made on.
async fn carry_out<K>(
    api: &Api<K>,
    object: &K,
    finalizer: &str,
    change: Change,
) -> Result<(), kube::Error>
where
    K: Resource + Clone + Debug + Serialize + DeserializeOwned,
{
    let name = object.meta().name.as_deref().unwrap_or_default();
    let next = changed(object, finalizer, change);
    match api.replace(name, &PostParams::default(), &next).await {
        Err(error) if api_client::is_not_found(&error) => Ok(()),
        other => other.map(drop),
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::PersistentVolume;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_finalizer_is_added_to_what_stays_and_goes_from_what_is_deleted_and_unused() {
        let (going, staying) = (json!("2026-01-01T00:00:00Z"), json!(null));
        for (deleted, finalizers, used, expected) in [
            (&staying, json!([]), false, Some(Change::Add)),
            (&staying, json!([]), true, Some(Change::Add)),
            (&staying, json!(["other/one"]), true, Some(Change::Add)),
            (&staying, json!([VOLUME]), false, None),
            (&going, json!([VOLUME]), false, Some(Change::Remove)),
            (&going, json!(["other/one", VOLUME]), false, Some(Change::Remove)),
            (&going, json!([VOLUME]), true, None),
            (&going, json!([]), false, None),
            (&going, json!([CLAIM]), false, None),
        ] {
            let case = format!("{deleted} {finalizers} {used}");
            let meta = json!({"deletionTimestamp": deleted, "finalizers": finalizers});
            let meta: ObjectMeta = serde_json::from_value(meta).unwrap();
            assert_eq!(judge(&meta, VOLUME, used), expected, "{case}");
        }
    }

    #[test]
    fn other_finalizers_are_kept() {
        let volume: PersistentVolume = serde_json::from_value(json!({
            "metadata": {"name": "v", "finalizers": ["a/b", VOLUME, "c/d"]}
        }))
        .unwrap();
        let without = changed(&volume, VOLUME, Change::Remove);
        assert_eq!(without.metadata.finalizers.clone().unwrap(), ["a/b", "c/d"], "V3");
        let again = changed(&without, VOLUME, Change::Add);
        assert_eq!(again.metadata.finalizers.unwrap(), ["a/b", "c/d", VOLUME]);
    }
}
