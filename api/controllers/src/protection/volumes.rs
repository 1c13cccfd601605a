//! A `PersistentVolume` stays while a claim is bound to it.

use std::sync::Arc;

use api_client::Outcome;
use k8s_openapi::api::core::v1::PersistentVolume;
use kube::Api;

use super::{Change, VOLUME, carry_out, judge};
use crate::context::Context;

/// Decides about one volume.
#[must_use]
pub fn reconcile(volume: &PersistentVolume) -> Option<Change> {
    let phase = volume.status.as_ref().and_then(|status| status.phase.as_deref());
    judge(&volume.metadata, VOLUME, phase == Some("Bound"))
}

/// Carries the decision out.
///
/// # Errors
/// The write failed.
pub async fn sync(context: Arc<Context>, key: String) -> Result<Outcome, kube::Error> {
    let Some(volume) = context.world.volumes.get(&key) else { return Ok(Outcome::Done) };
    if let Some(change) = reconcile(&volume) {
        let api = Api::all(context.client.clone());
        carry_out(&api, volume.as_ref(), VOLUME, change).await?;
    }
    Ok(Outcome::Done)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_deleted_volume_stays_while_it_is_bound() {
        for (phase, expected) in [
            ("Pending", Some(Change::Remove)),
            ("Available", Some(Change::Remove)),
            ("Released", Some(Change::Remove)),
            ("Failed", Some(Change::Remove)),
            ("Bound", None),
        ] {
            let volume = json!({
                "metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": [VOLUME]},
                "status": {"phase": phase},
            });
            assert_eq!(reconcile(&serde_json::from_value(volume).unwrap()), expected, "{phase}");
        }
    }
}
