//! `ValidatingAdmissionPolicy` and `MutatingAdmissionPolicy`: expressions that decide about writes.
//!
//! | Rule | What always holds |
//! |------|-------------------|
//! | V1 | An expression is compiled once for each version of its policy, never for a request. |
//! | V2 | A request sees every policy and binding that the caches had when it was admitted. |
//! | V3 | Each binding with each parameter has upstream's budget, and ends when that is spent. |
//! | V4 | What goes wrong counts as a denial, unless the policy's `failurePolicy` is `Ignore`. |
//! | V5 | Policies, their bindings and reviews are never asked about. |
//! | V6 | Policies run in the order of their names: upstream leaves the order open. |
//!
//! Evaluation may take a second of pure work for each binding, so that it is announced to the
//! runtime as blocking.

mod compiled;
mod inputs;
mod matching;
mod mutating;
mod params;
mod snapshot;
mod status;
mod validating;

use api_machinery::{Object, Status};

use super::{Attributes, Operation};
use crate::authn::User;
use crate::working::working;

pub(crate) use mutating::Round;
pub(crate) use snapshot::Policies;
pub(crate) use status::run;

const GROUP: &str = "admissionregistration.k8s.io";

/// V5.
fn is_exempt(asked: &Attributes<'_>) -> bool {
    match asked.kind.group {
        GROUP => asked.kind.kind.contains("AdmissionPolicy"),
        "authentication.k8s.io" | "authorization.k8s.io" => true,
        _ => false,
    }
}

/// Lets policies change an object; says whether one did.
pub(super) async fn mutate(
    asked: &Attributes<'_>,
    object: &mut Object,
    round: &mut Round,
) -> Result<bool, Status> {
    if asked.operation == Operation::Delete || is_exempt(asked) {
        return Ok(false);
    }
    let Some(snapshot) = current(asked).await? else { return Ok(false) };
    if snapshot.mutating.is_empty() {
        return Ok(false);
    }
    let surroundings = inputs::Surroundings::of(asked).await?;
    working(|| mutating::run(&surroundings, &snapshot, object, round))
}

/// Asks the policies that check. There is no object when it is a deletion.
pub(super) async fn validate(
    asked: &Attributes<'_>,
    object: Option<&Object>,
) -> Result<(), Status> {
    if is_exempt(asked) {
        return Ok(());
    }
    let Some(snapshot) = current(asked).await? else { return Ok(()) };
    if snapshot.validating.is_empty() {
        return Ok(());
    }
    let surroundings = inputs::Surroundings::of(asked).await?;
    working(|| validating::run(&surroundings, &snapshot, object))
}

/// Whether no policy would look at this write.
pub(crate) async fn are_silent(asked: &Attributes<'_>) -> bool {
    if is_exempt(asked) {
        return true;
    }
    let current = current(asked).await;
    current.is_ok_and(|snapshot| snapshot.is_none_or(|snapshot| snapshot.validating.is_empty()))
}

/// The policies in force; none before the caches are filled, when only the server itself writes.
async fn current(
    asked: &Attributes<'_>,
) -> Result<Option<std::sync::Arc<snapshot::Snapshot>>, Status> {
    if !asked.server.caches.is_synced() {
        if std::ptr::eq(asked.user, User::the_server()) {
            return Ok(None);
        }
        let resource = asked.kind.group_resource();
        return Err(Status::forbidden(&resource, asked.name, "not yet ready to handle request"));
    }
    asked.server.policies.current(asked.server).await.map(Some)
}
