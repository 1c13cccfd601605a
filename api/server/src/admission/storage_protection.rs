//! What storage is made of has a finalizer from the start, which the controller manager takes
//! away when a deleted object is no longer used.

use api_machinery::{Object, ResourceInfo};

fn finalizer(info: &ResourceInfo) -> Option<&'static str> {
    match (info.group, info.kind) {
        ("", "PersistentVolumeClaim") => Some("kubernetes.io/pvc-protection"),
        ("", "PersistentVolume") => Some("kubernetes.io/pv-protection"),
        ("storage.k8s.io", "VolumeAttributesClass") => Some("kubernetes.io/vac-protection"),
        _ => None,
    }
}

pub(super) fn create(info: &ResourceInfo, object: &mut Object) {
    let Some(finalizer) = finalizer(info) else { return };
    let mut finalizers = object.finalizers();
    if !finalizers.iter().any(|one| one == finalizer) {
        finalizers.push(finalizer.to_owned());
        object.set_finalizers(&finalizers);
    }
}

#[cfg(test)]
mod tests {
    use api_machinery::kinds;
    use serde_json::json;

    use super::*;

    #[test]
    fn what_storage_is_made_of_gets_its_finalizer_once_and_last() {
        for (group, resource, finalizer) in [
            ("", "persistentvolumeclaims", "kubernetes.io/pvc-protection"),
            ("", "persistentvolumes", "kubernetes.io/pv-protection"),
            ("storage.k8s.io", "volumeattributesclasses", "kubernetes.io/vac-protection"),
        ] {
            let info = kinds::find(group, "v1", resource).unwrap();
            let held = json!({"metadata": {"name": "x", "finalizers": ["a/b"]}});
            let mut object = Object::from_value(held).unwrap();
            create(info, &mut object);
            assert_eq!(object.finalizers(), ["a/b", finalizer]);
            create(info, &mut object);
            assert_eq!(object.finalizers(), ["a/b", finalizer]);
        }
        let info = kinds::find("", "v1", "configmaps").unwrap();
        let mut object = Object::from_value(json!({"metadata": {"name": "x"}})).unwrap();
        create(info, &mut object);
        assert!(object.finalizers().is_empty());
    }
}
