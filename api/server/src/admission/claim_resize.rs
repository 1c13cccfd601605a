//! PersistentVolumeClaimResize: only a bound claim grows, and only when its class allows it.

use api_machinery::quantity::Quantity;
use api_machinery::{Object, Status};
use serde_json::Value;

use super::{Attributes, Operation, lookup};

pub(super) async fn validate(asked: &Attributes<'_>, claim: &Object) -> Result<(), Status> {
    let (Operation::Update, Some(old)) = (asked.operation, asked.old) else { return Ok(()) };
    if !asked.is_of("", "PersistentVolumeClaim") || size(claim) <= size(old) {
        return Ok(());
    }
    if old.text(&["status", "phase"]) != "Bound" {
        return Err(asked.forbidden(claim, "Only bound persistent volume claims can be expanded"));
    }
    let (now, before) = (class(claim), class(old));
    if !now.is_empty() && now == before {
        let found = lookup::find(asked.server, ("storage.k8s.io", "storageclasses"), ("", now));
        let allows = found
            .await?
            .and_then(|class| class.at(&["allowVolumeExpansion"]).and_then(Value::as_bool));
        if allows == Some(true) {
            return Ok(());
        }
    }
    let why = "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize";
    Err(asked.forbidden(claim, why))
}

/// Nothing when none is asked for.
fn size(claim: &Object) -> Quantity {
    let text = claim.text(&["spec", "resources", "requests", "storage"]);
    text.parse().unwrap_or_else(|_| Quantity::units(0))
}

/// The annotation is older than the field, and goes first.
fn class(claim: &Object) -> &str {
    let annotation = ["metadata", "annotations", "volume.beta.kubernetes.io/storage-class"];
    match claim.at(&annotation).and_then(Value::as_str) {
        Some(class) => class,
        None => claim.text(&["spec", "storageClassName"]),
    }
}
