//! NamespaceLifecycle: nothing is created in a namespace that is not there or is going; some stay.

use api_machinery::status::Grouped;
use api_machinery::{Object, Status};

use super::{Attributes, Operation, lookup};

const IMMORTAL: [&str; 3] = ["default", "kube-system", "kube-public"];
const NAMESPACES: (&str, &str) = ("", "namespaces");

pub(super) async fn mutate(asked: &Attributes<'_>, object: &Object) -> Result<(), Status> {
    // Whether a namespace is there is not for those to know who ask what they may do in it.
    let is_review = asked.kind.kind == "LocalSubjectAccessReview";
    if asked.operation != Operation::Create || !asked.kind.namespaced || is_review {
        return Ok(());
    }
    let name = asked.namespace;
    let Some(namespace) = lookup::find(asked.server, NAMESPACES, ("", name)).await? else {
        return Err(Status::not_found(&Grouped::new(NAMESPACES.0, NAMESPACES.1), name));
    };
    let is_going = namespace.deletion_timestamp().is_some()
        || namespace.text(&["status", "phase"]) == "Terminating";
    if !is_going {
        return Ok(());
    }
    let why =
        format!("unable to create new content in namespace {name} because it is being terminated");
    let cause = format!("namespace {name} is being terminated");
    let status = asked.forbidden(object, &why);
    Err(status.with_cause("NamespaceTerminating", &cause, "metadata.namespace"))
}

/// Checks a deletion.
pub(super) fn delete(asked: &Attributes<'_>) -> Result<(), Status> {
    let is_namespace = asked.is_of("", "Namespace");
    if asked.operation == Operation::Delete && is_namespace && IMMORTAL.contains(&asked.name) {
        let why = "this namespace may not be deleted";
        return Err(Status::forbidden(&asked.kind.group_resource(), asked.name, why));
    }
    Ok(())
}
