//! What the cluster has to say about a write: change first, then check.
//!
//! | Rule | What always holds |
//! |------|-------------------|
//! | A1 | What changes an object runs before its strategy and its rules, what only checks it after. |
//! | A2 | Plugins run in upstream's order, each on what those before it made of the object. |
//! | A3 | A dry run leaves nothing behind. |
//!
//! Those of upstream's default set that are here, and `NodeRestriction`, are the calls of [`mutate`] and [`validate`].

mod certificates;
mod claim_resize;
mod default_class;
mod in_namespace;
mod limit_ranger;
pub(crate) mod lookup;
mod merge_tolerations;
mod namespace_lifecycle;
mod node_restriction;
mod node_taint;
mod notes;
mod plugins;
mod pod_resize;
mod pod_security;
mod pod_topology;
pub(crate) mod policy;
pub(crate) mod priority;
mod resource_quota;
mod runtime_class;
mod service_account;
mod storage_protection;
mod tolerations;

use api_machinery::{Object, ResourceInfo, Status};
use parking_lot::Mutex;

use crate::authn::User;
use crate::state::Server;

pub(crate) use limit_ranger::LookedUp;
pub(crate) use notes::Notes;
pub use plugins::Plugins;
pub(crate) use resource_quota::Ledger;

/// What is to be done to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Create,
    Update,
    Delete,
}

/// A write, as admission sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attributes<'a> {
    pub(crate) server: &'a Server,
    /// Who asks.
    pub(crate) user: &'a User,
    pub(crate) kind: &'static ResourceInfo,
    pub(crate) operation: Operation,
    /// Empty for the object itself.
    pub(crate) subresource: &'a str,
    /// Empty for kinds without one.
    pub(crate) namespace: &'a str,
    pub(crate) name: &'a str,
    /// What is there now; nothing for a new object.
    pub(crate) old: Option<&'a Object>,
    /// What who asks is to be told, whether the write succeeds or not; see [`Attributes::warn`].
    pub(crate) warnings: Option<&'a Mutex<Vec<String>>>,
    pub(crate) dry_run: bool,
    /// Options and what the audit log is to say, if somebody asks.
    pub(crate) notes: Option<&'a Notes>,
}

impl Attributes<'_> {
    /// Tells who asks; what was said already is not said again.
    pub(crate) fn warn(&self, text: &str) {
        let Some(warnings) = self.warnings else { return };
        let mut warnings = warnings.lock();
        if !text.is_empty() && !warnings.iter().any(|one| one == text) {
            warnings.push(text.to_owned());
        }
    }

    /// Upstream's 403 for this write of an object, by the name that is known by now.
    pub(crate) fn forbidden(&self, object: &Object, why: &str) -> Status {
        let names = [self.name, object.name(), object.generate_name(), "Unknown"];
        let name = names.into_iter().find(|name| !name.is_empty()).unwrap_or_default();
        Status::forbidden(&self.kind.group_resource(), name, why)
    }

    /// Whether it is about this kind itself, not one of its subresources.
    fn is_of(&self, group: &str, kind: &str) -> bool {
        self.kind.group == group && self.kind.kind == kind && self.subresource.is_empty()
    }
}

/// Changes an object that is to be created or updated, and refuses what can be refused already.
pub(crate) async fn mutate(asked: &Attributes<'_>, object: &mut Object) -> Result<(), Status> {
    built_in(asked, object).await?;
    let mut round = policy::Round::default();
    if policy::mutate(asked, object, &mut round).await? {
        // What a policy changed the others see, once.
        built_in(asked, object).await?;
        policy::mutate(asked, object, round.second()).await?;
    }
    Ok(())
}

async fn built_in(asked: &Attributes<'_>, object: &mut Object) -> Result<(), Status> {
    namespace_lifecycle::mutate(asked, object).await?;
    limit_ranger::mutate(asked, object).await?;
    service_account::mutate(asked, object).await?;
    node_restriction::admit(asked, Some(object)).await?;
    node_taint::mutate(asked, object);
    priority::mutate(asked, object).await?;
    tolerations::mutate(asked, object);
    default_class::mutate(asked, object)?;
    if asked.operation == Operation::Create && asked.subresource.is_empty() {
        storage_protection::create(asked.kind, object);
    }
    runtime_class::mutate(asked, object).await?;
    pod_topology::mutate(asked, object)
}

/// Checks a write whose object is final; there is none when it is a deletion.
pub(crate) async fn validate(
    asked: &Attributes<'_>,
    object: Option<&Object>,
) -> Result<(), Status> {
    let Some(object) = object else {
        namespace_lifecycle::delete(asked)?;
        node_restriction::admit(asked, None).await?;
        priority::validate(asked, None).await?;
        return policy::validate(asked, None).await;
    };
    limit_ranger::validate(asked, object).await?;
    service_account::validate(asked, object).await?;
    pod_security::validate(asked, object).await?;
    priority::validate(asked, Some(object)).await?;
    claim_resize::validate(asked, object).await?;
    runtime_class::validate(asked, object).await?;
    certificates::validate(asked, object)?;
    pod_resize::validate(asked, object)?;
    policy::validate(asked, Some(object)).await?;
    // The last of all: what another plugin refuses is not charged.
    resource_quota::validate(asked, object).await
}
